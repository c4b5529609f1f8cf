"""A port that goes away comes back, and what could not be written is lost, not kept."""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import subprocess
import sys
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jishan_agent.dispensers import DRIVERS
from jishan_agent.dispensers.base import Memory
from jishan_agent.loop import Port, boot_time_ms, serve


class Heard:
    """What a port's thread brought."""

    def __init__(self) -> None:
        self.pieces: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self.failed = False

    def fail(self) -> None:
        self.failed = True

    def hears(self, send: Callable[[bytes], Any], piece: bytes) -> bool:
        """Opening a port throws away what lay in it: say it until it is heard, as a controller does."""
        end = time.monotonic() + 20
        while time.monotonic() < end:
            send(piece)
            try:
                return self.pieces.get(timeout=0.05)[:1] == piece[:1]
            except queue.Empty:
                continue
        return False


@pytest.fixture
def make_port() -> Iterator[Callable[[str, Heard], Port]]:
    made: list[Port] = []

    def make(url: str, heard: Heard) -> Port:
        port = Port(url, 57_600, heard.pieces.put, heard.fail)
        made.append(port)
        port.start()
        return port

    yield make
    for port in made:
        port.stop()


def test_a_pseudo_terminal_is_read_and_written(make_port: Any) -> None:
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    heard = Heard()
    port = make_port(os.ttyname(theirs), heard)
    end = time.monotonic() + 20
    assert heard.hears(lambda piece: os.write(ours, piece), b"\xfa\xfb\x41\x00\x40")
    port.write(b"\xfa\xfb\x42\x00\x43")
    answer = b""
    while len(answer) < 5 and time.monotonic() < end:
        answer += os.read(ours, 5)
    assert answer == b"\xfa\xfb\x42\x00\x43"
    port.stop()
    os.close(ours)
    os.close(theirs)
    assert not heard.failed


def test_a_line_that_was_cut_is_opened_again_and_what_was_lost_stays_lost(make_port: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        heard = Heard()
        port = make_port(f"socket://127.0.0.1:{listening.getsockname()[1]}", heard)
        first, _ = listening.accept()
        assert heard.hears(first.sendall, b"1")
        first.close()
        second, _ = listening.accept()
        while not heard.pieces.empty():
            heard.pieces.get()
        assert heard.hears(second.sendall, b"2")
        port.write(b"now")
        assert second.recv(10) == b"now"
        second.close()
    assert not heard.failed


def test_bytes_for_a_port_that_is_away_are_not_kept(make_port: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = probe.getsockname()
    heard = Heard()
    port = make_port(f"socket://127.0.0.1:{address[1]}", heard)
    port.write(b"late")
    with socket.create_server(address) as listening:
        opened, _ = listening.accept()
        assert heard.hears(opened.sendall, b"here")
        port.write(b"new")
        assert opened.recv(10) == b"new"
        opened.close()


def test_an_exception_in_a_ports_thread_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        heard = Heard()

        def break_down(data: bytes) -> None:
            raise KeyError(data)

        port = Port(f"socket://127.0.0.1:{listening.getsockname()[1]}", 9600, break_down, heard.fail)
        port.start()
        opened, _ = listening.accept()
        end = time.monotonic() + 20
        while not heard.failed and time.monotonic() < end:
            with contextlib.suppress(OSError):
                opened.sendall(b"x")
            time.sleep(0.05)
        assert heard.failed
        port.stop()
        opened.close()


def test_the_clock_does_not_follow_the_wall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 0.0)
    before = boot_time_ms()
    assert 0 <= boot_time_ms() - before < 10_000


def test_a_person_in_front_of_the_machine_may_ask_what_has_jammed(tmp_path: Path) -> None:
    """The driver alone on a real pty, as `jishan-agent service` runs it."""
    link = tmp_path / "dispenser"
    command = [sys.executable, "-m", "jishan_sim", "machine", "--slots", "1-4", "--link", str(link)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as simulator:
        try:
            assert simulator.stdout is not None
            assert simulator.stdout.readline()
            dispenser = DRIVERS["xy"]("default", Memory())
            served = serve(str(link), 57_600, dispenser, "jams", None)
            assert (served.name, served.is_done) == ("jams", True)
            for name, number in (("sales", None), ("jams", 3), ("dance", None)):
                with pytest.raises(ValueError, match=name):
                    serve(str(link), 57_600, DRIVERS["xy"]("default", Memory()), name, number)
        finally:
            simulator.terminate()

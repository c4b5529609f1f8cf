"""Both ports of a board over a real broker: what is signed comes through, and after the broker's death again."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, SimpleQueue
from random import Random
from typing import TypeVar

import pytest
from paho.mqtt import publish

from jishan_agent.dispensers import base
from jishan_agent.dispensers.mqtt_board import MqttBoard
from jishan_agent.mqtt_port import AddressError, MqttPort, read_address
from jishan_protocol.dispensers import mqtt_board as board
from jishan_sim.cabinet import Slot
from jishan_sim.faces.mqtt_board import face_for
from jishan_sim.faults import Faults
from jishan_sim.mqtt_port import MqttPort as BoardPort
from jishan_sim.ports import PortError, open_port

PATIENCE_S = 30.0
KEY = bytes(range(32))
BOARD = "board-1"
DOWN, UP = board.line(board.Hello(1)), board.line(board.State(1, 5, 1, 0, False, "closed", None))
"""The greeting with which both ends find each other; its doubles may still come later."""

Event = TypeVar("Event")


def until(holds: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline_s, "it never came"
        time.sleep(0.01)


def now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


class Broker:
    """A broker as a process, to be killed and started again on the same port."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.port = free_port()
        name = "mosquitto" if kind == "mosquitto" else str(Path(sys.executable).parent / "amqtt")
        program = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
        if program is None:
            assert os.environ.get("CI") != "true", f"{kind} is missing"
            pytest.skip(f"{kind} is not installed")
        conf = folder / f"{kind}.conf"
        if kind == "mosquitto":
            user = "user root\n" if os.geteuid() == 0 else ""
            conf.write_text(f"{user}listener {self.port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n")
        else:
            conf.write_text(
                f"listeners:\n  default:\n    type: tcp\n    bind: 127.0.0.1:{self.port}\n"
                "plugins:\n  amqtt.plugins.authentication.AnonymousAuthPlugin:\n    allow_anonymous: true\n"
            )
        self._command = [program, "-c", str(conf)]
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(self.answers)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE_S)
            self._process = None

    def answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True


class Ends:
    """The agent's port and the board's on one broker."""

    def __init__(self, broker: Broker, folder: Path) -> None:
        self.broker = broker
        secrets = folder / "board.toml"
        secrets.write_text(f'key = "{KEY.hex()}"\n')
        secrets.chmod(0o600)
        self.url = f"mqtt://127.0.0.1:{broker.port}/{BOARD}?secrets={secrets}"
        self.came: SimpleQueue[bytes] = SimpleQueue()
        self.failures: SimpleQueue[bool] = SimpleQueue()
        self.agent = MqttPort(self.url, 0, self.came.put, lambda: self.failures.put(True))
        self.agent.start()
        self.board = open_port(self.url, 0)
        assert isinstance(self.board, BoardPort)
        self.heard = b""

    def close(self) -> None:
        self.agent.stop()
        self.board.close()
        self.broker.kill()
        assert self.failures.empty()

    def read(self) -> bytes:
        """What has come to the agent."""
        with_all = b""
        try:
            while True:
                with_all += self.came.get_nowait()
        except Empty:
            return with_all

    def meet(self) -> None:
        """Say hello until both ways are open: what is published before the other has subscribed is lost."""
        heard = answered = b""

        def both() -> bool:
            nonlocal heard, answered
            self.agent.write(DOWN)
            self.board.write(UP)
            heard += self.board.read()
            answered += self.read()
            return DOWN in heard and UP in answered

        until(both)


@pytest.fixture(params=["mosquitto", "amqtt"])
def ends(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ends]:
    made = Ends(Broker(request.param, tmp_path), tmp_path)
    yield made
    made.close()


pytestmark = pytest.mark.external


def test_lines_pass_both_ways_and_what_is_not_signed_does_not(ends: Ends) -> None:
    ends.meet()
    vend = board.Vend(5, 1, 7, 13, 20_000)
    good = board.seal(board.encode(vend), BOARD, "d", KEY)
    for payload in (good[:-2] + b"1}", board.seal(board.encode(vend), BOARD, "d", bytes(32)), b"", b"{}"):
        publish.single(board.topic(BOARD, "d"), payload, 1, hostname="127.0.0.1", port=ends.broker.port)
        publish.single(board.topic(BOARD, "u"), payload, 1, hostname="127.0.0.1", port=ends.broker.port)
    # What went down is no word of the board's, though it is rightly signed.
    publish.single(board.topic(BOARD, "u"), good, 1, hostname="127.0.0.1", port=ends.broker.port)
    ends.agent.write(board.line(vend) + board.line(board.Ack(5, 1)))
    heard = b""

    def is_all_heard() -> bool:
        nonlocal heard
        heard += ends.board.read()
        return b'"ack"' in heard

    until(is_all_heard)
    assert heard.replace(DOWN, b"") == board.line(vend) + board.line(board.Ack(5, 1))
    assert isinstance(ends.board, BoardPort)
    assert ends.board.refused == 4
    until(lambda: ends.agent.refused == 5)
    assert ends.read().replace(UP, b"") == b""


def test_after_the_broker_was_killed_both_are_back_and_nothing_old_comes(ends: Ends) -> None:
    ends.meet()
    ends.broker.kill()
    lost = board.line(board.Vend(5, 2, 8, 14, 20_000))
    until(lambda: not ends.agent.is_up)
    ends.agent.write(lost)
    ends.broker.start()
    heard = b""
    down = board.line(board.Hello(9))

    def is_back() -> bool:
        nonlocal heard
        ends.agent.write(down)
        heard += ends.board.read()
        return down in heard

    until(is_back)
    assert lost not in heard
    ends.meet()


class Host:
    """The driver on the agent's port, by the real clock."""

    def __init__(self, ends: Ends) -> None:
        self.ends = ends
        self.driver = MqttBoard(board.PROFILES["default"])
        self.events: list[base.DispenserEvent] = []

    def turn(self) -> None:
        """Carry what is there, both ways."""
        self.driver.receive(self.ends.read(), now_ms())
        self.driver.tick(now_ms())
        self.ends.agent.write(self.driver.take_output())
        self.events += self.driver.take_events()

    def wait(self, kind: type[Event]) -> Event:
        """The first event of a kind, as soon as it has come."""
        found: list[Event] = []

        def look() -> bool:
            self.turn()
            found.extend(event for event in self.events if isinstance(event, kind))
            return bool(found)

        until(look)
        return found[0]

    def vend(self, selection: int) -> base.Checked:
        """Check and vend, as far as the board has heard of it."""
        self.wait(base.OnlineChanged)
        self.driver.check(selection, now_ms())
        checked = self.wait(base.Checked)
        self.driver.vend(selection, now_ms() + 10_000, now_ms())
        self.wait(base.Progressed)
        return checked


@pytest.mark.parametrize("ends", ["mosquitto"], indirect=True)
def test_a_simulated_board_that_is_killed_in_mid_turn_knows_what_had_fallen(ends: Ends, tmp_path: Path) -> None:
    """The process, its file of state, the broker, both ports, and a new run of the driver after the crash."""
    ends.board.close()
    state = tmp_path / "board.json"
    command = [str(Path(sys.executable).parent / "jishan-sim"), "machine", "--face", "mqtt", "--port", ends.url]
    command += ["--slots", "1-3", "--card-port", "pty", "--state", str(state)]

    def started() -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def dropped() -> int:
        return len(json.loads(state.read_text())["cabinet"]["dropped"]) if state.exists() else 0

    process = started()
    try:
        checked = Host(ends).vend(1)
        until(lambda: dropped() == 1)
        process.kill()
        process.wait(PATIENCE_S)
        process = started()
        after = Host(ends)
        after.driver.recover(1, checked.readings, now_ms())
        result = after.wait(base.VendSucceeded)
        assert (result.selection, result.is_verified) == (1, True)
        after.driver.release(now_ms())
        after.wait(base.AtRest)

        def is_acknowledged() -> bool:
            after.turn()
            acked: int = json.loads(state.read_text())["cabinet"]["firmware"]["acked"]
            return acked == 1

        until(is_acknowledged)
        assert dropped() == 1
    finally:
        process.kill()
        process.wait(PATIENCE_S)


def test_a_vend_over_a_broker(ends: Ends) -> None:
    """Driver, both ports, broker, face: the whole path once, by the real clock."""
    face = face_for([Slot(1, 5, 5)], board.PROFILES["default"], Faults(), Random(1))
    host = Host(ends)
    is_over = threading.Event()

    def run_board() -> None:
        face.power_on(now_ms())
        while not is_over.is_set():
            face.receive(ends.board.read(), now_ms())
            ends.board.write(face.take_output())
            time.sleep(0.01)

    running = threading.Thread(target=run_board)
    running.start()
    try:
        host.vend(1)
        host.wait(base.VendSucceeded)
        assert face.cabinet.items_dropped(1) == 1
        assert face.cabinet.memory.firmware["acked"] == 0
        host.driver.release(now_ms())

        def is_acknowledged() -> bool:
            host.turn()
            return bool(face.cabinet.memory.firmware["acked"] == 1)

        until(is_acknowledged)
    finally:
        is_over.set()
        running.join()


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("mqtt://127.0.0.1:1883/board-1", "secrets=FILE"),
        ("mqtt://127.0.0.1:1883/?secrets=x", "board's id"),
        ("mqtt://127.0.0.1:1883/a/b?secrets=x", "board's id"),
        ("mqtt://u:p@127.0.0.1/b?secrets=x", "file of secrets"),
        ("mqtt:///b?secrets=x", "HOST:PORT"),
        ("mqtt://127.0.0.1:1883/b?secrets=/nowhere/at-all", "/nowhere/at-all"),
    ],
)
def test_an_address_that_is_none_names_what_is_wrong(url: str, why: str) -> None:
    with pytest.raises(AddressError, match=why):
        read_address(url)
    with pytest.raises(PortError, match=why):
        open_port(url, 0)


def test_a_file_of_secrets_that_others_may_read_is_refused(tmp_path: Path) -> None:
    secrets = tmp_path / "board.toml"
    secrets.write_text(f'key = "{KEY.hex()}"\n')
    secrets.chmod(0o644)
    with pytest.raises(AddressError, match="chmod 600"):
        read_address(f"mqtt://127.0.0.1/b?secrets={secrets}")
    secrets.chmod(0o600)
    address, read = read_address(f"mqtt://127.0.0.1/b?secrets={secrets}")
    assert (address.port, address.is_tls, read.key) == (1883, False, KEY)
    assert KEY.hex() not in repr(read)
    secrets.write_text('key = "00"\npassword = "hush"\n')
    with pytest.raises(AddressError, match="key: not 32 bytes") as refused:
        read_address(f"mqtt://127.0.0.1/b?secrets={secrets}")
    assert "hush" not in str(refused.value)

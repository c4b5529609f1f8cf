"""`jishan-sim machine` as a process: a real pty, a real control port, and kills at any moment."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
import serial

from jishan_protocol.dispensers import xy

DEFAULT = xy.PROFILES["default"]
LONG_S = 20  # a machine that has not answered by then never will


class Process:
    """One running `jishan-sim machine` and a host on its line."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "jishan_sim", "machine", *arguments]
        self.program = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.program.stdout is not None
        line = self.program.stdout.readline()
        if not line:
            _, said = self.program.communicate(timeout=LONG_S)
            raise RuntimeError(said)
        self.ports: dict[str, str] = json.loads(line)
        self._line: Any = None
        self._pack_no = 0

    def ask(self, method: str, path: str, body: object = None) -> Any:
        request = Request(self.ports["control"] + path, method=method)
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        with urlopen(request, timeout=LONG_S) as answer:
            return json.load(answer)

    def refused(self, method: str, path: str, body: object = None) -> tuple[int, dict[str, Any]]:
        with pytest.raises(HTTPError) as refusal:
            self.ask(method, path, body)
        with refusal.value as answer:
            return answer.code, json.load(answer)

    def hear(self, until: Callable[[xy.Message], bool], *says: xy.Message) -> list[xy.Message]:
        """Be the host until a message comes: answer POLLs, with what is to be said while there is any, and ACK data."""
        if self._line is None:
            self._line = serial.serial_for_url(self.ports["dispenser"], xy.BAUD_RATE, timeout=0.5)
        to_say, heard, parser, deadline = list(says), [], xy.Parser(), time.monotonic() + LONG_S
        while time.monotonic() < deadline:
            for one in parser.feed(self._line.read(max(1, self._line.in_waiting))):
                assert isinstance(one, xy.Frame), one
                message = xy.read(one)
                if isinstance(message, xy.Ack):
                    continue
                answer: xy.Message = xy.Ack()
                if isinstance(message, xy.Poll):
                    answer = to_say.pop(0) if to_say else answer
                else:
                    heard.append(message)
                self._pack_no = xy.next_pack_no(self._pack_no)
                self._line.write(xy.write(answer, self._pack_no, DEFAULT))
                if until(message):
                    return heard
        raise AssertionError(f"not heard within {LONG_S} s, only {heard}")

    def vend(self, selection: int) -> xy.DispensingStatus:
        """Drive a selection and wait for its final status."""
        drive = xy.Drive(drop_sensor=True, lift=False, selection=selection)
        final = self.hear(_is_final, drive)[-1]
        while not isinstance(final, xy.DispensingStatus):
            final = self.hear(_is_final)[-1]
        return final

    def until(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Look at the state until something holds."""
        deadline = time.monotonic() + LONG_S
        while time.monotonic() < deadline:
            state: dict[str, Any] = self.ask("GET", "/state")
            if holds(state):
                return state
            time.sleep(0.02)
        raise AssertionError("it never held")

    def kill(self) -> None:
        self.program.kill()
        self.program.wait(LONG_S)

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        self.program.send_signal(number)
        assert self.program.stderr is not None
        return self.program.wait(LONG_S), self.program.stderr.read()

    def close(self) -> None:
        if self._line is not None:
            # pyserial leaves a socket open whose other end was closed first.
            line_socket = getattr(self._line, "_socket", None)
            self._line.close()
            if line_socket is not None:
                line_socket.close()
        if self.program.poll() is None:
            self.kill()
        for stream in (self.program.stdout, self.program.stderr):
            if stream is not None:
                stream.close()


def _is_final(message: xy.Message) -> bool:
    return isinstance(message, xy.DispensingStatus) and xy.outcome_of(message.status) != "progress"


@pytest.fixture
def start() -> Iterator[Callable[..., Process]]:
    running: list[Process] = []

    def start(*arguments: str) -> Process:
        running.append(Process(*arguments))
        return running[-1]

    yield start
    for process in running:
        process.close()


def test_it_vends_over_a_pty_and_ends_without_a_word(start: Callable[..., Process]) -> None:
    machine = start("--slots", "1-3,60", "--items", "2")
    reports = machine.hear(lambda message: message == xy.SelectionReport(60, 100, 2, 10, 0, 0), xy.Synchronise())
    assert [one.selection for one in reports if isinstance(one, xy.SelectionReport)] == [1, 2, 3, 60]
    assert machine.vend(60) == xy.DispensingStatus(0x02, 60)
    state = machine.ask("GET", "/state")
    assert [(drop["selection"], drop["items"]) for drop in state["dropped"]] == [(60, 1)]
    assert state["items_dropped"] == 1
    assert [slot["items"] for slot in state["slots"]] == [2, 2, 2, 1]
    assert machine.end() == (0, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_leaves_nothing_behind(start: Callable[..., Process], tmp_path: Path, number: int) -> None:
    link, card_link = tmp_path / "vmc", tmp_path / "card"
    machine = start("--link", str(link), "--card-link", str(card_link))
    assert machine.ports["dispenser"] == str(link)
    assert link.is_symlink()
    assert machine.end(number) == (0, "")
    assert list(tmp_path.iterdir()) == []


def test_a_link_names_the_pty_again_after_a_kill(start: Callable[..., Process], tmp_path: Path) -> None:
    link = tmp_path / "vmc"
    start("--link", str(link)).kill()
    assert link.is_symlink()
    machine = start("--link", str(link))
    machine.hear(lambda message: isinstance(message, xy.Poll))
    assert machine.end() == (0, "")


def test_a_tapped_card_is_sent_by_the_reader_on_its_own_port(start: Callable[..., Process]) -> None:
    machine = start("--reader", "em4100")
    with serial.Serial(machine.ports["card"], 9600, timeout=LONG_S) as reader:
        machine.ask("POST", "/tap", {"uid": "0F:00:74:5A:70"})
        assert reader.read(16) == b"\x020F00745A7051\r\n\x03"
    assert machine.refused("POST", "/tap", {"uid": "7186A61E"}) == (
        400,
        {"code": "invalid", "errors": {"uid": "uid has 4 bytes, this reader reads cards with 5"}},
    )


def test_a_pressed_selection_comes_over_the_line(start: Callable[..., Process]) -> None:
    machine = start()
    machine.hear(lambda message: isinstance(message, xy.Synchronise))
    machine.ask("POST", "/press", {"selection": 7})
    assert xy.Selected(7) in machine.hear(lambda message: isinstance(message, xy.Selected))
    machine.ask("POST", "/money", {"amount": 500})
    assert xy.Credit(500) in machine.hear(lambda message: isinstance(message, xy.Credit))


def test_a_jam_of_the_next_vend_of_one_selection_is_set_over_http(start: Callable[..., Process]) -> None:
    machine = start()
    machine.ask("PUT", "/faults", {"once": [{"selection": 3, "jam": 1}]})
    assert machine.vend(3).status == 0x03
    state = machine.ask("GET", "/state")
    assert (state["items_dropped"], state["jammed"]) == (0, [3])
    assert machine.ask("GET", "/faults")["once"] == []
    machine.ask("POST", "/refill", {"selection": 3, "items": 9})
    machine.hear(
        lambda message: isinstance(message, xy.SelectionReport) and (message.selection, message.stock) == (3, 9)
    )
    assert machine.vend(3).status == 0x02


def test_a_power_cut_after_the_motors_start_and_a_held_status_are_set_over_http(start: Callable[..., Process]) -> None:
    machine = start("--profile", "counting")
    machine.hear(lambda message: isinstance(message, xy.Synchronise))
    machine.ask("PUT", "/faults", {"once": [{"power_cut": 1, "power_cut_ms": 1_700, "power_off_ms": 100}]})
    machine.hear(lambda message: isinstance(message, xy.Synchronise), xy.Drive(True, False, 1))
    heard = machine.hear(lambda message: isinstance(message, xy.Sales), xy.ReadSales(1))
    assert heard[-1] == xy.Sales(1, 100)
    assert machine.ask("GET", "/state")["items_dropped"] == 1
    machine.ask("PUT", "/faults", {"once": [{"hold_status_ms": 60_000}]})
    machine.hear(lambda message: isinstance(message, xy.DispensingStatus), xy.Drive(True, False, 2))
    machine.until(lambda state: state["items_dropped"] == 2 and state["turning"] is None)


def test_what_dropped_survives_the_kill_of_the_simulator(start: Callable[..., Process], tmp_path: Path) -> None:
    arguments = ("--profile", "counting", "--state", str(tmp_path / "state.json"), "--slots", "1", "--items", "5")
    for run in range(1, 3):
        machine = start(*arguments)
        assert machine.ask("GET", "/state")["items_dropped"] == run - 1
        machine.ask("PUT", "/faults", {"vend": {"hold_status_ms": 60_000}})
        machine.hear(lambda message: isinstance(message, xy.DispensingStatus), xy.Drive(True, False, 1))
        machine.until(lambda state, run=run: state["items_dropped"] == run)
        machine.kill()
    machine = start(*arguments)
    state = machine.ask("GET", "/state")
    assert (state["items_dropped"], state["slots"][0]["items"], state["sales"]["1"]["count"]) == (2, 3, 2)
    assert machine.end() == (0, "")
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]


def test_a_turn_under_way_is_gone_with_the_kill(start: Callable[..., Process], tmp_path: Path) -> None:
    arguments = ("--state", str(tmp_path / "state.json"))
    machine = start(*arguments)
    machine.ask("PUT", "/faults", {"vend": {"slow": 1}})
    machine.hear(lambda message: isinstance(message, xy.DispensingStatus), xy.Drive(True, False, 1))
    machine.until(lambda state: state["turning"] == 1)
    machine.kill()
    state = start(*arguments).ask("GET", "/state")
    assert (state["items_dropped"], state["turning"], state["slots"][0]["items"]) == (0, None, 5)


def test_power_door_and_temperature_are_in_a_persons_hand(start: Callable[..., Process]) -> None:
    machine = start()
    machine.hear(lambda message: isinstance(message, xy.Synchronise))
    machine.ask("POST", "/power", {"on": False})
    assert machine.ask("GET", "/state")["powered"] is False
    machine.ask("POST", "/power", {"on": True})
    machine.hear(lambda message: isinstance(message, xy.Synchronise))
    machine.ask("POST", "/door", {"open": True})
    machine.ask("POST", "/temperature", {"celsius": -3})
    heard = machine.hear(lambda message: isinstance(message, xy.MachineState), xy.MachineStateQuery())
    assert isinstance(heard[-1], xy.MachineState)
    assert (heard[-1].door_open, heard[-1].temperature_tenths_c) == (True, -30)


def test_the_log_tells_the_frames_in_words(start: Callable[..., Process]) -> None:
    machine = start()
    machine.vend(2)
    frames = machine.ask("GET", "/log?limit=1000")["frames"]
    told = [(frame["sender"], frame["name"]) for frame in frames if frame["ok"]]
    assert ("host", "drive") in told
    assert frames[-1]["fields"]["outcome"] == "dispensed"
    assert frames[-1]["bytes"].startswith("FA FB 04")
    assert machine.refused("GET", "/log?limit=0")[0] == 400


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("POST", "/press", {"selection": "one"}, "selection"),
        ("POST", "/press", {"selection": 1000}, "selection"),
        ("POST", "/press", {}, "selection"),
        ("POST", "/press", {"selection": 1, "twice": True}, "twice"),
        ("POST", "/press", [], "body"),
        ("POST", "/tap", {"uid": "no card"}, "uid"),
        ("POST", "/tap", {"uid": "A" * 65}, "uid"),
        ("POST", "/power", {"on": 1}, "on"),
        ("POST", "/door", {"open": "yes"}, "open"),
        ("POST", "/refill", {"selection": 77}, "selection"),
        ("POST", "/refill", {"items": 256}, "items"),
        ("POST", "/temperature", {"celsius": 1.5}, "celsius"),
        ("POST", "/money", {"amount": 0}, "amount"),
        ("PUT", "/faults", {"vend": {"jam": 2}}, "vend.jam"),
        ("PUT", "/faults", {"once": [{"selection": 3, "jamm": 1}]}, "once.0.jamm"),
        ("GET", "/log?limit=many", None, "limit"),
    ],
)
def test_a_bad_request_is_refused_by_the_name_of_its_field(
    control: Process, method: str, path: str, body: object, field: str
) -> None:
    before = control.ask("GET", "/state"), control.ask("GET", "/faults")
    assert control.ask("GET", "/healthz") == {"ok": True}
    code, answer = control.refused(method, path, body)
    assert (code, answer["code"], list(answer["errors"])) == (400, "invalid", [field])
    after = control.ask("GET", "/state"), control.ask("GET", "/faults")
    assert before[0] | {"now_ms": 0} == after[0] | {"now_ms": 0}
    assert before[1] == after[1]


@pytest.fixture(scope="module")
def control() -> Iterator[Process]:
    process = Process()
    yield process
    process.close()


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/press", b"{", 400),
        ("/press", b"[" * 100_000, 400),
        ("/press", b" " * 2_000_000, 413),
        ("/nothing", b"{}", 404),
    ],
)
def test_what_is_no_request_is_refused(control: Process, path: str, body: bytes, status: int) -> None:
    request = Request(control.ports["control"] + path, body, {"Content-Type": "application/json"})
    with pytest.raises(HTTPError) as refusal:
        urlopen(request, timeout=LONG_S)
    with refusal.value as answer:
        assert answer.code == status
    assert control.ask("GET", "/healthz") == {"ok": True}


def test_it_listens_on_tcp_for_one_host_after_another(start: Callable[..., Process]) -> None:
    machine = start("--port", "tcp:127.0.0.1:0", "--card-port", "tcp:127.0.0.1:0")
    assert machine.ports["dispenser"].startswith("socket://127.0.0.1:")
    assert machine.vend(1).status == 0x02
    with serial.serial_for_url(machine.ports["dispenser"], timeout=LONG_S) as other:
        # The last status may come once more before it: the first host's ACK was perhaps not heard.
        assert other.read_until(xy.POLL_FRAME).endswith(xy.POLL_FRAME)
    with serial.serial_for_url(machine.ports["card"], timeout=LONG_S) as reader:
        assert machine.program.poll() is None
        machine.ask("POST", "/tap", {"uid": "7186A61E"})
        assert reader.read(10) == b"7186A61E\r\n"


def test_it_drives_a_real_port_by_its_name(start: Callable[..., Process]) -> None:
    ours, theirs = os.openpty()
    try:
        machine = start("--port", os.ttyname(theirs), "--card-port", "loop://")
        assert machine.ports["dispenser"] == os.ttyname(theirs)
        assert select.select([ours], [], [], LONG_S)[0]
        assert os.read(ours, 6) == bytes.fromhex("FA FB 31 01 01 30")
        assert machine.end() == (0, "")
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--port", "/dev/none-such"), "/dev/none-such"),
        (("--port", "tcp:nowhere"), "not HOST:PORT"),
        (("--control", "127.0.0.1"), "not HOST:PORT"),
        (("--slots", "1-"), "'1-'"),
        (("--slots", "3-1"), "'3-1'"),
        (("--slots", "1,1"), "twice"),
        (("--slots", "1-999"), "999 slots, 500 at most"),
        (("--profile", "none-such"), "none-such"),
        (("--faults", "none-such.toml"), "none-such.toml"),
        (("--port", "tcp:127.0.0.1:0", "--link", "here"), "only a pty can be linked"),
    ],
)
def test_a_bad_setting_stops_the_start_and_names_itself(
    start: Callable[..., Process], arguments: tuple[str, ...], why: str
) -> None:
    with pytest.raises(RuntimeError, match=why):
        start(*arguments)


def test_a_bad_faults_file_or_state_file_stops_the_start_and_names_itself(
    start: Callable[..., Process], tmp_path: Path
) -> None:
    faults = tmp_path / "faults.toml"
    faults.write_text("[vend]\njam = 3\n", "utf-8")
    with pytest.raises(RuntimeError, match=r"vend\.jam"):
        start("--faults", str(faults))
    state = tmp_path / "state.json"
    state.write_text('{"version": 99}', "utf-8")
    with pytest.raises(RuntimeError, match=r"state\.json.*version 99"):
        start("--state", str(state))
    with pytest.raises(RuntimeError, match="is no symbolic link"):
        start("--link", str(state))

"""The conformance kit: right controllers agree with every rule, planted deviations are found, exactly they."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import reduce
from operator import xor as exclusive_or
from pathlib import Path
from random import Random
from typing import Any

import pytest
from click.testing import CliRunner

from jishan_protocol.dispensers import lock_board, modbus_board, xy
from jishan_sim.cabinet import Slot
from jishan_sim.conform import PACKS, Wishes, conform, findings_of, report_of
from jishan_sim.conform_report import Finding, Fitting, Report, Verdict, fitting
from jishan_sim.faces import FACES
from jishan_sim.faces.base import Face, FaceMaker
from jishan_sim.faces.xy import XyFace, cabinet_for
from jishan_sim.faults import Faults, from_mapping
from jishan_sim.running import RunningMachine

ITEMS = 5
LONG_S = 120
Asked = Callable[[str, "VirtualWire"], bool | None]


class VirtualWire:
    """A line to a face, on a clock of its own."""

    def __init__(self, face: Face) -> None:
        self.face = face
        self.now_ms = 3_000
        face.power_on(0)
        face.tick(self.now_ms)
        face.take_output()

    def write(self, data: bytes) -> None:
        self.face.receive(data, self.now_ms)

    def read(self, within_ms: int) -> bytes:
        end_ms = self.now_ms + within_ms
        while not (output := self.face.take_output()) and self.now_ms < end_ms:
            due_ms = self.face.next_wakeup_ms
            self.now_ms = end_ms if due_ms is None else min(max(due_ms, self.now_ms), end_ms)
            self.face.tick(self.now_ms)
        return output


class SignedWire(VirtualWire):
    """One that refuses what is wrongly signed, as the port of a board does."""

    def write_forged(self, content: bytes) -> None:
        assert content


def wire_to(face: str, profile: str = "default", kind: type[VirtualWire] = VirtualWire, **faults: Any) -> VirtualWire:
    slots = [Slot(selection, ITEMS, ITEMS) for selection in range(1, 25)]
    return kind(FACES[face].make(profile, slots, from_mapping(faults), Random(1)))


def found(
    face: str, wire: VirtualWire, *, moves: bool = True, asked: Asked = lambda _, __: None, is_whole: bool = False
) -> list[Finding]:
    wishes = Wishes(lambda question, _: asked(question, wire), lambda *_: moves, is_whole=is_whole)
    return findings_of(face, wire, wishes)


def differing(findings: Iterable[Finding]) -> list[str]:
    return [f"{one.step}: {one.rule}" for one in findings if one.verdict is Verdict.DIFFERS]


def of_step(findings: Iterable[Finding], step: str) -> list[Verdict]:
    return [one.verdict for one in findings if one.step == step]


def answers(question: str, wire: VirtualWire) -> bool | None:
    """A person who does what is asked for: presses, cuts the power in mid-turn, sees what falls."""
    if "Press any" in question:
        wire.face.cabinet.set_price(2, 3)
        wire.face.press(2, wire.now_ms)
    if "power" in question:
        dropped = wire.face.cabinet.items_dropped()
        wire.now_ms += 2_000  # the item falls 1.8 s after the command, the turn ends 0.8 s later
        wire.face.tick(wire.now_ms)
        wire.face.power_cut(wire.now_ms)
        wire.now_ms += 3_000
        wire.face.power_on(wire.now_ms)
        return wire.face.cabinet.items_dropped() > dropped
    return True


@pytest.mark.parametrize("face", PACKS)
def test_nothing_differs_and_nothing_moves_without_a_yes(face: str) -> None:
    wire = wire_to(face)
    findings = found(face, wire, moves=False)
    assert differing(findings) == []
    assert len(findings) > 5
    assert wire.face.cabinet.turns == 0
    assert any(one.verdict is Verdict.NOT_TRIED for one in findings)


@pytest.mark.parametrize("face", PACKS)
def test_a_right_controller_agrees_with_every_rule_when_everything_may_move(face: str) -> None:
    wire = wire_to(face, kind=SignedWire)
    findings = found(face, wire, asked=answers, is_whole=True)
    assert differing(findings) == []
    if face != "mdb":
        assert wire.face.cabinet.turns > 0
    assert [one.rule for one in findings if one.verdict is Verdict.NOT_TRIED] == []


@pytest.mark.parametrize("face", PACKS)
def test_a_line_with_nobody_on_it_is_one_finding(face: str) -> None:
    wire = wire_to(face, silent=True)
    assert len(differing(found(face, wire))) == 1


@pytest.mark.parametrize(
    ("face", "profile"),
    [
        ("xy", "default"),
        ("xy", "paper"),
        ("xy", "counting"),
        ("xy", "counting-stock"),
        ("lock-board", "made-when-open"),
        ("lock-board", "reporting"),
        ("lock-board", "four-boards"),
        ("modbus-board", "two-units"),
        ("mqtt", "no-drop-sensor"),
        ("mqtt", "late-store"),
    ],
)
def test_the_profile_that_is_named_is_the_one_it_has(face: str, profile: str) -> None:
    findings = found(face, wire_to(face, profile, SignedWire), asked=answers, is_whole=True)
    told = report_of(face, "x", "now", findings).fitting
    assert told == Fitting(profile, {}), differing(findings)


class Deviant(XyFace):
    """Five things that this controller does its own way."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.profile = replace(xy.PROFILES["paper"], name="deviant")

    def _boot(self, now_ms: int) -> None:
        super()._boot(now_ms)
        self._ram.interval_ms = 500

    def _take_command(self, frame: xy.Frame, now_ms: int) -> None:
        if frame.cmd == xy.CHECK and len(frame.text) == 2:
            self._note_answer(now_ms)
            return
        super()._take_command(frame, now_ms)

    def _transmit(self, raw: bytes, now_ms: int) -> None:
        super()._transmit(raw, now_ms)
        if self._ram.unacknowledged == raw:
            self._ram.sends = xy.MAX_SENDS

    def _hear(self, arrived: bytes, now_ms: int) -> None:
        if arrived[:2] == xy.HEADER and len(arrived) > 5 and xy.checksum(arrived):
            self._note_answer(now_ms)
            self._transmit(xy.ACK_FRAME, now_ms)
            return
        super()._hear(arrived, now_ms)


DEVIATIONS = [
    "poll: A POLL comes every 200 ms",
    "check: 01 with LEN 3 is answered by 02",
    "resend: Data without ACK is sent again with the same PackNO, five times at most",
    "checksum: A frame with a wrong XOR is neither acknowledged nor obeyed",
    "vend: 04 has LEN 4",
]


class Translator(VirtualWire):
    """A board with a way of its own, made by changing what passes its line."""

    heard_as: Callable[[bytes], bytes] = staticmethod(lambda raw: raw)
    said_as: Callable[[bytes], bytes] = staticmethod(lambda raw: raw)

    def write(self, data: bytes) -> None:
        super().write(type(self).heard_as(data))

    def read(self, within_ms: int) -> bytes:
        return type(self).said_as(super().read(within_ms))


def repaired_lock(raw: bytes) -> bytes:
    return raw[:-1] + bytes([reduce(exclusive_or, raw[:-1])]) if len(raw) == lock_board.FRAME_BYTES else raw


def repaired_modbus(raw: bytes) -> bytes:
    return raw[:-2] + modbus_board.crc(raw[:-2]) if len(raw) == 8 else raw


@pytest.mark.parametrize(
    ("face", "heard_as", "said_as", "rule"),
    [
        ("lock-board", repaired_lock, bytes, "A frame with a wrong XOR is not answered"),
        ("modbus-board", repaired_modbus, bytes, "A frame with a wrong CRC is not answered"),
        ("mdb", bytes, lambda raw: raw.replace(b"c,SET,OK", b"c,SET"), "C,SETCONF is answered by c,SET,OK"),
        ("mdb", bytes, lambda raw: raw.replace(b"3.00", b"2.50"), "The price is a whole number of points"),
        ("mqtt", lambda raw: raw.replace(b"hallo", b"hello"), bytes, "A message of an unknown type is not answered"),
        (
            "mqtt",
            bytes,
            lambda raw: raw.replace(b'"not_given"', b'"refused"'),
            "A number beyond the next says not_given",
        ),
        ("mqtt", bytes, lambda raw: raw.replace(b'"refused"', b'"unknown"'), "A vend with another nonce is refused"),
    ],
)
def test_a_way_of_its_own_is_found_in_every_pack(
    face: str, heard_as: Callable[[bytes], bytes], said_as: Callable[[bytes], bytes], rule: str
) -> None:
    own = type("Own", (Translator,), {"heard_as": staticmethod(heard_as), "said_as": staticmethod(said_as)})
    differs = differing(found(face, wire_to(face, kind=own), asked=answers))
    assert rule in {one.partition(": ")[2] for one in differs}
    assert len(differs) <= 3


def deviant(slots: Iterable[Slot], profile: xy.XyProfile, faults: Faults, random: Random) -> Face:
    return Deviant(cabinet_for(profile, slots), profile, faults, random)


def test_five_planted_deviations_are_found_on_a_real_line_and_the_profile_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(FACES, "deviant", FaceMaker(xy.PROFILES, xy.BAUD_RATE, deviant))
    with RunningMachine("deviant", slots="1-3") as machine:
        command = [sys.executable, "-m", "jishan_sim", "conform", "--port", machine.port, "--face", "xy", "--yes-move"]
        done = subprocess.run(
            [*command, "--report", str(tmp_path / "told")],
            capture_output=True,
            text=True,
            timeout=LONG_S,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 1, done.stderr
        told = json.loads((tmp_path / "told.json").read_text("utf-8"))
        differs = [f"{one['step']}: {one['rule']}" for one in told["findings"] if one["verdict"] == "differs"]
        assert differs == DEVIATIONS
        assert told["profile"] == {"name": "paper", "settings": {}, "toml": ""}
        assert told["counts"]["differs"] == 5
        assert json.loads(done.stdout.splitlines()[-1])["profile"] == "paper"
        page = (tmp_path / "told.html").read_text("utf-8")
        assert page.count('<tr class="differs">') == 5
        assert "dispenser_profile = &quot;paper&quot;" in page
        assert 1 <= machine.items_dropped() <= 2


@pytest.mark.parametrize("number", range(5))
def test_each_deviation_alone_is_found_alone(number: int) -> None:
    ways = ("_boot", "_take_command", "_transmit", "_hear")
    right = {way: getattr(XyFace, way) for place, way in enumerate(ways) if place != (0, 1, 2, 3, None)[number]}
    own = type("Own", (Deviant,), right)
    profile = replace(xy.PROFILES["paper" if number == 4 else "default"], check_length=3)
    face = own(
        cabinet_for(profile, [Slot(selection, ITEMS, ITEMS) for selection in (1, 2, 3)]), profile, Faults(), Random(1)
    )
    face.profile = profile
    assert differing(found("xy", VirtualWire(face))) == [DEVIATIONS[number]]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[int]:
    """The port of a broker that asks for no names."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    settings = tmp_path / "broker.yaml"
    settings.write_text(
        f"listeners:\n  default:\n    type: tcp\n    bind: 127.0.0.1:{port}\n"
        "plugins:\n  amqtt.plugins.authentication.AnonymousAuthPlugin:\n    allow_anonymous: true\n"
    )
    program = [str(Path(sys.executable).parent / "amqtt"), "-c", str(settings)]
    with subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        deadline = time.monotonic() + LONG_S
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield port
        running.kill()


def test_a_board_at_a_broker_is_played_to_the_end(broker: int, tmp_path: Path) -> None:
    secrets = tmp_path / "board.toml"
    secrets.write_text(f'key = "{bytes(range(32)).hex()}"\n')
    secrets.chmod(0o600)
    url = f"mqtt://127.0.0.1:{broker}/board-1?secrets={secrets}"
    with RunningMachine("mqtt", slots="1-3", port=url) as machine:
        done = subprocess.run(
            [sys.executable, "-m", "jishan_sim", "host", "--face", "mqtt", "--port", url, "--yes-move"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=LONG_S,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        told = json.loads((tmp_path / "conformance.json").read_text("utf-8"))
        skipped = {one["step"] for one in told["findings"] if one["verdict"] == "not_tried"}
        assert skipped == {"power"}
        assert "mac" in {one["step"] for one in told["findings"] if one["verdict"] == "agrees"}
        assert told["profile"]["name"] == "default"
        machine.until(lambda: machine.items_dropped() == 2)


def test_a_person_at_a_terminal_is_asked_and_a_no_moves_nothing(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "jishan_sim", "conform", "--face", "lock-board"]
    with RunningMachine("lock-board", slots="1-24") as machine:
        with subprocess.Popen(
            [*command, "--port", machine.port], cwd=tmp_path, stdin=theirs, stdout=subprocess.PIPE, text=True
        ) as asking:
            os.write(ours, b"y\nn\n")
            said, _ = asking.communicate(timeout=LONG_S)
        os.close(ours)
        os.close(theirs)
        assert asking.returncode == 0, said
        assert machine.turns() == 0
    told = {one["step"]: one for one in json.loads((tmp_path / "conformance.json").read_text("utf-8"))["findings"]}
    assert told["wiring"]["settings"] == {"contact_made_when_open": False}
    assert told["open"]["verdict"] == "not_tried"
    assert "going to open" in said


def test_a_person_who_takes_time_leaves_no_poll_unanswered() -> None:
    wire = wire_to("xy")

    def thinks(question: str, meanwhile: Callable[[], object]) -> bool:
        for _ in range(100):
            meanwhile()
        return True

    findings = findings_of("xy", wire, Wishes(thinks, thinks))
    assert differing(findings) == []
    assert wire.face.late_answers == 1, "the one that was late on purpose"


def test_a_broker_that_is_not_there_is_named() -> None:
    refused = CliRunner().invoke(conform, ["--face", "mqtt", "--port", "mqtt://127.0.0.1:1/b?secrets=none.toml"])
    assert refused.exit_code == 1
    assert "none.toml" in refused.output
    refused = CliRunner().invoke(conform, ["--face", "xy", "--port", "/dev/nothing"])
    assert refused.exit_code == 1
    assert "/dev/nothing" in refused.output


def test_what_no_profile_has_becomes_settings_of_ones_own() -> None:
    seen = Finding("x", "y", Verdict.NOTED, "", {"locks": 50, "boards": 4, "contact_made_when_open": True})
    told = fitting(lock_board.PROFILES, [seen])
    assert told.toml == '[dispenser.mine]\nlike = "made-when-open"\nlocks = 50\nboards = 4\n'
    with pytest.raises(ValueError, match="boards"):
        replace(lock_board.PROFILES["four-boards"], boards=99)


def test_nothing_of_the_controllers_becomes_part_of_the_page() -> None:
    finding = Finding("<b>", "a & b", Verdict.DIFFERS, "<script>")
    page = Report("xy", "<i>", "now", [finding], Fitting("default", {"a": "<u>"})).html()
    assert not re.search("<(b|script|i|u)>", page)
    assert "a &amp; b" in page

"""Recording what passes a line, and playing the machine's side of it again."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any

import pytest
import serial
from click.testing import CliRunner

from jishan_protocol.dispensers import xy
from jishan_sim.record import Piece, RecordingError, Side, head, parse, read_file, record
from jishan_sim.replay import AGAIN_MS, PATIENCE_MS, Difference, Replay, replay, turns_of
from jishan_sim.running import RunningMachine

LONG_S = 20
POLL, ACK = xy.POLL_FRAME, xy.ACK_FRAME
CHECK = xy.write(xy.Check(1), 1, xy.PROFILES["default"])
RESULT = xy.write(xy.CheckResult(1, 1), 1, xy.PROFILES["default"])
STORY = (
    Piece(0, "machine", POLL),
    Piece(200, "machine", POLL),
    Piece(205, "host", CHECK),
    Piece(206, "machine", ACK),
    Piece(216, "machine", RESULT),
    Piece(219, "host", ACK),
)


def pieces(*said: tuple[int, Side, bytes]) -> list[Piece]:
    return [Piece(*one) for one in said]


def test_a_recording_is_read_as_it_was_written() -> None:
    lines = [head("/dev/ttyUSB0", 57_600), *(piece.line() for piece in STORY)]
    assert parse(lines) == list(STORY)
    assert json.loads(lines[1]) == {"at_ms": 0, "from": "machine", "bytes": "FA FB 41 00 40"}


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ([], "nothing is recorded"),
        ([head("x", 1)], "nothing is recorded"),
        (["[]"], "line 1"),
        (['{"jishan_recording": 2}'], "line 1: format 2, 1 is known"),
        (["{}"], "line 1: 'jishan_recording' is missing"),
        ([head("x", 1), '{"at_ms": 1, "from": "cat", "bytes": ""}'], "line 2: from 'cat'"),
        ([head("x", 1), '{"at_ms": 1, "from": "host", "bytes": "0"}'], "line 2: 1 hex digits"),
        ([head("x", 1), '{"at_ms": 1, "from": "host", "bytes": 5}'], "line 2"),
        ([head("x", 1), '{"at_ms": true, "from": "host", "bytes": ""}'], "line 2: at_ms True"),
        ([head("x", 1), Piece(5, "host", b"1").line(), Piece(4, "host", b"1").line()], "line 3: at_ms 4"),
        ([head("x", 1), "not json"], "line 2"),
    ],
)
def test_what_is_no_recording_is_refused_by_its_line(lines: list[str], why: str) -> None:
    with pytest.raises(RecordingError, match=re.escape(why)):
        parse(lines)


def test_what_nobody_heard_is_left_out_but_for_the_last_burst() -> None:
    turns = turns_of(STORY)
    assert [(turn.says, turn.gap_ms, turn.answer) for turn in turns] == [
        (POLL, 6, CHECK),
        (ACK, 10, b""),
        (RESULT, 0, ACK),
    ]
    cut = turns_of(pieces((0, "machine", b"a"), (100, "machine", b"b"), (105, "machine", b"c"), (110, "host", b"d")))
    assert [turn.says for turn in cut] == [b"b", b"c"]


def test_the_same_host_hears_the_same_at_the_same_times() -> None:
    story = Replay(STORY)
    story.tick(1_000)
    assert story.take_output() == POLL
    story.receive(CHECK, 1_003)
    assert (story.take_output(), story.next_wakeup_ms) == (b"", 1_006)
    story.tick(1_006)
    assert (story.take_output(), story.next_wakeup_ms) == (ACK, 1_016)
    story.tick(1_016)
    assert story.take_output() == RESULT
    story.receive(ACK[:2], 1_018)
    assert not story.is_over
    story.receive(ACK[2:], 1_019)
    assert story.is_over
    assert story.differences == []
    assert story.next_wakeup_ms is None


def test_a_fast_story_waits_for_the_host_alone() -> None:
    story = Replay(STORY, is_fast=True)
    story.receive(CHECK, 0)
    story.receive(ACK, 0)
    assert story.take_output() == POLL + ACK + RESULT
    assert story.is_over
    assert story.differences == []


def test_the_first_word_is_said_again_until_somebody_answers() -> None:
    story = Replay(STORY)
    story.tick(0)
    for again in range(1, 4):
        story.tick(again * AGAIN_MS)
    assert story.take_output() == POLL * 4
    story.receive(CHECK, 3 * AGAIN_MS + 6)
    assert story.take_output() == ACK
    assert not story.differences


def test_other_bytes_are_told_with_their_place_and_the_story_goes_on() -> None:
    other = xy.write(xy.Check(2), 1, xy.PROFILES["default"])
    story = Replay(STORY)
    story.tick(0)
    story.receive(other, 0)
    story.tick(500)
    story.tick(500)
    assert story.take_output() == POLL + ACK
    story.tick(510)
    story.receive(ACK, 511)
    assert story.is_over
    assert story.differences == [Difference(200, CHECK, other)]


def test_a_host_that_falls_silent_is_told_and_not_waited_for_for_ever() -> None:
    story = Replay(STORY)
    story.tick(0)
    story.receive(CHECK[:3], 10)
    assert story.next_wakeup_ms == 10 + PATIENCE_MS
    while (due_ms := story.next_wakeup_ms) is not None:
        story.tick(due_ms)
    assert story.is_over
    assert story.differences == [Difference(200, CHECK, CHECK[:3]), Difference(216, ACK, b"")]


def test_any_story_that_is_answered_as_recorded_is_the_same_however_it_is_cut() -> None:
    for seed in range(200):
        random = Random(seed)
        at_ms, story = 0, list[Piece]()
        for _ in range(random.randint(1, 30)):
            at_ms += random.choice((0, 3, 40, 900))
            story.append(Piece(at_ms, random.choice(("machine", "host")), random.randbytes(random.randint(1, 6))))
        turns = turns_of(story)
        is_fast = random.random() < 0.5
        player, said, now_ms = Replay(story, is_fast=is_fast), bytearray(), 0
        player.tick(0)
        said += player.take_output()
        for turn in turns:
            for byte in turn.answer:
                player.receive(bytes([byte]), now_ms)
                said += player.take_output()
            now_ms += 0 if is_fast else turn.gap_ms
            player.tick(now_ms)
            said += player.take_output()
        assert player.is_over, seed
        assert player.differences == [], seed
        assert bytes(said) == b"".join(turn.says for turn in turns), seed


# --- on real lines, as programs ---


class Host:
    """A host on a line: answers every POLL, with what it is to say while there is any, and keeps what it hears."""

    def __init__(self, port: str, *says: xy.Message) -> None:
        self.line: Any = serial.serial_for_url(port, xy.BAUD_RATE, timeout=0.1)
        self._to_say = [xy.write(one, number, xy.PROFILES["default"]) for number, one in enumerate(says, 1)]
        self._parser = xy.Parser()
        self.heard = bytearray()

    def until(self, last: bytes) -> None:
        """Be the host until these bytes have come, and acknowledge them."""
        deadline = time.monotonic() + LONG_S
        while not self.heard.endswith(last):
            assert time.monotonic() < deadline, self.heard[-60:].hex(" ")
            # Byte by byte, so that it stops exactly where it is told to.
            raw = self.line.read(1)
            self.heard += raw
            for frame in self._parser.feed(raw):
                assert isinstance(frame, xy.Frame)
                if frame.cmd == xy.POLL and self._to_say:
                    self.line.write(self._to_say.pop(0))
                elif frame.cmd != xy.ACK:
                    self.line.write(xy.ACK_FRAME)

    def close(self) -> None:
        self.line.close()


@pytest.fixture
def programs() -> Iterator[ExitStack]:
    with ExitStack() as open_things:
        yield open_things


def start(programs: ExitStack, *words: str) -> tuple[subprocess.Popen[str], dict[str, str]]:
    command = [sys.executable, "-m", "jishan_sim", *words]
    program = programs.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
    programs.callback(program.kill)
    assert program.stdout is not None
    return program, json.loads(program.stdout.readline())


def test_a_recorded_session_replays_byte_for_byte(programs: ExitStack, tmp_path: Path) -> None:
    wishes = (xy.Synchronise(), xy.Check(2), xy.Drive(drop_sensor=True, lift=False, selection=2))
    machine = programs.enter_context(RunningMachine("xy", slots="1-3"))
    # The VMC's pack numbers: 1 for its 31, 2..4 for the reports, 5 for the check, 6 and 7 for the vend.
    last = xy.write(xy.DispensingStatus(2, 2), 7, xy.PROFILES["default"])
    session = tmp_path / "session.jsonl"
    tee, ports = start(programs, "record", machine.port, str(session), "--baud-rate", str(xy.BAUD_RATE))
    host = Host(ports["host"], *wishes)
    programs.callback(host.close)
    host.until(last)
    time.sleep(0.05)  # the tee is to pass on the last ACK, which nothing answers
    tee.send_signal(signal.SIGTERM)
    assert tee.wait(LONG_S) == 0
    recorded = read_file(session)
    machine_said = b"".join(piece.raw for piece in recorded if piece.side == "machine")
    assert machine_said[: machine_said.index(last) + len(last)].endswith(bytes(host.heard))

    for speed in ([], ["--fast"]):
        story, ports = start(programs, "replay", str(session), "--port", "tcp:127.0.0.1:0", *speed)
        again = Host(ports["machine"], *wishes)
        begun = time.monotonic()
        again.until(last)
        took_s = time.monotonic() - begun
        assert story.stdout is not None
        ended = json.loads(story.stdout.readlines()[-1])
        again.close()
        assert ended == {"is_over": True, "differences": 0}
        assert story.wait(LONG_S) == 0
        played = b"".join(turn.says for turn in turns_of(recorded))
        assert bytes(again.heard) == played[: played.index(last) + len(last)]
        # The vend alone takes 2.6 s; a first word that came before the host is said again after one.
        assert (took_s < 2.5) == bool(speed)


def test_a_host_that_says_other_bytes_is_named_and_the_exit_says_so(programs: ExitStack, tmp_path: Path) -> None:
    session = tmp_path / "session.jsonl"
    session.write_text("\n".join([head("x", 1), *(piece.line() for piece in STORY)]))
    story, ports = start(programs, "replay", str(session), "--fast")
    host = Host(ports["machine"], xy.Check(2))
    host.until(RESULT)
    assert story.stdout is not None
    said = [json.loads(line) for line in story.stdout]
    host.close()
    assert [one.get("expected") for one in said] == ["FA FB 01 03 01 00 01 03", None]
    assert said[-1] == {"is_over": True, "differences": 1}
    assert story.wait(LONG_S) == 1


def test_what_is_there_is_not_written_over_and_no_port_is_said(tmp_path: Path) -> None:
    there = tmp_path / "there.jsonl"
    there.write_text("mine")
    refused = CliRunner().invoke(record, ["tcp:127.0.0.1:0", str(there)])
    assert refused.exit_code == 1
    assert "there.jsonl" in refused.output
    assert there.read_text() == "mine"
    assert "/dev/nothing" in CliRunner().invoke(record, ["/dev/nothing", str(tmp_path / "new")]).output
    assert "line 1" in CliRunner().invoke(replay, [str(there)]).output

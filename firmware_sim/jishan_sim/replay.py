"""`jishan-sim replay`: plays the machine's side of a recording to a host, and says where the host says other bytes.

Rules of the play:
- A piece of the machine's goes out when everything that the host had said before it has come, and no sooner after the
  piece before it than it did in the recording (with `is_fast` at once). So a slow host slows the story down and breaks
  nothing.
- A host that says nothing more for PATIENCE_MS is not waited for: what it left out is a difference, and the story goes
  on.
- What the host had not answered before its first word is left out, but for the last burst of it: nobody was there. That
  burst is said again each AGAIN_MS until the host speaks, as a controller polls until somebody answers.
- The host's bytes are held against the recorded ones from one piece of the machine's to the next; what comes early
  counts for the next.
"""

from __future__ import annotations

import json
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from jishan_sim.machine import LONGEST_WAIT_S, boot_ms
from jishan_sim.ports import Port, PortError, open_port, wait
from jishan_sim.record import USUAL_BAUD_RATE, Piece, RecordingError, read_file

PATIENCE_MS: Final = 2_000  # the longest that one poll interval may be, so that no honest answer is cut off
AGAIN_MS: Final = 1_000
BURST_GAP_MS: Final = 20  # pieces closer than this are one saying that was read in parts


@dataclass(frozen=True, slots=True)
class Difference:
    """Where the host said something else than in the recording. `at_ms` is the recording's time."""

    at_ms: int
    expected: bytes
    said: bytes

    def line(self) -> str:
        """In words, as JSON."""
        return json.dumps({"at_ms": self.at_ms, "expected": _spaced(self.expected), "said": _spaced(self.said)})


@dataclass(frozen=True, slots=True)
class Turn:
    """What the machine says at one moment, and what the host then says before the machine's next word."""

    at_ms: int
    says: bytes
    gap_ms: int
    answer: bytes


class Replay:
    """One story, without a clock and a port. It begins with the first `tick`."""

    def __init__(self, pieces: Sequence[Piece], *, is_fast: bool = False) -> None:
        self._turns = turns_of(pieces)
        self._is_fast = is_fast
        self._place = -1
        self._said = bytearray()
        self._output = bytearray()
        self._since_ms = 0
        self._heard_ms: int | None = None
        self.differences: list[Difference] = []

    @property
    def is_over(self) -> bool:
        """Everything has been said, and the host's last word has come or is given up."""
        return self._place == len(self._turns)

    @property
    def next_wakeup_ms(self) -> int | None:
        """When `tick` has something to do."""
        if self.is_over:
            return None
        if self._place < 0:
            return self._since_ms
        turn = self._turns[self._place]
        if len(self._said) >= len(turn.answer):
            return self._since_ms + (0 if self._is_fast else turn.gap_ms)
        if self._is_alone:
            return self._since_ms + AGAIN_MS
        return max(self._since_ms, self._heard_ms or 0) + PATIENCE_MS

    def receive(self, data: bytes, now_ms: int) -> None:
        """Bytes from the host."""
        if data:
            self._said += data
            self._heard_ms = now_ms
        self.tick(now_ms)

    def take_output(self) -> bytes:
        """What the machine says now."""
        output = bytes(self._output)
        self._output.clear()
        return output

    def tick(self, now_ms: int) -> None:
        """Let the story go on as far as it may by now."""
        if self._place < 0:
            self._begin(0, now_ms)
        while (due_ms := self.next_wakeup_ms) is not None and due_ms <= now_ms:
            if self._is_alone and self._turns[0].answer:
                self._begin(0, now_ms)
            else:
                self._compare()
                self._begin(self._place + 1, now_ms)

    @property
    def _is_alone(self) -> bool:
        """The host has not said its first word."""
        return self._place == 0 and self._heard_ms is None

    def _begin(self, place: int, now_ms: int) -> None:
        self._place, self._since_ms = place, now_ms
        if not self.is_over:
            self._output += self._turns[place].says

    def _compare(self) -> None:
        """Close a turn. What came beyond a right answer belongs to the next one, where there is one."""
        turn = self._turns[self._place]
        is_last = self._place == len(self._turns) - 1
        length = len(turn.answer) if self._said.startswith(turn.answer) and not is_last else len(self._said)
        said = bytes(self._said[:length])
        del self._said[:length]
        if said != turn.answer:
            self.differences.append(Difference(turn.at_ms, turn.answer, said))


def turns_of(pieces: Sequence[Piece]) -> list[Turn]:
    """The story as turns; pieces of the machine's that were said before anybody was there are left out."""
    first = next((place for place, piece in enumerate(pieces) if piece.side == "host"), len(pieces))
    start = first
    while start > 0 and (start == first or pieces[start].at_ms - pieces[start - 1].at_ms < BURST_GAP_MS):
        start -= 1
    kept = pieces[start:] if first < len(pieces) else pieces
    turns: list[Turn] = []
    says, answer, at_ms = b"", b"", kept[0].at_ms
    for piece in kept:
        # Pieces that follow each other without a word between keep their own times.
        if piece.side == "machine" and (says or answer):
            turns.append(Turn(at_ms, says, piece.at_ms - at_ms, answer))
            says, answer, at_ms = b"", b"", piece.at_ms
        if piece.side == "machine":
            says += piece.raw
        else:
            answer += piece.raw
    return [*turns, Turn(at_ms, says, 0, answer)]


def play(story: Replay, port: Port, stopping: threading.Event, woken: int) -> None:
    """Play a story on a port until it is over or stopped. PortError where the port is gone."""
    while not stopping.is_set() and not story.is_over:
        story.receive(port.read(), boot_ms())
        port.write(story.take_output())
        due_ms = story.next_wakeup_ms
        if due_ms is not None:
            wait([port], woken, min(max((due_ms - boot_ms()) / 1000, 0), LONGEST_WAIT_S))


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--port", default="pty", show_default=True, help="Where the host is plugged in: pty, tcp:HOST:PORT, ...")
@click.option("--baud-rate", default=USUAL_BAUD_RATE, show_default=True, help="The speed of a real line.")
@click.option("--link", type=click.Path(path_type=Path), help="A symbolic link to the pty.")
@click.option("--fast", "is_fast", is_flag=True, help="As fast as the host answers, not as it was recorded.")
def replay(file: Path, port: str, baud_rate: int, link: Path | None, is_fast: bool) -> None:
    """Play the machine's side of the recording FILE to a host.

    The first line printed is JSON and names the port; then one line for each place where the host said other bytes than
    in the recording, and how it ended. The exit status is 0 where it was played to its end and nothing differed.
    """
    stopping = threading.Event()
    with ExitStack() as open_things:
        try:
            story = Replay(read_file(file), is_fast=is_fast)
            opened = open_port(port, baud_rate, link)
            open_things.callback(opened.close)
        except (RecordingError, PortError) as error:
            raise click.ClickException(str(error)) from None
        woken, wake = (open_things.enter_context(one) for one in socket.socketpair())

        def stop(*_: object) -> None:
            stopping.set()
            wake.send(b"\0")

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        click.echo(json.dumps({"machine": opened.name}))
        sys.stdout.flush()
        try:
            play(story, opened, stopping, woken.fileno())
        except PortError as error:
            raise click.ClickException(str(error)) from None
    for difference in story.differences:
        click.echo(difference.line())
    click.echo(json.dumps({"is_over": story.is_over, "differences": len(story.differences)}))
    sys.exit(0 if story.is_over and not story.differences else 1)


def _spaced(raw: bytes) -> str:
    return raw.hex(" ").upper()

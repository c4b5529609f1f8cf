"""Cuts a byte stream into frames for protocols whose frames have no mark at their beginning, only a checksum.

Whether a frame begins at a byte is for the codec's `Measure` to say. Where none does, one byte is skipped and the next
is tried, so that no byte of noise can hide a frame that follows it. What is skipped comes out as `BadBytes`: count it,
never answer it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

MAX_BAD_BYTES: Final = 256
"""Noise is handed out in pieces, so that a line of noise fills no memory."""


@dataclass(frozen=True, slots=True)
class BadBytes:
    """Bytes that are no frame. `error` is `noise`, `bad_checksum`, `bad_form` or `incomplete`, `detail` its words."""

    raw: bytes
    error: str
    detail: str


class Broken(NamedTuple):
    """No frame begins at the first byte, and why."""

    error: str
    detail: str


NO_FRAME: Final = Broken("noise", "no frame begins here")

Measure = Callable[[bytes], int | Broken | None]
"""Given at least one byte: the size of the whole frame that begins there, None while more bytes could make one, or why
none begins there. It never waits for more than the longest frame."""


class Cutter:
    """The frames it finds do not depend on how the stream was cut into reads, unless `measure` says so.

    `measure` sees `longest_bytes` at most: so long is the longest frame.
    """

    def __init__(self, measure: Measure, longest_bytes: int) -> None:
        self._measure = measure
        self._longest_bytes = longest_bytes
        self._buffer = bytearray()
        self._bad = bytearray()
        self._why = NO_FRAME

    @property
    def waiting(self) -> bool:
        """True while something that came is not handed out: the beginning of a frame, or a run of noise."""
        return bool(self._buffer or self._bad)

    def feed(self, data: bytes) -> list[bytes | BadBytes]:
        """Everything complete so far, in the order of the line."""
        self._buffer += data
        return self._cut(at_end=False)

    def finish(self) -> list[bytes | BadBytes]:
        """Give up waiting: the line fell silent in mid-frame, or the capture ended."""
        found = self._cut(at_end=True)
        self._flush(found)
        return found

    def _cut(self, *, at_end: bool) -> list[bytes | BadBytes]:
        found: list[bytes | BadBytes] = []
        while self._buffer:
            beginning = bytes(self._buffer[: self._longest_bytes])
            size = self._measure(beginning)
            if size is None and not at_end:
                break
            if isinstance(size, int):
                self._flush(found)
                found.append(bytes(self._buffer[:size]))
                del self._buffer[:size]
            else:
                self._skip(size or Broken("incomplete", f"{len(beginning)} bytes of a frame"), found)
        return found

    def _skip(self, why: Broken, found: list[bytes | BadBytes]) -> None:
        if why.error != NO_FRAME.error or len(self._bad) == MAX_BAD_BYTES:
            self._flush(found)
            self._why = why
        self._bad.append(self._buffer.pop(0))

    def _flush(self, found: list[bytes | BadBytes]) -> None:
        if self._bad:
            found.append(BadBytes(bytes(self._bad), *self._why))
            self._bad.clear()
        self._why = NO_FRAME

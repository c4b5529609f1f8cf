"""A keypad on a serial line of its own, for dispensers without one: lines of text in, presses out.

`12` and CR, LF or both is selection 12; `0`, or a line with nothing but `C`, gives the choice up. Sixteen digits are a
voucher's. Anything else is noise and means nothing. A microcontroller with twelve keys prints this in a few lines of
its own; so does the program of a touch screen over a pseudo terminal.
"""

from __future__ import annotations

import re
from typing import Final

from jishan_agent.dispensers.base import CancelPressed, Pressed
from jishan_agent.vouchers import VoucherShown
from jishan_protocol.vouchers import looks_typed

KEYPAD_BAUD_RATE: Final = 9600

GAP_MS: Final = 30_000
"""Half a line that is so old belongs to nobody who stands there now: a choice lives as long."""

MAX_BUFFERED: Final = 64
"""Many times the longest line; noise beyond it is dropped."""

_LINE: Final = re.compile(rb"[ \t]*(?:([0-9]{1,5})|[Cc])[ \t]*")


class Keypad:
    """Cuts a keypad's bytes into presses."""

    def __init__(self) -> None:
        self._buffer = b""
        self._heard_ms = 0

    def receive(self, data: bytes, now_ms: int) -> list[Pressed | CancelPressed | VoucherShown]:
        """Take bytes in pieces of any size."""
        if now_ms - self._heard_ms > GAP_MS:
            self._buffer = b""
        self._heard_ms = now_ms
        *lines, rest = re.split(rb"[\r\n]", self._buffer + data)
        self._buffer = rest[-MAX_BUFFERED:]
        found: list[Pressed | CancelPressed | VoucherShown] = []
        for line in lines:
            text = line.decode("ascii", "replace").strip()
            if looks_typed(text):
                found.append(VoucherShown(text))
            elif (match := _LINE.fullmatch(line)) is not None:
                selection = int(match[1] or 0)
                found.append(Pressed(selection) if selection else CancelPressed())
        return found

"""A keypad on a serial line of its own, for dispensers without one: bytes in, keys out.

Digits are digits; `#`, CR and LF enter; `*` and `C` give up; a space, a tab or a hyphen may stand between digits.
Anything else spoils the line it stands in. What the keys mean together is `keying`. A microcontroller with twelve keys
prints this in a few lines of its own, key by key or line by line; so does a touch screen over a pseudo terminal.
"""

from __future__ import annotations

from typing import Final

from jishan_agent.keying import CANCEL, ENTER, SPOILS, Keyed

KEYPAD_BAUD_RATE: Final = 9600

_KEYS: Final = {byte: chr(byte) for byte in b"0123456789 -#*"} | {
    ord("\t"): " ",
    ord("\r"): ENTER,
    ord("\n"): ENTER,
    ord("C"): CANCEL,
    ord("c"): CANCEL,
}


def keys(data: bytes) -> Keyed:
    """The keys behind some bytes of a keypad, in pieces of any size."""
    return Keyed("".join(_KEYS.get(byte, SPOILS) for byte in data))

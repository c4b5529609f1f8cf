"""Barcode scanners: bytes in, texts out, on a serial line or typed like a keyboard.

- Serial (`line`): text that ends with CR, LF or both; a tab ends it too, as some scanners are set.
- Keyboard (`keys`): a USB scanner that types. Linux gives its keys as `struct input_event` on `/dev/input/by-id/*-kbd`
  (linux/input.h: two longs of time, type u16, code u16, value s32, in the machine's own byte order); key codes are
  those of linux/input-event-codes.h on a US layout. Digits are the same on nearly every layout, and a personal code is
  nothing but digits.

What a scanner is set to put around a text (`prefix`, `suffix`, or an AIM symbology identifier `]Q1`) is taken off.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Final, Literal

GAP_MS: Final = 500
"""A scanner sends a text in one go; after such a pause its beginning was cut off."""

REPEAT_MS: Final = 2_000
"""A phone that is held there is read again and again; that is still one scan."""

MAX_TEXT: Final = 400
"""Longer than a voucher's 300 signs; noise beyond it is dropped."""

EVENT: Final = struct.Struct("@llHHi")
"""`struct input_event`; on hosts with 32 bits it has 16 bytes, and `l` is so there too."""

EV_KEY: Final = 1
RELEASED: Final = 0
SHIFTS: Final = frozenset({42, 54})
_ENTERS: Final = frozenset({28, 96, 15})
_AIM: Final = re.compile(r"\][A-Za-z][0-9A-Za-z]")

_PLAIN: Final[dict[int, str]] = {
    **dict(zip(range(2, 14), "1234567890-=", strict=True)),
    **dict(zip(range(16, 28), "qwertyuiop[]", strict=True)),
    **dict(zip(range(30, 42), "asdfghjkl;'`", strict=True)),
    **dict(zip(range(43, 54), "\\zxcvbnm,./", strict=True)),
    57: " ",
    # The digits of the number pad, and its signs.
    **dict(zip((71, 72, 73, 75, 76, 77, 79, 80, 81, 82, 83), "7894561230.", strict=True)),
    **dict(zip((55, 74, 78, 98), "*-+/", strict=True)),
}
_UPPER: Final = str.maketrans("1234567890-=[]\\;'`,./", '!@#$%^&*()_+{}|:"~<>?')
_SHIFTED: Final = {code: sign.translate(_UPPER).upper() for code, sign in _PLAIN.items() if code <= 53} | {57: " "}


@dataclass(frozen=True, slots=True)
class ScannerSettings:
    """How one scanner speaks, and what it puts around a text."""

    framing: Literal["line", "keys"] = "line"
    prefix: str = ""
    suffix: str = ""
    baud_rate: int = 9600


SCANNERS: Final[dict[str, ScannerSettings]] = {
    "line": ScannerSettings(),
    "line-115200": ScannerSettings(baud_rate=115_200),
    "keys": ScannerSettings("keys"),
}


class Scanner:
    """Cuts a scanner's bytes into texts."""

    def __init__(self, settings: ScannerSettings) -> None:
        self._settings = settings
        self._bytes = b""
        self._text = ""
        self._is_shifted = False
        self._heard_ms = 0
        self._last: tuple[str, int] | None = None

    def receive(self, data: bytes, now_ms: int) -> list[str]:
        """Take bytes in pieces of any size; gives each text once."""
        if now_ms - self._heard_ms > GAP_MS:
            self._bytes, self._text, self._is_shifted = b"", "", False
        self._heard_ms = now_ms
        signs = self._typed(data) if self._settings.framing == "keys" else data.decode("ascii", "replace")
        *ended, self._text = re.split(r"[\r\n\t]", self._text + signs)
        self._text = self._text[-MAX_TEXT:]
        return [text for one in ended if (text := self._bare(one)) and not self._is_repeated(text, now_ms)]

    def _typed(self, data: bytes) -> str:
        """The signs that whole events among the bytes type."""
        self._bytes += data
        whole = len(self._bytes) - len(self._bytes) % EVENT.size
        events, self._bytes = self._bytes[:whole], self._bytes[whole:]
        signs = ""
        for _, _, kind, code, value in EVENT.iter_unpack(events):
            if kind != EV_KEY:
                continue
            if code in SHIFTS:
                self._is_shifted = value != RELEASED
            elif value == RELEASED:
                continue
            elif code in _ENTERS:
                signs += "\n"
            else:
                signs += (_SHIFTED if self._is_shifted else _PLAIN).get(code, "")
        return signs

    def _bare(self, text: str) -> str:
        settings = self._settings
        text = text.strip(" \x02\x03")
        text = _AIM.sub("", text, count=1) if _AIM.match(text) else text
        return text.removeprefix(settings.prefix).removesuffix(settings.suffix)[:MAX_TEXT]

    def _is_repeated(self, text: str, now_ms: int) -> bool:
        last = self._last
        self._last = (text, now_ms)
        return last is not None and last[0] == text and now_ms - last[1] < REPEAT_MS

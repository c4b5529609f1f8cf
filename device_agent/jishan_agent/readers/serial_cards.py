"""Card readers on a serial line: bytes in, cards out, whatever way the reader prints them.

A `ReaderSettings` says how a reader frames a UID and how it prints it, so that the desk's reader and the machine's
give one card one identity (`jishan_protocol.cards`). Three framings cover the usual UART readers:

- `line`: ASCII, ended by CR, LF or both.
- `em4100` (125 kHz): `02`, ten ASCII hex digits, two more that are the exclusive or of the five bytes, then `03`,
  with or without CR LF before it.
- `mifare` (13.56 MHz): `04 0C 02 20 00 04 00`, four bytes of UID, the inverted exclusive or of everything before it.

A reader of cards and codes in one says both on its line: what is a personal code or a voucher is no card.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import reduce
from operator import xor
from typing import Final, Literal

from jishan_protocol import cards
from jishan_protocol.errors import ProtocolError
from jishan_protocol.personal_codes import read_code
from jishan_protocol.vouchers import PREFIX as VOUCHER_PREFIX

REPEAT_MS: Final = 1_500
"""A reader says a card again while it is held there; that is still one tap."""

GAP_MS: Final = 300
"""A frame of 16 bytes takes 17 ms at 9600 baud: after such a pause its beginning was cut off."""

MAX_BUFFERED: Final = 512
"""Longer than a voucher's text, and many times any frame; noise beyond it is dropped."""

MIFARE_FRAME: Final = re.compile(rb"\x04\x0c\x02\x20\x00\x04\x00(.{4})(.)", re.DOTALL)
EM4100_FRAME: Final = re.compile(rb"\x02([0-9A-Fa-f]{10})([0-9A-Fa-f]{2})\r?\n?\x03")
LINE: Final = re.compile(rb"[\r\n]*([^\r\n]+)[\r\n]")

Framing = Literal["line", "em4100", "mifare"]


@dataclass(frozen=True, slots=True)
class ReaderSettings:
    """How one reader frames and prints a UID."""

    framing: Framing = "line"
    profile: cards.ReaderProfile = field(default_factory=cards.ReaderProfile)
    baud_rate: int = 9600


READERS: Final[dict[str, ReaderSettings]] = {
    "line-hex": ReaderSettings(),
    "line-hex-reversed": ReaderSettings(profile=cards.ReaderProfile(reversed=True)),
    "line-hex7": ReaderSettings(profile=cards.ReaderProfile(length=7)),
    "line-decimal10": ReaderSettings(profile=cards.ReaderProfile(form="decimal10")),
    "line-decimal10-reversed": ReaderSettings(profile=cards.ReaderProfile(form="decimal10", reversed=True)),
    "line-decimal8": ReaderSettings(profile=cards.ReaderProfile(form="decimal8")),
    "line-3+5": ReaderSettings(profile=cards.ReaderProfile(form="3+5")),
    "em4100": ReaderSettings("em4100", cards.ReaderProfile(length=5)),
    "mifare": ReaderSettings("mifare"),
    "mifare-reversed": ReaderSettings("mifare", cards.ReaderProfile(reversed=True)),
}


@dataclass(frozen=True, slots=True)
class Tapped:
    """A card was held to the reader; `uid` is its one identity."""

    uid: str


@dataclass(frozen=True, slots=True)
class Unreadable:
    """The reader said something that is no card under its settings."""

    detail: str


@dataclass(frozen=True, slots=True)
class CodeRead:
    """A code was held to a reader that reads those too."""

    text: str = field(repr=False)


class CardReader:
    """Cuts a reader's bytes into taps."""

    def __init__(self, settings: ReaderSettings) -> None:
        self._settings = settings
        self._buffer = b""
        self._heard_ms = 0
        self._last: tuple[str, int] | None = None

    def receive(self, data: bytes, now_ms: int) -> list[Tapped | CodeRead | Unreadable]:
        """Take bytes in pieces of any size; gives each tap once."""
        if now_ms - self._heard_ms > GAP_MS:
            self._buffer = b""
        self._heard_ms = now_ms
        self._buffer += data
        found: list[Tapped | CodeRead | Unreadable] = []
        pattern, unpack = _FRAMINGS[self._settings.framing]
        while (match := pattern.search(self._buffer)) is not None:
            self._buffer = self._buffer[match.end() :]
            try:
                text = unpack(match)
                if read_code(text) is not None or text.startswith(VOUCHER_PREFIX):
                    found += [] if self._is_repeated(text, now_ms) else [CodeRead(text)]
                    continue
                uid = cards.read_uid(text, self._settings.profile)
            except ProtocolError as error:
                found.append(Unreadable(error.detail))
                continue
            if not self._is_repeated(uid, now_ms):
                found.append(Tapped(uid))
        self._buffer = self._buffer[-MAX_BUFFERED:]
        return found

    def _is_repeated(self, uid: str, now_ms: int) -> bool:
        last = self._last
        self._last = (uid, now_ms)
        return last is not None and last[0] == uid and now_ms - last[1] < REPEAT_MS


def _line(match: re.Match[bytes]) -> str:
    try:
        return match[1].decode("ascii")
    except UnicodeDecodeError:
        raise ProtocolError("bad_card", "the reader sent bytes that are not ASCII") from None


def _em4100(match: re.Match[bytes]) -> str:
    uid = bytes.fromhex(match[1].decode("ascii"))
    if reduce(xor, uid) != int(match[2], 16):
        raise ProtocolError("bad_card", "wrong check digits")
    return _as_printed(uid)


def _mifare(match: re.Match[bytes]) -> str:
    if reduce(xor, match[0][:-1]) ^ 0xFF != match[2][0]:
        raise ProtocolError("bad_card", "wrong check byte")
    return _as_printed(match[1])


def _as_printed(uid: bytes) -> str:
    return uid.hex().upper()


_FRAMINGS: Final[dict[Framing, tuple[re.Pattern[bytes], Callable[[re.Match[bytes]], str]]]] = {
    "line": (LINE, _line),
    "em4100": (EM4100_FRAME, _em4100),
    "mifare": (MIFARE_FRAME, _mifare),
}

"""A card reader on a serial line of its own: what it sends when a card is held to it.

`line-*` readers send the UID as ASCII and CR LF, in the forms of `jishan_protocol.cards`.
`em4100` is the frame of the usual 125 kHz UART readers: `02`, ten ASCII hex digits, two more that are the exclusive or
of the five bytes, `0D 0A 03`. `mifare` is the report that 13.56 MHz UART modules send by themselves:
`04 0C 02 20 00`, card type `04 00`, four bytes of UID, and the inverted exclusive or of everything before it.
`04 0C 02 20 00 04 00 45 96 B7 8A 3F` is a published example.
"""

from __future__ import annotations

from functools import reduce
from operator import xor
from typing import Final, Literal, NamedTuple

from jishan_protocol import cards

CARD_BAUD_RATE: Final = 9600
MIFARE_REPORT: Final = bytes.fromhex("04 0C 02 20 00 04 00")


class CardReader(NamedTuple):
    """How one reader speaks: how it prints a UID, and what it puts around it."""

    framing: Literal["line", "em4100", "mifare"]
    profile: cards.ReaderProfile


READERS: Final[dict[str, CardReader]] = {
    "line-hex": CardReader("line", cards.ReaderProfile()),
    "line-hex-reversed": CardReader("line", cards.ReaderProfile(reversed=True)),
    "line-hex7": CardReader("line", cards.ReaderProfile(length=7)),
    "line-decimal10": CardReader("line", cards.ReaderProfile(form="decimal10")),
    "line-decimal10-reversed": CardReader("line", cards.ReaderProfile(form="decimal10", reversed=True)),
    "line-decimal8": CardReader("line", cards.ReaderProfile(form="decimal8")),
    "line-3+5": CardReader("line", cards.ReaderProfile(form="3+5")),
    "em4100": CardReader("em4100", cards.ReaderProfile(length=5)),
    "mifare": CardReader("mifare", cards.ReaderProfile()),
    "mifare-reversed": CardReader("mifare", cards.ReaderProfile(reversed=True)),
}


def tap(uid: str, reader: CardReader) -> bytes:
    """The bytes a reader sends when the card `uid` (hex, most significant byte first) is held to it.

    ValueError, in words, where this reader cannot read such a card; ProtocolError where `uid` is none.
    """
    raw = bytes.fromhex(cards.normalise(uid))
    profile = reader.profile
    if len(raw) != profile.length:
        raise ValueError(f"uid has {len(raw)} bytes, this reader reads cards with {profile.length}")
    sent = raw[::-1] if profile.reversed else raw
    match reader.framing:
        case "line":
            return _printed(sent, profile.form).encode("ascii") + b"\r\n"
        case "em4100":
            digits = (sent + bytes([reduce(xor, sent)])).hex().upper().encode("ascii")
            return b"\x02" + digits + b"\r\n\x03"
        case "mifare":
            report = MIFARE_REPORT + sent
            return report + bytes([reduce(xor, report) ^ 0xFF])


def _printed(sent: bytes, form: cards.Form) -> str:
    number = int.from_bytes(sent, "big")
    match form:
        case "hex":
            return sent.hex().upper()
        case "decimal10":
            return f"{number:010}"
        case "decimal8":
            if number >= 10**8:
                raise ValueError(f"uid is {number} in decimal, 8 digits do not hold it")
            return f"{number:08}"
        case "3+5":
            if number >= 2**24:
                raise ValueError("uid does not begin with 00, and 3+5 digits print only the lower three bytes")
            return f"{number >> 16:03},{number & 0xFFFF:05}"

"""A card has one identity: the upper-case hex of its UID bytes, most significant first.

Readers print the same card in many forms. A profile says which form, byte order and length a reader uses, so that desk
and machine agree: `0007625328` = `116,23152` = `00745A70`; `1904649758` = `7186A61E`, the same card as `1EA68671` from
a reader that reverses the bytes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from jishan_protocol.errors import ProtocolError

UID_LENGTHS: Final = (4, 5, 7, 8, 10)
"""ISO 14443 UIDs have 4, 7 or 10 bytes, EM4100 has 5 (readers mostly print the lower 4), ISO 15693 has 8."""

Form = Literal["hex", "decimal10", "decimal8", "3+5"]


@dataclass(frozen=True, slots=True)
class ReaderProfile:
    """How a reader prints a UID: `form`, whether its bytes are reversed, and how many bytes the UID has."""

    form: Form = "hex"
    reversed: bool = False
    length: int = 4


def normalise(text: str) -> str:
    """Accept a UID typed or stored as hex (spaces, colons and hyphens allowed) and give its one identity.

    Raises ProtocolError("bad_card").
    """
    digits = re.sub(r"[\s:-]", "", text).upper()
    if re.fullmatch(r"[0-9A-F]+", digits) is None or len(digits) // 2 not in UID_LENGTHS or len(digits) % 2:
        raise ProtocolError("bad_card", "not the hex of a UID of 4, 5, 7, 8 or 10 bytes")
    return digits


def read_uid(printed: str, profile: ReaderProfile) -> str:
    """Give the identity of what a reader printed; raises ProtocolError("bad_card")."""
    text = printed.strip()
    match profile.form:
        case "hex":
            raw = _from_hex(text, profile.length)
        case "decimal10":
            raw = _from_decimal(text, 10, profile.length)
        case "decimal8":
            raw = _from_decimal(text, 8, profile.length)
        case "3+5":
            raw = _from_three_and_five(text, profile.length)
    return (raw[::-1] if profile.reversed else raw).hex().upper()


def reversed_uid(uid: str) -> str:
    """The identity that a reader with the wrong byte order would give."""
    return bytes.fromhex(uid)[::-1].hex().upper()


def mistaken_forms(uid: str) -> tuple[str, ...]:
    """Identities of other cards that a wrongly set reader would have printed as this one.

    Used only to tell staff that a profile is wrong: a card found this way is never accepted.
    """
    forms = [reversed_uid(uid)]
    # Decimal digits that were read as hex: 0007625328 taken for the bytes 00 07 62 53 28.
    if uid.isdigit() and int(uid) < 2**32:
        plain = int(uid).to_bytes(4, "big").hex().upper()
        forms += [plain, reversed_uid(plain)]
    return tuple(form for form in dict.fromkeys(forms) if form != uid)


def _from_hex(text: str, length: int) -> bytes:
    digits = normalise(text)
    if len(digits) != 2 * length:
        raise ProtocolError("bad_card", f"{len(digits) // 2} bytes, the profile says {length}")
    return bytes.fromhex(digits)


def _from_decimal(text: str, digits: int, length: int) -> bytes:
    if re.fullmatch(rf"[0-9]{{{digits}}}", text) is None or int(text) >= 256**length:
        raise ProtocolError("bad_card", f"not a number of {digits} digits below 256^{length}")
    return int(text).to_bytes(length, "big")


def _from_three_and_five(text: str, length: int) -> bytes:
    match = re.fullmatch(r"([0-9]{3}),?([0-9]{5})", text)
    if match is None or int(match[1]) > 0xFF or int(match[2]) > 0xFFFF:
        raise ProtocolError("bad_card", "not three digits up to 255 and five up to 65535")
    return bytes([int(match[1])]).rjust(length - 2, b"\0") + int(match[2]).to_bytes(2, "big")

"""A voucher: an approval given early, for one item of one machine, that can be taken while the link is down.

The server has made the redemption already: it is HELD, with its points and its item, under an id that both sides derive
from the voucher's machine, journal and number (`redemption_id`). Numbers count up on one machine and never come again.
A voucher has no clock in it: what ends it is that the machine refuses its number.

Two forms say the same:

- Text, for a QR code: `JSV1:machine:journal:number:selection:product:points:resident:signature`. The signature is
  Ed25519 over everything before the last colon, in base64url without padding. A machine holds the public key only.
- Digits, for a keypad: 16 of them, `NNNNNN SSS MMMMMM C`: number, selection, six digits of an HMAC-SHA256 with the
  machine's own key over what the text would say, and a Luhn digit. Product and points are the planogram's. The check
  digit tells a slip of the finger from a guess. They exist where number and selection fit.

No I/O, clock or randomness. Vectors: `docs/vectors/vouchers.json`; the rules and their bound: `docs/vouchers.md`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from jishan_protocol.errors import ProtocolError

PREFIX: Final = "JSV1:"
MAX_TEXT: Final = 300
"""The longest ids and numbers make 283 signs; a QR code of that is still read by a cheap scanner."""

DIGITS: Final = 16
_TYPED: Final = re.compile(rf"[0-9](?:[ -]?[0-9]){{{DIGITS - 1}}}")
MAX_DIGITS_NUMBER: Final = 999_999
MAX_DIGITS_SELECTION: Final = 999

KEY_BYTES: Final = 32
_MAC_MODULUS: Final = 1_000_000
_ID: Final = r"[0-9a-z_-]{1,40}"
_TEXT: Final = re.compile(
    rf"(JSV1:({_ID}):({_ID}):([1-9][0-9]{{0,8}}):(0|[1-9][0-9]{{0,3}}):({_ID}):([1-9][0-9]{{0,6}}):({_ID}))"
    r":([0-9A-Za-z_-]{86})"
)


@dataclass(frozen=True, slots=True)
class Voucher:
    """What is promised: `points` are held for this item, at this machine while it has this journal."""

    machine_id: str
    journal_id: str
    number: int
    selection: int
    product_id: str
    points: int
    resident_id: str

    @property
    def redemption_id(self) -> str:
        """The redemption that it is the approval of."""
        return redemption_id(self.machine_id, self.journal_id, self.number)


@dataclass(frozen=True, slots=True)
class Typed:
    """Sixteen digits whose check digit is right; whether their MAC is, `fits` says."""

    number: int
    selection: int
    mac: int


def redemption_id(machine_id: str, journal_id: str, number: int) -> str:
    """The id of a voucher's redemption: 32 lower-case hex digits."""
    return hashlib.sha256(f"voucher\n{machine_id}\n{journal_id}\n{number}".encode()).hexdigest()[:32]


def public_key(private_key: bytes) -> str:
    """The key with which machines check texts, as 43 characters of base64url, of KEY_BYTES private bytes."""
    return _encoded(Ed25519PrivateKey.from_private_bytes(private_key).public_key().public_bytes_raw())


def write(voucher: Voucher, private_key: bytes) -> str:
    """The signed text; the same each time."""
    stated = _statement(voucher)
    return f"{stated}:{_encoded(Ed25519PrivateKey.from_private_bytes(private_key).sign(stated.encode()))}"


def read(text: str, key: str) -> Voucher:
    """Read a text that is signed with the key of which `key` is the public half.

    Raises ProtocolError: `bad_voucher` for what is no text of a voucher, `forged_voucher` for a wrong signature.
    """
    match = _TEXT.fullmatch(text) if len(text) <= MAX_TEXT else None
    if match is None:
        raise ProtocolError("bad_voucher", "not the text of a voucher")
    stated, machine_id, journal_id, number, selection, product_id, points, resident_id, signature = match.groups()
    try:
        checker = Ed25519PublicKey.from_public_bytes(_decoded(key))
        checker.verify(_decoded(signature), stated.encode())
    except (InvalidSignature, ValueError) as error:
        raise ProtocolError("forged_voucher", "the signature is not the server's") from error
    return Voucher(machine_id, journal_id, int(number), int(selection), product_id, int(points), resident_id)


def write_digits(voucher: Voucher, machine_key: bytes) -> str | None:
    """The sixteen digits; None where the number or the selection is too large for them."""
    if voucher.number > MAX_DIGITS_NUMBER or voucher.selection > MAX_DIGITS_SELECTION:
        return None
    text = f"{voucher.number:06d}{voucher.selection:03d}{_mac(voucher, machine_key):06d}"
    return text + str(_luhn(text))


def looks_typed(text: str) -> bool:
    """Whether a line of a keypad can only have been meant as a voucher's digits."""
    return _TYPED.fullmatch(text) is not None


def read_digits(typed: str) -> Typed:
    """Read digits as a person types them, with spaces and hyphens or without.

    Raises ProtocolError("bad_digits") for a slip of the finger: not sixteen, or the check digit is wrong.
    """
    digits = re.sub(r"[ -]", "", typed)
    if not looks_typed(typed) or _luhn(digits[:-1]) != int(digits[-1]):
        raise ProtocolError("bad_digits", "a digit is wrong, missing or too many")
    if int(digits[:6]) == 0:
        raise ProtocolError("bad_digits", "no voucher has the number 0")
    return Typed(int(digits[:6]), int(digits[6:9]), int(digits[9:15]))


def fits(typed: Typed, voucher: Voucher, machine_key: bytes) -> bool:
    """Whether the digits were made for this voucher; its resident is not in them."""
    return (typed.number, typed.selection) == (voucher.number, voucher.selection) and hmac.compare_digest(
        f"{typed.mac:06d}", f"{_mac(voucher, machine_key):06d}"
    )


def _statement(voucher: Voucher) -> str:
    return (
        f"{PREFIX}{voucher.machine_id}:{voucher.journal_id}:{voucher.number}:{voucher.selection}:"
        f"{voucher.product_id}:{voucher.points}:{voucher.resident_id}"
    )


def _mac(voucher: Voucher, machine_key: bytes) -> int:
    """Six digits of the HMAC over the statement without its resident; no message of the link begins like it."""
    stated = _statement(voucher).rpartition(":")[0]
    whole = hmac.digest(machine_key, f"voucher\n{stated}".encode(), "sha256")
    return int.from_bytes(whole[:8], "big") % _MAC_MODULUS


def _luhn(digits: str) -> int:
    """The digit that makes the sum of Luhn (ISO/IEC 7812-1, annex B) a multiple of ten."""
    doubled = [int(digit) * (2 if place % 2 == 0 else 1) for place, digit in enumerate(reversed(digits))]
    return -sum(value - 9 if value > 9 else value for value in doubled) % 10


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

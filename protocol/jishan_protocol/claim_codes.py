"""The one-time code by which a machine enrols: a secret, and the fingerprint of the server's own authority.

Form: seven groups of four characters, `ABCD-EFGH-...`: 10 characters of secret (50 bits), 16 of the SHA-256 of the
authority's certificate in DER (80 bits), 2 that check the typing. The alphabet is RFC 4648 base32, which has neither
0 nor 1. Enrolment pins the authority by its fingerprint, so that no certificate has to be carried by hand; a server
without TLS (loopback) has no authority, and 16 times A stands in its place.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from typing import Final

from jishan_protocol.errors import ProtocolError

SECRET_CHARACTERS: Final = 10
SECRET_BYTES: Final = 7
"""Random bytes that a secret is made of; the characters use 50 of their 56 bits."""

_FINGERPRINT_CHARACTERS: Final = 16
_CHECK_CHARACTERS: Final = 2
NO_AUTHORITY: Final = "A" * _FINGERPRINT_CHARACTERS

_ALL: Final = SECRET_CHARACTERS + _FINGERPRINT_CHARACTERS + _CHECK_CHARACTERS


@dataclass(frozen=True, slots=True)
class ClaimCode:
    """What a claim code carries."""

    secret: str
    fingerprint: str

    def __repr__(self) -> str:
        return f"ClaimCode(..., {self.fingerprint})"


def fingerprint_of(certificate_der: bytes) -> str:
    """The fingerprint of an authority's certificate as claim codes carry it."""
    return _base32(hashlib.sha256(certificate_der).digest())[:_FINGERPRINT_CHARACTERS]


def secret_of(random_bytes: bytes) -> str:
    """The secret made of SECRET_BYTES random bytes."""
    return _base32(random_bytes)[:SECRET_CHARACTERS]


def write(code: ClaimCode) -> str:
    """The code as a person reads and types it."""
    text = code.secret + code.fingerprint
    text += _check(text)
    return "-".join(text[start : start + 4] for start in range(0, _ALL, 4))


def read(typed: str) -> ClaimCode:
    """Read a typed code, in any case, with or without hyphens; raises ProtocolError("bad_claim_code")."""
    text = re.sub(r"[\s-]", "", typed).upper()
    if (
        re.fullmatch(rf"[A-Z2-7]{{{_ALL}}}", text) is None
        or _check(text[:-_CHECK_CHARACTERS]) != text[-_CHECK_CHARACTERS:]
    ):
        raise ProtocolError("bad_claim_code", "mistyped: a character is wrong, missing or too many")
    return ClaimCode(text[:SECRET_CHARACTERS], text[SECRET_CHARACTERS:-_CHECK_CHARACTERS])


def _check(text: str) -> str:
    return _base32(hashlib.sha256(text.encode()).digest())[:_CHECK_CHARACTERS]


def _base32(value: bytes) -> str:
    return base64.b32encode(value).decode().rstrip("=")

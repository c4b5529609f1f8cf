"""What stays secret on its way through a broker that is trusted for nothing.

A credential (card UID, member number and PIN, personal code, or a phone's claim) is sealed with ChaCha20-Poly1305 under
a key derived from the machine's key by HKDF-SHA256, and bound to its redemption id, so that a sealed credential cannot
be used for another redemption.
A card is known to a machine only by a keyed hash.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from jishan_protocol.errors import ProtocolError

NONCE_BYTES: Final = 12
MAX_CREDENTIAL_BYTES: Final = 200
MAX_REMEMBERED: Final = 20_000
"""Derived keys that are remembered: one for each machine that a gateway looks after."""
_WHO: Final = frozenset({"card", "member", "code", "claim"})
"""A credential has exactly one of these; a PIN goes with the first two only."""
_WITH_PIN: Final = frozenset({"card", "member"})


@dataclass(frozen=True, slots=True)
class Credential:
    """What a resident showed: a card's UID, or a member number, and perhaps a PIN; a personal code; or the id of what
    they chose on their phone at this machine. Never written to a disk.
    """

    card: str | None = None
    member: str | None = None
    pin: str | None = None
    code: str | None = None
    claim: str | None = None

    def __repr__(self) -> str:
        """Say which kind it is and nothing of its content: a credential must not reach a log."""
        kind = next((name for name in ("card", "member", "code", "claim") if getattr(self, name)), "none")
        return f"Credential({kind}, {'with' if self.pin else 'without'} PIN)"


@lru_cache(maxsize=MAX_REMEMBERED)
def _derived(machine_key: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose).derive(machine_key)


def seal_credential(machine_key: bytes, redemption_id: str, credential: Credential, nonce: bytes) -> str:
    """Seal for the server; `nonce` is NONCE_BYTES random bytes, new each time."""
    names = Credential.__dataclass_fields__
    members = {name: value for name in names if (value := getattr(credential, name)) is not None}
    cipher = ChaCha20Poly1305(_derived(machine_key, b"jishan credential"))
    sealed = cipher.encrypt(nonce, json.dumps(members).encode(), redemption_id.encode())
    return base64.urlsafe_b64encode(nonce + sealed).decode()


def open_credential(machine_key: bytes, redemption_id: str, sealed: str) -> Credential:
    """Open what `seal_credential` made; raises ProtocolError("bad_credential")."""
    cipher = ChaCha20Poly1305(_derived(machine_key, b"jishan credential"))
    try:
        raw = base64.urlsafe_b64decode(sealed.encode("ascii"))
        plain = cipher.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], redemption_id.encode())
        members = json.loads(plain)
    except (InvalidTag, binascii.Error, ValueError) as error:
        raise ProtocolError("bad_credential", "it cannot be opened") from error
    if not isinstance(members, dict) or not members.keys() <= _WHO | {"pin"}:
        raise ProtocolError("bad_credential", "unknown members")
    if not all(isinstance(value, str) and 0 < len(value) <= MAX_CREDENTIAL_BYTES for value in members.values()):
        raise ProtocolError("bad_credential", "a member is not text")
    who = members.keys() & _WHO
    if len(who) != 1:
        raise ProtocolError("bad_credential", "not exactly one of a card, a member number, a code and a claim")
    if "pin" in members and not who <= _WITH_PIN:
        raise ProtocolError("bad_credential", "a PIN goes with a card or a member number")
    return Credential(**members)


def card_hash(key: bytes, uid: str) -> str:
    """The keyed hash by which a machine knows a blocked card: 32 lower-case hex digits."""
    return hmac.digest(key, b"card\n" + uid.encode(), "sha256").hex()[:32]

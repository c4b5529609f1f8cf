"""How secrets are kept: keyed hashes of cards, argon2id hashes of PINs and passwords, SHA-256 of random tokens.

A PIN has so few values that a plain hash of it is no secret; it is hashed under the server's key, so that the database
alone does not give it away. Salts are made from the operation's id under the same key: an operation that is sent
again gives the same hash.
"""

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Final

from argon2.exceptions import InvalidHashError, VerificationError
from argon2.low_level import Type, hash_secret, verify_secret

from jishan_protocol.sealing import card_hash

SALT_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Hashing:
    """The server's key (32 random bytes) and the cost of an argon2 hash.

    The default cost is the least that OWASP's Password Storage Cheat Sheet asks for argon2id (19 MiB, 2 rounds,
    1 lane); `lowest_cost` is for simulations.
    """

    key: bytes = field(repr=False)
    rounds: int = 2
    memory_kib: int = 19456

    @property
    def card_key(self) -> bytes:
        """The key under which cards are hashed, here and in the block lists of machines."""
        return self._derived(b"card")

    @property
    def cursor_key(self) -> bytes:
        """The key that signs the cursors of lists."""
        return self._derived(b"cursor")

    def drawn(self, purpose: str, operation_id: str) -> bytes:
        """32 bytes that look random, always the same for one operation: a secret that is shown but not kept."""
        return hmac.digest(self._derived(b"drawn"), f"{purpose}\n{operation_id}".encode(), "sha256")

    def card(self, uid: str) -> str:
        """The keyed hash of a card's identity."""
        return card_hash(self.card_key, uid)

    def id_number(self, number: str) -> str:
        """The keyed hash of an ID number: the same for the same person, and of no use without the key."""
        return hmac.digest(self._derived(b"id number"), number.encode(), "sha256").hex()[:32]

    def secret(self, secret: str, operation_id: str) -> str:
        """The argon2id hash of a PIN or password that `operation_id` sets."""
        salt = hmac.digest(self._derived(b"salt"), operation_id.encode(), "sha256")[:SALT_BYTES]
        return hash_secret(self._peppered(secret), salt, self.rounds, self.memory_kib, 1, 32, Type.ID).decode()

    def verify(self, stored: str, secret: str) -> bool:
        """Whether `secret` is the one behind the `stored` hash; takes tens of milliseconds at full cost."""
        try:
            return verify_secret(stored.encode(), self._peppered(secret), Type.ID)
        except (VerificationError, InvalidHashError):
            return False

    def _peppered(self, secret: str) -> bytes:
        return hmac.digest(self._derived(b"secret"), secret.encode(), "sha256")

    def _derived(self, purpose: bytes) -> bytes:
        return hmac.digest(self.key, purpose, "sha256")


def token_hash(token: str) -> str:
    """What is kept of a random token of full entropy."""
    return hashlib.sha256(token.encode()).hexdigest()


def lowest_cost(key: bytes) -> Hashing:
    """The cheapest hashing argon2 allows, for simulations and tests only."""
    return Hashing(key, rounds=1, memory_kib=8)

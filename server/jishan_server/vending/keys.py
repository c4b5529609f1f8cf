"""Every key the link needs, derived from the server's one secret.

Rules: the secret is at least 32 random bytes and never leaves the server; a database dump holds no machine's key; a
machine enrolled anew gets the next key id and with it other keys; the approval key is the server's alone.
HMAC-SHA256 is the derivation: the secret is uniformly random, so one keyed hash for each purpose is enough.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from jishan_protocol import vouchers
from jishan_protocol.errors import ProtocolError

MIN_SECRET_BYTES: Final = 32

MAX_KEY_ID: Final = 16
"""A machine that was enrolled more often than this needs a new id; it bounds the work a forged message can cause."""

_CACHED_MACHINES: Final = 20_000


@dataclass(frozen=True, slots=True)
class Approval:
    """What an approval token carries: enough to book hold and end anew on a server restored from a backup."""

    redemption_id: str
    machine_id: str
    resident_id: str
    account_id: str
    selection: int
    product_id: str
    points: int
    planogram_version: int
    ledger_id: str


@dataclass(frozen=True, slots=True)
class Keys:
    """The server's secret, and what is derived from it."""

    secret: bytes

    def __post_init__(self) -> None:
        if len(self.secret) < MIN_SECRET_BYTES:
            raise ValueError(
                f"the server's secret has {len(self.secret)} bytes, at least {MIN_SECRET_BYTES} are needed"
            )

    def __repr__(self) -> str:
        return "Keys(...)"

    def machine_key(self, machine_id: str, key_id: int) -> bytes:
        """The key that signs the messages between a machine and the server, 32 bytes."""
        return _machine_keys(self.secret, machine_id)[key_id]

    def mqtt_password(self, machine_id: str, key_id: int) -> str:
        """A machine's password at the broker, 43 characters."""
        return base64.urlsafe_b64encode(_derive(self.secret, f"mqtt\n{machine_id}\n{key_id}")).decode().rstrip("=")

    def machine_keys(self, machine_id: str) -> Mapping[int, bytes]:
        """All keys a machine may ever have had, by key id; which of them still counts is for the database to say."""
        return _machine_keys(self.secret, machine_id)

    def seal_approval(self, approval: Approval) -> str:
        """Make the token that a machine gives back with `vend_started`."""
        content = "\n".join(str(getattr(approval, name)) for name in Approval.__dataclass_fields__).encode()
        encoded = base64.urlsafe_b64encode(content).decode()
        return f"{encoded}.{self._approval_mac(content)}"

    def open_approval(self, token: str) -> Approval:
        """Read a token of `seal_approval`; raises ProtocolError("bad_approval")."""
        encoded, _, mac = token.rpartition(".")
        try:
            content = base64.b64decode(encoded.encode("ascii"), altchars=b"-_", validate=True)
        except ValueError as error:
            raise ProtocolError("bad_approval", "not base64") from error
        if not hmac.compare_digest(self._approval_mac(content), mac):
            raise ProtocolError("bad_approval", "this server did not give it")
        redemption, machine, resident, account, selection, product, points, version, ledger = content.decode().split(
            "\n"
        )
        return Approval(
            redemption, machine, resident, account, int(selection), product, int(points), int(version), ledger
        )

    def voucher_public_key(self) -> str:
        """With which machines check the texts of vouchers."""
        return vouchers.public_key(self._voucher_key())

    def write_voucher(self, voucher: vouchers.Voucher, key_id: int) -> tuple[str, str | None]:
        """A voucher's text and digits, for a machine that has the keys of `key_id`."""
        digits = vouchers.write_digits(voucher, self.machine_key(voucher.machine_id, key_id))
        return vouchers.write(voucher, self._voucher_key()), digits

    def read_voucher(self, text: str) -> vouchers.Voucher:
        """Read a text that this server signed; raises ProtocolError."""
        return vouchers.read(text, self.voucher_public_key())

    def _voucher_key(self) -> bytes:
        return _derive(self.secret, "voucher")

    def _approval_mac(self, content: bytes) -> str:
        key = _derive(self.secret, "approval")
        return hmac.digest(key, content, "sha256").hex()


def _derive(secret: bytes, purpose: str) -> bytes:
    return hmac.digest(secret, f"jishan {purpose}".encode(), "sha256")


@lru_cache(maxsize=_CACHED_MACHINES)
def _machine_keys(secret: bytes, machine_id: str) -> Mapping[int, bytes]:
    return {key_id: _derive(secret, f"machine\n{machine_id}\n{key_id}") for key_id in range(1, MAX_KEY_ID + 1)}

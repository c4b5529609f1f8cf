"""Residents at their own phone: logging in with member number and PIN, and the token that they then carry.

A wrong PIN counts in the same place as at a machine (`credentials`): five in a row close number and PIN for 15 minutes,
wherever they were typed. Who is frozen or has not agreed to records may still log in, to see why. A token is random,
kept as a hash, expires, and begins with `RESIDENT_PREFIX`, so that nobody takes it for one of staff.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import Connection, delete, insert, select, update

from jishan_server.errors import DomainError
from jishan_server.instants import iso
from jishan_server.organizations.roles import resident_actor, resident_of_actor
from jishan_server.people.credentials import PIN_LOCK, PIN_TRIES, tell_locked
from jishan_server.people.hashing import Hashing, token_hash
from jishan_server.people.tables import resident_tokens, residents
from jishan_server.writer import Operation, Outcome

RESIDENT_PREFIX: Final = "me."


@dataclass(frozen=True, slots=True)
class ResidentLogIn:
    """A try to log in, its PIN already verified against `pin_hash`; no resident for a number that does not exist."""

    resident_id: str | None
    fits: bool
    token_hash: str
    expires_at: datetime
    pin_hash: str | None = field(default=None, repr=False, metadata={"secret": True})


@dataclass(frozen=True, slots=True)
class ResidentLogOut:
    actor: str
    token_hash: str


@dataclass(frozen=True, slots=True)
class EndOtherSessions:
    """All tokens of the resident who asks, but the one that this is the hash of."""

    actor: str
    token_hash: str


@dataclass(frozen=True, slots=True)
class Session:
    """Who is asking: a resident."""

    resident_id: str
    token_hash: str

    @property
    def id(self) -> str:
        """The actor that this resident is."""
        return resident_actor(self.resident_id)


def prepare_login(
    connection: Connection, hashing: Hashing, number: str, pin: str
) -> tuple[str | None, str | None, bool]:
    """(resident, the hash of their PIN, whether `pin` fits it). As slow for a number that does not exist."""
    r = residents.c
    row = connection.execute(select(r.id, r.pin_hash).where(r.member_number == number)).one_or_none()
    stored = row.pin_hash if row is not None and row.pin_hash is not None else _nobodys_hash(hashing)
    fits = hashing.verify(stored, pin)
    if row is None or row.pin_hash is None:
        return None, None, False
    return row.id, row.pin_hash, fits


@lru_cache(maxsize=4)
def _nobodys_hash(hashing: Hashing) -> str:
    return hashing.secret("nobody's", "nobody's")


def log_in(connection: Connection, operations: Sequence[Operation], now: datetime) -> list[Outcome]:
    """Judge tries to log in, one after the other. A refusal is an outcome, not an exception: its count must stay.

    Refusals: login_failed, login_locked.
    """
    return [_log_in(connection, operation.body, now) for operation in operations]


def _log_in(connection: Connection, body: ResidentLogIn, now: datetime) -> Outcome:
    if body.resident_id is None:
        return Outcome(error=DomainError("login_failed"))
    r = residents.c
    row = connection.execute(
        select(r.pin_hash, r.pin_wrong_tries, r.pin_locked_until_at).where(r.id == body.resident_id)
    ).one()
    if row.pin_locked_until_at is not None and now < row.pin_locked_until_at:
        return Outcome(error=_locked())
    # A PIN that was set anew since it was verified: neither right nor wrong, to be typed again.
    if row.pin_hash != body.pin_hash:
        return Outcome(error=DomainError("login_failed"))
    tries = 0 if body.fits else row.pin_wrong_tries + 1
    is_locked = tries >= PIN_TRIES
    connection.execute(
        update(residents)
        .where(r.id == body.resident_id)
        .values(pin_wrong_tries=0 if is_locked else tries, pin_locked_until_at=now + PIN_LOCK if is_locked else None)
    )
    if is_locked:
        tell_locked(connection, [body.resident_id], now)
    if not body.fits:
        return Outcome(error=_locked() if is_locked else DomainError("login_failed"))
    connection.execute(delete(resident_tokens).where(resident_tokens.c.expires_at < now))
    connection.execute(
        insert(resident_tokens).values(
            hash=body.token_hash, resident_id=body.resident_id, issued_at=now, expires_at=body.expires_at
        )
    )
    return Outcome({"resident_id": body.resident_id, "expires_at": iso(body.expires_at)})


def log_out(connection: Connection, operation: Operation, now: datetime) -> None:
    """End a token at once."""
    body: ResidentLogOut = operation.body
    t = resident_tokens.c
    connection.execute(
        update(resident_tokens)
        .where(t.hash == body.token_hash, t.resident_id == resident_of_actor(body.actor))
        .values(revoked_at=now)
    )


def end_others(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """End every token of a resident but the one that they ask with; gives how many `ended`."""
    body: EndOtherSessions = operation.body
    t = resident_tokens.c
    others = (t.resident_id == resident_of_actor(body.actor)) & (t.hash != body.token_hash)
    done = connection.execute(
        update(resident_tokens).where(others, t.revoked_at.is_(None), t.expires_at > now).values(revoked_at=now)
    )
    return {"ended": done.rowcount}


def sessions_of(connection: Connection, resident_id: str, token_hash: str, now: datetime) -> list[dict[str, Any]]:
    """Where a resident is logged in, newest first; `is_this` is the one with this hash. No hash is in it."""
    t = resident_tokens.c
    query = select(t.hash, t.issued_at, t.expires_at).where(
        t.resident_id == resident_id, t.revoked_at.is_(None), t.expires_at > now
    )
    return [
        {"issued_at": iso(row.issued_at), "expires_at": iso(row.expires_at), "is_this": row.hash == token_hash}
        for row in connection.execute(query.order_by(t.issued_at.desc(), t.hash))
    ]


def authenticate(connection: Connection, token: str, now: datetime) -> Session:
    """Whose token this is; refusals: token_invalid, token_expired."""
    hash = token_hash(token)
    t = resident_tokens.c
    row = connection.execute(select(t.resident_id, t.expires_at, t.revoked_at).where(t.hash == hash)).one_or_none()
    if row is None or row.revoked_at is not None:
        raise DomainError("token_invalid")
    if now >= row.expires_at:
        raise DomainError("token_expired")
    return Session(row.resident_id, hash)


def end_all(connection: Connection, resident_id: str) -> None:
    """Forget every token of a resident: their PIN was set anew, or they are no more."""
    connection.execute(delete(resident_tokens).where(resident_tokens.c.resident_id == resident_id))


def _locked() -> DomainError:
    return DomainError("login_locked", minutes=PIN_LOCK // timedelta(minutes=1))

"""Staff: their accounts, how they log in, and the tokens they then carry.

Five wrong passwords in a row close an account for 15 minutes; the tries are counted in the database, so that no number
of processes makes them more. A token is random, kept as a hash, and expires.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import Connection, delete, insert, select, update

from jishan_server import audit
from jishan_server.errors import DomainError
from jishan_server.ids import derived_id
from jishan_server.instants import iso
from jishan_server.organizations.roles import Permission, Role, permissions, permit, scope
from jishan_server.organizations.tables import staff_roles
from jishan_server.organizations.tree import organization
from jishan_server.people.hashing import Hashing, token_hash
from jishan_server.people.residents import estate_of
from jishan_server.people.tables import staff, staff_tokens
from jishan_server.writer import Operation, Outcome

LOGIN_FORM: Final = re.compile(r"[a-z][a-z0-9._-]{2,39}", re.ASCII)
MIN_PASSWORD: Final = 10
MAX_PASSWORD: Final = 200
"""Argon2 takes any length; nobody needs to send us a megabyte."""
LOGIN_TRIES: Final = 5
LOGIN_LOCK: Final = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Grant:
    """A role for a node of the region tree and everything below it."""

    role: Role
    organization_id: str


@dataclass(frozen=True, slots=True)
class CreateStaff:
    """`resident_id`: the resident that this member of staff is, if any."""

    actor: str
    login: str
    name: str
    password_hash: str
    grants: tuple[Grant, ...]
    resident_id: str | None = None


@dataclass(frozen=True, slots=True)
class LogIn:
    """A try to log in, its password already verified; `staff_id` is None for a login that does not exist."""

    staff_id: str | None
    fits: bool
    token_hash: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class LogOut:
    actor: str
    token_hash: str


@dataclass(frozen=True, slots=True)
class Member:
    """Who is asking: an authenticated member of staff."""

    id: str
    login: str
    name: str
    token_hash: str


def hashed_password(hashing: Hashing, password: str, operation_id: str) -> str:
    """The hash of a new password; refusal: password_invalid. Slow on purpose: not inside a transaction."""
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise DomainError("password_invalid")
    return hashing.secret(password, operation_id)


def create_staff(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Make an account with its roles. Refusals: forbidden, login_taken, estate_unknown, resident_unknown."""
    body: CreateStaff = operation.body
    for grant in body.grants:
        organization(connection, grant.organization_id)
        permit(connection, body.actor, Permission.STAFF_WRITE, grant.organization_id)
    if body.resident_id is not None:
        estate_of(connection, body.resident_id)
    if LOGIN_FORM.fullmatch(body.login) is None:
        raise DomainError("login_invalid")
    if connection.scalar(select(staff.c.id).where(staff.c.login == body.login)) is not None:
        raise DomainError("login_taken")
    id = derived_id(operation.id, "staff")
    connection.execute(
        insert(staff).values(
            id=id,
            login=body.login,
            name=body.name,
            password_hash=body.password_hash,
            resident_id=body.resident_id,
            wrong_tries=0,
            created_at=now,
        )
    )
    connection.execute(
        insert(staff_roles),
        [
            {"staff_id": id, "role": grant.role, "organization_id": grant.organization_id}
            for grant in dict.fromkeys(body.grants)
        ],
    )
    audit.record(
        connection,
        now,
        actor=body.actor,
        action="staff_created",
        subject=("staff", id),
        operation_id=operation.id,
        details={"grants": [[grant.role, grant.organization_id] for grant in body.grants]},
    )
    return view(connection, id)


def prepare_login(connection: Connection, hashing: Hashing, login: str, password: str) -> tuple[str | None, bool]:
    """(staff id or None, whether the password fits). Slow on purpose, and as slow for a login that does not exist."""
    row = connection.execute(select(staff.c.id, staff.c.password_hash).where(staff.c.login == login)).one_or_none()
    stored = _nobodys_hash(hashing) if row is None else row.password_hash
    fits = hashing.verify(stored, password[:MAX_PASSWORD])
    return (None, False) if row is None else (row.id, fits)


@lru_cache(maxsize=4)
def _nobodys_hash(hashing: Hashing) -> str:
    return hashing.secret("nobody's", "nobody's")


def log_in(connection: Connection, operations: Sequence[Operation], now: datetime) -> list[Outcome]:
    """Judge tries to log in, one after the other. A refusal is an outcome, not an exception: its count must stay.

    Refusals: login_failed, login_locked.
    """
    return [_log_in(connection, operation.body, now) for operation in operations]


def _log_in(connection: Connection, body: LogIn, now: datetime) -> Outcome:
    if body.staff_id is None:
        return Outcome(error=DomainError("login_failed"))
    row = connection.execute(select(staff).where(staff.c.id == body.staff_id)).one()
    if row.locked_until_at is not None and now < row.locked_until_at:
        return Outcome(error=_locked())
    tries = 0 if body.fits else row.wrong_tries + 1
    is_locked = tries >= LOGIN_TRIES
    connection.execute(
        update(staff)
        .where(staff.c.id == row.id)
        .values(wrong_tries=0 if is_locked else tries, locked_until_at=now + LOGIN_LOCK if is_locked else None)
    )
    if not body.fits:
        return Outcome(error=_locked() if is_locked else DomainError("login_failed"))
    # What has expired is of no use to anyone; a login is the moment to forget it.
    connection.execute(delete(staff_tokens).where(staff_tokens.c.expires_at < now))
    connection.execute(
        insert(staff_tokens).values(hash=body.token_hash, staff_id=row.id, issued_at=now, expires_at=body.expires_at)
    )
    return Outcome({"staff_id": row.id, "expires_at": iso(body.expires_at)})


def log_out(connection: Connection, operation: Operation, now: datetime) -> None:
    """End a token at once."""
    body: LogOut = operation.body
    connection.execute(
        update(staff_tokens)
        .where(staff_tokens.c.hash == body.token_hash, staff_tokens.c.staff_id == body.actor)
        .values(revoked_at=now)
    )


def authenticate(connection: Connection, token: str, now: datetime) -> Member:
    """Whose token this is; refusals: token_invalid, token_expired."""
    hash = token_hash(token)
    row = connection.execute(
        select(staff.c.id, staff.c.login, staff.c.name, staff_tokens.c.expires_at, staff_tokens.c.revoked_at)
        .join(staff_tokens, staff_tokens.c.staff_id == staff.c.id)
        .where(staff_tokens.c.hash == hash)
    ).one_or_none()
    if row is None or row.revoked_at is not None:
        raise DomainError("token_invalid")
    if now >= row.expires_at:
        raise DomainError("token_expired")
    return Member(row.id, row.login, row.name, hash)


def members(connection: Connection, actor: str) -> list[dict[str, Any]]:
    """The staff with a role somewhere in the actor's scope, by login; refusal: forbidden."""
    visible = scope(connection, actor, Permission.STAFF_READ)
    ids = connection.scalars(
        select(staff.c.id)
        .where(staff.c.id.in_(select(staff_roles.c.staff_id).where(staff_roles.c.organization_id.in_(visible))))
        .order_by(staff.c.login)
    ).all()
    return [view(connection, id) for id in ids]


def view(connection: Connection, staff_id: str) -> dict[str, Any]:
    """One member of staff with roles and what they permit; refusal: staff_unknown."""
    row = connection.execute(select(staff).where(staff.c.id == staff_id)).one_or_none()
    if row is None:
        raise DomainError("staff_unknown", id=staff_id)
    grants = connection.execute(
        select(staff_roles.c.role, staff_roles.c.organization_id)
        .where(staff_roles.c.staff_id == staff_id)
        .order_by(staff_roles.c.organization_id, staff_roles.c.role)
    ).all()
    return {
        "id": row.id,
        "login": row.login,
        "name": row.name,
        "resident_id": row.resident_id,
        "roles": [{"role": grant.role, "organization_id": grant.organization_id} for grant in grants],
        "permissions": sorted(permissions(frozenset(Role(grant.role) for grant in grants))),
        "created_at": iso(row.created_at),
    }


def resident_of(connection: Connection, staff_id: str) -> str | None:
    """The resident that a member of staff is, if any."""
    return connection.scalar(select(staff.c.resident_id).where(staff.c.id == staff_id))


def _locked() -> DomainError:
    return DomainError("login_locked", minutes=LOGIN_LOCK // timedelta(minutes=1))

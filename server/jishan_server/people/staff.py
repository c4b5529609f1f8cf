"""Staff: their accounts and roles, how they log in, and the tokens they then carry.

Nobody grants, takes away or manages what they do not hold themselves at that node, nobody disables themselves, and an
account keeps at least one role. An account that is disabled, or whose password another person set, loses its tokens at
once. Five wrong passwords in a row close an account for 15 minutes; the tries are counted in the database, so that no
number of processes makes them more. A token is random, kept as a hash, and expires.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import Connection, Row, delete, insert, select, update

from jishan_server import audit
from jishan_server.errors import DomainError
from jishan_server.ids import derived_id
from jishan_server.instants import iso
from jishan_server.organizations.roles import PERMISSIONS, Permission, Role, held, permissions, permit, scope
from jishan_server.organizations.tables import staff_roles
from jishan_server.organizations.tree import organization, path
from jishan_server.people.hashing import Hashing, token_hash
from jishan_server.people.residents import estate_of
from jishan_server.people.tables import staff, staff_tokens
from jishan_server.writer import Operation, Outcome

LOGIN_FORM: Final = re.compile(r"[a-z][a-z0-9._-]{2,39}", re.ASCII)
MIN_PASSWORD: Final = 10
MAX_PASSWORD: Final = 200
"""Argon2 takes any length; nobody needs to send us a megabyte."""
MAX_DEVICE: Final = 200
LOGIN_TRIES: Final = 5
LOGIN_LOCK: Final = timedelta(minutes=15)
SESSION_DIGITS: Final = 16
"""Of a token's hash, as the id of its session."""
MAX_SESSIONS: Final = 100


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
class EditStaff:
    """What is None stays as it is."""

    actor: str
    staff_id: str
    name: str | None = None
    resident_id: str | None = None


@dataclass(frozen=True, slots=True)
class SetRoles:
    """`grants` are all roles that the account is to have."""

    actor: str
    staff_id: str
    grants: tuple[Grant, ...]


@dataclass(frozen=True, slots=True)
class SetStaffActive:
    """Disable an account, or let it in again."""

    actor: str
    staff_id: str
    is_active: bool


@dataclass(frozen=True, slots=True)
class ResetPassword:
    """Another person's password; it ends a lock."""

    actor: str
    staff_id: str
    password_hash: str


@dataclass(frozen=True, slots=True)
class ChangePassword:
    """One's own password; `fits` says whether the old one was the one behind `old_hash`. `token_hash` stays valid."""

    actor: str
    fits: bool
    password_hash: str
    token_hash: str
    old_hash: str = field(default="", repr=False, metadata={"secret": True})


@dataclass(frozen=True, slots=True)
class LogIn:
    """A try to log in, its password already verified; `staff_id` is None for a login that does not exist.

    `totp_id` and `step` are of the code that was typed beside it; `has_code` says whether one was. `device` is what the
    browser calls itself, for the person's own list of sessions.
    """

    staff_id: str | None
    fits: bool
    token_hash: str
    expires_at: datetime
    totp_id: str | None = None
    step: int | None = field(default=None, metadata={"secret": True})
    has_code: bool = False
    device: str = ""


@dataclass(frozen=True, slots=True)
class LogOut:
    actor: str
    token_hash: str


@dataclass(frozen=True, slots=True)
class EndSession:
    """End one of one's own sessions elsewhere; `session` is its id in the list."""

    actor: str
    session: str


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
    """Make an account with its roles.

    Refusals: grants_missing, estate_unknown, forbidden, role_not_grantable, grant_not_held, resident_unknown,
    login_invalid, login_taken.
    """
    body: CreateStaff = operation.body
    if not body.grants:
        raise DomainError("grants_missing")
    _check_grants(connection, body.actor, body.grants)
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
    _grant(connection, id, frozenset(body.grants))
    _note(connection, operation, now, "staff_created", id, {"grants": _shown(body.grants)})
    return view(connection, id)


def edit_staff(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Change the name of an account, or which resident it is. Nobody says of themselves which resident they are.

    Refusals: staff_unknown, forbidden, grant_not_held, staff_self, resident_unknown.
    """
    body: EditStaff = operation.body
    manage(connection, body.actor, body.staff_id)
    changed = {name: value for name in ("name", "resident_id") if (value := getattr(body, name)) is not None}
    if "resident_id" in changed:
        if body.actor == body.staff_id:
            raise DomainError("staff_self")
        estate_of(connection, changed["resident_id"])
    if changed:
        connection.execute(update(staff).where(staff.c.id == body.staff_id).values(changed))
        _note(connection, operation, now, "staff_edited", body.staff_id, {"fields": sorted(changed)})
    return view(connection, body.staff_id)


def set_roles(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Give an account exactly these roles; those that stay are nobody's question.

    Refusals: staff_unknown, grants_missing, estate_unknown, forbidden, role_not_grantable, grant_not_held.
    """
    body: SetRoles = operation.body
    before, after = frozenset(_grants(connection, body.staff_id)), frozenset(body.grants)
    if before == after:
        _check_grants(connection, body.actor, before)
        return view(connection, body.staff_id)
    _check_grants(connection, body.actor, before ^ after)
    if not after:
        raise DomainError("grants_missing")
    r = staff_roles.c
    for gone in before - after:
        connection.execute(
            delete(staff_roles).where(
                r.staff_id == body.staff_id, r.role == gone.role, r.organization_id == gone.organization_id
            )
        )
    _grant(connection, body.staff_id, after - before)
    details = {"granted": _shown(after - before), "removed": _shown(before - after)}
    _note(connection, operation, now, "staff_roles_set", body.staff_id, details)
    return view(connection, body.staff_id)


def set_staff_active(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Disable an account, which ends its tokens at once, or enable it, which also ends a lock.

    Refusals: staff_unknown, forbidden, grant_not_held, staff_self.
    """
    body: SetStaffActive = operation.body
    manage(connection, body.actor, body.staff_id)
    if body.actor == body.staff_id:
        raise DomainError("staff_self")
    if body.is_active:
        changed: dict[str, object] = {"disabled_at": None, "wrong_tries": 0, "locked_until_at": None}
    else:
        changed = {"disabled_at": now}
        _end_tokens(connection, body.staff_id, now)
    connection.execute(update(staff).where(staff.c.id == body.staff_id).values(changed))
    _note(connection, operation, now, "staff_enabled" if body.is_active else "staff_disabled", body.staff_id, {})
    return view(connection, body.staff_id)


def reset_password(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Set another person's password; their tokens end.

    Refusals: staff_unknown, forbidden, grant_not_held, staff_self.
    """
    body: ResetPassword = operation.body
    manage(connection, body.actor, body.staff_id)
    if body.actor == body.staff_id:
        raise DomainError("staff_self")
    changed = {"password_hash": body.password_hash, "wrong_tries": 0, "locked_until_at": None}
    connection.execute(update(staff).where(staff.c.id == body.staff_id).values(changed))
    _end_tokens(connection, body.staff_id, now)
    _note(connection, operation, now, "password_reset", body.staff_id, {})
    return view(connection, body.staff_id)


def prepare_password(connection: Connection, hashing: Hashing, staff_id: str, password: str) -> tuple[bool, str]:
    """(whether this is the password of an account, the hash behind it). Slow on purpose: not inside a transaction."""
    stored = connection.scalar(select(staff.c.password_hash).where(staff.c.id == staff_id)) or ""
    return hashing.verify(stored, password[:MAX_PASSWORD]), stored


def change_password(connection: Connection, operations: Sequence[Operation], now: datetime) -> list[Outcome]:
    """Change one's own password, one after the other; wrong tries count as they do at login, so they are outcomes.

    The person's other tokens end. Refusals: login_locked, password_wrong.
    """
    return [_change_password(connection, operation, now) for operation in operations]


def _change_password(connection: Connection, operation: Operation, now: datetime) -> Outcome:
    body: ChangePassword = operation.body
    row = connection.execute(select(staff).where(staff.c.id == body.actor)).one()
    if row.password_hash == body.password_hash:
        # Sent again: a hash is made from the operation's id.
        return Outcome({"staff_id": row.id}, replayed=True)
    if row.locked_until_at is not None and now < row.locked_until_at:
        return Outcome(error=locked())
    if not body.fits or row.password_hash != body.old_hash:
        is_locked = count_wrong(connection, row, now)
        return Outcome(error=locked() if is_locked else DomainError("password_wrong"))
    changed = {"password_hash": body.password_hash, "wrong_tries": 0}
    connection.execute(update(staff).where(staff.c.id == row.id).values(changed))
    _end_tokens(connection, row.id, now, but=body.token_hash)
    _note(connection, operation, now, "password_changed", row.id, {})
    return Outcome({"staff_id": row.id})


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

    Refusals: login_failed, login_locked, account_disabled, code_required, code_wrong.
    """
    return [_log_in(connection, operation.body, now) for operation in operations]


def _log_in(connection: Connection, body: LogIn, now: datetime) -> Outcome:
    if body.staff_id is None:
        return Outcome(error=DomainError("login_failed"))
    row = connection.execute(select(staff).where(staff.c.id == body.staff_id)).one()
    if row.locked_until_at is not None and now < row.locked_until_at:
        return Outcome(error=locked())
    if not body.fits:
        return Outcome(error=locked() if count_wrong(connection, row, now) else DomainError("login_failed"))
    if row.disabled_at is not None:
        return Outcome(error=DomainError("account_disabled"))
    changed: dict[str, object] = {"wrong_tries": 0, "locked_until_at": None}
    if row.totp_since_at is not None:
        if not body.has_code:
            return Outcome(error=DomainError("code_required"))
        # A code is good once, so that nobody uses one that they saw being typed.
        if body.step is None or body.totp_id != row.totp_id or body.step <= (row.totp_step or 0):
            return Outcome(error=locked() if count_wrong(connection, row, now) else DomainError("code_wrong"))
        changed["totp_step"] = body.step
    connection.execute(update(staff).where(staff.c.id == row.id).values(changed))
    # What has expired is of no use to anyone; a login is the moment to forget it.
    connection.execute(delete(staff_tokens).where(staff_tokens.c.expires_at < now))
    connection.execute(
        insert(staff_tokens).values(
            hash=body.token_hash,
            staff_id=row.id,
            issued_at=now,
            expires_at=body.expires_at,
            device=body.device[:MAX_DEVICE],
        )
    )
    return Outcome({"staff_id": row.id, "expires_at": iso(body.expires_at)})


def count_wrong(connection: Connection, row: Row[Any], now: datetime) -> bool:
    """Count a wrong password; whether the account is locked by it."""
    tries = row.wrong_tries + 1
    is_locked: bool = tries >= LOGIN_TRIES
    changed = {"wrong_tries": 0 if is_locked else tries, "locked_until_at": now + LOGIN_LOCK if is_locked else None}
    connection.execute(update(staff).where(staff.c.id == row.id).values(changed))
    return is_locked


def log_out(connection: Connection, operation: Operation, now: datetime) -> None:
    """End a token at once."""
    body: LogOut = operation.body
    connection.execute(
        update(staff_tokens)
        .where(staff_tokens.c.hash == body.token_hash, staff_tokens.c.staff_id == body.actor)
        .values(revoked_at=now)
    )


def open_sessions(connection: Connection, staff_id: str, token_hash: str, now: datetime) -> list[dict[str, Any]]:
    """Where an account is logged in, newest first; `is_this` is the session of `token_hash`."""
    t = staff_tokens.c
    query = (
        select(t.hash, t.issued_at, t.expires_at, t.device)
        .where(t.staff_id == staff_id, t.revoked_at.is_(None), t.expires_at > now)
        .order_by(t.issued_at.desc())
        .limit(MAX_SESSIONS)
    )
    return [
        {
            "id": row.hash[:SESSION_DIGITS],
            "began_at": iso(row.issued_at),
            "expires_at": iso(row.expires_at),
            "device": row.device or "",
            "is_this": row.hash == token_hash,
        }
        for row in connection.execute(query)
    ]


def end_session(connection: Connection, operation: Operation, now: datetime) -> None:
    """End one of one's own sessions; one that is none changes nothing."""
    body: EndSession = operation.body
    t = staff_tokens.c
    found = (t.staff_id == body.actor, t.hash.startswith(body.session, autoescape=True), t.revoked_at.is_(None))
    connection.execute(update(staff_tokens).where(*found).values(revoked_at=now))


def authenticate(connection: Connection, token: str, now: datetime) -> Member:
    """Whose token this is; refusals: token_invalid, token_expired."""
    hash = token_hash(token)
    row = connection.execute(
        select(staff.c.id, staff.c.login, staff.c.name, staff_tokens.c.expires_at, staff_tokens.c.revoked_at)
        .join(staff_tokens, staff_tokens.c.staff_id == staff.c.id)
        .where(staff_tokens.c.hash == hash, staff.c.disabled_at.is_(None))
    ).one_or_none()
    if row is None or row.revoked_at is not None:
        raise DomainError("token_invalid")
    if now >= row.expires_at:
        raise DomainError("token_expired")
    return Member(row.id, row.login, row.name, hash)


def members(
    connection: Connection, actor: str, after: str = "", limit: int = 200
) -> tuple[list[dict[str, Any]], str | None]:
    """The staff with a role somewhere in the actor's scope, by login, and where the next page starts.

    Refusal: forbidden.
    """
    visible = scope(connection, actor, Permission.STAFF_READ)
    shown = select(staff_roles.c.staff_id).where(staff_roles.c.organization_id.in_(visible))
    query = select(staff).where(staff.c.login > after, staff.c.id.in_(shown)).order_by(staff.c.login).limit(limit + 1)
    rows = connection.execute(query).all()
    return _views(connection, rows[:limit]), rows[limit - 1].login if len(rows) > limit else None


def member(connection: Connection, actor: str, staff_id: str) -> dict[str, Any]:
    """One member of staff, for who may see one of their roles; refusals: staff_unknown, forbidden."""
    found = view(connection, staff_id)
    visible = scope(connection, actor, Permission.STAFF_READ)
    if not any(role["organization_id"] in visible for role in found["roles"]):
        raise DomainError("forbidden", permission=Permission.STAFF_READ.value)
    return found


def view(connection: Connection, staff_id: str) -> dict[str, Any]:
    """One member of staff with roles and what they permit; refusal: staff_unknown."""
    row = connection.execute(select(staff).where(staff.c.id == staff_id)).one_or_none()
    if row is None:
        raise DomainError("staff_unknown", id=staff_id)
    return _views(connection, [row])[0]


def _views(connection: Connection, rows: Sequence[Row[Any]]) -> list[dict[str, Any]]:
    r = staff_roles.c
    query = select(r.staff_id, r.role, r.organization_id).where(r.staff_id.in_([row.id for row in rows]))
    grants: dict[str, list[Grant]] = {}
    for staff_id, role, organization_id in connection.execute(query.order_by(r.organization_id, r.role)):
        grants.setdefault(staff_id, []).append(Grant(Role(role), organization_id))
    return [
        {
            "id": row.id,
            "login": row.login,
            "name": row.name,
            "resident_id": row.resident_id,
            "is_active": row.disabled_at is None,
            "has_second_factor": row.totp_since_at is not None,
            "roles": [
                {"role": grant.role.value, "organization_id": grant.organization_id} for grant in grants.get(row.id, [])
            ],
            "permissions": sorted(permissions(frozenset(grant.role for grant in grants.get(row.id, [])))),
            "created_at": iso(row.created_at),
        }
        for row in rows
    ]


def who_may(
    connection: Connection, permission: Permission, organization_id: str, but: Collection[str] = ()
) -> tuple[str | None, list[str]]:
    """(the nearest node at or above this one where somebody else may do it, their ids); (None, []) if nobody may.

    `but` are those who must not: where an estate has nobody besides the recorder, the question goes to the node above.
    """
    nodes = [node.id for node in reversed(path(connection, organization_id))]
    r = staff_roles.c
    query = (
        select(r.organization_id, r.staff_id)
        .join(staff, staff.c.id == r.staff_id)
        .where(r.organization_id.in_(nodes), r.role.in_(PERMISSIONS[permission]), staff.c.disabled_at.is_(None))
    )
    found: dict[str, set[str]] = {}
    for node, staff_id in connection.execute(query):
        if staff_id not in but:
            found.setdefault(node, set()).add(staff_id)
    nearest = next((node for node in nodes if node in found), None)
    return nearest, sorted(found[nearest]) if nearest else []


def resident_of(connection: Connection, staff_id: str) -> str | None:
    """The resident that a member of staff is, if any."""
    return connection.scalar(select(staff.c.resident_id).where(staff.c.id == staff_id))


def locked() -> DomainError:
    """Too many wrong tries."""
    return DomainError("login_locked", minutes=LOGIN_LOCK // timedelta(minutes=1))


def _check_grants(connection: Connection, actor: str, grants: Collection[Grant]) -> None:
    """Refuse roles that `actor` may not give or take at their nodes: whoever does holds all that is in them."""
    for grant in sorted(grants, key=lambda one: (one.organization_id, one.role)):
        organization(connection, grant.organization_id)
        permit(connection, actor, Permission.STAFF_WRITE, grant.organization_id)
        if grant.role is Role.RESIDENT:
            raise DomainError("role_not_grantable")
        missing = permissions(frozenset({grant.role})) - held(connection, actor, grant.organization_id)
        if missing:
            raise DomainError("grant_not_held", permission=min(missing).value, role=grant.role.value)


def manage(connection: Connection, actor: str, staff_id: str) -> None:
    """Refuse to touch an account with roles that `actor` could not give."""
    _check_grants(connection, actor, _grants(connection, staff_id))


def _grants(connection: Connection, staff_id: str) -> list[Grant]:
    roles = view(connection, staff_id)["roles"]
    return [Grant(Role(one["role"]), one["organization_id"]) for one in roles]


def _grant(connection: Connection, staff_id: str, grants: Collection[Grant]) -> None:
    if grants:
        rows = [{"staff_id": staff_id, "role": one.role, "organization_id": one.organization_id} for one in grants]
        connection.execute(insert(staff_roles), rows)


def _shown(grants: Collection[Grant]) -> list[list[str]]:
    return sorted([grant.role.value, grant.organization_id] for grant in grants)


def _end_tokens(connection: Connection, staff_id: str, now: datetime, but: str = "") -> None:
    t = staff_tokens.c
    open_ones = (t.staff_id == staff_id, t.hash != but, t.revoked_at.is_(None))
    connection.execute(update(staff_tokens).where(*open_ones).values(revoked_at=now))


def _note(
    connection: Connection, operation: Operation, now: datetime, action: str, id: str, details: Mapping[str, object]
) -> None:
    audit.record(
        connection,
        now,
        actor=operation.body.actor,
        action=action,
        subject=("staff", id),
        operation_id=operation.id,
        details=details,
    )

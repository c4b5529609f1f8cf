"""Signing up for a session: first come, first served, and a list of those who wait.

Whoever cancels gives the place to the first who waits, in the same transaction, and that person is told. Nobody signs
up for two sessions at the same time. An activity is for the people of its node (an estate's for that estate, a street's
for all estates below it); a group brings its members, and the people of its home, which may be more than one estate.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Connection, RowMapping, and_, bindparam, func, insert, or_, select, update

from jishan_server import audit
from jishan_server.db import from_ms, to_ms
from jishan_server.errors import DomainError
from jishan_server.ids import derived_id
from jishan_server.instants import iso
from jishan_server.organizations import tree
from jishan_server.organizations.roles import SYSTEM, Permission, resident_of_actor, scope
from jishan_server.organizations.tables import groups
from jishan_server.people.credentials import masked
from jishan_server.people.membership_tables import memberships
from jishan_server.people.messages import Message, tell
from jishan_server.people.one_person import records_of
from jishan_server.people.residents import estate_of
from jishan_server.people.tables import residents
from jishan_server.volunteering.activities import local
from jishan_server.volunteering.activity_tables import activities, attendances, sessions, sign_ups
from jishan_server.volunteering.planned import permitted, planned_sessions, sign_up_until
from jishan_server.writer import Operation

One = TypeVar("One")


@dataclass(frozen=True, slots=True)
class SignUp:
    actor: str
    session_id: str
    resident_id: str


@dataclass(frozen=True, slots=True)
class CancelSignUp:
    actor: str
    sign_up_id: str


def sign_up(connection: Connection, operation: Operation, now: datetime, zone: ZoneInfo) -> dict[str, Any]:
    """Sign somebody up, or put them on the waiting list; who is on it already stays where they are.

    Residents sign up until the activity's deadline, staff for them until the session ends.
    Refusals: session_unknown, forbidden, resident_unknown, activity_not_published, activity_cancelled,
    session_cancelled, sign_up_closed, sign_up_person_closed, attendance_person_withdrew, sign_up_elsewhere,
    sign_up_clash.
    """
    body: SignUp = operation.body
    session = permitted(connection, body.actor, Permission.SIGN_UP, body.session_id, about=body.resident_id, lock=True)
    check_running(session)
    person = _person(connection, body.resident_id)
    is_own = resident_of_actor(body.actor) is not None
    if now >= (sign_up_until(session) if is_own else session["ends_at"]):
        raise DomainError("sign_up_closed")
    standing = standing_of(person)
    if standing != "active":
        raise DomainError("sign_up_person_closed", state=standing)
    if person["consent_state"] == "withdrawn":
        raise DomainError("attendance_person_withdrew", field="resident_id")
    if body.resident_id not in those_it_is_for(connection, session, {body.resident_id: person["estate_id"]}, zone):
        raise DomainError("sign_up_elsewhere")
    u = sign_ups.c
    known = connection.execute(
        select(u.id, u.state).where(u.session_id == body.session_id, u.resident_id == body.resident_id)
    ).one_or_none()
    if known is not None and known.state != "cancelled":
        return view(connection, known.id)
    _check_clash(connection, session, body.resident_id)
    taken = connection.scalar(select(func.count()).where(u.session_id == body.session_id, u.state == "signed_up"))
    is_free = session["capacity"] is None or (taken or 0) < session["capacity"]
    last = connection.scalar(select(func.max(u.number)).where(u.session_id == body.session_id)) or 0
    values = {
        "number": last + 1,
        "state": "signed_up" if is_free else "waiting",
        "signed_up_by": body.actor,
        "signed_up_at": now,
        "moved_up_at": None,
        "cancelled_by": None,
        "cancelled_at": None,
    }
    if known is None:
        id = derived_id(operation.id, "sign-up")
        connection.execute(
            insert(sign_ups).values(id=id, session_id=body.session_id, resident_id=body.resident_id, **values)
        )
    else:
        id = known.id
        connection.execute(update(sign_ups).where(u.id == id).values(values))
    details = {"session_id": body.session_id, "state": values["state"]}
    _note(connection, operation, now, "signed_up", body.resident_id, details)
    return view(connection, id)


def cancel_sign_up(connection: Connection, operation: Operation, now: datetime, zone: ZoneInfo) -> dict[str, Any]:
    """Give a place back before the session begins; the first who waits gets it. A second time changes nothing.

    Refusals: sign_up_unknown, forbidden, session_started.
    """
    body: CancelSignUp = operation.body
    found = connection.execute(select(sign_ups).where(sign_ups.c.id == body.sign_up_id)).mappings().one_or_none()
    if found is None:
        raise DomainError("sign_up_unknown", id=body.sign_up_id)
    about = found["resident_id"]
    session = permitted(connection, body.actor, Permission.SIGN_UP, found["session_id"], about=about, lock=True)
    # Read again under the lock.
    state = connection.scalar(select(sign_ups.c.state).where(sign_ups.c.id == body.sign_up_id))
    if state == "cancelled":
        return view(connection, body.sign_up_id)
    if now >= session["starts_at"]:
        raise DomainError("session_started", id=session["id"])
    connection.execute(
        update(sign_ups)
        .where(sign_ups.c.id == body.sign_up_id)
        .values(state="cancelled", cancelled_by=body.actor, cancelled_at=now)
    )
    move_up(connection, session["id"], now, zone)
    _note(connection, operation, now, "sign_up_cancelled", found["resident_id"], {"session_id": session["id"]})
    return view(connection, body.sign_up_id)


def move_up(connection: Connection, session_id: str, now: datetime, zone: ZoneInfo) -> None:
    """Give free places of a session that is locked to those who wait, in their order, and tell them."""
    session = connection.execute(planned_sessions().where(sessions.c.id == session_id)).mappings().one()
    if now >= session["starts_at"] or session["state"] != "open":
        return
    u = sign_ups.c
    listed = connection.execute(
        select(u.id, u.resident_id, u.state)
        .where(u.session_id == session_id, u.state != "cancelled")
        .order_by(u.number)
    ).all()
    taken = sum(one.state == "signed_up" for one in listed)
    chosen = promoted([one for one in listed if one.state == "waiting"], taken, session["capacity"])
    if not chosen:
        return
    connection.execute(
        update(sign_ups).where(u.id == bindparam("sign_up")).values(state="signed_up", moved_up_at=now),
        [{"sign_up": one.id} for one in chosen],
    )
    said = {"activity": session["title"], "starts": local(session["starts_at"], zone)}
    tell(connection, now, [Message(one.resident_id, "sign_up_moved_up", said) for one in chosen])


def promoted(waiting: Sequence[One], taken: int, capacity: int | None) -> Sequence[One]:
    """Those of `waiting` (in their order) who get a place when `taken` of `capacity` places are; None is no limit."""
    return waiting if capacity is None else waiting[: max(0, capacity - taken)]


def check_running(session: RowMapping) -> None:
    """Refuse what is not to take place: activity_not_published, activity_cancelled, session_cancelled."""
    if session["activity_state"] == "draft":
        raise DomainError("activity_not_published", id=session["activity_id"])
    if session["state"] == "cancelled":
        raise DomainError("session_cancelled", id=session["id"])
    # A cancelled activity has sessions that took place before.
    if session["activity_state"] == "cancelled" and session["state"] == "open":
        raise DomainError("activity_cancelled", id=session["activity_id"])


def those_it_is_for(
    connection: Connection, session: RowMapping, estates: Mapping[str, str], zone: ZoneInfo
) -> frozenset[str]:
    """Those among people (id -> estate) whom a session's activity is for.

    That is who belongs above, at or below its node, or the home of its group (everybody for a group without one), and
    the members that the group has on the session's day.
    """
    nodes = _around(connection, session["organization_id"])
    members: frozenset[str] = frozenset()
    group_id = session["group_id"]
    if group_id is not None:
        home = connection.scalar(select(groups.c.organization_id).where(groups.c.id == group_id))
        if home is None:
            return frozenset(estates)
        nodes |= _around(connection, home)
        m = memberships.c
        query = select(m.resident_id).where(m.group_id == group_id, m.resident_id.in_(estates))
        members = frozenset(connection.scalars(query.where(_is_on(session["starts_at"], zone))))
    return frozenset(id for id, estate_id in estates.items() if estate_id in nodes or id in members)


def _is_on(at: datetime, zone: ZoneInfo) -> ColumnElement[bool]:
    """A membership holds on the local day of an instant."""
    m, day = memberships.c, at.astimezone(zone).date().isoformat()
    return and_(m.from_day <= day, or_(m.to_day.is_(None), m.to_day >= day))


def _around(connection: Connection, organization_id: str) -> frozenset[str]:
    above = frozenset(node.id for node in tree.path(connection, organization_id))
    return above | tree.below(connection, organization_id)


def people(
    connection: Connection, actor: str, session_id: str, after: int, limit: int
) -> tuple[list[dict[str, Any]], int | None]:
    """Who signed up for a session, in their order, and whether they came; and where the next page starts.

    Refusals: session_unknown, forbidden.
    """
    permitted(connection, actor, Permission.ACTIVITY_READ, session_id)
    u = sign_ups.c
    rows = connection.execute(
        select(u.id, u.number)
        .where(u.session_id == session_id, u.state != "cancelled", u.number > after)
        .order_by(u.number)
        .limit(limit + 1)
    ).all()
    shown = _views(connection, [row.id for row in rows[:limit]])
    names = shown_people(connection, actor, [one["resident_id"] for one in shown])
    a = attendances.c
    came = dict(
        connection.execute(select(a.resident_id, a.state).where(a.session_id == session_id, a.state != "void")).all()
    )
    found = [one | names[one["resident_id"]] | {"attendance": came.get(one["resident_id"])} for one in shown]
    return found, rows[limit - 1].number if len(rows) > limit else None


def shown_people(connection: Connection, actor: str, resident_ids: Collection[str]) -> dict[str, dict[str, Any]]:
    """People as `actor` may see them: with the name where they may read residents, else masked."""
    visible = None if actor == SYSTEM else scope(connection, actor, Permission.RESIDENT_READ)
    r = residents.c
    rows = connection.execute(select(r.id, r.name, r.member_number, r.estate_id).where(r.id.in_(resident_ids)))
    return {
        row.id: {
            "resident_id": row.id,
            "name": row.name if visible is None or row.estate_id in visible else masked(row.name),
            "member_number": row.member_number,
        }
        for row in rows
    }


def mine(
    connection: Connection, resident_id: str, after: tuple[int, str] | None, limit: int
) -> tuple[list[dict[str, Any]], tuple[int, str] | None]:
    """A resident's sign-ups with their sessions, the latest session first, and where the next page starts."""
    u, s = sign_ups.c, sessions.c
    query = select(u.id, s.starts_at).join(sessions, s.id == u.session_id)
    query = query.where(u.resident_id.in_(records_of(connection, resident_id)))
    if after is not None:
        at = from_ms(after[0])
        query = query.where(or_(s.starts_at < at, and_(s.starts_at == at, u.id > after[1])))
    rows = connection.execute(query.order_by(s.starts_at.desc(), u.id).limit(limit + 1)).all()
    last = (to_ms(rows[limit - 1].starts_at), rows[limit - 1].id) if len(rows) > limit else None
    return _views(connection, [row.id for row in rows[:limit]]), last


def near(
    connection: Connection,
    resident_id: str,
    now: datetime,
    zone: ZoneInfo,
    after: tuple[int, str] | None,
    limit: int,
    about: str | None = None,
) -> tuple[list[dict[str, Any]], tuple[int, str] | None]:
    """Sessions to come that a resident may sign up for, the next one first, and where the next page starts.

    `about`: only this session, or those of this activity. Refusal: resident_unknown.
    """
    estate_id = estate_of(connection, resident_id)
    s, a, u = sessions.c, activities.c, sign_ups.c
    query = planned_sessions().add_columns(a.description, a.risk_note, a.contact, a.person_in_charge, a.activity_type)
    query = query.where(a.state == "published", s.state == "open", s.ends_at > now)
    if about is not None:
        query = query.where(or_(s.id == about, a.id == about))
    mine = select(memberships.c.group_id).where(memberships.c.resident_id == resident_id, _is_on(now, zone))
    query = query.where(or_(a.organization_id.in_(_around(connection, estate_id)), a.group_id.in_(mine)))
    if after is not None:
        at = from_ms(after[0])
        query = query.where(or_(s.starts_at > at, and_(s.starts_at == at, s.id > after[1])))
    rows = connection.execute(query.order_by(s.starts_at, s.id).limit(limit + 1)).mappings().all()
    ids = [row["id"] for row in rows[:limit]]
    taken: dict[str, int] = dict(
        connection.execute(
            select(u.session_id, func.count())
            .where(u.session_id.in_(ids), u.state == "signed_up")
            .group_by(u.session_id)
        ).all()
    )
    own = dict(
        connection.execute(
            select(u.session_id, u.state).where(u.session_id.in_(ids), u.resident_id == resident_id)
        ).all()
    )
    words = ("title", "place", "description", "risk_note", "contact", "person_in_charge", "activity_type")
    found = [
        {name: row[name] for name in ("activity_id", "capacity", *words)}
        | {"session_id": row["id"], "starts_at": iso(row["starts_at"]), "ends_at": iso(row["ends_at"])}
        | {"sign_up_until_at": iso(sign_up_until(row)), "signed_up": taken.get(row["id"], 0)}
        | {"my_sign_up": own.get(row["id"])}
        for row in rows[:limit]
    ]
    last = (to_ms(rows[limit - 1]["starts_at"]), rows[limit - 1]["id"]) if len(rows) > limit else None
    return found, last


def view(connection: Connection, sign_up_id: str) -> dict[str, Any]:
    """One sign-up with its session."""
    return _views(connection, [sign_up_id])[0]


def _views(connection: Connection, sign_up_ids: Sequence[str]) -> list[dict[str, Any]]:
    """Sign-ups in the order of `sign_up_ids`; who waits is told their place in the line."""
    u, s, a = sign_ups.c, sessions.c, activities.c
    before = sign_ups.alias("before")
    line = (
        select(func.count())
        .where(before.c.session_id == u.session_id, before.c.state == "waiting", before.c.number <= u.number)
        .scalar_subquery()
    )
    rows = connection.execute(
        select(sign_ups, s.starts_at, s.ends_at, a.title, a.place, line.label("place_in_line"))
        .join(sessions, s.id == u.session_id)
        .join(activities, a.id == s.activity_id)
        .where(u.id.in_(sign_up_ids))
    ).mappings()
    found = {row["id"]: row for row in rows}
    return [_view(found[id]) for id in sign_up_ids]


def _view(row: Mapping[str, Any] | RowMapping) -> dict[str, Any]:
    shown = ("id", "session_id", "resident_id", "number", "state", "signed_up_by", "title", "place")
    return (
        {name: row[name] for name in shown}
        | {name: iso(row[name]) for name in ("signed_up_at", "moved_up_at", "cancelled_at", "starts_at", "ends_at")}
        | {"place_in_line": row["place_in_line"] if row["state"] == "waiting" else None}
    )


def standing_of(person: RowMapping) -> str:
    """What a row of a resident says of the account: active, frozen, merged or closed."""
    if person["merged_into"] is not None:
        return "merged"
    if person["closed_at"] is not None or person["erased_at"] is not None:
        return "closed"
    return str(person["state"])


def _person(connection: Connection, resident_id: str) -> RowMapping:
    """A resident, locked: nobody signs up twice at once."""
    query = select(residents).where(residents.c.id == resident_id).with_for_update()
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise DomainError("resident_unknown", id=resident_id)
    return row


def _check_clash(connection: Connection, session: RowMapping, resident_id: str) -> None:
    u, s, a = sign_ups.c, sessions.c, activities.c
    other = connection.execute(
        select(s.id, s.starts_at, s.ends_at, a.title)
        .join(sign_ups, u.session_id == s.id)
        .join(activities, a.id == s.activity_id)
        .where(u.resident_id == resident_id, u.state != "cancelled", s.state == "open", s.id != session["id"])
        .where(s.starts_at < session["ends_at"], s.ends_at > session["starts_at"])
        .order_by(s.starts_at)
        .limit(1)
    ).one_or_none()
    if other is not None:
        raise DomainError(
            "sign_up_clash",
            title=other.title,
            session_id=other.id,
            starts_at=iso(other.starts_at),
            ends_at=iso(other.ends_at),
        )


def _note(
    connection: Connection,
    operation: Operation,
    now: datetime,
    action: str,
    resident_id: str,
    details: Mapping[str, object],
) -> None:
    audit.record(
        connection,
        now,
        actor=operation.body.actor,
        action=action,
        subject=("resident", resident_id),
        operation_id=operation.id,
        details=details,
    )

"""What is organised: types of activities, templates, and activities from a draft to publishing or cancelling.

A type says whether an activity counts as volunteer service, how long one session may be, and how long check-out stays
open; an activity keeps what its type said when it was made. Publishing tells from when on people may come; to publish
what has begun already takes a reason, which stays with its sessions.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, RowMapping, and_, insert, or_, select, update

from jishan_server import audit
from jishan_server.db import from_ms, to_ms
from jishan_server.errors import DomainError
from jishan_server.ids import derived_id
from jishan_server.instants import iso
from jishan_server.organizations import tree
from jishan_server.organizations.roles import Permission, permit, permit_everywhere, scope
from jishan_server.organizations.tables import groups
from jishan_server.people.messages import Message, tell
from jishan_server.volunteering.activity_tables import (
    activities,
    activity_templates,
    activity_types,
    sessions,
    sign_ups,
)
from jishan_server.writer import Operation

REQUIRED: Final = ("title", "activity_type", "place", "person_in_charge")
"""What a service record must say (Order 67, article 7)."""
OPTIONAL: Final = ("description", "risk_note", "contact")


@dataclass(frozen=True, slots=True)
class PutActivityType:
    """Make a type, or change one; activities that were made before keep what they have."""

    actor: str
    code: str
    name_zh: str
    name_en: str
    category: str
    counts_as_service: bool
    longest_session_minutes: int
    grace_minutes: int
    is_active: bool = True


@dataclass(frozen=True, slots=True)
class CreateTemplate:
    """For a node and all below it."""

    actor: str
    organization_id: str
    title: str
    activity_type: str
    place: str
    description: str
    risk_note: str
    person_in_charge: str
    contact: str


@dataclass(frozen=True, slots=True)
class ChangeTemplate:
    """What is None stays as it is."""

    actor: str
    template_id: str
    title: str | None = None
    activity_type: str | None = None
    place: str | None = None
    description: str | None = None
    risk_note: str | None = None
    person_in_charge: str | None = None
    contact: str | None = None
    is_active: bool | None = None


@dataclass(frozen=True, slots=True)
class CreateActivity:
    """A draft for a node of the tree, or one of its groups. What is None comes from the template."""

    actor: str
    organization_id: str
    group_id: str | None = None
    template_id: str | None = None
    title: str | None = None
    activity_type: str | None = None
    place: str | None = None
    description: str | None = None
    risk_note: str | None = None
    person_in_charge: str | None = None
    contact: str | None = None
    sign_up_ends_minutes: int = 0


@dataclass(frozen=True, slots=True)
class ChangeActivity:
    """What is None stays as it is; the type stays once the activity is published."""

    actor: str
    activity_id: str
    title: str | None = None
    activity_type: str | None = None
    place: str | None = None
    description: str | None = None
    risk_note: str | None = None
    person_in_charge: str | None = None
    contact: str | None = None
    sign_up_ends_minutes: int | None = None


@dataclass(frozen=True, slots=True)
class PublishActivity:
    """`reason` is required if a session has begun already."""

    actor: str
    activity_id: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class CancelActivity:
    actor: str
    activity_id: str
    reason: str


def put_activity_type(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Make or change a type, for the whole scheme. Refusal: forbidden."""
    body: PutActivityType = operation.body
    permit_everywhere(connection, body.actor, Permission.RULES_WRITE)
    values = {field.name: getattr(body, field.name) for field in fields(body) if field.name != "actor"}
    t = activity_types.c
    if connection.scalar(select(t.code).where(t.code == body.code)) is None:
        connection.execute(insert(activity_types).values(**values, created_at=now))
    else:
        connection.execute(update(activity_types).where(t.code == body.code).values(values))
    _note(connection, operation, now, "activity_type_put", ("activity_type", body.code))
    return activity_type(connection, body.code)


def create_template(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Make a template. Refusals: estate_unknown, forbidden, activity_type_unknown, activity_type_inactive."""
    body: CreateTemplate = operation.body
    tree.path(connection, body.organization_id)
    permit(connection, body.actor, Permission.ACTIVITY_WRITE, body.organization_id)
    _active_type(connection, body.activity_type)
    id = derived_id(operation.id, "template")
    words = {name: getattr(body, name) for name in (*REQUIRED, *OPTIONAL)}
    connection.execute(
        insert(activity_templates).values(
            **words,
            id=id,
            organization_id=body.organization_id,
            is_active=True,
            created_by=body.actor,
            created_at=now,
        )
    )
    _note(connection, operation, now, "template_created", ("template", id))
    return _template_view(_template(connection, id))


def change_template(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Change or retire a template; what was made from it stays.

    Refusals: template_unknown, forbidden, activity_type_unknown, activity_type_inactive.
    """
    body: ChangeTemplate = operation.body
    found = _template(connection, body.template_id)
    permit(connection, body.actor, Permission.ACTIVITY_WRITE, found["organization_id"])
    if body.activity_type is not None:
        _active_type(connection, body.activity_type)
    changed = _given(body, (*REQUIRED, *OPTIONAL, "is_active"))
    if changed:
        connection.execute(
            update(activity_templates).where(activity_templates.c.id == body.template_id).values(changed)
        )
        _note(
            connection, operation, now, "template_changed", ("template", body.template_id), {"names": sorted(changed)}
        )
    return _template_view(_template(connection, body.template_id))


def create_activity(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Make a draft.

    Refusals: estate_unknown, forbidden, group_unknown, template_unknown, fields_invalid, activity_type_unknown,
    activity_type_inactive.
    """
    body: CreateActivity = operation.body
    above = {node.id for node in tree.path(connection, body.organization_id)}
    permit(connection, body.actor, Permission.ACTIVITY_WRITE, body.organization_id)
    if body.group_id is not None:
        _check_group(connection, body.group_id, above | tree.below(connection, body.organization_id))
    words: dict[str, Any] = dict.fromkeys(OPTIONAL, "")
    if body.template_id is not None:
        template = _template(connection, body.template_id)
        if template["organization_id"] not in above:
            raise DomainError("template_unknown", id=body.template_id)
        words |= {name: template[name] for name in (*REQUIRED, *OPTIONAL)}
    words |= _given(body, (*REQUIRED, *OPTIONAL))
    missing = [name for name in REQUIRED if not words.get(name)]
    if missing:
        raise DomainError("fields_invalid", names=", ".join(missing))
    kind = _active_type(connection, words["activity_type"])
    id = derived_id(operation.id, "activity")
    connection.execute(
        insert(activities).values(
            **words,
            id=id,
            organization_id=body.organization_id,
            group_id=body.group_id,
            template_id=body.template_id,
            category=kind["category"],
            counts_as_service=kind["counts_as_service"],
            sign_up_ends_minutes=body.sign_up_ends_minutes,
            state="draft",
            created_by=body.actor,
            created_at=now,
        )
    )
    _note(connection, operation, now, "activity_created", ("activity", id), {"organization_id": body.organization_id})
    return view(connection, id)


def change_activity(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Change what an activity says.

    Refusals: activity_unknown, forbidden, activity_cancelled, activity_fixed, activity_type_unknown,
    activity_type_inactive.
    """
    body: ChangeActivity = operation.body
    found = permitted(connection, body.actor, Permission.ACTIVITY_WRITE, body.activity_id)
    if found["state"] == "cancelled":
        raise DomainError("activity_cancelled", id=body.activity_id)
    changed = _given(body, (*REQUIRED, *OPTIONAL, "sign_up_ends_minutes"))
    changed = {name: value for name, value in changed.items() if value != found[name]}
    if "activity_type" in changed:
        if found["state"] != "draft":
            raise DomainError("activity_fixed", id=body.activity_id)
        kind = _active_type(connection, changed["activity_type"])
        changed |= {"category": kind["category"], "counts_as_service": kind["counts_as_service"]}
        _let_close_by(connection, body.activity_id, kind)
    if changed:
        connection.execute(update(activities).where(activities.c.id == body.activity_id).values(changed))
        details = {"names": sorted(changed)}
        _note(connection, operation, now, "activity_changed", ("activity", body.activity_id), details)
    return view(connection, body.activity_id)


def publish_activity(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Let people come. Publishing one that is published already changes nothing.

    Refusals: activity_unknown, forbidden, activity_cancelled, backdating_reason_required.
    """
    body: PublishActivity = operation.body
    found = permitted(connection, body.actor, Permission.ACTIVITY_WRITE, body.activity_id)
    if found["state"] == "cancelled":
        raise DomainError("activity_cancelled", id=body.activity_id)
    if found["state"] == "published":
        return view(connection, body.activity_id)
    s = sessions.c
    begun = and_(s.activity_id == body.activity_id, s.state != "cancelled", s.starts_at < now)
    late = connection.scalars(select(s.id).where(begun)).all()
    if late:
        if not body.reason.strip():
            raise DomainError("backdating_reason_required", sessions=len(late))
        connection.execute(update(sessions).where(begun).values(backdating_reason=body.reason.strip()))
    connection.execute(
        update(activities)
        .where(activities.c.id == body.activity_id)
        .values(state="published", published_at=now, published_by=body.actor)
    )
    details = {"backdated_sessions": len(late)}
    _note(connection, operation, now, "activity_published", ("activity", body.activity_id), details)
    return view(connection, body.activity_id)


def cancel_activity(connection: Connection, operation: Operation, now: datetime, zone: ZoneInfo) -> dict[str, Any]:
    """Cancel it with every session that has not begun, and tell those who signed up. What was attended stays.

    Refusals: activity_unknown, forbidden, reason_required.
    """
    body: CancelActivity = operation.body
    found = permitted(connection, body.actor, Permission.ACTIVITY_WRITE, body.activity_id)
    if not body.reason.strip():
        raise DomainError("reason_required")
    if found["state"] == "cancelled":
        return view(connection, body.activity_id)
    s = sessions.c
    coming = connection.scalars(
        select(s.id).where(s.activity_id == body.activity_id, s.state == "open", s.starts_at > now)
    ).all()
    for session_id in coming:
        cancel_coming(connection, session_id, body.actor, body.reason.strip(), now, zone)
    connection.execute(
        update(activities)
        .where(activities.c.id == body.activity_id)
        .values(state="cancelled", cancelled_at=now, cancel_reason=body.reason.strip())
    )
    details = {"sessions": len(coming)}
    _note(connection, operation, now, "activity_cancelled", ("activity", body.activity_id), details)
    return view(connection, body.activity_id)


def cancel_coming(
    connection: Connection, session_id: str, actor: str, reason: str, now: datetime, zone: ZoneInfo
) -> None:
    """Cancel a session with its sign-ups, and tell the people."""
    s, u = sessions.c, sign_ups.c
    found = connection.execute(
        select(s.starts_at, activities.c.title)
        .join(activities, activities.c.id == s.activity_id)
        .where(s.id == session_id)
    ).one()
    told = connection.scalars(
        select(u.resident_id).where(u.session_id == session_id, u.state != "cancelled").order_by(u.number)
    ).all()
    connection.execute(
        update(sessions).where(s.id == session_id).values(state="cancelled", cancelled_at=now, cancel_reason=reason)
    )
    connection.execute(
        update(sign_ups)
        .where(u.session_id == session_id, u.state != "cancelled")
        .values(state="cancelled", cancelled_by=actor, cancelled_at=now)
    )
    said = {"activity": found.title, "starts": local(found.starts_at, zone)}
    tell(connection, now, [Message(one, "session_cancelled", said) for one in told])


def local(at: datetime, zone: ZoneInfo) -> str:
    """An instant as people read it: `2026-03-02 14:00`."""
    return f"{at.astimezone(zone):%Y-%m-%d %H:%M}"


def activity_type(connection: Connection, code: str) -> dict[str, Any]:
    """One type; refusal: activity_type_unknown."""
    row = connection.execute(select(activity_types).where(activity_types.c.code == code)).mappings().one_or_none()
    if row is None:
        raise DomainError("activity_type_unknown", code=code)
    return {**row, "created_at": iso(row["created_at"])}


def types(connection: Connection, actor: str) -> list[dict[str, Any]]:
    """All types by code; refusal: forbidden for who sees no activity anywhere."""
    scope(connection, actor, Permission.ACTIVITY_READ)
    rows = connection.execute(select(activity_types).order_by(activity_types.c.code)).mappings()
    return [{**row, "created_at": iso(row["created_at"])} for row in rows]


def templates(connection: Connection, actor: str, organization_id: str) -> list[dict[str, Any]]:
    """The templates that a node may use: its own and those of the nodes above it, by title.

    Refusals: estate_unknown, forbidden.
    """
    above = [node.id for node in tree.path(connection, organization_id)]
    permit(connection, actor, Permission.ACTIVITY_READ, organization_id)
    t = activity_templates.c
    rows = connection.execute(
        select(activity_templates).where(t.organization_id.in_(above)).order_by(t.title, t.id)
    ).mappings()
    return [_template_view(row) for row in rows]


def activity(connection: Connection, actor: str, activity_id: str) -> dict[str, Any]:
    """One activity for `actor`; refusals: activity_unknown, forbidden."""
    permitted(connection, actor, Permission.ACTIVITY_READ, activity_id)
    return view(connection, activity_id)


def page(
    connection: Connection,
    actor: str,
    *,
    organization_id: str | None,
    state: str | None,
    after: tuple[int, str] | None,
    limit: int,
) -> tuple[list[dict[str, Any]], tuple[int, str] | None]:
    """Activities that `actor` may see (of a node and all below it), newest first, and where the next page starts.

    Refusals: forbidden, estate_unknown.
    """
    a = activities.c
    query = select(activities).where(a.organization_id.in_(visible(connection, actor, organization_id)))
    if state is not None:
        query = query.where(a.state == state)
    if after is not None:
        at = from_ms(after[0])
        query = query.where(or_(a.created_at < at, and_(a.created_at == at, a.id > after[1])))
    rows = connection.execute(query.order_by(a.created_at.desc(), a.id).limit(limit + 1)).mappings().all()
    last = (to_ms(rows[limit - 1]["created_at"]), rows[limit - 1]["id"]) if len(rows) > limit else None
    return [_view(row) for row in rows[:limit]], last


def visible(connection: Connection, actor: str, organization_id: str | None) -> frozenset[str]:
    """The nodes whose activities `actor` may see, those of one node and all below it if one is named.

    Refusals: forbidden, estate_unknown.
    """
    if organization_id is None:
        return scope(connection, actor, Permission.ACTIVITY_READ)
    below = tree.below(connection, organization_id)
    permit(connection, actor, Permission.ACTIVITY_READ, organization_id)
    return below


def permitted(connection: Connection, actor: str, permission: Permission, activity_id: str) -> RowMapping:
    """An activity's row, for who has `permission` where it belongs; refusals: activity_unknown, forbidden."""
    row = connection.execute(select(activities).where(activities.c.id == activity_id)).mappings().one_or_none()
    if row is None:
        raise DomainError("activity_unknown", id=activity_id)
    permit(connection, actor, permission, row["organization_id"])
    return row


def view(connection: Connection, activity_id: str) -> dict[str, Any]:
    """One activity; refusal: activity_unknown."""
    row = connection.execute(select(activities).where(activities.c.id == activity_id)).mappings().one_or_none()
    if row is None:
        raise DomainError("activity_unknown", id=activity_id)
    return _view(row)


def _view(row: RowMapping) -> dict[str, Any]:
    return dict(row) | {name: iso(row[name]) for name in ("published_at", "cancelled_at", "created_at")}


def _template(connection: Connection, id: str) -> RowMapping:
    row = connection.execute(select(activity_templates).where(activity_templates.c.id == id)).mappings().one_or_none()
    if row is None:
        raise DomainError("template_unknown", id=id)
    return row


def _template_view(row: RowMapping) -> dict[str, Any]:
    return {**row, "created_at": iso(row["created_at"])}


def _check_group(connection: Connection, group_id: str, nodes: Collection[str]) -> None:
    """Refuse a group that is closed, or whose home is none of `nodes`: group_unknown."""
    g = groups.c
    row = connection.execute(select(g.organization_id, g.closed_at).where(g.id == group_id)).one_or_none()
    if (
        row is None
        or row.closed_at is not None
        or (row.organization_id is not None and row.organization_id not in nodes)
    ):
        raise DomainError("group_unknown", id=group_id)


def _active_type(connection: Connection, code: str) -> dict[str, Any]:
    found = activity_type(connection, code)
    if not found["is_active"]:
        raise DomainError("activity_type_inactive", code=code)
    return found


def _let_close_by(connection: Connection, activity_id: str, kind: Mapping[str, Any]) -> None:
    """Give the sessions of a draft the limits of its new type; refusal: session_too_long."""
    s = sessions.c
    planned = connection.execute(select(s.id, s.starts_at, s.ends_at).where(s.activity_id == activity_id)).all()
    for one in planned:
        check_length(one.starts_at, one.ends_at, kind["longest_session_minutes"])
        closes_at = one.ends_at + timedelta(minutes=kind["grace_minutes"])
        connection.execute(update(sessions).where(s.id == one.id).values(closes_at=closes_at))


def check_length(starts_at: datetime, ends_at: datetime, longest_minutes: int) -> None:
    """Refuse a session that is longer than its type allows: session_too_long."""
    if ends_at - starts_at > timedelta(minutes=longest_minutes):
        raise DomainError("session_too_long", minutes=longest_minutes)


def _given(body: object, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(body, name) for name in names if getattr(body, name) is not None}


def _note(
    connection: Connection,
    operation: Operation,
    now: datetime,
    action: str,
    subject: tuple[str, str],
    details: Mapping[str, object] | None = None,
) -> None:
    audit.record(
        connection,
        now,
        actor=operation.body.actor,
        action=action,
        subject=subject,
        operation_id=operation.id,
        details=details,
    )

"""Importing activities: one row is one session of one activity, which is made where there is none of that title.

An activity is known by its organising node and title, its session by when it begins. Activities are published with the
import; a session that has begun already is entered late, with the file's name as the reason, and flagged so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, select

from jishan_server.errors import DomainError
from jishan_server.ids import derived_id
from jishan_server.sheets import dates
from jishan_server.sheets.cells import Cell, CellProblem, text_of
from jishan_server.sheets.durations import parse_minutes, unit_of
from jishan_server.sheets.headers import Field
from jishan_server.sheets.problems import Problem
from jishan_server.volunteering import activities as organising
from jishan_server.volunteering import sessions as planning
from jishan_server.volunteering.activity_tables import activities, activity_types, attendances, sessions, sign_ups
from jishan_server.volunteering.importing.rows import Job, Row, RowReader, Verdict
from jishan_server.volunteering.importing.tree import nodes_below
from jishan_server.writer import Operation

CHUNK_ROWS: Final = 50
"""Each row is planned by itself, with some statements of its own: few rows make one transaction."""
MAX_TITLE: Final = 100
MAX_PLACE: Final = 200
MAX_CAPACITY: Final = 100_000

FIELDS: Final = (
    Field("title", "活动名称", "title", ("活动", "名称", "活动主题", "项目名称"), True, "示例：扫雪"),
    Field("activity_type", "活动类型", "type", ("类型", "服务类型"), True, "", "已登记的类型的名称或代码"),
    Field("day", "日期", "day", ("活动日期", "服务日期"), True, "2026-03-05"),
    Field("starts", "开始时间", "begins", ("开始", "起始时间", "活动开始时间"), True, "14:30"),
    Field("ends", "结束时间", "ends", ("结束", "终止时间", "活动结束时间"), False, "16:30", "结束时间和时长写一项即可"),
    Field("minutes", "时长", "duration", ("活动时长", "小时", "分钟"), False, ""),
    Field("place", "地点", "place", ("活动地点", "服务地点"), True, "3栋门口"),
    Field("person_in_charge", "负责人", "person in charge", ("活动负责人", "带队人", "联系人"), True, "周敏"),
    Field("contact", "联系电话", "contact", ("负责人电话", "电话", "手机"), False, "13800001111"),
    Field("capacity", "人数上限", "capacity", ("名额", "招募人数", "计划人数"), False, "30"),
    Field("description", "活动内容", "description", ("内容", "说明", "活动说明"), False, ""),
    Field("organization", "组织单位", "unit", ("主办单位", "组织", "单位"), False, "", "名称或编号，不填则是所选组织"),
)


@dataclass(frozen=True, slots=True)
class Sitting:
    """One session as the file plans it; `activity_id` is that of an activity that is there."""

    organization_id: str
    title: str
    activity_type: str
    place: str
    person_in_charge: str
    contact: str
    description: str
    starts_at: datetime
    ends_at: datetime
    capacity: int | None
    activity_id: str | None = None


class _Type(NamedTuple):
    code: str
    longest_minutes: int


def judge(connection: Connection, job: Job, rows: Sequence[Row], seen: dict[Any, Any], now: datetime) -> list[Verdict]:
    """Say of each row whether its session is new, planned already, or wrong."""
    nodes, types = nodes_below(connection, job), _types(connection)
    read = [_read(job, row, nodes, types) for row in rows]
    planned = _planned(connection, {one.title for _, one in read if one is not None})
    verdicts = []
    for reader, one in read:
        if one is None:
            verdicts.append(reader.verdict("bad"))
            continue
        key = (one.organization_id, one.title)
        if (*key, one.starts_at) in planned or ("sitting", *key, one.starts_at) in seen:
            verdicts.append(reader.verdict("known"))
            continue
        seen["sitting", *key, one.starts_at] = reader.row.number
        verdicts.append(reader.verdict("new", one))
    return verdicts


def book(
    connection: Connection, operation: Operation, now: datetime, job: Job, verdicts: Sequence[Verdict]
) -> list[str | Problem]:
    """Make activities and sessions; the ids of the sessions."""
    known = _activities(connection, {verdict.value.title for verdict in verdicts})
    return [_plan(connection, operation, now, job, verdict, known) for verdict in verdicts]


def undo(
    connection: Connection, operation: Operation, now: datetime, job: Job, booked: Sequence[tuple[int, str]]
) -> dict[str, str]:
    """Cancel sessions that nobody attended and nobody signed up for; the others, each with who refers to it."""
    ids = [id for _, id in booked]
    kept: dict[str, str] = {}
    for table in (attendances, sign_ups):
        query = select(table.c.session_id).where(table.c.session_id.in_(ids)).distinct()
        kept |= dict.fromkeys(connection.scalars(query), table.name)
    for id in ids:
        if id not in kept:
            body = planning.CancelSession(operation.body.actor, id, job.file_name)
            step = Operation(derived_id(operation.id, f"cancel {id}"), "cancel_session", body)
            planning.cancel_session(connection, step, now, job.zone)
    return kept


def _types(connection: Connection) -> dict[str, _Type]:
    t = activity_types.c
    query = select(t.code, t.name_zh, t.name_en, t.longest_session_minutes).where(t.is_active)
    return {
        word.lower(): _Type(code, longest)
        for code, zh, en, longest in connection.execute(query.order_by(t.code.desc()))
        for word in (en, zh, code)
    }


def _read(
    job: Job, row: Row, nodes: Mapping[str, str | None], types: Mapping[str, _Type]
) -> tuple[RowReader, Sitting | None]:
    reader = RowReader(job.header, row)
    title = reader.words("title", MAX_TITLE, is_required=True)
    written = text_of(reader.cell("activity_type"))
    kind = types.get(written.lower())
    if not written:
        reader.note("activity_type", "missing")
    elif kind is None:
        allowed = "、".join(sorted({one.code for one in types.values()}))
        reader.note("activity_type", "not_in_list", {"value": written, "allowed": allowed})
    day = reader.read("day", lambda cell: dates.parse_day(cell, job.year), is_required=True)
    starts = reader.read("starts", dates.parse_clock, is_required=True)
    ends = reader.read("ends", dates.parse_clock)
    unit = unit_of(job.header.column_of("minutes"))
    minutes = reader.read("minutes", lambda cell: parse_minutes(cell, unit, job.half_day_minutes))
    if not reader.has("ends") and not reader.has("minutes"):
        reader.note("ends", "missing")
    organization_id: str | None = job.organization_id
    if reader.has("organization"):
        organization_id = nodes.get(text_of(reader.cell("organization")))
        if organization_id is None:
            reader.note("organization", "organization_unknown", {"value": text_of(reader.cell("organization"))})
    place = reader.words("place", MAX_PLACE, is_required=True)
    person = reader.words("person_in_charge", MAX_TITLE, is_required=True)
    contact = reader.words("contact", MAX_TITLE) or ""
    description = reader.words("description", 1_000) or ""
    capacity = reader.read("capacity", _capacity)
    if reader.problems or day is None or starts is None:
        return reader, None
    starts_at = datetime.combine(day, starts, job.zone).astimezone(UTC)
    if minutes is None:
        assert ends is not None
        ends_at = datetime.combine(day, ends, job.zone).astimezone(UTC)
    else:
        ends_at = starts_at + timedelta(minutes=minutes)
    if ends_at <= starts_at:
        reader.note("ends", "ends_before")
        return reader, None
    assert kind is not None
    if ends_at - starts_at > timedelta(minutes=kind.longest_minutes):
        _refuse(reader, DomainError("session_too_long", minutes=kind.longest_minutes))
        return reader, None
    return reader, Sitting(
        organization_id or "",
        title or "",
        kind.code,
        place or "",
        person or "",
        contact,
        description,
        starts_at,
        ends_at,
        capacity,
    )


def _planned(connection: Connection, titles: set[str]) -> set[tuple[str, str, datetime]]:
    """(node, title, begin) of the sessions of these activities that are not cancelled."""
    a, s = activities.c, sessions.c
    query = (
        select(a.organization_id, a.title, s.starts_at)
        .join(sessions, s.activity_id == a.id)
        .where(a.title.in_(titles), a.state != "cancelled", s.state != "cancelled")
    )
    return {(row[0], row[1], row[2]) for row in connection.execute(query)}


def _activities(connection: Connection, titles: set[str]) -> dict[tuple[str, str], str]:
    a = activities.c
    query = select(a.organization_id, a.title, a.id).where(a.title.in_(titles), a.state == "published")
    return {(node, title): id for node, title, id in connection.execute(query.order_by(a.created_at, a.id))}


def _plan(
    connection: Connection,
    operation: Operation,
    now: datetime,
    job: Job,
    verdict: Verdict,
    known: dict[tuple[str, str], str],
) -> str | Problem:
    """One session, with its activity if there is none yet; what the use cases refuse leaves nothing behind."""
    one: Sitting = verdict.value
    actor, key = job.booked_by or job.actor, (one.organization_id, one.title)

    def step(kind: str, body: object) -> Operation:
        return Operation(derived_id(operation.id, f"{kind} {verdict.row}"), kind, body)

    savepoint = connection.begin_nested()
    try:
        id = known.get(key)
        if id is None:
            words = (one.title, one.activity_type, one.place, one.description, "", one.person_in_charge, one.contact)
            new = organising.CreateActivity(actor, one.organization_id, None, None, *words)
            id = organising.create_activity(connection, step("create_activity", new), now)["id"]
            publish = organising.PublishActivity(actor, id, job.file_name)
            organising.publish_activity(connection, step("publish_activity", publish), now)
        body = planning.CreateSessions(
            actor, id, one.starts_at, one.ends_at, capacity=one.capacity, reason=job.file_name
        )
        made = planning.create_sessions(connection, step("create_sessions", body), now, job.zone)["sessions"]
    except DomainError as error:
        savepoint.rollback()
        return Problem(verdict.row, "", "refused", {"said": error.text("zh"), "said_en": error.text("en")})
    savepoint.commit()
    known[key] = id
    session_id: str = made[0]["id"]
    return session_id


def _capacity(cell: Cell) -> int:
    text = text_of(cell).removesuffix("人")
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MAX_CAPACITY:
        raise CellProblem("number_unreadable", value=text)
    return int(text)


def _refuse(reader: RowReader, error: DomainError) -> None:
    reader.note("", "refused", {"said": error.text("zh"), "said_en": error.text("en")})

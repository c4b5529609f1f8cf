"""Importing attendance: who was at which session, from when to when. The rows are judged as those of any list are.

A session is found by the title and the day of its activity, and by when it begins where there are several on a day. How
an attendance is known follows from when it is recorded (`judging.source_of`), as for every list; nobody chooses it.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, RowMapping, insert, select, update

from jishan_server import audit
from jishan_server.errors import DomainError
from jishan_server.ids import derived_id
from jishan_server.organizations import tree
from jishan_server.sheets import dates
from jishan_server.sheets.durations import parse_minutes, unit_of
from jishan_server.sheets.headers import Field
from jishan_server.sheets.problems import Problem
from jishan_server.volunteering import recording
from jishan_server.volunteering.activity_tables import activities, attendance_changes, attendances, sessions
from jishan_server.volunteering.importing import finding
from jishan_server.volunteering.importing.finding import Clues, Person, Unclear
from jishan_server.volunteering.importing.rows import Job, Row, RowReader, Verdict
from jishan_server.volunteering.judging import Span, Taken, check, span_of
from jishan_server.volunteering.planned import day_start, plan_of, planned_sessions
from jishan_server.writer import Operation

AROUND: Final = timedelta(days=2)
"""No session is longer than a day: what lies further away overlaps with nothing."""
MAX_TITLE: Final = 100

FIELDS: Final = (
    replace(finding.NAME, example="示例：王建华", note="只写姓名不能确定是谁，请再写会员号、身份证号、电话或楼栋之一"),
    replace(finding.MEMBER_NUMBER, example="10000015"),
    replace(finding.PHONE, example="13800001111"),
    finding.ID_NUMBER,
    finding.CARD,
    replace(finding.BUILDING, example="3栋"),
    Field("title", "活动名称", "title", ("活动", "活动主题", "项目名称"), True, "扫雪"),
    Field("day", "日期", "day", ("活动日期", "服务日期"), True, "2026-03-05"),
    Field("starts", "开始时间", "begins", ("活动开始时间",), False, "14:30", "同一天有几场同名活动时填写"),
    Field("checked_in", "签到时间", "checked in", ("签到", "到达时间"), False, "14:30"),
    Field("checked_out", "签退时间", "checked out", ("签退", "离开时间"), False, "16:30"),
    Field("minutes", "时长", "duration", ("服务时长", "小时", "分钟"), False, "", "签退时间和时长写一项即可"),
)

_COLUMN_OF: Final = {"checked_in_at": "checked_in", "checked_out_at": "checked_out", "minutes": "minutes"}


class _Told(NamedTuple):
    """What a row says: which sitting, and when the person was there."""

    title: str
    day: date
    starts: time | None
    checked_in: datetime | None
    checked_out: datetime | None
    minutes: int | None


class Came(NamedTuple):
    """One person at one session, as it is to be recorded."""

    session_id: str
    resident_id: str
    checked_in_at: datetime | None
    checked_out_at: datetime | None
    minutes: int | None


def judge(connection: Connection, job: Job, rows: Sequence[Row], seen: dict[Any, Any], now: datetime) -> list[Verdict]:
    """Say of each row whether it is new, recorded already, or wrong: of whom, of which session, and what cannot be."""
    read = [_read(job, row) for row in rows]
    world = finding.load(connection, [clues for _, clues, _ in read if clues is not None], job.estates)
    planned = _sessions(connection, job, [told for _, _, told in read if told is not None])
    matched: list[tuple[RowReader, _Told, RowMapping, Person] | RowReader] = []
    for reader, clues, told in read:
        found = None if clues is None else finding.whose(clues, world, job.estates)
        if isinstance(found, Unclear):
            reader.note(found.field, found.code, found.fields, found.subjects)
        session = None if told is None else _session(reader, told, planned, job)
        if told is None or session is None or not isinstance(found, Person) or reader.problems:
            matched.append(reader)
        else:
            matched.append((reader, told, session, found))
    good = [one for one in matched if not isinstance(one, RowReader)]
    here = _recorded(connection, good)
    taken = _taken(connection, good)
    return [
        one.verdict("bad") if isinstance(one, RowReader) else _verdict(job, *one, here, taken, seen, now)
        for one in matched
    ]


def book(
    connection: Connection, operation: Operation, now: datetime, job: Job, verdicts: Sequence[Verdict]
) -> list[str | Problem]:
    """Record the rows, session by session; the ids of the attendances."""
    by_session: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        by_session.setdefault(verdict.value.session_id, []).append(verdict)
    answers: dict[int, str | Problem] = {}
    for session_id, of_session in sorted(by_session.items()):
        for start in range(0, len(of_session), recording.MAX_ROWS):
            answers |= _record(connection, operation, now, job, session_id, of_session[start:][: recording.MAX_ROWS])
    return [answers[verdict.row] for verdict in verdicts]


def undo(
    connection: Connection, operation: Operation, now: datetime, job: Job, booked: Sequence[tuple[int, str]]
) -> dict[str, str]:
    """Void attendances, in a handful of statements; those that were credited stay, and are named."""
    actor: str = operation.body.actor
    ids = [id for _, id in booked]
    a = attendances.c
    rows = connection.execute(select(attendances).where(a.id.in_(ids), a.state != "void").with_for_update()).mappings()
    found = rows.all()
    kept = {row["id"]: "credits" for row in found if row["credit_id"] is not None}
    gone = [row for row in found if row["id"] not in kept]
    if gone:
        connection.execute(
            insert(attendance_changes),
            [
                {
                    "attendance_id": row["id"],
                    "change": "voided",
                    "checked_in_at_before": row["checked_in_at"],
                    "checked_out_at_before": row["checked_out_at"],
                    "minutes_before": row["minutes"],
                    "source_before": row["source"],
                    "reason": job.file_name,
                    "actor": actor,
                    "recorded_at": now,
                }
                for row in gone
            ],
        )
        void = [row["id"] for row in gone]
        connection.execute(update(attendances).where(a.id.in_(void)).values(state="void", is_to_review=False))
    noted = [audit.Entry(actor, "attendance_voided", ("attendance", row["id"]), operation.id) for row in gone]
    audit.record_all(connection, now, noted)
    return kept


def _read(job: Job, row: Row) -> tuple[RowReader, Clues | None, _Told | None]:
    reader = RowReader(job.header, row)
    clues = finding.read_person(reader, job.hashing)
    title = reader.words("title", MAX_TITLE, is_required=True)
    moment = reader.read("day", lambda cell: dates.parse_moment(cell, job.year), is_required=True)
    starts = reader.read("starts", dates.parse_clock)
    checked_in, checked_out = (reader.read(name, dates.parse_clock) for name in ("checked_in", "checked_out"))
    unit = unit_of(job.header.column_of("minutes"))
    minutes = reader.read("minutes", lambda cell: parse_minutes(cell, unit, job.half_day_minutes))
    if title is None or moment is None or reader.problems:
        return reader, clues, None
    day, clock = moment
    begin = None if checked_in is None else datetime.combine(day, checked_in, job.zone).astimezone(UTC)
    end = None if checked_out is None else datetime.combine(day, checked_out, job.zone).astimezone(UTC)
    if begin is not None and end is not None and end <= begin:
        reader.note("checked_out", "ends_before")
        return reader, clues, None
    # Minutes beside both times say the same once more; the times are what is recorded.
    told_minutes = None if end is not None else minutes
    return reader, clues, _Told(title, day, starts or clock, begin, end, told_minutes)


def _sessions(connection: Connection, job: Job, told: Sequence[_Told]) -> dict[tuple[str, date], list[RowMapping]]:
    """The sessions that these rows may mean, by title and local day."""
    if not told:
        return {}
    first, last = min(one.day for one in told), max(one.day for one in told)
    inside = tree.below(connection, job.organization_id)
    query = planned_sessions().where(
        activities.c.title.in_({one.title for one in told}),
        activities.c.state == "published",
        sessions.c.state != "cancelled",
        sessions.c.starts_at >= day_start(first, job.zone),
        sessions.c.starts_at < day_start(last + timedelta(days=1), job.zone),
    )
    found: dict[tuple[str, date], list[RowMapping]] = {}
    for row in connection.execute(query.order_by(sessions.c.starts_at, sessions.c.id)).mappings():
        if row["organization_id"] in inside:
            found.setdefault((row["title"], row["starts_at"].astimezone(job.zone).date()), []).append(row)
    return found


def _session(
    reader: RowReader, told: _Told, planned: dict[tuple[str, date], list[RowMapping]], job: Job
) -> RowMapping | None:
    fitting = planned.get((told.title, told.day), [])
    if told.starts is not None:
        fitting = [one for one in fitting if one["starts_at"].astimezone(job.zone).time() == told.starts]
    if len(fitting) == 1:
        return fitting[0]
    reader.note("title", "session_several" if fitting else "session_unknown")
    return None


_Matched = Sequence[tuple[RowReader, _Told, RowMapping, Person]]


def _recorded(connection: Connection, good: _Matched) -> dict[tuple[str, str], RowMapping]:
    """What is recorded of these people at these sessions, by (session, person)."""
    a = attendances.c
    rows = connection.execute(
        select(attendances).where(
            a.session_id.in_({session["id"] for _, _, session, _ in good}),
            a.resident_id.in_({person.id for _, _, _, person in good}),
            a.state != "void",
        )
    ).mappings()
    return {(row["session_id"], row["resident_id"]): row for row in rows}


def _taken(connection: Connection, good: _Matched) -> dict[str, list[Taken]]:
    if not good:
        return {}
    starts = [session["starts_at"] for _, _, session, _ in good]
    people = sorted({person.id for _, _, _, person in good})
    return recording.taken(connection, people, min(starts) - AROUND, max(starts) + AROUND)


def _verdict(
    job: Job,
    reader: RowReader,
    told: _Told,
    session: RowMapping,
    person: Person,
    here: dict[tuple[str, str], RowMapping],
    taken: dict[str, list[Taken]],
    seen: dict[Any, Any],
    now: datetime,
) -> Verdict:
    plan = plan_of(session)
    try:
        span = span_of(
            plan,
            now,
            job.zone,
            checked_in=told.checked_in,
            checked_out=told.checked_out,
            minutes=told.minutes,
        )
        recorded = here.get((plan.session_id, person.id))
        if recorded is not None:
            times = (recorded["checked_in_at"], recorded["checked_out_at"])
            is_same = (span.checked_in_at, span.checked_out_at) == times
            if is_same or told[3:] == (None, None, None):
                return reader.verdict("known")
            raise DomainError("attendance_duplicate", attendance_id=recorded["id"])
        key = ("came", plan.session_id, person.id)
        earlier = seen.setdefault(key, reader.row.number)
        if earlier != reader.row.number:
            reader.note("", "same_work_as_row", {"other": earlier}, [person.id])
            return reader.verdict("bad")
        others = [*taken.get(person.id, ()), *seen.get(("taken", person.id), ())]
        check(plan, span, now, others, job.zone)
        _take(seen, person.id, session, span)
    except DomainError as error:
        column = _COLUMN_OF.get(str(error.fields.get("field", "")), "")
        reader.note(column, "refused", {"said": error.text("zh"), "said_en": error.text("en")}, [person.id])
        return reader.verdict("bad")
    return reader.verdict("new", Came(plan.session_id, person.id, *told[3:]))


def _take(seen: dict[Any, Any], resident_id: str, session: RowMapping, span: Span) -> None:
    """Let the time of a good row count for the rows after it."""
    end = span.checked_out_at or session["ends_at"]
    minutes = int((end - span.checked_in_at) / timedelta(minutes=1))
    one = Taken(session["id"], session["title"], span.checked_in_at, end, minutes)
    seen.setdefault(("taken", resident_id), []).append(one)


def _record(
    connection: Connection,
    operation: Operation,
    now: datetime,
    job: Job,
    session_id: str,
    verdicts: Sequence[Verdict],
) -> dict[int, str | Problem]:
    rows = tuple(
        recording.Row(
            verdict.row,
            resident_id=verdict.value.resident_id,
            checked_in_at=verdict.value.checked_in_at,
            checked_out_at=verdict.value.checked_out_at,
            minutes=verdict.value.minutes,
        )
        for verdict in verdicts
    )
    body = recording.RecordAttendances(job.booked_by or job.actor, session_id, rows, reason=job.file_name)
    id = derived_id(operation.id, f"session {session_id} {verdicts[0].row}")
    try:
        answer = recording.record_attendances(connection, Operation(id, "record_attendances", body), now, job.zone)
    except DomainError as error:
        said = {"said": error.text("zh"), "said_en": error.text("en")}
        return {verdict.row: Problem(verdict.row, "", "refused", said) for verdict in verdicts}
    found: dict[int, str | Problem] = {one["row"]: one["attendance_id"] for one in answer["saved"]}
    for one in answer["problems"]:
        said = {"said": one["message_zh"], "said_en": one["message_en"]}
        found[one["row"]] = Problem(one["row"], "", "refused", said)
    return found

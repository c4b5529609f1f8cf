"""Why there are no points: for a person and a span of days, what could have become points, and where it stopped.

Each case is one row that exists, found by a query, and said in plain words of both languages; a record that was merged
into the person's is looked through too. What is booked as it was worked has no case.
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import date, datetime, timedelta
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, RowMapping, select

from jishan_server.errors import DomainError
from jishan_server.organizations.roles import Permission, permit
from jishan_server.people.one_person import records_of
from jishan_server.people.residents import estate_of
from jishan_server.sheets.problems import Problem
from jishan_server.volunteering.activity_tables import activities, attendances, sessions, sign_ups
from jishan_server.volunteering.credit_tables import adjustments
from jishan_server.volunteering.crediting import last_day
from jishan_server.volunteering.entry_tables import claims
from jishan_server.volunteering.expiry_tables import bookings
from jishan_server.volunteering.import_tables import import_candidates, import_refusals, imports
from jishan_server.volunteering.planned import day_start
from jishan_server.volunteering.tables import credits

MAX_DAYS: Final = 366
MAX_CASES: Final = 200
"""What a person reads, and prints."""


class Words(NamedTuple):
    zh: str
    en: str


CASES: Final[Mapping[str, Words]] = {
    "not_attended": Words("报了名，但没有签到记录。", "Signed up, but there is no record of being there."),
    "waiting_list": Words("在候补名单上，没有轮到。", "Was on the waiting list; no place became free."),
    "sign_up_cancelled": Words("报名已取消。", "The sign-up was cancelled."),
    "session_cancelled": Words("这一场已取消。", "The session was cancelled."),
    "attendance_open": Words("签到了，还没有签退。", "Checked in, and not checked out yet."),
    "to_review": Words(
        "忘了签退，时长等工作人员核实。", "The check-out was forgotten; staff have to look at the time."
    ),
    "attendance_void": Words("签到记录已作废。", "The attendance was voided."),
    "not_credited": Words(
        "有{minutes}分钟，还没有提交记分。", "{minutes} minutes are there; nobody has credited them yet."
    ),
    "recorded": Words("已提交，等另一位工作人员审核。", "It is recorded and waits for another person's approval."),
    "in_notice": Words(
        "正在公示，公示到{last_day}，之后生效。", "In its public notice until {last_day}; it counts after that."
    ),
    "objected": Words("有人提出异议，正在核实。", "Somebody objected; it is being looked into."),
    "waiting_consent": Words("还没有同意服务记录，同意后生效。", "It waits for the person's consent."),
    "rejected": Words("没有通过审核，原因：{reason}。", "It was not approved: {reason}."),
    "reversed": Words("已更正或收回，原因：{reason}。", "It was corrected or taken back: {reason}."),
    "capped": Words("已到上限（{rule}），从{before}减为{after}。", "A cap ({rule}) cut it from {before} to {after}."),
    "hours_only": Words("这种登记方式只记时长，不记积分。", "What is known in this way earns hours only."),
    "below_rounding": Words("时长不够换1分。", "The time is less than one point takes."),
    "balance_cap": Words(
        "积分已到余额上限，记入{booked}分，应得{points}分。", "The balance cap left {booked} of {points} points."
    ),
    "claim_open": Words("补报的服务等工作人员核实。", "The claim of past work waits to be looked at."),
    "claim_refused": Words("补报没有通过，原因：{reason}。", "The claim was refused: {reason}."),
    "adjustment_refused": Words("补分没有获批，原因：{reason}。", "The adjustment was refused: {reason}."),
    "import_refused": Words(
        "导入文件“{file}”第{row}行没有记入，原因：{reason}", "Row {row} of the file “{file}” was refused: {reason_en}"
    ),
    "expired": Words("{points}分已到期。", "{points} points ended."),
}

_CREDITS: Final = {name: name for name in ("recorded", "objected", "waiting_consent", "rejected", "reversed")}


class Case(NamedTuple):
    """Something that could have become points; `subject` is its type and id."""

    code: str
    day: str
    title: str
    subject: tuple[str, str]
    fields: Mapping[str, object]
    resident_id: str


class _Asked(NamedTuple):
    connection: Connection
    ids: Collection[str]
    first: date
    last: date
    zone: ZoneInfo

    def since(self) -> datetime:
        return day_start(self.first, self.zone)

    def until(self) -> datetime:
        return day_start(self.last + timedelta(days=1), self.zone)

    def day(self, at: datetime) -> str:
        return at.astimezone(self.zone).date().isoformat()


def why_not(
    connection: Connection, actor: str, resident_id: str, first: date, last: date, zone: ZoneInfo
) -> dict[str, Any]:
    """Cases by day, MAX_CASES at most. Refusals: resident_unknown, forbidden, span_invalid."""
    permit(connection, actor, Permission.RESIDENT_READ, estate_of(connection, resident_id), about=resident_id)
    if not 0 <= (last - first).days < MAX_DAYS:
        raise DomainError("span_invalid", most=MAX_DAYS)
    ids = set(records_of(connection, resident_id))
    asked = _Asked(connection, ids, first, last, zone)
    found = sorted((case for look in _LOOKS for case in look(asked)), key=lambda case: (case.day, case.subject))
    return {
        "resident_id": resident_id,
        "first_day": first.isoformat(),
        "last_day": last.isoformat(),
        "items": [_view(case) for case in found[:MAX_CASES]],
        "is_whole": len(found) <= MAX_CASES,
    }


def _view(case: Case) -> dict[str, Any]:
    words, fields = CASES[case.code], {name: "—" if value is None else value for name, value in case.fields.items()}
    return {
        "code": case.code,
        "day": case.day,
        "title": case.title,
        "subject_type": case.subject[0],
        "subject_id": case.subject[1],
        "resident_id": case.resident_id,
        "fields": dict(case.fields),
        "zh": words.zh.format_map(fields),
        "en": words.en.format_map(fields),
    }


def _sign_ups(asked: _Asked) -> Iterator[Case]:
    u, s, a = sign_ups.c, sessions.c, attendances.c
    query = (
        select(u.id, u.resident_id, u.state, s.state.label("session_state"), s.starts_at, activities.c.title)
        .join(sessions, s.id == u.session_id)
        .join(activities, activities.c.id == s.activity_id)
        .outerjoin(attendances, (a.session_id == s.id) & (a.resident_id == u.resident_id))
        .where(u.resident_id.in_(asked.ids), a.id.is_(None), s.starts_at >= asked.since(), s.starts_at < asked.until())
    )
    states = {"signed_up": "not_attended", "waiting": "waiting_list", "cancelled": "sign_up_cancelled"}
    for row in asked.connection.execute(query):
        code = "session_cancelled" if row.session_state == "cancelled" else states[row.state]
        yield Case(code, asked.day(row.starts_at), row.title, ("sign_up", row.id), {}, row.resident_id)


def _attendances(asked: _Asked) -> Iterator[Case]:
    a, s = attendances.c, sessions.c
    query = (
        select(a.id, a.resident_id, a.state, a.is_to_review, a.minutes, s.starts_at, activities.c.title)
        .join(sessions, s.id == a.session_id)
        .join(activities, activities.c.id == s.activity_id)
        .where(a.resident_id.in_(asked.ids), a.credited_at.is_(None))
        .where(s.starts_at >= asked.since(), s.starts_at < asked.until())
    )
    for row in asked.connection.execute(query):
        code = {"open": "attendance_open", "void": "attendance_void"}.get(row.state, "not_credited")
        code = "to_review" if row.is_to_review and row.state == "closed" else code
        fields = {"minutes": row.minutes}
        yield Case(code, asked.day(row.starts_at), row.title, ("attendance", row.id), fields, row.resident_id)


def _of_credits(asked: _Asked) -> Iterator[Case]:
    c = credits.c
    query = select(credits).where(c.resident_id.in_(asked.ids))
    query = query.where(c.day >= asked.first.isoformat(), c.day <= asked.last.isoformat())
    for row in asked.connection.execute(query).mappings():
        for code, fields in _stops(row, asked.zone):
            yield Case(code, row["day"], row["activity"], ("credit", row["id"]), fields, row["resident_id"])


def _stops(row: RowMapping, zone: ZoneInfo) -> Iterator[tuple[str, dict[str, object]]]:
    """Where one credit stands, and what its rules took from it."""
    state = row["state"]
    if state in _CREDITS:
        yield state, {"reason": row["reversal_reason"] if state == "reversed" else row["decision_reason"]}
    elif state == "approved":
        yield "in_notice", {"last_day": last_day(row["notice_ends_at"], zone).isoformat()}
    for rule, before, after in json.loads(row["worth_steps"] or "[]"):
        if rule.startswith("cap_"):
            yield "capped", {"rule": rule, "before": before, "after": after}
        elif rule.startswith("source_"):
            yield "hours_only", {"source": row["source"]}
        elif rule == "rate" and before and not after:
            yield "below_rounding", {"minutes": before}
    if row["booked_points"] is not None and row["booked_points"] < row["points"]:
        yield "balance_cap", {"booked": row["booked_points"], "points": row["points"]}


def _claims(asked: _Asked) -> Iterator[Case]:
    c = claims.c
    query = select(claims).where(c.resident_id.in_(asked.ids), c.state.in_(["open", "refused"]))
    query = query.where(c.day >= asked.first.isoformat(), c.day <= asked.last.isoformat())
    for row in asked.connection.execute(query):
        fields = {"reason": row.reason}
        yield Case(f"claim_{row.state}", row.day, row.title, ("claim", row.id), fields, row.resident_id)


def _adjustments(asked: _Asked) -> Iterator[Case]:
    a = adjustments.c
    query = select(adjustments).where(a.resident_id.in_(asked.ids), a.state == "rejected", a.points > 0)
    query = query.where(a.proposed_at >= asked.since(), a.proposed_at < asked.until())
    for row in asked.connection.execute(query):
        fields, day = {"reason": row.decision_reason, "points": row.points}, asked.day(row.proposed_at)
        yield Case("adjustment_refused", day, row.reason, ("adjustment", row.id), fields, row.resident_id)


def _imports(asked: _Asked) -> Iterator[Case]:
    """Refused rows that may be about the person, by the day of the import: their own day may be what is wrong."""
    k, f, i = import_candidates.c, import_refusals.c, imports.c
    query = (
        select(f.number, f.row, f.column_name, f.code, f.fields, f.recorded_at, i.file_name, k.resident_id)
        .join(import_refusals, (f.import_id == k.import_id) & (f.row == k.row))
        .join(imports, i.id == k.import_id)
        .where(k.resident_id.in_(asked.ids), f.recorded_at >= asked.since(), f.recorded_at < asked.until())
    )
    for row in asked.connection.execute(query):
        problem = Problem(row.row, row.column_name, row.code, json.loads(row.fields))
        said = {"file": row.file_name, "row": row.row, "reason": problem.reason(), "reason_en": problem.reason("en")}
        subject = ("import_refusal", str(row.number))
        yield Case("import_refused", asked.day(row.recorded_at), row.file_name, subject, said, row.resident_id)


def _expired(asked: _Asked) -> Iterator[Case]:
    b = bookings.c
    query = select(bookings).where(b.resident_id.in_(asked.ids))
    query = query.where(b.recorded_at >= asked.since(), b.recorded_at < asked.until())
    for row in asked.connection.execute(query):
        fields, subject = {"points": row.points}, ("expiry", str(row.sequence))
        yield Case("expired", asked.day(row.recorded_at), "", subject, fields, row.resident_id)


_LOOKS: Final[tuple[Callable[[_Asked], Iterator[Case]], ...]] = (
    _sign_ups,
    _attendances,
    _of_credits,
    _claims,
    _adjustments,
    _imports,
    _expired,
)

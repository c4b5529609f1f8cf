"""Why there are no points: for a person and a span of days, what could have become points, and where it stopped.

Each case is one row that exists, found by a query, and said in plain words of both languages; a record that was merged
into the person's is looked through too. What is booked as it was worked has no case, and what is still to come neither.
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Final, Literal, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, RowMapping, select

from jishan_server.errors import DomainError
from jishan_server.ledger import history, tables
from jishan_server.organizations.calendar import Calendar, calendar
from jishan_server.organizations.roles import Permission, permit
from jishan_server.people.credentials import owed_account_of
from jishan_server.people.one_person import records_of
from jishan_server.people.residents import estate_of
from jishan_server.people.tables import residents
from jishan_server.sheets.problems import Problem
from jishan_server.volunteering.activity_tables import activities, attendances, sessions, sign_ups
from jishan_server.volunteering.credit_tables import adjustments
from jishan_server.volunteering.crediting import last_day
from jishan_server.volunteering.entry_tables import claims
from jishan_server.volunteering.expiry_tables import bookings
from jishan_server.volunteering.import_tables import import_candidates, import_refusals, imports
from jishan_server.volunteering.judging import DUE_WORKING_DAYS
from jishan_server.volunteering.planned import day_start
from jishan_server.volunteering.rule_versions import Versions
from jishan_server.volunteering.rule_words import Words, cap_words
from jishan_server.volunteering.rules import Source
from jishan_server.volunteering.tables import credits
from jishan_server.volunteering.task_states import CREDITED
from jishan_server.volunteering.task_tables import task_people, tasks

MAX_DAYS: Final = 366
MAX_CASES: Final = 200
"""What a person reads, and prints."""


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
    "not_credited_overdue": Words(
        "有{minutes}分钟，应在{due_day}前提交记分，已经过期，还没有提交。",
        "{minutes} minutes are there; they should have been credited by {due_day}, and nobody has.",
    ),
    "recorded_overdue": Words(
        "已提交，应在{due_day}前审核，已经过期，还在等另一位工作人员审核。",
        "It is recorded and should have been approved by {due_day}; it still waits for another person.",
    ),
    "recorded": Words("已提交，等另一位工作人员审核。", "It is recorded and waits for another person's approval."),
    "in_notice": Words(
        "正在公示，公示到{last_day}，之后生效。", "In its public notice until {last_day}; it counts after that."
    ),
    "objected": Words("有人提出异议，正在核实。", "Somebody objected; it is being looked into."),
    "waiting_consent": Words("还没有同意服务记录，同意后生效。", "It waits for the person's consent."),
    "rejected": Words("没有通过审核，原因：{reason}。", "It was not approved: {reason}."),
    "reversed": Words("已更正或收回，原因：{reason}。", "It was corrected or taken back: {reason}."),
    "capped": Words(
        "已到上限（{cap_zh}），从{before}减为{after}。", "A cap ({cap_en}) cut it from {before} to {after}."
    ),
    "hours_only": Words("这种登记方式只记时长，不记积分。", "What is known in this way earns hours only."),
    "entered_late": Words(
        "过了10个工作日（到{due_day}）才登记，只记时长，不记积分。",
        "It was entered after ten working days, {due_day}: it earns hours only.",
    ),
    "not_service": Words(
        "这项活动不算志愿服务：积分照记，不计服务时长。",
        "This activity is no volunteer service: it may earn points, and no hours.",
    ),
    "below_rounding": Words("时长不够换1分。", "The time is less than one point takes."),
    "balance_cap": Words(
        "积分已到余额上限，记入{booked}分，应得{points}分。", "The balance cap left {booked} of {points} points."
    ),
    "paid_debt": Words(
        "{points}分抵了以前欠的积分，不在可用积分里。", "{points} points paid what was owed, and cannot be spent."
    ),
    "claim_open": Words("补报的服务等工作人员核实。", "The claim of past work waits to be looked at."),
    "claim_refused": Words("补报没有通过，原因：{reason}。", "The claim was refused: {reason}."),
    "adjustment_open": Words(
        "{points}分的补分等另一位工作人员审核。",
        "An adjustment of {points} points waits for another person's approval.",
    ),
    "adjustment_refused": Words("补分没有获批，原因：{reason}。", "The adjustment was refused: {reason}."),
    "import_refused": Words(
        "导入文件“{file}”第{row}行没有记入，原因：{reason}", "Row {row} of the file “{file}” was refused: {reason_en}"
    ),
    "expired": Words("{points}分已到期。", "{points} points ended."),
    "task_to_confirm": Words(
        "事情已办好，等另一位工作人员确认。", "The task was handled and waits for another person to confirm it."
    ),
    "task_no_credit": Words(
        "值守或承办属于本职工作，不记分。", "Being on duty, or handling it as one's work, earns no points."
    ),
    "merged": Words(
        "这份档案已合并到另一份，积分和记录都在那里。",
        "This record was merged into another one; points and hours are there.",
    ),
    "closed": Words("这份档案已注销，余下的积分已作废。", "This record was closed; what points were left are gone."),
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
    now: datetime
    zone: ZoneInfo
    days: Calendar
    versions: Versions

    def since(self) -> datetime:
        return day_start(self.first, self.zone)

    def until(self) -> datetime:
        return day_start(self.last + timedelta(days=1), self.zone)

    def day(self, at: datetime) -> str:
        return at.astimezone(self.zone).date().isoformat()

    def due_day(self, day: str) -> str:
        """The last day for entering and approving work of a day."""
        return self.days.after(date.fromisoformat(day), DUE_WORKING_DAYS).isoformat()


def why_not(
    connection: Connection, actor: str, resident_id: str, first: date, last: date, now: datetime, zone: ZoneInfo
) -> dict[str, Any]:
    """Cases by day, MAX_CASES at most. Refusals: resident_unknown, forbidden, span_invalid."""
    permit(connection, actor, Permission.RESIDENT_READ, estate_of(connection, resident_id), about=resident_id)
    if not 0 <= (last - first).days < MAX_DAYS:
        raise DomainError("span_invalid", most=MAX_DAYS)
    ids = set(records_of(connection, resident_id))
    asked = _Asked(connection, ids, first, last, now, zone, calendar(connection), Versions(connection))
    found = sorted((case for look in _LOOKS for case in look(asked)), key=lambda case: (case.day, case.subject))
    return {
        "resident_id": resident_id,
        "first_day": first.isoformat(),
        "last_day": last.isoformat(),
        "items": [_view(case) for case in found[:MAX_CASES]],
        "is_whole": len(found) <= MAX_CASES,
    }


def lines(found: Mapping[str, Any], language: Literal["zh", "en"]) -> Sequence[str]:
    """The same to print: day, title, words."""
    said = [f"{found['resident_id']}  {found['first_day']} ~ {found['last_day']}", ""]
    said += [f"{one['day']}  {one['title']}  {one[language]}" for one in found["items"]]
    return said if found["is_whole"] else [*said, "..."]


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
        if row.starts_at > asked.now and row.session_state != "cancelled" and row.state != "cancelled":
            continue
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
        day = asked.day(row.starts_at)
        due = asked.due_day(day)
        left = "not_credited_overdue" if due < asked.day(asked.now) else "not_credited"
        code = {"open": "attendance_open", "void": "attendance_void"}.get(row.state, left)
        code = "to_review" if row.is_to_review and row.state == "closed" else code
        fields = {"minutes": row.minutes} | ({"due_day": due} if code == "not_credited_overdue" else {})
        yield Case(code, day, row.title, ("attendance", row.id), fields, row.resident_id)


def _of_credits(asked: _Asked) -> Iterator[Case]:
    c = credits.c
    query = select(credits, attendances.c.recorded_at.label("entered_at"))
    query = query.outerjoin(attendances, attendances.c.id == c.attendance_id).where(c.resident_id.in_(asked.ids))
    query = query.where(c.day >= asked.first.isoformat(), c.day <= asked.last.isoformat())
    for row in asked.connection.execute(query).mappings():
        for code, fields in _stops(row, asked):
            yield Case(code, row["day"], row["activity"], ("credit", row["id"]), fields, row["resident_id"])


def _stops(row: RowMapping, asked: _Asked) -> Iterator[tuple[str, dict[str, object]]]:
    """Where one credit stands, and what its rules took from it."""
    state, due = row["state"], asked.due_day(row["day"])
    if state == "recorded" and due < asked.day(asked.now):
        yield "recorded_overdue", {"due_day": due}
    elif state in _CREDITS:
        yield state, {"reason": row["reversal_reason"] if state == "reversed" else row["decision_reason"]}
    elif state == "approved":
        yield "in_notice", {"last_day": last_day(row["notice_ends_at"], asked.zone).isoformat()}
    if row["counts_as_service"] is False and row["minutes"] is not None and state not in ("rejected", "reversed"):
        yield "not_service", {"minutes": row["minutes"]}
    for rule, before, after in json.loads(row["worth_steps"] or "[]"):
        if rule.startswith("cap_"):
            cap = cap_words(asked.versions.of(row["rule_version"]), rule.removeprefix("cap_"))
            yield "capped", {"rule": rule, "cap_zh": cap.zh, "cap_en": cap.en, "before": before, "after": after}
        elif rule == f"source_{Source.CLAIMED_LATER}" and row["entered_at"] and asked.day(row["entered_at"]) > due:
            yield "entered_late", {"due_day": due}
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
    query = select(adjustments).where(a.resident_id.in_(asked.ids), a.state != "booked", a.points > 0)
    query = query.where(a.proposed_at >= asked.since(), a.proposed_at < asked.until())
    codes = {"proposed": "adjustment_open", "rejected": "adjustment_refused"}
    for row in asked.connection.execute(query):
        fields, day = {"reason": row.decision_reason, "points": row.points}, asked.day(row.proposed_at)
        yield Case(codes[row.state], day, row.reason or "", ("adjustment", row.id), fields, row.resident_id)


def _tasks(asked: _Asked) -> Iterator[Case]:
    """Tasks that were handled and credited nobody, by the day of it."""
    p, t = task_people.c, tasks.c
    query = (
        select(p.resident_id, p.part, p.is_on_duty, t.id, t.title, t.state, t.handled_at)
        .join(tasks, t.id == p.task_id)
        .where(p.resident_id.in_(asked.ids), p.credit_id.is_(None), t.state.in_(["handled", "confirmed"]))
        .where(t.handled_at >= asked.since(), t.handled_at < asked.until())
    )
    for row in asked.connection.execute(query):
        is_work = row.is_on_duty or row.part not in CREDITED
        if is_work or row.state == "handled":
            code = "task_no_credit" if is_work else "task_to_confirm"
            yield Case(code, asked.day(row.handled_at), row.title, ("task", row.id), {}, row.resident_id)


def _debts(asked: _Asked) -> Iterator[Case]:
    """Points that paid what was owed, by the day of it."""
    a, b = tables.accounts.c, tables.balances.c
    owners = {owed_account_of(id): id for id in asked.ids}
    accounts = select(a.id, a.number, b.last_sequence).where(a.id.in_(owners), b.number == a.number)
    for id, number, last in asked.connection.execute(accounts).all():
        for row in history.walk(asked.connection, number, last):
            is_paid = row["credit"] == number and row["cause_type"] == "repaid"
            if is_paid and asked.since() <= row["recorded_at"] < asked.until():
                day, fields = asked.day(row["recorded_at"]), {"points": row["points"]}
                yield Case("paid_debt", day, "", ("transfer", row["id"]), fields, owners[id])


def _ends(asked: _Asked) -> Iterator[Case]:
    """The record itself, where it is another's now, or nobody's."""
    r, a, e = residents.c, tables.accounts.c, tables.endings.c
    query = (
        select(r.id, r.merged_into, e.recorded_at)
        .join(tables.accounts, a.owner == r.id)
        .join(tables.endings, e.number == a.number)
        .where(r.id.in_(asked.ids), a.kind == "resident", r.merged_into.is_(None) | r.merged_into.not_in(asked.ids))
    )
    for row in asked.connection.execute(query):
        code, subject = ("closed", row.id) if row.merged_into is None else ("merged", row.merged_into)
        yield Case(code, asked.day(row.recorded_at), "", ("resident", subject), {}, row.id)


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
    _tasks,
    _debts,
    _ends,
)

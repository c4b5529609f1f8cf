"""Importing hours from before: who, on which day, what, and for how long. Booked by a second person (`history`).

The same row again is there already. Two rows of one file that say the same are asked about, because they are mostly a
mistake: who really did the same twice on a day writes the times at which it began. Points that stand in the file are
booked as they are; without them the rules of the day decide, by how the work is known.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, time
from typing import Any, Final

from sqlalchemy import Connection, select, update

from jishan_server import audit
from jishan_server.errors import DomainError
from jishan_server.ids import derived_id
from jishan_server.ledger.model import Refused
from jishan_server.ledger.store import book as book_transfers
from jishan_server.organizations.roles import Permission, is_permitted
from jishan_server.people.messages import Message, tell
from jishan_server.people.staff import resident_of
from jishan_server.sheets import dates
from jishan_server.sheets.cells import Cell, CellProblem, text_of
from jishan_server.sheets.durations import parse_minutes, unit_of
from jishan_server.sheets.headers import Field
from jishan_server.sheets.problems import Problem
from jishan_server.volunteering import history
from jishan_server.volunteering.credit_states import Event, State, follow
from jishan_server.volunteering.crediting import locked, reversal, reversal_message, taken_back
from jishan_server.volunteering.history import PastWork
from jishan_server.volunteering.importing import finding
from jishan_server.volunteering.importing.finding import Clues, Person, World
from jishan_server.volunteering.importing.rows import Job, Row, RowReader, Verdict
from jishan_server.volunteering.importing.tree import nodes_below
from jishan_server.volunteering.rules import MAX_POINTS, Source
from jishan_server.volunteering.tables import credits
from jishan_server.writer import Operation

MAX_TITLE: Final = 100
MAX_PLACE: Final = 200
MAX_IDS: Final = 1_000

SOURCES: Final[Mapping[str, Source]] = {
    "a": Source.OWN_CODE,
    "本人刷卡": Source.OWN_CODE,
    "b": Source.LIST_ON_THE_SPOT,
    "现场名单": Source.LIST_ON_THE_SPOT,
    "c": Source.SIGNED_SHEET,
    "签到表": Source.SIGNED_SHEET,
    "d": Source.CLAIMED_LATER,
    "事后补报": Source.CLAIMED_LATER,
}

FIELDS: Final = (
    replace(finding.NAME, example="示例：王建华", note="只写姓名不能确定是谁，请再写会员号、身份证号、电话或楼栋之一"),
    replace(finding.MEMBER_NUMBER, example="10000015"),
    replace(finding.PHONE, example="13800001111"),
    finding.ID_NUMBER,
    finding.CARD,
    replace(finding.BUILDING, example="3栋"),
    Field(
        "day",
        "日期",
        "day",
        ("服务日期", "活动日期", "时间", "服务时间", "活动时间", "参加日期"),
        True,
        "2026-03-05",
    ),
    Field(
        "minutes",
        "时长",
        "duration",
        ("小时", "小时数", "服务时长", "工时", "分钟", "分钟数", "服务小时", "志愿时长", "服务小时数"),
        True,
        "2小时",
        "2小时、2.5h、90分钟、半天；只写数字按小时算，表头写明分钟的按分钟算",
    ),
    Field(
        "title",
        "活动名称",
        "activity",
        ("活动", "服务内容", "项目", "服务项目", "活动内容", "项目名称", "内容"),
        True,
        "扫雪",
    ),
    Field("starts", "开始时间", "begins", ("开始", "起始时间"), False, "14:30", "同一天做了两次同样的事时填写"),
    Field("points", "积分", "points", ("分值", "得分", "分数"), False, "", "不填则按规则计算"),
    Field("place", "地点", "place", ("服务地点", "活动地点"), False, "3栋门口"),
    Field("category", "类别", "category", ("服务类别", "活动类别"), False, ""),
    Field("person_in_charge", "负责人", "person in charge", ("活动负责人", "带队人"), False, "周敏"),
    Field("organization", "组织单位", "unit", ("主办单位", "组织", "单位"), False, "", "名称或编号，不填则是所选组织"),
    Field("source", "来源", "source", ("记录方式",), False, "签到表", "本人刷卡、现场名单、签到表、事后补报"),
)


def judge(connection: Connection, job: Job, rows: Sequence[Row], seen: dict[Any, Any], now: datetime) -> list[Verdict]:
    """Say of each row whose hours it is, and whether they are booked already."""
    nodes = nodes_below(connection, job)
    read = [_read(job, row, nodes, now) for row in rows]
    world = finding.load(connection, [clues for _, clues, _ in read if clues is not None], job.estates)
    works = [_of_person(job, reader, clues, work, world) for reader, clues, work in read]
    keys = _fresh_keys(connection, [work.key for work in works if work is not None])
    verdicts = []
    for (reader, _, _), work in zip(read, works, strict=True):
        if work is None or reader.problems:
            verdicts.append(reader.verdict("bad"))
            continue
        key = keys[work.key]
        if key is None:
            verdicts.append(reader.verdict("known"))
            continue
        earlier = seen.setdefault(("work", work.key), reader.row.number)
        if earlier != reader.row.number:
            reader.note("", "same_work_as_row", {"other": earlier}, [work.resident_id])
        verdicts.append(reader.verdict("new", replace(work, key=key)))
    return verdicts


def book(
    connection: Connection, operation: Operation, now: datetime, job: Job, verdicts: Sequence[Verdict]
) -> list[str | Problem]:
    """Book hours, recorded by who sent the file and approved by who books it; the ids of their credits."""
    outcomes = history.book_history(
        connection,
        [verdict.value for verdict in verdicts],
        operation,
        now,
        job.rules,
        recorded_by=job.actor,
        approved_by=job.booked_by,
        reason=job.file_name,
        salt=job.note_salt,
    )
    return [
        outcome.credit_id if outcome.error is None else _refused(verdict.row, outcome.error, verdict.value.resident_id)
        for verdict, outcome in zip(verdicts, outcomes, strict=True)
    ]


def undo(
    connection: Connection, operation: Operation, now: datetime, job: Job, booked: Sequence[tuple[int, str]]
) -> dict[str, str]:
    """Take credits back, in a handful of statements; those that must stay, each with why."""
    actor: str = operation.body.actor
    ids = [id for _, id in booked]
    found = locked(connection, set(ids))
    own = resident_of(connection, actor)
    c = credits.c
    corrected = set(
        connection.scalars(select(c.corrects_id).where(c.corrects_id.in_(ids), c.state != State.REJECTED.value))
    )
    may = {
        estate: is_permitted(connection, actor, Permission.CREDIT_REVERSE, estate)
        for estate in {row["estate_id"] for row in found.values()}
    }
    kept: dict[str, str] = {}
    final, waiting = [], []
    for id, row in found.items():
        if row["resident_id"] == own:
            kept[id] = "reversal_own"
        elif not may[row["estate_id"]]:
            kept[id] = "forbidden"
        elif id in corrected:
            kept[id] = "correction_open"
        elif row["state"] == State.FINAL:
            final.append(row)
        elif row["state"] in (State.WAITING_CONSENT, State.RECORDED):
            waiting.append(row)
        elif row["state"] not in (State.REVERSED, State.REJECTED):
            kept[id] = str(row["state"])
    reason = "import_undone"
    posted = [row for row in final if row["transfer_id"] is not None]
    answers = book_transfers(connection, [reversal(row, actor, reason) for row in posted], now, job.rules.zone)
    for row, answer in zip(posted, answers, strict=True):
        if isinstance(answer, Refused):
            kept[row["id"]] = answer.code
    gone = [row for row in final if row["id"] not in kept]
    taken_back(connection, [(row, actor, reason) for row in gone], now)
    told = [Message(row["resident_id"], "credit_rejected", _told(row)) for row in waiting]
    tell(connection, now, [reversal_message(row) for row in gone] + told)
    for row in waiting:
        assert follow(row["state"], Event.REJECTED) is State.REJECTED
    if waiting:
        connection.execute(
            update(credits)
            .where(c.id.in_([row["id"] for row in waiting]))
            .values(state=State.REJECTED.value, decision_reason=reason)
        )
    noted = [audit.Entry(actor, "credit_reversed", ("credit", row["id"]), operation.id) for row in [*gone, *waiting]]
    audit.record_all(connection, now, noted)
    return kept


def _told(row: Mapping[str, Any]) -> dict[str, object]:
    return {name: row[name] for name in ("activity", "day", "points")}


def _read(
    job: Job, row: Row, nodes: Mapping[str, str | None], now: datetime
) -> tuple[RowReader, Clues | None, PastWork | None]:
    """The row as work of nobody yet; None if some of its cells are wrong."""
    reader = RowReader(job.header, row)
    clues = finding.read_person(reader, job.hashing)
    unit = unit_of(job.header.column_of("minutes"))
    moment = reader.read("day", lambda cell: dates.parse_moment(cell, job.year), is_required=True)
    starts = reader.read("starts", dates.parse_clock)
    minutes = reader.read("minutes", lambda cell: parse_minutes(cell, unit, job.half_day_minutes), is_required=True)
    title = reader.words("title", MAX_TITLE, is_required=True)
    points = reader.read("points", _points)
    organization_id = None
    if reader.has("organization"):
        organization_id = nodes.get(text_of(reader.cell("organization")))
        if organization_id is None:
            reader.note("organization", "organization_unknown", {"value": text_of(reader.cell("organization"))})
    if moment is not None and moment[0] > now.astimezone(job.zone).date():
        reader.note("day", "day_future", {"value": moment[0].isoformat()})
    work = PastWork(
        key="",
        resident_id="",
        estate_id="",
        day=moment[0] if moment else now.date(),
        minutes=minutes,
        title=title or "",
        points=points,
        source=reader.one_of("source", SOURCES) or Source.CLAIMED_LATER,
        worked_at=None,
        organization_id=organization_id,
        category=reader.words("category", 40),
        place=reader.words("place", MAX_PLACE),
        person_in_charge=reader.words("person_in_charge", MAX_TITLE),
    )
    if moment is None or reader.problems:
        return reader, clues, None
    clock = starts or moment[1]
    begins = datetime.combine(moment[0], clock or time(), job.zone).astimezone(UTC)
    return reader, clues, replace(work, worked_at=begins if clock else None)


def _of_person(
    job: Job, reader: RowReader, clues: Clues | None, work: PastWork | None, world: World
) -> PastWork | None:
    if clues is None:
        return None
    found = finding.whose(clues, world, job.estates)
    if not isinstance(found, Person):
        reader.note(found.field, found.code, found.fields, found.subjects)
        return None
    if work is None:
        return None
    worked_at = work.worked_at.isoformat() if work.worked_at else ""
    said = (found.id, work.day.isoformat(), work.title, str(work.minutes), str(work.points or ""), worked_at)
    key = hashlib.sha256("\n".join(said).encode()).hexdigest()
    return replace(
        work,
        key=key,
        resident_id=found.id,
        estate_id=found.estate_id,
        organization_id=work.organization_id
        or (None if found.estate_id == job.organization_id else job.organization_id),
    )


def _fresh_keys(connection: Connection, keys: Sequence[str]) -> dict[str, str | None]:
    """The key to book each under, None for what is booked already. What was taken back may be booked anew."""
    found: dict[str, str | None] = {}
    waiting = {key: key for key in keys}
    again = 1
    while waiting:
        ids = {derived_id(tried, "past work"): key for key, tried in waiting.items()}
        states: dict[str, str] = {}
        wanted = sorted(ids)
        for start in range(0, len(wanted), MAX_IDS):
            part = select(credits.c.id, credits.c.state).where(credits.c.id.in_(wanted[start : start + MAX_IDS]))
            states |= dict(connection.execute(part).all())
        again += 1
        following: dict[str, str] = {}
        for id, key in ids.items():
            if id not in states:
                found[key] = waiting[key]
            elif states[id] in (State.REVERSED, State.REJECTED):
                following[key] = f"{key}#{again}"
            else:
                found[key] = None
        waiting = following
    return found


def _points(cell: Cell) -> int:
    text = text_of(cell).removesuffix("分")
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MAX_POINTS:
        raise CellProblem("number_unreadable", value=text)
    return int(text)


def _refused(row: int, error: DomainError, resident_id: str) -> Problem:
    fields = {"said": error.text("zh"), "said_en": error.text("en")}
    return Problem(row, "", "refused", fields, (resident_id,))

"""What may be taken away as a sheet: people, service records, credits, attendance, and one person's statement.

Nobody who has not agreed to the scheme stands in an export, and nobody of an estate outside of the node that it is for.
Rows are read in pieces, so that a district fits into a small memory. Days are local to the scheme.
Source: 个人信息保护法 art. 13 and 16 (consent); the rules of records, "Personal data".
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Select, select

from jishan_server.errors import DomainError
from jishan_server.organizations import tree
from jishan_server.organizations.roles import Permission, permit
from jishan_server.organizations.tables import organizations
from jishan_server.people.tables import residents
from jishan_server.sheets.cells import Cell
from jishan_server.volunteering import statements
from jishan_server.volunteering.activity_tables import activities, attendances, sessions
from jishan_server.volunteering.credit_tables import service_records
from jishan_server.volunteering.planned import day_start
from jishan_server.volunteering.tables import credits

PIECE: Final = 2_000
"""Rows that are read at once."""
STATEMENT_PIECE: Final = 200
SEXES: Final = {"m": "男", "f": "女"}


@dataclass(frozen=True, slots=True)
class ExportWanted:
    """For the estates at and below a node; days are included, None is without an end."""

    organization_id: str
    first_day: date | None = None
    last_day: date | None = None
    resident_id: str | None = None


class Table(NamedTuple):
    """A header and the rows below it; `name` is that of the file and the sheet."""

    name: str
    header: tuple[str, ...]
    rows: Iterator[Sequence[Cell]]


def export(connection: Connection, actor: str, what: str, wanted: ExportWanted, zone: ZoneInfo) -> Table:
    """A table by its name in EXPORTS. Refusals: not_found, estate_unknown, forbidden, resident_unknown."""
    if what not in EXPORTS:
        raise DomainError("not_found")
    tree.organization(connection, wanted.organization_id)
    permit(connection, actor, Permission.EXPORT, wanted.organization_id)
    inside = tree.below(connection, wanted.organization_id)
    o = organizations.c
    estates = {
        id: name for id, name in connection.execute(select(o.id, o.name).where(o.level == tree.ESTATE)) if id in inside
    }
    if (own := tree.estate_of_node(connection, wanted.organization_id)) is not None:
        estates.setdefault(own, tree.organization(connection, own)["name"])
    title, header, rows = EXPORTS[what]
    return Table(title, header, rows(connection, actor, wanted, estates, zone))


_Rows = Callable[[Connection, str, ExportWanted, Mapping[str, str], ZoneInfo], Iterator[Sequence[Cell]]]

_r, _s, _c, _a = residents.c, service_records.c, credits.c, attendances.c


def _people(
    connection: Connection, actor: str, wanted: ExportWanted, estates: Mapping[str, str], zone: ZoneInfo
) -> Iterator[Sequence[Cell]]:
    query = select(residents).where(*_agreed(estates), _r.state.in_(("active", "frozen")))
    query = query.where(_r.merged_into.is_(None), _r.closed_at.is_(None), _r.erased_at.is_(None))
    for row in _pieces(connection, query, _r.member_serial):
        yield (
            row["member_number"],
            row["name"],
            SEXES.get(row["sex"] or "", ""),
            row["birth_day"],
            row["phone"],
            estates[row["estate_id"]],
            row["building"],
            row["unit"],
            row["room"],
            row["category"],
            day_of(row["created_at"], zone),
        )


def _service_records(
    connection: Connection, actor: str, wanted: ExportWanted, estates: Mapping[str, str], zone: ZoneInfo
) -> Iterator[Sequence[Cell]]:
    query = (
        select(service_records, _r.member_number, _r.name)
        .join(residents, _r.id == _s.resident_id)
        .where(*_agreed(estates), _s.estate_id.in_(estates), _s.state == "valid", *_days(_s.day, wanted))
    )
    for row in _pieces(connection, query, _s.id):
        yield (
            row["member_number"],
            row["name"],
            row["day"],
            row["minutes"],
            row["title"],
            row["category"],
            row["place"],
            row["unit_name"],
            row["person_in_charge"],
            estates[row["estate_id"]],
            clock_of(row["finalised_at"], zone),
        )


def _credits(
    connection: Connection, actor: str, wanted: ExportWanted, estates: Mapping[str, str], zone: ZoneInfo
) -> Iterator[Sequence[Cell]]:
    query = (
        select(credits, _r.member_number, _r.name)
        .join(residents, _r.id == _c.resident_id)
        .where(*_agreed(estates), _c.estate_id.in_(estates), *_days(_c.day, wanted))
    )
    for row in _pieces(connection, query, _c.id):
        yield (
            row["member_number"],
            row["name"],
            row["day"],
            row["activity"],
            row["minutes"],
            row["points"],
            row["booked_points"],
            row["state"],
            row["source"],
            row["reason"],
            row["rule_version"],
            row["recorded_by"],
            row["decided_by"],
            estates[row["estate_id"]],
            clock_of(row["recorded_at"], zone),
        )


def _attendances(
    connection: Connection, actor: str, wanted: ExportWanted, estates: Mapping[str, str], zone: ZoneInfo
) -> Iterator[Sequence[Cell]]:
    query = (
        select(attendances, _r.member_number, _r.name, activities.c.title, activities.c.place, sessions.c.starts_at)
        .join(residents, _r.id == _a.resident_id)
        .join(sessions, sessions.c.id == _a.session_id)
        .join(activities, activities.c.id == sessions.c.activity_id)
        .where(*_agreed(estates), _a.estate_id.in_(estates), _a.state != "void")
    )
    if wanted.first_day is not None:
        query = query.where(sessions.c.starts_at >= day_start(wanted.first_day, zone))
    if wanted.last_day is not None:
        query = query.where(sessions.c.starts_at < day_start(wanted.last_day + timedelta(days=1), zone))
    for row in _pieces(connection, query, _a.id):
        yield (
            row["member_number"],
            row["name"],
            row["title"],
            row["place"],
            clock_of(row["starts_at"], zone),
            clock_of(row["checked_in_at"], zone),
            clock_of(row["checked_out_at"], zone),
            row["minutes"],
            row["source"],
            row["flags"],
            row["state"],
            estates[row["estate_id"]],
        )


def _statement(
    connection: Connection, actor: str, wanted: ExportWanted, estates: Mapping[str, str], zone: ZoneInfo
) -> Iterator[Sequence[Cell]]:
    """One person's entries, newest first."""
    id = wanted.resident_id or ""
    found = connection.execute(select(_r.estate_id, _r.consent_state).where(_r.id == id)).one_or_none()
    if found is None or found.estate_id not in estates or found.consent_state != "given":
        raise DomainError("resident_unknown", id=id)
    return _lines(connection, actor, id)


def _lines(connection: Connection, actor: str, resident_id: str) -> Iterator[Sequence[Cell]]:
    after: tuple[int, int, int] | None = None
    while True:
        lines, after = statements.statement(connection, actor, resident_id, after, STATEMENT_PIECE)
        for line in lines:
            yield (
                line["recorded_at"],
                line["kind"],
                line["activity"],
                line["posted_change_points"],
                line["held_change_points"],
                line["posted_points"],
                line["available_points"],
                line["expires_at"],
                line["reason"],
                line["transfer_id"],
            )
        if after is None:
            return


EXPORTS: Final[Mapping[str, tuple[str, tuple[str, ...], _Rows]]] = {
    "people": (
        "人员",
        ("会员号", "姓名", "性别", "出生日期", "电话", "小区", "楼栋", "单元", "房号", "类别", "登记日期"),
        _people,
    ),
    "service-records": (
        "服务记录",
        (
            "会员号",
            "姓名",
            "日期",
            "时长（分钟）",
            "活动名称",
            "类别",
            "地点",
            "组织单位",
            "负责人",
            "小区",
            "确认时间",
        ),
        _service_records,
    ),
    "credits": (
        "积分记录",
        (
            "会员号",
            "姓名",
            "日期",
            "活动名称",
            "时长（分钟）",
            "积分",
            "入账积分",
            "状态",
            "来源",
            "原因",
            "规则版本",
            "记录人",
            "审核人",
            "小区",
            "记录时间",
        ),
        _credits,
    ),
    "attendance": (
        "考勤",
        (
            "会员号",
            "姓名",
            "活动名称",
            "地点",
            "开始时间",
            "签到时间",
            "签退时间",
            "时长（分钟）",
            "来源",
            "标记",
            "状态",
            "小区",
        ),
        _attendances,
    ),
    "statement": (
        "积分明细",
        ("时间", "类型", "活动名称", "变动积分", "预留变动", "总积分", "可用积分", "有效期", "原因", "编号"),
        _statement,
    ),
}
"""What can be exported: title, header, and where its rows come from."""


def day_of(at: datetime, zone: ZoneInfo) -> str:
    """The local day of an instant."""
    return at.astimezone(zone).date().isoformat()


def clock_of(at: datetime | None, zone: ZoneInfo) -> str | None:
    """An instant as local day and time."""
    return None if at is None else at.astimezone(zone).strftime("%Y-%m-%d %H:%M")


def _agreed(estates: Mapping[str, str]) -> list[Any]:
    return [_r.estate_id.in_(estates), _r.consent_state == "given", _r.erased_at.is_(None)]


def _days(column: Any, wanted: ExportWanted) -> list[Any]:
    found = []
    if wanted.first_day is not None:
        found.append(column >= wanted.first_day.isoformat())
    if wanted.last_day is not None:
        found.append(column <= wanted.last_day.isoformat())
    return found


def _pieces(connection: Connection, query: Select[Any], key: Any) -> Iterator[Mapping[Any, Any]]:
    """The rows of a query in the order of a unique key, a piece at a time."""
    after: Any = None
    while True:
        part = query if after is None else query.where(key > after)
        rows = connection.execute(part.order_by(key).limit(PIECE)).mappings().all()
        yield from rows
        if len(rows) < PIECE:
            return
        after = rows[-1][key]

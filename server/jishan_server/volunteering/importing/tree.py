"""Importing nodes of the region tree: estates, grids, building groups, by the codes that other systems know them by.

The list is one: a node may stand above another in any order, so it is booked in one piece (`tree.create_many`).
A name that changed is changed here too; nothing is ever moved.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, select

from jishan_server.errors import CODES, DomainError
from jishan_server.organizations import tree
from jishan_server.organizations.tables import organizations
from jishan_server.organizations.tree import NewNode
from jishan_server.sheets.headers import Field
from jishan_server.sheets.problems import Problem
from jishan_server.volunteering.importing.rows import Job, Row, RowReader, Verdict
from jishan_server.writer import Operation

LEVELS: Final = {"小区": "estate", "estate": "estate"}
"""The one level that means something; every other is named freely."""

FIELDS: Final = (
    Field(
        "code",
        "编号",
        "code",
        ("代码", "组织编号", "组织代码", "网格编号", "小区编号", "单位编号"),
        True,
        "示例：WG001",
    ),
    Field("name", "名称", "name", ("组织名称", "网格名称", "小区名称", "单位名称"), True, "第一网格"),
    Field(
        "level",
        "层级",
        "level",
        ("级别", "类型", "组织层级"),
        True,
        "网格",
        "小区写“小区”，其他层级的叫法由您定",
    ),
    Field(
        "parent_code",
        "上级编号",
        "parent code",
        ("上级代码", "上级组织编号", "所属编号"),
        False,
        "",
        "留空表示直接在所选组织之下",
    ),
)


def judge(connection: Connection, job: Job, rows: Sequence[Row], seen: dict[Any, Any], now: datetime) -> list[Verdict]:
    """Say of each row whether its node is new, there already, or wrong, as `tree.plan` says of the whole list."""
    read = [_read(job, row) for row in rows]
    listed = [(place, node) for place, (_, node) in enumerate(read) if node is not None]
    plan = tree.plan(connection, job.organization_id, [node for _, node in listed])
    for problem in plan.problems:
        reader = read[listed[problem.row][0]][0]
        _note(reader, problem)
    changing = {*plan.new, *plan.renamed}
    return [reader.verdict("new" if node in changing else "known", node) for reader, node in read]


def book(
    connection: Connection, operation: Operation, now: datetime, job: Job, verdicts: Sequence[Verdict]
) -> list[str | Problem]:
    """Make the nodes; what is kept of each is its code."""
    nodes = [verdict.value for verdict in verdicts]
    tree.create_many(connection, job.booked_by or job.actor, operation.id, job.organization_id, nodes, now)
    return [node.code for node in nodes]


def nodes_below(connection: Connection, job: Job) -> dict[str, str | None]:
    """The nodes at or below the import's, by id, name and code; None for a name that several have."""
    inside = tree.below(connection, job.organization_id)
    o = organizations.c
    found: dict[str, str | None] = {}
    for id, name, code in connection.execute(select(o.id, o.name, o.code)):
        if id in inside:
            for word in {id, name, code} - {None}:
                found[word] = None if found.get(word, id) != id else id
    return found


def _read(job: Job, row: Row) -> tuple[RowReader, NewNode | None]:
    reader = RowReader(job.header, row)
    level = reader.words("level", tree.MAX_LEVEL, is_required=True) or ""
    node = NewNode(
        code=reader.words("code", tree.MAX_CODE, is_required=True) or "",
        name=reader.words("name", tree.MAX_NODE_NAME, is_required=True) or "",
        level=LEVELS.get(level.lower(), level),
        parent_code=reader.words("parent_code", tree.MAX_CODE),
    )
    return reader, None if reader.problems else node


def _note(reader: RowReader, problem: tree.Problem) -> None:
    if problem.code == "parent_unknown":
        reader.note("parent_code", "parent_unknown", {"value": problem.fields.get("code", "")})
        return
    assert problem.code in CODES
    refusal = DomainError(problem.code, **problem.fields)
    reader.note("code", "refused", {"said": refusal.text("zh"), "said_en": refusal.text("en")})

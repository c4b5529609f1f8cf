"""The kinds of files that can be imported: what a file of each holds, who may book it, and what its rows become."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection

from jishan_server.organizations.roles import Permission
from jishan_server.sheets.headers import Field
from jishan_server.sheets.problems import Problem
from jishan_server.sheets.reading import MAX_ROWS
from jishan_server.volunteering.importing import attendance, hours, people, sittings, tree
from jishan_server.volunteering.importing.rows import Job, Row, Verdict
from jishan_server.writer import Operation

CHUNK_ROWS: Final = 1_000
"""Rows of one transaction: a fraction of a second, so that nothing else waits long."""

Judge = Callable[[Connection, Job, Sequence[Row], dict[Any, Any], datetime], list[Verdict]]
Book = Callable[[Connection, Operation, datetime, Job, Sequence[Verdict]], list[str | Problem]]
Undo = Callable[[Connection, Operation, datetime, Job, Sequence[tuple[int, str]]], Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class ImportKind:
    """`permission` is needed beside IMPORT; with `approval` a second person books it, who holds that one.

    `undo` gives what could not be taken back: id -> why; without it such an import cannot be undone.
    """

    title: str
    fields: tuple[Field, ...]
    permission: Permission
    judge: Judge
    book: Book
    undo: Undo | None = None
    undo_permission: Permission = Permission.IMPORT
    approval: Permission | None = None
    chunk_rows: int = CHUNK_ROWS


KINDS: Final[Mapping[str, ImportKind]] = {
    "people": ImportKind(
        "人员",
        people.FIELDS,
        Permission.RESIDENT_WRITE,
        people.judge,
        people.book,
        people.undo,
        Permission.PERSONAL_ERASE,
    ),
    "organizations": ImportKind(
        "组织", tree.FIELDS, Permission.ESTATE_WRITE, tree.judge, tree.book, chunk_rows=MAX_ROWS
    ),
    "activities": ImportKind(
        "活动",
        sittings.FIELDS,
        Permission.ACTIVITY_WRITE,
        sittings.judge,
        sittings.book,
        sittings.undo,
        chunk_rows=sittings.CHUNK_ROWS,
    ),
    "attendance": ImportKind(
        "考勤", attendance.FIELDS, Permission.ATTENDANCE_WRITE, attendance.judge, attendance.book, attendance.undo
    ),
    "hours": ImportKind(
        "服务时长",
        hours.FIELDS,
        Permission.CREDIT_RECORD,
        hours.judge,
        hours.book,
        hours.undo,
        Permission.CREDIT_REVERSE,
        Permission.CREDIT_APPROVE,
    ),
}

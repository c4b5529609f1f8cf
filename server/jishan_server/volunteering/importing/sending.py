"""A file is sent: read, judged, kept in pieces; and judged anew when a person corrects its columns.

Judging changes nothing. What is sent is three kinds of operation: the file's row, its pieces, the preview.
Source: the rules of records, "Files that people really send".
"""

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeVar

from sqlalchemy import Connection, delete, insert, select, update

from jishan_server.errors import DomainError
from jishan_server.people.hashing import Hashing
from jishan_server.sheets import reading
from jishan_server.sheets.cells import is_empty, is_example, is_total
from jishan_server.sheets.headers import Header, corrected, find_header, letter, missing
from jishan_server.volunteering.import_tables import (
    import_candidates,
    import_chunks,
    import_mappings,
    import_refusals,
    imports,
)
from jishan_server.volunteering.importing.keeping import (
    Refusal,
    as_json,
    estates_at,
    import_of,
    job_of,
    kind_of,
    note,
    own_import,
    permit_sending,
    pieces_of,
    refuse,
    remember,
)
from jishan_server.volunteering.importing.kinds import ImportKind
from jishan_server.volunteering.importing.rows import Job, Row, Verdict
from jishan_server.volunteering.importing.sealing import seal
from jishan_server.volunteering.rules import CreditRules
from jishan_server.writer import Operation

MAX_NAME: Final = 200
MAX_LEFT_OUT: Final = 1_000
"""Rows without content that are named one by one."""
Call = Callable[[Operation], Any]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SentFile:
    """A file as it came. `mapping` corrects what its columns mean; `year` is that of days without one."""

    kind: str
    organization_id: str
    name: str
    raw: bytes = field(repr=False)
    year: int
    half_day_minutes: int
    mapping: Mapping[str, str | None] | None = None


@dataclass(frozen=True, slots=True)
class BeginImport:
    actor: str
    kind: str
    organization_id: str
    file_name: str
    file_hash: str
    written: str
    header: str
    year: int
    half_day_minutes: int
    chunk_count: int
    mapping: str | None = None


@dataclass(frozen=True, slots=True)
class AddImportRows:
    """A sealed piece (base64) and what is wrong with rows of it: (row, column, code, fields as JSON, residents)."""

    actor: str
    import_id: str
    number: int
    sealed: str = field(repr=False)
    refusals: tuple[Refusal, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class FinishImport:
    """The preview's counts; with `header` it is a preview made anew, and `refusals` are all there are."""

    actor: str
    import_id: str
    row_count: int
    new_count: int
    known_count: int
    bad_count: int
    left_out: str
    header: str | None = None
    mapping: str | None = None
    refusals: tuple[Refusal, ...] = field(default=(), repr=False)


class Read(NamedTuple):
    """A file as rows, below its header; `left_out` are the rows without content: (row, why)."""

    sheet: reading.Sheet
    header: Header
    rows: list[Row]
    left_out: list[tuple[int, str]]


def send(
    connection: Connection,
    call: Call,
    actor: str,
    id: str,
    sent: SentFile,
    hashing: Hashing,
    rules: CreditRules,
    now: datetime,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> str:
    """Read a file, judge its rows and keep both: the id of the import, `id`. `connection` is for reading.

    Refusals: not_found for a kind, forbidden, estate_unknown, those of `reading.read`, header_not_found,
    mapping_invalid, import_column_missing.
    """
    kind = kind_of(sent.kind)
    permit_sending(connection, actor, kind, sent.organization_id)
    read = _read(connection, kind, sent)
    job = Job(
        id,
        sent.kind,
        sent.organization_id,
        actor,
        sent.year,
        sent.half_day_minutes,
        read.header,
        estates_at(connection, sent.organization_id),
        hashing,
        rules,
        sent.name[:MAX_NAME],
    )
    chunks = list(_cut(read.rows, kind.chunk_rows))
    sheet = read.sheet
    written = {
        "format": sheet.format,
        "encoding": sheet.encoding,
        "delimiter": sheet.delimiter,
        "sheet": sheet.name,
        "other_sheets": sheet.others,
    }
    begin = BeginImport(
        actor,
        sent.kind,
        sent.organization_id,
        sent.name[:MAX_NAME],
        hashlib.sha256(sent.raw).hexdigest(),
        as_json(written),
        as_json(asdict(read.header)),
        sent.year,
        sent.half_day_minutes,
        len(chunks),
        None if sent.mapping is None else as_json(dict(sent.mapping)),
    )
    call(Operation(id, "begin_import", begin))
    counts = {"new": 0, "known": 0, "bad": 0}
    seen: dict[Any, Any] = {}
    for number, rows in enumerate(progress(chunks)):
        verdicts = kind.judge(connection, job, rows, seen, now)
        for verdict in verdicts:
            counts[verdict.state] += 1
        sealed = base64.b64encode(seal(hashing, id, number, rows)).decode()
        add = AddImportRows(actor, id, number, sealed, _refusals(verdicts))
        call(Operation(f"{id}-add-{number}", "add_import_rows", add))
    finish = FinishImport(
        actor, id, len(read.rows), counts["new"], counts["known"], counts["bad"], as_json(read.left_out[:MAX_LEFT_OUT])
    )
    call(Operation(f"{id}-finish", "finish_import", finish))
    return id


def remap(
    connection: Connection,
    call: Call,
    actor: str,
    import_id: str,
    operation_id: str,
    mapping: Mapping[str, str | None],
    hashing: Hashing,
    rules: CreditRules,
    now: datetime,
) -> None:
    """Judge the rows of a previewed import anew, with a person's mapping, which is remembered for such files.

    Refusals: import_unknown, forbidden, import_state, import_forgotten, mapping_invalid, import_column_missing.
    """
    found = import_of(connection, import_id)
    kind = kind_of(found["kind"])
    permit_sending(connection, actor, kind, found["organization_id"])
    if found["state"] != "previewed":
        raise DomainError("import_state", state=found["state"])
    job = job_of(connection, found, hashing, rules)
    header = corrected(job.header, mapping, kind.fields)
    _check_columns(header, kind)
    job = Job(**{name: getattr(job, name) for name in Job.__dataclass_fields__} | {"header": header})
    counts = {"new": 0, "known": 0, "bad": 0}
    refusals: list[Refusal] = []
    seen: dict[Any, Any] = {}
    for _, rows in pieces_of(connection, found, hashing):
        verdicts = kind.judge(connection, job, rows, seen, now)
        refusals += _refusals(verdicts)
        for verdict in verdicts:
            counts[verdict.state] += 1
    finish = FinishImport(
        actor,
        import_id,
        found["row_count"],
        counts["new"],
        counts["known"],
        counts["bad"],
        found["left_out"],
        as_json(asdict(header)),
        as_json(dict(mapping)),
        tuple(refusals),
    )
    call(Operation(operation_id, "finish_import", finish))


def _read(connection: Connection, kind: ImportKind, sent: SentFile) -> Read:
    sheet = reading.read(sent.raw)
    header = find_header(sheet.rows, kind.fields)
    mapping = sent.mapping
    if mapping is None:
        m = import_mappings.c
        remembered = connection.scalar(
            select(m.mapping).where(m.kind == sent.kind, m.fingerprint == header.fingerprint)
        )
        mapping = json.loads(remembered) if remembered else {}
    header = corrected(header, mapping, kind.fields)
    _check_columns(header, kind)
    rows: list[Row] = []
    left_out: list[tuple[int, str]] = []
    for number, cells in enumerate(sheet.rows[header.row :], header.row + 1):
        if is_empty(cells):
            continue
        why = "total" if is_total(cells) else "example" if is_example(cells) else None
        if why is not None:
            left_out.append((number, why))
        else:
            rows.append(Row(number, cells))
    return Read(sheet, header, rows, left_out)


def _check_columns(header: Header, kind: ImportKind) -> None:
    if lacking := missing(header, kind.fields):
        columns = [{"column": letter(place), "name": name} for place, name in enumerate(header.names)]
        wanted = "、".join(one.zh for one in lacking)
        raise DomainError("import_column_missing", wanted=wanted, fields=[one.name for one in lacking], columns=columns)


def _refusals(verdicts: Sequence[Verdict]) -> tuple[Refusal, ...]:
    return tuple(
        (one.row, one.column, one.code, as_json(dict(one.fields)), one.subjects)
        for verdict in verdicts
        for one in verdict.problems
    )


def begin_import(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Note that a file is being read. Refusals: not_found for a kind, estate_unknown, forbidden."""
    body: BeginImport = operation.body
    permit_sending(connection, body.actor, kind_of(body.kind), body.organization_id)
    connection.execute(
        insert(imports).values(
            id=operation.id,
            kind=body.kind,
            organization_id=body.organization_id,
            file_name=body.file_name,
            file_hash=body.file_hash,
            written=body.written,
            header=body.header,
            year=body.year,
            half_day_minutes=body.half_day_minutes,
            state="reading",
            row_count=0,
            new_count=0,
            known_count=0,
            bad_count=0,
            left_out="[]",
            booked_count=0,
            kept_count=0,
            chunk_count=body.chunk_count,
            next_chunk=0,
            sent_by=body.actor,
            sent_at=now,
        )
    )
    if body.mapping is not None:
        remember(connection, body.actor, now, body.kind, body.header, body.mapping)
    note(connection, operation, now, "import_sent", operation.id, {"kind": body.kind})
    return {"id": operation.id}


def add_import_rows(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Keep a piece and what is wrong with it; refusals: import_unknown, import_state."""
    body: AddImportRows = operation.body
    own_import(connection, body.actor, body.import_id, "reading")
    sealed = base64.b64decode(body.sealed)
    connection.execute(insert(import_chunks).values(import_id=body.import_id, number=body.number, sealed=sealed))
    refuse(connection, now, body.import_id, body.refusals)
    return {}


def finish_import(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Show the preview; refusals: import_unknown, import_state."""
    body: FinishImport = operation.body
    is_again = body.header is not None
    found = own_import(connection, body.actor, body.import_id, "previewed" if is_again else "reading")
    values: dict[str, Any] = {
        "state": "previewed",
        "row_count": body.row_count,
        "new_count": body.new_count,
        "known_count": body.known_count,
        "bad_count": body.bad_count,
        "left_out": body.left_out,
    }
    if body.header is not None:
        values["header"] = body.header
        remember(connection, body.actor, now, found["kind"], body.header, body.mapping or "{}")
        for table in (import_refusals, import_candidates):
            connection.execute(delete(table).where(table.c.import_id == body.import_id))
        refuse(connection, now, body.import_id, body.refusals)
    connection.execute(update(imports).where(imports.c.id == body.import_id).values(values))
    return {}


def _cut(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]

"""The life of an import: a file is read and judged, shown, booked in pieces, and perhaps taken back as a whole.

reading -> previewed -> booking -> booked -> undoing -> undone

Rules. Judging changes nothing; it happens when the file is sent and again for each piece in the transaction that books
it, because somebody may have been registered in between. A piece is one operation of the writer with a fixed id: a
crash repeats none. Rows that were refused stay refused; the file that comes back holds them with the reason in each.
Cells are forgotten `KEPT` after the file was sent.
Source: the rules of records, "Files that people really send".
"""

import base64
import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

from sqlalchemy import Connection, Engine, and_, delete, insert, or_, select, update

from jishan_server import audit
from jishan_server.db import DatabaseUnavailable, from_ms, to_ms
from jishan_server.errors import DomainError
from jishan_server.instants import iso
from jishan_server.organizations import tree
from jishan_server.organizations.roles import Permission, is_permitted, permit, scope
from jishan_server.organizations.tables import organizations
from jishan_server.people.hashing import Hashing
from jishan_server.sheets import reading, writing
from jishan_server.sheets.cells import is_empty, is_example, is_total
from jishan_server.sheets.headers import Header, corrected, find_header, letter, missing
from jishan_server.sheets.problems import Language, Problem
from jishan_server.volunteering.import_tables import (
    import_candidates,
    import_chunks,
    import_mappings,
    import_refusals,
    imports,
)
from jishan_server.volunteering.importing.kinds import KINDS, ImportKind
from jishan_server.volunteering.importing.rows import Job, Row, Verdict
from jishan_server.volunteering.importing.sealing import seal, unseal
from jishan_server.volunteering.rules import CreditRules
from jishan_server.writer import Answer, Kind, Operation, Outcome, Writer

FORGET: Final = "imports.forget"
KEPT: Final = timedelta(days=30)
"""How long cells are kept: time enough to put rows right and to send them again."""
MAX_NAME: Final = 200
MAX_LEFT_OUT: Final = 1_000
"""Rows without content that are named one by one."""

MAX_IDS: Final = 1_000

Call = Callable[[Operation], Any]
T = TypeVar("T")
Refusal = tuple[int, str, str, str, tuple[str, ...]]
"""What is wrong with a row: (row, column, code, fields as JSON, residents whom it may be about)."""


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


@dataclass(frozen=True, slots=True)
class StartImport:
    actor: str
    import_id: str
    # Random, for the notes with the words (`ledger.notes`).
    salt: str | None = field(default=None, repr=False, metadata={"secret": True})


@dataclass(frozen=True, slots=True)
class UndoImport:
    actor: str
    import_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class ImportRows:
    """The piece that is to be booked, or taken back, next."""

    actor: str
    import_id: str
    number: int


BODIES: Final[dict[str, type]] = {
    "begin_import": BeginImport,
    "add_import_rows": AddImportRows,
    "finish_import": FinishImport,
    "start_import": StartImport,
    "book_import_rows": ImportRows,
    "undo_import": UndoImport,
    "undo_import_rows": ImportRows,
}


def kinds(hashing: Hashing, rules: CreditRules) -> dict[str, Kind]:
    """The operations of imports, with what they need to open the pieces."""
    return {
        "begin_import": Kind(run_one=begin_import),
        "add_import_rows": Kind(run_one=add_import_rows),
        "finish_import": Kind(run_one=finish_import),
        "start_import": Kind(run_one=start_import),
        "book_import_rows": Kind(run_one=partial(book_import_rows, hashing=hashing, rules=rules)),
        "undo_import": Kind(run_one=undo_import),
        "undo_import_rows": Kind(run_one=partial(undo_import_rows, hashing=hashing, rules=rules)),
    }


# Sending a file


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
    kind = _kind(sent.kind)
    _permit(connection, actor, kind, sent.organization_id)
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
        _json(written),
        _json(asdict(read.header)),
        sent.year,
        sent.half_day_minutes,
        len(chunks),
        None if sent.mapping is None else _json(dict(sent.mapping)),
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
        actor, id, len(read.rows), counts["new"], counts["known"], counts["bad"], _json(read.left_out[:MAX_LEFT_OUT])
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
    found = _import(connection, import_id)
    kind = _kind(found["kind"])
    _permit(connection, actor, kind, found["organization_id"])
    if found["state"] != "previewed":
        raise DomainError("import_state", state=found["state"])
    job = _job(connection, found, hashing, rules)
    header = corrected(job.header, mapping, kind.fields)
    _check_columns(header, kind)
    job = Job(**{name: getattr(job, name) for name in Job.__dataclass_fields__} | {"header": header})
    counts = {"new": 0, "known": 0, "bad": 0}
    refusals: list[Refusal] = []
    seen: dict[Any, Any] = {}
    for _, rows in _pieces(connection, found, hashing):
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
        _json(asdict(header)),
        _json(dict(mapping)),
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
        (one.row, one.column, one.code, _json(dict(one.fields)), one.subjects)
        for verdict in verdicts
        for one in verdict.problems
    )


# The operations


def begin_import(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Note that a file is being read. Refusals: not_found for a kind, estate_unknown, forbidden."""
    body: BeginImport = operation.body
    _permit(connection, body.actor, _kind(body.kind), body.organization_id)
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
        _remember(connection, body.actor, now, body.kind, body.header, body.mapping)
    _note(connection, operation, now, "import_sent", operation.id, {"kind": body.kind})
    return {"id": operation.id}


def add_import_rows(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Keep a piece and what is wrong with it; refusals: import_unknown, import_state."""
    body: AddImportRows = operation.body
    _own(connection, body.actor, body.import_id, "reading")
    sealed = base64.b64decode(body.sealed)
    connection.execute(insert(import_chunks).values(import_id=body.import_id, number=body.number, sealed=sealed))
    _refuse(connection, now, body.import_id, body.refusals)
    return {}


def finish_import(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Show the preview; refusals: import_unknown, import_state."""
    body: FinishImport = operation.body
    is_again = body.header is not None
    found = _own(connection, body.actor, body.import_id, "previewed" if is_again else "reading")
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
        _remember(connection, body.actor, now, found["kind"], body.header, body.mapping or "{}")
        for table in (import_refusals, import_candidates):
            connection.execute(delete(table).where(table.c.import_id == body.import_id))
        _refuse(connection, now, body.import_id, body.refusals)
    connection.execute(update(imports).where(imports.c.id == body.import_id).values(values))
    return {}


def start_import(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Begin to book, or go on.

    Refusals: import_unknown, forbidden, import_same_person, import_state, import_forgotten.
    """
    body: StartImport = operation.body
    found = _import(connection, body.import_id)
    kind = _kind(found["kind"])
    if kind.approval is None:
        _permit(connection, body.actor, kind, found["organization_id"])
    else:
        permit(connection, body.actor, kind.approval, found["organization_id"])
        if body.actor == found["sent_by"]:
            raise DomainError("import_same_person")
    if found["state"] in ("booking", "booked"):
        return {"next": _next(found)}
    if found["state"] != "previewed":
        raise DomainError("import_state", state=found["state"])
    if found["forgotten_at"] is not None:
        raise DomainError("import_forgotten")
    is_done = found["chunk_count"] == 0
    connection.execute(
        update(imports)
        .where(imports.c.id == body.import_id)
        .values(
            state="booked" if is_done else "booking",
            booked_by=body.actor,
            booked_at=now if is_done else None,
            note_salt=None if is_done else body.salt,
        )
    )
    _note(connection, operation, now, "import_started", body.import_id, {})
    return {"next": None if is_done else 0}


def book_import_rows(
    connection: Connection, operation: Operation, now: datetime, hashing: Hashing, rules: CreditRules
) -> dict[str, Any]:
    """Book the next piece: its good rows, as they are good now. Gives the number of the piece after it, or None.

    Refusals: import_unknown, import_state, import_forgotten.
    """
    body: ImportRows = operation.body
    found = _import(connection, body.import_id, is_locked=True)
    if found["state"] == "booking" and body.number < found["next_chunk"]:
        return {"next": found["next_chunk"]}
    if found["state"] != "booking" or body.number != found["next_chunk"]:
        raise DomainError("import_state", state=found["state"])
    kind = _kind(found["kind"])
    job = _job(connection, found, hashing, rules)
    rows = _piece(connection, found, hashing, body.number)
    r = import_refusals.c
    numbers = [row.number for row in rows]
    refused = set(
        connection.scalars(
            select(r.row).where(
                r.import_id == job.id, r.row >= min(numbers, default=0), r.row <= max(numbers, default=0)
            )
        )
    )
    verdicts = kind.judge(connection, job, [row for row in rows if row.number not in refused], {}, now)
    fresh = [verdict for verdict in verdicts if verdict.state == "new"]
    answers = kind.book(connection, operation, now, job, fresh)
    booked = [(one.row, id) for one, id in zip(fresh, answers, strict=True) if isinstance(id, str)]
    late = [problem for verdict in verdicts for problem in verdict.problems]
    late += [problem for problem in answers if isinstance(problem, Problem)]
    _refuse(
        connection,
        now,
        job.id,
        [(one.row, one.column, one.code, _json(dict(one.fields)), one.subjects) for one in late],
    )
    connection.execute(
        update(import_chunks)
        .where(import_chunks.c.import_id == job.id, import_chunks.c.number == body.number)
        .values(booked=_json(booked))
    )
    following = body.number + 1
    is_last = following == found["chunk_count"]
    late_rows = len({one.row for one in late})
    c = imports.c
    connection.execute(
        update(imports)
        .where(c.id == job.id)
        .values(
            next_chunk=following,
            booked_count=c.booked_count + len(booked),
            bad_count=c.bad_count + late_rows,
            state="booked" if is_last else "booking",
            booked_at=now if is_last else None,
        )
    )
    if is_last:
        # What came between the preview and now counts as what it turned out to be.
        connection.execute(
            update(imports)
            .where(c.id == job.id)
            .values(new_count=c.booked_count, known_count=c.row_count - c.bad_count - c.booked_count, note_salt=None)
        )
        _note(connection, operation, now, "import_booked", job.id, {})
    return {"next": None if is_last else following}


def undo_import(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Begin to take a booked import back, or go on.

    Refusals: import_unknown, forbidden, reason_required, import_state.
    """
    body: UndoImport = operation.body
    found = _import(connection, body.import_id)
    kind = _kind(found["kind"])
    permit(connection, body.actor, Permission.IMPORT, found["organization_id"])
    permit(connection, body.actor, kind.undo_permission, found["organization_id"])
    if not body.reason.strip():
        raise DomainError("reason_required")
    if found["state"] in ("undoing", "undone"):
        return {"next": _next(found)}
    if found["state"] != "booked" or kind.undo is None:
        raise DomainError("import_state", state=found["state"])
    is_done = found["chunk_count"] == 0
    connection.execute(
        update(imports)
        .where(imports.c.id == body.import_id)
        .values(state="undone" if is_done else "undoing", undone_by=body.actor, undo_reason=body.reason, undone_at=now)
    )
    _note(connection, operation, now, "import_undo_started", body.import_id, {})
    return {"next": None if is_done else found["chunk_count"] - 1}


def undo_import_rows(
    connection: Connection, operation: Operation, now: datetime, hashing: Hashing, rules: CreditRules
) -> dict[str, Any]:
    """Take the last piece back that still stands; refusals: import_unknown, import_state."""
    body: ImportRows = operation.body
    found = _import(connection, body.import_id, is_locked=True)
    if found["state"] == "undoing" and body.number >= found["next_chunk"]:
        return {"next": _next(found)}
    if found["state"] != "undoing" or body.number != found["next_chunk"] - 1:
        raise DomainError("import_state", state=found["state"])
    kind = _kind(found["kind"])
    assert kind.undo is not None
    booked = connection.scalar(
        select(import_chunks.c.booked).where(
            import_chunks.c.import_id == body.import_id, import_chunks.c.number == body.number
        )
    )
    pairs = [(row, id) for row, id in json.loads(booked or "[]")]
    job = _job(connection, found, hashing, rules)
    kept = kind.undo(connection, operation, now, job, pairs)
    _refuse(
        connection,
        now,
        body.import_id,
        [(row, "", "not_undone", _json({"by": kept[id]}), (id,)) for row, id in pairs if id in kept],
    )
    is_last = body.number == 0
    connection.execute(
        update(imports)
        .where(imports.c.id == body.import_id)
        .values(
            next_chunk=body.number,
            kept_count=imports.c.kept_count + len(kept),
            state="undone" if is_last else "undoing",
            undone_at=now,
        )
    )
    if is_last:
        _note(connection, operation, now, "import_undone", body.import_id, {"kept": found["kept_count"] + len(kept)})
    return {"next": None if is_last else body.number - 1}


def carry_on(writer: Writer, actor: str, import_id: str, number: int | None, *, is_undo: bool = False) -> None:
    """Have the writer do a piece, and when it is committed the next one: in between, it does what else is waiting.

    A writer that stops, or a database that fails, ends the chain; `start_import` and the server's start take it up.
    """
    if number is None:
        return
    operation = step(actor, import_id, number, is_undo=is_undo)

    def done(answer: Answer) -> None:
        if isinstance(answer, Outcome) and answer.error is None:
            carry_on(writer, actor, import_id, answer.value["next"], is_undo=is_undo)

    with contextlib.suppress(DatabaseUnavailable):
        writer.enqueue(operation, done)


def step(actor: str, import_id: str, number: int, *, is_undo: bool = False) -> Operation:
    """The operation of one piece; its id is always the same."""
    verb = "undo" if is_undo else "book"
    return Operation(f"{import_id}-{verb}-{number}", f"{verb}_import_rows", ImportRows(actor, import_id, number))


def resume(engine: Engine, writer: Writer) -> None:
    """Go on with imports that a crash left half done: asked once, when the server starts."""
    with engine.connect() as connection:
        rows = connection.execute(select(imports).where(imports.c.state.in_(("booking", "undoing")))).mappings().all()
    for row in rows:
        is_undo = row["state"] == "undoing"
        carry_on(writer, row["undone_by" if is_undo else "booked_by"], row["id"], _next(dict(row)), is_undo=is_undo)


# Looking at imports


def view(connection: Connection, actor: str, import_id: str) -> dict[str, Any]:
    """One import for `actor`; refusals: import_unknown, forbidden."""
    found = _import(connection, import_id)
    _permit_looking(connection, actor, found)
    earlier = connection.scalar(
        select(imports.c.id)
        .where(
            imports.c.file_hash == found["file_hash"],
            imports.c.kind == found["kind"],
            imports.c.organization_id == found["organization_id"],
            imports.c.id != import_id,
            imports.c.state.in_(("booking", "booked")),
        )
        .limit(1)
    )
    return _view(found) | {"same_file_as": earlier}


def page(
    connection: Connection, actor: str, after: tuple[int, str] | None, limit: int
) -> tuple[list[dict[str, Any]], tuple[int, str] | None]:
    """Imports in one's scope, newest first, and where the next page starts; refusal: forbidden."""
    c = imports.c
    query = select(imports).where(c.organization_id.in_(scope(connection, actor, Permission.IMPORT)))
    if after is not None:
        at, id = from_ms(after[0]), after[1]
        query = query.where(or_(c.sent_at < at, and_(c.sent_at == at, c.id < id)))
    rows = connection.execute(query.order_by(c.sent_at.desc(), c.id.desc()).limit(limit + 1)).mappings().all()
    shown = [dict(row) for row in rows[:limit]]
    last = (to_ms(shown[-1]["sent_at"]), shown[-1]["id"]) if len(rows) > limit else None
    return [_view(row) | {"same_file_as": None} for row in shown], last


def problems(
    connection: Connection, actor: str, import_id: str, after: int, limit: int
) -> tuple[list[dict[str, Any]], int | None]:
    """What is wrong with rows of an import, in the order of rows, and where the next page starts."""
    found = _import(connection, import_id)
    _permit_looking(connection, actor, found)
    noted = _problems(connection, import_id)
    shown = noted[after : after + limit]
    header = _header(found["header"])
    letters = {name: letter(place) for place, name in reversed(list(enumerate(header.names)))}
    views = [
        {
            "row": one.row,
            "column": one.column,
            "letter": letters.get(one.column, ""),
            "code": one.code,
            "fields": {name: str(value) for name, value in one.fields.items()},
            "reason_zh": one.reason("zh"),
            "reason_en": one.reason("en"),
            "instead_zh": one.instead("zh"),
            "instead_en": one.instead("en"),
        }
        for one in shown
    ]
    return views, after + limit if len(noted) > after + limit else None


def about(connection: Connection, resident_id: str) -> list[dict[str, Any]]:
    """Refused rows that may have been about a resident, newest file first: what answers "why did I get nothing?".

    The caller has permitted it.
    """
    a, r = import_candidates.c, import_refusals.c
    rows = connection.execute(
        select(imports.c.id, imports.c.kind, imports.c.file_name, r.row, r.column_name, r.code, r.fields, r.recorded_at)
        .join(import_refusals, (r.import_id == a.import_id) & (r.row == a.row))
        .join(imports, imports.c.id == a.import_id)
        .where(a.resident_id == resident_id)
        .order_by(r.number.desc())
    )
    found = []
    for id, kind, file_name, row, column, code, fields, recorded_at in rows:
        problem = Problem(row, column, code, json.loads(fields))
        found.append(
            {"import_id": id, "kind": kind, "file_name": file_name, "row": row, "column": column, "code": code}
            | {"reason_zh": problem.reason("zh"), "reason_en": problem.reason("en")}
            | {"recorded_at": iso(recorded_at)}
        )
    return found


def error_file(
    connection: Connection, actor: str, import_id: str, hashing: Hashing, language: Language
) -> tuple[str, writing.Format, bytes]:
    """The refused rows as they were sent, with reason and remedy behind each: (name, format, bytes).

    Refusals: import_unknown, forbidden, import_forgotten.
    """
    found = _import(connection, import_id)
    _permit_looking(connection, actor, found)
    by_row: dict[int, list[Problem]] = {}
    for problem in _problems(connection, import_id):
        by_row.setdefault(problem.row, []).append(problem)
    header = _header(found["header"])
    more = ("错误原因", "修改建议") if language == "zh" else ("What is wrong", "What to write instead")
    width = len(header.names)

    def rows() -> Iterator[writing.Row]:
        for _, piece in _pieces(connection, found, hashing):
            for row in piece:
                if of_row := by_row.get(row.number):
                    cells = [*row.cells, *[None] * (width - len(row.cells))][:width]
                    yield [
                        *cells,
                        " ".join(_named(one, language) for one in of_row),
                        " ".join(dict.fromkeys(one.instead(language) for one in of_row)),
                    ]

    written = json.loads(found["written"])
    name = found["file_name"].rpartition(".")[0] or found["file_name"]
    titles = [*header.names, *more]
    if written["format"] == "csv":
        encoding = "utf-8-sig" if written["encoding"] == "utf-8" else written["encoding"]
        return f"{name}-errors.csv", "csv", writing.write_csv(titles, rows(), encoding, written["delimiter"])
    return f"{name}-errors.xlsx", "xlsx", writing.write_xlsx(titles, rows(), written["sheet"] or "Sheet1")


def _named(problem: Problem, language: Language) -> str:
    colon = "\uff1a" if language == "zh" else ": "
    return (problem.column and problem.column + colon) + problem.reason(language)


def template(kind_name: str, format: writing.Format) -> bytes:
    """An empty file of a kind: its header, an example row that is left out when it is imported, and notes."""
    kind = _kind(kind_name)
    header = [one.zh for one in kind.fields]
    notes: list[writing.Row] = [["列", "必填", "说明", "也可以写成"]]
    notes += [[one.zh, "是" if one.is_required else "", one.note, "、".join(one.synonyms)] for one in kind.fields]
    return writing.write(format, header, [[one.example for one in kind.fields]], kind.title, notes=notes)


def estates_at(connection: Connection, organization_id: str) -> dict[str, tuple[str, str | None]]:
    """The estates at or below a node, or the one it stands in: id -> (name, code); refusal: estate_unknown."""
    ids = set(tree.below(connection, organization_id))
    if (own := tree.estate_of_node(connection, organization_id)) is not None:
        ids = {own}
    o = organizations.c
    rows = connection.execute(select(o.id, o.name, o.code).where(o.level == tree.ESTATE))
    return {id: (name, code) for id, name, code in rows if id in ids}


def _kind(name: str) -> ImportKind:
    if name not in KINDS:
        raise DomainError("not_found")
    return KINDS[name]


def may_send(connection: Connection, actor: str, kind: str, organization_id: str) -> None:
    """Refuse who may not import, before a large body is read: not_found for a kind, estate_unknown, forbidden."""
    _permit(connection, actor, _kind(kind), organization_id)


def _permit(connection: Connection, actor: str, kind: ImportKind, organization_id: str) -> None:
    tree.organization(connection, organization_id)
    permit(connection, actor, Permission.IMPORT, organization_id)
    permit(connection, actor, kind.permission, organization_id)


def _permit_looking(connection: Connection, actor: str, found: Mapping[str, Any]) -> None:
    """Whoever imports looks at imports, and whoever is to approve this one."""
    approval = _kind(found["kind"]).approval
    if approval is None or not is_permitted(connection, actor, approval, found["organization_id"]):
        permit(connection, actor, Permission.IMPORT, found["organization_id"])


def _import(connection: Connection, import_id: str, *, is_locked: bool = False) -> dict[str, Any]:
    query = select(imports).where(imports.c.id == import_id)
    row = connection.execute(query.with_for_update() if is_locked else query).mappings().one_or_none()
    if row is None:
        raise DomainError("import_unknown", id=import_id)
    return dict(row)


def _own(connection: Connection, actor: str, import_id: str, state: str) -> dict[str, Any]:
    found = _import(connection, import_id)
    permit(connection, actor, Permission.IMPORT, found["organization_id"])
    if found["state"] != state:
        raise DomainError("import_state", state=found["state"])
    return found


def _next(found: Mapping[str, Any]) -> int | None:
    """The piece that is to be done next; None if all are."""
    match found["state"]:
        case "booking":
            return int(found["next_chunk"])
        case "undoing":
            return int(found["next_chunk"]) - 1
    return None


def _job(connection: Connection, found: Mapping[str, Any], hashing: Hashing, rules: CreditRules) -> Job:
    return Job(
        found["id"],
        found["kind"],
        found["organization_id"],
        found["sent_by"],
        found["year"],
        found["half_day_minutes"],
        _header(found["header"]),
        estates_at(connection, found["organization_id"]),
        hashing,
        rules,
        found["file_name"],
        found["booked_by"] or "",
        found["note_salt"],
    )


def _header(written: str) -> Header:
    read = json.loads(written)
    return Header(read["row"], tuple(read["names"]), tuple(read["fields"]))


def _piece(connection: Connection, found: Mapping[str, Any], hashing: Hashing, number: int) -> list[Row]:
    c = import_chunks.c
    sealed = connection.scalar(select(c.sealed).where(c.import_id == found["id"], c.number == number))
    if sealed is None:
        raise DomainError("import_forgotten")
    return unseal(hashing, found["id"], number, sealed)


def _pieces(connection: Connection, found: Mapping[str, Any], hashing: Hashing) -> Iterator[tuple[int, list[Row]]]:
    for number in range(found["chunk_count"]):
        yield number, _piece(connection, found, hashing, number)


def _problems(connection: Connection, import_id: str) -> list[Problem]:
    c = import_refusals.c
    rows = connection.execute(
        select(c.row, c.column_name, c.code, c.fields).where(c.import_id == import_id).order_by(c.row, c.number)
    )
    return [Problem(row, column, code, json.loads(fields)) for row, column, code, fields in rows]


def _refuse(
    connection: Connection,
    now: datetime,
    import_id: str,
    refusals: Sequence[Refusal],
) -> None:
    if not refusals:
        return
    connection.execute(
        insert(import_refusals),
        [
            {
                "import_id": import_id,
                "row": row,
                "column_name": column,
                "code": code,
                "fields": fields,
                "recorded_at": now,
            }
            for row, column, code, fields, _ in refusals
        ],
    )
    about = {(row, id) for row, _, _, _, ids in refusals for id in ids}
    c = import_candidates.c
    about -= set(connection.execute(select(c.row, c.resident_id).where(c.import_id == import_id)) if about else ())
    if about:
        connection.execute(
            insert(import_candidates),
            [{"import_id": import_id, "row": row, "resident_id": id} for row, id in sorted(about)],
        )


def _remember(connection: Connection, actor: str, now: datetime, kind: str, header: str, mapping: str) -> None:
    fingerprint = _header(header).fingerprint
    m = import_mappings.c
    connection.execute(delete(import_mappings).where(m.kind == kind, m.fingerprint == fingerprint))
    connection.execute(
        insert(import_mappings).values(
            kind=kind, fingerprint=fingerprint, mapping=mapping, saved_by=actor, saved_at=now
        )
    )


def forget(connection: Connection, operations: Sequence[Operation], now: datetime) -> list[Outcome]:
    """Delete the cells of files that were sent too long ago: a timed kind."""
    c = imports.c
    old = connection.scalars(select(c.id).where(c.sent_at < now - KEPT, c.forgotten_at.is_(None))).all()
    if old:
        connection.execute(update(import_chunks).where(import_chunks.c.import_id.in_(old)).values(sealed=None))
        connection.execute(update(imports).where(c.id.in_(old)).values(forgotten_at=now))
    return [Outcome() for _ in operations]


def _view(found: Mapping[str, Any]) -> dict[str, Any]:
    header = _header(found["header"])
    written = json.loads(found["written"])
    shown = (
        "id",
        "kind",
        "organization_id",
        "file_name",
        "year",
        "half_day_minutes",
        "state",
        "row_count",
        "new_count",
        "known_count",
        "bad_count",
        "booked_count",
        "kept_count",
        "sent_by",
        "booked_by",
        "undone_by",
        "undo_reason",
    )
    done = found["next_chunk"] if found["state"] in ("booking", "undoing") else found["chunk_count"]
    return {name: found[name] for name in shown} | {
        "header_row": header.row,
        "columns": [
            {"letter": letter(place), "name": name, "field": field}
            for place, (name, field) in enumerate(zip(header.names, header.fields, strict=True))
        ],
        "format": written["format"],
        "encoding": written["encoding"],
        "sheet": written["sheet"],
        "other_sheets": written["other_sheets"],
        "left_out": [{"row": row, "why": why} for row, why in json.loads(found["left_out"])],
        "pieces": found["chunk_count"],
        "pieces_done": done if found["state"] in ("booking", "booked", "undoing", "undone") else 0,
        "sent_at": iso(found["sent_at"]),
        "booked_at": iso(found["booked_at"]),
        "undone_at": iso(found["undone_at"]) if found["state"] == "undone" else None,
        "forgotten_at": iso(found["forgotten_at"]),
    }


def _note(
    connection: Connection,
    operation: Operation,
    now: datetime,
    action: str,
    import_id: str,
    details: Mapping[str, object],
) -> None:
    audit.record(
        connection,
        now,
        actor=operation.body.actor,
        action=action,
        subject=("import", import_id),
        operation_id=operation.id,
        details=details,
    )


def _cut(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)

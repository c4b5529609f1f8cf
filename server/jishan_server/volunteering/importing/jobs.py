"""The life of an import: a file is read and judged, shown, booked in pieces, and perhaps taken back as a whole.

reading -> previewed -> booking -> booked -> undoing -> undone

Rules. Judging changes nothing; it happens when the file is sent (`sending`) and again for each piece in the transaction
that books it, because somebody may have been registered in between. A piece is one operation of the writer with a fixed
id: a crash repeats none. Rows that were refused stay refused; the file that comes back (`showing`) holds them with the
reason in each.
"""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection, Engine, select, update

from jishan_server.db import DatabaseUnavailable
from jishan_server.errors import DomainError
from jishan_server.organizations.roles import Permission, permit
from jishan_server.people.hashing import Hashing
from jishan_server.sheets.problems import Problem
from jishan_server.volunteering.import_tables import (
    import_chunks,
    import_refusals,
    imports,
)
from jishan_server.volunteering.importing.keeping import (
    as_json,
    import_of,
    job_of,
    kind_of,
    note,
    permit_sending,
    piece_of,
    refuse,
)
from jishan_server.volunteering.importing.sending import (
    AddImportRows,
    BeginImport,
    FinishImport,
    add_import_rows,
    begin_import,
    finish_import,
)
from jishan_server.volunteering.rules import CreditRules
from jishan_server.writer import Answer, Kind, Operation, Outcome, Writer


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


def start_import(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Begin to book, or go on.

    Refusals: import_unknown, forbidden, import_same_person, import_state, import_forgotten.
    """
    body: StartImport = operation.body
    found = import_of(connection, body.import_id)
    kind = kind_of(found["kind"])
    if kind.approval is None:
        permit_sending(connection, body.actor, kind, found["organization_id"])
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
    note(connection, operation, now, "import_started", body.import_id, {})
    return {"next": None if is_done else 0}


def book_import_rows(
    connection: Connection, operation: Operation, now: datetime, hashing: Hashing, rules: CreditRules
) -> dict[str, Any]:
    """Book the next piece: its good rows, as they are good now. Gives the number of the piece after it, or None.

    Refusals: import_unknown, import_state, import_forgotten.
    """
    body: ImportRows = operation.body
    found = import_of(connection, body.import_id, is_locked=True)
    if found["state"] == "booking" and body.number < found["next_chunk"]:
        return {"next": found["next_chunk"]}
    if found["state"] != "booking" or body.number != found["next_chunk"]:
        raise DomainError("import_state", state=found["state"])
    kind = kind_of(found["kind"])
    job = job_of(connection, found, hashing, rules)
    rows = piece_of(connection, found, hashing, body.number)
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
    refuse(
        connection,
        now,
        job.id,
        [(one.row, one.column, one.code, as_json(dict(one.fields)), one.subjects) for one in late],
    )
    connection.execute(
        update(import_chunks)
        .where(import_chunks.c.import_id == job.id, import_chunks.c.number == body.number)
        .values(booked=as_json(booked))
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
        note(connection, operation, now, "import_booked", job.id, {})
    return {"next": None if is_last else following}


def undo_import(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Begin to take a booked import back, or go on.

    Refusals: import_unknown, forbidden, reason_required, import_state.
    """
    body: UndoImport = operation.body
    found = import_of(connection, body.import_id)
    kind = kind_of(found["kind"])
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
    note(connection, operation, now, "import_undo_started", body.import_id, {})
    return {"next": None if is_done else found["chunk_count"] - 1}


def undo_import_rows(
    connection: Connection, operation: Operation, now: datetime, hashing: Hashing, rules: CreditRules
) -> dict[str, Any]:
    """Take the last piece back that still stands; refusals: import_unknown, import_state."""
    body: ImportRows = operation.body
    found = import_of(connection, body.import_id, is_locked=True)
    if found["state"] == "undoing" and body.number >= found["next_chunk"]:
        return {"next": _next(found)}
    if found["state"] != "undoing" or body.number != found["next_chunk"] - 1:
        raise DomainError("import_state", state=found["state"])
    kind = kind_of(found["kind"])
    assert kind.undo is not None
    booked = connection.scalar(
        select(import_chunks.c.booked).where(
            import_chunks.c.import_id == body.import_id, import_chunks.c.number == body.number
        )
    )
    pairs = [(row, id) for row, id in json.loads(booked or "[]")]
    job = job_of(connection, found, hashing, rules)
    kept = kind.undo(connection, operation, now, job, pairs)
    refuse(
        connection,
        now,
        body.import_id,
        [(row, "", "not_undone", as_json({"by": kept[id]}), (id,)) for row, id in pairs if id in kept],
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
        note(connection, operation, now, "import_undone", body.import_id, {"kept": found["kept_count"] + len(kept)})
    return {"next": None if is_last else body.number - 1}


def _next(found: Mapping[str, Any]) -> int | None:
    """The piece that is to be done next; None if all are."""
    match found["state"]:
        case "booking":
            return int(found["next_chunk"])
        case "undoing":
            return int(found["next_chunk"]) - 1
    return None


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

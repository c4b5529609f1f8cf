"""What is kept of an import: its row, its pieces, what was refused, and who may touch it.

Cells are forgotten `KEPT` after the file was sent; counts and refusals stay.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, delete, insert, select, update

from jishan_server import audit
from jishan_server.errors import DomainError
from jishan_server.organizations import tree
from jishan_server.organizations.roles import Permission, is_permitted, permit
from jishan_server.organizations.tables import organizations
from jishan_server.people.hashing import Hashing
from jishan_server.sheets.headers import Header
from jishan_server.sheets.problems import Problem
from jishan_server.volunteering.import_tables import (
    import_candidates,
    import_chunks,
    import_mappings,
    import_refusals,
    imports,
)
from jishan_server.volunteering.importing.kinds import KINDS, ImportKind
from jishan_server.volunteering.importing.rows import Job, Row
from jishan_server.volunteering.importing.sealing import unseal
from jishan_server.volunteering.rules import CreditRules
from jishan_server.writer import Operation, Outcome

FORGET: Final = "imports.forget"
KEPT: Final = timedelta(days=30)
"""How long cells are kept: time enough to put rows right and to send them again."""
Refusal = tuple[int, str, str, str, tuple[str, ...]]
"""What is wrong with a row: (row, column, code, fields as JSON, residents whom it may be about)."""


def may_send(connection: Connection, actor: str, kind: str, organization_id: str) -> None:
    """Refuse who may not import, before a large body is read: not_found for a kind, estate_unknown, forbidden."""
    permit_sending(connection, actor, kind_of(kind), organization_id)


def kind_of(name: str) -> ImportKind:
    """A kind of file by its name; refusal: not_found."""
    if name not in KINDS:
        raise DomainError("not_found")
    return KINDS[name]


def permit_sending(connection: Connection, actor: str, kind: ImportKind, organization_id: str) -> None:
    """Refuse who may not import this kind at this node."""
    tree.organization(connection, organization_id)
    permit(connection, actor, Permission.IMPORT, organization_id)
    permit(connection, actor, kind.permission, organization_id)


def permit_looking(connection: Connection, actor: str, found: Mapping[str, Any]) -> None:
    """Whoever imports looks at imports, and whoever is to approve this one."""
    approval = kind_of(found["kind"]).approval
    if approval is None or not is_permitted(connection, actor, approval, found["organization_id"]):
        permit(connection, actor, Permission.IMPORT, found["organization_id"])


def import_of(connection: Connection, import_id: str, *, is_locked: bool = False) -> dict[str, Any]:
    """The row of an import; refusal: import_unknown."""
    query = select(imports).where(imports.c.id == import_id)
    row = connection.execute(query.with_for_update() if is_locked else query).mappings().one_or_none()
    if row is None:
        raise DomainError("import_unknown", id=import_id)
    return dict(row)


def own_import(connection: Connection, actor: str, import_id: str, state: str) -> dict[str, Any]:
    """The row of an import in this state, for who imports there; refusals: import_unknown, import_state."""
    found = import_of(connection, import_id)
    permit(connection, actor, Permission.IMPORT, found["organization_id"])
    if found["state"] != state:
        raise DomainError("import_state", state=found["state"])
    return found


def estates_at(connection: Connection, organization_id: str) -> dict[str, tuple[str, str | None]]:
    """The estates at or below a node, or the one it stands in: id -> (name, code); refusal: estate_unknown."""
    ids = set(tree.below(connection, organization_id))
    if (own := tree.estate_of_node(connection, organization_id)) is not None:
        ids = {own}
    o = organizations.c
    rows = connection.execute(select(o.id, o.name, o.code).where(o.level == tree.ESTATE))
    return {id: (name, code) for id, name, code in rows if id in ids}


def job_of(connection: Connection, found: Mapping[str, Any], hashing: Hashing, rules: CreditRules) -> Job:
    """What judging and booking need to know of an import."""
    return Job(
        found["id"],
        found["kind"],
        found["organization_id"],
        found["sent_by"],
        found["year"],
        found["half_day_minutes"],
        header_of(found["header"]),
        estates_at(connection, found["organization_id"]),
        hashing,
        rules,
        found["file_name"],
        found["booked_by"] or "",
        found["note_salt"],
    )


def header_of(written: str) -> Header:
    """A header as it was written down."""
    read = json.loads(written)
    return Header(read["row"], tuple(read["names"]), tuple(read["fields"]))


def piece_of(connection: Connection, found: Mapping[str, Any], hashing: Hashing, number: int) -> list[Row]:
    """The rows of one piece; refusal: import_forgotten."""
    c = import_chunks.c
    sealed = connection.scalar(select(c.sealed).where(c.import_id == found["id"], c.number == number))
    if sealed is None:
        raise DomainError("import_forgotten")
    return unseal(hashing, found["id"], number, sealed)


def pieces_of(connection: Connection, found: Mapping[str, Any], hashing: Hashing) -> Iterator[tuple[int, list[Row]]]:
    """The pieces of an import, each with its number."""
    for number in range(found["chunk_count"]):
        yield number, piece_of(connection, found, hashing, number)


def problems_of(connection: Connection, import_id: str) -> list[Problem]:
    """What is wrong with rows of an import, in their order."""
    c = import_refusals.c
    rows = connection.execute(
        select(c.row, c.column_name, c.code, c.fields).where(c.import_id == import_id).order_by(c.row, c.number)
    )
    return [Problem(row, column, code, json.loads(fields)) for row, column, code, fields in rows]


def refuse(
    connection: Connection,
    now: datetime,
    import_id: str,
    refusals: Sequence[Refusal],
) -> None:
    """Keep what is wrong with rows, and whom they may have been about."""
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


def remember(connection: Connection, actor: str, now: datetime, kind: str, header: str, mapping: str) -> None:
    """Keep a person's mapping for files with the same columns."""
    fingerprint = header_of(header).fingerprint
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


def note(
    connection: Connection,
    operation: Operation,
    now: datetime,
    action: str,
    import_id: str,
    details: Mapping[str, object],
) -> None:
    """Write into the audit log what was done to an import."""
    audit.record(
        connection,
        now,
        actor=operation.body.actor,
        action=action,
        subject=("import", import_id),
        operation_id=operation.id,
        details=details,
    )


def as_json(value: object) -> str:
    """Compact JSON with signs as they are."""
    return json.dumps(value, ensure_ascii=False)

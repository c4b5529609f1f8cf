"""Attachments: files kept as proof, each with what it belongs to and who put it there.

Who may write or read one follows from its subject (`SUBJECTS`). A file is never changed; its
content goes when the person it is about is made anonymous (`people.privacy.erase`).
"""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, insert, select

from jishan_server import audit
from jishan_server.errors import DomainError
from jishan_server.ids import timed_derived_id
from jishan_server.instants import iso
from jishan_server.organizations.roles import Permission, is_permitted, permit, resident_of_actor, scope
from jishan_server.organizations.tree import organization
from jishan_server.people.attachment_tables import attachments
from jishan_server.people.residents import estate_of
from jishan_server.pictures import cleaned
from jishan_server.writer import Operation


class Subject(NamedTuple):
    """Who may add a file to a kind of subject, and who may see it."""

    write: Permission
    read: Permission


SUBJECTS: Final[Mapping[str, Subject]] = {
    # Proof of one person's: a claim, a training, a licence, a report about a machine.
    "resident": Subject(Permission.REPORT_WRITE, Permission.RECORD_READ),
    # The signed sheet of a session names many people: for those who record and approve.
    "session": Subject(Permission.ATTENDANCE_WRITE, Permission.CREDIT_APPROVE),
    "task": Subject(Permission.TASK_WRITE, Permission.TASK_READ),
    "organization": Subject(Permission.RECORD_WRITE, Permission.RECORD_READ),
}

_SHOWN: Final = [column for column in attachments.c if column.name != "content"]


@dataclass(frozen=True, slots=True)
class Attach:
    """A file for a subject; `content` is cleaned already (`for_keeping`), `sha256` is its digest.

    `organization_id`: the node that a session or task belongs to; for a resident it is their estate, whatever is said.
    """

    actor: str
    subject_type: str
    subject_id: str
    organization_id: str | None
    content_type: str
    sha256: str
    content: bytes = field(metadata={"secret": True}, repr=False)


def for_keeping(actor: str, subject_type: str, subject_id: str, organization_id: str | None, content: bytes) -> Attach:
    """What to ask the writer for a file as it was sent. Slow for a photo: not inside a transaction.

    Refusals: those of `cleaned`.
    """
    content_type, kept = cleaned(content)
    digest = hashlib.sha256(kept).hexdigest()
    return Attach(actor, subject_type, subject_id, organization_id, content_type, digest, kept)


def may_attach(
    connection: Connection, actor: str, subject_type: str, subject_id: str, organization_id: str | None
) -> str:
    """The node that a file of this subject is for. Refusals: resident_unknown, estate_unknown, forbidden."""
    resident_id = _resident(subject_type, subject_id)
    if resident_id is not None:
        place = estate_of(connection, resident_id)
    else:
        place = subject_id if subject_type == "organization" else organization_id or ""
        organization(connection, place)
    permit(connection, actor, SUBJECTS[subject_type].write, place, resident_id)
    return place


def attach(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Keep a file. Refusals: those of `may_attach`."""
    body: Attach = operation.body
    place = may_attach(connection, body.actor, body.subject_type, body.subject_id, body.organization_id)
    id = timed_derived_id(operation.id, "attachment", now)
    connection.execute(
        insert(attachments).values(
            id=id,
            subject_type=body.subject_type,
            subject_id=body.subject_id,
            organization_id=place,
            resident_id=_resident(body.subject_type, body.subject_id),
            content_type=body.content_type,
            size_bytes=len(body.content),
            sha256=body.sha256,
            content=body.content,
            uploaded_by=body.actor,
            recorded_at=now,
        )
    )
    subject = ("attachment", id)
    audit.record(connection, now, actor=body.actor, action="attached", subject=subject, operation_id=operation.id)
    query = select(*_SHOWN).where(attachments.c.id == id)
    return _view(connection.execute(query).mappings().one())


def attachment(connection: Connection, actor: str, id: str) -> tuple[str, bytes]:
    """(content type, content) of a file; who added it may see it as long as they may add. Refusals: forbidden,
    attachment_unknown."""
    row = connection.execute(select(attachments).where(attachments.c.id == id)).one_or_none()
    if row is None or row.content is None:
        raise DomainError("attachment_unknown", id=id)
    subject = SUBJECTS[row.subject_type]
    own = row.uploaded_by == actor and is_permitted(
        connection, actor, subject.write, row.organization_id, row.resident_id
    )
    if not own:
        permit(connection, actor, subject.read, row.organization_id, row.resident_id)
    return row.content_type, row.content


def attachments_of(connection: Connection, actor: str, subject_type: str, subject_id: str) -> list[dict[str, Any]]:
    """The files of a subject that `actor` may see, oldest first, without their content; refusal: forbidden."""
    a = attachments.c
    own = resident_of_actor(actor)
    may = a.organization_id.in_(scope(connection, actor, SUBJECTS[subject_type].read)) if own is None else None
    query = select(*_SHOWN).where(a.subject_type == subject_type, a.subject_id == subject_id)
    rows = connection.execute(query.where(a.resident_id == own if may is None else may).order_by(a.id)).mappings()
    return [_view(row) for row in rows]


def require(connection: Connection, ids: Collection[str], subject_type: str, subject_id: str) -> None:
    """Refuse with `attachment_unknown` what names a file that is not there, or is another subject's."""
    a = attachments.c
    query = select(a.id).where(a.id.in_(set(ids)), a.subject_type == subject_type, a.subject_id == subject_id)
    missing = set(ids) - set(connection.scalars(query)) if ids else set()
    if missing:
        raise DomainError("attachment_unknown", id=min(missing))


def _resident(subject_type: str, subject_id: str) -> str | None:
    """The person a file is about, if it is one person's."""
    return subject_id if subject_type == "resident" else None


def _view(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {**row, "recorded_at": iso(row["recorded_at"])}

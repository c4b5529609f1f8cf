"""Imports: a file sent, its preview, booking it, what was wrong with it, taking it back."""

import json
import threading
from typing import Any, Final

from flask import Response, request
from marshmallow import Schema, ValidationError, fields, validate

from jishan_server.api.asking import actor, change, language, operation_id, parts
from jishan_server.api.blueprints import Blueprint
from jishan_server.api.paging import page, read_cursor
from jishan_server.api.schemas import Paging, Strict, Text, Why, an_id, an_instant, page_of
from jishan_server.errors import DomainError
from jishan_server.organizations.roles import Permission, scope
from jishan_server.reading import reading
from jishan_server.sheets.durations import HALF_DAY_MINUTES
from jishan_server.sheets.reading import MAX_COLUMNS
from jishan_server.sheets.writing import MEDIA_TYPES, Format
from jishan_server.volunteering.importing import jobs, keeping, sending, showing
from jishan_server.volunteering.importing.kinds import KINDS

imports = Blueprint("imports", "Files of people, nodes, activities, attendance and hours")

ONE_AT_A_TIME: Final = threading.BoundedSemaphore(1)
"""Reading a file takes a processor for seconds: the other threads of the web go on serving."""


class Mapping(fields.Field[dict[str, str | None]]):
    """What columns mean: JSON {"word of the header": "field", or null}."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> dict[str, str | None]:
        try:
            read = json.loads(value) if isinstance(value, str) else value
        except ValueError:
            read = None
        if not isinstance(read, dict) or len(read) > MAX_COLUMNS:
            raise ValidationError("Not a mapping of columns.")
        if not all(one is None or isinstance(one, str) for one in read.values()):
            raise ValidationError("A column means a field, or null.")
        return {str(name): one for name, one in read.items()}


class ImportWanted(Strict):
    kind = fields.String(required=True, validate=validate.OneOf(sorted(KINDS)))
    organization_id = an_id(required=True)
    file_name = Text(sending.MAX_NAME, load_default="file")
    year = fields.Integer(
        load_default=None,
        validate=validate.Range(2000, 2100),
        metadata={"description": "Of days without one; else this year."},
    )
    half_day_minutes = fields.Integer(load_default=HALF_DAY_MINUTES, validate=validate.Range(60, 720))
    mapping = Mapping(load_default=None, metadata={"type": "string", "description": "JSON, as of PUT mapping."})


class NewMapping(Strict):
    mapping = Mapping(required=True, metadata={"type": "object"})


class Column(Schema):
    letter = fields.String()
    name = fields.String()
    field = fields.String(allow_none=True)


class LeftOut(Schema):
    row = fields.Integer()
    why = fields.String(metadata={"description": "total or example."})


class Import(Schema):
    id = fields.String()
    kind = fields.String()
    organization_id = fields.String()
    file_name = fields.String()
    same_file_as = fields.String(allow_none=True, metadata={"description": "An import that booked this very file."})
    year = fields.Integer()
    half_day_minutes = fields.Integer()
    state = fields.String(metadata={"description": "reading, previewed, booking, booked, undoing or undone."})
    row_count = fields.Integer()
    new_count = fields.Integer()
    known_count = fields.Integer(metadata={"description": "Rows that are there already."})
    bad_count = fields.Integer()
    booked_count = fields.Integer()
    kept_count = fields.Integer(metadata={"description": "Rows that could not be taken back."})
    header_row = fields.Integer()
    columns = fields.List(fields.Nested(Column))
    format = fields.String()
    encoding = fields.String()
    sheet = fields.String()
    other_sheets = fields.List(fields.String())
    left_out = fields.List(fields.Nested(LeftOut))
    pieces = fields.Integer()
    pieces_done = fields.Integer()
    sent_by = fields.String()
    sent_at = an_instant()
    booked_by = fields.String(allow_none=True)
    booked_at = an_instant()
    undone_by = fields.String(allow_none=True)
    undone_at = an_instant()
    undo_reason = fields.String(allow_none=True)
    forgotten_at = an_instant()


class ImportProblem(Schema):
    row = fields.Integer()
    column = fields.String()
    letter = fields.String()
    code = fields.String()
    fields_ = fields.Dict(keys=fields.String(), values=fields.String(), data_key="fields", attribute="fields")
    reason_zh = fields.String()
    reason_en = fields.String()
    instead_zh = fields.String()
    instead_en = fields.String()


@imports.post("/imports")
@imports.takes(ImportWanted, location="query")
@imports.answers(201, Import)
def create_import(wanted: dict[str, Any]) -> dict[str, Any]:
    """Read a CSV, XLSX or XLS file of at most 20 MiB (the body itself, or the one file of a form): a preview."""
    id, zone, now = operation_id(), parts().vending.rules.zone, parts().clock()
    keeping.may_send(reading(), actor(), wanted["kind"], wanted["organization_id"])
    if request.mimetype == "multipart/form-data":
        files = list(request.files.values())
        if len(files) != 1:
            raise DomainError("sheet_empty")
        raw, name = files[0].read(), files[0].filename or wanted["file_name"]
    else:
        raw, name = request.get_data(), wanted["file_name"]
    year = wanted["year"] or now.astimezone(zone).year
    sent = sending.SentFile(
        wanted["kind"], wanted["organization_id"], name, raw, year, wanted["half_day_minutes"], wanted["mapping"]
    )
    if not ONE_AT_A_TIME.acquire(blocking=False):
        raise DomainError("import_busy")
    try:
        sending.send(reading(), parts().writer.call, actor(), id, sent, parts().hashing, parts().credit_rules, now)
    finally:
        ONE_AT_A_TIME.release()
    return _fresh(id)


@imports.get("/imports")
@imports.takes(Paging, location="query")
@imports.answers(200, page_of(Import))
def list_imports(wanted: dict[str, Any]) -> dict[str, Any]:
    """Imports in one's scope, newest first."""
    return page(*showing.page(reading(), actor(), read_cursor(wanted["cursor"]), wanted["limit"]))


@imports.get("/imports/<id:import_id>")
@imports.answers(200, Import)
def get_import(import_id: str) -> dict[str, Any]:
    """One import: its preview, and how far it is."""
    return showing.view(reading(), actor(), import_id)


@imports.get("/imports/<id:import_id>/problems")
@imports.takes(Paging, location="query")
@imports.answers(200, page_of(ImportProblem))
def list_import_problems(wanted: dict[str, Any], import_id: str) -> dict[str, Any]:
    """What is wrong with which row and column, and what to write instead."""
    after = read_cursor(wanted["cursor"]) or 0
    return page(*showing.problems(reading(), actor(), import_id, after, wanted["limit"]))


@imports.get("/imports/<id:import_id>/errors")
@imports.answers(200)
def get_import_errors(import_id: str) -> Response:
    """The refused rows as they were sent, with the reason behind each."""
    name, format, content = showing.error_file(reading(), actor(), import_id, parts().hashing, language())
    return file_answer(name, format, content)


@imports.put("/imports/<id:import_id>/mapping")
@imports.takes(NewMapping)
@imports.answers(200, Import)
def put_import_mapping(body: dict[str, Any], import_id: str) -> dict[str, Any]:
    """Say what columns mean: the preview is made anew, and the mapping remembered for files with this header."""
    sending.remap(
        reading(),
        parts().writer.call,
        actor(),
        import_id,
        operation_id(),
        body["mapping"],
        parts().hashing,
        parts().credit_rules,
        parts().clock(),
    )
    return _fresh(import_id)


@imports.post("/imports/<id:import_id>/book")
@imports.answers(202, Import)
def book_import(import_id: str) -> dict[str, Any]:
    """Book the good rows, piece by piece; hours by a second person. Asking again goes on where it stopped."""
    started = change("start_import", jobs.StartImport(actor(), import_id), id=operation_id())
    jobs.carry_on(parts().writer, actor(), import_id, started["next"])
    return _fresh(import_id)


@imports.post("/imports/<id:import_id>/undo")
@imports.takes(Why)
@imports.answers(202, Import)
def undo_import(body: dict[str, str], import_id: str) -> dict[str, Any]:
    """Take a booked import back as a whole; what others refer to stays, and is named."""
    started = change("undo_import", jobs.UndoImport(actor(), import_id, body["reason"]), id=operation_id())
    jobs.carry_on(parts().writer, actor(), import_id, started["next"], is_undo=True)
    return _fresh(import_id)


@imports.get("/imports/templates/<id:import_kind>.<id:format>")
@imports.answers(200)
def get_import_template(import_kind: str, format: str) -> Response:
    """An empty file of a kind, as csv or xlsx, with an example row that is left out when it is sent."""
    scope(reading(), actor(), Permission.IMPORT)
    if format not in MEDIA_TYPES:
        raise DomainError("not_found")
    chosen: Format = "csv" if format == "csv" else "xlsx"
    return file_answer(f"{import_kind}.{format}", chosen, showing.template(import_kind, chosen))


def file_answer(name: str, format: Format, content: bytes) -> Response:
    """A file to be saved."""
    answer = Response(content, content_type=MEDIA_TYPES[format])
    answer.headers.set("Content-Disposition", "attachment", filename=name)
    return answer


def _fresh(import_id: str) -> dict[str, Any]:
    """An import as it is after a change: in a transaction that began after it."""
    reading().rollback()
    return showing.view(reading(), actor(), import_id)

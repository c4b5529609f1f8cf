"""Files: put as they are, or as one file of a form; got back with the type that their bytes tell."""

from typing import Any, Final

from flask import Response, request
from marshmallow import Schema, fields, validate

from jishan_server import attachments as files
from jishan_server.api.asking import actor, change
from jishan_server.api.blueprints import Blueprint
from jishan_server.api.paging import page
from jishan_server.api.schemas import Strict, an_id, an_instant, page_of
from jishan_server.errors import DomainError
from jishan_server.reading import reading

attachments = Blueprint("attachments", "Files kept as proof")

ENDINGS: Final = {"image/jpeg": "jpg", "image/png": "png", "image/webp": "webp", "application/pdf": "pdf"}


class SubjectWanted(Strict):
    subject_type = fields.String(required=True, validate=validate.OneOf(sorted(files.SUBJECTS)))
    subject_id = an_id(required=True)


class NewAttachment(SubjectWanted):
    organization_id = an_id(load_default=None, metadata={"description": "The node that a session or task belongs to."})


class Attachment(Schema):
    id = fields.String()
    subject_type = fields.String()
    subject_id = fields.String()
    organization_id = fields.String()
    resident_id = fields.String(allow_none=True)
    content_type = fields.String()
    size_bytes = fields.Integer()
    sha256 = fields.String()
    uploaded_by = fields.String()
    recorded_at = an_instant()


@attachments.post("/attachments")
@attachments.takes(NewAttachment, location="query")
@attachments.answers(201, Attachment)
def create_attachment(wanted: dict[str, Any]) -> dict[str, Any]:
    """Keep a JPEG, PNG, WebP or PDF of at most 5 MiB: the body itself, or the one file of a form."""
    # Before a large body is read and a picture decoded.
    files.may_attach(reading(), actor(), **wanted)
    if request.mimetype == "multipart/form-data":
        sent = list(request.files.values())
        if len(sent) != 1:
            raise DomainError("file_empty")
        content = sent[0].read()
    else:
        content = request.get_data()
    return change("attach", files.for_keeping(actor(), content=content, **wanted))


@attachments.get("/attachments")
@attachments.takes(SubjectWanted, location="query")
@attachments.answers(200, page_of(Attachment))
def list_attachments(wanted: dict[str, Any]) -> dict[str, Any]:
    """The files of one subject, oldest first, on one page."""
    return page(files.attachments_of(reading(), actor(), **wanted))


@attachments.get("/attachments/<id:attachment_id>")
@attachments.answers(200)
def get_attachment(attachment_id: str) -> Response:
    """The file itself."""
    content_type, content = files.attachment(reading(), actor(), attachment_id)
    answer = Response(content, content_type=content_type)
    # A PDF may hold a program: it is saved, and opened by what the person chose for that.
    place = "attachment" if content_type == "application/pdf" else "inline"
    answer.headers["Content-Disposition"] = f'{place}; filename="{attachment_id}.{ENDINGS[content_type]}"'
    return answer

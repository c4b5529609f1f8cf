"""Certificates of service: issued, printed, revoked, listed; and checked by anybody who has the number."""

from typing import Any

from flask import Response
from marshmallow import Schema, fields, validate

from jishan_server.api.asking import actor, change, language, me, note_access, parts
from jishan_server.api.blueprints import Blueprint
from jishan_server.api.paging import page, read_cursor
from jishan_server.api.prints import PrintWanted, pdf
from jishan_server.api.schemas import Day, Paging, Strict, Why, an_id, an_instant, page_of
from jishan_server.organizations.roles import Permission, scope
from jishan_server.printing import certificate as printing
from jishan_server.reading import reading
from jishan_server.volunteering import certificates as volunteering

certificates = Blueprint("certificates", "Certificates of service")


class NewCertificate(Strict):
    """Of all records, or from the first to the last of these days."""

    first_day = Day(load_default=None, allow_none=True)
    last_day = Day(load_default=None, allow_none=True)
    replaces = an_id(load_default=None, allow_none=True, metadata={"description": "A number whose place it takes."})


class Checked(Schema):
    """What anybody may know of a certificate."""

    number = fields.String()
    first_day = fields.String()
    last_day = fields.String()
    hours = fields.String(metadata={"description": "To one decimal, rounded down."})
    unit_name = fields.String()
    state = fields.String(metadata={"description": "valid, outdated (a record was corrected), replaced, or revoked."})


class Certificate(Checked):
    resident_id = fields.String()
    estate_id = fields.String()
    name = fields.String(allow_none=True)
    minutes = fields.Integer()
    record_count = fields.Integer()
    issued_by = fields.String()
    issued_at = an_instant()
    revoked_by = fields.String(allow_none=True)
    revoked_at = an_instant()
    revoke_reason = fields.String(allow_none=True)
    replaced_by = fields.String(allow_none=True)


class Certificates(Schema):
    items = fields.List(fields.Nested(Certificate))


class RegisterWanted(Paging):
    state = fields.String(load_default=None, validate=validate.OneOf(volunteering.STATES))


@certificates.post("/residents/<id:resident_id>/certificates")
@certificates.takes(NewCertificate)
@certificates.answers(201, Certificate)
def issue_certificate(body: dict[str, Any], resident_id: str) -> dict[str, Any]:
    """Issue a certificate of a resident's service records, free of charge."""
    return change("issue_certificate", volunteering.IssueCertificate(actor(), resident_id, **body), key_required=True)


@certificates.post("/me/certificates")
@certificates.takes(NewCertificate)
@certificates.answers(201, Certificate)
def issue_my_certificate(body: dict[str, Any]) -> dict[str, Any]:
    """Issue a certificate of one's own service records."""
    return change("issue_certificate", volunteering.IssueCertificate(actor(), me(), **body), key_required=True)


@certificates.get("/residents/<id:resident_id>/certificates")
@certificates.answers(200, Certificates)
def list_certificates(resident_id: str) -> dict[str, Any]:
    """A resident's certificates, newest first."""
    found = volunteering.of_resident(reading(), actor(), resident_id)
    note_access("certificates", resident_id)
    return {"items": found}


@certificates.get("/me/certificates")
@certificates.answers(200, Certificates)
def list_my_certificates() -> dict[str, Any]:
    """One's own certificates, newest first."""
    return {"items": volunteering.of_resident(reading(), actor(), me())}


@certificates.get("/certificates")
@certificates.takes(RegisterWanted, location="query")
@certificates.answers(200, page_of(Certificate))
def list_register(wanted: dict[str, Any]) -> dict[str, Any]:
    """The register of certificates in one's scope, newest first; `outdated` ones are to be issued again."""
    estates = scope(reading(), actor(), Permission.RECORD_READ)
    found, after = volunteering.register(
        reading(), estates, wanted["state"], read_cursor(wanted["cursor"]), wanted["limit"]
    )
    note_access("certificates", people=len(found))
    return page(found, after)


@certificates.get("/certificates/<id:number>")
@certificates.answers(200, Certificate)
def get_certificate(number: str) -> dict[str, Any]:
    """One certificate."""
    found = volunteering.certificate(reading(), actor(), number)
    note_access("certificate", found["resident_id"])
    return found


@certificates.get("/certificates/<id:number>/certificate.pdf")
@certificates.takes(PrintWanted, location="query")
@certificates.answers(200)
def get_certificate_pdf(wanted: dict[str, Any], number: str) -> Response:
    """The certificate as a file, the same bytes each time in each language."""
    note_access("certificate", volunteering.certificate(reading(), actor(), number)["resident_id"])
    return _printed(wanted, number)


@certificates.get("/me/certificates/<id:number>/certificate.pdf")
@certificates.takes(PrintWanted, location="query")
@certificates.answers(200)
def get_my_certificate_pdf(wanted: dict[str, Any], number: str) -> Response:
    """One's own certificate as a file."""
    me()
    return _printed(wanted, number)


@certificates.post("/certificates/<id:number>/revoke")
@certificates.takes(Why)
@certificates.answers(200, Certificate)
def revoke_certificate(body: dict[str, str], number: str) -> dict[str, Any]:
    """Revoke a certificate: whoever checks it is told so."""
    return change("revoke_certificate", volunteering.RevokeCertificate(actor(), number, **body), key_required=True)


@certificates.get("/certificates/<id:number>/check")
@certificates.public
@certificates.answers(200, Checked)
def check_certificate(number: str) -> dict[str, Any]:
    """Whether there is such a certificate, and what it says: never whose it is."""
    return volunteering.check(reading(), number)


def _printed(wanted: dict[str, Any], number: str) -> Response:
    zone = parts().vending.rules.zone
    document = volunteering.document(reading(), actor(), number, parts().config.site_url, zone)
    chosen = wanted["language"] or language()
    name = f"志愿服务记录证明-{number}"
    return pdf(lambda: printing.certificate(document, chosen), f"certificate-{number}", name)

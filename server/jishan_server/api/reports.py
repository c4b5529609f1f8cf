"""Reports: what went wrong at a machine, by the resident on the phone, or by staff for a person at the desk."""

from typing import Any

from marshmallow import Schema, fields, validate

from jishan_server.api.asking import actor, change, me, parts
from jishan_server.api.blueprints import Blueprint
from jishan_server.api.paging import page, read_cursor
from jishan_server.api.schemas import MAX_TEXT, Paging, Strict, Text, Why, an_id, an_instant, page_of
from jishan_server.reading import reading
from jishan_server.vending import reports as vending

reports = Blueprint("reports", "What went wrong at a machine")

MAX_FILES = 5


class OwnReport(Strict):
    kind = fields.String(required=True, validate=validate.OneOf(vending.KINDS))
    words = Text(MAX_TEXT, least=0, load_default="")
    redemption_id = an_id(load_default=None, allow_none=True)
    machine_id = an_id(load_default=None, allow_none=True)
    attachment_ids = fields.List(an_id(), load_default=list, validate=validate.Length(max=MAX_FILES))


class NewReport(OwnReport):
    resident_id = an_id(required=True)


class ReportDecision(Strict):
    verdict = fields.String(required=True, validate=validate.OneOf(["give_back", "refuse"]))
    reason = Text(MAX_TEXT, required=True)
    evidence = Text(MAX_TEXT, least=0, load_default="")


class ReportsWanted(Paging):
    state = fields.String(load_default=None, validate=validate.OneOf(vending.STATES))
    resident_id = an_id(load_default=None)
    overdue = fields.Boolean(load_default=False, metadata={"description": "Only those past their day."})


class ResidentWanted(Strict):
    resident_id = an_id(required=True)


class Candidate(Schema):
    redemption_id = fields.String()
    machine_id = fields.String()
    machine_name = fields.String(allow_none=True)
    selection = fields.Integer(allow_none=True)
    product_zh = fields.String(allow_none=True)
    product_en = fields.String(allow_none=True)
    points = fields.Integer(allow_none=True)
    state = fields.String()
    is_being_checked = fields.Boolean()
    recorded_at = an_instant()
    changed_at = an_instant()
    ticket = fields.Integer(allow_none=True)
    answer_by = fields.String(allow_none=True, metadata={"format": "date"})
    told_zh = fields.String(allow_none=True)
    told_en = fields.String(allow_none=True)
    report = fields.Integer(allow_none=True)
    report_state = fields.String(allow_none=True)


class OwnReportView(Schema):
    """A report as its resident sees it."""

    number = fields.Integer()
    ticket = fields.String()
    redemption_id = fields.String(allow_none=True)
    machine_id = fields.String(allow_none=True)
    kind = fields.String()
    words = fields.String()
    attachment_ids = fields.List(fields.String())
    made_via = fields.String()
    state = fields.String()
    answer_by = fields.String(allow_none=True, metadata={"format": "date"})
    decided_at = an_instant()
    reason = fields.String(allow_none=True)
    reopened_at = an_instant()
    reopen_reason = fields.String(allow_none=True)
    first_reason = fields.String(allow_none=True)
    recorded_at = an_instant()


class Report(OwnReportView):
    estate_id = fields.String()
    resident_id = fields.String()
    made_by = fields.String()
    decided_by = fields.String(allow_none=True)
    seconded_by = fields.String(allow_none=True)
    reopened_by = fields.String(allow_none=True)
    first_decided_by = fields.String(allow_none=True)


class Evidence(Schema):
    """What the machine showed; neither the resident nor anybody's words are in it."""

    machine_id = fields.String(allow_none=True)
    redemption = fields.Dict(allow_none=True)
    alerts = fields.List(fields.Dict())
    counts = fields.List(fields.Dict())


class ReportStory(Report):
    evidence = fields.Nested(Evidence)


class ReportEvidence(Evidence):
    number = fields.Integer()
    kind = fields.String()
    state = fields.String()


def _made(resident_id: str, body: dict[str, Any]) -> dict[str, Any]:
    files = tuple(body.pop("attachment_ids"))
    return change("make_report", vending.MakeReport(actor(), resident_id, **body, attachment_ids=files))


@reports.get("/me/redemptions")
@reports.answers(200, page_of(Candidate))
def list_own_redemptions() -> dict[str, Any]:
    """One's last redemptions, each with how it ended, and with the day of the answer where that is not known."""
    return page(vending.candidates(reading(), actor(), me()))


@reports.post("/me/reports")
@reports.takes(OwnReport)
@reports.answers(201, OwnReportView)
def create_own_report(body: dict[str, Any]) -> dict[str, Any]:
    """Say what went wrong."""
    return _made(me(), body)


@reports.get("/me/reports")
@reports.takes(Paging, location="query")
@reports.answers(200, page_of(OwnReportView))
def list_own_reports(wanted: dict[str, Any]) -> dict[str, Any]:
    """One's own reports, newest first."""
    return page(*vending.own(reading(), me(), read_cursor(wanted["cursor"]), wanted["limit"]))


@reports.post("/me/reports/<int:number>/reopen")
@reports.takes(Why)
@reports.answers(200, OwnReportView)
def reopen_own_report(body: dict[str, str], number: int) -> dict[str, Any]:
    """Ask for a second look at a refused report, once."""
    vending.require_own(reading(), me(), number)
    return change("reopen_report", vending.ReopenReport(actor(), number, body["reason"]))


@reports.get("/reports/candidates")
@reports.takes(ResidentWanted, location="query")
@reports.answers(200, page_of(Candidate))
def list_candidates(wanted: dict[str, str]) -> dict[str, Any]:
    """A person's last redemptions, to find the one that they speak of."""
    return page(vending.candidates(reading(), actor(), wanted["resident_id"]))


@reports.post("/reports")
@reports.takes(NewReport)
@reports.answers(201, Report)
def create_report(body: dict[str, Any]) -> dict[str, Any]:
    """Take down what a resident says went wrong."""
    return _made(body.pop("resident_id"), body)


@reports.get("/reports")
@reports.takes(ReportsWanted, location="query")
@reports.answers(200, page_of(Report))
def list_reports(wanted: dict[str, Any]) -> dict[str, Any]:
    """Reports in one's scope, newest first."""
    today = parts().clock().astimezone(parts().vending.rules.zone).date()
    return page(
        *vending.page(
            reading(),
            actor(),
            state=wanted["state"],
            resident_id=wanted["resident_id"],
            overdue_on=today if wanted["overdue"] else None,
            after=read_cursor(wanted["cursor"]),
            limit=wanted["limit"],
        )
    )


@reports.get("/reports/<int:number>")
@reports.answers(200, ReportStory)
def get_report(number: int) -> dict[str, Any]:
    """One report, and beside it what the machine showed."""
    return vending.report(reading(), actor(), number)


@reports.get("/reports/<int:number>/evidence")
@reports.answers(200, ReportEvidence)
def get_evidence(number: int) -> dict[str, Any]:
    """What the machine showed, without the resident: for those who run machines."""
    return vending.evidence(reading(), actor(), number)


@reports.post("/reports/<int:number>/decide")
@reports.takes(ReportDecision)
@reports.answers(200, Report)
def decide_report(body: dict[str, Any], number: int) -> dict[str, Any]:
    """Give the points back, or refuse with a reason."""
    return change("decide_report", vending.DecideReport(actor(), number, **body), key_required=True)


@reports.post("/reports/<int:number>/reopen")
@reports.takes(Why)
@reports.answers(200, Report)
def reopen_report(body: dict[str, str], number: int) -> dict[str, Any]:
    """Have a refused report looked at once more, for the resident."""
    return change("reopen_report", vending.ReopenReport(actor(), number, body["reason"]))

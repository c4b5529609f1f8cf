"""Exports and the yearly report, as CSV or XLSX files; the report as PDF too."""

from datetime import date
from typing import Any

from flask import Response
from marshmallow import fields, validate

from jishan_server.api.asking import actor, language, note_access, parts
from jishan_server.api.blueprints import Blueprint
from jishan_server.api.imports import file_answer
from jishan_server.api.prints import pdf
from jishan_server.api.schemas import Day, Strict, an_id
from jishan_server.errors import DomainError
from jishan_server.organizations.tree import organization
from jishan_server.printing.yearly import YearlyReport, yearly_report
from jishan_server.reading import reading
from jishan_server.sheets.writing import MEDIA_TYPES, Format, write
from jishan_server.volunteering import exports as exporting
from jishan_server.volunteering import yearly

exports = Blueprint("exports", "Tables to take away: CSV, XLSX")


class ExportWanted(Strict):
    organization_id = an_id(required=True)
    first_day = Day(load_default=None)
    last_day = Day(load_default=None)
    resident_id = an_id(load_default=None, metadata={"description": "Of a statement."})


class ReportWanted(Strict):
    organization_id = an_id(required=True)
    year = fields.Integer(required=True, validate=validate.Range(2000, 2100))
    known_on = Day(load_default=None)
    later = fields.Boolean(load_default=False, metadata={"description": "What came later, in columns of its own."})


@exports.get("/exports/<id:what>.<id:format>")
@exports.takes(ExportWanted, location="query")
@exports.answers(200)
def get_export(wanted: dict[str, Any], what: str, format: str) -> Response:
    """people, service-records, credits, attendance or statement, as csv or xlsx; only of who agreed."""
    days = {name: date.fromisoformat(wanted[name]) if wanted[name] else None for name in ("first_day", "last_day")}
    asked = exporting.ExportWanted(wanted["organization_id"], **days, resident_id=wanted["resident_id"])
    table = exporting.export(reading(), actor(), what, asked, parts().vending.rules.zone)
    answer, count = _file(table, what, format)
    note_access("export", wanted["resident_id"], people=count)
    return answer


@exports.get("/reports/yearly.<id:format>")
@exports.takes(ReportWanted, location="query")
@exports.answers(200)
def get_yearly_report(wanted: dict[str, Any], format: str) -> Response:
    """A year: people (人数), attendances (人次), time, as known at the end of a day (today if none is given)."""
    zone = parts().vending.rules.zone
    today = parts().clock().astimezone(zone).date()
    known_on = date.fromisoformat(wanted["known_on"]) if wanted["known_on"] else today
    asked = yearly.ReportWanted(wanted["organization_id"], wanted["year"], known_on, wanted["later"])
    table = yearly.report(reading(), actor(), asked, zone)
    if format == "pdf":
        return _printed(table, asked)
    return _file(table, f"yearly-{wanted['year']}-{known_on}", format)[0]


def _printed(table: exporting.Table, asked: yearly.ReportWanted) -> Response:
    node = organization(reading(), asked.organization_id)["name"]
    rows = [[str(cell) for cell in row] for row in table.rows]
    known_on = asked.known_on.isoformat()
    report = YearlyReport(asked.year, known_on, node, table.header, rows, parts().clock())
    name = f"{asked.year}-{known_on}"
    chosen = language()
    return pdf(lambda: yearly_report(report, chosen), f"yearly-{name}", f"志愿服务年度报告-{node}-{name}")


def _file(table: exporting.Table, name: str, format: str) -> tuple[Response, int]:
    """The table as a file, and how many rows it has."""
    if format not in MEDIA_TYPES:
        raise DomainError("not_found")
    chosen: Format = "csv" if format == "csv" else "xlsx"
    rows = list(table.rows)
    return file_answer(f"{name}.{chosen}", chosen, write(chosen, table.header, rows, table.name)), len(rows)

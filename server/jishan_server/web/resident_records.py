"""A resident's hours, apart from points: service records, what is wrong with them, and certificates of them."""

from typing import Any

from flask import Response, render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from jishan_server.api.asking import actor, change, parts
from jishan_server.api.paging import page, read_cursor
from jishan_server.api.prints import pdf
from jishan_server.errors import DomainError
from jishan_server.people.one_person import records_of
from jishan_server.printing import certificate as certificate_paper
from jishan_server.reading import reading
from jishan_server.volunteering import appeals, certificates, credits, service_records
from jishan_server.web.ground import done, for_residents, language, on, pages, resident_id, today, zone
from jishan_server.web.resident_forms import ON_A_PAGE, asked, day_of, reason_of

resident_records = pages("resident_records", "/my")


@resident_records.get("/hours")
@for_residents
def hours_page() -> ResponseReturnValue:
    """How long I have served, and each record of it."""
    id, after = resident_id(), read_cursor(request.args.get("cursor"))
    found = page(*service_records.page(reading(), actor(), id, after, ON_A_PAGE))
    return render_template(
        "resident/hours.html",
        minutes=service_records.total_minutes(reading(), id),
        this_year=service_records.total_minutes(reading(), id, today().replace(month=1, day=1)),
        records=found["items"],
        next_cursor=found["next_cursor"],
    )


@resident_records.route("/credits/<id:credit_id>/appeal", methods=["GET", "POST"])
@for_residents
def appeal(credit_id: str) -> ResponseReturnValue:
    """Ask to look again at what was refused or taken back, or to correct the time of what is final."""
    credit = credits.one(reading(), credit_id)
    if credit["resident_id"] not in records_of(reading(), resident_id()):
        raise DomainError("credit_unknown", id=credit_id)
    is_correction = credit["state"] == "final"

    def file() -> ResponseReturnValue:
        wanted = _minutes() if is_correction else None
        made = change("file_appeal", appeals.FileAppeal(actor(), credit_id, reason_of(), wanted))
        return done(_("收到了，%(day)s前答复您。", day=on(made["due_day"])), "pages_resident_records.list_appeals")

    return asked("resident/appeal.html", file, lambda: {"credit": credit, "is_correction": is_correction})


@resident_records.get("/appeals")
@for_residents
def list_appeals() -> ResponseReturnValue:
    """My appeals and corrections: where each stands, and until when it is answered."""
    after = read_cursor(request.args.get("cursor"))
    found, last = appeals.appeals_page(
        reading(), resident_id=resident_id(), today=today(), after=after, limit=ON_A_PAGE
    )
    known = credits.credits_by_id(reading(), [one["credit_id"] for one in found])
    shown = page([one | {"credit": known[one["credit_id"]]} for one in found], last)
    return render_template("resident/appeals.html", items=shown["items"], next_cursor=shown["next_cursor"])


@resident_records.route("/certificates", methods=["GET", "POST"])
@for_residents
def certificates_page() -> ResponseReturnValue:
    """My certificates, and a new one of all records or of a span of days."""

    def issue() -> ResponseReturnValue:
        first, last = (day_of(request.form.get(name)) for name in ("first_day", "last_day"))
        wanted = (None if day is None else day.isoformat() for day in (first, last))
        made = change("issue_certificate", certificates.IssueCertificate(actor(), resident_id(), *wanted))
        words = _("证明开好了，编号%(number)s，可以下载。", number=made["number"])
        return done(words, "pages_resident_records.certificates_page")

    return asked(
        "resident/certificates.html",
        issue,
        lambda: {
            "items": certificates.of_resident(reading(), actor(), resident_id()),
            "minutes": service_records.total_minutes(reading(), resident_id()),
            "site_url": parts().config.site_url,
        },
    )


@resident_records.get("/certificates/<id:number>.pdf")
@for_residents
def certificate_pdf(number: str) -> Response:
    """A certificate as a file."""
    document = certificates.document(reading(), actor(), number, parts().config.site_url, zone())
    name = f"志愿服务记录证明-{number}"
    return pdf(lambda: certificate_paper.certificate(document, language()), f"certificate-{number}", name)


def _minutes() -> int:
    """Hours and minutes of two fields as minutes; refusal: minutes_invalid."""
    typed: list[Any] = [request.form.get(name, "").strip() or "0" for name in ("hours", "minutes")]
    if not all(part.isascii() and part.isdigit() and len(part) <= 4 for part in typed):
        raise DomainError("minutes_invalid")
    return int(typed[0]) * 60 + int(typed[1])

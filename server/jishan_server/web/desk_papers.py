"""What the desk prints, as PDF: notice sheet, poster, sheet to sign, passbook page, card, certificate, why not."""

from flask import Response, render_template, request
from flask.typing import ResponseReturnValue

from jishan_server import attachments
from jishan_server.api.asking import actor, note_access, parts
from jishan_server.api.attachments import ENDINGS
from jishan_server.api.prints import pdf
from jishan_server.organizations.calendar import parse_day
from jishan_server.printing.attendance import attendance_sheet
from jishan_server.printing.certificate import certificate
from jishan_server.printing.explained import why_not
from jishan_server.printing.notices import notice_sheet, poster
from jishan_server.printing.passbook import cards, passbook
from jishan_server.reading import reading
from jishan_server.volunteering import certificates, papers
from jishan_server.web.desk_ground import desk, nodes
from jishan_server.web.ground import for_staff, language, zone


@desk.get("/papers", endpoint="papers")
@for_staff
def paper() -> ResponseReturnValue:
    """Which paper, of which estate."""
    return render_template("desk/papers.html", estates=nodes())


@desk.get("/papers/notice/<id:estate_id>.pdf")
@for_staff
def notice_paper(estate_id: str) -> Response:
    """The public notice of an estate, for its board."""
    where, telephone = request.args.get("where") or None, request.args.get("telephone") or None
    sheet = papers.notice_sheet(reading(), actor(), estate_id, where, telephone, parts().clock(), zone())
    return pdf(lambda: notice_sheet(sheet, language()), "notice", f"公示-{sheet.estate}-{sheet.printed_day}")


@desk.get("/activities/<id:activity_id>/poster.pdf")
@for_staff
def poster_paper(activity_id: str) -> Response:
    """The poster of a published activity."""
    found = papers.poster(reading(), actor(), activity_id, parts().config.site_url, parts().clock(), zone(), language())
    return pdf(lambda: poster(found, language()), "poster", f"海报-{found.title}")


@desk.get("/sessions/<id:session_id>/sheet.pdf")
@for_staff
def sheet_paper(session_id: str) -> Response:
    """The sheet to sign."""
    sheet = papers.attendance_sheet(
        reading(), actor(), session_id, parts().config.site_url, parts().clock(), zone(), language()
    )
    note_access("sheet", people=len(sheet.people))
    return pdf(lambda: attendance_sheet(sheet, language()), "sheet", f"签到表-{sheet.title}-{sheet.code}")


@desk.get("/people/<id:resident_id>/passbook.pdf")
@for_staff
def passbook_paper(resident_id: str) -> Response:
    """Balance and last entries in large type."""
    note_access("passbook", resident_id)
    book = papers.passbook(reading(), actor(), resident_id, parts().clock(), zone())
    return pdf(lambda: passbook(book, language()), "passbook", f"积分存折-{book.name}-{book.printed_day}")


@desk.get("/people/<id:resident_id>/card.pdf")
@for_staff
def card_paper(resident_id: str) -> Response:
    """A card with the member number as digits and as a code."""
    note_access("card", resident_id)
    card = papers.card(reading(), actor(), resident_id)
    return pdf(lambda: cards([card], language(), parts().clock()), "cards", "志愿者卡")


@desk.get("/people/<id:resident_id>/why-not.pdf")
@for_staff
def why_not_paper(resident_id: str) -> Response:
    """Why there are no points, on a page to take home."""
    first, last = (parse_day(request.args.get(name, "")) for name in ("first_day", "last_day"))
    note_access("why_not", resident_id)
    found = papers.why_not(reading(), actor(), resident_id, first, last, parts().clock(), zone(), language())
    return pdf(lambda: why_not(found, language()), "why-not", f"积分说明-{found.name}-{found.last_day}")


@desk.get("/certificates/<id:number>.pdf")
@for_staff
def certificate_paper(number: str) -> Response:
    """A certificate as it is printed."""
    document = certificates.document(reading(), actor(), number, parts().config.site_url, zone())
    return pdf(lambda: certificate(document, language()), f"certificate-{number}", f"志愿服务证书-{number}")


@desk.get("/files/<id:attachment_id>")
@for_staff
def file(attachment_id: str) -> Response:
    """A photo or paper that belongs to a case."""
    content_type, content = attachments.attachment(reading(), actor(), attachment_id)
    answer = Response(content, content_type=content_type)
    place = "attachment" if content_type == "application/pdf" else "inline"
    answer.headers["Content-Disposition"] = f'{place}; filename="{attachment_id}.{ENDINGS[content_type]}"'
    return answer

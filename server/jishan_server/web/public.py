"""Pages for everybody, without a login: the public notice, where machines are, and whether a certificate holds."""

from typing import Final

from flask import redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from jishan_protocol import personal_codes
from jishan_server.api.asking import actor, caller, change
from jishan_server.api.paging import page, read_cursor
from jishan_server.errors import DomainError
from jishan_server.organizations.tree import organization
from jishan_server.people.residents import estate_of
from jishan_server.people.sessions import Session
from jishan_server.printing.words import day, say
from jishan_server.reading import reading
from jishan_server.vending import finding
from jishan_server.volunteering import notice as volunteering
from jishan_server.volunteering.certificates import PATH, check
from jishan_server.web.ground import done, for_residents, language, pages, resident_id, zone
from jishan_server.web.resident_forms import ON_A_PAGE, asked, one_line, reason_of, refusal

public = pages("public")

LONGEST: Final = 60
"""Of what is typed into the one field of a search."""


@public.get("/machines")
def machines() -> ResponseReturnValue:
    """Where machines are, what they have, and whether they sell now."""
    name = one_line(request.args.get("name", ""))[:LONGEST]
    return render_template(
        "public/machines.html", items=finding.around(reading(), name=name), name=name, most=finding.MAX_MACHINES
    )


@public.get("/notice")
def own_notice() -> ResponseReturnValue:
    """To the notice of one's own estate."""
    return redirect(url_for("pages_public.notice", estate_id=estate_of(reading(), resident_id())))


@public.get("/notice/<id:estate_id>")
def notice(estate_id: str) -> ResponseReturnValue:
    """What is about to become final in an estate: masked names, building only."""
    after = read_cursor(request.args.get("cursor"))
    found = page(*volunteering.notices(reading(), estate_id, zone(), after, ON_A_PAGE))
    return render_template(
        "public/notice.html",
        estate=organization(reading(), estate_id),
        items=found["items"],
        next_cursor=found["next_cursor"],
        may_object=_is_resident(),
    )


@public.route("/notice/<id:estate_id>/object/<id:credit_id>", methods=["GET", "POST"])
@for_residents
def objection(estate_id: str, credit_id: str) -> ResponseReturnValue:
    """Object to something in the notice: it is held until somebody has looked into it."""

    def file() -> ResponseReturnValue:
        change("file_objection", volunteering.FileObjection(actor(), credit_id, reason_of()))
        return done(_("收到了。核实期间这一条暂不生效，结果会通知您。"), "pages_public.notice", estate_id=estate_id)

    def shown() -> dict[str, object]:
        return {"estate": organization(reading(), estate_id), "one": _shown(estate_id, credit_id)}

    return asked("public/objection.html", file, shown)


@public.get("/p/<string(maxlength=40):digits>")
def personal_code(digits: str) -> ResponseReturnValue:
    """A resident's personal code, seen by a camera that is no machine's: it leads to the page that shows it."""
    return redirect(url_for("pages_resident_phone.code"))


@public.get(f"/{PATH}", defaults={"number": None})
@public.get(f"/{PATH}/<string(maxlength=60):number>")
def certificate(number: str | None) -> ResponseReturnValue:
    """What anybody may know of a certificate's number, or a field to type one."""
    typed = one_line(request.args.get("number", "") if number is None else number)[:LONGEST]
    if typed.isascii() and typed.isdigit() and len(typed) == personal_codes.DIGITS:
        return redirect(url_for("pages_resident_phone.code"))
    found, problem, status = None, "", 200
    if typed:
        try:
            found = check(reading(), typed)
        except DomainError as error:
            problem, status = refusal(error), error.status
    period = None
    if found is not None:
        # In the words of the paper, with which it is compared.
        first, last = (day(language(), found[name]) for name in ("first_day", "last_day"))
        period = say(language(), "span", first=first, last=last)
    return render_template("public/certificate.html", found=found, period=period, problem=problem, typed=typed), status


def _is_resident() -> bool:
    """Whether a resident is logged in who looks at a page that everybody may see."""
    try:
        return isinstance(caller(), Session)
    except DomainError:
        return False


def _shown(estate_id: str, credit_id: str) -> dict[str, object] | None:
    """One line of the notice, as everybody sees it; None where it is not among those that end first."""
    found, _after = volunteering.notices(reading(), estate_id, zone(), None, ON_A_PAGE * 10)
    return next((one for one in found if one["credit_id"] == credit_id), None)

"""A resident's phone at a machine: the code for its scanner, and choosing on the phone after scanning its screen.

The phone makes no machine do anything. It opens the code on the screen, once; the browser that opened it keeps that in
its signed cookie, through a first login too. The choice is left for the machine, which asks for it; the page then looks
again and again until the redemption is over, and says how it ended.
"""

from typing import Any, Final

import segno
from flask import redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from markupsafe import Markup

from jishan_protocol import personal_codes
from jishan_server.api.asking import actor, change, fresh_salt, operation_id, parts
from jishan_server.errors import DomainError
from jishan_server.people.codes import IssueCode
from jishan_server.people.hashing import token_hash
from jishan_server.reading import reading
from jishan_server.vending import machine_claims
from jishan_server.vending.reading import own_redemption
from jishan_server.volunteering import statements
from jishan_server.web.ground import for_residents, pages, resident_id
from jishan_server.web.resident_forms import asked, id_of

resident_phone = pages("resident_phone", "/my")
screens = pages("screens")

CLAIM: Final = "opened_claim"
"""Where the cookie keeps what this browser opened: [claim, machine, code]. A login keeps it, too."""
LOOK_AGAIN_S: Final = 2
"""How often the page asks how it stands, while something still moves."""


@resident_phone.get("/code")
@for_residents
def code() -> ResponseReturnValue:
    """My code for the machine's scanner: a new one each time, and works once."""
    id = operation_id()
    drawn = personal_codes.code_of(parts().hashing.drawn("personal code", id))
    made = change("issue_code", IssueCode(resident_id(), token_hash(drawn)), id=id)
    address = f"{parts().config.site_url}/{personal_codes.PATH}/{drawn}"
    picture = segno.make(address, error="m").svg_inline(scale=1, border=4, omitsize=True, svgclass="qr", lineclass=None)
    return render_template(
        "resident/code.html",
        # Made of our own address alone.
        picture=Markup(picture),  # noqa: S704
        digits=" ".join(drawn[place : place + 3] for place in range(0, len(drawn), 3)),
        valid_s=made["valid_s"],
        available=statements.balance(reading(), actor(), resident_id())["available_points"],
    )


@screens.get("/m/<id:machine_id>/<id:screen_code>")
def scan(machine_id: str, screen_code: str) -> ResponseReturnValue:
    """A machine's screen was scanned: open it for this browser, and go on to the login or to the choice."""
    known = session.get(CLAIM)
    if known is None or known[1:] != [machine_id, screen_code]:
        machine_claims.require_screen_code(
            reading(), parts().vending.keys, machine_id, screen_code, now=parts().clock()
        )
        wanted = machine_claims.OpenClaim(fresh_salt(), machine_id, screen_code)
        change("open_claim", wanted, id=wanted.claim_id)
        session[CLAIM] = [wanted.claim_id, machine_id, screen_code]
    return redirect(url_for("pages_resident_phone.choose"), 303)


@resident_phone.route("/choose", methods=["GET", "POST"])
@for_residents
def choose() -> ResponseReturnValue:
    """What the machine has; then one of it, to confirm; then the machine asks for it."""
    known = session.get(CLAIM)
    if known is None:
        raise DomainError("scan_unknown")
    claim_id: str = known[0]

    def offer() -> ResponseReturnValue:
        numbers = [_number(name) for name in ("selection", "points", "planogram_version")]
        selection, points, version = numbers
        wanted = machine_claims.OfferClaim(
            resident_id(), claim_id, selection, id_of("product_id") or "", points, version
        )
        change("offer_claim", wanted)
        return redirect(url_for("pages_resident_phone.watch", claim_id=claim_id), 303)

    def shown() -> dict[str, Any]:
        found = machine_claims.opened(reading(), claim_id)
        chosen = request.values.get("selection", "")
        return {
            "found": found,
            "chosen": next((slot for slot in found["slots"] if str(slot["selection"]) == chosen), None),
            "available": statements.balance(reading(), actor(), resident_id())["available_points"],
        }

    return asked("resident/choose.html", offer, shown)


@resident_phone.get("/watch/<id:claim_id>")
@for_residents
def watch(claim_id: str) -> ResponseReturnValue:
    """What becomes of my choice: offered, under way, came out, or nothing came out and the points are back."""
    claim = machine_claims.claim(reading(), resident_id(), claim_id, parts().clock())
    redemption = None
    if claim["redemption_id"] is not None:
        redemption = own_redemption(reading(), resident_id(), claim["redemption_id"])
    if redemption is None:
        moves = claim["state"] != "ended"
    else:
        moves = not (redemption["is_over"] or redemption["is_being_checked"])
    return render_template(
        "resident/watch.html",
        claim=claim,
        redemption=redemption,
        heading=_heading(claim, redemption),
        look_again_s=LOOK_AGAIN_S if moves else None,
        available=statements.balance(reading(), actor(), resident_id())["available_points"],
    )


def _heading(claim: dict[str, Any], redemption: dict[str, Any] | None) -> str:
    """How it stands, in a few words."""
    nothing = str(_("没有兑换，没有扣分"))
    if redemption is None:
        return nothing if claim["state"] == "ended" else str(_("正在告诉机器"))
    if redemption["is_being_checked"]:
        return str(_("正在核实"))
    known: dict[str, str] = {
        "requested": _("正在核对积分"),
        "held": _("正在出货"),
        "vending": _("正在出货"),
        "captured": _("已出货"),
        "voided": _("没有出货，积分已退回"),
        "reversed": _("积分已退回"),
    }
    return known.get(redemption["state"], nothing)


def _number(name: str) -> int:
    """A number that the page itself put into its form; refusal: scan_unknown for anything else."""
    typed = request.form.get(name, "")
    if not (typed.isascii() and typed.isdigit() and len(typed) <= 15):
        raise DomainError("choice_missing")
    return int(typed)

"""A resident's inbox, with "this is not me", and how they want to be told."""

import json
from typing import Final

from flask import render_template, request, session
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from jishan_server.api.asking import actor, change, parts
from jishan_server.api.paging import page, read_cursor
from jishan_server.people import messages as inbox
from jishan_server.people import preferences as choosing
from jishan_server.reading import reading
from jishan_server.web.ground import done, for_residents, language, pages, resident_id
from jishan_server.web.resident_forms import ON_A_PAGE, asked, text_of

LEADS: Final = {
    "certificate_issued": "pages_resident_records.certificates_page",
    "credit_corrected": "pages_resident_records.hours_page",
    "credit_hours_reversed": "pages_resident_points.why_no_points",
    "credit_objected": "pages_resident_points.why_no_points",
    "credit_rejected": "pages_resident_points.why_no_points",
    "credit_reversed": "pages_resident_points.why_no_points",
    "credit_waiting_consent": "pages_resident_account.consent",
    "appeal_accepted": "pages_resident_records.list_appeals",
    "appeal_refused": "pages_resident_records.list_appeals",
    "points_expiring": "pages_resident_points.explain",
    "redemption_done": "pages_resident_machines.list_reports",
    "redemption_in_doubt": "pages_resident_machines.list_reports",
    "report_given_back": "pages_resident_machines.list_reports",
    "report_received": "pages_resident_machines.list_reports",
    "report_refused": "pages_resident_machines.list_reports",
    "session_changed": "pages_resident_activities.list_activities",
    "sign_up_moved_up": "pages_resident_activities.list_activities",
}
"""Where a message's kind leads on: to the reason, to the appeal, to what is to be done."""

resident_messages = pages("resident_messages", "/my")


@resident_messages.get("/messages")
@for_residents
def list_messages() -> ResponseReturnValue:
    """What I was told, newest first, in the language of the page."""
    before = read_cursor(request.args.get("cursor"))
    found, further = inbox.inbox(reading(), actor(), resident_id(), before, ON_A_PAGE)
    # The record says a person's own language; the page is read in the one that was chosen for it.
    said = [one | {"text": inbox.text_of(one["kind"], json.dumps(one["fields"]), language())} for one in found]
    shown = page(said, further)
    return render_template(
        "resident/messages.html",
        items=shown["items"],
        next_cursor=shown["next_cursor"],
        unread=inbox.unread(reading(), resident_id()),
        leads=LEADS,
    )


@resident_messages.post("/messages/<int:number>/read")
@for_residents
def read(number: int) -> ResponseReturnValue:
    """I have read it."""
    change("read_message", inbox.ReadMessage(actor(), resident_id(), number))
    return done(_("已标为已读。"), "pages_resident_messages.list_messages")


@resident_messages.post("/messages/<int:number>/dispute")
@for_residents
def dispute(number: int) -> ResponseReturnValue:
    """This is not me: the staff look into it and answer."""
    change("dispute_message", inbox.DisputeMessage(actor(), resident_id(), number, text_of("words")))
    return done(_("收到了，工作人员会核实，然后答复您。"), "pages_resident_messages.list_messages")


@resident_messages.route("/preferences", methods=["GET", "POST"])
@for_residents
def preferences() -> ResponseReturnValue:
    """On which channels I am told, and in which language."""
    id = resident_id()

    def choose() -> ResponseReturnValue:
        chosen = tuple(sorted(set(request.form.getlist("channels"))))
        wanted = "en" if request.form.get("language") == "en" else "zh"
        change("choose_channels", choosing.ChooseChannels(actor(), id, chosen, wanted))
        session["language"] = wanted
        return done(_("已保存。"), "pages_resident_messages.preferences")

    return asked(
        "resident/preferences.html",
        choose,
        lambda: {"chosen": choosing.preferences(reading(), actor(), id, parts().config.channels)},
    )

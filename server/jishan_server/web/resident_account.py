"""A resident's own account: what is kept, consent, who looked, a copy of everything, logins, cards, the end of it."""

import json

from flask import Response, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from jishan_server.api.asking import actor, caller, change, fresh_salt, parts
from jishan_server.api.paging import page, read_cursor
from jishan_server.errors import DomainError
from jishan_server.people import consents, merging, privacy, sessions
from jishan_server.people import residents as people
from jishan_server.people.sessions import Session
from jishan_server.reading import reading
from jishan_server.volunteering import statements
from jishan_server.web.ground import done, for_residents, pages, resident_id, today
from jishan_server.web.resident_forms import ON_A_PAGE, asked, reason_of, text_of

resident_account = pages("resident_account", "/my")


@resident_account.route("/account", methods=["GET", "POST"])
@for_residents
def account() -> ResponseReturnValue:
    """What is kept of me; phone and e-mail can be changed here."""
    id = resident_id()

    def save() -> ResponseReturnValue:
        changes = {name: text_of(name, longest) or None for name, longest in (("phone", 20), ("email", 100))}
        change("edit_resident", people.EditResident(actor(), id, changes))
        return done(_("已保存。"), "pages_resident_account.account")

    return asked("resident/account.html", save, lambda: {"person": people.resident(reading(), actor(), id)})


@resident_account.post("/cards/<id:card_id>/block")
@for_residents
def block_card(card_id: str) -> ResponseReturnValue:
    """My card is lost."""
    change("block_card", people.BlockCard(actor(), card_id, "lost"))
    return done(_("这张卡已停用，别人捡到也用不了。补卡请到小区服务点。"), "pages_resident_account.account")


@resident_account.route("/consent", methods=["GET", "POST"])
@for_residents
def consent() -> ResponseReturnValue:
    """The text that holds now, whether I agree, and everything that I said to it."""
    id = resident_id()

    def say() -> ResponseReturnValue:
        if "withdraw" in request.form:
            change("withdraw_consent", consents.WithdrawConsent(actor(), id, "phone"))
            return done(_("已撤回同意。以后不再新增记录，现有积分还可以用。"), "pages_resident_account.consent")
        # What was read must be what holds now.
        if str(consents.text_now(reading(), parts().clock())["version"]) != request.form.get("version"):
            raise DomainError("consent_text_changed")
        change("give_consent", consents.GiveConsent(actor(), id, "phone"))
        return done(_("谢谢，已记下您的同意。"), "pages_resident_account.consent")

    return asked(
        "resident/consent.html",
        say,
        lambda: {
            "consent_state": consents.state(reading(), id),
            "text": consents.text_now(reading(), parts().clock()),
            "history": consents.history(reading(), id),
        },
    )


@resident_account.get("/accesses")
@for_residents
def accesses() -> ResponseReturnValue:
    """Who of the staff looked at me, newest first."""
    before = read_cursor(request.args.get("cursor"))
    found = page(*privacy.accesses(reading(), actor(), resident_id(), before, ON_A_PAGE))
    return render_template("resident/accesses.html", items=found["items"], next_cursor=found["next_cursor"])


@resident_account.get("/export.json")
@for_residents
def export() -> Response:
    """Everything that is kept of me, as one file."""
    found = privacy.export(reading(), actor(), resident_id(), parts().clock())
    answer = Response(json.dumps(found, ensure_ascii=False, indent=1), content_type="application/json; charset=utf-8")
    answer.headers["Content-Disposition"] = f'attachment; filename="my-data-{today().isoformat()}.json"'
    return answer


@resident_account.route("/sessions", methods=["GET", "POST"])
@for_residents
def logins() -> ResponseReturnValue:
    """Where I am logged in; end all but this one."""
    found = caller()
    assert isinstance(found, Session)

    def end() -> ResponseReturnValue:
        ended = change("end_other_sessions", sessions.EndOtherSessions(actor(), found.token_hash))["ended"]
        return done(_("已退出另外%(n)s处登录。", n=ended), "pages_resident_account.logins")

    return asked(
        "resident/sessions.html",
        end,
        lambda: {"items": sessions.sessions_of(reading(), found.resident_id, found.token_hash, parts().clock())},
    )


@resident_account.route("/close", methods=["GET", "POST"])
@for_residents
def close() -> ResponseReturnValue:
    """Close my account for good."""
    id = resident_id()

    def end() -> ResponseReturnValue:
        if "sure" not in request.form:
            raise DomainError("choice_missing")
        change("close_resident", merging.CloseResident(actor(), id, reason_of(), fresh_salt()))
        session.pop("token", None)
        return redirect(url_for("pages_resident_account.closed"), 303)

    return asked("resident/close.html", end, lambda: {"balance": statements.balance(reading(), actor(), id)})


@resident_account.get("/closed")
def closed() -> ResponseReturnValue:
    """The account is closed; nobody is logged in any more."""
    return render_template("resident/closed.html")

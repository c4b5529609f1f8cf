"""One's own account as a member of staff: the password, the second factor, where one is logged in."""

from typing import Final

import segno
from flask import render_template, request, session
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from markupsafe import Markup

from jishan_server.api.asking import actor, caller, change, operation_id, parts
from jishan_server.errors import DomainError
from jishan_server.people import second_factor, staff
from jishan_server.reading import reading
from jishan_server.web.ground import done, for_staff, lacks_second_factor, language, pages

account = pages("account", "/account", is_staff=True)

ENROLLING: Final = "second_factor"
"""Where the session keeps the enrolment that is under way."""


@account.get("")
@for_staff
def home() -> ResponseReturnValue:
    """What one may change about one's own account."""
    return _shown()


@account.post("/password")
@for_staff
def change_password() -> ResponseReturnValue:
    """Change one's own password; one's other sessions end."""
    old, new = request.form.get("old_password", ""), request.form.get("password", "")
    try:
        if new != request.form.get("again", ""):
            raise DomainError("passwords_differ")
        fits, stored = staff.prepare_password(reading(), parts().hashing, actor(), old)
        id = operation_id()
        hash = staff.hashed_password(parts().hashing, new, id)
        body = staff.ChangePassword(actor(), fits, hash, caller().token_hash, stored)
        change("change_password", body, id=id)
    except DomainError as error:
        return _shown(password_error=error)
    return done(_("密码已经改好，其他地方的登录都已退出。"), "pages_account.home")


@account.post("/second-factor")
@for_staff
def begin_second_factor() -> ResponseReturnValue:
    """Draw a secret and show it, to be read by an authenticator."""
    begun = change("begin_second_factor", second_factor.BeginSecondFactor(actor()))
    session[ENROLLING] = begun["totp_id"]
    return _shown()


@account.post("/second-factor/confirm")
@for_staff
def confirm_second_factor() -> ResponseReturnValue:
    """Show a first code: from now on one is asked for."""
    try:
        totp_id, step = _typed()
        change("confirm_second_factor", second_factor.ConfirmSecondFactor(actor(), totp_id or "", step))
    except DomainError as error:
        return _shown(code_error=error)
    session.pop(ENROLLING, None)
    return done(_("两步验证已经开启，下次登录要输入验证码。"), "pages_account.home")


@account.post("/second-factor/end")
@for_staff
def end_second_factor() -> ResponseReturnValue:
    """Ask for codes no more."""
    try:
        change("end_second_factor", second_factor.EndSecondFactor(actor(), actor(), _typed()[1]))
    except DomainError as error:
        return _shown(code_error=error)
    return done(_("两步验证已经关闭。"), "pages_account.home")


@account.post("/sessions/<session_id>/end")
@for_staff
def end_session(session_id: str) -> ResponseReturnValue:
    """Log out elsewhere."""
    change("end_session", staff.EndSession(actor(), session_id))
    return done(_("已经退出那里的登录。"), "pages_account.home")


def _typed() -> tuple[str | None, int | None]:
    return second_factor.typed(reading(), parts().hashing, actor(), request.form.get("code", ""), parts().clock())


def _shown(password_error: DomainError | None = None, code_error: DomainError | None = None) -> tuple[str, int]:
    person = staff.view(reading(), actor())
    secret, picture = "", Markup("")
    if not person["has_second_factor"] and (totp_id := session.get(ENROLLING)):
        secret = second_factor.secret_of(parts().hashing, totp_id)
        code = segno.make(second_factor.address_of(secret, person["login"], "Jishan"))
        picture = Markup(code.svg_inline(scale=5, border=2, svgclass="code"))  # noqa: S704 (made here)
    refusal = password_error or code_error
    page = render_template(
        "account.html",
        person=person,
        must=lacks_second_factor(actor()),
        secret=secret,
        picture=picture,
        sessions=staff.open_sessions(reading(), actor(), caller().token_hash, parts().clock()),
        password_error=password_error and password_error.text(language()),
        code_error=code_error and code_error.text(language()),
    )
    return page, 200 if refusal is None else refusal.status

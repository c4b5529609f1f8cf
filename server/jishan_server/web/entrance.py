"""The door: logging in and out, the language, large type. One page for residents, one for staff."""

import secrets
from datetime import timedelta
from typing import Any

from flask import redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue

from jishan_server.api.asking import actor, caller, change, parts
from jishan_server.api.auth import staff_attempt
from jishan_server.errors import DomainError
from jishan_server.people import sessions, staff
from jishan_server.people.hashing import token_hash
from jishan_server.people.sessions import RESIDENT_PREFIX, Session
from jishan_server.reading import reading
from jishan_server.web.ground import language, own_address, pages

entrance = pages("entrance")


@entrance.get("/")
def home() -> ResponseReturnValue:
    """To one's own first page, or to the login."""
    token = session.get("token")
    if not token:
        return redirect(url_for("pages_entrance.login"))
    return redirect(url_for("pages_resident.home" if token.startswith(RESIDENT_PREFIX) else "pages_desk.home"))


@entrance.route("/login", methods=["GET", "POST"])
def login() -> ResponseReturnValue:
    """A resident logs in with member number and PIN."""
    if request.method == "GET":
        return render_template("login.html", is_staff=False, error=None)
    number, pin = request.form.get("number", "").strip(), request.form.get("pin", "")
    found, pin_hash, fits = sessions.prepare_login(reading(), parts().hashing, number, pin)
    token = RESIDENT_PREFIX + secrets.token_urlsafe(32)
    expires_at = parts().clock() + timedelta(days=parts().config.resident_token_days)
    attempt = sessions.ResidentLogIn(found, fits, token_hash(token), expires_at, pin_hash)
    return _entered("resident_log_in", attempt, token, "pages_resident.home", is_staff=False)


@entrance.route("/staff/login", methods=["GET", "POST"])
def staff_login() -> ResponseReturnValue:
    """A member of staff logs in with login and password."""
    if request.method == "GET":
        return render_template("login.html", is_staff=True, error=None)
    name, password = request.form.get("login", "").strip().lower(), request.form.get("password", "")
    token = secrets.token_urlsafe(32)
    attempt = staff_attempt(name, password, request.form.get("code", ""), token)
    return _entered("log_in", attempt, token, "pages_desk.home", is_staff=True)


def _entered(kind: str, attempt: Any, token: str, where: str, is_staff: bool) -> ResponseReturnValue:
    try:
        change(kind, attempt, id=secrets.token_hex(16))
    except DomainError as error:
        words = error.text(language())
        return render_template("login.html", is_staff=is_staff, error=words), error.status
    # A new session for a new person: nothing of the one before stays, but how they like to read, and a code that was
    # scanned before the login.
    kept = {name: session[name] for name in ("language", "elder", "opened_code", "opened_claim") if name in session}
    session.clear()
    session.update(kept, token=token)
    session.permanent = not is_staff
    return redirect(own_address(request.form.get("next") or request.args.get("next"), url_for(where)), 303)


@entrance.post("/logout")
def logout() -> ResponseReturnValue:
    """End the session here and its token everywhere."""
    try:
        found = caller()
        if isinstance(found, Session):
            change("resident_log_out", sessions.ResidentLogOut(actor(), found.token_hash), id=secrets.token_hex(16))
        else:
            change("log_out", staff.LogOut(actor(), found.token_hash), id=secrets.token_hex(16))
    except DomainError:
        pass  # it had ended already
    session.pop("token", None)
    return redirect(url_for("pages_entrance.login"), 303)


@entrance.post("/reading")
def set_reading() -> ResponseReturnValue:
    """How one likes to read: the language, and large type with few choices."""
    if (wanted := request.form.get("language")) in ("zh", "en"):
        session["language"] = wanted
    if "elder" in request.form:
        session["elder"] = request.form["elder"] == "1"
    session.permanent = True
    return redirect(own_address(request.form.get("next"), url_for("pages_entrance.home")), 303)

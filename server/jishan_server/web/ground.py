"""What all pages share: language, who is logged in, forms that count once, failures as pages, headers.

- A page belongs to a blueprint made by `pages(...)`. It calls the same use cases as the API, through `api.asking`.
- Who is logged in stands in the signed session cookie, which holds the same token that the API takes; logging out
  anywhere ends it everywhere. The cookie is secure exactly when `public_url` is https.
- Every form carries a CSRF token, and `form_id`, which makes its operation idempotent: a second press of the button, or
  the form sent again after a lost signal, is answered as the first time.
- Nothing on a page comes from another host, and no script or style stands in the page itself.
"""

import hashlib
import secrets
from collections.abc import Callable
from datetime import date, datetime, timedelta
from functools import partial, wraps
from typing import Any, Final, ParamSpec, TypeVar
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import structlog
from flask import Blueprint, Flask, Response, flash, g, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_babel import format_date, format_datetime
from flask_babel import gettext as _
from flask_wtf.csrf import CSRFError, CSRFProtect
from werkzeug.exceptions import HTTPException

from jishan_server.api import refusals
from jishan_server.api.asking import PAGES, caller, is_page, parts
from jishan_server.db import DatabaseUnavailable
from jishan_server.errors import DomainError, Language
from jishan_server.organizations.roles import Permission
from jishan_server.parts import Parts
from jishan_server.people import staff
from jishan_server.people.sessions import Session
from jishan_server.reading import reading

log = structlog.get_logger(__name__)

LANGUAGES: Final = ("zh", "en")
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; media-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

P = ParamSpec("P")
R = TypeVar("R")

csrf = CSRFProtect()


def pages(name: str, url_prefix: str | None = None, *, is_staff: bool = False) -> Blueprint:
    """A blueprint of pages: its failures are pages too, and its forms are checked.

    `is_staff`: who is not logged in is sent to the login of staff, not of residents.
    """
    made = Blueprint(f"{PAGES}{name}", __name__, url_prefix=url_prefix)
    made.before_request(partial(_begin, "staff_login" if is_staff else "login"))
    made.register_error_handler(DomainError, refused)
    made.register_error_handler(CSRFError, _form_too_old)
    made.register_error_handler(HTTPException, failed)
    made.register_error_handler(DatabaseUnavailable, _unavailable)
    made.register_error_handler(Exception, _broken)
    return made


def _begin(login: str) -> None:
    g.login = f"pages_entrance.{login}"
    if (wanted := request.args.get("lang")) in LANGUAGES:
        session["language"] = wanted
    csrf.protect()


def language() -> Language:
    """The language that was chosen, else the browser's, else Chinese."""
    chosen = session.get("language") or request.accept_languages.best_match(LANGUAGES, "zh")
    return "en" if chosen == "en" else "zh"


def locale() -> str:
    """The same, as flask-babel names it."""
    return "en" if language() == "en" else "zh_Hans_CN"


def time_zone() -> str:
    """The scheme's time zone, as flask-babel takes it."""
    return parts().config.time_zone


def is_elder() -> bool:
    """Whether this browser was set to large type and few choices."""
    return bool(session.get("elder"))


def zone() -> ZoneInfo:
    """The scheme's time zone."""
    return ZoneInfo(time_zone())


def today() -> date:
    """The day it is where the scheme is."""
    return parts().clock().astimezone(zone()).date()


def at(value: str | None, form: str = "medium") -> str:
    """An instant of the API as a person reads it, in the scheme's zone; a dash for none."""
    return "—" if value is None else str(format_datetime(datetime.fromisoformat(value), form))


def on(value: str | date | None, form: str = "medium") -> str:
    """A day as a person reads it; a dash for none. An instant is taken for its day in the scheme's zone."""
    if value is None:
        return "—"
    if isinstance(value, str):
        value = datetime.fromisoformat(value).astimezone(zone()).date() if "T" in value else date.fromisoformat(value)
    return str(format_date(value, form))


def hours(minutes: int) -> str:
    """Minutes as hours and minutes: 90 is 1 小时 30 分钟."""
    whole, rest = divmod(minutes, 60)
    parts_of = [_("%(n)d 小时", n=whole)] if whole else []
    if rest or not whole:
        parts_of.append(_("%(n)d 分钟", n=rest))
    return " ".join(parts_of)


def resident_id() -> str:
    """The resident who is logged in; refusals send others to the login."""
    found = caller()
    if not isinstance(found, Session):
        raise DomainError("forbidden", permission="resident")
    return found.resident_id


def for_residents(view: Callable[P, R]) -> Callable[P, R]:
    """Let only a logged-in resident see a page."""

    @wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        resident_id()
        return view(*args, **kwargs)

    return guarded


def for_staff(view: Callable[P, R]) -> Callable[P, R]:
    """Let only a logged-in member of staff see a page; what they may do there, the use cases decide.

    Whose role asks for a second factor is led to where one sets it up, before anything else.
    """

    @wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        found = caller()
        if isinstance(found, Session):
            raise DomainError("forbidden", permission="staff")
        if request.blueprint != f"{PAGES}account" and lacks_second_factor(found.id):
            return redirect(url_for("pages_account.home"), 303)  # type: ignore[return-value]
        return view(*args, **kwargs)

    return guarded


def lacks_second_factor(staff_id: str) -> bool:
    """Whether one of an account's roles asks for a second factor that the account does not have."""
    asking = {one.strip() for one in parts().config.second_factor_roles.split(",")} - {""}
    if not asking:
        return False
    found = staff.view(reading(), staff_id)
    return not found["has_second_factor"] and any(one["role"] in asking for one in found["roles"])


def may(permission: Permission) -> bool:
    """Whether the member of staff who looks holds this permission anywhere: what is of no use is not shown."""
    found = caller()
    return not isinstance(found, Session) and permission.value in staff.view(reading(), found.id)["permissions"]


def done(words: str, where: str, **values: Any) -> Response:
    """After a form: say what was done, and go to a page."""
    flash(words, "success")
    return redirect(url_for(where, **values), 303)  # type: ignore[return-value]


def own_address(wanted: str | None, otherwise: str) -> str:
    """An address on this server to go on to; anything else is not followed."""
    if wanted and wanted.startswith("/") and not wanted.startswith("//") and "\\" not in wanted:
        found = urlsplit(wanted)
        if not found.scheme and not found.netloc:
            return wanted
    return otherwise


def refused(error: DomainError) -> ResponseReturnValue:
    """A refusal as a page: what happened, that nothing was lost, and the way on."""
    refusals.note(error)
    parts().metrics.refusals.labels(error.code).inc()
    if error.code in ("token_invalid", "token_expired"):
        session.pop("token", None)
        asked = request.full_path if request.method == "GET" else None
        return redirect(url_for(g.login, next=asked and asked.rstrip("?")), 303)
    return render_template("failure.html", words=error.text(language()), code=error.code), error.status


def failed(error: HTTPException) -> ResponseReturnValue:
    """What Flask refuses, as a page."""
    if error.code is None or error.code < 400:
        return error
    codes = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large", 429: "rate_limited"}
    found = DomainError(codes.get(error.code, "bad_request" if error.code < 500 else "internal_error"), limit=0)
    return render_template("failure.html", words=found.text(language()), code=found.code), error.code


def _form_too_old(error: CSRFError) -> ResponseReturnValue:
    return render_template("failure.html", words=DomainError("form_too_old").text(language()), code="form_too_old"), 400


def _unavailable(error: DatabaseUnavailable) -> ResponseReturnValue:
    log.error("database_unavailable", reason=error.reason)
    return refused(DomainError("unavailable"))


def _broken(error: Exception) -> ResponseReturnValue:
    """Ours: logged whole, answered without a word of it."""
    log.exception("request_broke", exc_info=error)
    return refused(DomainError("internal_error"))


def headers(response: Response) -> Response:
    """What every page and every file of the pages carries."""
    if is_page():
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["Referrer-Policy"] = "same-origin"
        response.headers["Permissions-Policy"] = "camera=(), microphone=(), geolocation=()"
        response.headers["Content-Language"] = "en" if language() == "en" else "zh-CN"
        response.headers["Vary"] = "Cookie, Accept-Language"
        if parts().config.public_url.startswith("https"):
            response.headers["Strict-Transport-Security"] = "max-age=31536000"
    return response


def context() -> dict[str, Any]:
    """What every template knows of its request."""
    return {"language": language(), "is_elder": is_elder()}


def form_id() -> str:
    """A fresh key for one sending of one form."""
    return secrets.token_hex(12)


def prepare(app: Flask) -> None:
    """Give an app what pages need."""
    found: Parts = app.extensions["jishan"]
    app.secret_key = hashlib.sha256(b"pages" + found.config.secret).digest()
    app.config.update(
        SESSION_COOKIE_NAME="jishan",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=found.config.public_url.startswith("https"),
        PERMANENT_SESSION_LIFETIME=timedelta(days=found.config.resident_token_days),
        WTF_CSRF_CHECK_DEFAULT=False,
        WTF_CSRF_TIME_LIMIT=None,
        # The referrer is checked by browsers over https; a proxy may speak http with us.
        WTF_CSRF_SSL_STRICT=False,
        BOOTSTRAP_SERVE_LOCAL=True,
    )
    csrf.init_app(app)
    # Globals, so that macros know them too.
    app.jinja_env.globals.update(at=at, on=on, hours=hours, form_id=form_id, may=may, Permission=Permission)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True

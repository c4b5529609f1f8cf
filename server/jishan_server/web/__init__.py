"""Pages for people: the same use cases as the API, in Chinese and English, on a phone and at a desk.

`ground` is what all share; each other module is one area. Nothing is fetched from another host, and no page needs a
script to be read.
"""

from flask import Blueprint, Flask, request
from flask.typing import ResponseReturnValue
from flask_bootstrap import Bootstrap5  # type: ignore[import-untyped]
from werkzeug.exceptions import NotFound

from jishan_server.api import failures
from jishan_server.web import ground
from jishan_server.web.account import account
from jishan_server.web.desk import desk
from jishan_server.web.entrance import entrance
from jishan_server.web.public import public
from jishan_server.web.resident import resident
from jishan_server.web.resident_account import resident_account
from jishan_server.web.resident_activities import arrivals, resident_activities
from jishan_server.web.resident_machines import resident_machines
from jishan_server.web.resident_messages import resident_messages
from jishan_server.web.resident_phone import resident_phone, screens
from jishan_server.web.resident_points import resident_points
from jishan_server.web.resident_records import resident_records
from jishan_server.web.texts import Languages

RESIDENTS = (
    resident,
    resident_points,
    resident_records,
    resident_activities,
    resident_messages,
    resident_machines,
    resident_phone,
    resident_account,
)
AREAS = (entrance, account, public, arrivals, screens, *RESIDENTS, desk)

files = Blueprint(
    "pages_files", __name__, static_folder="static", static_url_path="/static", template_folder="templates"
)


def register(app: Flask) -> None:
    """Give an app its pages."""
    ground.prepare(app)
    Languages(app, default_locale="zh_Hans_CN", locale_selector=ground.locale, timezone_selector=ground.time_zone)
    Bootstrap5(app)
    app.register_blueprint(files)
    for area in AREAS:
        app.register_blueprint(area)
    app.context_processor(ground.context)
    app.register_error_handler(NotFound, _no_such_page)
    app.after_request(ground.headers)


def _no_such_page(error: NotFound) -> ResponseReturnValue:
    """An address that is none: JSON below the API, else a page."""
    return failures.http(error) if request.path.startswith("/api/") else ground.failed(error)

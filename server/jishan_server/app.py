"""The web application: the JSON API, its documentation, health and metrics. `create_app` makes one from its parts.

Nothing is global: two apps in one process share neither database nor figures nor limits.
"""

import re
import time
import uuid
from collections.abc import Callable
from typing import Final

import structlog
from flask import Flask, Response, g, jsonify, request
from flask.typing import ResponseReturnValue
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from flask_swagger_ui import get_swaggerui_blueprint
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.routing import BaseConverter, IntegerConverter

from jishan_server import web
from jishan_server.api import failures
from jishan_server.api.activities import activities
from jishan_server.api.anomalies import anomalies
from jishan_server.api.asking import MAX_BODY_BYTES
from jishan_server.api.asking import guard as guard_caller
from jishan_server.api.asking import parts as parts_of_app
from jishan_server.api.attachments import attachments
from jishan_server.api.attendance import attendance
from jishan_server.api.audit import audit
from jishan_server.api.auth import auth
from jishan_server.api.blueprints import Api
from jishan_server.api.bodies import JsonRequest, check_body
from jishan_server.api.calendar import calendar
from jishan_server.api.certificates import certificates
from jishan_server.api.credits import credits
from jishan_server.api.estates import estates
from jishan_server.api.expiry import expiry
from jishan_server.api.explaining import explaining
from jishan_server.api.exports import exports
from jishan_server.api.figures import figures as figure_pages
from jishan_server.api.imports import imports
from jishan_server.api.machines import machines
from jishan_server.api.me import mine
from jishan_server.api.memberships import memberships
from jishan_server.api.messages import messages
from jishan_server.api.notices import notices
from jishan_server.api.personal import personal
from jishan_server.api.phone import phone
from jishan_server.api.prints import prints
from jishan_server.api.redemptions import redemptions
from jishan_server.api.reports import reports
from jishan_server.api.residents import residents
from jishan_server.api.rules import rules
from jishan_server.api.staff import staff
from jishan_server.api.tasks import tasks
from jishan_server.api.trainings import trainings
from jishan_server.api.vouchers import vouchers
from jishan_server.db import DatabaseUnavailable
from jishan_server.parts import Parts
from jishan_server.reading import db, reading
from jishan_server.writer import Operation

REQUEST_ID_FORM: Final = re.compile(r"[0-9A-Za-z_-]{8,64}")
API: Final = "/api/v1"
DOCS: Final = f"{API}/docs"
TRIES: Final = frozenset(
    {"auth.create_token", "auth.create_resident_token", "machines.enroll", "machines.get_authority"}
)
"""Endpoints that take no token and at which one address may try only so often."""
DOORS: Final = frozenset({"pages_entrance.login", "pages_entrance.staff_login"})
"""The same tries as pages: only a form that is sent is one."""
CHECKS: Final = frozenset(
    {"certificates.check_certificate", "pages_public.certificate", "phone.open_claim", "pages_screens.scan"}
)
"""Where anybody may ask about a number or a scanned code: as often as one may try to log in, and counted apart."""
PAPERS: Final = (
    "prints.",
    "certificates.get_certificate_pdf",
    "certificates.get_my_certificate_pdf",
    "pages_resident_points.passbook",
    "pages_resident_points.card",
    "pages_resident_points.why_no_points_pdf",
    "pages_resident_records.certificate_pdf",
)
"""What endpoints begin with that make a PDF."""
REQUESTS_OF_A_PAPER: Final = 20
"""A paper takes a fifth of a second of one core: an address may have that many fewer of them than requests."""
PUBLIC: Final = TRIES | CHECKS | {"notices.list_notices", "phone.get_opened_claim"}
"""Endpoints of the API that take no token; everything else below /api/v1 does."""
FOR_RESIDENTS: Final = frozenset(
    {"auth.delete_resident_token"}
    | {"attachments.create_attachment", "attachments.list_attachments", "attachments.get_attachment"}
)
"""Endpoints outside of /me that take a resident's token; no other does."""

STATIC: Final = frozenset({"pages_files.static", "bootstrap.static"})
"""Files that are the same for everybody until the next version."""

log = structlog.get_logger(__name__)


class IdConverter(BaseConverter):
    """An id of ours in a path; anything else is no such page."""

    regex = "[0-9a-z_-]{1,40}"


class NumberConverter(IntegerConverter):
    """A number of ours in a path; one too large for a column is no such page."""

    regex = r"\d{1,9}"


def create_app(parts: Parts, is_ready: Callable[[], bool] = lambda: True) -> Flask:
    """The web application on parts that live as long as it does; `is_ready` speaks for what else runs here."""
    app = Flask(__name__, static_folder=None)
    app.request_class = JsonRequest
    app.json.ensure_ascii = False  # type: ignore[attr-defined]
    app.url_map.converters |= {"id": IdConverter, "int": NumberConverter}
    app.config.update(
        MAX_CONTENT_LENGTH=MAX_BODY_BYTES,
        SQLALCHEMY_DATABASE_URI=parts.config.sqlalchemy_url,
        API_TITLE="Jishan",
        API_VERSION="v1",
        OPENAPI_VERSION="3.0.3",
        OPENAPI_URL_PREFIX=API,
        OPENAPI_JSON_PATH="openapi.json",
        API_SPEC_OPTIONS={
            "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
            "security": [{"token": []}],
        },
    )
    app.extensions["jishan"] = parts
    db.init_app(app)
    _watch(app)
    limiter = Limiter(
        get_remote_address,
        app=app,
        storage_uri="memory://",
        default_limits=[f"{parts.config.requests_per_minute}/minute"],
        headers_enabled=True,
    )
    _guard(app)
    api = Api(app)
    # After Api, which registers a handler of its own.
    failures.register(app)
    for part in (
        anomalies,
        attachments,
        audit,
        auth,
        staff,
        estates,
        calendar,
        certificates,
        residents,
        memberships,
        messages,
        credits,
        notices,
        rules,
        machines,
        expiry,
        explaining,
        exports,
        figure_pages,
        imports,
        mine,
        personal,
        phone,
        prints,
        redemptions,
        vouchers,
        reports,
        tasks,
        trainings,
        activities,
        attendance,
    ):
        api.register_blueprint(part)
    web.register(app)
    papers = frozenset(name for name in app.view_functions if name.startswith(PAPERS))
    tries, prints_per_minute = parts.config.logins_per_minute, parts.config.requests_per_minute // REQUESTS_OF_A_PAPER
    for scope, most, endpoints, methods in (
        ("public", tries, TRIES, None),
        ("public", tries, DOORS, ["POST"]),
        ("checks", tries, CHECKS, None),
        ("papers", max(1, prints_per_minute), papers, None),
    ):
        per_try = limiter.shared_limit(f"{most}/minute", scope, methods=methods)
        for endpoint in endpoints:
            # The limiter wraps views of any signature, and is typed for one.
            app.view_functions[endpoint] = per_try(app.view_functions[endpoint])  # type: ignore[assignment]
    app.register_blueprint(
        get_swaggerui_blueprint(
            # A null validator: the badge would ask another host.
            DOCS,
            f"{API}/openapi.json",
            config={"app_name": "Jishan API", "validatorUrl": None},
            blueprint_name="docs",
        )
    )
    _add_health(app, is_ready)
    return app


def _watch(app: Flask) -> None:
    """Give each request an id, count it, and log it."""

    @app.before_request
    def begin() -> None:
        given = request.headers.get("X-Request-ID", "")
        g.request_id = given if REQUEST_ID_FORM.fullmatch(given) else uuid.uuid4().hex
        g.began_s = time.monotonic()
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=g.request_id)

    @app.after_request
    def end(response: Response) -> Response:
        seconds = time.monotonic() - g.began_s
        route = request.url_rule.rule if request.url_rule else "unknown"
        metrics = parts_of_app().metrics
        metrics.requests.labels(route, str(response.status_code)).inc()
        metrics.request_seconds.labels(route).observe(seconds)
        response.headers["X-Request-ID"] = g.request_id
        response.headers["X-Content-Type-Options"] = "nosniff"
        is_file = request.endpoint in STATIC and response.status_code == 200
        response.headers["Cache-Control"] = "public, max-age=3600" if is_file else "no-store"
        # The documentation page starts itself with a script of its own; nothing comes from another host. Pages have
        # said something stricter by now.
        response.headers.setdefault(
            "Content-Security-Policy",
            "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
            "img-src 'self' data:; frame-ancestors 'none'",
        )
        log.info("request", method=request.method, route=route, status=response.status_code, ms=round(seconds * 1000))
        return response


def _guard(app: Flask) -> None:
    """Refuse what is no JSON, and, below /api/v1, who is not logged in."""

    @app.before_request
    def guard() -> ResponseReturnValue | None:
        if (
            request.path.startswith(f"{API}/")
            and request.endpoint is not None
            and request.endpoint not in PUBLIC
            and not request.endpoint.startswith(("docs.", "api-docs."))
        ):
            guard_caller(FOR_RESIDENTS)
        return check_body()


def _add_health(app: Flask, is_ready: Callable[[], bool]) -> None:
    @app.get("/healthz")
    def healthz() -> ResponseReturnValue:
        """The process answers."""
        return jsonify(status="ok")

    @app.get("/readyz")
    def readyz() -> ResponseReturnValue:
        """The database answers, the writer commits, and whatever else runs here is well."""
        try:
            reading().execute(text("SELECT 1"))
            parts_of_app().writer.call(Operation(uuid.uuid4().hex, "ping", None))
            database = True
        except (SQLAlchemyError, DatabaseUnavailable):
            database = False
        link = is_ready()
        ready = database and link
        return jsonify(status="ok" if ready else "unavailable", database=database, link=link), 200 if ready else 503

    @app.get("/metrics")
    def figures() -> ResponseReturnValue:
        """Figures for Prometheus."""
        return Response(generate_latest(parts_of_app().metrics.registry), content_type=CONTENT_TYPE_LATEST)

"""Activities: the list, a new one freely or from a template, its words, its sessions, publishing, cancelling."""

from datetime import timedelta
from typing import Any, Final

from flask import render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from jishan_server.api.activities import A_DAY, MAX_PLACE
from jishan_server.api.asking import actor, change
from jishan_server.api.paging import page, read_cursor
from jishan_server.api.schemas import MAX_NAME
from jishan_server.errors import DomainError
from jishan_server.organizations.roles import Permission
from jishan_server.reading import reading
from jishan_server.volunteering import activities as organised
from jishan_server.volunteering import sessions as planning
from jishan_server.web.desk_ground import ON_A_PAGE, can, desk, in_words, moment, nodes, said, typed, whole, words
from jishan_server.web.ground import done, for_staff, zone

FIELDS: Final = ("title", "activity_type", "place", "person_in_charge", "contact", "description", "risk_note")
SHOWN_SESSIONS: Final = 100


@desk.get("/activities")
@for_staff
def activities() -> ResponseReturnValue:
    """Activities in one's scope, newest first."""
    state = request.args.get("state")
    found = page(
        *organised.page(
            reading(),
            actor(),
            organization_id=None,
            state=state if state in ("draft", "published", "cancelled") else None,
            after=read_cursor(request.args.get("cursor")),
            limit=ON_A_PAGE,
        )
    )
    return render_template("desk/activities.html", **found, state=state, states=states_of_activities())


@desk.get("/activities/new")
@for_staff
def new_activity() -> ResponseReturnValue:
    """A draft, freely or from a template."""
    return _new()


@desk.post("/activities/new")
@for_staff
def make_activity() -> ResponseReturnValue:
    """Make the draft."""
    try:
        body = organised.CreateActivity(
            actor(),
            request.form.get("organization_id", ""),
            template_id=request.form.get("template_id") or None,
            **_words(),
        )
        made = change("create_activity", body)
    except DomainError as error:
        return _new(error)
    return done(_("草稿已建好。再排一个场次，就可以发布了。"), ".activity", activity_id=made["id"])


def _new(error: DomainError | None = None) -> tuple[str, int]:
    places = nodes(None) if can(Permission.ACTIVITY_WRITE) else []
    place = request.values.get("organization_id") or next(
        (one["id"] for one in places if one["level"] == "estate"), places[0]["id"] if places else ""
    )
    templates = organised.templates(reading(), actor(), place) if place else []
    template = next((one for one in templates if one["id"] == request.values.get("template_id")), None)
    shown = render_template(
        "desk/activity_new.html",
        places=[(one["id"], one["name"]) for one in places],
        place=place,
        templates=[one for one in templates if one["is_active"]],
        template=template,
        types=_types(),
        typed=typed() or template or {},
        error=error and said(error),
    )
    return shown, error.status if error else 200


@desk.get("/activities/<id:activity_id>")
@for_staff
def activity(activity_id: str) -> ResponseReturnValue:
    """One activity with its sessions."""
    return _activity(activity_id)


@desk.post("/activities/<id:activity_id>/edit")
@for_staff
def edit_activity(activity_id: str) -> ResponseReturnValue:
    """Change what it says."""
    try:
        change("change_activity", organised.ChangeActivity(actor(), activity_id, **_words()))
    except DomainError as error:
        return _activity(activity_id, error, "edit")
    return done(_("已保存。"), ".activity", activity_id=activity_id)


@desk.post("/activities/<id:activity_id>/publish")
@for_staff
def publish_activity(activity_id: str) -> ResponseReturnValue:
    """Let people come; what has begun already needs a reason."""
    try:
        reason = words("reason", _("补录原因"), least=0)
        change("publish_activity", organised.PublishActivity(actor(), activity_id, reason))
    except DomainError as error:
        return _activity(activity_id, error, "publish")
    return done(_("已发布，居民可以看到并报名。"), ".activity", activity_id=activity_id)


@desk.post("/activities/<id:activity_id>/cancel")
@for_staff
def cancel_activity(activity_id: str) -> ResponseReturnValue:
    """Cancel it with the sessions to come."""
    try:
        change("cancel_activity", organised.CancelActivity(actor(), activity_id, words("reason", _("取消原因"))))
    except DomainError as error:
        return _activity(activity_id, error, "cancel")
    return done(_("已取消，报名的人会收到通知。"), ".activity", activity_id=activity_id)


@desk.post("/activities/<id:activity_id>/sessions")
@for_staff
def make_sessions(activity_id: str) -> ResponseReturnValue:
    """Plan a session, and the same on the following weeks."""
    try:
        starts_at = moment("day", "begins", _("开始时间"))
        ends_at = moment("day", "ends", _("结束时间"))
        if ends_at <= starts_at:
            ends_at += timedelta(days=1)
        body = planning.CreateSessions(
            actor=actor(),
            activity_id=activity_id,
            starts_at=starts_at,
            ends_at=ends_at,
            capacity=whole("capacity", _("名额"), 1, planning.MAX_CAPACITY),
            break_minutes=whole("break_minutes", _("休息分钟"), 0, A_DAY) or 0,
            weeks=whole("weeks", _("每周重复"), 1, planning.MAX_REPEATS) or 1,
            reason=words("reason", _("补录原因"), least=0),
        )
        made = change("create_sessions", body)["sessions"]
    except DomainError as error:
        return _activity(activity_id, error, "sessions")
    return done(_("已排%(n)s场。", n=len(made)), ".activity", activity_id=activity_id)


@desk.post("/activities/<id:activity_id>/template")
@for_staff
def keep_template(activity_id: str) -> ResponseReturnValue:
    """Keep an activity's words as a template for the next time."""
    found = organised.activity(reading(), actor(), activity_id)
    body = organised.CreateTemplate(actor(), found["organization_id"], **{name: found[name] for name in FIELDS})
    change("create_template", body)
    return done(_("已存为模板，下次新建可以直接用。"), ".activity", activity_id=activity_id)


def _activity(activity_id: str, error: DomainError | None = None, part: str = "") -> tuple[str, int]:
    found = organised.activity(reading(), actor(), activity_id)
    sessions, _further = planning.page(
        reading(),
        actor(),
        zone(),
        organization_id=None,
        activity_id=activity_id,
        first_day=None,
        last_day=None,
        after=None,
        limit=SHOWN_SESSIONS,
    )
    shown = render_template(
        "desk/activity.html",
        activity=found,
        sessions=sessions,
        types=_types(),
        states=states_of_activities(),
        part=part,
        typed=typed() if part == "edit" else found,
        plan=typed() if part == "sessions" else {},
        error=error and said(error),
    )
    return shown, error.status if error else 200


def _words() -> dict[str, Any]:
    """What an activity says, from the form."""
    return {
        "title": words("title", _("活动名称"), most=MAX_NAME),
        "activity_type": request.form.get("activity_type", ""),
        "place": words("place", _("地点"), most=MAX_PLACE),
        "person_in_charge": words("person_in_charge", _("负责人"), most=MAX_NAME),
        "contact": words("contact", _("联系方式"), most=MAX_NAME, least=0),
        "description": words("description", _("说明"), least=0),
        "risk_note": words("risk_note", _("风险提示"), least=0),
    }


def _types() -> list[tuple[str, str]]:
    return [
        (one["code"], in_words(one["name_zh"], one["name_en"]))
        for one in organised.types(reading(), actor())
        if one["is_active"]
    ]


def states_of_activities() -> dict[str, str]:
    """What the states of an activity are called."""
    return {"draft": _("草稿"), "published": _("已发布"), "cancelled": _("已取消")}

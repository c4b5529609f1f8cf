"""Crediting and approving: a session recorded with a preview, approved by somebody else as a whole or one by one."""

from collections.abc import Sequence
from typing import Any, Final

from flask import render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from jishan_server.api.asking import actor, change, fresh_salt, note_access
from jishan_server.api.paging import page, read_cursor
from jishan_server.api.schemas import MAX_NAME
from jishan_server.errors import DomainError
from jishan_server.organizations.roles import Permission, scope
from jishan_server.reading import reading
from jishan_server.volunteering import appeals, corrections, notice, session_credits
from jishan_server.volunteering import credits as crediting
from jishan_server.volunteering import sessions as planning
from jishan_server.volunteering.credit_states import State
from jishan_server.volunteering.rule_words import SOURCES, SPANS, UNITS
from jishan_server.volunteering.rules import MAX_MINUTES, Span, Unit
from jishan_server.web.desk_ground import ON_A_PAGE, desk, in_words, people, said, typed, whole, words
from jishan_server.web.ground import done, for_staff, zone

MAX_WAITING = 500
"""Credits that are put together by session on one page."""
MAX_OF_SESSION = 1_000


@desk.get("/approve")
@for_staff
def approve() -> ResponseReturnValue:
    """What waits for one's approval: whole sessions first, then single credits."""
    estates = scope(reading(), actor(), Permission.CREDIT_APPROVE)
    found, further = session_credits.waiting(
        reading(), actor(), estates, read_cursor(request.args.get("cursor")), MAX_WAITING
    )
    sessions: dict[str, list[dict[str, Any]]] = {}
    for one in found:
        if one["session_id"] is not None:
            sessions.setdefault(one["session_id"], []).append(one)
    names = people(one["resident_id"] for one in found)
    note_access("credits", people=len(names))
    return render_template(
        "desk/approve.html",
        sessions=sessions,
        singles=[one for one in found if one["session_id"] is None],
        people=names,
        next_cursor=page([], further)["next_cursor"],
    )


@desk.get("/approve/sessions/<id:session_id>")
@for_staff
def approve_session(session_id: str) -> ResponseReturnValue:
    """A session's recorded credits: who, how long, how many points, and what cut them."""
    return _approval(session_id)


@desk.post("/approve/sessions/<id:session_id>")
@for_staff
def send_session_approval(session_id: str) -> ResponseReturnValue:
    """Approve all of a session."""
    try:
        reason = words("reason", _("说明"), least=0)
        answer = change(
            "approve_session", session_credits.ApproveSession(actor(), session_id, reason), key_required=True
        )
    except DomainError as error:
        return _approval(session_id, error)
    told = _("已批准%(n)s笔，共%(points)s分。", n=answer["approved"], points=answer["points"])
    if answer["refused"]:
        told += " " + _("有%(n)s笔没有批准，留在下面。", n=len(answer["refused"]))
        return done(told, ".approve_session", session_id=session_id)
    return done(told, ".approve")


def _approval(session_id: str, error: DomainError | None = None) -> tuple[str, int]:
    session = planning.session(reading(), actor(), session_id)
    items, _further = crediting.page(
        reading(), None, state=State.RECORDED, session_id=session_id, after=None, limit=MAX_OF_SESSION
    )
    visible = scope(reading(), actor(), Permission.CREDIT_READ)
    items = [one for one in items if one["estate_id"] in visible]
    names = people(one["resident_id"] for one in items)
    note_access("credits", people=len(names))
    shown = render_template(
        "desk/approve_session.html",
        sitting=session,
        items=items,
        people=names,
        points=sum(one["points"] for one in items),
        minutes=sum(one["minutes"] or 0 for one in items),
        others=[one for one in items if one["recorded_by"] != actor()],
        cuts=cuts,
        error=error and said(error),
    )
    return shown, error.status if error else 200


@desk.get("/credits")
@for_staff
def credits() -> ResponseReturnValue:
    """Credits in one's scope, oldest first; of one state, one person or one session."""
    estates = scope(reading(), actor(), Permission.CREDIT_READ)
    state = request.args.get("state")
    found = page(
        *crediting.page(
            reading(),
            estates,
            state=State(state) if state in set(State) else None,
            resident_id=request.args.get("resident"),
            session_id=request.args.get("session"),
            after=read_cursor(request.args.get("cursor")),
            limit=ON_A_PAGE,
        )
    )
    names = people(one["resident_id"] for one in found["items"])
    note_access("credits", people=len(names))
    return render_template("desk/credits.html", **found, people=names, state=state, states=state_words())


@desk.get("/credits/<id:credit_id>")
@for_staff
def credit(credit_id: str) -> ResponseReturnValue:
    """One credit: how the points came about, and what may be decided about it."""
    return _credit(credit_id)


@desk.post("/credits/<id:credit_id>")
@for_staff
def decide_credit(credit_id: str) -> ResponseReturnValue:
    """Approve or reject it, or take a final one back."""
    verdict = request.form.get("verdict", "")
    try:
        if verdict == "reverse":
            reversal = crediting.ReverseCredit(actor(), credit_id, words("reason", _("原因")), fresh_salt())
            change("reverse_credit", reversal, key_required=True)
            return done(_("这笔积分已撤回。"), ".credit", credit_id=credit_id)
        if verdict in _FOR_RESIDENTS:
            return done(_FOR_RESIDENTS[verdict](credit_id), ".credit", credit_id=credit_id)
        is_rejected = verdict == "reject"
        reason = words("reason", _("原因"), least=1 if is_rejected else 0)
        decision = crediting.DecideCredit(actor(), credit_id, reason)
        answer = change("reject_credit" if is_rejected else "approve_credit", decision, key_required=True)
    except DomainError as error:
        return _credit(credit_id, error)
    told = _("已退回，没有积分变动。") if is_rejected else _("已批准：%(n)s分。", n=answer["points"])
    if answer["session_id"]:
        return done(told, ".approve_session", session_id=answer["session_id"])
    return done(told, ".approve")


def _object(credit_id: str) -> str:
    whose = words("on_behalf_of", _("替谁提的"), most=MAX_NAME)
    objection = notice.FileObjection(actor(), credit_id, words("reason", _("原因")), whose)
    change("file_objection", objection, key_required=True)
    return str(_("异议已登记，这笔积分先停着，等人决定。"))


def _appeal(credit_id: str) -> str:
    wanted = whole("wanted_minutes", _("应该是几分钟"), 1, MAX_MINUTES)
    change("file_appeal", appeals.FileAppeal(actor(), credit_id, words("reason", _("原因")), wanted), key_required=True)
    return str(_("已替本人登记，由没有参与过的人来看。"))


def _correct(credit_id: str) -> str:
    minutes = whole("wanted_minutes", _("应该是几分钟"), 1, MAX_MINUTES)
    correction = corrections.CorrectCredit(actor(), credit_id, minutes, None, words("reason", _("原因")), fresh_salt())
    change("correct_credit", correction, key_required=True)
    return str(_("更正已录入，等另一个人审核；原来的记录留着。"))


_FOR_RESIDENTS: Final = {"object": _object, "appeal": _appeal, "correct": _correct}


def _credit(credit_id: str, error: DomainError | None = None) -> tuple[str, int]:
    found = crediting.credit(reading(), actor(), credit_id)
    note_access("credit", found["resident_id"])
    shown = render_template(
        "desk/credit.html",
        credit=found,
        person=people([found["resident_id"]]).get(found["resident_id"]),
        cuts=cuts,
        source=source_words(found["source"]),
        states=state_words(),
        is_own=found["recorded_by"] == actor(),
        typed=typed(),
        error=error and said(error),
    )
    return shown, error.status if error else 200


@desk.get("/sessions/<id:session_id>/credit")
@for_staff
def session_credit(session_id: str) -> ResponseReturnValue:
    """What recording a session would give each person now."""
    return _session_credit(session_id)


@desk.post("/sessions/<id:session_id>/credit")
@for_staff
def record_session(session_id: str) -> ResponseReturnValue:
    """Record a credit for everybody who has none yet."""
    try:
        recorded = session_credits.RecordSession(actor(), session_id, "session", fresh_salt())
        answer = change("record_session", recorded, key_required=True)
    except DomainError as error:
        return _session_credit(session_id, error)
    told = _("已录入%(n)s人，共%(points)s分，等另一个人审核。", n=answer["credits"], points=answer["points"])
    return done(told, ".session", session_id=session_id)


def _session_credit(session_id: str, error: DomainError | None = None) -> tuple[str, int]:
    preview = session_credits.preview(reading(), actor(), session_id, zone())
    note_access("session", people=len(preview["items"]))
    shown = render_template(
        "desk/session_credit.html",
        sitting=planning.session(reading(), actor(), session_id),
        preview=preview,
        cuts=cuts,
        source_words=source_words,
        error=error and said(error),
    )
    return shown, error.status if error else 200


def cuts(steps: Sequence[Sequence[Any]]) -> list[str]:
    """What a cap or the source took from the points, in words; other steps say nothing here."""
    told = []
    for name, before, after in steps:
        kind, _sep, rest = name.partition("_")
        if kind == "source":
            told.append(_("%(source)s只记时长", source=source_words(rest)))
        elif kind == "cap" and before != after:
            unit, _sep, span = rest.partition("_")
            span_words, unit_words = SPANS[Span(span)], UNITS[Unit(unit)]
            told.append(
                _(
                    "%(span)s上限，从%(before)s%(unit)s减为%(after)s%(unit)s",
                    span=in_words(*span_words),
                    unit=in_words(*unit_words),
                    before=before,
                    after=after,
                )
            )
    return told


def source_words(source: str | None) -> str:
    """How an attendance is known, in words."""
    return in_words(*SOURCES[source]) if source is not None and source in SOURCES else "—"


def state_words() -> dict[str, str]:
    """What the states of a credit are called."""
    return {
        "recorded": _("等审核"),
        "approved": _("公示中"),
        "waiting_consent": _("等本人同意"),
        "objected": _("有异议"),
        "final": _("已到账"),
        "rejected": _("已退回"),
        "reversed": _("已撤回"),
    }

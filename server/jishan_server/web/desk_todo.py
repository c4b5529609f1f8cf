"""What people decide: objections, appeals, adjustments, claims, disputes, reports, doubts, what looks odd, forgotten
check-outs. One list for each kind, one form for each case; a refusal stands at its case with what was typed.

Giving points back takes one person. Taking them takes the estate's side, a reason and the evidence; where a second
person must sign, the case says who proposed it and what.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal, NamedTuple

from flask import render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as _l
from werkzeug.exceptions import NotFound

from jishan_protocol.redemption import State as Vend
from jishan_server.api.asking import actor, change, note_access, parts
from jishan_server.api.paging import page, read_cursor
from jishan_server.errors import DomainError
from jishan_server.explaining import anomalies
from jishan_server.organizations.roles import Permission, scope
from jishan_server.people import messages
from jishan_server.reading import reading
from jishan_server.vending import decisions, machines, reports
from jishan_server.vending import reading as vending
from jishan_server.volunteering import adjustments, appeals, claims, notice, reviewing
from jishan_server.volunteering import credits as crediting
from jishan_server.volunteering.attendance import uncredited
from jishan_server.volunteering.credit_states import State as Credit
from jishan_server.volunteering.rules import MAX_MINUTES
from jishan_server.volunteering.sessions import session as session_of
from jishan_server.web.desk_ground import (
    can,
    day,
    desk,
    in_words,
    local,
    moment,
    node_name,
    people,
    said,
    staff_name,
    typed,
    whole,
    words,
)
from jishan_server.web.ground import at, done, for_staff, hours, on, today, zone

LOOKED_BACK: Final = timedelta(days=30)
"""What looked odd longer ago is history, not today's work."""
ON_A_PAGE: Final = 30
"""Each case is a card with a form."""


class Ask(NamedTuple):
    """A field of a form."""

    name: str
    label: str
    is_required: bool = True
    kind: str = "text"
    value: str = ""


class Act(NamedTuple):
    """One way to decide a case."""

    verdict: str
    label: str
    asks: tuple[Ask, ...] = ()
    style: str = "primary"
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """What is to be decided: `facts` and `evidence` are (label, words), `links` (words, address)."""

    id: str
    title: str
    facts: Sequence[tuple[str, str]]
    acts: Sequence[Act] = ()
    links: Sequence[tuple[str, str]] = ()
    evidence: Sequence[tuple[str, str]] = ()
    is_late: bool = False


Listed = tuple[list[Case], Any]
Told = Any
"""Words in the language of the page: flask-babel is untyped."""


@dataclass(frozen=True, slots=True)
class Kind:
    """`decide` does what a form says, and tells it in words."""

    title: Any
    cases: Callable[[Any], Listed]
    decide: Callable[[str, str], Told] | None = None


@desk.get("/to-do/<id:kind>")
@for_staff
def todo(kind: str) -> ResponseReturnValue:
    """What waits of one kind."""
    return _todo(kind)


@desk.post("/to-do/<id:kind>/<id:case_id>")
@for_staff
def decide(kind: str, case_id: str) -> ResponseReturnValue:
    """Decide one case."""
    found = KINDS.get(kind)
    if found is None or found.decide is None:
        raise NotFound
    try:
        told = found.decide(case_id, request.form.get("verdict", ""))
    except DomainError as error:
        return _todo(kind, error, case_id)
    return done(told, ".todo", kind=kind)


def _todo(kind: str, error: DomainError | None = None, case_id: str | None = None) -> tuple[str, int]:
    found = KINDS.get(kind)
    if found is None:
        raise NotFound
    reading().rollback()  # what was refused may have moved on meanwhile: the list is of now
    cases, further = found.cases(read_cursor(request.args.get("cursor")))
    shown = render_template(
        "desk/todo.html",
        kind=kind,
        title=found.title,
        can_decide=found.decide is not None,
        cases=cases,
        next_cursor=page([], None if error else further)["next_cursor"],
        error=error and said(error),
        error_at=case_id,
        typed=typed(),
    )
    return shown, error.status if error else 200


def _reason(label: str | None = None, *, is_required: bool = True) -> Ask:
    return Ask("reason", label or _("原因"), is_required)


def _name(names: Mapping[str, Mapping[str, Any]], id: str | None) -> str:
    found = names.get(id or "")
    return f"{found['name']}（{found['member_number']}）" if found else "—"


def _credit_facts(credit: Mapping[str, Any]) -> list[tuple[str, str]]:
    worth = _("%(n)s分", n=credit["points"])
    if credit["minutes"]:
        worth = f"{hours(credit['minutes'])}，{worth}"
    return [(_("服务"), f"{credit['activity']}，{on(credit['day'])}"), (_("记了"), worth)]


def _person_link(resident_id: str | None) -> list[tuple[str, str]]:
    if resident_id is None or not can(Permission.RESIDENT_READ):
        return []
    return [(_("看这位居民"), url_for(".person", resident_id=resident_id))]


# objections, appeals, adjustments, claims


def _objections(after: Any) -> Listed:
    estates = scope(reading(), actor(), Permission.OBJECTION_DECIDE)
    found, further = notice.objections_page(reading(), estates, "open", after, ON_A_PAGE)
    credits = {one["id"]: crediting.one(reading(), one["credit_id"]) for one in found}
    names = people(one["resident_id"] for one in credits.values())
    return [
        Case(
            one["id"],
            _name(names, credits[one["id"]]["resident_id"]),
            [
                *_credit_facts(credits[one["id"]]),
                (_("异议"), one["reason"] or "—"),
                (_("提出时间"), at(one["filed_at"], "short")),
            ],
            (
                Act("uphold", _("异议成立，退回这笔"), (_reason(),), "outline-primary"),
                Act("dismiss", _("异议不成立，继续公示"), (_reason(),)),
            ),
            [(_("看这笔积分"), url_for(".credit", credit_id=one["credit_id"]))],
        )
        for one in found
    ], further


def _decide_objection(id: str, verdict: str) -> Told:
    is_upheld = verdict == "uphold"
    body = notice.DecideObjection(actor(), id, is_upheld, words("reason", _("原因")))
    change("decide_objection", body, key_required=True)
    return _("异议成立，这笔积分已退回。") if is_upheld else _("异议不成立，公示继续。")


def _appeals(after: Any) -> Listed:
    estates = scope(reading(), actor(), Permission.APPEAL_DECIDE)
    found, further = appeals.appeals_page(
        reading(), estate_ids=estates, state="filed", today=today(), after=after, limit=ON_A_PAGE
    )
    about = {
        "rejected": _("对退回不服"),
        "reversed": _("对撤回不服"),
        "correction": _("请求更正时长"),
    }
    names = people(one["resident_id"] for one in found)
    cases = []
    for one in found:
        credit = crediting.one(reading(), one["credit_id"])
        facts = [(_("事由"), about[one["about"]]), *_credit_facts(credit), (_("说法"), one["reason"] or "—")]
        if one["wanted_minutes"]:
            facts.append((_("请求改为"), hours(one["wanted_minutes"])))
        facts.append((_("最迟答复"), on(one["due_day"])))
        acts = (
            Act("accept", _("同意"), (_reason(_("说明")),)),
            Act("refuse", _("不同意"), (_reason(),), "outline-primary"),
        )
        links = [(_("看这笔积分"), url_for(".credit", credit_id=one["credit_id"])), *_person_link(one["resident_id"])]
        cases.append(Case(one["id"], _name(names, one["resident_id"]), facts, acts, links, is_late=one["is_overdue"]))
    return cases, further


def _decide_appeal(id: str, verdict: str) -> Told:
    is_accepted = verdict == "accept"
    body = appeals.DecideAppeal(actor(), id, is_accepted, words("reason", _("说明")))
    change("decide_appeal", body, key_required=True)
    return _("已同意，并告诉本人。") if is_accepted else _("已答复不同意，并告诉本人。")


def adjustment_reasons() -> dict[str, str]:
    """The codes of adjustments in words."""
    return {
        "machine_fault": _("机器故障"),
        "opening_balance": _("期初余额"),
        "goodwill": _("补偿"),
        "lost_record": _("记录丢失"),
        "wrong_booking": _("记错了"),
        "other": _("其他"),
    }


def _adjustments(after: Any) -> Listed:
    estates = scope(reading(), actor(), Permission.ADJUSTMENT_APPROVE)
    found, further = adjustments.adjustments_page(reading(), estates, "proposed", after, ON_A_PAGE)
    names, why = people(one["resident_id"] for one in found), adjustment_reasons()
    cases = []
    for one in found:
        is_own = one["proposed_by"] == actor()
        acts = (
            Act("approve", _("确认")),
            Act("reject", _("退回"), (_reason(),), "outline-primary"),
        )
        facts = [
            (_("调整"), _("%(n)s分", n=f"{one['points']:+d}")),
            (_("原因"), f"{why.get(one['reason_code'], one['reason_code'])}：{one['reason'] or '—'}"),
            (_("提出"), f"{staff_name(one['proposed_by'])}，{at(one['proposed_at'], 'short')}"),
        ]
        if is_own:
            facts.append((_("轮到"), _("要由另一个人确认")))
        cases.append(
            Case(
                one["id"],
                _name(names, one["resident_id"]),
                facts,
                () if is_own else acts,
                _person_link(one["resident_id"]),
            )
        )
    return cases, further


def _decide_adjustment(id: str, verdict: str) -> Told:
    is_approved = verdict == "approve"
    reason = words("reason", _("原因"), least=0 if is_approved else 1)
    decision: Literal["approve", "reject"] = "approve" if is_approved else "reject"
    change("decide_adjustment", adjustments.DecideAdjustment(actor(), id, decision, reason), key_required=True)
    return _("已确认，积分已调整。") if is_approved else _("已退回，积分没有变动。")


def _claims(after: Any) -> Listed:
    found, further = claims.page(reading(), actor(), state="open", after=after, limit=ON_A_PAGE)
    names = people(one["resident_id"] for one in found)
    return [
        Case(
            one["id"],
            _name(names, one["resident_id"]),
            [
                (_("服务"), f"{one['title']}，{on(one['day'])}"),
                (_("时长"), hours(one["minutes"])),
                (_("地点"), one["place"] or "—"),
                (_("说法"), one["words"] or "—"),
            ],
            (
                Act(
                    "accept",
                    _("认可"),
                    (
                        Ask("minutes", _("认可的分钟数"), kind="number", value=str(one["minutes"])),
                        _reason(_("说明"), is_required=False),
                    ),
                    hint=_("认可后还要另一个人审核，补报的一般只记时长。"),
                ),
                Act("refuse", _("不认可"), (_reason(),), "outline-primary"),
            ),
            [
                *[
                    (_("证明材料%(n)s", n=number), url_for(".file", attachment_id=file))
                    for number, file in enumerate(one["attachment_ids"], start=1)
                ],
                *_person_link(one["resident_id"]),
            ],
        )
        for one in found
    ], further


def _decide_claim(id: str, verdict: str) -> Told:
    if verdict == "accept":
        minutes = whole("minutes", _("认可的分钟数"), 1, MAX_MINUTES)
        change(
            "decide_claim",
            claims.DecideClaim(actor(), id, "accept", words("reason", _("说明"), least=0), minutes),
            key_required=True,
        )
        return _("已认可，等另一个人审核。")
    change("decide_claim", claims.DecideClaim(actor(), id, "refuse", words("reason", _("原因"))), key_required=True)
    return _("已答复不认可，并告诉本人。")


# what residents say


def _disputes(after: Any) -> Listed:
    estates = scope(reading(), actor(), Permission.MESSAGE_READ)
    found, further = messages.disputed(reading(), estates, False, after, ON_A_PAGE)
    note_access("disputes", people=len({one["resident_id"] for one in found}))
    return [
        Case(
            str(one["number"]),
            f"{one['name']}（{one['member_number']}）",
            [
                (_("收到的消息"), one["text"]),
                (_("本人说"), one["dispute_words"] or _("这不是我")),
                (_("时间"), at(one["disputed_at"], "short")),
            ],
            (
                Act(
                    "answer",
                    _("答复"),
                    (Ask("words", _("查到的情况，本人会看到")),),
                    hint=_("记错的积分到积分页撤回，丢了的卡到居民页挂失。"),
                ),
            ),
            _person_link(one["resident_id"]),
        )
        for one in found
    ], further


def _answer_dispute(id: str, verdict: str) -> Told:
    answer = messages.AnswerDispute(actor(), _number(id), words("words", _("答复")))
    change("answer_dispute", answer, key_required=True)
    return _("已答复本人。")


def _number(id: str) -> int:
    if not id.isdecimal() or len(id) > 9:
        raise NotFound
    return int(id)


def kinds_of_reports() -> dict[str, str]:
    """What may go wrong at a machine."""
    return {
        "not_out": _("没有出货"),
        "wrong_item": _("出错了东西"),
        "bad_item": _("东西坏了"),
        "stuck": _("卡住了"),
        "other": _("其他"),
    }


def _reports(after: Any) -> Listed:
    found, further = reports.page(
        reading(), actor(), state=None, resident_id=None, overdue_on=None, after=after, limit=200
    )
    found = [one for one in found if one["state"] in ("open", "proposed")]
    names, what = people(one["resident_id"] for one in found), kinds_of_reports()
    cases = []
    for one in found:
        whole_report = reports.report(reading(), actor(), one["number"])
        evidence = whole_report["evidence"]
        facts = [
            (_("票号"), one["ticket"]),
            (_("反映"), f"{what.get(one['kind'], one['kind'])}。{one['words']}"),
            (_("最迟答复"), on(one["answer_by"])),
        ]
        if one["first_reason"]:
            facts.append(
                (_("第一次答复"), f"{one['first_reason']}；{_('居民请求再看一次')}：{one['reopen_reason'] or '—'}")
            )
        if one["state"] == "proposed":
            facts.append(
                (_("已有人提议"), _("%(name)s提议不退：%(why)s", name=staff_name(one["decided_by"]), why=one["reason"]))
            )
        acts: list[Act] = []
        if can(Permission.REPORT_DECIDE):
            back = (Act("give_back", _("退回积分"), (_reason(_("说明，本人会看到")),)),) if one["redemption_id"] else ()
            refuse = Act(
                "refuse",
                _("不退"),
                (_reason(_("原因，本人会看到")), Ask("evidence", _("依据"), False)),
                "outline-primary",
                _("短时间里不退的次数多了，要第二个人同样决定才算数。"),
            )
            acts = [*back, refuse]
        files = [
            (_("照片%(n)s", n=number), url_for(".file", attachment_id=file))
            for number, file in enumerate(one["attachment_ids"], start=1)
        ]
        is_late = bool(one["answer_by"]) and one["answer_by"] < today().isoformat()
        cases.append(
            Case(
                str(one["number"]),
                _name(names, one["resident_id"]),
                facts,
                acts,
                [*files, *_person_link(one["resident_id"])],
                _machine_evidence(evidence),
                is_late,
            )
        )
    return cases, further


def _machine_evidence(evidence: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the machine showed, in words and numbers."""
    told = [(_("机器"), machine_name(evidence["machine_id"]))]
    past = evidence["redemption"]
    if past is not None:
        told.append(
            (
                _("这次兑换"),
                _(
                    "%(n)s号货道，%(points)s分，%(state)s",
                    n=past["selection"],
                    points=past["points"],
                    state=vend_words(past["state"]),
                ),
            )
        )
        told += [(at(one["recorded_at"], "medium"), event_words(one)) for one in past["history"]]
        told += [
            (_("前后矛盾"), f"{at(one['recorded_at'], 'medium')} {event_words(one)}") for one in past["contradictions"]
        ]
        if past["slot"]:
            told.append((_("货道现在"), _("库存%(n)s件", n=past["slot"]["stock"])))
        told += [
            (label, "、".join(vend_words(one["state"]) for one in past[side]) or "—")
            for label, side in ((_("同货道之前"), "before"), (_("同货道之后"), "after"))
        ]
    told += [(_("告警"), f"{at(one['opened_at'], 'medium')} {one['kind']}") for one in evidence["alerts"]]
    told += [
        (
            _("清点"),
            f"{at(one['recorded_at'], 'medium')} " + "，".join(f"{slot}：{n}" for slot, n in one["counts"].items()),
        )
        for one in evidence["counts"]
    ]
    return told


def _decide_report(id: str, verdict: str) -> Told:
    wanted: Literal["give_back", "refuse"] = "give_back" if verdict == "give_back" else "refuse"
    evidence = words("evidence", _("依据"), least=0)
    body = reports.DecideReport(actor(), _number(id), wanted, words("reason", _("原因")), evidence)
    state = change("decide_report", body, key_required=True)["state"]
    if state == "proposed":
        return _("已提议不退，要第二个人同样决定才算数。")
    return _("积分已退回，并告诉本人。") if state == "given_back" else _("已答复不退，并告诉本人。")


# redemptions in doubt


def _doubts(after: Any) -> Listed:
    found = vending.redemptions(reading(), actor(), state=Vend.IN_DOUBT, limit=200)
    # Only those with whom residents' names are anybody's business see them.
    names = people(one["resident_id"] for one in found) if can(Permission.RESIDENT_READ) else {}
    cases = []
    for one in found:
        story = vending.redemption(reading(), actor(), one["id"])
        proposed = [past for past in story["decisions"] if past["state"] == "proposed"]
        facts = [
            (_("机器"), machine_name(one["machine_id"])),
            (_("兑换"), _("%(n)s号货道，%(points)s分", n=one["selection"], points=one["points"])),
            (_("时间"), at(one["recorded_at"], "medium")),
            (_("答应答复"), on(one["answer_by"])),
        ]
        if story["ticket"]:
            facts.append((_("票号"), str(story["ticket"])))
        facts += [
            (
                _("已有人提议"),
                _("%(name)s提议算已出货：%(why)s", name=staff_name(past["decided_by"]), why=past["reason"]),
            )
            for past in proposed
        ]
        acts = []
        if can(Permission.REDEMPTION_RESOLVE_FOR):
            acts.append(Act("not_dispensed", _("没有出货，退回积分"), (_reason(_("说明")),)))
        if can(Permission.REDEMPTION_RESOLVE_AGAINST):
            acts.append(
                Act(
                    "dispensed",
                    _("确实出货了，扣积分"),
                    (_reason(), Ask("evidence", _("依据（监控、清点、机器记录）"))),
                    "outline-primary",
                    _("要写明原因和依据；30天内次数多了，要第二个人同样决定才算数。"),
                )
            )
        shown = [(at(past["recorded_at"], "medium"), event_words(past)) for past in story["history"]]
        is_late = bool(one["answer_by"]) and one["answer_by"] < today().isoformat()
        title = _name(names, one["resident_id"]) if names else _("票号%(n)s", n=story["ticket"] or "—")
        cases.append(Case(one["id"], title, facts, acts, _person_link(one["resident_id"]), shown, is_late))
    return cases, None


def _resolve(id: str, verdict: str) -> Told:
    wanted: decisions.Verdict = "dispensed" if verdict == "dispensed" else "not_dispensed"
    evidence = words("evidence", _("依据"), least=1 if wanted == "dispensed" else 0)
    body = decisions.Resolve(actor(), id, wanted, words("reason", _("原因")), evidence)
    state = change("resolve", body, key_required=True)["state"]
    if state == Vend.IN_DOUBT:
        return _("已提议扣积分，要第二个人同样决定才算数。")
    return _("积分已扣。") if state == Vend.CAPTURED else _("积分已退回。")


def machine_name(id: str | None) -> str:
    """A machine's name; a dash for none."""
    return "—" if id is None else str(machines.view(reading(), id)["name"])


def vend_words(state: str) -> str:
    """How far a redemption is, in words."""
    known = {
        "requested": _("刚请求"),
        "held": _("积分先留着"),
        "vending": _("出货中"),
        "captured": _("已出货"),
        "voided": _("没出货，已退回"),
        "in_doubt": _("没法确认"),
        "denied": _("没有同意"),
        "reversed": _("已退回积分"),
    }
    return str(known.get(state, state))


def event_words(event: Mapping[str, Any]) -> str:
    """One event of a redemption, who said it, and what it showed."""
    known = {
        "approved": _("服务器同意"),
        "denied": _("服务器没有同意"),
        "not_started": _("没有开始出货"),
        "vend_started": _("开始出货"),
        "dispensed": _("机器说出货了"),
        "not_dispensed": _("机器说没有出货"),
        "outcome_unknown": _("机器不知道有没有出货"),
        "proved_dispensed": _("机器的读数证明出货了"),
        "proved_not_dispensed": _("机器的读数证明没有出货"),
        "machine_lost": _("机器联系不上"),
        "resolved_dispensed": _("人工认定出货了"),
        "resolved_not_dispensed": _("人工认定没有出货"),
        "reversed": _("人工退回积分"),
    }
    told = str(known.get(event["event"], event["event"]))
    shown = "，".join(f"{name}={value}" for name, value in (event.get("evidence") or {}).items())
    return f"{told}（{shown}）" if shown else told


# what looks odd, and what was left over


def _anomalies(after: Any) -> Listed:
    asked = anomalies.Wanted(today() - LOOKED_BACK, today(), is_looked_at=False)
    found = anomalies.anomalies(reading(), actor(), asked, parts().clock(), zone())["items"]
    note_access("anomalies", people=len({one["id"] for item in found for one in item["residents"]}))
    cases = []
    for one in found:
        facts = [
            (_("情况"), in_words(one["zh"], one["en"])),
            (_("小区"), node_name(one["estate_id"])),
            (_("时间"), at(one["at"], "short")),
        ]
        if one["residents"]:
            facts.append((_("居民"), "、".join(who["name"] for who in one["residents"])))
        if one["staff"]:
            facts.append((_("工作人员"), "、".join(who["name"] for who in one["staff"])))
        links = [(who["name"], url_for(".person", resident_id=who["id"])) for who in one["residents"]]
        links += [
            (_("积分%(n)s", n=number), url_for(".credit", credit_id=row["id"]))
            for number, row in enumerate((row for row in one["evidence"] if row["type"] == "credit"), start=1)
        ][:10]
        act = Act(f"{one['kind']}.{one['day']}", _("看过了"), (_reason(_("查到的情况")),))
        cases.append(Case(one["id"], on(one["day"]), facts, (act,) if can(Permission.ANOMALY_DECIDE) else (), links))
    return cases, None


def _look(id: str, verdict: str) -> Told:
    kind, _sep, on_day = verdict.partition(".")
    if kind not in anomalies.KINDS:
        raise NotFound
    change("look_at_anomaly", anomalies.LookAtAnomaly(actor(), id, kind, on_day, words("reason", _("查到的情况"))))
    return _("已记下。")


def _leftovers(after: Any) -> Listed:
    found, further = reviewing.to_review(reading(), actor(), None, tuple(after) if after else None, ON_A_PAGE)
    note_access("to_review", people=len(found))
    cases = []
    for one in found:
        session = session_of(reading(), actor(), one["session_id"])
        cases.append(
            Case(
                one["id"],
                f"{one['name']}（{one['member_number']}）",
                [
                    (_("场次"), f"{session['title']}，{at(session['starts_at'], 'short')}"),
                    (_("签到"), at(one["checked_in_at"], "short")),
                    (_("签退"), _("没有签退，先按计划结束时间记到%(time)s", time=at(one["checked_out_at"], "short"))),
                    (_("时长"), hours(one["minutes"] or 0)),
                ],
                (
                    Act("confirm", _("就按这个时间")),
                    Act(
                        "correct",
                        _("改签退时间"),
                        (
                            Ask("day", _("日期"), kind="date", value=local(one["checked_out_at"], "%Y-%m-%d")),
                            Ask("clock", _("时间"), kind="time"),
                            _reason(),
                        ),
                        "outline-primary",
                    ),
                    Act("void", _("本人没有来"), (_reason(),), "outline-secondary"),
                ),
                [(_("看这一场"), url_for(".session", session_id=one["session_id"]))],
            )
        )
    return cases, further


def _settle_leftover(id: str, verdict: str) -> Told:
    if verdict == "confirm":
        change("confirm_attendance", reviewing.ConfirmAttendance(actor(), id))
        return _("已确认。")
    reason = words("reason", _("原因"))
    if verdict == "void":
        change("void_attendance", reviewing.VoidAttendance(actor(), id, reason))
        return _("已作废。")
    day("day", _("日期"))
    left_at = moment("day", "clock", _("签退时间"))
    change("correct_attendance", reviewing.CorrectAttendance(actor(), id, reason, checked_out_at=left_at))
    return _("时间已更正。")


def _uncredited(after: Any) -> Listed:
    visible = scope(reading(), actor(), Permission.CREDIT_RECORD)
    found, further = uncredited(reading(), visible, today(), zone(), tuple(after) if after else None, ON_A_PAGE)
    return [
        Case(
            one.session_id,
            one.title,
            [
                (_("小区"), node_name(one.organization_id)),
                (_("时间"), on(one.starts_at.astimezone(zone()).date())),
                (_("签到"), _("%(n)s人还没录积分，其中%(m)s人要先核对时间", n=one.attendances, m=one.to_review)),
                (_("最迟"), on(one.due_day)),
            ],
            (),
            [(_("去录积分"), url_for(".session_credit", session_id=one.session_id))],
            is_late=one.due_day < today(),
        )
        for one in found
    ], further


def _consents(after: Any) -> Listed:
    estates = scope(reading(), actor(), Permission.CREDIT_READ)
    found, further = crediting.page(
        reading(),
        estates,
        state=Credit.WAITING_CONSENT,
        after=tuple(after) if after else None,
        limit=ON_A_PAGE,
    )
    names = people(one["resident_id"] for one in found)
    return [
        Case(
            one["id"],
            _name(names, one["resident_id"]),
            _credit_facts(one),
            (),
            [(_("登记本人同意"), url_for(".person", resident_id=one["resident_id"]) + "#consent")],
        )
        for one in found
    ], further


KINDS: Final[Mapping[str, Kind]] = {
    "objections": Kind(_l("公示期内的异议"), _objections, _decide_objection),
    "appeals": Kind(_l("申诉和更正请求"), _appeals, _decide_appeal),
    "adjustments": Kind(_l("积分调整"), _adjustments, _decide_adjustment),
    "claims": Kind(_l("补报的服务"), _claims, _decide_claim),
    "disputes": Kind(_l("居民说“这不是我”"), _disputes, _answer_dispute),
    "reports": Kind(_l("居民反映的机器问题"), _reports, _decide_report),
    "doubts": Kind(_l("没法确认有没有出货的兑换"), _doubts, _resolve),
    "anomalies": Kind(_l("看起来不寻常的记录"), _anomalies, _look),
    "leftovers": Kind(_l("忘了签退，要核对时间"), _leftovers, _settle_leftover),
    "uncredited": Kind(_l("过了10个工作日还没录积分的签到"), _uncredited),
    "consents": Kind(_l("等本人同意的积分"), _consents),
}

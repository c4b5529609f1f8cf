"""Today's work: what waits for the one who looks, each with its number and the way to it, and the sessions of today."""

from typing import Any, Final, NamedTuple

from flask import render_template, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from jishan_server.api.asking import actor, parts
from jishan_server.explaining import anomalies, figures
from jishan_server.organizations.roles import Permission, scope
from jishan_server.people import messages, staff
from jishan_server.reading import reading
from jishan_server.volunteering import session_credits
from jishan_server.volunteering import sessions as planning
from jishan_server.web.desk_ground import ON_A_PAGE, can, desk, node_name
from jishan_server.web.desk_todo import LOOKED_BACK
from jishan_server.web.ground import for_staff, today, zone

COUNTED: Final = 200
"""What is more is shown as more: nobody does two hundred in a morning."""


class Work(NamedTuple):
    """A line of today's work."""

    words: str
    number: int
    address: str
    late: int = 0
    is_more: bool = False
    hint: str = ""


@desk.get("")
@for_staff
def home() -> ResponseReturnValue:
    """Today's work."""
    sittings: list[dict[str, Any]] = []
    if can(Permission.ACTIVITY_READ):
        day = today()
        sittings, _further = planning.page(
            reading(),
            actor(),
            zone(),
            organization_id=None,
            activity_id=None,
            first_day=day,
            last_day=day,
            after=None,
            limit=ON_A_PAGE,
        )
    return render_template(
        "desk/home.html",
        person=staff.view(reading(), actor()),
        works=[one for one in _works() if one.number],
        sittings=sittings,
    )


def _works() -> list[Work]:
    found: list[Work] = []
    counts = dict.fromkeys(figures.REVIEWS, 0)
    if can(Permission.STATISTICS_READ):
        counts = figures.reviews(reading(), actor(), None, parts().clock(), zone())["total"]
    mine = 0
    if can(Permission.CREDIT_APPROVE):
        estates = scope(reading(), actor(), Permission.CREDIT_APPROVE)
        waiting, further = session_credits.waiting(reading(), actor(), estates, None, COUNTED)
        mine = len(waiting)
        # Whose turn it is, where that is the node above: an estate with nobody besides the recorder.
        above = {
            one["approval_organization_id"] for one in waiting if one["approval_organization_id"] != one["estate_id"]
        }
        hint = _("其中有些要由上级审核：%(names)s", names="、".join(map(node_name, above))) if above - {None} else ""
        late = min(mine, counts["credits_overdue"])
        found.append(Work(_("等您审核的积分"), mine, url_for(".approve"), late, further is not None, hint))
    if can(Permission.CREDIT_READ) and counts["credits_waiting"] > mine:
        others = counts["credits_waiting"] - mine
        found.append(Work(_("等别人审核的积分"), others, url_for(".credits", state="recorded")))
    table = (
        (
            "redemptions_in_doubt",
            Permission.REDEMPTION_READ,
            "doubts",
            _("没法确认有没有出货的兑换"),
            "redemptions_overdue",
        ),
        ("reports_open", Permission.REPORT_READ, "reports", _("居民反映的机器问题"), "reports_overdue"),
        ("objections_open", Permission.OBJECTION_DECIDE, "objections", _("公示期内的异议"), None),
        ("appeals_open", Permission.APPEAL_DECIDE, "appeals", _("申诉和更正请求"), "appeals_overdue"),
        ("adjustments_open", Permission.ADJUSTMENT_APPROVE, "adjustments", _("等第二个人确认的积分调整"), None),
        ("claims_open", Permission.CREDIT_RECORD, "claims", _("补报的服务"), None),
        ("attendances_to_review", Permission.ATTENDANCE_WRITE, "leftovers", _("忘了签退，要核对时间"), None),
        (
            "attendances_overdue",
            Permission.CREDIT_RECORD,
            "uncredited",
            _("过了10个工作日还没录积分的签到"),
            "attendances_overdue",
        ),
        ("credits_waiting_consent", Permission.CREDIT_READ, "consents", _("等本人同意的积分"), None),
    )
    for name, permission, kind, says, late_name in table:
        if can(permission):
            late = counts[late_name] if late_name else 0
            found.append(Work(says, counts[name], url_for(".todo", kind=kind), late))
    if can(Permission.MESSAGE_READ):
        estates = scope(reading(), actor(), Permission.MESSAGE_READ)
        disputes, more = messages.disputed(reading(), estates, False, None, COUNTED)
        found.append(Work(_("居民说“这不是我”"), len(disputes), url_for(".todo", kind="disputes"), 0, more is not None))
    if can(Permission.ANOMALY_READ):
        asked = anomalies.Wanted(today() - LOOKED_BACK, today(), is_looked_at=False)
        odd = anomalies.anomalies(reading(), actor(), asked, parts().clock(), zone())
        found.append(
            Work(_("看起来不寻常的记录"), len(odd["items"]), url_for(".todo", kind="anomalies"), 0, not odd["is_whole"])
        )
    if can(Permission.TASK_CONFIRM):
        found.append(Work(_("等您确认办结的事项"), counts["tasks_to_confirm"], url_for(".tasks", state="handled")))
    return found

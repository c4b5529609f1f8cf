"""Figures as charts that our own code draws, each with its table beside it."""

from datetime import date
from typing import Any, Final, NamedTuple

from flask import render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from markupsafe import Markup, escape

from jishan_server.api.asking import actor, parts
from jishan_server.errors import DomainError
from jishan_server.explaining import figures as counting
from jishan_server.explaining.figures import By
from jishan_server.reading import reading
from jishan_server.web.desk_ground import desk, in_words, nodes, said
from jishan_server.web.ground import for_staff, today, zone

WIDTH: Final = 350
"""As wide as a phone, so that the letters are as large there as everywhere."""
ROW: Final = 30
LABELS: Final = 110
VALUES: Final = 62
MOST_BARS: Final = 40
"""What is further down stands in the table."""
SIGNS: Final = 8
"""As much of a name as fits beside its bar; where any is longer, all stand above their bars."""
SIGNS_ABOVE: Final = 34


class Chart(NamedTuple):
    """One figure: its heading, the drawing, and (name, number in words) of each bar."""

    title: str
    drawing: Markup
    rows: list[tuple[str, str]]


@desk.get("/figures")
@for_staff
def figures() -> ResponseReturnValue:
    """Hours and points, people, and what waits."""
    last = today()
    first = date(last.year, 1, 1)
    by, error = By.MONTH, None
    charts: list[Chart] = []
    try:
        first = date.fromisoformat(request.args.get("first_day") or first.isoformat())
        last = date.fromisoformat(request.args.get("last_day") or last.isoformat())
        by = By(request.args.get("by") or By.MONTH)
        wanted = counting.Wanted(first, last, by, request.args.get("node") or None)
        charts = _charts(wanted)
    except ValueError:
        error = DomainError("fields_invalid", names=_("日期"))
    except DomainError as refusal:
        error = refusal
    shown = render_template(
        "desk/figures.html",
        charts=charts,
        first_day=first.isoformat(),
        last_day=last.isoformat(),
        by=by.value,
        ways=[
            ("month", _("按月")),
            ("activity_type", _("按活动类型")),
            ("estate", _("按小区")),
            ("building", _("按楼栋")),
        ],
        node=request.args.get("node", ""),
        places=[("", _("全部"))] + [(one["id"], one["name"]) for one in nodes(None)],
        error=error and said(error),
    )
    return shown, error.status if error else 200


def _charts(wanted: counting.Wanted) -> list[Chart]:
    service = counting.service(reading(), actor(), wanted, zone())["items"]
    charts = [
        _chart(_("服务时长（小时）"), service, "minutes", divisor=60),
        _chart(_("发放积分"), service, "points"),
        _chart(_("服务人次"), service, "attendances"),
        _chart(_("服务人数"), service, "people"),
    ]
    if wanted.by is not By.ACTIVITY_TYPE:
        people = counting.people(reading(), actor(), wanted, zone())["items"]
        charts += [
            _chart(_("兑换掉的积分"), service, "spent_points"),
            _chart(_("新登记的人"), people, "new"),
            _chart(_("有服务的人"), people, "active"),
            _chart(_("没有服务的人"), people, "inactive"),
        ]
    waiting = counting.reviews(reading(), actor(), wanted.organization_id, parts().clock(), zone())["total"]
    names = review_words()
    rows = [{"name_zh": names[name], "name_en": names[name], "n": waiting[name]} for name in counting.REVIEWS]
    return [*charts, _chart(_("现在等处理的"), [one for one in rows if one["n"]], "n")]


def _chart(title: str, items: list[dict[str, Any]], measure: str, divisor: int = 1) -> Chart:
    bars = [(in_words(one["name_zh"], one["name_en"]), (one[measure] or 0) / divisor) for one in items]
    return Chart(title, drawn(title, bars[:MOST_BARS]), [(name, number(value)) for name, value in bars])


def drawn(title: str, bars: list[tuple[str, float]]) -> Markup:
    """Bars as SVG: names beside or above them, each number at the end of its bar, all from zero."""
    most = max((value for _name, value in bars), default=0) or 1
    is_above = any(len(name) > SIGNS for name, _value in bars)
    left, above = (8, ROW) if is_above else (LABELS, 0)
    step = ROW + above
    height = step * len(bars) + 10
    room = WIDTH - left - VALUES
    anchor = f'x="{left}"' if is_above else f'x="{left - 8}" text-anchor="end"'
    rows = [
        f'<text {anchor} y="{step * place + 25}">{escape(short(name))}</text>'
        f'<rect class="bar" x="{left}" y="{step * place + above + 9}" width="{room * value / most:.1f}"'
        f' height="{ROW - 8}"/>'
        f'<text x="{left + room * value / most + 6:.1f}" y="{step * place + above + 25}">{number(value)}</text>'
        for place, (name, value) in enumerate(bars)
    ]
    axis = f'<line class="axis" x1="{left}" y1="4" x2="{left}" y2="{height - 2}"/>'
    # Every part was escaped, or is a number of ours.
    return Markup(  # noqa: S704
        f'<svg class="chart" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">'
        f"{axis}{''.join(rows)}</svg>"
    )


def short(name: str) -> str:
    """A name cut to what fits above its bar."""
    return name if len(name) <= SIGNS_ABOVE else f"{name[: SIGNS_ABOVE - 1]}…"


def number(value: float) -> str:
    """A number as it is read: whole, or with one digit behind the point."""
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"


def review_words() -> dict[str, str]:
    """What waits, in words."""
    return {
        "credits_waiting": _("等审核的积分"),
        "credits_overdue": _("超期没审核的积分"),
        "credits_waiting_consent": _("等本人同意的积分"),
        "credits_in_notice": _("公示中的积分"),
        "attendances_to_review": _("要核对的签退"),
        "attendances_overdue": _("超期没录的签到"),
        "objections_open": _("异议"),
        "appeals_open": _("申诉和更正"),
        "appeals_overdue": _("超期的申诉"),
        "adjustments_open": _("积分调整"),
        "claims_open": _("补报的服务"),
        "tasks_to_confirm": _("等确认的事项"),
        "reports_open": _("机器问题"),
        "reports_overdue": _("超期的机器问题"),
        "redemptions_in_doubt": _("没法确认的兑换"),
        "redemptions_overdue": _("超期的没法确认"),
    }

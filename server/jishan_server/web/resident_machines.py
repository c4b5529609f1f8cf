"""Machines for a resident: where they are and what is left, and what to do when something went wrong at one."""

from flask import render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from jishan_server.api.asking import actor, change
from jishan_server.api.paging import page, read_cursor
from jishan_server.errors import DomainError
from jishan_server.organizations import tree
from jishan_server.people.residents import estate_of
from jishan_server.reading import reading
from jishan_server.vending import finding
from jishan_server.vending import reports as vending
from jishan_server.volunteering import statements
from jishan_server.web.ground import done, for_residents, on, pages, resident_id
from jishan_server.web.resident_forms import ON_A_PAGE, asked, id_of, reason_of, text_of

resident_machines = pages("resident_machines", "/my")


@resident_machines.get("/machines")
@for_residents
def machines() -> ResponseReturnValue:
    """The machines of my estate, then those around: what is left, for how many points, and whether they sell now."""
    own = estate_of(reading(), resident_id())
    nodes = tree.path(reading(), own)
    around = tree.below(reading(), nodes[-2].id if len(nodes) > 1 else own) - {own}
    return render_template(
        "resident/machines.html",
        available=statements.balance(reading(), actor(), resident_id())["available_points"],
        own=finding.around(reading(), {own}),
        around=finding.around(reading(), around),
    )


@resident_machines.get("/reports")
@for_residents
def list_reports() -> ResponseReturnValue:
    """What I said went wrong, and where it stands; and my last redemptions, to say so of one of them."""
    before = read_cursor(request.args.get("cursor"))
    found = page(*vending.own(reading(), resident_id(), before, ON_A_PAGE))
    return render_template(
        "resident/reports.html",
        items=found["items"],
        next_cursor=found["next_cursor"],
        redemptions=[] if before else vending.candidates(reading(), actor(), resident_id()),
        kinds=kind_words(),
    )


@resident_machines.route("/reports/new", methods=["GET", "POST"])
@for_residents
def report() -> ResponseReturnValue:
    """Say what went wrong: with one of my redemptions, or at a machine."""
    id = resident_id()
    redemption_id, machine_id = id_of("redemption"), id_of("machine")

    def make() -> ResponseReturnValue:
        kind = request.form.get("kind", "")
        if kind not in vending.KINDS:
            raise DomainError("choice_missing")
        made = change("make_report", vending.MakeReport(actor(), id, kind, text_of("words"), redemption_id, machine_id))
        if made["state"] == "given_back":
            words = _("这次的积分已经退回您的账户了。编号%(ticket)s。", ticket=made["ticket"])
        else:
            words = _("收到了，%(day)s前答复您。编号%(ticket)s。", day=on(made["answer_by"]), ticket=made["ticket"])
        return done(words, "pages_resident_machines.list_reports")

    def shown() -> dict[str, object]:
        redeemed = vending.candidates(reading(), actor(), id)
        return {
            "redemption": next((one for one in redeemed if one["redemption_id"] == redemption_id), None),
            "redemption_id": redemption_id,
            "machine_id": machine_id,
            "machines": finding.around(reading(), {estate_of(reading(), id)}),
            "kinds": kind_words(),
        }

    return asked("resident/report.html", make, shown)


@resident_machines.route("/reports/<int:number>/reopen", methods=["GET", "POST"])
@for_residents
def reopen(number: int) -> ResponseReturnValue:
    """Have a refused report looked at once more, by somebody else."""
    vending.require_own(reading(), resident_id(), number)

    def again() -> ResponseReturnValue:
        made = change("reopen_report", vending.ReopenReport(actor(), number, reason_of()))
        words = _("会由另一位工作人员复核，%(day)s前答复您。", day=on(made["answer_by"]))
        return done(words, "pages_resident_machines.list_reports")

    return asked("resident/reopen.html", again, lambda: {"one": vending.view(reading(), number)})


def kind_words() -> dict[str, str]:
    """What can go wrong at a machine, in words, in the order in which it happens most."""
    return {
        "not_out": _("没有出货"),
        "stuck": _("卡住了"),
        "wrong_item": _("出错了东西"),
        "bad_item": _("东西坏了或过期"),
        "other": _("其他"),
    }

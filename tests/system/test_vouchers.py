"""One voucher from the phone to the item, with the office, the gateway and a real agent; and every way it ends."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parent))
sys.path.append(str(Path(__file__).parents[1] / "server"))

from office import opened
from shop import BEAT_MS, PRICES, Shop
from simulated_machine import SimulatedMachine
from world import quiet

from jishan_agent.vouchers import VoucherShown
from jishan_server.db import make_engine, upgrade
from jishan_server.ledger.verify import verify
from jishan_server.vending.checks import CHECKS

SELECTION = 13
POINTS = PRICES[SELECTION]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    engine = make_engine(f"sqlite:///{path}")
    upgrade(engine)
    engine.dispose()
    return path


@pytest.fixture
def shop(template: Path, tmp_path: Path) -> Iterator[Shop]:
    quiet()
    with opened(template, tmp_path) as office:
        made = Shop(office)
        yield made
        made.close()


def let_hours_pass(shop: Shop, hours: int) -> None:
    """The server's clock goes on without the machines; a day at a time, so that it is believed."""
    while hours:
        step = min(hours, 24)
        hours -= step
        shop._began_at += timedelta(hours=step)
        shop.office.now = shop.now
        shop.office._tokens.clear()
        shop.office.credit(2, 1)
    shop.run(6 * BEAT_MS)


@pytest.fixture
def machine(shop: Shop) -> SimulatedMachine:
    """A machine that may have three vouchers open, and has the key."""
    made = shop.machine()
    shop.office.ok("PUT", "/machines/box-1/vouchers", {"most": 3}, as_="operator")
    shop.run(2 * BEAT_MS)
    book = shop.office.ok("GET", "/machines/box-1/vouchers", as_="operator")
    assert book["is_ready"], book
    return made


def wanted(**changes: Any) -> dict[str, Any]:
    return {"machine_id": "box-1", "selection": SELECTION, "product_id": "soap", "points": POINTS} | changes


def issue(shop: Shop, resident: int = 0, **changes: Any) -> dict[str, Any]:
    path = f"/residents/{shop.people.residents[resident].id}/vouchers"
    made: dict[str, Any] = shop.office.ok("POST", path, wanted(**changes), as_="coordinator")
    return made


def refused(shop: Shop, resident: int = 0, **changes: Any) -> str:
    path = f"/residents/{shop.people.residents[resident].id}/vouchers"
    answer = shop.office.send("POST", path, wanted(**changes), as_="coordinator")
    assert answer.status_code >= 400, answer.text
    return str(answer.get_json()["code"])


def show(shop: Shop, machine: SimulatedMachine, text: str) -> str:
    assert machine.agent is not None
    machine._guarded(lambda agent: agent.handle(VoucherShown(text), shop.scheduler.now_ms))
    shop.run(10_000)
    return shop.said(machine)


def cut(shop: Shop, machine: SimulatedMachine) -> None:
    """The link goes down and stays so."""
    shop.network.is_up = False
    machine.unlink()
    shop.run(1_000)


def mend(shop: Shop) -> None:
    shop.network.is_up = True
    shop.run(3 * BEAT_MS)


def state(shop: Shop, voucher: dict[str, Any]) -> str:
    path = f"/residents/{shop.people.residents[0].id}/vouchers"
    listed = shop.office.ok("GET", path, as_="coordinator")["items"]
    return str(next(one["state"] for one in listed if one["id"] == voucher["id"]))


@pytest.mark.parametrize("form", ["text", "digits"])
def test_a_reserved_item_comes_out_without_a_link(shop: Shop, machine: SimulatedMachine, form: str) -> None:
    before = shop.balance(0)
    made = issue(shop)
    assert shop.balance(0) == (before[0], POINTS)
    cut(shop, machine)
    let_hours_pass(shop, 48)
    assert shop.choose(machine, shop.card(0)) == "offline"
    assert show(shop, machine, made[form]) == "dispensed"
    assert show(shop, machine, made[form]) == "voucher_used"
    assert len(machine.cabinet.dropped) == 1
    mend(shop)
    assert shop.balance(0) == (before[0] - POINTS, 0)
    assert state(shop, made) == "taken"
    assert shop.states() == ["captured"]


def test_a_voucher_issued_while_the_link_is_down_is_as_good(shop: Shop, machine: SimulatedMachine) -> None:
    cut(shop, machine)
    assert show(shop, machine, issue(shop)["text"]) == "dispensed"


def test_one_given_back_frees_its_points_on_the_machines_word_alone(shop: Shop, machine: SimulatedMachine) -> None:
    before = shop.balance(0)
    first, second = issue(shop), issue(shop)
    cut(shop, machine)
    shop.office.ok("POST", f"/vouchers/{second['id']}/give-back", {}, as_="coordinator")
    let_hours_pass(shop, 12)
    assert shop.balance(0) == (before[0], 2 * POINTS)
    assert state(shop, second) == "ending"
    mend(shop)
    assert state(shop, second) == "ended"
    assert state(shop, first) == "open"
    assert shop.balance(0) == (before[0], POINTS)
    cut(shop, machine)
    assert show(shop, machine, second["text"]) == "voucher_ended"
    assert show(shop, machine, first["text"]) == "dispensed"


def test_one_that_is_taken_after_it_was_given_back_is_paid(shop: Shop, machine: SimulatedMachine) -> None:
    before = shop.balance(0)
    made = issue(shop)
    cut(shop, machine)
    shop.office.ok("POST", f"/vouchers/{made['id']}/give-back", {}, as_="coordinator")
    assert show(shop, machine, made["text"]) == "dispensed"
    mend(shop)
    assert shop.balance(0) == (before[0] - POINTS, 0)
    assert state(shop, made) == "taken"


def test_an_expired_one_is_closed_the_same_way(shop: Shop, machine: SimulatedMachine) -> None:
    before = shop.balance(0)
    made = issue(shop)
    let_hours_pass(shop, 7 * 24)
    mend(shop)
    assert state(shop, made) == "ended"
    assert shop.balance(0) == before
    assert show(shop, machine, made["text"]) == "voucher_ended"


def test_somebody_is_told_of_a_machine_that_does_not_say_what_it_closed(shop: Shop, machine: SimulatedMachine) -> None:
    made = issue(shop)
    cut(shop, machine)
    shop.office.ok("POST", f"/vouchers/{made['id']}/give-back", {}, as_="coordinator")
    let_hours_pass(shop, 25)
    kinds = {one["kind"] for one in shop.office.ok("GET", "/alerts?open=true", as_="operator")["items"]}
    assert "vouchers_unreported" in kinds
    assert "redemption_open" not in kinds, "a voucher that waits is not stuck"
    mend(shop)
    kinds = {one["kind"] for one in shop.office.ok("GET", "/alerts?open=true", as_="operator")["items"]}
    assert "vouchers_unreported" not in kinds


def test_a_voucher_keeps_nobody_from_redeeming_something_else(shop: Shop, machine: SimulatedMachine) -> None:
    issue(shop)
    assert shop.choose(machine, shop.card(0)) == "dispensed"


def test_what_may_not_be_reserved_is_refused_and_holds_nothing(shop: Shop, machine: SimulatedMachine) -> None:
    with shop.nothing_moves():
        assert refused(shop, points=POINTS + 1) == "changed"
        assert refused(shop, selection=15) == "selection_closed"
        assert refused(shop, selection=99) == "selection_unknown"
        assert refused(shop, machine_id="box-9") == "machine_unknown"
    issue(shop)
    issue(shop)
    issue(shop)
    with shop.nothing_moves():
        assert refused(shop) == "vouchers_too_many"
        assert refused(shop, 1) == "vouchers_machine_full"


def test_a_machine_that_does_not_offer_vouchers_has_none(shop: Shop) -> None:
    shop.machine()
    assert refused(shop) == "vouchers_not_here"
    shop.office.ok("PUT", "/machines/box-1/vouchers", {"most": 3}, as_="operator")
    assert refused(shop) == "vouchers_not_now"


def test_a_slot_that_changed_refuses_with_words_and_the_voucher_can_be_given_back(
    shop: Shop, machine: SimulatedMachine
) -> None:
    before = shop.balance(0)
    made = issue(shop)
    shop.plan("box-1", {selection: points + 1 for selection, points in PRICES.items()})
    shop.run(2 * BEAT_MS)
    assert show(shop, machine, made["text"]) == "voucher_changed"
    assert show(shop, machine, made["digits"]) == "voucher_wrong"
    assert state(shop, made) == "open"
    shop.office.ok("POST", f"/vouchers/{made['id']}/give-back", {}, as_="coordinator")
    shop.run(2 * BEAT_MS)
    assert state(shop, made) == "ended"
    assert shop.balance(0) == before


def test_a_machine_enrolled_anew_honours_no_old_number(shop: Shop, machine: SimulatedMachine) -> None:
    made = issue(shop)
    code = shop.office.ok("POST", "/machines/box-1/claim-code", as_="operator")["claim_code"]
    shop.office.ok("POST", "/enroll", {"claim_code": code, "journal_id": "journal-new"}, as_=None)
    assert state(shop, made) == "lost"
    assert shop.states() == ["in_doubt"]
    assert refused(shop) == "vouchers_not_now"


def test_the_ledger_and_the_histories_are_in_order_at_the_end(shop: Shop, machine: SimulatedMachine) -> None:
    first, second = issue(shop), issue(shop)
    show(shop, machine, first["text"])
    shop.office.ok("POST", f"/vouchers/{second['id']}/give-back", {}, as_="coordinator")
    shop.run(2 * BEAT_MS)
    assert sorted(shop.states()) == ["captured", "voided"]
    assert state(shop, second) == "ended"
    with shop.parts.engine.connect() as connection:
        report = verify(connection, CHECKS, processes=1)
    assert report.ok, report.first_break

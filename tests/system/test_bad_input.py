"""What people and machines do wrong, from end to end: each is refused in words, and nothing moves.

No point, no stock and no motor: `Shop.nothing_moves` compares all of it. What is wrong with a request over HTTP alone
is in `tests/server/test_bad_input.py`, what is wrong with a message in `tests/server/gateway/test_refusals.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import select

sys.path.append(str(Path(__file__).parent))
sys.path.append(str(Path(__file__).parents[1] / "server"))

from office import opened
from postgresql_server import Postgresql, start_postgresql, stop_postgresql
from processes import missing
from shop import BEAT_MS, NOT_FOR_SALE, POINTS, PRICES, PRODUCT, STOCK, UP_MS, WATCH_MS, Shop
from simulated_machine import SimulatedMachine
from world import quiet

from jishan_protocol import topics
from jishan_protocol.envelope import Envelope, Session, mac, seal
from jishan_protocol.messages import Approved, Denied, Dispensed, NotDispensed, OutboxMessage, VendStarted, encode
from jishan_protocol.sealing import Credential
from jishan_server.db import make_engine, upgrade
from jishan_server.vending import tables
from jishan_sim.faults import Faults, VendFaults

FULL = (POINTS, 0)
T = TypeVar("T")


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
    """An estate on SQLite; the first two residents have POINTS."""
    quiet()
    with opened(template, tmp_path) as office:
        made = Shop(office)
        yield made
        made.close()


@pytest.fixture
def machine(shop: Shop) -> SimulatedMachine:
    """A machine that sells."""
    return shop.machine()


def denied(shop: Shop, machine: SimulatedMachine, credential: Credential, selection: int = 13) -> str:
    """Try to redeem; the machine must say the server's refusal in both languages, and nothing may move."""
    with shop.nothing_moves():
        said = shop.choose(machine, credential, selection)
    assert said.startswith("denied:"), said
    assert machine.agent is not None
    shown = machine.agent.status.said
    assert said == f"denied:{last(shop, Denied).code}"
    assert (shown.zh, shown.en) == (last(shop, Denied).text_zh, last(shop, Denied).text_en)
    assert "积分都在" in shown.zh or "没有扣分" in shown.zh
    return said.removeprefix("denied:")


def last(shop: Shop, kind: type[T]) -> T:
    """The server's last answer of a kind."""
    return next(one for one in reversed(shop.answers) if isinstance(one, kind))


def still_sells(shop: Shop, machine: SimulatedMachine, resident: int = 0, points: int = PRICES[13]) -> None:
    """What was refused has broken nothing: the next one gets an item for exactly its points."""
    posted, held = shop.balance(resident)
    fallen = machine.cabinet.items_dropped(13)
    assert shop.choose(machine, shop.card(resident)) == "dispensed"
    assert shop.balance(resident) == (posted - points, held)
    assert machine.cabinet.items_dropped(13) == fallen + 1


# people at the machine


def test_an_unknown_card_is_refused(shop: Shop, machine: SimulatedMachine) -> None:
    assert denied(shop, machine, Credential(card="DEADBEEF")) == "card_unknown"
    still_sells(shop, machine)


def test_a_card_that_a_wrongly_set_reader_would_make_of_a_known_one_is_refused(
    shop: Shop, machine: SimulatedMachine
) -> None:
    assert shop.people.residents[0].card == "00745A70"
    assert denied(shop, machine, Credential(card="705A7400")) == "card_unknown"


def test_a_blocked_card_is_refused_before_and_after_the_machine_knows(shop: Shop, machine: SimulatedMachine) -> None:
    (card,) = shop.office.ok("GET", f"/residents/{shop.people.residents[0].id}")["cards"]
    shop.office.ok("POST", f"/cards/{card['id']}/block", {"reason": "lost"})
    assert denied(shop, machine, shop.card(0)) == "card_blocked"
    shop.run(WATCH_MS + BEAT_MS)
    with shop.nothing_moves():
        machine.identify(shop.card(0))
        assert shop.said(machine) == "card_blocked"
        shop.run()
    assert shop.states() == ["denied"]
    still_sells(shop, machine, resident=1)


def test_a_frozen_resident_is_refused_by_card_and_by_number(shop: Shop, machine: SimulatedMachine) -> None:
    path = f"/residents/{shop.people.residents[0].id}"
    shop.office.ok("POST", f"{path}/freeze", {"reason": "搬走"}, as_="admin")
    assert denied(shop, machine, shop.card(0)) == "resident_frozen"
    assert denied(shop, machine, shop.number(0)) == "resident_frozen"
    shop.office.ok("POST", f"{path}/unfreeze", {"reason": "搬回"}, as_="admin")
    still_sells(shop, machine)


def test_a_wrong_pin_five_times_closes_the_number_and_leaves_the_card_and_the_points(
    shop: Shop, machine: SimulatedMachine
) -> None:
    wrong = shop.number(0, pin="9999")
    assert [denied(shop, machine, wrong) for _ in range(5)] == ["pin_wrong"] * 4 + ["pin_locked"]
    assert denied(shop, machine, shop.number(0)) == "pin_locked"
    still_sells(shop, machine)
    shop.run(16 * 60_000)
    posted, _ = shop.balance(0)
    assert shop.choose(machine, shop.number(0)) == "dispensed"
    assert shop.balance(0) == (posted - PRICES[13], 0)


def test_a_wrong_member_number_is_refused_in_the_words_of_a_wrong_pin(shop: Shop, machine: SimulatedMachine) -> None:
    assert denied(shop, machine, Credential(member="10000000", pin="123456")) == "member_unknown"


def test_a_selection_that_does_not_exist_is_refused_by_machine_and_server(
    shop: Shop, machine: SimulatedMachine
) -> None:
    box = shop.box()
    with shop.nothing_moves():
        assert shop.choose(machine, shop.card(0), 99) == "no_such_selection"
        assert shop.states() == []
        box.ask(0, selection=99)
    assert last(shop, Denied).code == "selection_unknown"


def test_a_sold_out_selection_is_refused(shop: Shop, machine: SimulatedMachine) -> None:
    shop.count("box-1", 0)
    assert denied(shop, machine, shop.card(0)) == "sold_out"
    shop.count("box-1", 1)
    still_sells(shop, machine)
    assert denied(shop, machine, shop.card(1)) == "sold_out"


def test_a_selection_that_the_controller_says_is_empty_gives_the_points_back(
    shop: Shop, machine: SimulatedMachine
) -> None:
    machine.cabinet.slots[13].items = machine.cabinet.slots[13].stock = 0
    assert shop.choose(machine, shop.card(0)) == "not_sellable"
    assert (shop.balance(0), machine.cabinet.turns) == (FULL, 0)
    assert shop.states() == ["voided"]


def test_a_disabled_selection_is_refused(shop: Shop, machine: SimulatedMachine) -> None:
    with shop.nothing_moves():
        assert shop.choose(machine, shop.card(0), NOT_FOR_SALE) == "selection_disabled"
        assert shop.states() == []


def test_a_selection_closed_a_moment_ago_is_refused_before_the_machine_knows(
    shop: Shop, machine: SimulatedMachine
) -> None:
    path = "/machines/box-1/slots/13/state"
    shop.office.ok("PUT", path, {"is_open": False, "reason": "缺货"}, as_="operator")
    assert denied(shop, machine, shop.card(0)) == "selection_closed"
    shop.run(BEAT_MS)
    with shop.nothing_moves():
        assert shop.choose(machine, shop.card(0)) == "selection_disabled"


def test_a_price_changed_between_choosing_and_pressing_is_refused_before_the_machine_knows(
    shop: Shop, machine: SimulatedMachine
) -> None:
    assert choose_first(shop, machine) == "identify"
    shop.plan("box-1", PRICES | {13: 3})
    with shop.nothing_moves():
        machine.identify(shop.card(0))
        shop.run()
    assert shop.said(machine) == "denied:changed"
    shop.run(BEAT_MS)
    still_sells(shop, machine, points=3)


def test_a_price_changed_between_choosing_and_pressing_is_refused_after_the_machine_knows(
    shop: Shop, machine: SimulatedMachine
) -> None:
    assert choose_first(shop, machine) == "identify"
    shop.plan("box-1", PRICES | {13: 3})
    shop.run(BEAT_MS)
    with shop.nothing_moves():
        machine.identify(shop.card(0))
        shop.run()
    assert shop.said(machine) == "changed"
    assert shop.states() == []
    still_sells(shop, machine, points=3)


def choose_first(shop: Shop, machine: SimulatedMachine) -> str:
    """Press without a card: the machine says the price and waits."""
    machine.press(13)
    shop.run(1_000)
    assert machine.agent is not None
    assert machine.agent.status.said.zh == f"{PRODUCT['name_zh']}，2分。请刷卡。"
    return shop.said(machine)


def test_a_second_redemption_while_one_is_open_is_refused(shop: Shop, machine: SimulatedMachine) -> None:
    other = shop.machine("box-2")
    machine.set_faults(Faults(vend=VendFaults(hold_status_ms=30_000)))
    machine.identify(shop.card(0))
    machine.press(13)
    shop.run()
    assert (shop.states(), machine.cabinet.items_dropped()) == (["vending"], 1)
    assert shop.balance(0) == (POINTS, 2)
    assert denied(shop, other, shop.card(0)) == "another_redemption_open"
    with shop.nothing_moves():
        assert shop.choose(machine, shop.card(1)) == "busy"
    shop.run(60_000)
    assert shop.balance(0) == (POINTS - 2, 0)
    assert (machine.cabinet.items_dropped(), other.cabinet.items_dropped()) == (1, 0)
    still_sells(shop, other)


def test_too_few_points_are_refused_with_both_numbers(shop: Shop, machine: SimulatedMachine) -> None:
    shop.office.credit(2, 1)
    assert denied(shop, machine, shop.card(2)) == "not_enough_points"
    assert "要2分" in last(shop, Denied).text_zh
    assert "1分" in last(shop, Denied).text_zh


# machines that say what is not so


def test_an_outcome_for_a_redemption_the_machine_never_had_moves_nothing(shop: Shop) -> None:
    liar = shop.box()
    for claim in every_claim("f" * 32):
        with shop.nothing_moves():
            assert liar.say(claim).rejected == (liar.last_seq,)
    assert shop.states() == []


def test_an_outcome_for_another_machines_redemption_moves_nothing(shop: Shop, machine: SimulatedMachine) -> None:
    liar = shop.box()
    machine.set_faults(Faults(vend=VendFaults(hold_status_ms=30_000)))
    machine.identify(shop.card(0))
    machine.press(13)
    shop.run()
    id = machine.began[-1].redemption_id
    for claim in every_claim(id):
        with shop.nothing_moves():
            assert liar.say(claim).rejected == (liar.last_seq,)
    assert shop.states() == ["vending"]
    shop.run(60_000)
    assert (shop.states(), shop.balance(0)) == (["captured"], (POINTS - 2, 0))
    # Nor when it has ended.
    for claim in every_claim(id):
        with shop.nothing_moves():
            assert liar.say(claim).rejected == (liar.last_seq,)
    assert machine.cabinet.items_dropped() == 1


def every_claim(redemption_id: str) -> tuple[OutboxMessage, ...]:
    return (
        Dispensed(redemption_id, True, "02"),
        NotDispensed(redemption_id, "03", "selection"),
        VendStarted(redemption_id, "made.up", 13, "soap", 2, None),
    )


def test_an_outcome_told_twice_moves_nothing_the_second_time(shop: Shop) -> None:
    box = shop.box()
    id = box.vend(0)
    box.dispense(id)
    assert shop.balance(0) == (POINTS - 2, 0)
    with shop.nothing_moves():
        assert box.read(shop.deliver([box.sent[-1]]))
        assert box.dispense(id).rejected == ()
    jammed = box.vend(1)
    box.say(NotDispensed(jammed, "03", "selection"))
    assert shop.balance(1) == FULL
    with shop.nothing_moves():
        assert box.say(NotDispensed(jammed, "03", "selection")).rejected == ()


@pytest.mark.parametrize("is_dispensed", [True, False])
def test_the_opposite_outcome_moves_nothing_and_is_shown_to_a_person(shop: Shop, is_dispensed: bool) -> None:
    box = shop.box()
    id = box.vend(0)
    claims = (Dispensed(id, True, "02"), NotDispensed(id, "03", "selection"))
    first, second = claims if is_dispensed else claims[::-1]
    box.say(first)
    with shop.nothing_moves():
        assert box.say(second).rejected == ()
    assert shop.balance(0) == ((POINTS - 2, 0) if is_dispensed else FULL)
    (found,) = shop.office.ok("GET", "/contradictions", as_="operator")["items"]
    assert (found["redemption_id"], found["state"]) == (id, "captured" if is_dispensed else "voided")


# claim codes


def test_a_claim_code_used_twice_lets_nobody_else_in_and_the_machine_goes_on(
    shop: Shop, machine: SimulatedMachine
) -> None:
    code = shop.office.ok("POST", "/machines/box-1/claim-code", as_="operator")["claim_code"]
    shop.office.ok("POST", "/enroll", {"claim_code": code, "journal_id": machine.journal_id}, as_=None)
    before = shop.office.ok("GET", "/machines/box-1", as_="operator")
    with shop.nothing_moves():
        wanted = {"claim_code": code, "journal_id": "b" * 32}
        shop.office.refused(409, "claim_code_used", "POST", "/enroll", wanted, as_=None)
    assert shop.office.ok("GET", "/machines/box-1", as_="operator") == before


# bytes that are no message

SPOILT: dict[str, bytes] = {
    "no JSON": b"hello \xff",
    "half of JSON": b'{"v":1,"id":',
    "1 MiB": b'{"v":1,"x":"' + b"a" * 2**20 + b'"}',
    "deeply nested": b'{"v":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "deeply nested objects": b'{"v":' + b'{"a":' * 5_000 + b"1" + b"}" * 5_000 + b"}",
    "a fraction": b'{"v":1.5}',
    "nothing": b"",
}


@pytest.mark.parametrize("is_signed", [True, False])
def test_json_that_is_not_1_mib_of_it_and_nested_deeply_moves_nothing_at_either_end(
    shop: Shop, machine: SimulatedMachine, is_signed: bool
) -> None:
    address = machine.identity.shard, machine.identity.machine_id
    towards_the_server = [topics.up(*address, kind) for kind in ("outbox", "ask", "beat")]
    towards_the_machine = [topics.down(*address, kind) for kind in ("answer", "ack", "desired")]
    for what, content in SPOILT.items():
        before = sum(shop.gateway.refused.values())
        with shop.nothing_moves():
            for topic in (*towards_the_server, *towards_the_machine):
                signature = mac(machine.identity.key, topic, content) if is_signed else "0" * 64
                shop.network.publish(topic, signature.encode() + b"." + content)
            shop.run(1_000)
        assert sum(shop.gateway.refused.values()) == before + len(towards_the_server), what
        assert machine.agent is not None
        assert machine.agent.status.is_selling, what
    still_sells(shop, machine)


def test_an_approval_that_the_server_did_not_give_turns_no_motor(shop: Shop, machine: SimulatedMachine) -> None:
    """Whoever holds the broker, but not the machine's key, can say nothing to it."""
    topic = topics.down(machine.identity.shard, machine.identity.machine_id, "answer")
    type_name, body = encode(Approved("a" * 32, "made.up", 30, 8, ""))
    forged = seal(Envelope("s", type_name, body, "server", Session(0, 0, "s"), 1), topic, bytes(32))
    shop.network.disconnect("jishan/v1/")
    machine.identify(shop.card(0))
    machine.press(13)
    with shop.nothing_moves():
        shop.network.publish(topic, forged)
        shop.run(UP_MS)
    assert shop.said(machine) == "lapsed"


# names

NAMES = ("𠮷田小美", "赵丽🌸", "👨‍👩‍👧‍👦", "𪚥𪚥", "é̂lan")


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Postgresql]:
    """A PostgreSQL server with one migrated database."""
    try:
        server = start_postgresql()
    except LookupError:
        missing("PostgreSQL")
    try:
        server.command("CREATE DATABASE shop")
        engine = make_engine(server.url("shop"))
        upgrade(engine)
        engine.dispose()
        yield server
    finally:
        stop_postgresql(server)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.external)])
def any_shop(request: pytest.FixtureRequest, template: Path, tmp_path: Path) -> Iterator[Shop]:
    """An estate on SQLite and on PostgreSQL."""
    quiet()
    settings: dict[str, Any] = {}
    if request.param == "postgresql":
        settings["database_url"] = request.getfixturevalue("postgresql").url("shop")
    with opened(template, tmp_path, **settings) as office:
        made = Shop(office)
        yield made
        made.close()


def test_names_with_rare_signs_and_emoji_pass_unharmed_from_http_to_the_machine_and_back(any_shop: Shop) -> None:
    shop, office = any_shop, any_shop.office
    machine = shop.machine()
    assert machine.agent is not None
    with shop.nothing_moves():
        machine.press(13)
        shop.run(1_000)
    # The product's name: HTTP -> database -> planogram -> machine -> what it says.
    assert machine.agent.status.said.zh == "𠮷祥肥皂🧼，2分。请刷卡。"
    assert machine.agent.status.said.en == "Soap 🧼, 2 points. Please tap your card."
    shop.run(UP_MS)
    for number, name in enumerate(NAMES):
        made = office.ok("POST", "/residents", {"estate_id": shop.people.estate_id, "name": name})
        assert office.ok("GET", f"/residents/{made['id']}")["name"] == name
        card = f"0A0B0C{number:02X}"
        office.ok("POST", f"/residents/{made['id']}/cards", {"uid": card})
        credit = {"resident_id": made["id"], "points": 2, "activity": f"帮{name}🛒", "reason": name}
        recorded = office.ok("POST", "/credits", credit)
        office.ok("POST", f"/credits/{recorded['id']}/approve", {}, as_="approver")
        assert shop.choose(machine, Credential(card=card)) == "dispensed"
        # The resident's name, masked: database -> answer -> machine.
        assert last(shop, Approved).resident_label == (name[0] + "*" + name[-1] if len(name) > 2 else name[0] + "*")
        newest, *_ = office.ok("GET", f"/residents/{made['id']}/statement", as_="admin")["items"]
        assert newest["posted_points"] == 0
    assert machine.cabinet.items_dropped() == len(NAMES) <= STOCK
    assert set(shop.states()) == {"captured"}
    with shop.parts.engine.connect() as connection:
        kept = connection.execute(select(tables.products.c.name_zh)).scalars().all()
    assert kept == [PRODUCT["name_zh"]]

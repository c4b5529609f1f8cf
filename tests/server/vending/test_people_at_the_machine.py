"""Cards, numbers and PINs, as machines show them."""

from __future__ import annotations

import pytest
from link_world import STOCK, Box, World
from sqlalchemy import Engine, select

from jishan_protocol.messages import Approved, Denied, NotStarted
from jishan_protocol.sealing import Credential
from jishan_server.organizations.roles import SYSTEM
from jishan_server.organizations.tree import CreateOrganization
from jishan_server.people import residents
from jishan_server.people.tables import cards


@pytest.fixture
def database(sqlite_memory: Engine) -> Engine:
    """Who somebody is does not depend on the kind of database; `tests/server/people` looks at both."""
    return sqlite_memory


def refused(world: World, box: Box, credential: Credential, **wish: object) -> str:
    """The code of a refusal that changed neither points nor stock."""
    answer = box.ask(credential, **wish)
    assert isinstance(answer, Denied), answer
    assert world.balance(0) == (10, 0)
    assert world.slot() == (STOCK, 0, None)
    return answer.code


def test_an_unknown_card_is_refused(world: World, box: Box) -> None:
    assert refused(world, box, Credential(card="DEADBEEF")) == "card_unknown"


def test_a_machine_that_shows_many_unknown_cards_takes_no_card_alone_for_a_while(world: World, box: Box) -> None:
    codes = {refused(world, box, Credential(card=f"DEAD{number:04X}")) for number in range(20)}
    assert codes == {"card_unknown"}
    assert refused(world, box, Credential(card="DEADBEEF")) == "too_many_unknown_cards"
    # A guess that hits must not open anything either.
    assert refused(world, box, Credential(card=world.people.residents[0].card)) == "too_many_unknown_cards"
    world.tick(minutes=11)
    assert refused(world, box, Credential(card="DEADBEEF")) == "card_unknown"


def test_a_card_that_a_wrongly_set_reader_turned_around_is_told_to_staff_and_not_accepted(
    world: World, box: Box
) -> None:
    assert world.people.residents[1].card == "1EA68671"
    assert refused(world, box, Credential(card="7186A61E")) == "card_unknown"
    assert world.alerts() == [("reader_profile", box.id, "warning")]


def test_a_blocked_card_is_refused_and_sent_to_the_machine(world: World, box: Box) -> None:
    resident = world.people.residents[0]
    card_id = world.scalar(select(cards.c.id).where(cards.c.resident_id == resident.id))
    world.tick(seconds=1)
    world.call("block_card", residents.BlockCard(SYSTEM, card_id, "lost"))
    assert refused(world, box, Credential(card=resident.card)) == "card_blocked"
    world.watch()
    desired = box.desired(box.beat())
    assert desired is not None
    assert desired.blocked_cards == (world.hashing.card(resident.card),)


def test_a_frozen_resident_is_refused(world: World, box: Box) -> None:
    resident = world.people.residents[0]
    world.call("freeze_resident", residents.FreezeResident(SYSTEM, resident.id, "frozen", "moved"))
    assert refused(world, box, Credential(card=resident.card)) == "resident_frozen"


def test_who_has_not_agreed_yet_is_asked_and_a_second_tap_lets_the_redemption_go_on(world: World, box: Box) -> None:
    asked = residents.CreateResident(SYSTEM, "jiangpan", "吴新人", consent=None)
    made = world.call("create_resident", asked)
    world.call("bind_card", residents.BindCard(SYSTEM, made["id"], *residents.hashed_card(world.hashing, "CAFEBABE")))
    card = Credential(card="CAFEBABE")
    assert refused(world, box, card, redemption_id="a" * 32) == "consent_needed"
    world.tick(seconds=5)
    # The same question asked again is no second tap.
    assert refused(world, box, card, redemption_id="a" * 32) == "consent_needed"
    # Nothing is owned yet, but the person is known and has agreed.
    assert refused(world, box, card) == "not_enough_points"
    world.tick(seconds=5)
    assert refused(world, box, card) == "not_enough_points"


def test_a_resident_of_another_estate_is_refused(world: World, box: Box) -> None:
    world.call("create_organization", CreateOrganization(SYSTEM, "qingyijiang", "estate", "河畔", "hepan"))
    made = world.call("create_resident", residents.CreateResident(SYSTEM, "hepan", "吴邻居"))
    hashed = residents.hashed_card(world.hashing, "CAFEBABE")
    world.call("bind_card", residents.BindCard(SYSTEM, made["id"], *hashed))
    assert refused(world, box, Credential(card="CAFEBABE")) == "resident_elsewhere"


def test_a_member_number_with_its_pin_is_as_good_as_a_card(world: World, box: Box) -> None:
    resident = world.people.residents[0]
    answer = box.ask(Credential(member=resident.member_number, pin=resident.pin))
    assert isinstance(answer, Approved)
    assert answer.resident_label == "王*华"


def test_a_wrong_pin_five_times_closes_number_and_pin_but_not_the_card(world: World, box: Box) -> None:
    resident = world.people.residents[0]
    wrong = Credential(member=resident.member_number, pin="9999")
    assert [refused(world, box, wrong) for _ in range(4)] == ["pin_wrong"] * 4
    assert refused(world, box, wrong) == "pin_locked"
    right = Credential(member=resident.member_number, pin=resident.pin)
    assert refused(world, box, right) == "pin_locked"
    assert isinstance(box.ask(0), Approved)


def test_an_authorize_sent_again_counts_a_wrong_pin_once(world: World, box: Box) -> None:
    wrong = Credential(member=world.people.residents[0].member_number, pin="9999")
    codes = [refused(world, box, wrong, redemption_id="a" * 32) for _ in range(10)]
    assert codes == ["pin_wrong"] * 10


def test_a_card_without_its_pin_spends_at_most_the_daily_limit(world: World) -> None:
    box = world.machine(stock=10)
    world.give(0, 100)
    for _ in range(4):
        box.dispense(box.vend(0, selection=14, points=5))
    assert world.balance(0) == (80, 0)
    answer = box.ask(0)
    assert isinstance(answer, Denied)
    assert answer.code == "pin_required"
    resident = world.people.residents[0]
    box.dispense(box.vend(Credential(card=resident.card, pin=resident.pin)))
    world.tick(days=1)
    box.dispense(box.vend(0))
    assert world.balance(0) == (76, 0)


def test_a_redemption_that_was_voided_counts_towards_no_limit(world: World) -> None:
    box = world.machine(stock=10)
    world.give(0, 100)
    for _ in range(8):
        box.say(NotStarted(box.ask(0, selection=14, points=5).redemption_id, "cancelled"))
    assert isinstance(box.ask(0, selection=14, points=5), Approved)

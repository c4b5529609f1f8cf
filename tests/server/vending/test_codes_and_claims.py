"""The personal code at a machine's scanner, and the phone that scans a machine's screen."""

from __future__ import annotations

from typing import Any

import pytest
from link_world import MACHINE, PRICE, PRODUCT, SELECTION, Box, World
from sqlalchemy import select, update

from jishan_protocol.envelope import unseal
from jishan_protocol.messages import (
    Approved,
    Declined,
    Denied,
    NotDispensed,
    NotStarted,
    OutcomeUnknown,
    Waiting,
    decode,
)
from jishan_protocol.screen_codes import OPENED_WITHIN_S, screen_code
from jishan_protocol.sealing import Credential
from jishan_server.db import to_ms
from jishan_server.errors import DomainError
from jishan_server.people.codes import LIVES, IssueCode
from jishan_server.people.hashing import token_hash
from jishan_server.people.message_tables import messages
from jishan_server.people.tables import residents
from jishan_server.vending import machine_claims, tables
from jishan_server.vending.machine_claims import OFFERED, OPENED, OfferClaim, OpenClaim
from jishan_server.vending.reading import own_redemption

SHARDS = range(100)


def issue(world: World, code: str = "482915036617204981", resident: int = 0) -> Credential:
    world.call("issue_code", IssueCode(world.people.residents[resident].id, token_hash(code)))
    return Credential(code=code)


def denied(answer: object) -> str:
    assert isinstance(answer, Denied), answer
    return answer.code


def refused(world: World, kind: str, body: object) -> str:
    with pytest.raises(DomainError) as error:
        world.call(kind, body)
    return error.value.code


def show(box: Box) -> str:
    """The code on the machine's screen, its connection known to the server."""
    box.beat()
    return screen_code(box.key, box.session.tag, to_ms(box.world.now) // 1000)


def scan(box: Box, code: str | None = None, claim_id: str = "claim-1") -> dict[str, Any]:
    world = box.world
    code = code or show(box)
    machine_claims.require_screen_code(world.connection, world.vending.keys, box.id, code, world.now)
    world.connection.rollback()
    found: dict[str, Any] = world.call("open_claim", OpenClaim(claim_id, box.id, code))
    return found


def choice(world: World, claim_id: str = "claim-1", resident: int = 0, **changes: Any) -> OfferClaim:
    shown = {"selection": SELECTION, "product_id": PRODUCT, "points": PRICE, "planogram_version": 1}
    return OfferClaim(world.people.residents[resident].id, claim_id, **shown | changes)


def waiting(box: Box) -> list[Waiting]:
    """What the gateway tells the machine now."""
    world = box.world
    found = []
    for topic, payload in world.gateway.offers(world.connection, SHARDS, world.now):
        envelope = unseal(payload, topic, {box.key_id: box.key}).envelope
        message = decode(topic.rpartition("/")[2], envelope.type, envelope.body)
        assert isinstance(message, Waiting)
        found.append(message)
    world.connection.rollback()
    return found


def claim(world: World, claim_id: str = "claim-1", resident: int = 0) -> dict[str, Any]:
    found = machine_claims.claim(world.connection, world.people.residents[resident].id, claim_id, world.now)
    world.connection.rollback()
    return found


def own(world: World, redemption_id: str, resident: int = 0) -> dict[str, Any]:
    found = own_redemption(world.connection, world.people.residents[resident].id, redemption_id)
    world.connection.rollback()
    return found


def test_a_personal_code_redeems_once_and_needs_no_pin(box: Box) -> None:
    world = box.world
    world.give(0, 90)
    credential = issue(world)
    id = box.vend(credential, selection=14, points=5)
    box.dispense(id)
    assert world.balance(0) == (95, 0)
    assert world.scalar(select(tables.redemptions.c.is_with_pin)) in (True, 1)
    assert denied(box.ask(credential)) == "code_used"
    assert denied(box.ask(Credential(code="1" * 18))) == "code_unknown"


def test_a_code_is_spent_on_whatever_machine_and_in_one_batch(box: Box) -> None:
    world = box.world
    other = world.machine("box-2")
    credential = issue(world)
    payloads = world.deliver([box.wish(credential), other.wish(credential)])
    answers = box.read(payloads) + other.read(payloads)
    assert sorted(type(one).__name__ for one in answers) == ["Approved", "Denied"]
    assert [one.code for one in answers if isinstance(one, Denied)] == ["code_used"]


def test_a_code_that_was_refused_is_spent_all_the_same(world: World) -> None:
    box = world.machine()
    credential = issue(world)
    assert denied(box.ask(credential)) == "not_enough_points"
    world.give(0, 10)
    assert denied(box.ask(credential)) == "code_used"
    assert isinstance(box.ask(issue(world, "2" * 18)), Approved)


def test_goods_that_are_not_there_spend_no_code(box: Box) -> None:
    credential = issue(box.world)
    assert denied(box.ask(credential, selection=15)) == "selection_closed"
    assert isinstance(box.ask(credential), Approved)


def test_a_code_opened_too_late_is_told_so_and_the_next_one_works_beside_it(box: Box) -> None:
    world = box.world
    first = issue(world)
    world.now += LIVES / 2
    second = issue(world, "2" * 18)
    world.now += LIVES / 2
    answer = box.ask(first)
    assert denied(answer) == "code_expired"
    assert isinstance(answer, Denied)
    assert "过期" in answer.text_zh
    assert isinstance(box.ask(second), Approved)


def test_who_has_not_agreed_yet_is_sent_to_the_phone(box: Box) -> None:
    world = box.world
    world.connection.execute(update(residents).values(consent_state="awaiting"))
    world.connection.commit()
    assert denied(box.ask(issue(world))) == "consent_on_phone"
    world.tick(seconds=10)
    assert denied(box.ask(issue(world, "2" * 18))) == "consent_on_phone"


def test_five_wrong_pins_are_told_to_the_person_once_and_the_card_goes_on(box: Box) -> None:
    world = box.world
    one = world.people.residents[0]
    codes = [denied(box.ask(Credential(member=one.member_number, pin="0000"))) for _ in range(6)]
    assert codes == ["pin_wrong"] * 4 + ["pin_locked"] * 2
    told = select(messages.c.kind).where(messages.c.resident_id == one.id, messages.c.kind == "pin_locked")
    assert world.rows(told) == [("pin_locked",)]
    assert isinstance(box.ask(0), Approved)


def test_a_phone_scans_chooses_and_the_machine_asks_for_it(box: Box) -> None:
    world = box.world
    seen = scan(box)
    assert (seen["machine_id"], seen["is_selling"], seen["planogram_version"]) == (MACHINE, True, 1)
    assert [(one["selection"], one["is_available"]) for one in seen["slots"]] == [(13, True), (14, True), (15, False)]
    assert waiting(box) == []
    assert world.call("offer_claim", choice(world))["state"] == "offered"
    (told,) = waiting(box)
    assert waiting(box) == [told], "told again until the machine has asked"
    assert (told.claim_id, told.selection, told.points) == ("claim-1", SELECTION, PRICE)
    id = box.vend(Credential(claim=told.claim_id))
    assert waiting(box) == []
    assert claim(world) | {"state": "taken", "redemption_id": id} == claim(world)
    assert own(world, id)["state"] == "vending"
    box.dispense(id)
    ended = own(world, id)
    assert (ended["state"], ended["is_over"], ended["told_zh"]) == ("captured", True, "已出货，扣了2分。")
    assert world.balance(0) == (8, 0)
    # Nobody else sees it.
    for look in (lambda: own(world, id, 1), lambda: claim(world, resident=1)):
        with pytest.raises(DomainError):
            look()
    assert denied(box.ask(Credential(claim=told.claim_id))) == "scan_over"


def test_a_screen_is_scanned_once_in_time_and_at_its_own_machine(box: Box) -> None:
    world = box.world
    code = show(box)
    scan(box, code)
    assert refused(world, "open_claim", OpenClaim("claim-2", MACHINE, code)) == "screen_code_used"
    late = show(box)
    world.tick(seconds=OPENED_WITHIN_S + 1)
    for machine_id, screen in ((MACHINE, late), (MACHINE, "abcdefghijkl2345"), ("nobody", show(box))):
        with pytest.raises(DomainError) as error:
            machine_claims.require_screen_code(world.connection, world.vending.keys, machine_id, screen, world.now)
        assert error.value.code == "screen_code_old"
    world.connection.rollback()


def test_ten_minutes_are_there_for_the_first_login_and_one_choice(box: Box) -> None:
    world = box.world
    scan(box)
    world.now += OPENED - OFFERED
    box.beat()
    world.call("offer_claim", choice(world))
    assert refused(world, "offer_claim", choice(world)) == "scan_used"
    scan(box, claim_id="claim-2")
    world.now += OPENED
    box.beat()
    assert refused(world, "offer_claim", choice(world, "claim-2")) == "scan_expired"
    assert refused(world, "offer_claim", choice(world, "nothing")) == "scan_unknown"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"points": 1}, "changed"),
        ({"planogram_version": 2}, "changed"),
        ({"selection": 99}, "selection_unknown"),
        ({"selection": 15}, "selection_closed"),
        ({"selection": 14, "points": 5, "resident": 1}, "not_enough_points"),
    ],
)
def test_what_is_refused_at_once_costs_no_scan(box: Box, changes: dict[str, Any], code: str) -> None:
    world = box.world
    scan(box)
    assert refused(world, "offer_claim", choice(world, **changes)) == code
    assert world.call("offer_claim", choice(world))["state"] == "offered"


def test_a_machine_that_is_away_is_offered_nothing(box: Box) -> None:
    world = box.world
    scan(box)
    world.connection.execute(update(tables.machines).values(is_offline=True))
    world.connection.commit()
    assert refused(world, "offer_claim", choice(world)) == "machine_offline"


def test_a_machine_says_why_it_does_not_begin_and_another_machine_says_nothing(box: Box) -> None:
    world = box.world
    other = world.machine("box-2")
    scan(box)
    world.call("offer_claim", choice(world))
    world.deliver([other.sealed("ask", Declined("claim-1", "busy"), issued=to_ms(world.now))])
    assert claim(world)["state"] == "offered"
    assert denied(other.ask(Credential(claim="claim-1"))) == "scan_over"
    world.deliver([box.sealed("ask", Declined("claim-1", "claim_over"), issued=to_ms(world.now))])
    ended = claim(world)
    assert (ended["state"], ended["reason"]) == ("ended", "scan_over")
    assert "没有扣分" in ended["told_zh"]
    assert denied(box.ask(Credential(claim="claim-1"))) == "scan_over"
    assert world.balance(0) == (10, 0)


def test_an_offer_that_nobody_asks_for_is_over(box: Box) -> None:
    world = box.world
    scan(box)
    world.call("offer_claim", choice(world))
    world.now += OFFERED
    assert waiting(box) == []
    assert (claim(world)["state"], claim(world)["reason"]) == ("ended", "machine_silent")
    assert denied(box.ask(Credential(claim="claim-1"))) == "scan_over"
    assert world.balance(0) == (10, 0)


def test_a_machine_may_ask_for_nothing_but_what_was_chosen(box: Box) -> None:
    world = box.world
    world.give(0, 90)
    scan(box)
    world.call("offer_claim", choice(world))
    assert denied(box.ask(Credential(claim="claim-1"), selection=14, points=5)) == "scan_over"
    assert isinstance(box.ask(Credential(claim="claim-1")), Approved)


def test_a_denial_after_the_asking_is_read_on_the_phone(box: Box) -> None:
    world = box.world
    scan(box)
    world.call("offer_claim", choice(world))
    world.connection.execute(update(residents).values(state="frozen"))
    world.connection.commit()
    answer = box.ask(Credential(claim="claim-1"))
    assert denied(answer) == "resident_frozen"
    id = claim(world)["redemption_id"]
    seen = own(world, id)
    assert (seen["state"], seen["reason"]) == ("denied", "resident_frozen")
    assert "积分都在" in seen["told_zh"]


def test_the_phone_reads_how_it_ended_whatever_became_of_it(box: Box) -> None:
    world = box.world
    ends: dict[str, tuple[str, str]] = {}
    for number, name in enumerate(("failed", "not begun", "in doubt")):
        scan(box, claim_id=f"claim-{number}")
        world.call("offer_claim", choice(world, f"claim-{number}", selection=14, points=5))
        asked = box.ask(Credential(claim=f"claim-{number}"), selection=14, points=5)
        assert isinstance(asked, Approved)
        assert own(world, asked.redemption_id)["state"] == "held"
        if name != "not begun":
            box.start(asked, selection=14, points=5)
        end = {
            "failed": NotDispensed(asked.redemption_id, "03", "selection"),
            "not begun": NotStarted(asked.redemption_id, "lapsed"),
            "in doubt": OutcomeUnknown(asked.redemption_id, "restarted"),
        }[name]
        box.say(end)
        seen = own(world, asked.redemption_id)
        ends[name] = (seen["state"], seen["told_zh"])
        assert (seen["ticket"] is None) is (name == "not begun")
        assert seen["is_over"] is (name != "in doubt")
        world.connection.execute(update(tables.slots).values(closed_reason=None, closed_at=None))
        world.connection.commit()
        world.tick(seconds=5)
    assert ends["failed"] == ("voided", "这次没有出货，5分已经退回。编号R1。")
    assert ends["not begun"] == ("voided", "这次没有开始出货，没有扣分。")
    assert ends["in doubt"][0] == "in_doubt"
    assert "不会丢" in ends["in doubt"][1]

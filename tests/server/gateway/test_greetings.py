"""The tap before a choice: what has changed since the last one, said in one message that nothing waits for."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select, update

sys.path.append(str(Path(__file__).parent.parent))

from link_world import Box, World

from jishan_protocol.envelope import unseal
from jishan_protocol.messages import Approved, Greet, Greeting, decode
from jishan_protocol.sealing import Credential, seal_credential
from jishan_server.db import to_ms, writing
from jishan_server.people.greetings import MAX_GREETS_PER_MINUTE
from jishan_server.people.message_tables import card_greetings
from jishan_server.people.messages import Message, tell
from jishan_server.people.tables import cards, residents


@pytest.fixture
def world(sqlite_memory: Engine) -> Any:
    made = World(sqlite_memory)
    yield made
    made.close()


def greeting_of(box: Box, resident: int | Credential = 0, bound_to: str | None = None) -> tuple[str, bytes]:
    """A sealed `greet`."""
    world = box.world
    if isinstance(resident, int):
        resident = Credential(card=world.people.residents[resident].card)
    id = world.fresh_id("greet")
    nonce = hashlib.sha256(id.encode()).digest()[:12]
    message = Greet(id, seal_credential(box.key, bound_to or id, resident, nonce))
    return box.sealed("ask", message, issued=to_ms(world.now))


def told(box: Box, payloads: Any) -> list[Any]:
    found = []
    for topic, payload in payloads:
        envelope = unseal(payload, topic, {box.key_id: box.key}).envelope
        found.append(decode(topic.rpartition("/")[2], envelope.type, envelope.body))
    return [one for one in found if isinstance(one, Greeting | Approved)]


def greet(box: Box, resident: int | Credential = 0) -> Greeting | None:
    answers = told(box, box.world.deliver([greeting_of(box, resident)]))
    assert len(answers) <= 1
    return answers[0] if answers else None


def test_a_tap_says_what_changed_since_the_last_one(file_or_server: Engine) -> None:
    world = World(file_or_server)
    box = world.machine()
    world.give(0, 9)
    id = world.people.residents[0].id
    first = greet(box)
    assert first is not None
    assert (first.available_points, first.points_changed, first.unread_messages) == (9, None, 0)
    world.tick(seconds=1)
    world.give(0, 6)
    tell(world.connection, world.now, [Message(id, "points_adjusted_up", {"points": 6})])
    world.connection.commit()
    second = greet(box)
    assert second is not None
    assert (second.available_points, second.points_changed, second.unread_messages) == (15, 6, 1)
    assert "*" in second.resident_label
    world.tick(seconds=1)
    box.dispense(box.vend())
    third = greet(box)
    assert third is not None
    # Of the adjustment it was told before; the receipt is new.
    assert (third.available_points, third.points_changed, third.unread_messages) == (13, -2, 1)
    world.close()


def test_a_greeting_and_a_redemption_in_one_batch_both_are_answered(world: World) -> None:
    box = world.machine()
    world.give(0, 9)
    answers = told(box, world.deliver([greeting_of(box), box.wish(0), greeting_of(box, 1)]))
    assert sorted(type(one).__name__ for one in answers) == ["Approved", "Greeting", "Greeting"]
    # What the redemption holds is not available any more.
    assert {one.available_points for one in answers if isinstance(one, Greeting)} == {7, 0}


@pytest.mark.parametrize("what", ["unknown", "blocked", "frozen", "no consent", "closed"])
def test_who_could_not_redeem_is_not_greeted_and_nothing_is_remembered(world: World, what: str) -> None:
    box = world.machine()
    id = world.people.residents[0].id
    change = {
        "unknown": None,
        "blocked": update(cards).where(cards.c.resident_id == id).values(state="blocked"),
        "frozen": update(residents).where(residents.c.id == id).values(state="frozen"),
        "no consent": update(residents).where(residents.c.id == id).values(consent_state="awaiting"),
        "closed": update(residents).where(residents.c.id == id).values(closed_at=world.now),
    }[what]
    if change is not None:
        world.connection.execute(change)
        world.connection.commit()
    before = world.everything()
    assert greet(box, 0 if change is not None else Credential(card="DEADBEEF")) is None
    assert world.everything() == before
    assert world.rows(select(card_greetings)) == []
    # Nobody's consent was asked for by it.
    assert world.rows(select(residents.c.consent_asked_at).where(residents.c.consent_asked_at.is_not(None))) == []


def test_only_a_card_alone_is_greeted_and_only_under_the_id_it_was_sealed_for(world: World) -> None:
    box = world.machine()
    one = world.people.residents[0]
    for credential in (Credential(member=one.member_number, pin=one.pin), Credential(card=one.card, pin=one.pin)):
        assert greet(box, credential) is None
    assert world.deliver([greeting_of(box, bound_to="f" * 32)]) == []
    assert world.gateway.refused["bad_credential"] == 3


def test_a_machine_finds_out_no_more_cards_than_people_can_tap(world: World) -> None:
    box = world.machine()
    answers = [greet(box) for _ in range(MAX_GREETS_PER_MINUTE + 5)]
    assert [one is None for one in answers] == [False] * MAX_GREETS_PER_MINUTE + [True] * 5
    assert world.gateway.refused["too_many_greets"] == 5
    # A redemption is not counted with them.
    world.give(0, 9)
    assert isinstance(box.ask(0), Approved)
    world.tick(minutes=1)
    assert greet(box) is not None


def test_a_greeting_is_a_small_message(world: World) -> None:
    box = world.machine()
    with writing(world.engine) as connection:
        connection.execute(update(residents).values(name="阿" * 100))
    ((_, payload),) = [one for one in world.deliver([greeting_of(box)]) if one[0].endswith("answer")]
    assert len(payload) < 1024

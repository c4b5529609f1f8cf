"""What the gateway refuses: it is counted by its reason and changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from link_world import MACHINE, PRICE, PRODUCT, SELECTION, Box, World
from sqlalchemy import Engine

from jishan_protocol import topics
from jishan_protocol.envelope import MAX_PAYLOAD_BYTES, Session, mac
from jishan_protocol.messages import Approved, Dispensed, NotStarted, VendStarted
from jishan_server.db import to_ms


@pytest.fixture
def database(sqlite_memory: Engine) -> Engine:
    """What is refused here is refused before a database could make a difference."""
    return sqlite_memory


Message = tuple[str, bytes]
Spoil = Callable[[Box, Message], Message]


def signed(box: Box, topic: str, content: bytes) -> Message:
    """Any bytes, rightly signed by the machine."""
    return topic, mac(box.key, topic, content).encode() + b"." + content


def flip(box: Box, message: Message) -> Message:
    topic, payload = message
    return topic, payload[:-3] + bytes([payload[-3] ^ 1]) + payload[-2:]


def cut(box: Box, message: Message) -> Message:
    return message[0], message[1][:60]


def cut_in_the_content(box: Box, message: Message) -> Message:
    return message[0], message[1][:-1]


def of_a_stranger(box: Box, message: Message) -> Message:
    content = message[1].partition(b".")[2]
    return message[0], mac(bytes(32), message[0], content).encode() + b"." + content


def on_another_machines_topic(box: Box, message: Message) -> Message:
    return topics.up(box.shard, "box-2", "outbox"), message[1]


def on_another_shard(box: Box, message: Message) -> Message:
    return signed(box, topics.up((box.shard + 1) % 100, box.id, "outbox"), message[1].partition(b".")[2])


def on_a_down_topic(box: Box, message: Message) -> Message:
    return topics.down(box.shard, box.id, "ack"), message[1]


def on_a_foreign_topic(box: Box, message: Message) -> Message:
    return "zigbee2mqtt/bridge/state", message[1]


def of_one_mebibyte(box: Box, message: Message) -> Message:
    return signed(box, message[0], b'{"v":1,"x":"' + b"a" * (1 << 20) + b'"}')


def just_too_large(box: Box, message: Message) -> Message:
    return signed(box, message[0], b" " * (MAX_PAYLOAD_BYTES - 64))


def not_json(box: Box, message: Message) -> Message:
    return signed(box, message[0], b"hello \xff")


def nested_deeply(box: Box, message: Message) -> Message:
    return signed(box, message[0], b'{"v":' + b"[" * 10_000 + b"]" * 10_000 + b"}")


def with_a_float(box: Box, message: Message) -> Message:
    return signed(box, message[0], message[1].partition(b".")[2].replace(b'"v":1', b'"v":1.0'))


def with_a_huge_number(box: Box, message: Message) -> Message:
    return signed(box, message[0], message[1].partition(b".")[2].replace(b'"kid":1', b'"kid":99999999999999999999'))


def with_another_key_id(box: Box, message: Message) -> Message:
    return signed(box, message[0], message[1].partition(b".")[2].replace(b'"kid":1', b'"kid":2'))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (flip, "forged"),
        (cut, "malformed"),
        (cut_in_the_content, "forged"),
        (of_a_stranger, "forged"),
        (on_another_machines_topic, "forged"),
        (on_another_shard, "foreign_topic"),
        (on_a_down_topic, "foreign_topic"),
        (on_a_foreign_topic, "foreign_topic"),
        (of_one_mebibyte, "oversized"),
        (just_too_large, "oversized"),
        (not_json, "malformed"),
        (nested_deeply, "malformed"),
        (with_a_float, "malformed"),
        (with_a_huge_number, "malformed"),
        (with_another_key_id, "forged"),
    ],
)
def test_a_spoilt_message_is_counted_and_changes_nothing(world: World, box: Box, spoil: Spoil, reason: str) -> None:
    id = box.vend()
    outcome = box.next(Dispensed(id, True, "02"))
    before = world.everything()
    assert world.deliver([spoil(box, outcome)]) == []
    assert world.gateway.refused == {reason: 1}
    assert world.everything() == before
    assert world.balance(0) == (10, 2)
    # The right one still counts.
    world.deliver([outcome])
    assert world.balance(0) == (8, 0)


def test_a_message_of_a_machine_that_does_not_exist_is_refused(world: World, box: Box) -> None:
    ghost = replace_box(box, id="box-9", key=world.vending.keys.machine_key("box-9", 1))
    before = world.everything()
    assert world.deliver([ghost.wish(0)]) == []
    assert world.gateway.refused == {"machine_unknown": 1}
    assert world.everything() == before


def test_a_message_of_a_machine_that_has_not_enrolled_is_refused(world: World, box: Box) -> None:
    from jishan_server.organizations.roles import SYSTEM
    from jishan_server.vending.machines import CreateMachine, shard_of

    world.call("create_machine", CreateMachine(SYSTEM, "box-9", world.people.estate_id, "x"))
    ghost = replace_box(box, id="box-9", shard=shard_of("box-9"), key=world.vending.keys.machine_key("box-9", 1))
    assert world.deliver([ghost.wish(0)]) == []
    assert world.gateway.refused == {"old_key": 1}


def replace_box(box: Box, **changes: object) -> Box:
    """Another machine's end that begins as this one's."""
    return replace(box, sent=[], **changes)  # type: ignore[arg-type]


def test_a_replayed_outcome_is_acknowledged_again_and_changes_nothing(world: World, box: Box) -> None:
    id = box.vend()
    box.dispense(id)
    before = world.everything()
    (ack,) = box.read(world.deliver([box.sent[-1]]))
    assert ack.upto == 2  # type: ignore[union-attr]
    assert world.gateway.refused == {"seen_before": 1}
    assert world.everything() == before
    assert world.balance(0) == (8, 0)


def test_a_replayed_rejected_message_is_rejected_again_and_kept_once(world: World, box: Box) -> None:
    box.say(Dispensed("f" * 32, True, "02"))
    before = world.everything()
    (ack,) = box.read(world.deliver([box.sent[-1]]))
    assert ack.rejected == (1,)  # type: ignore[union-attr]
    assert world.everything() == before


def test_reordered_messages_of_one_batch_are_put_in_order(world: World, box: Box) -> None:
    approved = box.ask(0)
    assert isinstance(approved, Approved)
    started = box.next(VendStarted(approved.redemption_id, approved.approval, SELECTION, PRODUCT, PRICE, None))
    dispensed = box.next(Dispensed(approved.redemption_id, True, "02"))
    world.deliver([dispensed, started])
    assert world.state(approved.redemption_id) == "captured"
    assert not world.gateway.refused


def test_a_message_that_comes_too_early_waits_for_the_one_before(world: World, box: Box) -> None:
    approved = box.ask(0)
    assert isinstance(approved, Approved)
    started = box.next(VendStarted(approved.redemption_id, approved.approval, SELECTION, PRODUCT, PRICE, None))
    dispensed = box.next(Dispensed(approved.redemption_id, True, "02"))
    before = world.everything()
    (ack,) = box.read(world.deliver([dispensed]))
    assert ack.upto == 0  # type: ignore[union-attr]
    assert world.gateway.refused == {"too_early": 1}
    assert world.everything() == before
    world.deliver([started, dispensed])
    assert world.state(approved.redemption_id) == "captured"


def test_an_expired_authorize_is_refused(world: World, box: Box) -> None:
    wish = box.wish(0)
    before = world.everything()
    world.tick(seconds=16)
    assert world.deliver([wish]) == []
    assert world.gateway.refused == {"expired": 1}
    assert world.everything() == before
    assert world.balance(0) == (10, 0)


@pytest.mark.parametrize(
    ("issued_s", "lasts_s", "reason"),
    [(None, 0, "no_expiry"), (60, 15, "from_the_future"), (0, 3600, "expires_too_late")],
)
def test_an_authorize_of_another_time_is_refused(
    world: World, box: Box, issued_s: int | None, lasts_s: int, reason: str
) -> None:
    from jishan_protocol.messages import Authorize
    from jishan_protocol.sealing import Credential, seal_credential

    credential = Credential(card=world.people.residents[0].card)
    sealed = seal_credential(box.key, "a" * 32, credential, bytes(12))
    message = Authorize("a" * 32, sealed, SELECTION, 1, PRODUCT, PRICE)
    issued = None if issued_s is None else to_ms(world.now) + issued_s * 1000
    before = world.everything()
    assert world.deliver([box.sealed("ask", message, issued=issued, lasts_ms=lasts_s * 1000)]) == []
    assert world.gateway.refused == {reason: 1}
    assert world.everything() == before


def test_a_credential_sealed_for_another_redemption_is_refused(world: World, box: Box) -> None:
    from jishan_protocol.messages import Authorize
    from jishan_protocol.sealing import Credential, seal_credential

    sealed = seal_credential(box.key, "b" * 32, Credential(card=world.people.residents[0].card), bytes(12))
    message = Authorize("a" * 32, sealed, SELECTION, 1, PRODUCT, PRICE)
    assert world.deliver([box.sealed("ask", message, issued=to_ms(world.now))]) == []
    assert world.gateway.refused == {"bad_credential": 1}
    assert world.balance(0) == (10, 0)


def test_an_authorize_of_an_ended_connection_is_refused(world: World, box: Box) -> None:
    box.beat()
    late = box.wish(0)
    box.session = Session(1, 2, "tag-1-2")
    box.beat()
    assert world.deliver([late]) == []
    assert world.gateway.refused == {"old_session": 1}
    assert world.balance(0) == (10, 0)


def test_an_outcome_signed_in_an_ended_connection_still_counts(world: World, box: Box) -> None:
    id = box.vend()
    outcome = box.next(Dispensed(id, True, "02"))
    box.session = Session(2, 1, "tag-2-1")
    box.beat()
    world.deliver([outcome])
    assert world.balance(0) == (8, 0)


def test_a_replayed_heartbeat_is_refused(world: World, box: Box) -> None:
    box.beat()
    box.beats -= 1
    assert box.beat() == []
    assert world.gateway.refused == {"old_beat": 1}


def test_a_body_that_does_not_fit_moves_the_sequence_and_is_kept(world: World, box: Box) -> None:
    topic, payload = box.next(NotStarted("a" * 32, "lapsed"))
    content = payload.partition(b".")[2].replace(b'"reason":"lapsed"', b'"reason":7')
    (ack,) = box.read(world.deliver([signed(box, topic, content)]))
    assert (ack.upto, ack.rejected) == (1, (1,))  # type: ignore[union-attr]
    assert world.state("a" * 32) is None
    assert world.alerts() == [("rejected_message", f"{MACHINE}:bad_body", "urgent")]
    assert box.say(NotStarted("b" * 32, "lapsed")).upto == 2


def test_one_bad_report_among_good_ones_is_rejected_alone(world: World, box: Box) -> None:
    id = box.vend()
    ack = box.say(Dispensed("f" * 32, True, "02"), Dispensed(id, True, "02"), Dispensed("e" * 32, True, "02"))
    assert (ack.upto, ack.rejected) == (4, (2, 4))
    assert world.balance(0) == (8, 0)

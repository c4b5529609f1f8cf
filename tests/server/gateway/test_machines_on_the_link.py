"""Enrolling, forking, restoring: who a machine is, and what the server knows of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from link_world import MACHINE, PRICE, PRODUCT, SELECTION, STOCK, Box, World
from sqlalchemy import delete, select, text

from jishan_protocol.envelope import Session
from jishan_protocol.messages import Ack, Approved, Denied, Dispensed, NotStarted, Reported, VendStarted
from jishan_server.errors import DomainError
from jishan_server.organizations.roles import SYSTEM
from jishan_server.vending import machines, tables


def machine_state(world: World, id: str = MACHINE) -> str:
    state: str = world.scalar(select(tables.machines.c.state).where(tables.machines.c.id == id))
    return state


def forked(world: World, box: Box, id: str) -> None:
    """The machine is closed, what was open is in doubt, a person is told, and nothing more is taken from it."""
    assert machine_state(world) == "forked"
    assert world.state(id) == "in_doubt"
    assert world.balance(0) == (10, 2)
    assert {kind for kind, _, _ in world.alerts()} == {"forked", "redemption_open"}
    before = world.everything()
    assert world.deliver([box.next(Dispensed(id, True, "02"))]) == []
    assert world.deliver([box.wish(0)]) == []
    assert world.everything() == before


def test_the_same_sequence_with_another_content_is_a_fork(world: World, box: Box) -> None:
    id = box.vend()
    clone = replace(box, last_seq=0, sent=[])
    world.deliver([clone.next(NotStarted("c" * 32, "lapsed"))])
    forked(world, box, id)


def test_a_journal_that_never_enrolled_is_a_fork(world: World, box: Box) -> None:
    id = box.vend()
    box.journal_id = "another-journal"
    world.deliver([box.next(Dispensed(id, True, "02"))])
    box.journal_id = f"journal-{MACHINE}"
    forked(world, box, id)


def test_two_tags_for_one_connection_are_a_fork(world: World, box: Box) -> None:
    id = box.vend()
    box.session = Session(1, 1, "another-tag")
    box.beat()
    forked(world, box, id)


def test_an_old_session_that_goes_on_speaking_is_a_fork(world: World, box: Box) -> None:
    id = box.vend()
    clone = replace(box, session=Session(2, 1, "tag-2-1"), sent=[])
    clone.beat()
    world.tick(seconds=30)
    box.beat()
    assert machine_state(world) == "enrolled"
    world.tick(seconds=60)
    box.beat()
    forked(world, box, id)


def test_a_late_message_of_an_old_session_is_no_fork(world: World, box: Box) -> None:
    late = box.sealed("beat", heartbeat(), issued=int(world.now.timestamp() * 1000), lasts_ms=600_000)
    box.session = Session(2, 1, "tag-2-1")
    box.beat()
    world.tick(minutes=5)
    assert world.deliver([late]) == []
    assert world.gateway.refused == {"old_session": 1}
    assert machine_state(world) == "enrolled"


def heartbeat() -> object:
    from jishan_protocol.messages import Heartbeat

    return Heartbeat(1, True, "", "idle", "closed", None, 0, 0, 1, "0", "xy")


def test_a_forked_machine_enrols_anew_with_a_new_journal_only(world: World, box: Box) -> None:
    id = box.vend()
    box.session = Session(1, 1, "another-tag")
    box.beat()
    with pytest.raises(DomainError) as refusal:
        world.enroll(MACHINE, box.journal_id)
    assert refusal.value.code == "journal_must_be_new"
    fresh = world.enroll(MACHINE, "journal-2")
    assert fresh.key_id == 2
    assert machine_state(world) == "enrolled"
    assert ("forked", MACHINE, "urgent") not in world.alerts()
    assert world.state(id) == "in_doubt"
    assert isinstance(fresh.ask(0, selection=14, points=5), Approved)


def test_the_old_key_is_worth_nothing_after_enrolling_anew(world: World, box: Box) -> None:
    world.enroll(MACHINE, "journal-2")
    before = world.everything()
    assert world.deliver([box.wish(0)]) == []
    assert world.gateway.refused == {"old_key": 1}
    assert world.everything() == before


def test_enrolling_anew_with_the_same_journal_goes_on_where_it_was(world: World, box: Box) -> None:
    id = box.vend()
    again = world.enroll(MACHINE, box.journal_id)
    again.last_seq = box.last_seq
    assert world.state(id) == "vending"
    again.dispense(id)
    assert world.balance(0) == (8, 0)


def test_enrolling_anew_with_another_journal_leaves_the_open_to_a_person(world: World, box: Box) -> None:
    id = box.vend()
    world.enroll(MACHINE, "journal-2")
    assert world.state(id) == "in_doubt"
    assert world.balance(0) == (10, 2)


def test_a_claim_code_works_once(world: World, box: Box) -> None:
    code_hash = machines.hash_of("SECRET")
    world.call("make_claim_code", machines.MakeClaimCode(SYSTEM, MACHINE, code_hash))
    first = world.call("enroll", machines.Enroll(code_hash, "journal-2"))
    assert world.call("enroll", machines.Enroll(code_hash, "journal-2")) == first
    with pytest.raises(DomainError) as refusal:
        world.call("enroll", machines.Enroll(code_hash, "journal-3"))
    assert refusal.value.code == "claim_code_used"


def test_a_claim_code_expires(world: World, box: Box) -> None:
    code_hash = machines.hash_of("SECRET")
    world.call("make_claim_code", machines.MakeClaimCode(SYSTEM, MACHINE, code_hash))
    world.tick(hours=25)
    with pytest.raises(DomainError) as refusal:
        world.call("enroll", machines.Enroll(code_hash, "journal-2"))
    assert refusal.value.code == "claim_code_expired"


def test_a_newer_claim_code_ends_an_older_one(world: World, box: Box) -> None:
    for secret in ("OLD", "NEW"):
        world.call("make_claim_code", machines.MakeClaimCode(SYSTEM, MACHINE, machines.hash_of(secret)))
    with pytest.raises(DomainError) as refusal:
        world.call("enroll", machines.Enroll(machines.hash_of("OLD"), "journal-2"))
    assert refusal.value.code == "claim_code_unknown"


def test_the_first_heartbeat_brings_the_time_and_the_planogram(world: World, box: Box) -> None:
    ack, desired = sorted(box.beat(knows_time=False), key=lambda one: type(one).__name__)
    assert isinstance(ack, Ack)
    assert (ack.session, ack.server_at_ms) == ("tag-1-1", int(world.now.timestamp() * 1000))
    assert [(slot.selection, slot.points, slot.is_enabled) for slot in desired.slots] == [  # type: ignore[union-attr]
        (SELECTION, PRICE, True),
        (14, 5, True),
        (15, PRICE, False),
    ]
    box.say(Reported(desired.version, desired.planogram_version))  # type: ignore[union-attr]
    assert box.desired(box.beat()) is None


def test_a_new_planogram_reaches_the_machine_with_its_next_heartbeat(world: World, box: Box) -> None:
    desired = box.desired(box.beat())
    assert desired is not None
    box.say(Reported(desired.version, 1))
    plan = (machines.SlotPlan(SELECTION, PRODUCT, 3, 10),)
    world.call("publish_planogram", machines.PublishPlanogram(SYSTEM, MACHINE, 1, plan))
    newer = box.desired(box.beat())
    assert newer is not None
    assert newer.version > desired.version
    assert [slot.points for slot in newer.slots] == [3]
    refused = box.ask(0)
    assert isinstance(refused, Denied)
    assert refused.code == "changed"
    assert isinstance(box.ask(0, version=2, points=3), Approved)


def test_a_jammed_slot_is_told_as_not_enabled_until_a_person_opens_it(world: World, box: Box) -> None:
    from jishan_protocol.messages import NotDispensed

    box.say(NotDispensed(box.vend(), "03", "selection"))
    desired = box.desired(box.beat())
    assert desired is not None
    assert [slot.is_enabled for slot in desired.slots] == [False, True, False]
    world.call("set_slot_open", machines.SetSlotOpen(SYSTEM, MACHINE, SELECTION, True, "freed the coil"))
    assert world.alerts() == []
    newer = box.desired(box.beat())
    assert newer is not None
    assert [slot.is_enabled for slot in newer.slots] == [True, True, False]
    assert isinstance(box.ask(0), Approved)


def test_a_silent_machine_raises_one_alert_and_settles_it_when_it_is_back(world: World, box: Box) -> None:
    box.beat()
    world.tick(seconds=59)
    world.watch()
    assert world.alerts() == []
    world.tick(seconds=2)
    world.watch()
    world.watch()
    assert world.alerts() == [("offline", MACHINE, "warning")]
    box.beat()
    assert world.alerts() == []


# A server that was restored from a backup.


def restore(world: World, *, is_named: bool) -> None:
    """Forget everything that the machine has told: the database is from before."""
    for table in ("redemption_events", "received_messages"):
        for name in ("delete", "change"):
            trigger = f"{table}_refuses_{name}"
            if world.engine.dialect.name == "sqlite":
                world.connection.execute(text(f"DROP TRIGGER IF EXISTS {trigger}"))
            else:
                world.connection.execute(text(f"DROP TRIGGER IF EXISTS {trigger} ON {table}"))
    for table in (tables.redemptions, tables.redemption_events, tables.received_messages, tables.alerts):
        world.connection.execute(delete(table))
    world.connection.execute(tables.machines.update().values(last_seq=0))
    world.connection.execute(tables.slots.update().values(reserved=0, stock=STOCK))
    if is_named:
        machines.set_identity(world.connection, "ledger-2", world.now)
    world.connection.commit()


def fresh_world(world: World) -> tuple[World, Box]:
    """The same server and machine before anything was told, on the same database but for what follows."""
    world.give(0, 10)
    return world, world.machine()


@pytest.mark.parametrize("is_named", [True, False])
def test_a_restored_server_gives_no_approval_before_the_machine_has_caught_up(world: World, is_named: bool) -> None:
    _, box = fresh_world(world)
    for _ in range(2):
        box.say(NotStarted(world.fresh_id(), "lapsed"))
    assert box.beat(acked=2)
    restore(world, is_named=is_named)
    ack = next(one for one in box.beat(acked=2) if isinstance(one, Ack))
    assert (ack.upto, ack.catch_up_from) == (0, 1)
    # Newer than any document that the machine may have had from the server before the restore.
    desired = box.desired(box.beat(acked=2))
    assert desired is not None
    assert desired.version > machines.RESTORE_STEP
    refused = box.ask(0)
    assert isinstance(refused, Denied)
    assert refused.code == "machine_catching_up"
    world.deliver(box.sent)
    ack = next(one for one in box.beat(acked=2) if isinstance(one, Ack))
    assert (ack.upto, ack.catch_up_from) == (2, None)
    assert isinstance(box.ask(0), Approved)


def approval_of_another_life(world: World, box: Box) -> Approved:
    """An approval that this database has never seen."""
    from jishan_server.people.credentials import account_of
    from jishan_server.vending.keys import Approval

    resident = world.people.residents[0]
    id = world.fresh_id("forgotten")
    approval = Approval(id, MACHINE, resident.id, account_of(resident.id), SELECTION, PRODUCT, PRICE, 1, "ledger-0")
    return Approved(id, world.vending.keys.seal_approval(approval), 30, 0, "")


def test_a_forgotten_vend_is_booked_anew_once_from_its_approval(world: World, box: Box) -> None:
    approved = approval_of_another_life(world, box)
    box.start(approved)
    assert world.state(approved.redemption_id) == "vending"
    assert world.balance(0) == (10, 2)
    box.dispense(approved.redemption_id)
    world.deliver(box.sent)
    assert world.balance(0) == (8, 0)
    assert world.slot() == (STOCK - 1, 0, None)


def test_a_forgotten_vend_whose_points_are_spent_is_owed(world: World, box: Box) -> None:
    approved = approval_of_another_life(world, box)
    for selection in (14, 14):
        box.dispense(box.vend(0, selection=selection, points=5))
    assert world.balance(0) == (0, 0)
    box.start(approved)
    box.dispense(approved.redemption_id)
    assert world.state(approved.redemption_id) == "captured"
    assert world.balance(0) == (0, 0)
    world.give(0, 5)
    assert world.balance(0) == (3, 0)


def test_a_made_up_approval_books_nothing(world: World, box: Box) -> None:
    approved = approval_of_another_life(world, box)
    encoded, _, mac = approved.approval.rpartition(".")
    box.start(Approved(approved.redemption_id, f"{encoded}.{'0' * len(mac)}", 30, 0, ""))
    assert world.state(approved.redemption_id) is None
    assert world.balance(0) == (10, 0)
    assert world.alerts() == [("rejected_message", f"{MACHINE}:bad_approval", "urgent")]


def test_an_approval_given_to_another_machine_books_nothing(world: World, box: Box) -> None:
    approved = approval_of_another_life(world, box)
    other = world.machine("box-2")
    other.start(approved)
    assert world.state(approved.redemption_id) is None
    assert world.balance(0) == (10, 0)


def test_a_forgotten_vend_of_something_else_than_was_approved_books_nothing(world: World, box: Box) -> None:
    approved = approval_of_another_life(world, box)
    box.say(VendStarted(approved.redemption_id, approved.approval, 14, PRODUCT, PRICE, None))
    assert world.state(approved.redemption_id) is None
    assert world.balance(0) == (10, 0)
    assert world.slot() == (STOCK, 0, None)


def test_an_approval_used_for_another_redemption_books_nothing(world: World, box: Box) -> None:
    approved = approval_of_another_life(world, box)
    box.say(VendStarted("9" * 32, approved.approval, SELECTION, PRODUCT, PRICE, None))
    assert world.state("9" * 32) is None
    assert world.balance(0) == (10, 0)

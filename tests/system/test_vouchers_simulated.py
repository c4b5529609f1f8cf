"""Vouchers from seeds: machines whose clocks are wrong, links that are down for days, processes that die, servers that
are restored, and disks that are rolled back.

The real agent and journal, the real gateway and use cases; a dispenser that answers at once, so that a seed of days
takes a second. Judged from the drops and the rows:

- Without a rolled-back disk no voucher drops two items, and points are taken if and only if one dropped.
- A disk that is rolled back forgets what was taken or closed since the copy: each of those may cost one item more, and
  no other.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parent))

from network import Network, NetworkFaults
from scheduler import Scheduler
from simulated_server import MACHINES, PRICES, RULES, SimulatedServer, journal_id_of
from sqlalchemy import text
from world import quiet

from jishan_agent.agent import Agent, DispenserSpoke, Identity, LinkDown, LinkUp, Received
from jishan_agent.dispensers import base
from jishan_agent.journal import Journal, JournalBroken
from jishan_agent.vouchers import VoucherShown
from jishan_server.ledger.verify import verify
from jishan_server.organizations.roles import SYSTEM
from jishan_server.vending import machines as vending_machines
from jishan_server.vending import vouchers
from jishan_server.vending.checks import CHECKS
from jishan_server.vending.machines import shard_of

SEEDS = int(os.environ.get("VOUCHER_SEEDS", "1"))
ENOUGH = 3
"""With fewer seeds not everything is reached."""
HOUR_MS = 3_600_000
DAYS = 3
MOST = 6
BEAT_S = 1800
SLOW_RULES = replace(
    RULES,
    heartbeat_s=BEAT_S,
    longest_ask=RULES.graded_up_after,
    offline_after=RULES.graded_up_after,
    voucher_lives=RULES.graded_up_after,
)
STEPS = ("vending_journaled", "drive_sent", "result_received", "result_journaled", "outcome_sent", "outcome_acked")


class Killed(Exception):
    """The process ends here, between two instructions."""


class QuickDispenser:
    """Answers in the same instant, drops through `drop`, and jams or says nothing by chance. It proves nothing."""

    def __init__(self, random: Random, drop: Callable[[], None], faults: bool) -> None:
        self._random, self._drop, self._faults = random, drop, faults
        self._events: list[base.DispenserEvent] = [base.OnlineChanged(True)]
        self.name, self.pack_number, self.next_wakeup_ms = "quick", 0, None

    def receive(self, data: bytes, now_ms: int) -> None: ...
    def tick(self, now_ms: int) -> None: ...
    def begin(self, points: int, now_ms: int) -> None: ...
    def cancel(self, now_ms: int) -> None: ...
    def release(self, now_ms: int) -> None: ...
    def set_clock(self, local_time: tuple[int, int, int, int, int, int], now_ms: int) -> None: ...

    def take_output(self) -> bytes:
        return b""

    def take_events(self) -> list[base.DispenserEvent]:
        events, self._events = self._events, []
        return events

    def check(self, selection: int, now_ms: int) -> None:
        is_sellable = not self._faults or self._random.random() > 0.05
        self._events.append(base.Checked(selection, is_sellable, "checked"))

    def vend(self, selection: int, not_after_ms: int, now_ms: int) -> None:
        if now_ms > not_after_ms:
            self._events.append(base.VendFailed(selection, "never_sent", "selection"))
            return
        self._events.append(base.DriveSent(selection))
        chance = self._random.random() if self._faults else 1.0
        if chance < 0.05:
            self._events.append(base.VendFailed(selection, "jam", "selection"))
            return
        if chance > 0.1:
            self._drop()
        if chance < 0.15:
            self._events.append(base.VendUnknown(selection, "silent"))
        else:
            self._events.append(base.VendSucceeded(selection, True, "ok"))

    def recover(self, selection: int, readings: base.Readings | None, now_ms: int) -> None:
        self._events.append(base.AtRest())


class VoucherMachine:
    """The agent on a clock of its own: it runs fast or slow, and begins anywhere with each start."""

    def __init__(self, world: VoucherWorld, machine_id: str) -> None:
        self.world, self.id, self.random = world, machine_id, Random(world.random.getrandbits(32))
        self.journal_id, self.key_id = journal_id_of(machine_id), 1
        self.rate = self.random.choice((1.0, 0.98, 1.02))
        self.offset_ms = 0
        self.connection = self._file()
        self.copy: tuple[sqlite3.Connection, frozenset[str]] | None = None
        # The vouchers that this disk has seen begin, and still knows.
        self.took: set[str] = set()
        self.agent: Agent | None = None
        self.dispenser: QuickDispenser | None = None
        self.kill_at: str | None = None
        self.is_linked = False
        self.is_busy = False
        self.due_ms: int | None = None
        self._prefix = f"jishan/v1/s{shard_of(machine_id):02d}/{machine_id}/d/"

    @staticmethod
    def _file() -> sqlite3.Connection:
        return sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)

    @property
    def now_ms(self) -> int:
        return self.offset_ms + int(self.world.scheduler.now_ms * self.rate)

    def boot(self) -> None:
        if self.agent is not None:
            return
        self.offset_ms = self.random.randrange(10**9)
        self.due_ms = None
        world = self.world
        key = world.server.keys.machine_key(self.id, self.key_id)
        identity = Identity(self.id, shard_of(self.id), self.key_id, {self.key_id: key}, world.server.card_key)
        journal = Journal(self.connection, self.journal_id)
        self.dispenser = QuickDispenser(self.random, self._dropped, world.has_faults)
        self.agent = Agent(identity, journal, self.dispenser, world.network.publish, self.random, self._reached)
        self.act(lambda agent: agent.start(self.now_ms))

    def crash(self) -> None:
        self.agent = self.dispenser = self.kill_at = None
        self.unlink()
        if self.connection.in_transaction:
            self.connection.rollback()

    def link(self) -> None:
        if self.agent is None or self.is_linked:
            return
        self.is_linked = True
        self.world.network.connect(self._prefix, self._receive)
        self.act(lambda agent: agent.handle(LinkUp(), self.now_ms))

    def unlink(self) -> None:
        if self.is_linked:
            self.is_linked = False
            self.world.network.disconnect(self._prefix)
            self.act(lambda agent: agent.handle(LinkDown(), self.now_ms))

    def show(self, shown: str) -> None:
        self.act(lambda agent: agent.handle(VoucherShown(shown), self.now_ms))

    def keep_copy(self) -> None:
        """Somebody makes a copy of the disk."""
        self.copy = self._file(), frozenset(self.took)
        self.connection.backup(self.copy[0])

    def roll_back(self) -> None:
        """The copy takes the disk's place, under a process that starts anew."""
        if self.copy is None:
            return
        disk, took = self.copy
        self.crash()
        now, then = Journal(self.connection, ""), Journal(disk, "")
        mine = [one for one in self.world.issued if one.journal_id == self.journal_id]
        ended = {one.id for one in mine if now.voucher_ended(one.number) and not then.voucher_ended(one.number)}
        self.world.forgotten.update((self.took - took) | ended)
        self.took = set(took)
        disk.backup(self.connection)
        self.boot()

    def enrol_anew(self) -> None:
        """A person sets it up again, with an empty journal."""
        world = self.world
        code_hash = vending_machines.hash_of(f"{self.id} {world.scheduler.now_ms}")
        world.do("make_claim_code", vending_machines.MakeClaimCode(SYSTEM, self.id, code_hash))
        self.journal_id = f"{self.random.getrandbits(128):032x}"
        given = world.do("enroll", vending_machines.Enroll(code_hash, self.journal_id))
        self.crash()
        self.key_id = given["key_id"]
        self.connection, self.copy, self.took = self._file(), None, set()
        self.boot()
        self.link()

    def act(self, action: Callable[[Agent], None]) -> None:
        """Let the agent act and hear its dispenser until both are still; it may die of it."""
        agent = self.agent
        if agent is None:
            return
        try:
            action(agent)
            while self.agent is agent and self.dispenser is not None and self.dispenser._events:
                agent.handle(DispenserSpoke(), self.now_ms)
        except (Killed, JournalBroken):
            self.crash()
            self.world.scheduler.after(self.random.randint(1_000, 2 * HOUR_MS), self.boot_and_link)
            return
        self._set_wakeup()

    def boot_and_link(self) -> None:
        self.boot()
        if self.random.random() < 0.5:
            self.link()

    def _set_wakeup(self) -> None:
        due_ms = None if self.agent is None else self.agent.next_wakeup_ms
        if due_ms is None or due_ms == self.due_ms:
            return
        self.due_ms = due_ms
        at_ms = int((due_ms - self.offset_ms) / self.rate) + 1
        self.world.scheduler.at(at_ms, lambda: self._wake(due_ms))

    def _wake(self, due_ms: int) -> None:
        if due_ms == self.due_ms:
            self.due_ms = None
            self.act(lambda agent: agent.tick(self.now_ms))

    def _receive(self, topic: str, payload: bytes) -> None:
        self.act(lambda agent: agent.handle(Received(topic, payload), self.now_ms))

    def _reached(self, step: str) -> None:
        if step == "vending_journaled":
            self.took.add(self._vending())
        if self.kill_at == step:
            raise Killed(step)

    def _dropped(self) -> None:
        self.world.dropped[self._vending()] += 1

    def _vending(self) -> str:
        (row,) = self.connection.execute("SELECT id FROM redemptions WHERE state = 'vending'").fetchall()
        return str(row[0])


@dataclass(frozen=True, slots=True)
class Issued:
    """A voucher as the resident has it."""

    id: str
    machine_id: str
    journal_id: str
    number: int
    text: str
    digits: str | None


class VoucherWorld:
    """One seed, carried out."""

    def __init__(self, seed: int, *, rolls_back: bool, restores: bool) -> None:
        self.random = Random(seed)
        self.has_faults = self.random.random() < 0.7
        self.rolls_back, self.restores = rolls_back, restores
        self.scheduler = Scheduler()
        faults = NetworkFaults(lost=0.1, doubled=0.1, replayed_later=0.05) if self.has_faults else NetworkFaults()
        self.network = Network(self.scheduler, faults, Random(seed + 1))
        self.server = SimulatedServer(self.scheduler, self.network, Random(seed + 2), SLOW_RULES, 2 * HOUR_MS)
        self.dropped: Counter[str] = Counter()
        self.forgotten: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.issued: list[Issued] = []
        self.machines = {id: VoucherMachine(self, id) for id in MACHINES[: self.random.randint(1, len(MACHINES))]}

    def do(self, kind: str, body: object) -> Any:
        outcome = self.server.perform(kind, body)
        if outcome.error is not None:
            self.refused[getattr(outcome.error, "code", "")] += 1
        return outcome.value

    def run(self) -> None:
        self.server.start()
        for machine in self.machines.values():
            self.do("offer_vouchers", vouchers.OfferVouchers(SYSTEM, machine.id, MOST))
            machine.boot()
            machine.link()
        self.scheduler.run_until(HOUR_MS)
        end_ms = DAYS * 24 * HOUR_MS
        for _ in range(self.random.randint(60, 160)):
            self.scheduler.at(self.random.randint(HOUR_MS, end_ms), self._something)
        for when_ms in range(12 * HOUR_MS, end_ms, 12 * HOUR_MS):
            self.scheduler.at(when_ms, self._look_after)
        self.scheduler.run_until(end_ms)
        self.rest()

    def rest(self) -> None:
        """Everything is mended; then every voucher expires and every machine says so."""
        self.network.mend()
        self.server.start()
        for _ in range(5):
            for machine in self.machines.values():
                machine.kill_at = None
                machine.boot()
                machine.link()
            self._look_after()
            self.scheduler.run_until(self.scheduler.now_ms + 13 * HOUR_MS)

    def _something(self) -> None:
        random = self.random
        machine = random.choice(list(self.machines.values()))
        kinds = ["issue"] * 5 + ["show"] * 8 + ["give_back", "link", "link", "unlink", "unlink", "crash", "kill"]
        kinds += ["copy", "roll_back", "roll_back"] if self.rolls_back else []
        kinds += ["back_up", "restore"] if self.restores else []
        kind = random.choice(kinds)
        self.scheduler.note(f"{kind} {machine.id}")
        match kind:
            case "issue":
                self._issue(machine)
            case "show" if self.issued:
                self._show(random.choice(self.issued[-12:]))
            case "give_back" if self.issued:
                self.do("give_voucher_back", vouchers.GiveVoucherBack(SYSTEM, random.choice(self.issued).id))
            case "link":
                machine.boot()
                machine.link()
            case "unlink":
                machine.unlink()
            case "crash":
                machine.crash()
                self.scheduler.after(random.randint(1_000, 6 * HOUR_MS), machine.boot_and_link)
            case "kill":
                machine.kill_at = random.choice(STEPS)
            case "copy":
                machine.keep_copy()
            case "roll_back":
                machine.roll_back()
            case "back_up":
                self.server.back_up()
            case "restore":
                self.server.restore()
            case _:
                pass

    def _issue(self, machine: VoucherMachine) -> None:
        resident = self.random.choice(self.server.scheme.residents[:3])
        selection = self.random.choice(list(PRICES))
        body = vouchers.IssueVoucher(SYSTEM, resident, machine.id, selection, f"product-{selection}", PRICES[selection])
        made = self.do("issue_voucher", body)
        if made is None:
            return
        with self.server.connection.begin():
            shown = vouchers.shown(self.server.connection, self.server.keys, made)
        # Digits name nobody: what a restored server has forgotten, they cannot tell it.
        digits = None if self.restores else shown["digits"]
        self.issued.append(Issued(made["id"], machine.id, made["journal_id"], made["number"], shown["text"], digits))

    def _show(self, voucher: Issued) -> None:
        """To its own machine, mostly, and perhaps twice."""
        others = list(self.machines.values())
        machine = self.machines[voucher.machine_id] if self.random.random() < 0.9 else self.random.choice(others)
        form = voucher.digits if voucher.digits and self.random.random() < 0.5 else voucher.text
        for _ in range(self.random.choice((1, 1, 2))):
            machine.show(form)

    def _look_after(self) -> None:
        """Staff come by: slots are opened and filled, and a machine that is closed for good is set up anew."""
        with self.server.connection.begin():
            states = dict(self.server.connection.execute(text("SELECT id, state FROM machines")).all())
            closed = self.server.connection.execute(
                text("SELECT machine_id, selection FROM slots WHERE closed_reason IS NOT NULL")
            ).all()
        for machine_id, selection in closed:
            self.do("set_slot_open", vending_machines.SetSlotOpen(SYSTEM, machine_id, selection, True, "看过"))
        for machine in self.machines.values():
            counts = tuple((selection, 10) for selection in PRICES)
            self.do("count_stock", vending_machines.CountStock(SYSTEM, machine.id, counts))
            is_behind = machine.agent is not None and machine.agent._is_journal_behind
            if states[machine.id] == "forked" or is_behind:
                self.scheduler.note(f"{machine.id} enrols anew")
                machine.enrol_anew()

    def problems(self) -> list[str]:
        """What does not hold."""
        connection = self.server.connection
        report = verify(connection, CHECKS)
        found = [] if report.ok else [f"verify: {report.first_break}"]
        states = dict(connection.execute(text("SELECT id, state FROM redemptions")).all())
        for voucher in {one.id for one in self.issued} | self.dropped.keys():
            drops, state, allowed = self.dropped[voucher], states.get(voucher), self.forgotten[voucher]
            paid = state in ("captured", "in_doubt")
            if drops > 1 + allowed:
                found.append(f"{voucher}: {drops} items, {allowed} times forgotten")
            if drops - paid > allowed:
                found.append(f"{voucher}: {drops} items, {state}, {allowed} times forgotten")
            if state == "captured" and not drops:
                found.append(f"{voucher}: paid, and nothing fell")
            if state in ("requested", "held", "vending"):
                found.append(f"{voucher}: left at {state}")
        if not self.rolls_back:
            query = text("SELECT type, reason, detail FROM rejected_messages")
            found += [f"rejected: {row}" for row in connection.execute(query)]
        return found

    def close(self) -> None:
        self.server.close()
        for machine in self.machines.values():
            machine.connection.close()


def carried_out(seed: int, *, rolls_back: bool = False, restores: bool = False) -> VoucherWorld:
    quiet()
    world = VoucherWorld(seed, rolls_back=rolls_back, restores=restores)
    world.run()
    return world


def judged(seed: int, **how: bool) -> None:
    world = carried_out(seed, **how)
    found = world.problems()
    lines = world.scheduler.lines
    world.close()
    assert not found, "\n".join([*lines, *found, f"seed {seed}, {how}"])


@pytest.mark.parametrize("seed", range(SEEDS))
def test_no_voucher_gives_two_items(seed: int) -> None:
    judged(seed)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_disk_that_is_rolled_back_costs_at_most_what_ended_since_the_copy(seed: int) -> None:
    judged(seed, rolls_back=True)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_restored_server_neither_loses_nor_doubles_a_voucher(seed: int) -> None:
    judged(seed, restores=True)


def test_one_seed_gives_one_history() -> None:
    first, second = carried_out(3), carried_out(3)
    assert first.scheduler.lines == second.scheduler.lines
    assert (first.dropped, first.refused) == (second.dropped, second.refused)
    first.close()
    second.close()


@pytest.mark.skipif(SEEDS < ENOUGH, reason="VOUCHER_SEEDS=3 and more reach every end")
def test_the_seeds_reach_what_they_are_for() -> None:
    """Items fall, some vouchers are freed, and a disk that is rolled back does give a second item somewhere."""
    ends: Counter[str] = Counter()
    most = 0
    for seed in range(100, 130):
        world = carried_out(seed, rolls_back=True)
        rows = world.server.connection.execute(text("SELECT state, count(*) FROM redemptions GROUP BY state"))
        ends.update(dict(rows.all()))
        most = max(most, *world.dropped.values(), 0)
        world.close()
        if {"captured", "voided", "in_doubt"} <= ends.keys() and most > 1:
            return
    raise AssertionError(f"{ends}, at most {most} items of one voucher: the bound was not tried")

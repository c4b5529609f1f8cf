"""One machine of the simulation: the real agent, journal and driver, joined to the real face and cabinet by a wire.

Virtual time throughout. A crash drops the agent's objects and rolls back its connection, as a process that is killed
leaves its file; what is in the wire is lost.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from network import Network
from scheduler import Scheduler
from simulated_server import PRICES

from jishan_agent.agent import Agent, DispenserSpoke, Identity, LinkDown, LinkUp, Received
from jishan_agent.dispensers import DRIVERS
from jishan_agent.dispensers.base import Dispenser, Memory, Pressed
from jishan_agent.journal import Journal, JournalBroken
from jishan_agent.vending import Identified
from jishan_protocol.sealing import Credential
from jishan_sim.cabinet import Slot
from jishan_sim.faces import FACES
from jishan_sim.faults import Faults

SELECTIONS = tuple(PRICES)
STOCK = 6
PACK_NUMBERS_SKIPPED = 64


class Killed(Exception):
    """The process ends here, between two instructions."""


@dataclass(frozen=True, slots=True)
class Began:
    """A vend that the journal let begin: everything that drops from now on, until the next one, is its."""

    at_ms: int
    redemption_id: str


class SimulatedReserve:
    """The journal's disk, as SQLite's limit of pages, and the reserve on it."""

    LARGEST_PAGES = 1_000_000
    RESERVE_PAGES = 256

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._is_full = False

    def fill(self) -> None:
        """From now on the disk has no free page but those of the reserve."""
        self._is_full = True
        self._limit(self._pages())

    def clear(self) -> None:
        """There is room again."""
        self._is_full = False
        self._limit(self.LARGEST_PAGES)

    def restore(self) -> bool:
        """Set the reserve aside; False while there is no room for it."""
        return not self._is_full

    def release(self) -> bool:
        """Give the reserve up; False if it is gone already."""
        if not self._is_full:
            return False
        self._limit(self._pages() + self.RESERVE_PAGES)
        return True

    def _pages(self) -> int:
        pages = self._connection.execute("PRAGMA page_count").fetchone()[0]
        assert isinstance(pages, int)
        return pages

    def _limit(self, pages: int) -> None:
        self._connection.execute(f"PRAGMA max_page_count = {pages}")


class SimulatedMachine:
    """A cabinet with its controller, and the agent that drives it."""

    def __init__(
        self,
        scheduler: Scheduler,
        network: Network,
        identity: Identity,
        journal_id: str,
        profile: Any,
        faults: Faults,
        random: Random,
        protocol: str = "xy",
    ) -> None:
        self.scheduler, self.network, self.random = scheduler, network, random
        self.identity, self.journal_id, self.profile = identity, journal_id, profile
        # Points are what the machine's own price says, where it shows one.
        slots = [Slot(selection, items=STOCK, stock=STOCK, price=PRICES[selection]) for selection in SELECTIONS]
        # Only an XY controller that counts as the item falls can claim that its counter survives a power cut.
        counts_early = protocol == "xy" and (profile.counter_survives_power_cut or random.random() < 0.5)
        self.protocol, self.has_keypad = protocol, FACES[protocol].has_keypad
        self.face = FACES[protocol].build(slots, profile, faults, Random(random.getrandbits(32)))
        self.cabinet = self.face.cabinet
        self.cabinet.counts_at_drop |= counts_early
        self.connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self.disk = SimulatedReserve(self.connection)
        self.agent: Agent | None = None
        self.dispenser: Dispenser | None = None
        self.is_linked = False
        self.kill_at: str | None = None
        self.began: list[Began] = []
        self.runs = 0
        self._prefix = f"jishan/v1/s{identity.shard:02d}/{identity.machine_id}/d/"
        self._face_due_ms: int | None = None
        self._agent_due_ms: int | None = None
        self._is_pumping = False

    # --- what the world does to it ---

    def power_on(self) -> None:
        """The controller gets power."""
        self.face.power_on(self.scheduler.now_ms)
        self._pump()

    def boot(self) -> None:
        """Start the agent's process."""
        if self.agent is not None:
            return
        self.runs += 1
        self._note(f"boot {self.runs}")
        journal = Journal(self.connection, self.journal_id, self.disk)  # type: ignore[arg-type]
        memory = Memory((journal.pack_number + PACK_NUMBERS_SKIPPED) % 255)
        self.dispenser = DRIVERS[self.protocol].build(self.profile, memory)
        seeded = Random(self.random.getrandbits(32))
        self.agent = Agent(self.identity, journal, self.dispenser, self._publish, seeded, self._reached)
        self._guarded(lambda agent: agent.start(self.scheduler.now_ms))
        self.scheduler.after(self.random.randint(50, 2_000), self.link)

    def crash(self) -> None:
        """Kill the agent's process: nothing that was not committed survives."""
        if self.agent is None:
            return
        self._note("crash")
        self.agent = self.dispenser = None
        self.kill_at = None
        self.is_linked = False
        self.network.disconnect(self._prefix)
        if self.connection.in_transaction:
            self.connection.rollback()
        self.scheduler.after(self.random.randint(500, 90_000), self.boot)

    def link(self) -> None:
        """The connection to the broker is made, if there is a broker."""
        if self.agent is None or self.is_linked:
            return
        if not self.network.is_up:
            self.scheduler.after(self.random.randint(500, 5_000), self.link)
            return
        self.is_linked = True
        self.network.connect(self._prefix, self._receive)
        self._guarded(lambda agent: agent.handle(LinkUp(), self.scheduler.now_ms))

    def unlink(self) -> None:
        """The connection to the broker breaks; it is made again later."""
        if self.agent is None or not self.is_linked:
            return
        self._note("unlinked")
        self.is_linked = False
        self.network.disconnect(self._prefix)
        self._guarded(lambda agent: agent.handle(LinkDown(), self.scheduler.now_ms))
        self.scheduler.after(self.random.randint(500, 30_000), self.link)

    def power_cut(self, off_ms: int) -> None:
        """The controller loses power for a while."""
        self._note(f"power cut for {off_ms} ms")
        self.face.power_cut(self.scheduler.now_ms)
        self.scheduler.after(off_ms, self.power_on)
        self._pump()

    def identify(self, credential: Credential) -> None:
        """A card is held to the reader, or a member number and PIN are typed."""
        self._guarded(lambda agent: agent.handle(Identified(credential), self.scheduler.now_ms))

    def press(self, selection: int) -> None:
        """A selection is pressed, on the dispenser if it has keys, or on a keypad or screen of its own."""
        # An MDB machine wants nothing that was not pressed on it.
        if self.protocol == "mdb" or (self.random.random() < 0.5 and self.has_keypad):
            self.face.press(selection, self.scheduler.now_ms)
            self._pump()
        else:
            self._guarded(lambda agent: agent.handle(Pressed(selection), self.scheduler.now_ms))

    def set_faults(self, faults: Faults) -> None:
        """Replace what goes wrong with the controller."""
        self.face.set_faults(faults)
        self._pump()

    @property
    def has_drop_sensor(self) -> bool:
        """Whether a vend is seen by something; the doors of a locker are."""
        return bool(getattr(self.profile, "drop_sensor", True))

    def last_seq(self) -> int:
        """The last message that the journal has written."""
        return Journal(self.connection, self.journal_id).last_seq

    # --- inside ---

    def _note(self, line: str) -> None:
        self.scheduler.note(f"{self.identity.machine_id} {line}")

    def _reached(self, step: str) -> None:
        agent = self.agent
        if step == "vending_journaled" and agent is not None:
            self.began.append(Began(self.scheduler.now_ms, self._open_vend()))
        if self.kill_at == step:
            self._note(f"killed at {step}")
            raise Killed(step)

    def _open_vend(self) -> str:
        row = self.connection.execute("SELECT id FROM redemptions WHERE state = 'vending'").fetchall()
        assert len(row) == 1, f"one vend at a time, not {row}"
        redemption_id = row[0][0]
        assert isinstance(redemption_id, str)
        return redemption_id

    def _publish(self, topic: str, payload: bytes) -> None:
        self.network.publish(topic, payload)

    def _receive(self, topic: str, payload: bytes) -> None:
        self._guarded(lambda agent: agent.handle(Received(topic, payload), self.scheduler.now_ms))

    def _guarded(self, action: Callable[[Agent], None]) -> None:
        """Let the agent act, and let it die of what kills it."""
        if self.agent is None:
            return
        try:
            action(self.agent)
        except (Killed, JournalBroken):
            self.crash()
        self._pump()

    def _pump(self) -> None:
        """Carry bytes both ways until the wire is empty, then set the next wake-ups."""
        if self._is_pumping:
            return
        self._is_pumping = True
        try:
            while self._exchange():
                pass
        finally:
            self._is_pumping = False
        self._set_wakeups()

    def _exchange(self) -> bool:
        now_ms = self.scheduler.now_ms
        down = self.dispenser.take_output() if self.dispenser is not None else b""
        if down:
            self.face.receive(down, now_ms)
        self.face.tick(now_ms)
        up = self.face.take_output()
        if up and self.dispenser is not None:
            self.dispenser.receive(up, now_ms)
            self._while_pumping(lambda agent: agent.handle(DispenserSpoke(), now_ms))
        elif down:
            self._while_pumping(lambda agent: agent.handle(DispenserSpoke(), now_ms))
        return bool(down or up)

    def _while_pumping(self, action: Callable[[Agent], None]) -> None:
        if self.agent is None:
            return
        try:
            action(self.agent)
        except (Killed, JournalBroken):
            self.crash()

    def _set_wakeups(self) -> None:
        due_ms = self.face.next_wakeup_ms
        if due_ms is not None and due_ms != self._face_due_ms:
            self._face_due_ms = due_ms
            self.scheduler.at(due_ms, lambda: self._face_wakes(due_ms))
        agent_due_ms = self.agent.next_wakeup_ms if self.agent is not None else None
        if agent_due_ms is not None and agent_due_ms != self._agent_due_ms:
            self._agent_due_ms = agent_due_ms
            self.scheduler.at(agent_due_ms, lambda: self._agent_wakes(agent_due_ms))

    def _face_wakes(self, due_ms: int) -> None:
        if self._face_due_ms != due_ms:
            return
        self._face_due_ms = None
        self.face.tick(self.scheduler.now_ms)
        self._pump()

    def _agent_wakes(self, due_ms: int) -> None:
        if self._agent_due_ms != due_ms:
            return
        self._agent_due_ms = None
        self._guarded(lambda agent: agent.tick(self.scheduler.now_ms))

"""The whole system in one process: a server, machines, residents and everything that can go wrong, from one seed.

Run one seed with its history: `python -m tests.system.soak --first SEED --seeds 1 --show`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random

import structlog
from checkers import problems
from network import Network, NetworkFaults
from scheduler import Scheduler
from simulated_machine import SELECTIONS, SimulatedMachine
from simulated_server import CARDS, MACHINES, PIN, SimulatedServer, journal_id_of

from jishan_agent.agent import Identity
from jishan_agent.dispensers import DRIVERS
from jishan_protocol.sealing import Credential
from jishan_server.organizations.roles import SYSTEM
from jishan_server.people.merging import CloseResident, MergeResidents
from jishan_server.vending.machines import shard_of
from jishan_sim.faults import Faults, LineFaults, VendFaults

TROUBLE_MS = 240_000
"""Faults happen in this span; afterwards everything is mended, and the system has CALM_MS to come to rest."""

CALM_MS = 700_000
SETTLE_MS = 60_000

SALT = "5a17" * 8

AGENT_STEPS = (
    "requested_journaled",
    "asked",
    "approved",
    "vending_journaled",
    "drive_sent",
    "result_received",
    "result_journaled",
    "outcome_sent",
    "outcome_acked",
)
FLEET = (
    ("xy", "default"),
    ("xy", "paper"),
    ("xy", "counting"),
    ("xy", "counting-volatile"),
    ("xy", "counting-stock"),
    ("xy", "no-drop-sensor"),
    ("xy", "lift"),
    ("mdb", "default"),
    ("mdb", "no-drop-sensor"),
    ("mdb", "credit-first"),
    ("lock-board", "default"),
    ("lock-board", "reporting"),
    ("modbus-board", "default"),
    ("modbus-board", "no-drop-sensor"),
    ("mqtt", "default"),
    ("mqtt", "late-store"),
)
"""Protocols and firmwares; a seed puts any of them beside each other."""

TROUBLES = (
    "kill_agent",
    "kill_agent_at_step",
    "kill_server",
    "broker_down",
    "unlink",
    "power_cut",
    "unplug",
    "silent",
    "door",
    "stuck_sensor",
    "blind_sensor",
    "person_decides",
    "clock_jump",
    "disk_full",
    "person_gives_up",
    "back_up",
    "restore",
    "merge_residents",
    "close_resident",
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a seed decides beforehand. Shrinking a failure takes parts of it away."""

    seed: int
    machines: int
    visits: tuple[tuple[int, int, str, int], ...]
    """(when, machine, card, selection)"""
    troubles: tuple[tuple[int, str, int], ...]
    """(when, what, machine)"""
    network: NetworkFaults
    vend: VendFaults
    line: LineFaults
    crash_before_commit: float
    crash_after_commit: float
    refuse_late_answers: bool = False
    fleet: tuple[tuple[str, str], ...] = field(default=())
    """(protocol, firmware profile) of each machine."""


def plan_of(seed: int) -> Plan:
    """Draw a plan. Each kind of fault is absent in many seeds, so that failures are small and each is seen alone."""
    random = Random(seed)

    def maybe(most: float, chance: float = 0.5) -> float:
        return random.random() * most if random.random() < chance else 0.0

    machines = random.randint(1, 2)
    cards = (*CARDS, "FFFFFFFF", "1EA68671")
    visits = tuple(
        (random.randrange(TROUBLE_MS), random.randrange(machines), random.choice(cards), random.choice(SELECTIONS))
        for _ in range(random.randint(6, 24))
    )
    troubles = tuple(
        (random.randrange(TROUBLE_MS), random.choice(TROUBLES), random.randrange(machines))
        for _ in range(random.choice((0, 1, 2, 4, 8)))
    )
    if random.random() < 0.15:
        backed_up_ms, restored_ms = sorted(random.randrange(TROUBLE_MS) for _ in range(2))
        troubles += ((backed_up_ms, "back_up", 0), (restored_ms, "restore", 0))
    network = NetworkFaults(
        lost=maybe(0.3),
        doubled=maybe(0.3),
        replayed_later=maybe(0.1),
        garbled=maybe(0.1),
        late=maybe(0.2),
        delay_ms=random.choice((5, 50, 500)),
    )
    vend = VendFaults(
        jam=maybe(0.4),
        no_drop=maybe(0.4),
        double_drop=maybe(0.2),
        motor_missing=maybe(0.2),
        motor_runs_on=maybe(0.2),
        slow=maybe(0.5),
        ack_lost=maybe(0.4),
        status_lost=maybe(0.3),
        status_doubled=maybe(0.4),
        wrong_status=maybe(0.2),
        hold_status_ms=random.choice((0, 0, 0, 500, 45_000)),
        power_cut=maybe(0.3),
        power_off_ms=random.choice((0, 2_000, 40_000)),
    )
    line = LineFaults(
        byte_loss=maybe(0.001, 0.3),
        byte_flip=maybe(0.001, 0.3),
        byte_double=maybe(0.001, 0.3),
        delay_ms=random.choice((0, 0, 20, 150)),
        bad_checksum=maybe(0.05, 0.3),
        cut_frame=maybe(0.05, 0.3),
        frame_loss=maybe(0.1, 0.3),
        frame_double=maybe(0.1, 0.3),
        noise=maybe(0.05, 0.3),
    )
    return Plan(
        seed=seed,
        machines=machines,
        visits=visits,
        troubles=troubles,
        network=network,
        vend=vend,
        line=line,
        crash_before_commit=maybe(0.05, 0.3),
        crash_after_commit=maybe(0.05, 0.3),
        refuse_late_answers=random.random() < 0.2,
        fleet=tuple(random.choice(FLEET) for _ in MACHINES),
    )


@dataclass(frozen=True, slots=True)
class Run:
    """How a run ended."""

    plan: Plan
    problems: tuple[str, ...]
    trace: str
    lines: tuple[str, ...]
    states: dict[str, int]


class World:
    """One plan, carried out."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.scheduler = Scheduler()
        self.random = Random(plan.seed)
        self.network = Network(self.scheduler, plan.network, Random(self.random.getrandbits(32)))
        self.server = SimulatedServer(self.scheduler, self.network, Random(self.random.getrandbits(32)))
        self.machines = [self._machine(index) for index in range(plan.machines)]

    def _machine(self, index: int) -> SimulatedMachine:
        machine_id, (protocol, profile) = MACHINES[index], self.plan.fleet[index]
        key = self.server.keys.machine_key(machine_id, 1)
        return SimulatedMachine(
            self.scheduler,
            self.network,
            Identity(machine_id, shard_of(machine_id), 1, {1: key}, self.server.card_key),
            journal_id_of(machine_id),
            DRIVERS[protocol].profile(profile),
            Faults(),
            Random(self.random.getrandbits(32)),
            protocol,
        )

    def run(self) -> Run:
        """Trouble, then calm, then judgement."""
        self.run_to_the_end()
        found = problems(self.server, self.machines)
        states = self._states()
        self.close()
        return Run(self.plan, tuple(found), self.scheduler.trace(), tuple(self.scheduler.lines), states)

    def close(self) -> None:
        """Let go of the databases."""
        self.server.close()
        for machine in self.machines:
            machine.connection.close()

    def run_to_the_end(self) -> None:
        """Trouble, then calm."""
        plan, scheduler = self.plan, self.scheduler
        self.server.start()
        for machine in self.machines:
            machine.power_on()
            machine.boot()
        scheduler.run_until(SETTLE_MS)
        # Faults begin when everything has come up once.
        faults = Faults(vend=plan.vend, line=plan.line, refuse_late_answers=plan.refuse_late_answers)
        for machine in self.machines:
            machine.set_faults(faults)
        self.server.crash_before_commit = plan.crash_before_commit
        self.server.crash_after_commit = plan.crash_after_commit
        for when_ms, machine, card, selection in plan.visits:
            scheduler.at(SETTLE_MS + when_ms, self._visit(self.machines[machine], card, selection))
        for when_ms, what, machine in plan.troubles:
            scheduler.at(SETTLE_MS + when_ms, self._trouble(what, self.machines[machine]))
        scheduler.run_until(SETTLE_MS + TROUBLE_MS)
        self._mend()
        scheduler.run_until(SETTLE_MS + TROUBLE_MS + CALM_MS)

    def _states(self) -> dict[str, int]:
        rows = self.server.connection.exec_driver_sql("SELECT state, count(*) FROM redemptions GROUP BY state")
        return {str(state): int(count) for state, count in rows}

    def _visit(self, machine: SimulatedMachine, card: str, selection: int) -> Callable[[], None]:
        def visit() -> None:
            self.scheduler.note(f"{machine.identity.machine_id} visit {card} {selection}")
            pause_ms = self.random.randint(100, 6_000)
            credential = self._credential(card)
            if self.random.random() < 0.5:
                machine.identify(credential)
                self.scheduler.after(pause_ms, lambda: machine.press(selection))
            else:
                machine.press(selection)
                self.scheduler.after(pause_ms, lambda: machine.identify(credential))

        return visit

    def _credential(self, card: str) -> Credential:
        """The card, or the number and PIN (mostly the right one) of the same resident."""
        if card not in CARDS or self.random.random() < 0.7:
            return Credential(card=card)
        member = self.server.scheme.members[CARDS.index(card)]
        return Credential(member=member, pin=PIN if self.random.random() < 0.8 else "000000")

    def _trouble(self, what: str, machine: SimulatedMachine) -> Callable[[], None]:
        def happen() -> None:
            self.scheduler.note(f"{machine.identity.machine_id} {what}")
            self._happen(what, machine)

        return happen

    def _happen(self, what: str, machine: SimulatedMachine) -> None:
        random, after = self.random, self.scheduler.after
        faults = machine.face.faults
        match what:
            case "kill_agent":
                machine.crash()
            case "kill_agent_at_step":
                machine.kill_at = random.choice(AGENT_STEPS)
            case "kill_server":
                self.server.crash()
            case "broker_down":
                self.network.is_up = False
                for one in self.machines:
                    one.unlink()
                after(random.randint(1_000, 90_000), self._broker_up)
            case "unlink":
                machine.unlink()
            case "power_cut":
                machine.power_cut(random.choice((0, 500, 20_000)))
            case "unplug":
                machine.set_faults(replace(faults, unplugged=True))
                after(random.randint(500, 60_000), lambda: machine.set_faults(replace(faults, unplugged=False)))
            case "silent":
                machine.set_faults(replace(faults, silent=True))
                after(random.randint(500, 60_000), lambda: machine.set_faults(replace(faults, silent=False)))
            case "door":
                machine.cabinet.door_open = not machine.cabinet.door_open
            case "stuck_sensor" | "blind_sensor":
                machine.set_faults(replace(faults, drop_sensor=what.split("_")[0]))
            case "person_decides":
                self._person_decides()
            case "person_gives_up":
                self._person_gives_up()
            case "merge_residents":
                into = random.choice(self.server.scheme.residents)
                self._end(MergeResidents(SYSTEM, self._somebody(), into, "登记了两次", SALT), what)
            case "close_resident":
                self._end(CloseResident(SYSTEM, self._somebody(), "搬走了", SALT), what)
            case "back_up":
                self.server.back_up()
            case "restore":
                self.server.restore()
            case "disk_full":
                machine.disk.fill()
                after(random.randint(1_000, 60_000), machine.disk.clear)
            case "clock_jump":
                machine.set_faults(replace(faults, clock_jump_s=random.choice((-(10**9), 10**9))))
            case _:
                raise AssertionError(what)

    def _somebody(self) -> str:
        """A resident with an open redemption, if there is one."""
        query = (
            "SELECT DISTINCT resident_id FROM redemptions WHERE resident_id IS NOT NULL "
            "AND state IN ('held', 'vending', 'in_doubt') ORDER BY resident_id"
        )
        with self.server.connection.begin():
            busy = list(self.server.connection.exec_driver_sql(query).scalars())
        return self.random.choice(busy or list(self.server.scheme.residents))

    def _end(self, body: MergeResidents | CloseResident, kind: str) -> None:
        outcome = self.server.perform(kind, body)
        self.scheduler.note(f"{kind} {body.resident_id[:8]}: {outcome.error or 'ok'}")

    def _broker_up(self) -> None:
        self.network.is_up = True

    def _person_decides(self) -> None:
        ids = self._in_state("in_doubt")
        if ids:
            self.server.decide(self.random.choice(ids), self.random.choice(("dispensed", "not_dispensed")))

    def _person_gives_up(self) -> None:
        ids = self._in_state("held") + self._in_state("vending")
        if ids:
            self.server.give_up(self.random.choice(ids))

    def _in_state(self, state: str) -> list[str]:
        query = f"SELECT id FROM redemptions WHERE state = '{state}' ORDER BY id"
        with self.server.connection.begin():
            return [row[0] for row in self.server.connection.exec_driver_sql(query)]

    def _mend(self) -> None:
        self.scheduler.note("everything is mended")
        self.network.mend()
        self.server.crash_before_commit = self.server.crash_after_commit = 0.0
        for machine in self.machines:
            machine.kill_at = None
            machine.cabinet.door_open = False
            machine.disk.clear()
            machine.set_faults(Faults())
        self.server.start()


def run(seed: int) -> Run:
    """Carry out the plan of a seed."""
    return run_plan(plan_of(seed))


def run_plan(plan: Plan) -> Run:
    """Carry out a plan."""
    quiet()
    return World(plan).run()


def quiet() -> None:
    """Say nothing on the way: a failing seed is run again with its history."""
    logging.disable(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def shrink(plan: Plan) -> Plan:
    """Take parts of a failing plan away as long as it still fails."""
    is_smaller = True
    while is_smaller:
        is_smaller = False
        for smaller in _smaller(plan):
            if run_plan(smaller).problems:
                plan, is_smaller = smaller, True
                break
    return plan


def _smaller(plan: Plan) -> list[Plan]:
    smaller = [
        replace(plan, visits=plan.visits[:index] + plan.visits[index + 1 :]) for index in range(len(plan.visits))
    ]
    smaller += [
        replace(plan, troubles=plan.troubles[:index] + plan.troubles[index + 1 :])
        for index in range(len(plan.troubles))
    ]
    if plan.crash_before_commit or plan.crash_after_commit:
        smaller.append(replace(plan, crash_before_commit=0.0, crash_after_commit=0.0))
    for part, empty in (("network", NetworkFaults()), ("vend", VendFaults()), ("line", LineFaults())):
        held = getattr(plan, part)
        smaller += [
            replace(plan, **{part: replace(held, **{name: getattr(empty, name)})})
            for name in held.__dataclass_fields__
            if getattr(held, name) != getattr(empty, name)
        ]
    return smaller

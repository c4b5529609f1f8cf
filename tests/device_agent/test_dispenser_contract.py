"""What every driver promises, joined to the simulated dispenser of its protocol, under every fault that can happen.

The promises are those of `jishan_agent.dispensers.base`. They are checked against the cabinet, which is the physical
truth, never against what the driver believes. A protocol joins in with one entry of WORLDS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import pytest

from jishan_agent.dispensers import DRIVERS, base
from jishan_protocol.dispensers import xy
from jishan_sim.cabinet import Slot
from jishan_sim.faces import FACES
from jishan_sim.faults import START_DELAY_MS, Faults, from_mapping

SELECTIONS = (1, 2, 3, 4)
ITEMS = 5
STEP_MS = 50
ONLINE_MS = 120_000
PRESS_MS = 20_000
CHECK_MS = 60_000
NOT_AFTER_MS = 30_000
RESULT_MS = 400_000
REST_MS = 1_200_000
PRICE = 100  # of a slot, as the cabinet is made

Result = base.VendSucceeded | base.VendFailed | base.VendUnknown
Rest = base.AtRest | base.VendProved


@dataclass(frozen=True, slots=True)
class World:
    """A driver and a face of one protocol, with the same firmware profile on both sides.

    `own` are changes of the profile, as an operator writes them. `without` names faults that the protocol has no place
    for, `lies` those with which this machine says what is not so. `clears` recognises bytes of the driver that clear
    the dispenser's own record of a result; None where there is no such record, or where reading it clears it.
    """

    protocol: str
    profile: str = "default"
    own: Mapping[str, Any] = field(default_factory=dict)
    without: frozenset[str] = frozenset()
    lies: frozenset[str] = frozenset({"double_drop", "blind"})
    clears: Callable[[bytes], bool] | None = None
    begins: bool = False
    """The machine takes a press only with credit: somebody identifies before every press."""


QUICK = {"longest_vend_ms": 20_000}
XY = World("xy", own=QUICK, clears=lambda raw: xy.ACK_FRAME in raw)

LOCKS = World("lock-board")

MDB = World("mdb", own=QUICK)

MODBUS = World("modbus-board", own=QUICK)

MQTT = World("mqtt", own=QUICK, clears=lambda raw: b'"type":"ack"' in raw)

WORLDS: dict[str, World] = {
    "lock-board": LOCKS,
    "lock-board-made-when-open": replace(LOCKS, profile="made-when-open"),
    "lock-board-reporting": replace(LOCKS, profile="reporting"),
    "lock-board-keyless": replace(LOCKS, profile="keyless"),
    "mdb": MDB,
    "mdb-no-drop-sensor": replace(MDB, profile="no-drop-sensor", lies=MDB.lies | {"no_drop"}),
    "mdb-credit-first": replace(MDB, profile="credit-first", begins=True),
    "mdb-old-credit-first": replace(MDB, profile="old-credit-first", begins=True),
    "modbus-board": MODBUS,
    "modbus-board-no-drop-sensor": replace(MODBUS, profile="no-drop-sensor", lies=MODBUS.lies | {"no_drop"}),
    "modbus-board-lift": replace(MODBUS, profile="lift"),
    "modbus-board-prompt": replace(MODBUS, profile="prompt"),
    "mqtt": MQTT,
    "mqtt-late-store": replace(MQTT, profile="late-store"),
    "mqtt-no-drop-sensor": replace(MQTT, profile="no-drop-sensor", lies=MQTT.lies | {"no_drop"}),
    "xy": XY,
    "xy-counting": replace(XY, profile="counting"),
    "xy-counting-stock": replace(XY, profile="counting-stock"),
    "xy-paper": replace(XY, profile="paper"),
    "xy-no-drop-sensor": replace(XY, profile="no-drop-sensor", lies=XY.lies | {"no_drop"}),
    "xy-lift": replace(XY, profile="lift"),
}

FAULTS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "jam": {"vend": {"jam": 1}},
    "no_drop": {"vend": {"no_drop": 1}},
    "double_drop": {"vend": {"double_drop": 1}},
    "motor_missing": {"vend": {"motor_missing": 1}},
    "motor_runs_on": {"vend": {"motor_runs_on": 1}},
    "slow": {"vend": {"slow": 1}},
    "ack_lost": {"vend": {"ack_lost": 1}},
    "status_lost": {"vend": {"status_lost": 1}},
    "status_doubled": {"vend": {"status_doubled": 1}},
    "wrong_status": {"vend": {"wrong_status": 1}},
    "hold_status": {"vend": {"hold_status_ms": 40_000}},
    "power_cut_before": {"vend": {"power_cut": 1, "power_cut_ms": -100}},
    "power_cut_within": {"vend": {"power_cut": 1, "power_cut_ms": 1_000}},
    "power_cut_after_drop": {"vend": {"power_cut": 1, "power_cut_ms": 1_700}},
    "power_cut_long": {"vend": {"power_cut": 1, "power_off_ms": 90_000}},
    "reboot": {"vend": {"power_cut": 1, "power_cut_ms": 1_700, "power_off_ms": 0}},
    "blind": {"drop_sensor": "blind"},
    "stuck": {"drop_sensor": "stuck"},
    "byte_loss": {"line": {"byte_loss": 0.02}},
    "byte_flip": {"line": {"byte_flip": 0.02}},
    "byte_double": {"line": {"byte_double": 0.02}},
    "delay": {"line": {"delay_ms": 80}},
    "bad_checksum": {"line": {"bad_checksum": 0.2}},
    "cut_frame": {"line": {"cut_frame": 0.2}},
    "frame_loss": {"line": {"frame_loss": 0.2}},
    "frame_double": {"line": {"frame_double": 0.5}},
    "noise": {"line": {"noise": 0.2}},
    "refuse_late": {"refuse_late_answers": True, "line": {"delay_ms": 150}},
    "clock": {"clock_jump_s": 10**9},
}


class Join:
    """A driver and a face on a wire, in virtual time, and a host that keeps the agent's rules."""

    def __init__(self, world: World, seed: int = 1) -> None:
        self.world = world
        slots = [Slot(selection, ITEMS, ITEMS) for selection in SELECTIONS]
        self.maker = FACES[world.protocol]
        self.face = self.maker.make(world.profile, slots, Faults(), Random(seed), world.own)
        self.now_ms = 0
        self.sent: list[tuple[int, bytes]] = []
        self.history: list[tuple[int, base.DispenserEvent]] = []
        self.is_online = False
        self.new_driver()
        self.face.power_on(0)

    def new_driver(self) -> None:
        """The agent's process is new; nothing of the old one is left."""
        self.driver = DRIVERS[self.world.protocol](self.world.profile, base.Memory(64), self.world.own)
        self.is_online = False
        self.mark()

    def mark(self) -> None:
        """Look only at what comes from now on."""
        self.seen = len(self.history)

    def cause(self, settings: Mapping[str, Any]) -> None:
        self.face.set_faults(from_mapping(settings))

    def pump(self) -> None:
        """Carry bytes both ways until the wire is empty."""
        while True:
            down = self.driver.take_output()
            if down:
                self.sent.append((self.now_ms, down))
                self.face.receive(down, self.now_ms)
            self.face.tick(self.now_ms)
            up = self.face.take_output()
            if up:
                self.driver.receive(up, self.now_ms)
            for event in self.driver.take_events():
                self.history.append((self.now_ms, event))
                if isinstance(event, base.OnlineChanged):
                    self.is_online = event.is_online
            if not down and not up:
                return

    def run(self, for_ms: int, until: Callable[[], bool] = lambda: False) -> bool:
        """Let time pass until something holds; whether it came to hold."""
        end_ms = self.now_ms + for_ms
        self.pump()
        while not until():
            if self.now_ms >= end_ms:
                return False
            due = [one for one in (self.face.next_wakeup_ms, self.driver.next_wakeup_ms) if one is not None]
            self.now_ms = min(max(min(due, default=end_ms), self.now_ms + 1), self.now_ms + STEP_MS, end_ms)
            self.driver.tick(self.now_ms)
            self.pump()
        return True

    def found(self, *kinds: type[Any]) -> list[Any]:
        """Events of these kinds since the mark."""
        return [event for _, event in self.history[self.seen :] if isinstance(event, kinds)]

    def came(self, *kinds: type[Any]) -> Callable[[], bool]:
        return lambda: bool(self.found(*kinds))

    def online(self) -> Join:
        assert self.run(ONLINE_MS, lambda: self.is_online), "the dispenser is there"
        self.run(5_000)
        return self

    def _more(self, kinds: tuple[type[Any], ...], count: int, ends: Callable[[], bool]) -> Callable[[], bool]:
        return lambda: ends() or len(self.found(*kinds)) > count

    # What the agent does, one after the other.

    def chosen(self, selection: int) -> bool:
        """A resident presses, on the dispenser if it has keys; whether the driver has heard it."""
        self.mark()
        if not self.maker.has_keypad:
            return True
        if self.world.begins:
            self.driver.begin(PRICE, self.now_ms)
            self.run(1_000)
        self.face.press(selection, self.now_ms)
        return self.run(PRESS_MS, self.came(base.Pressed))

    def checked(self, selection: int) -> base.Checked | None:
        self.mark()
        self.driver.check(selection, self.now_ms)
        self.run(CHECK_MS, self.came(base.Checked))
        return next(iter(self.found(base.Checked)), None)

    def ready_to_vend(self, selection: int) -> base.Checked | None:
        """Online, pressed and checked; None where the fault lets it come to nothing, which is no promise's concern."""
        self.run(ONLINE_MS, lambda: self.is_online)
        if not self.is_online or not self.chosen(selection):
            self.driver.cancel(self.now_ms)
            return None
        checked = self.checked(selection)
        if checked is None or not checked.is_sellable:
            self.driver.cancel(self.now_ms)
            return None
        return checked

    def vended(self, selection: int) -> Result | None:
        """Drive; the first result, released. None: the driver never said anything, which breaks a promise."""
        self.mark()
        self.driver.vend(selection, self.now_ms + NOT_AFTER_MS, self.now_ms)
        self.run(RESULT_MS, self.came(base.VendSucceeded, base.VendFailed, base.VendUnknown))
        result: Result | None = next(iter(self.found(base.VendSucceeded, base.VendFailed, base.VendUnknown)), None)
        if isinstance(result, base.VendSucceeded | base.VendFailed):
            self.driver.release(self.now_ms)
            self.pump()
        return result

    def rested(self, selection: int, readings: base.Readings | None) -> tuple[Rest | None, list[Any]]:
        """Recover; how it came to rest, and the late results on the way, each released."""
        self.mark()
        self.driver.recover(selection, readings, self.now_ms)
        released = 0
        rests, results = self.came(base.AtRest, base.VendProved), (base.VendSucceeded, base.VendFailed)
        while not rests():
            if not self.run(REST_MS, self._more(results, released, rests)):
                break
            if len(self.found(*results)) > released:
                released = len(self.found(*results))
                self.driver.release(self.now_ms)
        late = self.found(*results)
        return next(iter(self.found(base.AtRest, base.VendProved)), None), late


def one_vend(join: Join, fault: str, selection: int = 1) -> None:
    """A whole vend under a fault, with every promise looked at."""
    is_lying = fault in join.world.lies
    checked = join.ready_to_vend(selection)
    if checked is None:
        assert "vend" not in FAULTS[fault], "a fault of the vend lets everything before it be"
        return
    cabinet = join.face.cabinet
    turns, gone = cabinet.turns, cabinet.items_dropped(selection)
    result = join.vended(selection)
    assert result is not None, "every vend has an end"
    assert result.selection == selection
    claims: list[bool] = []
    if isinstance(result, base.VendUnknown):
        rest, late = join.rested(selection, checked.readings)
        assert rest is not None, "after an unknown vend the dispenser comes to rest"
        if isinstance(rest, base.VendProved):
            claims.append(rest.is_dispensed)
        # The first result counts; a later one that differs is a stray.
        claims += [isinstance(one, base.VendSucceeded) for one in late[:1]]
    else:
        claims.append(isinstance(result, base.VendSucceeded))
        join.run(5_000)
    dropped = cabinet.items_dropped(selection) - gone
    assert cabinet.turns - turns <= 1, "one vend turns the motor once at most"
    assert dropped <= (2 if fault == "double_drop" else 1), "one vend drops one item at most"
    assert cabinet.items_dropped() - cabinet.items_dropped(selection) == 0, "nothing else drops"
    if not is_lying:
        assert set(claims) <= {dropped > 0}, f"said {claims}, and {dropped} dropped"


@pytest.fixture(params=sorted(WORLDS))
def world(request: pytest.FixtureRequest) -> World:
    return WORLDS[request.param]


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_what_a_driver_says_is_what_happened_and_it_sells_again(world: World, fault: str) -> None:
    if fault in world.without:
        pytest.skip(f"{world.protocol} has no place for {fault}")
    for seed in range(2):
        join = Join(world, seed).online()
        join.cause(FAULTS[fault])
        one_vend(join, fault)
        join.cause({})
        join.run(60_000)
        assert join.is_online, "the dispenser is there again"
        assert join.ready_to_vend(2) is not None, "another selection can be sold"
        assert isinstance(join.vended(2), base.VendSucceeded), "and is"
        assert join.face.cabinet.items_dropped(2) == 1


@pytest.mark.parametrize("seed", range(6))
def test_a_bad_line_costs_no_truth(world: World, seed: int) -> None:
    random = Random(seed)
    join = Join(world, seed).online()
    for selection in (1, 2, 1, 3):
        kinds = random.sample([name for name in FAULTS if name not in world.without | world.lies], 2)
        both: dict[str, Any] = {}
        for name in kinds:
            for part, settings in FAULTS[name].items():
                both[part] = both.get(part, {}) | settings if isinstance(settings, dict) else settings
        join.cause(both)
        before = join.face.cabinet.items_dropped()
        checked = join.ready_to_vend(selection)
        if checked is not None:
            result = join.vended(selection)
            assert result is not None, kinds
            if isinstance(result, base.VendUnknown):
                rest, _ = join.rested(selection, checked.readings)
                assert rest is not None, kinds
            else:
                assert join.face.cabinet.items_dropped() - before == isinstance(result, base.VendSucceeded), kinds
        join.cause({})
        join.face.cabinet.clear_jams()
        for slot in join.face.cabinet.slots.values():
            slot.stuck = False
        join.run(60_000)


@pytest.mark.parametrize("kind", ["silent", "unplugged"])
@pytest.mark.parametrize("for_ms", [500, 40_000])
def test_a_dispenser_that_falls_silent_in_mid_vend_is_unknown_or_says_the_truth(
    world: World, kind: str, for_ms: int
) -> None:
    join = Join(world).online()
    checked = join.ready_to_vend(1)
    assert checked is not None
    cabinet = join.face.cabinet
    join.driver.vend(1, join.now_ms + NOT_AFTER_MS, join.now_ms)
    assert join.run(NOT_AFTER_MS, lambda: cabinet.turns == 1)
    join.cause({kind: True})
    join.run(for_ms)
    join.cause({})
    assert join.run(RESULT_MS, join.came(base.VendSucceeded, base.VendFailed, base.VendUnknown))
    (result, *_) = join.found(base.VendSucceeded, base.VendFailed, base.VendUnknown)
    if isinstance(result, base.VendUnknown):
        rest, late = join.rested(1, checked.readings)
        assert rest is not None
        assert not any(isinstance(one, base.VendFailed) for one in late)
        assert not isinstance(rest, base.VendProved) or rest.is_dispensed
    else:
        assert isinstance(result, base.VendSucceeded)
    assert (cabinet.turns, cabinet.items_dropped(1)) == (1, 1)


@pytest.mark.parametrize("kind", ["silent", "unplugged"])
def test_nothing_that_turns_a_motor_leaves_after_its_time(world: World, kind: str) -> None:
    join = Join(world).online()
    assert join.ready_to_vend(1) is not None
    join.cause({kind: True})
    not_after_ms = join.now_ms + 3_000
    join.driver.vend(1, not_after_ms, join.now_ms)
    join.run(4_000)
    turns = join.face.cabinet.turns
    join.cause({})
    join.run(120_000, join.came(base.VendFailed, base.VendUnknown, base.VendSucceeded))
    assert join.face.cabinet.turns == turns, "what was not taken in time is never sent again"
    for at_ms, event in join.history:
        assert not isinstance(event, base.DriveSent) or at_ms < not_after_ms
    (result, *_) = join.found(base.VendFailed, base.VendUnknown, base.VendSucceeded)
    if not join.found(base.DriveSent):
        assert isinstance(result, base.VendFailed), "never sent is not dispensed"


def test_a_vend_that_is_late_already_is_never_sent(world: World) -> None:
    join = Join(world).online()
    assert join.ready_to_vend(1) is not None
    join.driver.vend(1, join.now_ms - 1, join.now_ms)
    assert join.run(60_000, join.came(base.VendFailed))
    (failed,) = join.found(base.VendFailed)
    assert failed.code == "never_sent"
    join.driver.release(join.now_ms)
    join.run(60_000)
    assert join.face.cabinet.turns == 0
    assert join.found(base.DriveSent) == []
    assert join.ready_to_vend(2) is not None
    assert isinstance(join.vended(2), base.VendSucceeded)


def test_the_motor_starts_before_the_time_is_over(world: World) -> None:
    join = Join(world).online()
    assert join.ready_to_vend(1) is not None
    not_after_ms = join.now_ms + NOT_AFTER_MS
    join.driver.vend(1, not_after_ms, join.now_ms)
    assert join.run(NOT_AFTER_MS + START_DELAY_MS, lambda: join.face.cabinet.turns == 1)
    assert join.run(10, join.came(base.DriveSent))


@pytest.mark.parametrize("fault", ["nothing", "jam"])
def test_a_result_is_cleared_away_only_after_release(world: World, fault: str) -> None:
    if world.clears is None:
        pytest.skip(f"{world.protocol} keeps no record that is cleared by a word")
    if fault in world.without:
        pytest.skip(f"{world.protocol} has no place for {fault}")
    join = Join(world).online()
    assert join.ready_to_vend(1) is not None
    join.cause(FAULTS[fault])
    join.driver.vend(1, join.now_ms + NOT_AFTER_MS, join.now_ms)
    assert join.run(RESULT_MS, join.came(base.VendSucceeded, base.VendFailed))
    heard_ms, _ = next(
        one for one in reversed(join.history) if isinstance(one[1], base.VendSucceeded | base.VendFailed)
    )
    join.sent = [one for one in join.sent if one[0] > heard_ms]
    join.run(300)
    assert not any(world.clears(raw) for _, raw in join.sent), "the agent has not written it down yet"
    join.driver.release(join.now_ms)
    join.run(5_000)
    assert any(world.clears(raw) for _, raw in join.sent)


@pytest.mark.parametrize("after_ms", [0, 100, 1_000, 2_000, 2_700, 10_000])
@pytest.mark.parametrize("fault", ["nothing", "jam", "power_cut_within"])
def test_a_new_run_recovers_and_claims_nothing_untrue(world: World, fault: str, after_ms: int) -> None:
    """The agent dies in mid-vend: what its successor proves is so, and it never turns a motor by itself."""
    if fault in world.without:
        pytest.skip(f"{world.protocol} has no place for {fault}")
    join = Join(world).online()
    checked = join.ready_to_vend(1)
    assert checked is not None
    join.cause(FAULTS[fault])
    cabinet = join.face.cabinet
    join.driver.vend(1, join.now_ms + NOT_AFTER_MS, join.now_ms)
    join.run(NOT_AFTER_MS, lambda: cabinet.turns == 1)
    join.run(after_ms)
    join.new_driver()
    turns = cabinet.turns
    rest, late = join.rested(1, checked.readings)
    assert rest is not None
    dropped = cabinet.items_dropped(1)
    assert cabinet.turns == turns, "a new run drives nothing by itself"
    assert all(isinstance(one, base.VendSucceeded) == (dropped > 0) for one in late[:1])
    assert not isinstance(rest, base.VendProved) or rest.is_dispensed == (dropped > 0)
    join.cause({})
    join.run(30_000)
    assert join.ready_to_vend(2) is not None
    assert isinstance(join.vended(2), base.VendSucceeded)


def test_a_choice_that_ends_without_a_vend_leaves_the_dispenser_ready(world: World) -> None:
    join = Join(world).online()
    for _ in range(3):
        join.driver.begin(PRICE, join.now_ms)
        join.run(2_000)
        join.driver.cancel(join.now_ms)
        join.run(2_000)
        if join.chosen(1):
            join.driver.cancel(join.now_ms)
            join.driver.cancel(join.now_ms)
        join.run(5_000)
        assert join.ready_to_vend(2) is not None
        join.driver.cancel(join.now_ms)
        join.run(5_000)
    assert join.face.cabinet.turns == 0
    assert join.ready_to_vend(3) is not None
    assert isinstance(join.vended(3), base.VendSucceeded)
    assert join.face.cabinet.turns == 1


def test_a_power_cut_while_nothing_is_sold_is_told_and_over(world: World) -> None:
    join = Join(world).online()
    join.face.power_cut(join.now_ms)
    join.run(60_000)
    join.face.power_on(join.now_ms)
    join.mark()
    join.run(60_000)
    assert join.is_online
    assert join.ready_to_vend(1) is not None
    assert isinstance(join.vended(1), base.VendSucceeded)


@pytest.mark.parametrize("seed", range(3))
def test_noise_of_any_kind_turns_nothing_and_is_survived(world: World, seed: int) -> None:
    random = Random(seed)
    join = Join(world).online()
    for _ in range(200):
        join.driver.receive(random.randbytes(random.randint(0, 40)), join.now_ms)
        join.driver.tick(join.now_ms)
        join.run(random.randint(0, 200))
    join.run(60_000)
    assert join.face.cabinet.turns == 0
    assert join.is_online
    assert join.ready_to_vend(1) is not None
    assert isinstance(join.vended(1), base.VendSucceeded)


def test_every_driver_has_a_face_and_a_world() -> None:
    assert set(DRIVERS) == set(FACES)
    assert {world.protocol for world in WORLDS.values()} == set(DRIVERS)
    for protocol, maker in DRIVERS.items():
        assert maker.profiles == FACES[protocol].profiles
        assert "default" in maker.profiles

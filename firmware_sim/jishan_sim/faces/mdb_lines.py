"""The cabinet behind an MDB bus: the line adapter that speaks to the host, and the machine that speaks to the adapter.

Two boxes, two plugs. The machine (VMC) is the cabinet's: a power cut takes its memory. The adapter lives on the host's
USB: `unplugged` takes its power and its memory, and the machine goes on without it.

How they behave, after the adapter maker's documentation (`jishan_protocol.dispensers.mdb_lines`):
- The adapter is off when it gets power. Settings are taken only while it is off.
- The machine contacts an adapter that is on, sets it up (INACTIVE, DISABLED) and enables it when the door is closed and
  nothing turns. When it starts again it resets the adapter: VEND 5 in a vend.
- Always idle: a press is a request. Credit first: a press is a request while a session has enough credit.
- A request waits MACHINE_WAITS_MS, then the machine takes it back (VEND 1), as it does when 0 is pressed.
- An approval starts the motor. Then SUCCESS or VEND 3, IDLE, ENABLED.
- An adapter that nobody polls for BUS_SILENT_MS says INACTIVE (mdb-timeout).

Not on paper, and chosen here: what the machine sells has the price of its slot, set by a person; a selection that is
paused, sold out or jammed is refused on the machine's own display; keys do nothing while a request waits or a motor
turns; a service person who refills clears the jams.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum, auto
from random import Random
from typing import Final, NamedTuple

from jishan_protocol.dispensers import mdb_lines as mdb
from jishan_protocol.errors import ProtocolError
from jishan_sim.cabinet import DROP_AFTER_MS, TURN_MS, Cabinet, Motion, Slot, TurnEnd, TurnEnded
from jishan_sim.faces.base import MAX_LOG, Logged
from jishan_sim.faults import START_DELAY_MS, Faults, Line, VendFaults, happens, worn_frame

BOOT_MS: Final = 1_000  # from the machine's power to its first contact with the adapter
CONTACT_MS: Final = 100  # the machine polls an adapter that has come
SET_UP_MS: Final = 300  # reset, setup, expansion
ENABLE_MS: Final = 200
BUS_SILENT_MS: Final = 10_000  # an adapter that nobody polls for so long is on no bus
MACHINE_WAITS_MS: Final = 60_000  # for an answer to a request, or for a press in a session

VERSION: Final = mdb.Version("4.0.2.0", "JISHANSIM1")
SETTINGS: Final = {
    "mdb-addr": r"0x[16]0",
    "mdb-always-idle": r"[01]",
    "mdb-currency-code": r"0x[0-9A-Fa-f]{4}",
    "mdb-decimal-places": r"[0-3]",
    "mdb-scale-factor": r"[1-9][0-9]?|100",
    "mdb-timeout": r"[0-9]{1,11}",
    "mdb-timeout-idle": r"[0-9]{1,11}",
    "mdb-timeout-vend": r"[0-9]{1,11}",
}
BAD_SETTING: Final = mdb.Refused("", -2)
WRONG_STATE: Final = mdb.Refused("", -3)
BUS_ACK: Final = mdb.Chatter("r,ACK")


class _Phase(Enum):
    """What the bus is in the middle of."""

    NOTHING = auto()
    SESSION = auto()
    REQUEST = auto()
    APPROVED = auto()


@dataclass(frozen=True, slots=True, eq=False)
class _Vend:
    """One vend that was approved, and what is going to go wrong with it."""

    selection: int
    faults: VendFaults


class _Held(NamedTuple):
    """What the machine is going to tell of a vend."""

    at_ms: int
    vend: _Vend
    results: tuple[mdb.Message, ...]


@dataclass(slots=True)
class _Adapter:
    """What the adapter forgets without USB power. `silent_ms`: when it gives the machine up, if that does not come."""

    parser: mdb.Parser = field(default_factory=mdb.Parser)
    settings: dict[str, str] = field(default_factory=dict)
    is_on: bool = False
    state: mdb.BusState | None = None
    phase: _Phase = _Phase.NOTHING
    credit: Decimal = Decimal(0)
    silent_ms: int | None = None
    asked_for: int = 0
    approved: _Vend | None = None
    displayed: str = ""


@dataclass(slots=True)
class _Vmc:
    """What the machine forgets without power. `contact_ms` is the next step of setting the adapter up, `held` results
    that are told later, `waits_until_ms` the end of its patience, `power_cut` one to come: when, and for how long.
    """

    boot_ms: int | None = None
    contact_ms: int | None = None
    waits_until_ms: int | None = None
    vend: _Vend | None = None
    start_ms: int | None = None
    power_cut: tuple[int, int] | None = None
    held: list[_Held] = field(default_factory=list)


class MdbFace:
    """One machine and one adapter. `cabinet` is what stands behind both, `random` the only source of chance."""

    def __init__(self, cabinet: Cabinet, profile: mdb.MdbProfile, faults: Faults, random: Random) -> None:
        self.cabinet = cabinet
        self.profile = profile
        self.late_answers = 0
        self.bad_bytes = 0
        self.log: deque[Logged] = deque(maxlen=MAX_LOG)
        self._random = random
        self._output = bytearray()
        self._to_host = Line(faults.line, random)
        self._from_host = Line(faults.line, random)
        self._power_on_at_ms: int | None = None
        self._adapter = _Adapter()
        self._vmc = _Vmc()
        self.faults = faults
        self.set_faults(faults)

    @property
    def displayed(self) -> str:
        """The host's last words on the machine's display."""
        return self._adapter.displayed

    def set_faults(self, faults: Faults) -> None:
        """Replace every fault from now on; a vend under way keeps its own. Pulling the plug resets the adapter."""
        self.faults = faults
        self._to_host.faults = self._from_host.faults = faults.line
        self.cabinet.drop_sensor = faults.drop_sensor
        if faults.unplugged:
            self._adapter = _Adapter()

    # --- what the world does to it ---

    def power_on(self, now_ms: int) -> None:
        """The machine gets power, and resets an adapter that is on. Nothing happens if it has power."""
        self.tick(now_ms)
        if not self.cabinet.powered:
            self._boot(now_ms)

    def power_cut(self, now_ms: int) -> None:
        """The machine loses power: the motor stops. The adapter stays, and hears nothing of it."""
        self.tick(now_ms)
        self._die(now_ms)
        self._power_on_at_ms = None

    def receive(self, data: bytes, now_ms: int) -> None:
        """Bytes from the host."""
        self.tick(now_ms)
        if not self.faults.unplugged:
            self._from_host.send(data, now_ms)
        self.tick(now_ms)

    def take_output(self) -> bytes:
        """The bytes that have come out of the cable since the last call, up to the last `tick`."""
        output = bytes(self._output)
        self._output.clear()
        return output

    def press(self, selection: int, now_ms: int) -> None:
        """A person presses a selection on the machine's keypad; 0 takes the choice back."""
        self.tick(now_ms)
        adapter, slot = self._adapter, self.cabinet.slots.get(selection)
        if selection == 0:
            self._give_up(now_ms)
        elif slot is not None and self._sells(slot) and self._wants(Decimal(slot.price)):
            adapter.phase, adapter.asked_for = _Phase.REQUEST, selection
            self._vmc.waits_until_ms = now_ms + MACHINE_WAITS_MS
            self._say(mdb.VendRequested(Decimal(slot.price), mdb.item_of(selection, self.profile)), now_ms)
        self.tick(now_ms)

    def insert_money(self, mode: int, amount: int, now_ms: int) -> None:
        """Coins are between the person and the machine: a cashless device hears nothing of them."""

    def report(self, selection: int, now_ms: int) -> None:
        """A service person has refilled: the machine forgets its jams, the host is told nothing."""
        self.cabinet.clear_jams()

    # --- time ---

    @property
    def next_wakeup_ms(self) -> int | None:
        """When `tick` has something to do; None while there is nothing to come."""
        vmc = self._vmc
        due: list[int | None] = [self._power_on_at_ms, self._to_host.next_due_ms, self._from_host.next_due_ms]
        due.append(self._adapter.silent_ms)
        if self.cabinet.powered:
            due += [vmc.boot_ms, vmc.contact_ms, vmc.waits_until_ms, vmc.start_ms, self.cabinet.next_event_ms]
            due += [vmc.power_cut[0] if vmc.power_cut else None, vmc.held[0].at_ms if vmc.held else None]
        return min((one for one in due if one is not None), default=None)

    def tick(self, now_ms: int) -> None:
        """Do everything that was due by now, in order; then see what the door does."""
        while (due_ms := self.next_wakeup_ms) is not None and due_ms <= now_ms:
            self._step(due_ms)
        self._follow_door(now_ms)
        self._output += self._to_host.take(now_ms)

    def _step(self, now_ms: int) -> None:
        """Everything that is due at this moment. The order decides ties: the world first, the line last."""
        vmc = self._vmc
        for ended in self.cabinet.tick(now_ms):
            self._finish(ended)
        if vmc.power_cut is not None and vmc.power_cut[0] <= now_ms:
            off_ms = vmc.power_cut[1]
            self._die(now_ms)
            self._power_on_at_ms = now_ms + off_ms
        if _due(self._power_on_at_ms, now_ms):
            self._boot(now_ms)
        if self.cabinet.powered:
            self._run_machine(now_ms)
        if _due(self._adapter.silent_ms, now_ms):
            self._give_machine_up(now_ms)
        self._hear(self._from_host.take(now_ms), now_ms)
        self._output += self._to_host.take(now_ms)

    def _run_machine(self, now_ms: int) -> None:
        vmc = self._vmc
        if _due(vmc.boot_ms, now_ms):
            vmc.boot_ms = None
            self._reset_adapter(now_ms)
        if _due(vmc.start_ms, now_ms):
            self._start_motor(now_ms)
        if _due(vmc.contact_ms, now_ms):
            self._set_adapter_up(now_ms)
        if _due(vmc.waits_until_ms, now_ms):
            self._give_up(now_ms)
        while vmc.held and vmc.held[0].at_ms <= now_ms:
            self._tell(vmc.held.pop(0), now_ms)

    def _boot(self, now_ms: int) -> None:
        self.cabinet.restore_power()
        self._power_on_at_ms = self._adapter.silent_ms = None
        self._vmc = _Vmc(boot_ms=now_ms + BOOT_MS)

    def _die(self, now_ms: int) -> None:
        self.cabinet.cut_power()
        self._vmc = _Vmc()
        self._adapter.silent_ms = now_ms + BUS_SILENT_MS if self._adapter.state is not None else None

    def _give_machine_up(self, now_ms: int) -> None:
        """Nobody polls any more: whatever the adapter was in the middle of is over for it."""
        adapter = self._adapter
        adapter.silent_ms = adapter.state = None
        adapter.phase = _Phase.NOTHING
        self._say(mdb.InState(mdb.BusState.INACTIVE), now_ms)

    # --- the machine and the adapter on the bus ---

    def _reset_adapter(self, now_ms: int) -> None:
        """The machine has started: whatever it was in the middle of is over for it."""
        adapter = self._adapter
        if not adapter.is_on:
            return
        if adapter.phase in (_Phase.REQUEST, _Phase.APPROVED):
            self._say(mdb.MACHINE_RESET, now_ms)
        adapter.state, adapter.phase = None, _Phase.NOTHING
        self._vmc.contact_ms = now_ms

    def _set_adapter_up(self, now_ms: int) -> None:
        adapter, vmc = self._adapter, self._vmc
        vmc.contact_ms = None
        if not adapter.is_on:
            return
        if adapter.state is None:
            self._say_state(mdb.BusState.INACTIVE, now_ms)
            vmc.contact_ms = now_ms + SET_UP_MS
        elif adapter.state is mdb.BusState.INACTIVE:
            self._say(BUS_ACK, now_ms)
            self._say_state(mdb.BusState.DISABLED, now_ms)
            self._say(BUS_ACK, now_ms)
            vmc.contact_ms = now_ms + ENABLE_MS
        elif not self._may_sell:
            vmc.contact_ms = now_ms + ENABLE_MS
        else:
            self._say_state(mdb.BusState.ENABLED, now_ms)

    @property
    def _may_sell(self) -> bool:
        return not self.cabinet.door_open and self._vmc.vend is None

    def _follow_door(self, now_ms: int) -> None:
        """An open door takes the request back and disables the device; a motor that turns is waited for."""
        adapter, vmc = self._adapter, self._vmc
        if not self.cabinet.powered or not self.cabinet.door_open or adapter.state is not mdb.BusState.ENABLED:
            return
        if adapter.phase is _Phase.APPROVED:
            return
        self._give_up(now_ms)
        self._say_state(mdb.BusState.DISABLED, now_ms)
        vmc.contact_ms = now_ms + ENABLE_MS

    def _wants(self, price: Decimal) -> bool:
        """Whether a press leads to a request now."""
        adapter = self._adapter
        if not self.cabinet.powered or adapter.state is not mdb.BusState.ENABLED or self._vmc.vend is not None:
            return False
        if adapter.phase is _Phase.SESSION:
            return adapter.credit >= price
        is_always_idle = self.profile.always_idle and adapter.settings.get("mdb-always-idle") == "1"
        return adapter.phase is _Phase.NOTHING and is_always_idle

    def _sells(self, slot: Slot) -> bool:
        return not slot.paused and slot.stock > 0 and slot.selection not in self.cabinet.memory.jammed

    def _give_up(self, now_ms: int) -> None:
        """The machine takes its request back, or ends a session in which nobody presses."""
        if self._adapter.phase is _Phase.REQUEST:
            self._say(mdb.CANCELLED, now_ms)
        if self._adapter.phase in (_Phase.REQUEST, _Phase.SESSION):
            self._end_session(now_ms)

    def _end_session(self, now_ms: int) -> None:
        self._adapter.phase = _Phase.NOTHING
        self._vmc.waits_until_ms = None
        self._say(mdb.InSession(), now_ms)
        self._say_state(mdb.BusState.ENABLED, now_ms)

    def _tell(self, held: _Held, now_ms: int) -> None:
        """The machine tells how its vend went; an adapter that has been off since knows of no vend."""
        if self._adapter.phase is not _Phase.APPROVED or self._adapter.approved is not held.vend:
            return
        for result in held.results:
            self._say(result, now_ms)
        self._end_session(now_ms)
        self._say(BUS_ACK, now_ms)

    # --- the adapter and the host ---

    def _say_state(self, state: mdb.BusState, now_ms: int) -> None:
        self._adapter.state = state
        self._say(mdb.InState(state), now_ms)

    def _say(self, message: mdb.Message, now_ms: int) -> None:
        if self.faults.silent or self.faults.unplugged or not self._speaks(message):
            return
        raw = mdb.write(message, self.profile)
        self.log.append(Logged(now_ms, "adapter", raw))
        self._to_host.send(worn_frame(raw, self.faults.line, self._random), now_ms)

    def _speaks(self, message: mdb.Message) -> bool:
        """What happens on the bus is told only by an adapter that is on it."""
        on_the_bus = (mdb.InState, mdb.InSession, mdb.VendRequested, mdb.VendSucceeded)
        return self._adapter.is_on or not isinstance(message, on_the_bus)

    def _hear(self, arrived: bytes, now_ms: int) -> None:
        if self.faults.unplugged:
            return
        for found in self._adapter.parser.feed(arrived):
            raw = found.raw if isinstance(found, mdb.BadLine) else found.encode("ascii")
            self.log.append(Logged(now_ms, "host", raw + b"\n"))
            if isinstance(found, mdb.BadLine):
                self.bad_bytes += len(found.raw)
                self._say(mdb.NotUnderstood(""), now_ms)
                continue
            try:
                self._obey(mdb.read(found), now_ms)
            except ProtocolError:
                self._say(mdb.NotUnderstood(found[:20].replace('"', "")), now_ms)

    def _obey(self, message: mdb.Message, now_ms: int) -> None:
        adapter = self._adapter
        match message:
            case mdb.Identify():
                self._say(VERSION, now_ms)
            case mdb.SwitchOff():
                self._adapter = _Adapter(parser=adapter.parser, settings=adapter.settings)
                self._vmc.contact_ms = self._vmc.waits_until_ms = None
                self._say(mdb.WentOff(), now_ms)
            case mdb.Configure() if adapter.is_on:
                self._say(mdb.ALREADY_ON, now_ms)
            case mdb.Configure(name, value):
                fits = re.fullmatch(SETTINGS.get(name, r"(?!)"), value, re.ASCII) is not None
                if fits:
                    adapter.settings[name] = value
                self._say(mdb.SettingTaken() if fits else BAD_SETTING, now_ms)
            case mdb.SwitchOn() if adapter.is_on:
                self._say(mdb.ALREADY_ON, now_ms)
            case mdb.SwitchOn():
                adapter.is_on = True
                self._say(mdb.InState(mdb.BusState.INACTIVE), now_ms)
                self._say(mdb.WentOn(), now_ms)
                if self.cabinet.powered and self._vmc.boot_ms is None:
                    self._vmc.contact_ms = now_ms + CONTACT_MS
            case mdb.Approve() | mdb.Deny() | mdb.Stop() | mdb.Start() | mdb.Display() if not adapter.is_on:
                self._say(mdb.ALREADY_OFF, now_ms)
            case mdb.Approve(amount):
                self._approve(amount, now_ms)
            case mdb.Deny():
                self._deny(mdb.WRONG_STATE, now_ms)
            case mdb.Stop() if adapter.phase is _Phase.SESSION:
                self._say(BUS_ACK, now_ms)
                self._end_session(now_ms)
            case mdb.Stop():
                self._deny(mdb.Refused("STOP", -3), now_ms)
            case mdb.Start(amount):
                self._start_session(amount, now_ms)
            case mdb.Display(text):
                is_shown = adapter.state is mdb.BusState.ENABLED and adapter.phase is _Phase.NOTHING
                adapter.displayed = text if is_shown else adapter.displayed
                self._say(BUS_ACK if is_shown else WRONG_STATE, now_ms)
            case mdb.Unknown(words) if words.startswith("C,VEND,"):
                self._say(mdb.BAD_PAYLOAD, now_ms)
            case _:
                words = message.words if isinstance(message, mdb.Unknown) else ""
                self._say(mdb.NotUnderstood(words[:20].replace('"', "")), now_ms)

    def _start_session(self, amount: Decimal, now_ms: int) -> None:
        adapter = self._adapter
        if self.profile.always_idle or adapter.state is not mdb.BusState.ENABLED or adapter.phase is not _Phase.NOTHING:
            self._say(mdb.Refused("START", -3), now_ms)
            return
        adapter.phase, adapter.credit = _Phase.SESSION, amount
        self._vmc.waits_until_ms = now_ms + MACHINE_WAITS_MS
        self._say(mdb.InSession(amount), now_ms)
        self._say(BUS_ACK, now_ms)

    def _deny(self, refusal: mdb.Refused, now_ms: int) -> None:
        if self._adapter.phase is not _Phase.REQUEST or not self.cabinet.powered:
            self._say(refusal, now_ms)
            return
        self._say(BUS_ACK, now_ms)
        self._end_session(now_ms)

    # --- a vend ---

    def _approve(self, amount: Decimal, now_ms: int) -> None:
        adapter, vmc = self._adapter, self._vmc
        if adapter.phase is not _Phase.REQUEST:
            self._say(mdb.WRONG_STATE, now_ms)
            return
        adapter.phase = _Phase.APPROVED
        vmc.waits_until_ms = None
        if not self.cabinet.powered:
            # Nobody polls: the approval stays in the adapter, and the machine will reset it.
            return
        faults, self.faults = self.faults.for_vend(adapter.asked_for)
        if not self._happens(faults.ack_lost):
            self._say(BUS_ACK, now_ms)
        vend = vmc.vend = adapter.approved = _Vend(adapter.asked_for, faults)
        if self._happens(faults.power_cut):
            after_ms = faults.power_cut_ms
            if after_ms is None:
                after_ms = self._random.randint(-START_DELAY_MS, TURN_MS + START_DELAY_MS)
            vmc.power_cut = (now_ms + START_DELAY_MS + after_ms, faults.power_off_ms)
        is_stuck = self.profile.drop_sensor and self.cabinet.drop_sensor == "stuck"
        if vend.selection not in self.cabinet.slots or is_stuck or self._happens(faults.motor_missing):
            self._conclude(False, now_ms)
        else:
            vmc.start_ms = now_ms + START_DELAY_MS

    def _start_motor(self, now_ms: int) -> None:
        vend = self._vend
        self._vmc.start_ms = None
        if self.cabinet.door_open:
            self._conclude(False, now_ms)
            return
        faults = vend.faults
        slowness = 3 if self._happens(faults.slow) else 1
        falls = 0 if self._happens(faults.no_drop) else 2 if self._happens(faults.double_drop) else 1
        motion = Motion(
            TURN_MS * slowness,
            DROP_AFTER_MS * slowness,
            falls,
            stalls=self._happens(faults.jam),
            runs_on=self._happens(faults.motor_runs_on),
            watched=self.profile.drop_sensor,
        )
        self.cabinet.turn(vend.selection, motion, now_ms)

    def _finish(self, ended: TurnEnded) -> None:
        """The motor stands still."""
        if ended.end in (TurnEnd.STALLED, TurnEnd.NO_DROP_SEEN):
            self.cabinet.add_jam(ended.selection)
        self._conclude(ended.end is TurnEnd.DISPENSED, ended.at_ms)

    def _conclude(self, is_dispensed: bool, at_ms: int) -> None:
        """The vend is over: its result goes out, as far as the faults let it."""
        vend, self._vmc.vend = self._vend, None
        faults = vend.faults
        result: mdb.Message = mdb.VendSucceeded() if is_dispensed else mdb.NOT_DISPENSED
        opposite: mdb.Message = mdb.NOT_DISPENSED if is_dispensed else mdb.VendSucceeded()
        results: list[mdb.Message] = []
        if not self._happens(faults.status_lost):
            results = [result]
            if self._happens(faults.status_doubled):
                results.append(result)
            if self._happens(faults.wrong_status):
                results.append(opposite)
        self._vmc.held.append(_Held(at_ms + faults.hold_status_ms, vend, tuple(results)))
        self._vmc.held.sort(key=lambda held: held.at_ms)

    @property
    def _vend(self) -> _Vend:
        assert self._vmc.vend is not None, "a motor turns only for an approval"
        return self._vmc.vend

    def _happens(self, probability: float) -> bool:
        return happens(probability, self._random)


def face_for(slots: Iterable[Slot], profile: mdb.MdbProfile, faults: Faults, random: Random) -> MdbFace:
    """A machine with these slots; it counts nothing that an adapter could read. ValueError for a slot without item."""
    cabinet = Cabinet(slots)
    for selection in cabinet.slots:
        mdb.item_of(selection, profile)
    return MdbFace(cabinet, profile, faults, random)


def _due(at_ms: int | None, now_ms: int) -> bool:
    return at_ms is not None and at_ms <= now_ms

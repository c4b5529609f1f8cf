"""The cabinet: coils with items on them, a drop sensor, a door, power, and memory that survives a power cut.

It is the physical truth that a test compares everything else with: `dropped` says what left the machine and when,
whatever was reported. It knows no protocol and no clock: time comes in with every call, in milliseconds.

Rules:
- An item falls at one moment within the turn (`Motion.drop_after_ms`). A power cut before it leaves the item on the
  coil, a power cut after it does not bring the item back.
- Items, stock figures, sales counters, the jam list and the history survive a power cut; a turn under way does not.
- `revision` grows with every change of what survives: whoever keeps it on disk saves then, before anything is reported.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final, NamedTuple

TURN_MS: Final = 2_400  # one turn of a spring
DROP_AFTER_MS: Final = 1_600  # the item goes over the edge at two thirds of the turn
OVERRUN_MS: Final = 5_000  # a motor that misses its switch is stopped after so long
SLOT_CAPACITY: Final = 10
MAX_DROPS: Final = 100_000  # of the history; a machine sells fewer in its life
MAX_SLOTS: Final = 500


@dataclass(slots=True)
class Slot:
    """One coil. `items` is what hangs on it, `stock` what the controller believes."""

    selection: int
    items: int
    stock: int
    capacity: int = SLOT_CAPACITY
    price: int = 100
    product: int = 0
    paused: bool = False
    stuck: bool = False


class Motion(NamedTuple):
    """What a turn is going to do, fixed when it starts. `falls` items leave after `drop_after_ms`.

    `watched`: the drop sensor decides; otherwise a whole turn counts as a sale. A motor that runs on drops nothing.
    """

    turn_ms: int = TURN_MS
    drop_after_ms: int = DROP_AFTER_MS
    falls: int = 1
    stalls: bool = False
    runs_on: bool = False
    watched: bool = True


class Drop(NamedTuple):
    """Items that left the machine. `seen`: the drop sensor saw it."""

    at_ms: int
    selection: int
    items: int
    seen: bool


class TurnEnd(StrEnum):
    """How a turn ended, as far as the motor and the drop sensor can tell."""

    DISPENSED = "dispensed"
    NO_DROP_SEEN = "no_drop_seen"
    STALLED = "stalled"
    RAN_ON = "ran_on"


class TurnEnded(NamedTuple):
    """A turn is over."""

    at_ms: int
    selection: int
    end: TurnEnd


@dataclass(slots=True)
class Memory:
    """What the controller keeps through a power cut. `sales` is selection -> [count, amount].

    `firmware` is what the firmware of one face keeps besides, as JSON.
    """

    sales: dict[int, list[int]] = field(default_factory=dict)
    jammed: list[int] = field(default_factory=list)
    firmware: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class _Turn:
    selection: int
    started_ms: int
    motion: Motion
    seen: bool = False
    fallen: bool = False


class Cabinet:
    """One machine's insides. `counts_sales` and `counts_stock`: the controller counts vends as its firmware does;
    `counts_at_drop`: at the moment the sensor sees the item, not at the end of the turn.
    """

    def __init__(
        self,
        slots: Iterable[Slot],
        *,
        counts_sales: bool = False,
        counts_stock: bool = False,
        counts_at_drop: bool = False,
    ) -> None:
        self.slots = {slot.selection: slot for slot in slots}
        assert 0 < len(self.slots) <= MAX_SLOTS, "a cabinet has 1 to 500 slots"
        self.memory = Memory()
        self.dropped: list[Drop] = []
        self.turns = 0
        self.revision = 0
        self.powered = False
        self.door_open = False
        self.temperature_c: int | None = 5
        self.drop_sensor = "ok"
        self._counts_sales = counts_sales
        self._counts_stock = counts_stock
        self.counts_at_drop = counts_at_drop
        self._turn: _Turn | None = None

    @property
    def turning(self) -> int | None:
        """The selection whose motor turns now."""
        return self._turn.selection if self._turn else None

    def items_dropped(self, selection: int | None = None) -> int:
        """How many items have left the machine, in all or from one selection."""
        return sum(drop.items for drop in self.dropped if selection in (None, drop.selection))

    def turn(self, selection: int, motion: Motion, now_ms: int) -> None:
        """Start a motor. Only one turns at a time, and only with power."""
        assert self.powered, "a motor turns only with power"
        assert self._turn is None, "one motor turns at a time"
        slot = self.slots[selection]
        if motion.stalls and not slot.stuck:
            slot.stuck = True
            self.revision += 1
        self.turns += 1
        self._turn = _Turn(selection, now_ms, motion._replace(stalls=motion.stalls or slot.stuck))

    @property
    def next_event_ms(self) -> int | None:
        """When the turn under way drops its item or ends."""
        turn = self._turn
        if turn is None:
            return None
        end_ms = turn.started_ms + _length_ms(turn.motion)
        return end_ms if turn.fallen or turn.motion.stalls else min(turn.started_ms + turn.motion.drop_after_ms, end_ms)

    def tick(self, now_ms: int) -> list[TurnEnded]:
        """Let everything happen that was due by now."""
        turn = self._turn
        if turn is None:
            return []
        motion = turn.motion
        drop_ms = turn.started_ms + motion.drop_after_ms
        if not turn.fallen and not motion.stalls and drop_ms <= now_ms:
            turn.fallen = True
            self._drop(turn, drop_ms)
        end_ms = turn.started_ms + _length_ms(motion)
        if end_ms > now_ms:
            return []
        self._turn = None
        return [TurnEnded(end_ms, turn.selection, self._end(turn))]

    def cut_power(self) -> None:
        """The motor stops where it is; what has not fallen stays."""
        self.powered = False
        self._turn = None

    def restore_power(self) -> None:
        """Power is back; nothing turns."""
        self.powered = True

    def open_door(self, is_open: bool) -> None:
        """A person opens or closes the door."""
        self.door_open = is_open
        self.revision += 1

    def set_temperature(self, celsius: int | None) -> None:
        """The cold room's temperature; None while it cannot be read."""
        self.temperature_c = celsius
        self.revision += 1

    def refill(self, selection: int, items: int | None = None) -> None:
        """A person frees the coil and fills it, to its capacity or to `items`. KeyError for a slot that is none."""
        slot = self.slots[selection]
        slot.items = slot.stock = slot.capacity if items is None else items
        slot.stuck = False
        self.revision += 1

    def set_price(self, selection: int, price: int) -> None:
        """A person sets what the machine itself asks for an item. KeyError for a slot that is none."""
        self.slots[selection].price = price
        self.revision += 1

    def count_sale(self, selection: int) -> None:
        """The controller counts one vend, as far as its firmware does."""
        slot = self.slots[selection]
        if self._counts_sales:
            sales = self.memory.sales.setdefault(selection, [0, 0])
            sales[0] += 1
            sales[1] += slot.price
        if self._counts_stock:
            slot.stock = max(0, slot.stock - 1)
        self.revision += 1

    def add_jam(self, selection: int) -> None:
        """The controller notes a jam."""
        if selection not in self.memory.jammed:
            self.memory.jammed.append(selection)
            self.revision += 1

    def clear_jam(self, selection: int) -> None:
        """The controller forgets the jam of one selection."""
        if selection in self.memory.jammed:
            self.memory.jammed.remove(selection)
            self.revision += 1

    def clear_jams(self) -> None:
        """The controller forgets its jams; a stuck coil stays stuck."""
        self.memory.jammed.clear()
        self.revision += 1

    def keep(self, firmware: Mapping[str, Any]) -> None:
        """The firmware writes what it is to find after a power cut."""
        self.memory.firmware = dict(firmware)
        self.revision += 1

    def snapshot(self) -> dict[str, Any]:
        """What survives, as JSON."""
        return {
            "slots": [asdict(slot) for slot in self.slots.values()],
            "sales": {str(selection): sales for selection, sales in self.memory.sales.items()},
            "jammed": list(self.memory.jammed),
            "firmware": dict(self.memory.firmware),
            "dropped": [list(drop) for drop in self.dropped],
            "turns": self.turns,
            "door_open": self.door_open,
            "temperature_c": self.temperature_c,
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Take over what survived. KeyError, TypeError or ValueError where it is no snapshot."""
        self.slots = {one["selection"]: Slot(**one) for one in snapshot["slots"]}
        sales = {int(key): list(one) for key, one in snapshot["sales"].items()}
        self.memory = Memory(sales, snapshot["jammed"], dict(snapshot.get("firmware", {})))
        self.dropped = [Drop(*drop) for drop in snapshot["dropped"]]
        self.turns = snapshot["turns"]
        self.door_open = snapshot["door_open"]
        self.temperature_c = snapshot["temperature_c"]

    def _drop(self, turn: _Turn, at_ms: int) -> None:
        slot = self.slots[turn.selection]
        items = 0 if turn.motion.runs_on else min(turn.motion.falls, slot.items)
        if items == 0:
            return
        slot.items -= items
        turn.seen = turn.motion.watched and self.drop_sensor == "ok"
        self.dropped.append(Drop(at_ms, turn.selection, items, turn.seen))
        assert len(self.dropped) <= MAX_DROPS, "the history is full"
        self.revision += 1
        if turn.seen and self.counts_at_drop:
            self.count_sale(turn.selection)

    def _end(self, turn: _Turn) -> TurnEnd:
        if turn.motion.stalls:
            return TurnEnd.STALLED
        if turn.motion.runs_on:
            return TurnEnd.RAN_ON
        if turn.motion.watched and not turn.seen:
            return TurnEnd.NO_DROP_SEEN
        if not (turn.seen and self.counts_at_drop):
            self.count_sale(turn.selection)
        return TurnEnd.DISPENSED


def _length_ms(motion: Motion) -> int:
    return OVERRUN_MS if motion.runs_on else motion.turn_ms

"""Whether an item may be given for points: pure, before the ledger is asked.

`decide` judges asks in their order against one picture of the world, each seeing what the ones before it took.
The ledger judges the points afterwards; where it refuses, the caller decides the rest again without that one.
Source of the refusals: decisions, "The redemption table" and "Slot stock"; texts: `jishan_server.errors`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from jishan_protocol.messages import Authorize
from jishan_server.errors import DomainError
from jishan_server.people.credentials import Identified
from jishan_server.vending.limits import Limit
from jishan_server.vending.rules import Rules


@dataclass(frozen=True, slots=True)
class MachineView:
    """What of a machine decides: `state` enrolled sells, any other does not."""

    estate_id: str
    state: str
    is_caught_up: bool
    planogram_version: int
    unknown_cards: int


@dataclass(frozen=True, slots=True)
class SlotView:
    """One selection: what the planogram says of it, and how many items are free."""

    product_id: str
    points: int
    is_enabled: bool
    is_closed: bool
    free: int


@dataclass(frozen=True, slots=True)
class Ask:
    """One question, with who asks (or why nobody could be identified; None when that was not even looked at)."""

    machine_id: str
    wish: Authorize
    who: Identified | DomainError | None


@dataclass(frozen=True, slots=True)
class World:
    """What holds now: slots by (machine, selection), residents with a redemption open, points spent without PIN.

    `limits` are the scheme's; `used` says how much of each a resident has used already. `whose`: the records of those
    who ask, and those merged into them, each with theirs.
    """

    machines: Mapping[str, MachineView]
    slots: Mapping[tuple[str, int], SlotView]
    busy: Set[str]
    spent_without_pin: Mapping[str, int]
    limits: Sequence[Limit] = ()
    used: Mapping[tuple[str, Limit], int] = field(default_factory=dict)
    whose: Mapping[str, str] = field(default_factory=dict)


def goods_refusal(wish: Authorize, machine: MachineView, slot: SlotView | None, taken: int) -> DomainError | None:
    """Why this machine does not give this item now, whoever asks; `taken` items went to asks before this one."""
    if machine.state != "enrolled":
        return DomainError("machine_closed")
    if not machine.is_caught_up:
        return DomainError("machine_catching_up")
    if wish.planogram_version != machine.planogram_version:
        return DomainError("changed")
    if slot is None:
        return DomainError("selection_unknown")
    if (wish.product_id, wish.points) != (slot.product_id, slot.points):
        return DomainError("changed")
    if not slot.is_enabled or slot.is_closed:
        return DomainError("selection_closed")
    if slot.free - taken < 1:
        return DomainError("sold_out")
    return None


def person_refusal(
    wish: Authorize, machine: MachineView, who: Identified, is_busy: bool, spent: int, rules: Rules
) -> DomainError | None:
    """Why this resident does not get it here; `spent` points went today without a PIN."""
    if who.estate_id != machine.estate_id:
        return DomainError("resident_elsewhere")
    if is_busy:
        return DomainError("another_redemption_open")
    if not who.with_pin and spent + wish.points > rules.points_without_pin_per_day:
        return DomainError("pin_required")
    return None


def limit_refusal(wish: Authorize, limits: Sequence[Limit], used: Mapping[Limit, int]) -> DomainError | None:
    """Why this would be too often, or too much, for the scheme's rules."""
    for limit in limits:
        if used[limit] + _counted(limit, wish) > limit.most:
            return _limit_reached(limit)
    return None


def _limit_reached(limit: Limit) -> DomainError:
    match limit.per:
        case "day":
            return DomainError("day_limit_reached", unit=limit.unit, most=limit.most)
        case "month":
            return DomainError("month_limit_reached", unit=limit.unit, most=limit.most)
        case "quarter":
            return DomainError("quarter_limit_reached", unit=limit.unit, most=limit.most)


def _counted(limit: Limit, wish: Authorize) -> int:
    return 1 if limit.unit == "times" else wish.points


def _is_being_tried_out(ask: Ask, machine: MachineView, rules: Rules) -> bool:
    """Somebody tries card after card here: until that has stopped, a card alone opens nothing, found or not.

    Who adds a PIN, or comes with number and PIN, is let through.
    """
    if machine.unknown_cards < rules.unknown_cards:
        return False
    if isinstance(ask.who, DomainError):
        return ask.who.code == "card_unknown"
    return ask.who is not None and not ask.who.with_pin


def decide(asks: Sequence[Ask], world: World, rules: Rules) -> list[DomainError | None]:
    """Give for each ask its refusal, or None where only the ledger is still to be asked."""
    taken: Counter[tuple[str, int]] = Counter()
    busy = set(world.busy)
    spent = Counter(world.spent_without_pin)
    used = Counter(world.used)
    refusals: list[DomainError | None] = []
    for ask in asks:
        machine, place, wish = world.machines[ask.machine_id], (ask.machine_id, ask.wish.selection), ask.wish
        refusal = goods_refusal(wish, machine, world.slots.get(place), taken[place])
        if refusal is None and _is_being_tried_out(ask, machine, rules):
            refusal = DomainError("too_many_unknown_cards")
        elif refusal is None and isinstance(ask.who, DomainError):
            refusal = ask.who
        elif refusal is None and isinstance(ask.who, Identified):
            resident = ask.who.resident_id
            refusal = person_refusal(wish, machine, ask.who, resident in busy, spent[resident], rules)
            if refusal is None:
                own = {limit: used[resident, limit] for limit in world.limits}
                refusal = limit_refusal(wish, world.limits, own)
            if refusal is None:
                for limit in world.limits:
                    used[resident, limit] += _counted(limit, wish)
                taken[place] += 1
                busy.add(resident)
                if not ask.who.with_pin:
                    spent[resident] += wish.points
        refusals.append(refusal)
    return refusals

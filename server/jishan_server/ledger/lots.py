"""Which credit each debit consumed: a fold over one account's entries in ledger order. Pure.

Rules. Every credit opens a lot; a debit takes from the lot that ends soonest (one that never ends last), of equals from
the older. A hold picks its lots when it is placed and keeps them: nothing ends while held. A void, or the reversal of a
debit, returns the points to the same lots; where a lot has ended meanwhile, they live RETURNED_LOT_LIFE longer, in a
lot of their own. The reversal of a credit takes from that credit's lot first. What has ended is booked away before
anything else; where that was put off because the clock was doubted, other debits take from such lots last.
A fold can be packed, and go on from there: lots that have points are kept, and what open holds took. What debits took
is not, so an entry that takes an older debit back needs the whole history (`BeforeTheCut`).
Source: decisions, "The ledger".
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from jishan_server.db import MILLISECOND
from jishan_server.ledger.model import RETURNED_LOT_LIFE_MS, Kind

# Later than any instant: where lots that never end are sorted.
NEVER_MS: Final = timedelta.max // MILLISECOND


@dataclass(frozen=True, slots=True)
class Entry:
    """A transfer as one account sees it; `is_credit`: from the credit side. `pending`, `reverses`: sequences."""

    sequence: int
    kind: Kind
    is_credit: bool
    points: int
    recorded_ms: int
    expires_ms: int | None = None
    pending: int | None = None
    reverses: int | None = None
    is_expiry: bool = False


@dataclass(slots=True)
class Lot:
    """Points of one credit (`source`, its sequence) that end together. `left` are available, `held` set aside."""

    source: int
    points: int
    expires_ms: int | None
    left: int
    held: int = 0

    def ends_ms(self) -> int:
        """When it ends, for sorting."""
        return NEVER_MS if self.expires_ms is None else self.expires_ms


@dataclass(frozen=True, slots=True)
class Part:
    """So many points of a lot."""

    lot: Lot
    points: int


@dataclass(slots=True)
class Lots:
    """The lots after a fold. `taken` says for each debit's sequence, and each open hold's, which lots it took."""

    lots: list[Lot] = field(default_factory=list)
    taken: dict[int, list[Part]] = field(default_factory=dict)
    open_holds: set[int] = field(default_factory=set)

    def available(self) -> list[Lot]:
        """The lots with available points, soonest end first."""
        return sorted((lot for lot in self.lots if lot.left), key=lambda lot: (lot.ends_ms(), lot.source))

    def available_points(self) -> int:
        """The sum of all available points."""
        return sum(lot.left for lot in self.lots)

    def held_points(self) -> int:
        """The sum of all held points."""
        return sum(lot.held for lot in self.lots)

    def ended_points(self, now_ms: int) -> int:
        """Available points that have ended, and are to be booked away."""
        return sum(lot.left for lot in self.lots if lot.ends_ms() <= now_ms)

    def next_expiry_ms(self, now_ms: int) -> int | None:
        """When points end next, those that a void may return included."""
        ends = [
            lot.expires_ms
            for lot in self.lots
            if lot.expires_ms is not None and lot.expires_ms > now_ms and (lot.left or lot.held)
        ]
        return min(ends, default=None)

    def next_expiry_points(self, now_ms: int) -> tuple[int | None, int]:
        """When available points end next, and how many."""
        live = [lot for lot in self.lots if lot.left and lot.expires_ms is not None and lot.expires_ms > now_ms]
        soonest = min((lot.expires_ms for lot in live if lot.expires_ms is not None), default=None)
        return soonest, sum(lot.left for lot in live if lot.expires_ms == soonest)


class BeforeTheCut(LookupError):
    """An entry takes back a debit from before a packed fold: only the whole history says which lots that took."""


def lots(entries: Iterable[Entry], packed: str | None = None) -> Lots:
    """Fold an account's entries, oldest first, or those after a packed fold. The sums are the account's balance.

    Raises BeforeTheCut, after a packed fold only.
    """
    state = Lots() if packed is None else _unpacked(packed)
    for entry in entries:
        _step(state, entry)
    return state


def pack(state: Lots) -> str:
    """What later entries need of a fold, as JSON: `lots` with points, in order, each as source, points, end, left and
    held; `holds` that are open, each with its parts as place of the lot and points.

    At most as long as the account has available and held points.
    """
    kept = [lot for lot in state.lots if lot.left or lot.held]
    places = {id(lot): place for place, lot in enumerate(kept)}
    holds = {
        str(hold): [[places[id(part.lot)], part.points] for part in state.taken[hold]]
        for hold in sorted(state.open_holds)
    }
    rows = [[lot.source, lot.points, lot.expires_ms, lot.left, lot.held] for lot in kept]
    return json.dumps({"lots": rows, "holds": holds}, separators=(",", ":"))


def _unpacked(packed: str) -> Lots:
    read = json.loads(packed)
    kept = [Lot(*row) for row in read["lots"]]
    taken = {int(hold): [Part(kept[place], points) for place, points in parts] for hold, parts in read["holds"].items()}
    return Lots(kept, taken, set(taken))


def _step(state: Lots, entry: Entry) -> None:
    match entry.kind:
        case Kind.HOLD:
            parts = state.taken[entry.sequence] = _take(state, entry)
            state.open_holds.add(entry.sequence)
            for part in parts:
                part.lot.held += part.points
        case Kind.CAPTURE if entry.is_credit:
            _open(state, entry)
        case Kind.CAPTURE:
            assert entry.pending is not None
            state.taken[entry.sequence] = _release(state, entry.pending)
        case Kind.VOID:
            assert entry.pending is not None
            _return(state, _release(state, entry.pending), entry.recorded_ms)
        case Kind.POST if entry.is_credit:
            _open(state, entry)
        case Kind.POST:
            state.taken[entry.sequence] = _take(state, entry)
        case Kind.REVERSAL if entry.is_credit:
            assert entry.reverses is not None
            if entry.reverses not in state.taken:
                raise BeforeTheCut(entry.reverses)
            _return(state, state.taken[entry.reverses], entry.recorded_ms)
        case Kind.REVERSAL:
            state.taken[entry.sequence] = _take(state, entry, first=entry.reverses)


def _open(state: Lots, entry: Entry) -> None:
    state.lots.append(Lot(entry.sequence, entry.points, entry.expires_ms, entry.points))


def _release(state: Lots, hold: int) -> list[Part]:
    state.open_holds.remove(hold)
    parts = state.taken.pop(hold)
    for part in parts:
        part.lot.held -= part.points
    return parts


def _take(state: Lots, entry: Entry, first: int | None = None) -> list[Part]:
    """Take an entry's points: from the lots of `first`, then soonest end first; ended lots last, but for an expiry."""

    def place(lot: Lot) -> tuple[bool, bool]:
        return lot.source != first, not entry.is_expiry and lot.ends_ms() <= entry.recorded_ms

    parts: list[Part] = []
    missing = entry.points
    for lot in sorted(state.available(), key=place):
        taken = min(lot.left, missing)
        lot.left -= taken
        missing -= taken
        parts.append(Part(lot, taken))
        if not missing:
            break
    assert not missing, "the ledger booked a debit that its lots do not cover"
    return parts


def _return(state: Lots, parts: Sequence[Part], recorded_ms: int) -> None:
    """Give points back to their lots, or to one that lives longer where a lot has ended."""
    for part in parts:
        lot = part.lot
        if lot.ends_ms() > recorded_ms:
            lot.left += part.points
        else:
            extended = recorded_ms + RETURNED_LOT_LIFE_MS
            state.lots.append(Lot(lot.source, part.points, extended, part.points))

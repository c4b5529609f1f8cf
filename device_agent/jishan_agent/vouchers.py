"""What a voucher that is shown to this machine is worth, before anything is done about it. Pure.

A machine honours what the server signed for it and for its present journal, once for each number, unless it has closed
the number. No clock is asked: what ends a voucher is `close_vouchers`, journaled before it is reported. Whoever types
digits may be wrong MAX_WRONG times before one is taken; then digits, not texts, are closed for CLOSED_MS. A slip of the
finger, which the check digit shows, is no try. `docs/vouchers.md` says what a disk that was rolled back can cost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from jishan_protocol import vouchers
from jishan_protocol.errors import ProtocolError
from jishan_protocol.messages import Slot
from jishan_protocol.vouchers import Voucher

MAX_WRONG: Final = 5
CLOSED_MS: Final = 15 * 60_000
"""480 guesses in a day at six digits each: half a chance in a thousand."""

Ended = Literal["", "voucher_used", "voucher_ended"]


@dataclass(frozen=True, slots=True)
class VoucherShown:
    """A scanner read the text of a voucher, or sixteen digits were typed."""

    text: str


@dataclass(frozen=True, slots=True)
class Promised:
    """A good voucher of this machine; `approval` goes into `vend_started`."""

    voucher: Voucher
    approval: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Why it is not: a code of `words`. `is_guess` counts against whoever types."""

    code: str
    is_guess: bool = False


@dataclass(frozen=True, slots=True)
class Known:
    """What a machine knows: who it is, the server's public key (empty: none yet), and which numbers have ended."""

    machine_id: str
    journal_id: str
    machine_key: bytes
    key: str
    slots: Mapping[int, Slot]
    ended: Callable[[int], Ended]


def judge(shown: str, known: Known) -> Promised | Refused:
    """Say what a text or digits are worth here; only the planogram is still to be asked."""
    if not known.key:
        return Refused("voucher_not_here")
    return _typed(shown, known) if vouchers.looks_typed(shown) else _scanned(shown, known)


def _scanned(text: str, known: Known) -> Promised | Refused:
    try:
        voucher = vouchers.read(text, known.key)
    except ProtocolError as error:
        return Refused("voucher_unreadable" if error.reason == "bad_voucher" else "voucher_wrong")
    if voucher.machine_id != known.machine_id:
        return Refused("voucher_elsewhere")
    if voucher.journal_id != known.journal_id:
        return Refused("voucher_ended")
    return _unless_ended(Promised(voucher, text), known)


def _typed(digits: str, known: Known) -> Promised | Refused:
    try:
        typed = vouchers.read_digits(digits)
    except ProtocolError:
        return Refused("voucher_unreadable")
    slot = known.slots.get(typed.selection)
    if slot is None:
        return Refused("voucher_wrong", is_guess=True)
    # Nobody is named in digits; the server knows whose number it is.
    voucher = Voucher(
        known.machine_id, known.journal_id, typed.number, slot.selection, slot.product_id, slot.points, "unnamed"
    )
    if not vouchers.fits(typed, voucher, known.machine_key):
        return Refused("voucher_wrong", is_guess=True)
    return _unless_ended(Promised(voucher, f"digits:{typed.number}"), known)


def _unless_ended(promised: Promised, known: Known) -> Promised | Refused:
    ended = known.ended(promised.voucher.number)
    return Refused(ended) if ended else promised

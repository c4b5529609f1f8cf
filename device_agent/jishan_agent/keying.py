"""What is typed on the keypad of a machine, key by key: a selection, a member number and its PIN, a voucher's digits.

`12#` is selection 12; eight digits are a member number, and what follows is its PIN; sixteen are a voucher's; `0#` or
`*` gives up. Rules: a PIN is shown as dots, and neither it nor a number is ever logged or printed; what was typed half
and left for GAP_MS belongs to nobody; a key that is none spoils everything up to the next `#`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Final

from jishan_agent.dispensers.base import CancelPressed, Pressed
from jishan_agent.vending import Identified, Prompted
from jishan_agent.vouchers import VoucherShown
from jishan_protocol.personal_codes import is_member_number
from jishan_protocol.sealing import Credential
from jishan_protocol.vouchers import looks_typed

GAP_MS: Final = 30_000
"""As long as a choice lives: half a line that is so old was typed by somebody who has left."""

MAX_TYPED: Final = 40
"""A voucher's digits with a space between any two; what is longer is noise."""

ENTER: Final = "#"
CANCEL: Final = "*"
KEYS: Final = "0123456789 -#*"
SPOILS: Final = "?"
"""Stands for a key that is none of KEYS."""

DOT: Final = "\u2022"

_SELECTION: Final = re.compile("[0-9]{1,5}")
_PIN: Final = re.compile("[0-9]{4,8}")
_NUMBER: Final = re.compile("[0-9]{6,15}")


@dataclass(frozen=True, slots=True)
class Keyed:
    """Keys of KEYS, or SPOILS, in the order in which they were pressed."""

    keys: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Entry:
    """What has been typed so far. `member` is there once a number was entered: its PIN is being typed."""

    text: str = field(default="", repr=False)
    member: str = field(default="", repr=False)
    typed_ms: int = 0
    is_spoilt: bool = False

    @property
    def is_empty(self) -> bool:
        """Nothing has been typed, and no PIN is waited for."""
        return not self.text.strip() and not self.member and not self.is_spoilt

    def shown(self, *, is_pin: bool) -> str:
        """What the screen may show of it; `is_pin`: a card waits for its PIN."""
        return DOT * len(self.text) if self.member or is_pin else self.text


Entered = Pressed | CancelPressed | Identified | VoucherShown | Prompted


def pressed(entry: Entry, key: str, now_ms: int, card: Credential | None) -> tuple[Entry, Entered | None]:
    """Take one key; `card` is the credential that waits for its PIN, if one does."""
    if now_ms - entry.typed_ms > GAP_MS:
        entry = Entry()
    if key == CANCEL:
        return Entry(), CancelPressed()
    if key == ENTER:
        entered = _entered(entry, card)
        # Only a number that was right waits for what follows.
        is_number = isinstance(entered, Prompted) and entered.code == "enter_pin"
        return Entry(member=entry.text.strip() if is_number else "", typed_ms=now_ms), entered
    is_spoilt = entry.is_spoilt or key not in KEYS or len(entry.text) >= MAX_TYPED
    text = "" if is_spoilt else entry.text + key
    return replace(entry, text=text, typed_ms=now_ms, is_spoilt=is_spoilt), None


def waiting_for_pin(member: str, now_ms: int) -> Entry:
    """As if `member` had been typed: a scanner has read it from a printed card."""
    return Entry(member=member, typed_ms=now_ms)


def _entered(entry: Entry, card: Credential | None) -> Entered | None:
    text = entry.text.strip()
    if entry.is_spoilt or not text:
        return None
    if entry.member or card is not None:
        if _PIN.fullmatch(text) is None:
            return CancelPressed() if text == "0" else Prompted("pin_form")
        return Identified(Credential(member=entry.member, pin=text) if card is None else replace(card, pin=text))
    if _SELECTION.fullmatch(text):
        return Pressed(int(text)) if int(text) else CancelPressed()
    if looks_typed(text):
        return VoucherShown(text)
    if is_member_number(text):
        return Prompted("enter_pin")
    return Prompted("number_wrong") if _NUMBER.fullmatch(text) else None

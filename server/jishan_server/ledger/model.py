"""The ledger's words and its one decision: `apply`, which judges a batch of transfers in order. Pure.

Rules. Points are whole numbers. A hold sets points of its debit account aside; its capture moves the whole of them to
the credit account, its void frees them; one of the two, once. A correction is another transfer. Available points are
`posted - held`, and an account that may not go negative never has less than none available. An account without a limit
(issuance, redeemed, expired, adjustment) has no cached balance, because every transfer would change it. Points that
have ended are booked away before anything else of that account. Whoever must give back more than is available owes the
rest on an account of its own, and later credits pay that first. An account that was merged into another, or closed, has
an heir; it starts nothing any more, and what comes to a merged one moves on (`ledger.onward`).
Source: architecture and decisions, "The ledger".
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, NamedTuple

from jishan_server.db import MILLISECOND, to_ms

# The largest transfer: far above any credit, and far below what a sum of 64 bits holds.
MAX_POINTS: Final = 1_000_000
# Points that come back into a lot which has ended meanwhile may be used this much longer.
RETURNED_LOT_LIFE: Final = timedelta(days=30)
RETURNED_LOT_LIFE_MS: Final = RETURNED_LOT_LIFE // MILLISECOND
# Transfers in one batch; a writer's queue is cut there.
MAX_BATCH: Final = 1_000
# A row's sequence is its batch's serial times this, plus its position. Each transfer may bring two rows of the ledger's
# own (an expiry, and a debt or its payment), so a full batch fits with room to spare.
BATCH_STEP: Final = 4_096

# Who makes the ledger's own rows.
LEDGER: Final = "ledger"

# In place of the row before, for an account without a cached balance.
UNCHAINED: Final = -1

_SEPARATOR: Final = "\x1f"
_WORDS_FORM: Final = _SEPARATOR.join(["%s"] * 15)
_sha256: Final = hashlib.sha256


class Kind(StrEnum):
    """What a transfer does."""

    POST = "post"
    HOLD = "hold"
    CAPTURE = "capture"
    VOID = "void"
    REVERSAL = "reversal"


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a transfer was made; with the transfer's kind it is unique in the whole ledger."""

    type: str
    id: str
    revision: int = 0


@dataclass(frozen=True, slots=True)
class Transfer:
    """One movement as it is asked for.

    A hold's `debit` is whose points are set aside, its `credit` where a capture takes them. A capture or void names
    its hold by `pending_id`, a reversal its transfer by `reverses_id`; their accounts and points may be empty and 0, or
    must be exactly the hold's (for a reversal: exactly the opposite). `expires_at` is for a post: when the credited
    points end. Texts are codes and ids, never free words; those lie in a note, whose hash `note` is (`ledger.notes`).
    """

    id: str
    kind: Kind
    debit: str
    credit: str
    points: int
    cause: Cause
    actor: str
    reason: str
    rule_version: str | None = None
    pending_id: str | None = None
    reverses_id: str | None = None
    expires_at: datetime | None = None
    occurred_at: datetime | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """An account as it is opened. Its limits are what it may not do; without any it has no cached balance.

    `owed_id`: the account that takes what its owner cannot give back. `expired_id`: where its ended points go.
    """

    id: str
    kind: str
    owner: str
    may_not_go_negative: bool = False
    may_not_go_positive: bool = False
    owed_id: str | None = None
    expired_id: str | None = None


class Facts(NamedTuple):
    """What never changes about an account; `number` is what rows call it."""

    number: int
    id: str
    may_not_go_negative: bool
    may_not_go_positive: bool
    owed_id: str | None
    expired_id: str | None
    # Whether it has a limit, and so a cached balance.
    is_limited: bool


@dataclass(slots=True)
class Standing:
    """An account as a batch finds it; `apply` changes its own copies. Times are milliseconds since the epoch.

    `next_expiry_ms` is never later than the next moment at which points of the account end. `last_sequence` is the
    account's newest row, 0 before the first: each row carries its predecessor, so that an account's history needs no
    index. `heir` is the number of the account that everything goes on to, once this one was merged or closed.
    """

    facts: Facts
    posted: int = 0
    held: int = 0
    next_expiry_ms: int | None = None
    is_frozen: bool = False
    last_sequence: int = 0
    heir: int | None = None

    def copied(self) -> Standing:
        """A copy that a batch may change."""
        return Standing(
            self.facts,
            self.posted,
            self.held,
            self.next_expiry_ms,
            self.is_frozen,
            self.last_sequence,
            self.heir,
        )


class Known(NamedTuple):
    """A transfer that the ledger holds, as far as later ones ask about it."""

    sequence: int
    kind: str
    debit: str
    credit: str
    points: int
    row_hash: bytes


@dataclass(frozen=True, slots=True)
class Due:
    """What of an account has ended: how many points are to be booked away, and when the next end then is."""

    points: int
    next_expiry_ms: int | None


@dataclass(frozen=True, slots=True)
class Past:
    """What the ledger knows that a batch may touch. What is missing here is refused by the database's unique keys.

    `closed`: ids of accounts with an heir that are closed, or were merged into one that is.
    """

    transfers: Mapping[str, Known] = field(default_factory=dict)
    closed_holds: frozenset[int] = frozenset()
    reversed: frozenset[int] = frozenset()
    causes: frozenset[tuple[str, str, str, int]] = frozenset()
    due: Mapping[str, Due] = field(default_factory=dict)
    closed: frozenset[str] = frozenset()


class Booked(NamedTuple):
    """The transfer is in the ledger; `is_replay` if it was there before. `available` after it, None if unlimited."""

    id: str
    is_replay: bool = False
    available: int | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing of this transfer was booked. `code` is stable, `fields` are for its text."""

    id: str
    code: str
    fields: Mapping[str, object] = field(default_factory=dict)


# The kinds by themselves: looking a member up in its class costs more than the rest of a comparison.
_POST, _HOLD, _CAPTURE, _VOID, _REVERSAL = Kind.POST, Kind.HOLD, Kind.CAPTURE, Kind.VOID, Kind.REVERSAL

# What a row says, as it is hashed: account ids instead of numbers, and nothing that the batch adds. What is missing is
# empty or 0: drivers take long over None.
Words = tuple[
    str,  # id
    str,  # kind
    str,  # debit
    str,  # credit
    int,  # points
    str,  # cause_type
    str,  # cause_id
    int,  # cause_revision
    str,  # actor
    str,  # reason
    str,  # rule_version
    int,  # pending, a hold's sequence
    int,  # reverses, a transfer's sequence
    int,  # expires_at
    int,  # occurred_at
]

# A row as it is written: the empty words and zeros of `Words` become NULL in the database.
Row = tuple[
    int,  # sequence
    str,  # id
    str,  # kind
    int,  # debit, an account's number
    int,  # credit, an account's number
    int,  # points
    str,  # cause_type
    str,  # cause_id
    int,  # cause_revision
    str,  # actor
    str,  # reason
    str,  # rule_version
    int,  # pending
    int,  # reverses
    int,  # expires_at
    int,  # occurred_at
    int,  # recorded_at
    int,  # debit_previous, the sequence of the account's row before; UNCHAINED if it has no cached balance
    int,  # credit_previous
    str,  # note, the hash of its words; empty without one
    bytes,  # row_hash
]


# How the database knows a transfer: (id, sequence, kind, debit's number, credit's number, points, row hash).
KnownRow = tuple[str, int, str, int, int, int, bytes]
# A cached balance: (number, posted, held, next_expiry_ms, is_frozen, last_sequence, heir).
BalanceRow = tuple[int, int, int, int | None, bool, int, int | None]


@dataclass(frozen=True, slots=True)
class Applied:
    """What a batch comes to: rows to insert, the limited accounts it looked at, and an answer for each transfer."""

    rows: list[Row]
    accounts: dict[str, Standing]
    answers: list[Booked | Refused]


def row_hash(words: Words, note: str | None = None) -> bytes:
    """SHA-256 of a row's words, joined by U+001F: tells a replay from a conflict, and is the row's digest leaf.

    What is missing is written as nothing, or 0; the hash of a note, where there is one, comes last.
    """
    text = _WORDS_FORM % words
    assert text.count(_SEPARATOR) == 14, "codes and ids hold no U+001F"
    if note is not None:
        text = f"{text}{_SEPARATOR}{note}"
    return _sha256(text.encode()).digest()


def apply(
    batch: Sequence[Transfer],
    accounts: Mapping[str, Standing],
    past: Past,
    serial: int,
    now: datetime,
    is_own: bool = False,
) -> Applied:
    """Judge a batch in order; each transfer sees what those before it did. Nothing given is changed.

    `accounts` holds every account that the batch names and that exists (for captures, voids and reversals those of the
    transfer they name), with the owed account of each; `past` what the ledger knows; `serial` numbers the batch.
    `is_own`: the ledger itself moves what an account with an heir has, which no freeze stops.
    """
    assert len(batch) <= MAX_BATCH
    judge = _Judge(accounts, past, serial, to_ms(now), is_own)
    for account_id, due in past.due.items():
        judge.expire(account_id, due)
    answers = [judge.answer(transfer) for transfer in batch]
    limited = {id: one for id, one in judge.accounts.items() if one.facts.is_limited}
    return Applied(judge.rows, limited, answers)


class _Judge:
    """A batch being judged: copies of what it changes, and the rows so far."""

    def __init__(self, accounts: Mapping[str, Standing], past: Past, serial: int, now_ms: int, is_own: bool) -> None:
        self.accounts = {id: one.copied() for id, one in accounts.items()}
        self._is_own = is_own
        self._closed_accounts = past.closed
        self.rows: list[Row] = []
        self._sequence = serial * BATCH_STEP
        self._now_ms = now_ms
        self._transfers = dict(past.transfers)
        self._closed = set(past.closed_holds)
        self._reversed = set(past.reversed)
        self._causes = set(past.causes)

    def answer(self, transfer: Transfer) -> Booked | Refused:
        """Judge one transfer, and book it if it stands."""
        id, kind, points, cause = transfer.id, transfer.kind, transfer.points, transfer.cause
        debit_id, credit_id = transfer.debit, transfer.credit
        expires_at, occurred_at = transfer.expires_at, transfer.occurred_at
        before = self._transfers.get(id)
        target: Known | None = None
        pending = reverses = 0
        if kind is _CAPTURE or kind is _VOID:
            target = self._transfers.get(transfer.pending_id or "")
            if target is None or target.kind != _HOLD:
                return Refused(id, "hold_unknown" if before is None else "idempotency_conflict")
            pending = target.sequence
            if not debit_id and not credit_id and not points:
                debit_id, credit_id, points = target.debit, target.credit, target.points
        elif kind is _REVERSAL:
            target = self._transfers.get(transfer.reverses_id or "")
            if target is None:
                return Refused(id, "transfer_unknown" if before is None else "idempotency_conflict")
            reverses = target.sequence
            if not debit_id and not credit_id and not points:
                debit_id, credit_id, points = target.credit, target.debit, target.points
        words = (
            id,
            # The plain string: cheaper to format and to bind than the enum's member.
            kind._value_,
            debit_id,
            credit_id,
            points,
            cause.type,
            cause.id,
            cause.revision,
            transfer.actor,
            transfer.reason,
            transfer.rule_version or "",
            pending,
            reverses,
            0 if expires_at is None else to_ms(expires_at),
            0 if occurred_at is None else to_ms(occurred_at),
        )
        note = transfer.note
        digest = row_hash(words, note)
        debit, credit = self.accounts.get(debit_id), self.accounts.get(credit_id)
        if before is not None:
            if before.row_hash != digest:
                return Refused(id, "idempotency_conflict")
            return Booked(id, True, _available(debit, credit))
        if debit is None or credit is None:
            return Refused(id, "account_unknown", {"id": credit_id if debit is not None else debit_id})
        if type(points) is not int or not 0 < points <= MAX_POINTS:
            return Refused(id, "points_invalid")
        if debit is credit:
            return Refused(id, "same_account")
        key = (words[1], cause.type, cause.id, cause.revision)
        if key in self._causes:
            return Refused(id, "cause_booked", {"cause": cause.type, "id": cause.id})
        refusal = self._refusal(transfer, debit, credit, points, target, words[13])
        if refusal is not None:
            return refusal
        if kind is _REVERSAL:
            self._borrow(transfer, debit, points)
        self._causes.add(key)
        self._insert(kind, debit, credit, words, digest, note)
        if kind is _POST:
            self._after_credit(transfer, debit, credit, words[13])
        elif kind is _VOID:
            self._returned(debit)
        elif kind is _REVERSAL:
            self._returned(credit)
        return Booked(id, False, _available(debit, credit))

    def _refusal(
        self,
        transfer: Transfer,
        debit: Standing,
        credit: Standing,
        points: int,
        target: Known | None,
        expires_ms: int,
    ) -> Refused | None:
        """What speaks against it by its kind, if anything."""
        id, kind = transfer.id, transfer.kind
        if (debit.heir is not None or credit.heir is not None) and not self._is_own:
            code = self._ended(kind, debit, credit)
            if code is not None:
                return Refused(id, code)
        if kind is _HOLD or kind is _POST:
            if expires_ms and (kind is _HOLD or expires_ms <= self._now_ms):
                return Refused(id, "expiry_invalid")
            if debit.is_frozen and not self._is_own:
                return Refused(id, "account_frozen")
            return _limit_broken(id, debit, credit, points, kind)
        assert target is not None
        debit_id, credit_id = debit.facts.id, credit.facts.id
        if kind is _REVERSAL:
            whole = (target.credit, target.debit, target.points)
            if target.kind not in (_POST, _CAPTURE) or (debit_id, credit_id, points) != whole:
                return Refused(id, "not_reversible")
            if target.sequence in self._reversed:
                return Refused(id, "already_reversed")
            if debit.facts.owed_id is None or debit.facts.owed_id not in self.accounts:
                broken = _limit_broken(id, debit, credit, points, kind)
                if broken is not None:
                    return broken
            self._reversed.add(target.sequence)
            return None
        if points != target.points or debit_id != target.debit or credit_id != target.credit:
            return Refused(id, "capture_not_whole")
        if target.sequence in self._closed:
            return Refused(id, "hold_closed")
        self._closed.add(target.sequence)
        return None

    def _ended(self, kind: Kind, debit: Standing, credit: Standing) -> str | None:
        """The code with which an account that was merged or closed refuses; what ends a hold always passes."""
        # An item that a restored server finds it owes is held on the debt, whose account goes below zero.
        if kind is _CAPTURE or kind is _VOID or (kind is _HOLD and debit.facts.may_not_go_positive):
            return None
        if debit.facts.id in self._closed_accounts or credit.facts.id in self._closed_accounts:
            return "account_closed"
        return "account_merged" if kind is not _REVERSAL and debit.heir is not None else None

    def expire(self, account_id: str, due: Due) -> None:
        """Book away what has ended, and note the next end."""
        standing = self.accounts[account_id]
        expired = None if standing.facts.expired_id is None else self.accounts[standing.facts.expired_id]
        if due.points:
            assert expired is not None, "points end only where the account says they go"
            assert due.points <= standing.posted - standing.held
            id = f"expiry.{self._sequence}"
            self._derive(id, standing, expired, due.points, Cause("expiry", id))
        standing.next_expiry_ms = due.next_expiry_ms

    def _borrow(self, transfer: Transfer, debit: Standing, points: int) -> None:
        """Credit what is missing for a reversal from the account of what its owner owes."""
        missing = points - (debit.posted - debit.held)
        if debit.facts.owed_id is None or not debit.facts.may_not_go_negative or missing <= 0:
            return
        owed = self.accounts[debit.facts.owed_id]
        self._derive(f"owed.{self._sequence}", owed, debit, missing, Cause("owed", transfer.id))

    def _after_credit(self, transfer: Transfer, debit: Standing, credit: Standing, expires_ms: int) -> None:
        """Note when new points end, and let them pay what is owed."""
        if not credit.facts.is_limited:
            return
        if expires_ms:
            credit.next_expiry_ms = min(expires_ms, credit.next_expiry_ms or expires_ms)
        if credit.facts.owed_id is None or credit.facts.owed_id == debit.facts.id:
            return
        owed = self.accounts.get(credit.facts.owed_id)
        if owed is None or owed.posted >= 0:
            return
        paid = min(-owed.posted, transfer.points, credit.posted - credit.held)
        if paid > 0:
            self._derive(f"repaid.{self._sequence}", credit, owed, paid, Cause("repaid", transfer.id))

    def _returned(self, account: Standing) -> None:
        """Points came back, perhaps into a lot that has ended: those may be used a while longer."""
        if account.facts.is_limited:
            ends_ms = self._now_ms + RETURNED_LOT_LIFE_MS
            account.next_expiry_ms = min(ends_ms, account.next_expiry_ms or ends_ms)

    def _derive(self, id: str, debit: Standing, credit: Standing, points: int, cause: Cause) -> None:
        """Book a row of the ledger's own. Its id has a dot, which no client's id has."""
        words = (
            id,
            _POST.value,
            debit.facts.id,
            credit.facts.id,
            points,
            cause.type,
            cause.id,
            cause.revision,
            LEDGER,
            cause.type,
            "",
            0,
            0,
            0,
            0,
        )
        self._insert(_POST, debit, credit, words, row_hash(words))

    def _insert(
        self, kind: Kind, debit: Standing, credit: Standing, words: Words, digest: bytes, note: str | None = None
    ) -> None:
        """Write the row, and move the points on the copies of its accounts."""
        points = words[4]
        sequence = self._sequence
        self._sequence = sequence + 1
        debit_previous = credit_previous = UNCHAINED
        if debit.facts.is_limited:
            debit_previous, debit.last_sequence = debit.last_sequence, sequence
            if kind is _HOLD:
                debit.held += points
            elif kind is _VOID:
                debit.held -= points
            else:
                debit.posted -= points
                if kind is _CAPTURE:
                    debit.held -= points
        if credit.facts.is_limited and kind is not _HOLD and kind is not _VOID:
            credit_previous, credit.last_sequence = credit.last_sequence, sequence
            credit.posted += points
        id, name, debit_id, credit_id = words[:4]
        added = (self._now_ms, debit_previous, credit_previous, note or "", digest)
        self.rows.append((sequence, id, name, debit.facts.number, credit.facts.number, *words[4:], *added))
        self._transfers[id] = Known(sequence, name, debit_id, credit_id, points, digest)


def _available(debit: Standing | None, credit: Standing | None) -> int | None:
    """The available points of whichever side has a limit, the debit side first."""
    for side in (debit, credit):
        if side is not None and side.facts.is_limited:
            return side.posted - side.held
    return None


def _limit_broken(id: str, debit: Standing, credit: Standing, points: int, kind: Kind) -> Refused | None:
    """The refusal if a side would pass its limit."""
    if debit.facts.may_not_go_negative and points > debit.posted - debit.held:
        return Refused(id, "not_enough_points", {"needed": points, "available": debit.posted - debit.held})
    if credit.facts.may_not_go_positive and kind is not _HOLD and credit.posted + points > 0:
        return Refused(id, "not_owed", {"owed": -credit.posted})
    return None


def changes(kind: Kind, is_credit: bool, points: int) -> tuple[int, int]:
    """What a row changes on one side's account: (posted, held)."""
    if is_credit:
        return (0 if kind in (Kind.HOLD, Kind.VOID) else points), 0
    return {Kind.HOLD: (0, points), Kind.VOID: (0, -points), Kind.CAPTURE: (-points, -points)}.get(kind, (-points, 0))


def estate_accounts(estate_id: str) -> list[Account]:
    """The four accounts of an estate's scheme; none has a limit."""
    return [
        Account(f"sys:{kind}:{estate_id}", kind, estate_id)
        for kind in ("issuance", "redeemed", "expired", "adjustment")
    ]


def resident_accounts(resident_id: str, estate_id: str) -> list[Account]:
    """A resident's account, and the one of what the resident owes."""
    owed = Account(f"owed:{resident_id}", "owed", resident_id, may_not_go_positive=True)
    return [
        Account(
            f"res:{resident_id}",
            "resident",
            resident_id,
            may_not_go_negative=True,
            owed_id=owed.id,
            expired_id=f"sys:expired:{estate_id}",
        ),
        owed,
    ]

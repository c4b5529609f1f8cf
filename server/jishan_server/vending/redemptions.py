"""The two mass use cases: may this item be given (`authorize`), and what became of it (`apply_reports`).

Both take a batch, read what it touches with a handful of statements, judge in order in memory, and write once. The
caller holds the machines' locks (`model.lock_machines`) and commits. Rules in decisions, "The redemption table".
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, func, select

from jishan_protocol.errors import IllegalTransition, ProtocolError
from jishan_protocol.messages import (
    Answer,
    Approved,
    Authorize,
    Denied,
    Dispensed,
    Fault,
    Found,
    NotDispensed,
    NotStarted,
    OutboxMessage,
    OutcomeUnknown,
    ProvedDispensed,
    ProvedNotDispensed,
    Reported,
    VendStarted,
    VouchersClosed,
)
from jishan_protocol.redemption import BUSY, Event, Party, State
from jishan_protocol.sealing import Credential
from jishan_protocol.vouchers import PREFIX as VOUCHER
from jishan_server.errors import DomainError
from jishan_server.ledger import store as ledger
from jishan_server.ledger.model import Transfer
from jishan_server.people import tables as people
from jishan_server.people.credentials import (
    Identified,
    Prepared,
    account_of,
    identify,
    masked,
    owed_account_of,
)
from jishan_server.people.hashing import Hashing
from jishan_server.people.one_person import persons
from jishan_server.vending import machine_claims, tables, voucher_books
from jishan_server.vending.changes import Changes, Said, hold_id_of, hold_of, step, write
from jishan_server.vending.deciding import Ask, MachineView, SlotView, World, decide, goods_refusal
from jishan_server.vending.keys import Approval, Keys
from jishan_server.vending.limits import Limit, Limits, LimitsOn, no_limits, start_of
from jishan_server.vending.model import Machine, Redemption, ledger_id, read_redemptions
from jishan_server.vending.rules import Rules


@dataclass(frozen=True, slots=True)
class Question:
    """A machine's `authorize`, its credential opened."""

    machine_id: str
    wish: Authorize
    prepared: Prepared

    def request_hash(self) -> str:
        """What an id stands for; the credential is left out, so that no trace of it is kept."""
        wish = self.wish
        said = (self.machine_id, wish.selection, wish.planogram_version, wish.product_id, wish.points)
        return hashlib.sha256(repr(said).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Report:
    """An outbox message of a machine, in the order of its journal."""

    machine_id: str
    message_id: str
    message: OutboxMessage


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a report could not be applied: it is kept whole for a person."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Vending:
    """What the use cases need beside the database."""

    keys: Keys
    hashing: Hashing
    rules: Rules = field(default_factory=Rules)
    limits_on: LimitsOn = no_limits


# authorize


def authorize(
    connection: Connection,
    questions: Sequence[Question],
    machines: Mapping[str, Machine],
    vending: Vending,
    now: datetime,
) -> list[Answer]:
    """Answer each question in order; `machines` are locked and hold every machine that asks."""
    known = read_redemptions(connection, [question.wish.redemption_id for question in questions])
    first: dict[str, int] = {}
    for index, question in enumerate(questions):
        if question.wish.redemption_id not in known:
            first.setdefault(question.wish.redemption_id, index)
    answers: dict[int, Answer] = {}
    if first:
        fresh = [questions[index] for index in first.values()]
        answers = dict(zip(first.values(), _decide_fresh(connection, fresh, machines, vending, now), strict=True))
    repeated = [index for index in range(len(questions)) if index not in answers]
    if repeated:
        again = [questions[index] for index in repeated]
        answers |= dict(zip(repeated, _from_memory(connection, again, vending, now), strict=True))
    return [answers[index] for index in range(len(questions))]


def denied(redemption_id: str, error: DomainError) -> Denied:
    """A refusal as the machine shows it."""
    return Denied(redemption_id, error.code, error.text("zh"), error.text("en"))


def _decide_fresh(
    connection: Connection,
    questions: Sequence[Question],
    machines: Mapping[str, Machine],
    vending: Vending,
    now: datetime,
) -> list[Answer]:
    ledger_now = ledger_id(connection)
    world = _read_world(connection, questions, machines, ledger_now)
    limits = vending.limits_on(connection, now.astimezone(vending.rules.zone).date())
    rules = limits.applied_to(vending.rules)
    asks = _identified(connection, questions, world, vending, now)
    world = _with_people(connection, asks, world, rules, now)
    world = _with_limits(connection, asks, world, limits, rules, now)
    verdicts = _settle(connection, asks, world, rules, now)
    changes = Changes(now, vending.rules.zone)
    answers: list[Answer] = []
    for question, ask, verdict in zip(questions, asks, verdicts, strict=True):
        redemption = _requested(question, ask, machines[question.machine_id], verdict, now)
        changes.add(redemption)
        if isinstance(verdict, DomainError):
            step(changes, redemption, Event.DENIED, _SERVER)
            if "hint" in verdict.fields:
                # The card would be known if its reader were set rightly: a person must put that right.
                about = {"hint": verdict.fields["hint"]}
                changes.alert(
                    "warning", "reader_profile", ask.machine_id, redemption.estate_id, about, machine_id=ask.machine_id
                )
            answers.append(denied(redemption.id, verdict))
        else:
            assert isinstance(ask.who, Identified)
            changes.slot(redemption).reserved += 1
            step(changes, redemption, Event.APPROVED, _SERVER)
            answers.append(_approved(redemption, verdict.available or 0, ask.who.label, ledger_now, vending))
    write(connection, changes)
    return answers


_SERVER: Final = Said(Party.SERVER, "server")


def reserve(
    connection: Connection,
    wish: Authorize,
    who: Identified,
    machine: Machine,
    rules: Rules,
    limits_on: LimitsOn,
    now: datetime,
) -> Redemption:
    """Approve early: hold points and an item at a locked machine for somebody who does not stand there.

    Refusals: those of `authorize`.
    """
    limits = limits_on(connection, now.astimezone(rules.zone).date())
    rules = limits.applied_to(rules)
    question = Question(machine.id, wish, Prepared(Credential(), None))
    asks = [Ask(machine.id, wish, who)]
    world = _read_world(connection, [question], {machine.id: machine}, ledger_id(connection))
    world = _with_people(connection, asks, world, rules, now)
    world = _with_limits(connection, asks, world, limits, rules, now)
    (verdict,) = _settle(connection, asks, world, rules, now)
    if isinstance(verdict, DomainError):
        raise verdict
    changes = Changes(now, rules.zone)
    redemption = _requested(question, asks[0], machine, verdict, now)
    changes.add(redemption)
    changes.slot(redemption).reserved += 1
    redemption = step(changes, redemption, Event.APPROVED, _SERVER)
    write(connection, changes)
    return redemption


def _settle(
    connection: Connection, asks: Sequence[Ask], world: World, rules: Rules, now: datetime
) -> list[DomainError | ledger.Booked]:
    """Decide, ask the ledger for the points, and decide the rest again without those it refused.

    An ask that the ledger refuses takes nothing from the asks behind it, so what they were refused for its sake is
    judged once more. Each round settles at least one ask; nearly always there is one round.
    """
    refused: dict[int, DomainError] = {}
    held: dict[int, ledger.Booked] = {}
    while True:
        # An ask that holds its points stays in, so that the others see what it took.
        waiting = [index for index in range(len(asks)) if index not in refused]
        judged = dict(zip(waiting, decide([asks[index] for index in waiting], world, rules), strict=True))
        fit = [index for index, refusal in judged.items() if refusal is None and index not in held]
        booked = ledger.book(connection, [_hold(asks[index], world) for index in fit], now, rules.zone) if fit else []
        before = len(refused)
        for index, answer in zip(fit, booked, strict=True):
            if isinstance(answer, ledger.Refused):
                refused[index] = DomainError(answer.code, **answer.fields)
            else:
                held[index] = answer
        if len(refused) == before:
            refused |= {index: refusal for index, refusal in judged.items() if refusal is not None}
            return [refused[index] if index in refused else held[index] for index in range(len(asks))]


def _hold(ask: Ask, world: World) -> Transfer:
    assert isinstance(ask.who, Identified)
    estate_id = world.machines[ask.machine_id].estate_id
    return hold_of(ask.wish.redemption_id, estate_id, ask.who.account_id, ask.wish.points, ask.machine_id)


def _requested(
    question: Question, ask: Ask, machine: Machine, verdict: DomainError | ledger.Booked, now: datetime
) -> Redemption:
    """The row of a new redemption: an approved one holds points and an item, a denied one says why."""
    wish, who = question.wish, ask.who if isinstance(ask.who, Identified) else None
    refusal = verdict if isinstance(verdict, DomainError) else None
    return Redemption(
        id=wish.redemption_id,
        machine_id=machine.id,
        estate_id=machine.estate_id,
        resident_id=who.resident_id if who else None,
        account_id=who.account_id if who else None,
        selection=wish.selection,
        product_id=wish.product_id,
        points=wish.points,
        planogram_version=wish.planogram_version,
        state=State.REQUESTED,
        reason=refusal.code if refusal else None,
        reason_fields=json.dumps(dict(refusal.fields), sort_keys=True) if refusal else None,
        is_with_pin=who is not None and who.with_pin,
        is_reserved=refusal is None,
        hold_id=None if refusal else hold_id_of(wish.redemption_id),
        request_hash=question.request_hash(),
        occurred_at=None,
        recorded_at=now,
        changed_at=now,
        watch_grade=0,
    )


def _approved(redemption: Redemption, available: int, label: str, ledger_now: str, vending: Vending) -> Approved:
    assert redemption.resident_id is not None
    assert redemption.account_id is not None
    assert redemption.selection is not None
    assert redemption.product_id is not None
    assert redemption.points is not None
    assert redemption.planogram_version is not None
    token = vending.keys.seal_approval(
        Approval(
            redemption.id,
            redemption.machine_id,
            redemption.resident_id,
            redemption.account_id,
            redemption.selection,
            redemption.product_id,
            redemption.points,
            redemption.planogram_version,
            ledger_now,
        )
    )
    return Approved(redemption.id, token, vending.rules.vend_within_s, max(available, 0), label)


def _from_memory(
    connection: Connection, questions: Sequence[Question], vending: Vending, now: datetime
) -> list[Answer]:
    """Answer ids that have a row: nothing is done, whatever else the question says."""
    rows = read_redemptions(connection, [question.wish.redemption_id for question in questions])
    held = [row for row in rows.values() if row.state is State.HELD]
    names: dict[str, str] = {}
    left: Mapping[str, int] = {}
    if held:
        residents = people.residents.c
        query = select(residents.id, residents.name).where(residents.id.in_({row.resident_id for row in held}))
        names = {row.id: row.name for row in connection.execute(query)}
        left = ledger.available_points(connection, [row.account_id for row in held if row.account_id is not None])
    ledger_now = ledger_id(connection)
    answers: list[Answer] = []
    for question in questions:
        row = rows[question.wish.redemption_id]
        is_foreign = row.machine_id != question.machine_id
        if is_foreign or row.request_hash not in (None, question.request_hash()):
            answers.append(denied(row.id, DomainError("idempotency_conflict")))
        elif row.state is State.HELD and row.account_id is not None and row.resident_id is not None:
            label = masked(names[row.resident_id])
            answers.append(_approved(row, left[row.account_id], label, ledger_now, vending))
        elif row.state is State.DENIED and row.reason is not None:
            answers.append(denied(row.id, DomainError(row.reason, **json.loads(row.reason_fields or "{}"))))
        else:
            answers.append(Found(row.id, row.state))
    return answers


def _read_world(
    connection: Connection,
    questions: Sequence[Question],
    machines: Mapping[str, Machine],
    ledger_now: str,
) -> World:
    ids = sorted({question.machine_id for question in questions})
    planogram, stock = tables.planogram_slots.c, tables.slots.c
    joined = tables.machines.join(
        tables.planogram_slots,
        (planogram.machine_id == tables.machines.c.id) & (planogram.version == tables.machines.c.planogram_version),
    ).join(
        tables.slots,
        (stock.machine_id == planogram.machine_id) & (stock.selection == planogram.selection),
    )
    query = (
        select(
            planogram.machine_id,
            planogram.selection,
            planogram.product_id,
            planogram.points,
            planogram.is_enabled,
            stock.closed_reason.is_not(None),
            stock.stock - stock.reserved,
        )
        .select_from(joined)
        .where(tables.machines.c.id.in_(ids))
        .where(planogram.selection.in_(sorted({question.wish.selection for question in questions})))
    )
    slots = {(row[0], row[1]): SlotView(*row[2:]) for row in connection.execute(query)}
    views = {
        id: MachineView(
            machines[id].estate_id,
            machines[id].state,
            machines[id].caught_up_with == ledger_now,
            machines[id].planogram_version,
            0,
        )
        for id in ids
    }
    return World(views, slots, frozenset(), {})


def _identified(
    connection: Connection, questions: Sequence[Question], world: World, vending: Vending, now: datetime
) -> list[Ask]:
    """Find out who asks, only where the goods could be given: a try with a wrong PIN counts only then."""
    looked_at = [
        question
        for question in questions
        if goods_refusal(
            question.wish,
            world.machines[question.machine_id],
            world.slots.get((question.machine_id, question.wish.selection)),
            0,
        )
        is None
    ]
    claimed = machine_claims.taken(connection, [(one.machine_id, one.wish, one.prepared) for one in looked_at], now)
    shown = [(one, of) for one, of in zip(looked_at, claimed, strict=True) if isinstance(of, Prepared)]
    prepared, machine_ids = [of for _, of in shown], [one.machine_id for one, _ in shown]
    found = identify(connection, prepared, vending.hashing, now, machine_ids) if shown else []
    who: dict[str, Identified | DomainError] = {
        one.wish.redemption_id: of for one, of in zip(looked_at, claimed, strict=True) if isinstance(of, DomainError)
    }
    who |= {one.wish.redemption_id: of for (one, _), of in zip(shown, found, strict=True)}
    return [Ask(question.machine_id, question.wish, who.get(question.wish.redemption_id)) for question in questions]


def _with_people(connection: Connection, asks: Sequence[Ask], world: World, rules: Rules, now: datetime) -> World:
    """The world with what the residents who ask have open and spent, and how many unknown cards machines saw.

    Their rows are locked first, in id order: another gateway that is approving one of theirs just now commits before
    we look. SQLite has one writer.
    """
    residents = sorted({ask.who.resident_id for ask in asks if isinstance(ask.who, Identified)})
    past = tables.redemptions.c
    busy: frozenset[str] = frozenset()
    spent: Counter[str] = Counter()
    whose: dict[str, str] = {}
    if residents:
        if connection.dialect.name == "postgresql":
            row = people.residents.c
            locked = select(row.id).where(row.id.in_(residents)).order_by(row.id)
            # Rows of other tables may go on naming these residents meanwhile.
            connection.execute(locked.with_for_update(key_share=True))
        whose = persons(connection, residents)
        query = select(past.resident_id).where(past.resident_id.in_(whose), past.state.in_(sorted(BUSY)))
        # A voucher that waits keeps nobody from redeeming something else.
        query = query.where(past.id.not_in(voucher_books.waiting()))
        busy = frozenset(whose[one] for one in connection.scalars(query))
    without_pin = {ask.who.resident_id for ask in asks if isinstance(ask.who, Identified) and not ask.who.with_pin}
    if without_pin:
        today = (
            select(past.resident_id, func.sum(past.points))
            .where(past.resident_id.in_([id for id, one in whose.items() if one in without_pin]))
            .where(past.recorded_at >= rules.day_start(now))
            .where(past.is_with_pin.is_(False), past.state.not_in(_COUNTS_FOR_NOTHING))
            .group_by(past.resident_id)
        )
        for id, points in connection.execute(today):
            spent[whose[id]] += int(points)
    # A card alone is judged by what its machine has seen lately; see `deciding`.
    with_cards = {
        ask.machine_id
        for ask in asks
        if ask.who is not None and not (isinstance(ask.who, Identified) and ask.who.with_pin)
    }
    machines = dict(world.machines)
    if with_cards:
        recent = (
            select(past.machine_id, func.count())
            .where(past.machine_id.in_(sorted(with_cards)), past.recorded_at > now - rules.unknown_cards_span)
            .where(tables.OF_AN_UNKNOWN_CARD)
            .group_by(past.machine_id)
        )
        for machine_id, number in connection.execute(recent):
            machines[machine_id] = replace(machines[machine_id], unknown_cards=number)
    return replace(world, machines=machines, busy=busy, spent_without_pin=spent, whose=whose)


def _with_limits(
    connection: Connection, asks: Sequence[Ask], world: World, limits: Limits, rules: Rules, now: datetime
) -> World:
    """The world with what those who ask have used of the scheme's limits; a statement for each span that has one."""
    past = tables.redemptions.c
    used: Counter[tuple[str, Limit]] = Counter()
    for per in sorted({limit.per for limit in limits.redemptions}) if world.whose else ():
        since = (
            select(past.resident_id, func.count(), func.sum(past.points))
            .where(past.resident_id.in_(world.whose), past.recorded_at >= start_of(per, now, rules))
            .where(past.state.not_in(_COUNTS_FOR_NOTHING))
            .group_by(past.resident_id)
        )
        for id, times, points in connection.execute(since):
            for limit in limits.redemptions:
                if limit.per == per:
                    used[world.whose[id], limit] += times if limit.unit == "times" else int(points)
    return replace(world, limits=limits.redemptions, used=used)


_COUNTS_FOR_NOTHING: Final = (State.DENIED, State.VOIDED, State.REVERSED)


# reports


_EVENTS: Final[dict[type[Any], Event]] = {
    NotStarted: Event.NOT_STARTED,
    VendStarted: Event.VEND_STARTED,
    Dispensed: Event.DISPENSED,
    NotDispensed: Event.NOT_DISPENSED,
    OutcomeUnknown: Event.OUTCOME_UNKNOWN,
    ProvedDispensed: Event.PROVED_DISPENSED,
    ProvedNotDispensed: Event.PROVED_NOT_DISPENSED,
}


def apply_reports(
    connection: Connection,
    reports: Sequence[Report],
    machines: Mapping[str, Machine],
    vending: Vending,
    now: datetime,
) -> list[Rejection | None]:
    """Apply the machines' reports in order; gives for each why it was rejected, or None.

    A rejected report changes nothing here: the caller keeps it whole and raises the alert.
    """
    ids = [id for report in reports if (id := getattr(report.message, "redemption_id", None)) is not None]
    rules = vending.rules
    changes = Changes(now, rules.zone, rules.doubt_answer_days, redemptions=read_redemptions(connection, ids))
    # Rejected or not: what has begun is not freed by `vouchers_closed`.
    started = frozenset(one.message.redemption_id for one in reports if isinstance(one.message, VendStarted))
    answers: list[Rejection | None] = []
    for report in reports:
        machine = machines[report.machine_id]
        if isinstance(report.message, VouchersClosed):
            said = Said(Party.AGENT, machine.id, report.message_id, _evidence(report.message))
            voucher_books.close(connection, changes, report.message, machine, said, started)
            answers.append(None)
        else:
            answers.append(_apply(connection, changes, report, machine, vending))
    write(connection, changes)
    voucher_books.take(connection, started, now)
    return answers


def _apply(
    connection: Connection, changes: Changes, report: Report, machine: Machine, vending: Vending
) -> Rejection | None:
    message = report.message
    if isinstance(message, Fault):
        subject = f"{machine.id}:{message.selection}:{message.code}"
        detail = {"selection": message.selection, "code": message.code, "detail": message.detail}
        changes.alert("warning", "fault", subject, machine.estate_id, detail, machine_id=machine.id)
        return None
    if isinstance(message, Reported):
        changes.reported[machine.id] = message.version
        return None
    assert not isinstance(message, VouchersClosed), "`apply_reports` takes these"
    known = changes.redemptions.get(message.redemption_id)
    if known is not None and known.machine_id != machine.id:
        return Rejection("foreign_redemption", f"{message.redemption_id} is another machine's")
    said = Said(Party.AGENT, machine.id, report.message_id, _evidence(message))
    if known is None:
        taken_up = _take_up(connection, changes, message, machine, vending, said)
        if isinstance(taken_up, Rejection):
            return taken_up
        known = taken_up
    if isinstance(message, VendStarted) and known.points is not None:
        wish = (known.selection, known.product_id, known.points)
        if (message.selection, message.product_id, message.points) != wish:
            return Rejection("vend_differs", f"{message.redemption_id} was approved for something else")
    try:
        step(changes, known, _EVENTS[type(message)], said)
    except IllegalTransition as error:
        return Rejection("illegal_transition", str(error))
    if isinstance(message, NotDispensed) and message.closes == "machine":
        changes.closed_machines[machine.id] = message.code
        subject, detail = f"{machine.id}:{message.code}", {"code": message.code, "redemption": message.redemption_id}
        changes.alert("urgent", "machine_closed", subject, machine.estate_id, detail, machine_id=machine.id)
    elif isinstance(message, NotDispensed | ProvedNotDispensed):
        code = message.code if isinstance(message, NotDispensed) else "proved_not_dispensed"
        subject, detail = f"{machine.id}:{known.selection}", {"selection": known.selection, "code": code}
        changes.alert("warning", "slot_closed", subject, machine.estate_id, detail, machine_id=machine.id)
    return None


def _evidence(message: OutboxMessage) -> dict[str, Any]:
    """What a message says beside its id; the approval token is left out, it could be used again."""
    names = [name for name in type(message).__dataclass_fields__ if name not in ("redemption_id", "approval")]
    values = {name: getattr(message, name) for name in names}
    return {name: dict(value) if isinstance(value, Mapping) else value for name, value in values.items()}


def _take_up(
    connection: Connection, changes: Changes, message: OutboxMessage, machine: Machine, vending: Vending, said: Said
) -> Redemption | Rejection:
    """Make the row of a redemption the server does not know, where the table has a beginning for it.

    `not_started`: the question never came; it is written as requested, and the event voids it. `vend_started` with
    this server's own approval: the database was restored from a backup; the hold is booked anew.
    """
    if isinstance(message, NotStarted):
        redemption = _blank(message.redemption_id, machine, changes.now)
        changes.add(redemption)
        return redemption
    if not isinstance(message, VendStarted):
        return Rejection("redemption_unknown", "this machine never had it")
    try:
        approval = _opened(message.approval, vending.keys)
    except ProtocolError as error:
        return Rejection(error.reason, error.detail)
    if (approval.redemption_id, approval.machine_id) != (message.redemption_id, machine.id):
        return Rejection("bad_approval", "it was given for another redemption")
    if (message.selection, message.product_id, message.points) != (
        approval.selection,
        approval.product_id,
        approval.points,
    ):
        return Rejection("vend_differs", f"{message.redemption_id} was approved for something else")
    return _rebook(connection, changes, approval, machine, said)


def _opened(token: str, keys: Keys) -> Approval:
    """What was approved, at the time or early; raises ProtocolError."""
    if not token.startswith(VOUCHER):
        return keys.open_approval(token)
    voucher = keys.read_voucher(token)
    return Approval(
        voucher.redemption_id,
        voucher.machine_id,
        voucher.resident_id,
        account_of(voucher.resident_id),
        voucher.selection,
        voucher.product_id,
        voucher.points,
        0,
        "voucher",
    )


def _rebook(
    connection: Connection, changes: Changes, approval: Approval, machine: Machine, said: Said
) -> Redemption | Rejection:
    """Book the hold of an approval that this database has forgotten, once.

    Where the resident's points were spent again meanwhile, the item is owed: the hold is placed on the account of what
    the resident owes, which later credits pay.
    """
    redemption = replace(
        _blank(approval.redemption_id, machine, changes.now),
        resident_id=approval.resident_id,
        account_id=approval.account_id,
        selection=approval.selection,
        product_id=approval.product_id,
        points=approval.points,
        planogram_version=approval.planogram_version,
        hold_id=hold_id_of(approval.redemption_id),
    )
    account_id = account_of(approval.resident_id)
    hold = hold_of(approval.redemption_id, machine.estate_id, account_id, approval.points, said.actor)
    (answer,) = ledger.book(connection, [hold], changes.now, changes.zone)
    if isinstance(answer, ledger.Refused):
        account_id = owed_account_of(approval.resident_id)
        (answer,) = ledger.book(connection, [replace(hold, debit=account_id)], changes.now, changes.zone)
    if isinstance(answer, ledger.Refused):
        return Rejection("cannot_rebook", f"the ledger refuses it: {answer.code}")
    redemption = replace(redemption, account_id=account_id, is_reserved=True)
    changes.add(redemption)
    changes.slot(redemption).reserved += 1
    evidence = {"rebooked_from_approval_of": approval.ledger_id, "account": account_id}
    return step(changes, redemption, Event.APPROVED, Said(Party.SERVER, "server", said.message_id, evidence))


def _blank(redemption_id: str, machine: Machine, now: datetime) -> Redemption:
    return Redemption(
        id=redemption_id,
        machine_id=machine.id,
        estate_id=machine.estate_id,
        resident_id=None,
        account_id=None,
        selection=None,
        product_id=None,
        points=None,
        planogram_version=None,
        state=State.REQUESTED,
        reason=None,
        reason_fields=None,
        is_with_pin=False,
        is_reserved=False,
        hold_id=None,
        request_hash=None,
        occurred_at=None,
        recorded_at=now,
        changed_at=now,
        watch_grade=0,
    )

"""How work becomes a credit and a credit becomes final: for one or for thousands, in a handful of statements.

Rules. What a credit is worth is settled when it is recorded, by the rules of the day of the work: open and final
credits count towards the caps, rejected and reversed ones do not. Only the cap on the balance is looked at when the
credit becomes final. An approved credit waits until the person has agreed to the scheme, stands in the public notice
for the working days that its rules say, and is then final: service record, points, message and state in one
transaction, once. A correction becomes final together with the reversal of what it corrects.
Every function works on rows of `credits` that the caller has locked (`locked`), as dicts that it changes.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, bindparam, insert, select, update

from jishan_server import audit
from jishan_server.errors import DomainError
from jishan_server.ids import derived_id
from jishan_server.instants import iso
from jishan_server.ledger import clock, notes
from jishan_server.ledger.model import Booked, Cause, Kind, Refused, Transfer
from jishan_server.ledger.store import balances, book
from jishan_server.organizations.calendar import Calendar, calendar
from jishan_server.organizations.roles import SYSTEM
from jishan_server.people.consents import with_consent
from jishan_server.people.credentials import account_of, owed_account_of
from jishan_server.people.messages import Message, tell
from jishan_server.people.one_person import persons, survivors
from jishan_server.people.tables import residents
from jishan_server.volunteering import attendance, service_records
from jishan_server.volunteering.certificates import outdated_by
from jishan_server.volunteering.credit_states import Event, State, follow
from jishan_server.volunteering.rule_versions import Versions, ensure_first
from jishan_server.volunteering.rules import (
    CreditRules,
    RuleSet,
    Source,
    Span,
    Unit,
    Worth,
    expires_at,
    under_balance_cap,
    worth,
    worth_of_points,
)
from jishan_server.volunteering.tables import credits
from jishan_server.writer import Operation, Outcome

FINALISE: Final = "volunteering.finalise"
MAX_DUE: Final = 300
"""Credits that become final in one transaction: the writer's other work waits for it."""
MAX_IDS: Final = 10_000
"""Ids in one statement: far below what both databases take."""
GENERAL: Final = "general"
"""The type of work that names none."""


@dataclass(frozen=True, slots=True)
class Work:
    """A piece of work of one person, as it is to be credited; `id` is the credit's.

    `minutes` (1..1440) or, where no time is told, `points`. `day` is the local day of `worked_at`.
    """

    id: str
    resident_id: str
    estate_id: str
    minutes: int | None
    points: int | None
    source: Source
    title: str
    reason: str
    worked_at: datetime
    day: date
    activity_type: str = GENERAL
    counts_as_service: bool = True
    organization_id: str | None = None
    category: str | None = None
    place: str | None = None
    person_in_charge: str | None = None
    activity_id: str | None = None
    session_id: str | None = None
    attendance_id: str | None = None
    corrects_id: str | None = None
    note: str | None = None


def with_notes(connection: Connection, works: Sequence[Work], salt: str | None) -> list[Work]:
    """Pieces of work, the words of each kept in a note of its own (`ledger.notes`) whose hash its row in the ledger
    will carry. Without a salt they stay as they are.
    """
    if salt is None:
        return list(works)
    hashes = notes.write_all(connection, [_note(work, salt) for work in works])
    return [replace(work, note=hash) for work, hash in zip(works, hashes, strict=True)]


def _note(work: Work, salt: str) -> notes.Note:
    words = f"{work.title}\n{work.reason}"
    return notes.Note(derived_id(work.id, "note"), work.resident_id, words, notes.salt_for(salt, work.id))


class Priced(NamedTuple):
    """A piece of work with the rules of its day and what they make of it."""

    work: Work
    rules: RuleSet
    worth: Worth


def price(connection: Connection, works: Sequence[Work], *, told: bool = False) -> list[Priced]:
    """What pieces of work are worth, in their order, each after those before it. Reads the caps' totals only where
    there are caps, and then holds the residents' rows, so that nobody else counts at the same time.

    `told`: points given beside minutes are taken as they are, uncapped: what another system had booked.
    """
    versions = Versions(connection)
    found = [(work, versions.on(work.day)) for work in works]
    limited = {work.resident_id for work, rules in found if rules.caps}
    replaced = {work.corrects_id for work in works if work.corrects_id is not None}
    counted = _counted(connection, limited, [work.day for work in works], replaced) if limited else Counter()
    priced = []
    for work, rules in found:
        keys = _keys(work.resident_id, work.day.isoformat(), work.session_id)
        already = {(unit, span): counted[unit, *key] for unit in (Unit.MINUTES, Unit.POINTS) for span, key in keys}
        if told and work.points is not None:
            made = Worth(work.points, 0, ())
        elif work.minutes is None:
            made = worth_of_points(rules, work.points or 0, already)
        else:
            made = worth(rules, work.minutes, work.activity_type, work.source, already)
        for _, key in keys:
            counted[Unit.MINUTES, *key] += made.minutes_counted
            counted[Unit.POINTS, *key] += made.points
        priced.append(Priced(work, rules, made))
    return priced


_Key = tuple[Any, ...]


def _keys(resident_id: str, day: str, session_id: str | None) -> list[tuple[Span, _Key]]:
    """What a credit counts to: its sitting, day, month and year, each of one person."""
    sitting = [] if session_id is None else [(Span.ACTIVITY, (resident_id, "s", session_id))]
    return [
        *sitting,
        (Span.DAY, (resident_id, "d", day)),
        (Span.MONTH, (resident_id, "m", day[:7])),
        (Span.YEAR, (resident_id, "y", day[:4])),
    ]


def _counted(
    connection: Connection, resident_ids: Collection[str], days: Sequence[date], without: Collection[str]
) -> Counter[_Key]:
    """Minutes and points of these people in the years of `days`, by unit and key."""
    whose = persons(connection, resident_ids)
    ids, c = sorted(whose), credits.c
    first, last = f"{min(days).year:04}-01-01", f"{max(days).year:04}-12-31"
    counted: Counter[_Key] = Counter()
    for start in range(0, len(ids), MAX_IDS):
        some = ids[start : start + MAX_IDS]
        connection.execute(select(residents.c.id).where(residents.c.id.in_(some)).order_by("id").with_for_update())
        rows = connection.execute(
            select(c.id, c.resident_id, c.day, c.session_id, c.minutes_counted, c.points)
            .where(c.resident_id.in_(some), c.day >= first, c.day <= last)
            .where(c.state.not_in([State.REJECTED, State.REVERSED]))
        )
        for id, resident_id, day, session_id, minutes, points in rows:
            if id not in without:
                for _, key in _keys(whose[resident_id], day, session_id):
                    counted[Unit.MINUTES, *key] += minutes or 0
                    counted[Unit.POINTS, *key] += points
    return counted


def record(connection: Connection, priced: Sequence[Priced], actor: str, now: datetime) -> list[dict[str, Any]]:
    """Write credits that wait for another person's approval, in one statement; their rows."""
    rows = [_row(one, actor, now) for one in priced]
    if rows:
        connection.execute(insert(credits), rows)
    return rows


def _row(priced: Priced, actor: str, now: datetime) -> dict[str, Any]:
    work, rules, made = priced
    return dict.fromkeys(credits.columns.keys()) | {
        "id": work.id,
        "resident_id": work.resident_id,
        "estate_id": work.estate_id,
        "minutes": work.minutes,
        "points": made.points,
        "rule_version": rules.label,
        "activity": work.title,
        "reason": work.reason,
        "note": work.note,
        "state": State.RECORDED.value,
        "recorded_by": actor,
        "recorded_at": now,
        "worked_at": work.worked_at,
        "day": work.day.isoformat(),
        "activity_id": work.activity_id,
        "session_id": work.session_id,
        "attendance_id": work.attendance_id,
        "organization_id": work.organization_id,
        "activity_type": work.activity_type,
        "category": work.category,
        "place": work.place,
        "person_in_charge": work.person_in_charge,
        "counts_as_service": work.counts_as_service and work.minutes is not None,
        "source": work.source.value,
        "minutes_counted": made.minutes_counted,
        "worth_steps": json.dumps(made.steps),
        "corrects_id": work.corrects_id,
    }


def locked(connection: Connection, credit_ids: Collection[str]) -> dict[str, dict[str, Any]]:
    """Credits by id, their rows locked in id order until the transaction ends."""
    query = select(credits).where(credits.c.id.in_(credit_ids)).order_by(credits.c.id).with_for_update()
    return {row["id"]: dict(row) for row in connection.execute(query).mappings()}


def go_on(
    connection: Connection, rows: Sequence[dict[str, Any]], now: datetime, settings: CreditRules
) -> dict[str, DomainError]:
    """Take approved credits as far as they may go now, and write them: they wait for consent, stand in the notice, or
    are final. Gives what the ledger refused, by credit; such a one is left as it was.
    """
    if not rows:
        return {}
    versions = Versions(connection)
    agreed = with_consent(connection, {row["resident_id"] for row in rows})
    days: Calendar | None = None
    told, due = [], []
    for row in rows:
        if row["resident_id"] not in agreed:
            row["state"] = State.WAITING_CONSENT.value
            row["notice_ends_at"] = None
            told.append(Message(row["resident_id"], "credit_waiting_consent", _told(row)))
            continue
        if row["notice_ends_at"] is None:
            working_days = versions.of(row["rule_version"]).notice_working_days
            if working_days:
                days = days or calendar(connection)
                row["notice_ends_at"] = notice_end(days, now, working_days, settings.zone)
                told.append(_in_notice(row, settings.zone))
            else:
                row["notice_ends_at"] = now
        if row["notice_ends_at"] <= now:
            due.append(row)
    refusals, more = _finalise(connection, due, now, settings, versions)
    _write(connection, [row for row in rows if row["id"] not in refusals])
    tell(connection, now, told + more)
    return refusals


def notice_end(days: Calendar, now: datetime, working_days: int, zone: ZoneInfo) -> datetime:
    """When a notice that begins `now` ends: with the last of `working_days` whole working days after today, local."""
    last = days.after(now.astimezone(zone).date(), working_days)
    return datetime.combine(last + timedelta(days=1), time(), zone).astimezone(UTC)


def _finalise(
    connection: Connection, rows: Sequence[dict[str, Any]], now: datetime, settings: CreditRules, versions: Versions
) -> tuple[dict[str, DomainError], list[Message]]:
    """Book points and hours of credits whose notice is over; what the ledger refused, and what the others are told."""
    if not rows:
        return {}, []
    wrong = {row["corrects_id"] for row in rows if row["corrects_id"]}
    corrected = locked(connection, wrong) if wrong else {}
    points = _under_caps(connection, rows, corrected, versions)
    transfers: list[tuple[str, Transfer]] = []
    for row in rows:
        old = corrected.get(row["corrects_id"])
        if old is not None and old["transfer_id"] is not None:
            transfers.append((row["id"], reversal(old, row["decided_by"], "credit_corrected", row["note"])))
        if points[row["id"]]:
            end = expires_at(versions.of(row["rule_version"]).expiry, now, settings.zone)
            transfers.append((row["id"], _posting(row, points[row["id"]], end)))
    answers = book(connection, [transfer for _, transfer in transfers], now, settings.zone)
    refusals, booked = _sorted_out(transfers, answers)
    for row in rows:
        # An account that was closed takes no points any more; hours were worked all the same.
        is_closed = row["id"] in refusals and refusals[row["id"]].code == "account_closed"
        if is_closed and row["minutes"] and row["corrects_id"] is None:
            del refusals[row["id"]]
            points[row["id"]] = 0
    final = [row for row in rows if row["id"] not in refusals]
    posted = {id for id, transfer in booked if transfer.kind is Kind.POST}
    for row in final:
        row |= {
            "state": State.FINAL.value,
            "finalised_at": now,
            "booked_points": points[row["id"]],
            "transfer_id": posting_id(row["id"]) if row["id"] in posted else None,
        }
    replaced = [(corrected[row["corrects_id"]], row) for row in final if row["corrects_id"]]
    taken_back(connection, [(old, row["decided_by"], row["reason"]) for old, row in replaced], now)
    service_records.add(connection, final, now)
    return refusals, [_finalised(row, corrected.get(row["corrects_id"])) for row in final]


def _sorted_out(
    transfers: Sequence[tuple[str, Transfer]], answers: Sequence[Booked | Refused]
) -> tuple[dict[str, DomainError], list[tuple[str, Transfer]]]:
    """The ledger's refusals by credit, and the transfers that were booked."""
    refusals: dict[str, DomainError] = {}
    booked = []
    for (id, transfer), answer in zip(transfers, answers, strict=True):
        if isinstance(answer, Refused):
            refusals[id] = DomainError(answer.code, **answer.fields)
        else:
            booked.append((id, transfer))
    # Reversal and posting of a correction stand or fall together.
    assert not refusals.keys() & {id for id, _ in booked}, "half of a correction was refused"
    return refusals, booked


def taken_back(connection: Connection, reversed_: Sequence[tuple[dict[str, Any], str, str]], now: datetime) -> None:
    """Write that final credits (row, by whom, why) whose points were taken back are reversed, their hours corrected.

    Whose certificate no longer holds is told so.
    """
    if not reversed_:
        return
    for row, actor, reason in reversed_:
        row |= {
            "state": follow(row["state"], Event.REVERSED).value,
            "reversed_by": actor,
            "reversed_at": now,
            "reversal_reason": reason,
            "reversal_transfer_id": reversal_id(row["id"]) if row["transfer_id"] else None,
        }
    _write(connection, [row for row, _, _ in reversed_])
    tell(connection, now, outdated_by(connection, [row["id"] for row, _, _ in reversed_]))
    service_records.correct(connection, {row["id"]: actor for row, actor, _ in reversed_}, now)


def posting_id(credit_id: str) -> str:
    """The id of the transfer that books a credit: its neighbour in an index."""
    return f"{credit_id}-post"


def reversal_id(credit_id: str) -> str:
    """The id of the transfer that takes a credit back."""
    return f"{credit_id}-back"


def _posting(row: dict[str, Any], points: int, expires_at: datetime | None) -> Transfer:
    return Transfer(
        id=posting_id(row["id"]),
        kind=Kind.POST,
        debit=f"sys:issuance:{row['estate_id']}",
        credit=account_of(row["resident_id"]),
        points=points,
        cause=Cause("credit", row["id"]),
        actor=row["decided_by"],
        reason="credit_approved",
        rule_version=row["rule_version"],
        expires_at=expires_at,
        note=row["note"],
    )


def reversal(row: dict[str, Any], actor: str, reason: str, note: str | None = None) -> Transfer:
    """The transfer that takes a final credit's points back; `note`: the hash of the words that say why."""
    return Transfer(
        id=reversal_id(row["id"]),
        kind=Kind.REVERSAL,
        debit=account_of(row["resident_id"]),
        credit=f"sys:issuance:{row['estate_id']}",
        points=row["booked_points"],
        cause=Cause("credit", row["id"]),
        actor=actor,
        reason=reason,
        rule_version=row["rule_version"],
        reverses_id=row["transfer_id"],
        note=note,
    )


def _under_caps(
    connection: Connection, rows: Sequence[dict[str, Any]], corrected: dict[str, dict[str, Any]], versions: Versions
) -> dict[str, int]:
    """The points to book for each credit: what the cap on the balance leaves of them, one credit after another."""
    capped = {row["resident_id"] for row in rows if versions.of(row["rule_version"]).balance_cap is not None}
    # The points of a record that was merged go to the one that stays.
    whose = survivors(connection, capped) if capped else {}
    stay = set(whose.values())
    accounts = [account for id in stay for account in (account_of(id), owed_account_of(id))]
    standing = balances(connection, accounts) if accounts else {}
    # What is owed is paid first, and so leaves room.
    held = Counter({id: sum(standing[one].posted for one in (account_of(id), owed_account_of(id))) for id in stay})
    points = {}
    for row in rows:
        id, old = whose.get(row["resident_id"], row["resident_id"]), corrected.get(row["corrects_id"])
        held[id] -= (old["booked_points"] or 0) if old else 0
        points[row["id"]] = under_balance_cap(versions.of(row["rule_version"]), row["points"], held[id])
        held[id] += points[row["id"]]
    return points


_WRITTEN: Final = (
    "state",
    "decided_by",
    "decided_at",
    "decision_reason",
    "notice_ends_at",
    "finalised_at",
    "booked_points",
    "transfer_id",
    "reversed_by",
    "reversed_at",
    "reversal_reason",
    "reversal_transfer_id",
)
"""The columns of a credit that its way changes."""


def _write(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Write where locked credits stand, in one statement."""
    if rows:
        changed = update(credits).where(credits.c.id == bindparam("credit"))
        connection.execute(
            changed.values({name: bindparam(f"new_{name}") for name in _WRITTEN}),
            [{"credit": row["id"]} | {f"new_{name}": row[name] for name in _WRITTEN} for row in rows],
        )


def write_decision(
    connection: Connection, row: dict[str, Any], event: Event, actor: str, reason: str, now: datetime
) -> None:
    """Write a decision on a locked credit that needs nothing of the ledger: rejected, objected, upheld."""
    row["state"] = follow(row["state"], event).value
    if event in (Event.REJECTED, Event.UPHELD, Event.NOT_BOOKED):
        row |= {"decided_by": actor, "decided_at": now, "decision_reason": reason}
        tell(connection, now, [Message(row["resident_id"], "credit_rejected", _told(row))])
        if row["attendance_id"] is not None:
            attendance.release(connection, [row["id"]])
    _write(connection, [row])


def finalise_due(
    connection: Connection, operations: Sequence[Operation], now: datetime, settings: CreditRules
) -> list[Outcome]:
    """Go on with credits whose notice is over, or whose person has agreed meanwhile: the oldest first, MAX_DUE of each.

    While the clock is doubted (`ledger.clock`) nothing becomes final.
    """
    ensure_first(connection, settings, now)
    rows = _due(connection, now)
    if not rows or clock.doubt(connection, now) is not None:
        return [Outcome(0) for _ in operations]
    for row in rows:
        if row["state"] == State.WAITING_CONSENT:
            row["state"] = follow(row["state"], Event.CONSENT_GIVEN).value
    refusals = go_on(connection, rows, now, settings)
    for row in rows:
        if row["id"] in refusals:
            write_decision(connection, row, Event.NOT_BOOKED, SYSTEM, refusals[row["id"]].code, now)
    noted = [
        audit.Entry(SYSTEM, "credit_went_on", ("credit", row["id"]), operations[0].id, {"state": row["state"]})
        for row in rows
    ]
    audit.record_all(connection, now, noted)
    return [Outcome(len(rows)) for _ in operations]


def _due(connection: Connection, now: datetime) -> list[dict[str, Any]]:
    c, r = credits.c, residents.c
    over = select(c.id).where(c.state == State.APPROVED, c.notice_ends_at <= now).order_by(c.notice_ends_at, c.id)
    agreed = select(c.id).join(residents, r.id == c.resident_id)
    agreed = agreed.where(c.state == State.WAITING_CONSENT, r.consent_state == "given").order_by(c.id)
    ids = {id for query in (over, agreed) for id in connection.scalars(query.limit(MAX_DUE))}
    if not ids:
        return []
    query = select(credits).where(c.id.in_(ids), c.state.in_([State.APPROVED, State.WAITING_CONSENT]))
    # What somebody decides at this moment is left to the next time.
    rows = connection.execute(query.order_by(c.id).with_for_update(skip_locked=True)).mappings()
    return [dict(row) for row in rows]


def _told(row: Mapping[str, Any]) -> dict[str, object]:
    return {"activity": row["activity"], "points": row["points"], "minutes": row["minutes"] or 0, "day": row["day"]}


def _in_notice(row: dict[str, Any], zone: ZoneInfo) -> Message:
    fields = _told(row) | {"last_day": last_day(row["notice_ends_at"], zone).isoformat()}
    return Message(row["resident_id"], "credit_in_notice", fields)


def last_day(ends_at: datetime, zone: ZoneInfo) -> date:
    """The last local day of a notice that ends at this midnight."""
    return (ends_at.astimezone(zone) - timedelta(milliseconds=1)).date()


def _finalised(row: dict[str, Any], old: dict[str, Any] | None) -> Message:
    fields = _told(row) | {"points": row["booked_points"], "credit_id": row["id"]}
    if old is not None:
        before = {"points_before": old["booked_points"] or 0, "minutes_before": old["minutes"] or 0}
        return Message(row["resident_id"], "credit_corrected", fields | before)
    return Message(row["resident_id"], "credit_booked" if row["booked_points"] else "credit_hours_booked", fields)


def reversal_message(row: Mapping[str, Any]) -> Message:
    """What the person of a credit is told that was taken back."""
    kind = "credit_reversed" if row["booked_points"] else "credit_hours_reversed"
    return Message(row["resident_id"], kind, _told(row) | {"points": row["booked_points"] or 0})


def views(rows: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Credits as they are answered, by id."""
    return {row["id"]: view(row) for row in rows}


def view(row: dict[str, Any]) -> dict[str, Any]:
    """A credit as it is answered."""
    instants = ("recorded_at", "decided_at", "reversed_at", "worked_at", "notice_ends_at", "finalised_at")
    return row | {name: iso(row[name]) for name in instants} | {"worth_steps": json.loads(row["worth_steps"] or "[]")}

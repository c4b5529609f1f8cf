"""Recording who came: by the person's own code or card, on the spot, or many rows at once from a list or a sheet.

Every row is judged by itself: good rows are saved, bad ones come back with their number, the field that is wrong, a
code and words; nothing is left out in silence. What is there already in the same words is answered, not written again.
A row that lacks its check-out begins an attendance; after the planned end it is closed by the plan, and a person looks
at it. A row with a check-out ends an attendance that is open.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final, Literal, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, RowMapping, bindparam, insert, select, update

from jishan_server import audit
from jishan_server.errors import DomainError
from jishan_server.ids import derived_id
from jishan_server.instants import iso
from jishan_server.memory import once
from jishan_server.organizations.calendar import Calendar, calendar
from jishan_server.organizations.roles import Permission, resident_of_actor
from jishan_server.people.attachment_tables import attachments
from jishan_server.people.credentials import masked
from jishan_server.people.tables import cards, residents
from jishan_server.volunteering.activity_tables import (
    activities,
    attendance_changes,
    attendances,
    code_tries,
    sessions,
    sign_ups,
)
from jishan_server.volunteering.codes import plain, row_code
from jishan_server.volunteering.judging import (
    EARLY,
    MINUTE,
    Plan,
    Span,
    Taken,
    check,
    minutes_of,
    source_of,
    span_of,
)
from jishan_server.volunteering.planned import permitted, plan_of
from jishan_server.volunteering.rules import Source
from jishan_server.volunteering.sessions import CLOSED_BY_PLAN
from jishan_server.volunteering.signing_up import check_running, standing_of, those_it_is_for
from jishan_server.writer import Operation, Outcome

MAX_ROWS: Final = 300
"""As many as fit into one request; a larger session is saved in parts."""
LEAST_ENDING: Final = 3
"""Digits that tell one person from another on most lists."""
CODE_TRIES: Final = 10
"""Wrong codes of one person at one session: at two codes in a million, nobody gets in by trying."""
BACKDATED: Final = "backdated"
LATE: Final = "late"
OVERTIME: Final = "overtime"

Direction = Literal["in", "out"]


@dataclass(frozen=True, slots=True)
class Row:
    """One person of a list. Who it is, in exactly one way: `resident_id`, `card_hash` (empty for text that is no card)
    or `who`: a row code, a member number, or its last three digits or more.
    """

    number: int
    resident_id: str | None = None
    card_hash: str | None = None
    who: str | None = None
    checked_in_at: str | datetime | None = None
    checked_out_at: str | datetime | None = None
    minutes: int | None = None


@dataclass(frozen=True, slots=True)
class RecordAttendances:
    """`attachment_id`: the photo of the signed sheet. `reason` is required for what is recorded too late."""

    actor: str
    session_id: str
    rows: tuple[Row, ...]
    attachment_id: str | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class CheckOne:
    """Somebody stands before the coordinator now: their card, or ticked on the list."""

    actor: str
    session_id: str
    direction: Direction
    resident_id: str | None = None
    card_hash: str | None = None
    who: str | None = None


@dataclass(frozen=True, slots=True)
class CheckByCode:
    """A resident typed or scanned the rotating code; `fits` says whether it was the right one when it came."""

    actor: str
    session_id: str
    direction: Direction
    code: str
    fits: bool = field(metadata={"secret": True})


class Person(NamedTuple):
    id: str
    estate_id: str
    name: str
    member_number: str
    state: str
    consent_state: str


class Saved(NamedTuple):
    """An attendance that is to be written: a new one, or `known` (open or void) with more."""

    row: Row
    person: Person
    span: Span
    minutes: int | None
    source: Source
    flags: str
    known: RowMapping | None


def record_attendances(connection: Connection, operation: Operation, now: datetime, zone: ZoneInfo) -> dict[str, Any]:
    """Save the good rows, and say what is wrong with the others: `saved`, `already` and `problems`.

    Refusals of the whole: session_unknown, forbidden, activity_not_published, activity_cancelled, session_cancelled,
    attachment_unknown.
    """
    body: RecordAttendances = operation.body
    session = permitted(connection, body.actor, Permission.ATTENDANCE_WRITE, body.session_id, lock=True)
    check_running(session)
    if body.attachment_id is not None:
        _check_sheet(connection, body.session_id, body.attachment_id)
    found = _Found(connection, session, body.rows)
    judge = _Judge(connection, session, now, zone, body, found)
    saved: list[Saved] = []
    already: list[dict[str, Any]] = []
    problems: list[dict[str, Any]] = []
    for row in body.rows:
        try:
            judged = judge(row)
        except DomainError as error:
            problems.append(_problem(row.number, error))
            continue
        if isinstance(judged, Saved):
            saved.append(judged)
        else:
            already.append({"row": row.number} | judged)
    written = _write(connection, operation, now, session, saved, body)
    return {"session_id": body.session_id, "saved": written, "already": already, "problems": problems}


def check_one(connection: Connection, operation: Operation, now: datetime, zone: ZoneInfo) -> dict[str, Any]:
    """Check one person in or out, now. A second time changes nothing.

    Refusals: those of `record_attendances`, check_in_closed, check_out_closed, not_checked_in, and those of a row.
    """
    body: CheckOne = operation.body
    session = permitted(connection, body.actor, Permission.ATTENDANCE_WRITE, body.session_id, lock=True)
    row = Row(1, body.resident_id, body.card_hash, body.who)
    return _check_now(connection, operation, now, zone, session, row, is_own=body.card_hash is not None)


def check_by_code(
    connection: Connection, operations: Sequence[Operation], now: datetime, zone: ZoneInfo
) -> list[Outcome]:
    """Check residents in or out by the rotating code. A refusal is an outcome: wrong codes must stay counted.

    Refusals: those of `check_one`, attendance_code_wrong, attendance_code_locked.
    """
    return once(connection, operations, now, lambda fresh: [_by_code(connection, one, now, zone) for one in fresh])


def _by_code(connection: Connection, operation: Operation, now: datetime, zone: ZoneInfo) -> Outcome:
    body: CheckByCode = operation.body
    resident_id = resident_of_actor(body.actor)
    if resident_id is None:
        return Outcome(error=DomainError("forbidden", permission="resident"))
    try:
        session = permitted(
            connection, body.actor, Permission.ACTIVITY_READ, body.session_id, about=resident_id, lock=True
        )
    except DomainError as error:
        return Outcome(error=error)
    c = code_tries.c
    mine = (c.session_id == body.session_id) & (c.resident_id == resident_id)
    tries = connection.scalar(select(c.wrong_tries).where(mine))
    if tries is not None and tries >= CODE_TRIES:
        return Outcome(error=DomainError("attendance_code_locked", tries=CODE_TRIES))
    if not body.fits:
        if tries is None:
            values = {"session_id": body.session_id, "resident_id": resident_id, "wrong_tries": 1}
            connection.execute(insert(code_tries).values(values))
        else:
            connection.execute(update(code_tries).where(mine).values(wrong_tries=tries + 1))
        return Outcome(error=DomainError("attendance_code_wrong"))
    try:
        with connection.begin_nested():
            row = Row(1, resident_id=resident_id)
            return Outcome(_check_now(connection, operation, now, zone, session, row, is_own=True))
    except DomainError as error:
        return Outcome(error=error)


def _check_now(
    connection: Connection,
    operation: Operation,
    now: datetime,
    zone: ZoneInfo,
    session: RowMapping,
    row: Row,
    *,
    is_own: bool,
) -> dict[str, Any]:
    """Write one check-in or check-out at this moment; gives the attendance."""
    body: CheckOne | CheckByCode = operation.body
    check_running(session)
    found = _Found(connection, session, [row])
    person = found.person(row)
    known = found.here.get(person.id)
    if body.direction == "out":
        if known is None or known["state"] == "void":
            raise DomainError("not_checked_in", field="resident_id")
        if known["state"] == "closed":
            if known["is_to_review"] and CLOSED_BY_PLAN in known["flags"].split():
                raise DomainError("check_out_closed")
            return view(connection, known["id"])
        if now > session["closes_at"]:
            raise DomainError("check_out_closed")
        # Whoever is late at the door is not sent away: the type's longest is counted.
        longest = timedelta(minutes=session["longest_session_minutes"])
        row = replace(row, checked_out_at=min(now, max(known["checked_in_at"], session["starts_at"]) + longest))
    else:
        if known is not None and known["state"] != "void":
            return view(connection, known["id"])
        if not session["starts_at"] - EARLY <= now < session["ends_at"]:
            raise DomainError("check_in_closed", minutes=EARLY // MINUTE)
        row = replace(row, checked_in_at=now)
    whole = RecordAttendances(body.actor, body.session_id, (row,))
    judged = _Judge(connection, session, now, zone, whole, found, is_own=is_own)(row)
    if not isinstance(judged, Saved):
        return view(connection, judged["attendance_id"])
    (written,) = _write(connection, operation, now, session, [judged], whole)
    return view(connection, written["attendance_id"])


class _Found:
    """What the rows of one request name, read with a handful of statements; the people are locked."""

    def __init__(self, connection: Connection, session: RowMapping, rows: Sequence[Row]) -> None:
        self._session_id: str = session["id"]
        self._by_card: dict[str, str] = {}
        self._by_number: dict[str, str] = {}
        self._listed: dict[str, str] = {}
        self._by_code: dict[str, list[str]] = {}
        hashes = {row.card_hash for row in rows if row.card_hash}
        if hashes:
            c = cards.c
            active = select(c.hash, c.resident_id).where(c.hash.in_(hashes), c.state == "active")
            self._by_card = dict(connection.execute(active).all())
        words = {plain(row.who) for row in rows if row.who}
        r = residents.c
        if words:
            numbered = select(r.member_number, r.id).where(r.member_number.in_(words))
            self._by_number = dict(connection.execute(numbered).all())
        if words - self._by_number.keys():
            self._listed = expected_people(connection, session)
            for id in self._listed:
                self._by_code.setdefault(row_code(self._session_id, id), []).append(id)
        ids = {row.resident_id for row in rows if row.resident_id}
        ids |= {*self._by_card.values(), *self._by_number.values()}
        ids |= {id for word in words for id in self._by_word(word)}
        query = select(residents).where(r.id.in_(ids)).order_by(r.id).with_for_update()
        self.people = {
            row["id"]: Person(
                row["id"], row["estate_id"], row["name"], row["member_number"], standing_of(row), row["consent_state"]
            )
            for row in connection.execute(query).mappings()
        }
        self.here = _here(connection, self._session_id, list(self.people))
        self.taken = _taken(connection, session, list(self.people))

    def person(self, row: Row) -> Person:
        """Who a row means. Refusals: attendance_row_invalid, attendance_card_unknown, attendance_person_unknown,
        attendance_number_ambiguous.
        """
        given = [one for one in (row.resident_id, row.card_hash, row.who) if one is not None]
        if len(given) != 1:
            raise DomainError("attendance_row_invalid", field="who")
        if row.card_hash is not None:
            if row.card_hash not in self._by_card:
                raise DomainError("attendance_card_unknown", field="card")
            return self.people[self._by_card[row.card_hash]]
        if row.resident_id is not None:
            ids = [row.resident_id]
        else:
            word = plain(row.who or "")
            ids = [self._by_number[word]] if word in self._by_number else self._by_word(word)
        if len(ids) > 1:
            raise DomainError("attendance_number_ambiguous", field="who")
        if not ids or ids[0] not in self.people:
            raise DomainError("attendance_person_unknown", field="who" if row.who else "resident_id")
        return self.people[ids[0]]

    def _by_word(self, word: str) -> list[str]:
        """Those on the list whom a row code or the end of a member number means."""
        if word in self._by_code:
            return self._by_code[word]
        if len(word) >= LEAST_ENDING and word.isdecimal() and word.isascii():
            return [id for id, number in self._listed.items() if number.endswith(word)]
        return []


class _Judge:
    """Judges the rows of one request, one after the other; each good row takes its time of the person for the next."""

    def __init__(
        self,
        connection: Connection,
        session: RowMapping,
        now: datetime,
        zone: ZoneInfo,
        body: RecordAttendances,
        found: _Found,
        *,
        is_own: bool = False,
    ) -> None:
        self._session, self._now, self._zone, self._body, self._found = session, now, zone, body, found
        self._plan: Plan = plan_of(session)
        self._calendar: Calendar = calendar(connection)
        estates = {person.id: person.estate_id for person in found.people.values()}
        self._welcome = those_it_is_for(connection, session, estates, zone)
        self._is_own = is_own
        self._seen: set[str] = set()

    def __call__(self, row: Row) -> Saved | dict[str, Any]:
        """What to write for a row, or what was there already in the same words; raises what is wrong with it."""
        person = self._found.person(row)
        self._check_person(person)
        if person.id in self._seen:
            raise DomainError("attendance_duplicate", field="who", attendance_id=None)
        known = self._found.here.get(person.id)
        span = self._span(row, known)
        if span is None:
            assert known is not None
            return {"attendance_id": known["id"], "resident_id": person.id}
        check(self._plan, span, self._now, self._found.taken.get(person.id, ()), self._zone)
        source, flags = self._how(row, span, known)
        self._seen.add(person.id)
        out = span.checked_out_at
        minutes = None if out is None else minutes_of(self._plan, span.checked_in_at, out)
        return Saved(row, person, span, minutes, source, flags, known)

    def _check_person(self, person: Person) -> None:
        if person.state != "active":
            raise DomainError("attendance_person_closed", field="who", state=person.state)
        if person.consent_state == "withdrawn":
            raise DomainError("attendance_person_withdrew", field="who")
        if person.id not in self._welcome:
            raise DomainError("attendance_elsewhere", field="who")

    def _span(self, row: Row, known: RowMapping | None) -> Span | None:
        """The span of a row, together with what is known of the person here; None if that says it all.

        Refusals: attendance_duplicate, and those of `span_of`.
        """
        told = (row.checked_in_at, row.checked_out_at, row.minutes) != (None, None, None)
        if known is None or known["state"] == "void":
            return self._told(row)
        if not told:
            return None
        if known["state"] == "open":
            begin = known["checked_in_at"]
            span = self._told(replace(row, checked_in_at=row.checked_in_at or begin))
            if span.checked_in_at != begin:
                raise DomainError("attendance_duplicate", field="checked_in_at", attendance_id=known["id"])
            return None if span.checked_out_at is None else span
        span = self._told(row)
        if (span.checked_in_at, span.checked_out_at) == (known["checked_in_at"], known["checked_out_at"]):
            return None
        raise DomainError("attendance_duplicate", field="who", attendance_id=known["id"])

    def _told(self, row: Row) -> Span:
        return span_of(
            self._plan,
            self._now,
            self._zone,
            checked_in=row.checked_in_at,
            checked_out=row.checked_out_at,
            minutes=row.minutes,
        )

    def _how(self, row: Row, span: Span, known: RowMapping | None) -> tuple[Source, str]:
        """The source and the flags. Who checked in by themselves and is checked out by hand is known by the list."""
        source = source_of(
            self._plan,
            self._now,
            self._calendar,
            self._zone,
            is_own=self._is_own or (row.card_hash is not None and not self._is_timed(row)),
            has_sheet=self._body.attachment_id is not None,
        )
        if known is not None and known["state"] == "open":
            source = max(source, Source(known["source"]))
        if source is Source.CLAIMED_LATER and not self._body.reason.strip():
            raise DomainError("attendance_reason_required", field="reason")
        flags = set(known["flags"].split()) if known is not None and known["state"] == "open" else set()
        if self._plan.is_backdated:
            flags.add(BACKDATED)
        if source is Source.CLAIMED_LATER:
            flags.add(LATE)
        if span.by_plan:
            flags.add(CLOSED_BY_PLAN)
        if span.checked_out_at is not None and span.checked_out_at > self._plan.closes_at:
            flags.add(OVERTIME)
        return source, " ".join(sorted(flags))

    def _is_timed(self, row: Row) -> bool:
        """Whether a coordinator typed times: then a card's number is no card that was there."""
        now = self._now
        return any(at is not None and at != now for at in (row.checked_in_at, row.checked_out_at)) or bool(row.minutes)


def expected_people(connection: Connection, session: RowMapping) -> dict[str, str]:
    """Member numbers of those whom a session's sheet may show: signed up for it, there already, or there last time."""
    u, a, r = sign_ups.c, attendances.c, residents.c
    ids = set(connection.scalars(select(u.resident_id).where(u.session_id == session["id"])))
    ids |= set(connection.scalars(select(a.resident_id).where(a.session_id == session["id"])))
    ids |= set(last_time(connection, session))
    return dict(connection.execute(select(r.id, r.member_number).where(r.id.in_(ids))).all())


def last_time(connection: Connection, session: RowMapping) -> Sequence[str]:
    """Who was at the session of the activity before this one, by check-in."""
    s, a = sessions.c, attendances.c
    previous = (
        select(s.id)
        .where(s.activity_id == session["activity_id"], s.starts_at < session["starts_at"], s.state != "cancelled")
        .where(s.id.in_(select(a.session_id).where(a.state != "void")))
        .order_by(s.starts_at.desc())
        .limit(1)
        .scalar_subquery()
    )
    query = select(a.resident_id).where(a.session_id == previous, a.state != "void").order_by(a.checked_in_at, a.id)
    return connection.scalars(query).all()


def _here(connection: Connection, session_id: str, resident_ids: Sequence[str]) -> dict[str, RowMapping]:
    a = attendances.c
    rows = connection.execute(
        select(attendances).where(a.session_id == session_id, a.resident_id.in_(resident_ids))
    ).mappings()
    return {row["resident_id"]: row for row in rows}


def _taken(connection: Connection, session: RowMapping, resident_ids: Sequence[str]) -> dict[str, list[Taken]]:
    return taken(
        connection, resident_ids, session["starts_at"] - timedelta(days=2), session["ends_at"] + timedelta(days=2)
    )


def taken(
    connection: Connection, resident_ids: Sequence[str], first: datetime, last: datetime
) -> dict[str, list[Taken]]:
    """The time that people's attendances took, of those that began between two instants."""
    a, s = attendances.c, sessions.c
    rows = connection.execute(
        select(a.resident_id, a.session_id, a.checked_in_at, a.checked_out_at, a.minutes, s.ends_at, activities.c.title)
        .join(sessions, s.id == a.session_id)
        .join(activities, activities.c.id == s.activity_id)
        .where(a.resident_id.in_(resident_ids), a.state != "void")
        .where(a.checked_in_at >= first, a.checked_in_at <= last)
    )
    found: dict[str, list[Taken]] = {}
    for row in rows:
        # Who is still there stays until the planned end.
        until = row.checked_out_at or max(row.ends_at, row.checked_in_at)
        one = Taken(row.session_id, row.title, row.checked_in_at, until, row.minutes or 0)
        found.setdefault(row.resident_id, []).append(one)
    return found


def _write(
    connection: Connection,
    operation: Operation,
    now: datetime,
    session: RowMapping,
    saved: Sequence[Saved],
    body: RecordAttendances,
) -> list[dict[str, Any]]:
    """Write rows that are good, in a handful of statements; gives what was written, by row."""
    ids = [
        derived_id(operation.id, f"attendance {one.person.id}") if one.known is None else one.known["id"]
        for one in saved
    ]
    fresh, more, again = [], [], []
    for id, one in zip(ids, saved, strict=True):
        values = {
            "checked_in_at": one.span.checked_in_at,
            "checked_out_at": one.span.checked_out_at,
            "minutes": one.minutes,
            "source": one.source.value,
            "flags": one.flags,
            "state": "open" if one.span.checked_out_at is None else "closed",
            "is_to_review": one.span.by_plan,
            "reason": body.reason.strip() or None,
            "attachment_id": body.attachment_id,
        }
        if one.known is not None and one.known["state"] == "open":
            more.append({"attendance": id} | values)
        else:
            values |= {"estate_id": one.person.estate_id, "recorded_by": body.actor, "recorded_at": now}
            if one.known is None:
                key = {"id": id, "session_id": session["id"], "resident_id": one.person.id}
                fresh.append(key | values)
            else:
                again.append({"attendance": id} | values)
                note_change(connection, now, one.known, "recorded_again", body.reason.strip(), body.actor)
    if fresh:
        connection.execute(insert(attendances), fresh)
    for rows in (more, again):
        if rows:
            places: dict[str, Any] = {name: bindparam(f"new_{name}") for name in rows[0] if name != "attendance"}
            connection.execute(
                update(attendances).where(attendances.c.id == bindparam("attendance")).values(places),
                [{name if name == "attendance" else f"new_{name}": row[name] for name in row} for row in rows],
            )
    noted = [
        audit.Entry(
            body.actor,
            "attendance_closed" if one.span.checked_out_at else "attendance_opened",
            ("attendance", id),
            operation.id,
            {"session_id": session["id"], "source": one.source.value},
        )
        for id, one in zip(ids, saved, strict=True)
    ]
    audit.record_all(connection, now, noted)
    return [
        {
            "row": one.row.number,
            "attendance_id": id,
            "resident_id": one.person.id,
            "name": masked(one.person.name),
            "state": "open" if one.span.checked_out_at is None else "closed",
            "checked_in_at": iso(one.span.checked_in_at),
            "checked_out_at": iso(one.span.checked_out_at),
            "minutes": one.minutes,
            "source": one.source.value,
            "flags": one.flags.split(),
        }
        for id, one in zip(ids, saved, strict=True)
    ]


def note_change(
    connection: Connection, now: datetime, before: RowMapping, change: str, reason: str, actor: str
) -> None:
    """Keep what an attendance was before a change."""
    connection.execute(
        insert(attendance_changes).values(
            attendance_id=before["id"],
            change=change,
            checked_in_at_before=before["checked_in_at"],
            checked_out_at_before=before["checked_out_at"],
            minutes_before=before["minutes"],
            source_before=before["source"],
            reason=reason,
            actor=actor,
            recorded_at=now,
        )
    )


def view(connection: Connection, attendance_id: str) -> dict[str, Any]:
    """One attendance; refusal: attendance_unknown."""
    row = connection.execute(select(attendances).where(attendances.c.id == attendance_id)).mappings().one_or_none()
    if row is None:
        raise DomainError("attendance_unknown", id=attendance_id)
    return shown(row)


def shown(row: RowMapping) -> dict[str, Any]:
    """An attendance as it is answered."""
    instants = ("checked_in_at", "checked_out_at", "recorded_at", "credited_at")
    return {
        **row,
        **{name: iso(row[name]) for name in instants},
        "flags": row["flags"].split(),
    }


def _check_sheet(connection: Connection, session_id: str, attachment_id: str) -> None:
    """Refuse a photo that is none of this session's: attachment_unknown."""
    f = attachments.c
    of_session = select(f.id).where(f.id == attachment_id, f.subject_type == "session", f.subject_id == session_id)
    if connection.scalar(of_session) is None:
        raise DomainError("attachment_unknown", id=attachment_id)


def _problem(number: int, error: DomainError) -> dict[str, Any]:
    """What is wrong with a row."""
    fields = dict(error.fields)
    return {
        "row": number,
        "field": fields.pop("field", None),
        "code": error.code,
        "message_zh": error.text("zh"),
        "message_en": error.text("en"),
        "fields": fields,
    }

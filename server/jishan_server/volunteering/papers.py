"""What is printed for an estate and its people: read from the records, as `jishan_server.printing` takes it.

Each is for whoever may see the same on a screen. A notice has masked names and the building only; so has a sheet to
sign. Every code is an address of this server, but for that of a card, which is the member number.
"""

from datetime import date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, select

from jishan_server.errors import DomainError, Language
from jishan_server.organizations.roles import Permission, permit, scope
from jishan_server.organizations.tree import organization
from jishan_server.people.residents import estate_of, resident
from jishan_server.people.tables import residents
from jishan_server.printing.attendance import AttendanceSheet, Expected
from jishan_server.printing.explained import Case, WhyNot
from jishan_server.printing.notices import SESSIONS, Notice, NoticeSheet, Poster
from jishan_server.printing.passbook import Card, Line, Passbook
from jishan_server.printing.words import session_time
from jishan_server.volunteering import activities, reviewing, statements
from jishan_server.volunteering import notice as notices
from jishan_server.volunteering import why_not as explaining
from jishan_server.volunteering.activity_tables import activities as activity_rows
from jishan_server.volunteering.activity_tables import sessions
from jishan_server.volunteering.planned import permitted

MAX_NOTICES: Final = 500
"""Lines of a notice sheet: some twenty pages, more than any board has room for."""
MAX_CARDS: Final = 100
"""Ten pages at a time."""
LINES: Final = 12
"""Entries of a passbook page: what one page holds in large type."""
READ_AHEAD: Final = 60
"""Entries read for them: a redemption has a hold and a capture, and only one of them moves the balance."""
SHEET_CODE: Final = 8
"""Signs of a session's id that are printed on its sheet to be typed back."""
ACTIVITY_PATH: Final = "a"

_KINDS: Final = {"redemption": "entry_redemption", "adjustment": "entry_adjustment", "expiry": "entry_expiry"} | {
    "credit": "entry_credit",
    "owed": "entry_owed",
    "repaid": "entry_repaid",
}


def notice_sheet(
    connection: Connection,
    actor: str,
    estate_id: str,
    where: str | None,
    telephone: str | None,
    now: datetime,
    zone: ZoneInfo,
) -> NoticeSheet:
    """What stands in an estate's notice, what ends first first; refusals: estate_unknown, forbidden."""
    estate = organization(connection, estate_id)
    permit(connection, actor, Permission.ACTIVITY_READ, estate_id)
    shown, after = notices.notices(connection, estate_id, zone, None, MAX_NOTICES)
    names = ("name", "building", "activity", "day", "minutes", "points", "last_day")
    lines = [Notice(**{name: one[name] for name in names}) for one in shown]
    return NoticeSheet(estate["name"], lines, after is None, where, telephone, _today(now, zone), now)


def poster(
    connection: Connection,
    actor: str,
    activity_id: str,
    site_url: str,
    now: datetime,
    zone: ZoneInfo,
    language: Language,
) -> Poster:
    """The poster of an activity with its next sessions.

    Refusals: activity_unknown, forbidden, activity_not_published.
    """
    row = activities.permitted(connection, actor, Permission.ACTIVITY_READ, activity_id)
    if row["state"] != "published":
        raise DomainError("activity_not_published")
    s = sessions.c
    coming = select(s.starts_at, s.ends_at).where(s.activity_id == activity_id, s.state == "open", s.starts_at > now)
    times = connection.execute(coming.order_by(s.starts_at, s.id).limit(SESSIONS))
    return Poster(
        title=row["title"],
        unit=organization(connection, row["organization_id"])["name"],
        times=[session_time(language, one.starts_at.astimezone(zone), one.ends_at.astimezone(zone)) for one in times],
        place=row["place"],
        description=row["description"],
        risk_note=row["risk_note"],
        person_in_charge=row["person_in_charge"],
        contact=row["contact"],
        address=f"{site_url}/{ACTIVITY_PATH}/{activity_id}",
        printed_at=now,
    )


def attendance_sheet(
    connection: Connection,
    actor: str,
    session_id: str,
    site_url: str,
    now: datetime,
    zone: ZoneInfo,
    language: Language,
) -> AttendanceSheet:
    """The list of a session to sign; refusals: session_unknown, forbidden."""
    found = reviewing.sheet(connection, actor, session_id)
    activity = activities.view(connection, permitted(connection, actor, _ON_SHEETS, session_id)["activity_id"])
    starts_at, ends_at = (datetime.fromisoformat(found[name]).astimezone(zone) for name in ("starts_at", "ends_at"))
    return AttendanceSheet(
        title=found["title"],
        place=found["place"],
        when=session_time(language, starts_at, ends_at),
        break_minutes=found["break_minutes"],
        person_in_charge=activity["person_in_charge"],
        code=session_id[:SHEET_CODE],
        address=f"{site_url}/{ACTIVITY_PATH}/{activity['id']}?session={session_id}",
        people=[Expected(row["name"], row["member_number"], row["row_code"]) for row in found["rows"]],
        printed_at=now,
    )


def session_of_sheet(connection: Connection, actor: str, code: str) -> str:
    """The session that a sheet's code names, the newest of those that `actor` records; refusals: session_unknown,
    forbidden.
    """
    s, a = sessions.c, activity_rows.c
    nodes = scope(connection, actor, _ON_SHEETS)
    query = select(s.id).join(activity_rows, a.id == s.activity_id).where(a.organization_id.in_(nodes))
    query = query.where(s.id.startswith(code.lower(), autoescape=True)).order_by(s.starts_at.desc()).limit(1)
    found: str | None = connection.scalar(query)
    if found is None or len(code) < SHEET_CODE:
        raise DomainError("session_unknown")
    return found


def passbook(connection: Connection, actor: str, resident_id: str, now: datetime, zone: ZoneInfo) -> Passbook:
    """Balance and last entries of a resident; refusals: resident_unknown, forbidden."""
    person = resident(connection, actor, resident_id)
    balance = statements.balance(connection, actor, resident_id)
    entries, _ = statements.statement(connection, actor, resident_id, None, READ_AHEAD)
    moved = [one for one in entries if one["posted_change_points"]]
    ends_at = balance["next_expiry_at"]
    return Passbook(
        name=person["name"],
        member_number=person["member_number"],
        estate=organization(connection, estate_of(connection, resident_id))["name"],
        available=balance["available_points"],
        pending=balance["pending_points"],
        held=balance["held_points"],
        owed=balance["owed_points"],
        # What ends at midnight can be used on the day before.
        expiry=None if ends_at is None else (balance["next_expiry_points"], _day(ends_at, zone, _SECOND)),
        lines=[_line(one, zone) for one in moved[:LINES]],
        printed_day=_today(now, zone),
        printed_at=now,
    )


def card(connection: Connection, actor: str, resident_id: str) -> Card:
    """A resident's own card; refusals: resident_unknown, forbidden."""
    person = resident(connection, actor, resident_id)
    estate = organization(connection, estate_of(connection, resident_id))["name"]
    return Card(person["name"], person["member_number"], estate)


def cards(connection: Connection, actor: str, estate_id: str, after: str | None) -> list[Card]:
    """Cards of the people of an estate by their number, MAX_CARDS at a time; refusals: estate_unknown, forbidden."""
    estate = organization(connection, estate_id)["name"]
    permit(connection, actor, Permission.RESIDENT_WRITE, estate_id)
    r = residents.c
    query = select(r.name, r.member_number).where(
        r.estate_id == estate_id, r.merged_into.is_(None), r.closed_at.is_(None), r.erased_at.is_(None)
    )
    if after is not None:
        query = query.where(r.member_number > after)
    rows = connection.execute(query.order_by(r.member_number).limit(MAX_CARDS))
    return [Card(row.name, row.member_number, estate) for row in rows]


def why_not(
    connection: Connection,
    actor: str,
    resident_id: str,
    first: date,
    last: date,
    now: datetime,
    zone: ZoneInfo,
    language: Language,
) -> WhyNot:
    """Why there are no points; refusals: resident_unknown, forbidden, span_invalid."""
    found = explaining.why_not(connection, actor, resident_id, first, last, now, zone)
    return WhyNot(
        name=resident(connection, actor, resident_id)["name"],
        first_day=found["first_day"],
        last_day=found["last_day"],
        cases=[Case(one["day"], one["title"], one[language]) for one in found["items"]],
        is_whole=found["is_whole"],
        printed_day=_today(now, zone),
        printed_at=now,
    )


_ON_SHEETS: Final = Permission.ATTENDANCE_WRITE
_SECOND: Final = timedelta(seconds=1)


def _line(one: dict[str, Any], zone: ZoneInfo) -> Line:
    what = "entry_reversal" if one["kind"] == "reversal" else _KINDS.get(one["cause_type"], "entry_other")
    if one["activity"] and one["kind"] != "reversal":
        what = one["activity"]
    return Line(_day(one["recorded_at"], zone), what, one["posted_change_points"], one["posted_points"])


def _day(at: str, zone: ZoneInfo, before: timedelta = timedelta()) -> str:
    return (datetime.fromisoformat(at) - before).astimezone(zone).date().isoformat()


def _today(now: datetime, zone: ZoneInfo) -> str:
    return now.astimezone(zone).date().isoformat()

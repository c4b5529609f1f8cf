"""Booking the demo's county: piece by piece, each an operation of the writer, by the same functions that people use.

`parts_of` says how many pieces there are; the same piece a second time changes nothing. What was done in the last two
weeks waits for approval, the rest is final. It belongs to the demo's staff, who must exist (`init --demo`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, insert, select

from jishan_server import demo_data
from jishan_server.demo_county import TYPES, County, Person, Sitting, county
from jishan_server.errors import DomainError
from jishan_server.ids import derived_id
from jishan_server.organizations.roles import SYSTEM
from jishan_server.organizations.tables import organizations
from jishan_server.organizations.tree import NewNode, create_many
from jishan_server.people import enrolling
from jishan_server.people.consents import NewConsent
from jishan_server.people.tables import staff
from jishan_server.volunteering import attendance, crediting
from jishan_server.volunteering.activities import PutActivityType, put_activity_type
from jishan_server.volunteering.activity_tables import activities, activity_types, attendances, sessions
from jishan_server.volunteering.credit_states import Event, follow
from jishan_server.volunteering.rule_versions import ensure_first
from jishan_server.volunteering.rules import CreditRules, Source
from jishan_server.writer import Operation

PEOPLE_AT_ONCE: Final = 500
SITTINGS_AT_ONCE: Final = 100
"""In one operation: well below a second, so that whoever works meanwhile hardly waits."""
OPEN_DAYS: Final = 14
"""What is as young still waits for its approval."""


@dataclass(frozen=True, slots=True)
class LoadDemo:
    """Piece `part` of the county that `seed` makes as of `today` (2026-03-05), so large."""

    seed: int
    today: str
    estates: int
    people: int
    part: int = 0


def parts_of(body: LoadDemo, zone: ZoneInfo) -> int:
    """How many pieces the county has."""
    made = _county(body, zone)
    return 1 + len(range(0, len(made.people), PEOPLE_AT_ONCE)) + len(range(0, len(made.sittings), SITTINGS_AT_ONCE))


def operations(body: LoadDemo, zone: ZoneInfo) -> list[Operation]:
    """The whole county, piece by piece."""
    pieces = [replace(body, part=part) for part in range(parts_of(body, zone))]
    return [Operation(f"{_name(piece)}-part-{piece.part}", "load_demo", piece) for piece in pieces]


def load_demo(connection: Connection, operation: Operation, now: datetime, settings: CreditRules) -> dict[str, Any]:
    """Book one piece; gives what it was. Refusal: demo_unknown where the demo's staff is not there."""
    body: LoadDemo = operation.body
    made = _county(body, settings.zone)
    of_people = range(0, len(made.people), PEOPLE_AT_ONCE)
    if body.part == 0:
        return _load_tree(connection, operation, made, now)
    if body.part <= len(of_people):
        start = of_people[body.part - 1]
        return _load_people(connection, body, made, range(start, start + PEOPLE_AT_ONCE), now, settings)
    start = (body.part - 1 - len(of_people)) * SITTINGS_AT_ONCE
    return _load_sittings(connection, body, made, range(start, start + SITTINGS_AT_ONCE), now, settings)


def _county(body: LoadDemo, zone: ZoneInfo) -> County:
    return county(body.seed, date.fromisoformat(body.today), zone, body.estates, body.people)


def _load_tree(connection: Connection, operation: Operation, made: County, now: datetime) -> dict[str, Any]:
    nodes = [
        NewNode(node.code, node.name, node.level, None if node.parent == demo_data.COUNTY else node.parent)
        for node in made.nodes
        if node.parent is not None
    ]
    planned = create_many(connection, SYSTEM, operation.id, demo_data.COUNTY, nodes, now)
    known = set(connection.scalars(select(activity_types.c.code)))
    for code, zh, en in TYPES:
        if code not in known:
            body = PutActivityType(SYSTEM, code, zh, en, code, True, 480, 60)
            put_activity_type(connection, Operation(derived_id(operation.id, code), operation.kind, body), now)
    return {"nodes": len(planned.new)}


def _resident_id(body: LoadDemo, number: int) -> str:
    """As `enrolling.create_many` names the person with this place in the county."""
    start = number // PEOPLE_AT_ONCE * PEOPLE_AT_ONCE
    return derived_id(_batch_id(body, start), f"resident {number - start}")


def _batch_id(body: LoadDemo, start: int) -> str:
    return f"{_name(body)}-{start}"


def _name(body: LoadDemo) -> str:
    return f"demo-{body.seed}-{body.today}-{body.estates}-{body.people}"


def _load_people(
    connection: Connection, body: LoadDemo, made: County, numbers: range, now: datetime, settings: CreditRules
) -> dict[str, Any]:
    homes = _homes(connection)
    rows = [_new_resident(person, homes) for person in made.people[numbers.start : numbers.stop]]
    ids = enrolling.create_many(connection, SYSTEM, _batch_id(body, numbers.start), rows, now, settings.zone)
    return {"people": len(ids)}


def _new_resident(person: Person, homes: dict[str, str]) -> enrolling.NewResident:
    return enrolling.NewResident(
        homes[person.estate],
        person.name,
        phone=person.phone,
        sex=person.sex,
        birth_day=person.birth_day.isoformat(),
        building=person.building,
        skills=(person.skill,) if person.skill else (),
        consent=NewConsent() if person.has_agreed else None,
    )


def _homes(connection: Connection) -> dict[str, str]:
    """The estates by code."""
    found = select(organizations.c.code, organizations.c.id).where(organizations.c.code.is_not(None))
    return {row.code: row.id for row in connection.execute(found)}


def _member(connection: Connection, login: str) -> str:
    id: str | None = connection.scalar(select(staff.c.id).where(staff.c.login == login))
    if id is None:
        raise DomainError("demo_unknown")
    return id


def _load_sittings(
    connection: Connection, body: LoadDemo, made: County, numbers: range, now: datetime, settings: CreditRules
) -> dict[str, Any]:
    recorder, approver = _member(connection, "coordinator"), _member(connection, "approver")
    homes = _homes(connection)
    loaded = [_Loaded(body, number, made.sittings[number]) for number in numbers if number < len(made.sittings)]
    connection.execute(insert(activities), [one.activity(homes, recorder, approver) for one in loaded])
    connection.execute(insert(sessions), [one.session(recorder) for one in loaded])
    rows = [row for one in loaded for row in one.attendances(homes, recorder)]
    connection.execute(insert(attendances), rows)
    ensure_first(connection, settings, now)
    works = [work for one in loaded for work in one.works(homes, settings)]
    credits = crediting.record(connection, crediting.price(connection, works), recorder, now)
    attendance.mark_credited(connection, {row["attendance_id"]: row["id"] for row in credits}, now)
    old_enough = (date.fromisoformat(body.today) - timedelta(days=OPEN_DAYS)).isoformat()
    approved = [row for row in credits if row["day"] < old_enough]
    for row in approved:
        row["state"] = follow(row["state"], Event.APPROVED).value
        row |= {"decided_by": approver, "decided_at": now}
    refused = crediting.go_on(connection, approved, now, settings)
    assert not refused, "the demo books nothing that the ledger refuses"
    return {"sessions": len(loaded), "credits": len(credits), "approved": len(approved)}


@dataclass(frozen=True, slots=True)
class _Loaded:
    """One sitting on its way into the tables; its ids follow from its place in the county."""

    county: LoadDemo
    number: int
    sitting: Sitting

    def _id(self, what: str) -> str:
        return derived_id(_name(self.county), f"{what} {self.number}")

    def activity(self, homes: dict[str, str], recorder: str, approver: str) -> dict[str, Any]:
        before = self.sitting.starts_at - timedelta(days=3)
        return {
            "id": self._id("activity"),
            "organization_id": homes[self.sitting.estate],
            "title": self.sitting.title,
            "activity_type": self.sitting.type,
            "category": self.sitting.type,
            "counts_as_service": True,
            "place": self.sitting.place,
            "description": "",
            "risk_note": "",
            "person_in_charge": "周敏",
            "contact": "",
            "sign_up_ends_minutes": 0,
            "state": "published",
            "published_at": before,
            "published_by": approver,
            "created_by": recorder,
            "created_at": before,
        }

    def session(self, recorder: str) -> dict[str, Any]:
        ends_at = self.sitting.starts_at + timedelta(minutes=self.sitting.minutes)
        return {
            "id": self._id("session"),
            "activity_id": self._id("activity"),
            "starts_at": self.sitting.starts_at,
            "ends_at": ends_at,
            "closes_at": ends_at + timedelta(hours=1),
            "break_minutes": 0,
            "state": "done",
            "created_by": recorder,
            "created_at": self.sitting.starts_at - timedelta(days=3),
        }

    def attendances(self, homes: dict[str, str], recorder: str) -> list[dict[str, Any]]:
        return [
            {
                "id": self._id(f"attendance {came.person}"),
                "session_id": self._id("session"),
                "resident_id": _resident_id(self.county, came.person),
                "estate_id": homes[self.sitting.estate],
                "checked_in_at": self.sitting.starts_at,
                "checked_out_at": self.sitting.starts_at + timedelta(minutes=came.minutes),
                "minutes": came.minutes,
                "source": Source.LIST_ON_THE_SPOT.value,
                "flags": "",
                "state": "closed",
                "is_to_review": False,
                "recorded_by": recorder,
                "recorded_at": self.sitting.starts_at + timedelta(minutes=self.sitting.minutes),
            }
            for came in self.sitting.came
        ]

    def works(self, homes: dict[str, str], settings: CreditRules) -> Sequence[crediting.Work]:
        return [
            crediting.Work(
                id=self._id(f"credit {came.person}"),
                resident_id=_resident_id(self.county, came.person),
                estate_id=homes[self.sitting.estate],
                minutes=came.minutes,
                points=None,
                source=Source.LIST_ON_THE_SPOT,
                title=self.sitting.title,
                reason="参加",
                worked_at=self.sitting.starts_at,
                day=self.sitting.starts_at.astimezone(settings.zone).date(),
                activity_type=self.sitting.type,
                organization_id=homes[self.sitting.estate],
                category=self.sitting.type,
                place=self.sitting.place,
                person_in_charge="周敏",
                activity_id=self._id("activity"),
                session_id=self._id("session"),
                attendance_id=self._id(f"attendance {came.person}"),
            )
            for came in self.sitting.came
        ]

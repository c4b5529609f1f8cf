"""The waiting list, whatever people do in whatever order: never more than there are places, first come first served."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import count
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, select

from jishan_server import db
from jishan_server.errors import DomainError
from jishan_server.kinds import kinds
from jishan_server.organizations.roles import SYSTEM
from jishan_server.organizations.tree import CreateOrganization
from jishan_server.people.message_tables import messages
from jishan_server.people.residents import CreateResident
from jishan_server.vending.rules import Rules
from jishan_server.volunteering.activities import CreateActivity, PublishActivity, PutActivityType
from jishan_server.volunteering.activity_tables import sign_ups
from jishan_server.volunteering.rules import CreditRules
from jishan_server.volunteering.sessions import ChangeSession, CreateSessions
from jishan_server.volunteering.signing_up import CancelSignUp, SignUp, promoted
from jishan_server.writer import Operation, drain

NOW = datetime(2026, 3, 2, 4, 0, tzinfo=UTC)
START, END = datetime(2026, 3, 3, 6, 0, tzinfo=UTC), datetime(2026, 3, 3, 8, 0, tzinfo=UTC)
PEOPLE = 6
KINDS = kinds(CreditRules(), Rules())


class Line:
    """One session and six people on a database in memory; `expected` is who holds a place and who waits, in order."""

    def __init__(self, connection: Connection, capacity: int) -> None:
        self.connection = connection
        self.numbers = count()
        for id, above, level in (("county", None, "county"), ("estate", "county", "estate")):
            self.do("create_organization", CreateOrganization(SYSTEM, above, level, id, id))
        self.people = [
            self.do("create_resident", CreateResident(SYSTEM, "estate", f"居民{number}"))["id"]
            for number in range(PEOPLE)
        ]
        self.do("put_activity_type", PutActivityType(SYSTEM, "t", "x", "x", "x", True, 300, 60))
        body = CreateActivity(SYSTEM, "estate", title="x", activity_type="t", place="x", person_in_charge="x")
        activity = self.do("create_activity", body)["id"]
        self.do("publish_activity", PublishActivity(SYSTEM, activity))
        made = self.do("create_sessions", CreateSessions(SYSTEM, activity, START, END, capacity))
        self.session = made["sessions"][0]["id"]
        self.capacity = capacity
        self.seated: list[str] = []
        self.waiting: list[str] = []
        self.told: list[str] = []

    def do(self, kind: str, body: object) -> Any:
        [outcome] = drain([Operation(f"op-{next(self.numbers)}", kind, body)], self.connection, KINDS, NOW)
        if outcome.error is not None:
            raise outcome.error
        return outcome.value

    def step(self, what: str, number: int) -> None:
        """Do one thing, and do it in the plainest way to `seated` and `waiting` too."""
        person = self.people[number % PEOPLE]
        if what == "sign_up":
            self.do("sign_up", SignUp(SYSTEM, self.session, person))
            if person not in self.seated + self.waiting:
                (self.waiting if len(self.seated) >= self.capacity else self.seated).append(person)
        elif what == "cancel":
            u = sign_ups.c
            found = select(u.id).where(u.session_id == self.session, u.resident_id == person)
            id = self.connection.scalar(found)
            if id is not None:
                self.do("cancel_sign_up", CancelSignUp(SYSTEM, id))
                self.seated = [one for one in self.seated if one != person]
                self.waiting = [one for one in self.waiting if one != person]
        else:
            capacity = number % PEOPLE + 1
            try:
                self.do("change_session", ChangeSession(SYSTEM, self.session, START, END, capacity, 0))
                self.capacity = capacity
            except DomainError as error:
                if error.code != "capacity_taken" or capacity >= len(self.seated):
                    raise
        while self.waiting and len(self.seated) < self.capacity:
            self.told.append(self.waiting[0])
            self.seated.append(self.waiting.pop(0))

    def found(self) -> tuple[set[str], list[str], list[str]]:
        """Who holds a place, who waits in order, and who was told of a place, by the database."""
        u = sign_ups.c
        rows = self.connection.execute(select(u.resident_id, u.state).order_by(u.number)).all()
        told = self.connection.scalars(select(messages.c.resident_id).order_by(messages.c.number))
        return (
            {row.resident_id for row in rows if row.state == "signed_up"},
            [row.resident_id for row in rows if row.state == "waiting"],
            list(told),
        )


STEPS = st.lists(
    st.tuples(st.sampled_from(["sign_up", "sign_up", "cancel", "capacity"]), st.integers(0, 5)), max_size=25
)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), STEPS)
def test_places_are_never_exceeded_and_the_order_is_kept(capacity: int, steps: list[tuple[str, int]]) -> None:
    engine = db.make_engine("sqlite://")
    db.all_tables().create_all(engine)
    with db.connect_for_writing(engine) as connection:
        line = Line(connection, capacity)
        for step in steps:
            line.step(*step)
            seated, waiting, told = line.found()
            assert len(seated) <= line.capacity
            assert (seated, waiting, told) == (set(line.seated), line.waiting, line.told)
    engine.dispose()


@given(st.lists(st.integers()), st.integers(0, 20), st.none() | st.integers(1, 20))
def test_those_who_move_up_are_the_first_and_fill_the_places(
    waiting: list[int], taken: int, capacity: int | None
) -> None:
    chosen = promoted(waiting, taken, capacity)
    assert list(chosen) == waiting[: len(chosen)]
    if capacity is None:
        assert len(chosen) == len(waiting)
    else:
        assert len(chosen) == min(len(waiting), max(0, capacity - taken))

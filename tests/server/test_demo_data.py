"""The demo's county: plausible, the same for the same seed, and booked as people would have booked it."""

from __future__ import annotations

import sys
from collections import Counter
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

from sqlalchemy import func, select

sys.path.append(str(Path(__file__).parent))

from office import opened

from jishan_server import demo_loading
from jishan_server.demo_county import ESTATES, PEOPLE, county
from jishan_server.ledger.verify import verify
from jishan_server.people.tables import residents
from jishan_server.vending.checks import CHECKS
from jishan_server.volunteering.credit_tables import service_records
from jishan_server.volunteering.tables import credits

ZONE = ZoneInfo("Asia/Shanghai")
TODAY = date(2026, 3, 2)


def test_a_county_is_the_same_for_the_same_seed_and_as_large_as_told() -> None:
    made = county(1, TODAY, ZONE)
    assert made == county(1, TODAY, ZONE)
    assert made != county(2, TODAY, ZONE)
    assert Counter(node.level for node in made.nodes)["estate"] == ESTATES
    assert len({node.name for node in made.nodes}) == len(made.nodes)
    assert len(made.people) == PEOPLE
    assert all(sitting.starts_at.astimezone(ZONE).date() < TODAY for sitting in made.sittings)
    for sitting in made.sittings:
        assert all(made.people[came.person].estate == sitting.estate for came in sitting.came)
        assert len({came.person for came in sitting.came}) == len(sitting.came)
        assert all(0 < came.minutes <= sitting.minutes for came in sitting.came)
    # There are namesakes in one building, as in life.
    homes = Counter((person.estate, person.building, person.name) for person in made.people)
    assert max(homes.values()) > 1
    assert all(person.phone is None or person.phone.startswith("10") for person in made.people), "nobody's number"


def test_a_county_is_booked_once_and_the_ledger_holds(sqlite_template: Path, tmp_path: Path) -> None:
    with opened(sqlite_template, tmp_path) as office:
        wanted = demo_loading.LoadDemo(1, TODAY.isoformat(), 3, 60)
        pieces = demo_loading.operations(wanted, ZONE)
        booked = [office.parts.writer.call(piece) for piece in pieces]
        assert [office.parts.writer.call(piece) for piece in pieces] == booked
        with office.parts.engine.connect() as connection:
            assert connection.scalar(select(func.count()).select_from(residents)) == 60 + len(office.people.residents)
            states = dict(connection.execute(select(credits.c.state, func.count()).group_by(credits.c.state)).all())
            agreed = connection.scalar(select(func.count()).select_from(service_records))
            report = verify(connection, CHECKS)
        assert report.ok, report.first_break
        assert set(states) <= {"final", "recorded", "waiting_consent"}
        assert states["final"] == agreed > states["recorded"] > 0
        assert sum(states.values()) == sum(one.get("credits", 0) for one in booked)

"""Many people at once, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from office import Office, opened

from jishan_server.app import create_app
from jishan_server.ledger.verify import verify


@pytest.fixture(params=["sqlite", "postgresql"])
def office(request: pytest.FixtureRequest, sqlite_template: Path, tmp_path: Path) -> Iterator[Office]:
    settings = {}
    if request.param == "postgresql":
        engine = request.getfixturevalue("postgresql_database")
        settings["database_url"] = engine.url.render_as_string(hide_password=False)
    with opened(sqlite_template, tmp_path, **settings) as made:
        yield made
        with made.parts.engine.connect() as connection:
            assert verify(connection, processes=1).ok


def test_twenty_approvals_of_one_credit_post_it_once(office: Office) -> None:
    resident = office.people.residents[0]
    body = {"resident_id": resident.id, "points": 5, "activity": "扫雪", "reason": "x"}
    made = office.ok("POST", "/credits", body)
    tokens = [office.token(login) for login in ("approver", "secretary")]
    app = create_app(office.parts)

    def approve(number: int) -> int:
        headers = {"Authorization": f"Bearer {tokens[number % 2]}", "Idempotency-Key": f"approval-{number}"}
        with app.test_client() as client:
            return client.post(f"/api/v1/credits/{made['id']}/approve", json={}, headers=headers).status_code

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(approve, range(20)))
    assert sorted(answers) == [200] + [409] * 19
    assert office.balances()[f"res:{resident.id}"] == (5, 0)


def test_one_request_sent_twenty_times_at_once_is_done_once(office: Office) -> None:
    token = office.token("coordinator")
    app = create_app(office.parts)
    body = {"estate_id": "jiangpan", "name": "新人"}

    def register(_: int) -> str:
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": "one-and-the-same"}
        with app.test_client() as client:
            id: str = client.post("/api/v1/residents", json=body, headers=headers).get_json()["id"]
            return id

    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(register, range(20)))
    assert len(ids) == 1
    assert len(office.ok("GET", "/residents")["items"]) == 7


def test_residents_registered_at_once_get_numbers_of_their_own(office: Office) -> None:
    token = office.token("coordinator")
    app = create_app(office.parts)

    def register(number: int) -> str:
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": f"resident-{number}"}
        with app.test_client() as client:
            body = {"estate_id": "jiangpan", "name": f"居民{number}"}
            made: str = client.post("/api/v1/residents", json=body, headers=headers).get_json()["member_number"]
            return made

    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(register, range(30)))
    assert len(set(numbers)) == 30

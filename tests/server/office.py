"""The real app on a real SQLite file with a real writer and the demo's people: what the HTTP tests work in."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient
from sqlalchemy import select
from werkzeug.test import TestResponse

from jishan_server import demo_data
from jishan_server.app import create_app
from jishan_server.assembly import assembled
from jishan_server.config import Config
from jishan_server.db import writing
from jishan_server.ledger import store
from jishan_server.ledger import tables as ledger
from jishan_server.parts import Parts
from jishan_server.people.credentials import account_of
from jishan_server.vending import tables as vending
from jishan_server.vending.machines import ensure_identity

SECRET = bytes(range(32))


class Office:
    """A server to talk to over HTTP; `now` is its clock, `as_` the login of the person who asks."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.now = datetime(2026, 3, 2, 4, 0, tzinfo=UTC)
        self.people = demo_data.fill(parts.writer.call, parts.hashing)
        self.client: FlaskClient = create_app(parts).test_client()
        self.keys = count(1)
        self._tokens: dict[str, str] = {}

    def tick(self, **span: float) -> None:
        """Let time pass."""
        self.now += timedelta(**span)

    def token(self, login: str) -> str:
        """The token of a member of the demo's staff, logged in once."""
        if login not in self._tokens:
            password = next(one.password for one in self.people.staff if one.login == login)
            answer = self.client.post("/api/v1/auth/token", json={"login": login, "password": password})
            assert answer.status_code == 201, answer.text
            self._tokens[login] = answer.get_json()["token"]
        return self._tokens[login]

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        as_: str | None = "coordinator",
        key: str | None = None,
        **more: Any,
    ) -> TestResponse:
        """Ask the API; a POST gets a fresh Idempotency-Key unless one is given ("" for none)."""
        headers = dict(more.pop("headers", {}))
        if as_ is not None:
            headers["Authorization"] = f"Bearer {self.token(as_)}"
        if key is None and method == "POST":
            key = f"test-key-{next(self.keys)}"
        if key:
            headers["Idempotency-Key"] = key
        if body is not None:
            more["json"] = body
        return self.client.open(f"/api/v1{path}", method=method, headers=headers, **more)

    def ok(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """Ask, and expect it to be done."""
        answer = self.send(method, path, body, **more)
        assert answer.status_code < 300, answer.text
        return answer.get_json() if answer.data else None

    def refused(self, status: int, code: str, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """Ask, and expect this refusal, in the one shape of failures."""
        answer = self.send(method, path, body, **more)
        said = answer.get_json()
        assert (answer.status_code, said["code"]) == (status, code), answer.text
        assert said.keys() == {"code", "message", "message_zh", "message_en", "fields", "request_id"}
        assert said["request_id"] == answer.headers["X-Request-ID"]
        return said

    def credit(self, resident: int, points: int) -> dict[str, Any]:
        """Record and approve a credit."""
        body = {
            "resident_id": self.people.residents[resident].id,
            "points": points,
            "activity": "扫雪",
            "reason": "参加",
        }
        made = self.ok("POST", "/credits", body)
        done: dict[str, Any] = self.ok("POST", f"/credits/{made['id']}/approve", {}, as_="approver")
        return done

    def balances(self) -> dict[str, tuple[int, int]]:
        """(posted, held) of every resident, read past the API."""
        ids = [account_of(one.id) for one in self.people.residents]
        with self.parts.engine.connect() as connection:
            return {id: (one.posted, one.held) for id, one in store.balances(connection, ids).items()}

    def standing(self) -> dict[str, object]:
        """What a refusal leaves as it is: balances, every movement of points, every slot's stock."""
        found: dict[str, object] = {"balances": self.balances()}
        with self.parts.engine.connect() as connection:
            for table in (ledger.transfers, vending.slots):
                found[table.name] = connection.execute(select(table).order_by(*table.primary_key)).all()
        return found

    @contextlib.contextmanager
    def unchanged(self) -> Iterator[None]:
        """What happens inside must move no points and no stock."""
        before = self.standing()
        yield
        assert self.standing() == before


@contextlib.contextmanager
def opened(template: Path, folder: Path, **settings: Any) -> Iterator[Office]:
    """An office on a copy of a migrated SQLite file, or on the migrated database that `database_url` names."""
    if "database_url" not in settings:
        shutil.copy(template, folder / "jishan.db")
    config = Config(
        data_dir=folder,
        secret=SECRET,
        argon2_rounds=1,
        argon2_memory_kib=8,
        **{"logins_per_minute": 1000, "requests_per_minute": 100_000} | settings,
    )
    offices: list[Office] = []
    start = datetime(2026, 3, 2, 4, 0, tzinfo=UTC)
    with assembled(config, clock=lambda: offices[0].now if offices else start) as parts:
        with writing(parts.engine) as connection:
            ensure_identity(connection, "ledger-1", start)
        offices.append(Office(parts))
        yield offices[0]

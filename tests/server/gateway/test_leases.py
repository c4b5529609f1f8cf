"""Several gateways share the shards."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine

from jishan_protocol.topics import SHARDS
from jishan_server.db import writing
from jishan_server.gateway.leases import LIFE, renew

NOW = datetime(2026, 3, 2, 4, 0, tzinfo=UTC)
ALL = frozenset(range(SHARDS))


def take(engine: Engine, holder: str, seconds: float = 0) -> frozenset[int]:
    with writing(engine) as connection:
        return renew(connection, holder, NOW + timedelta(seconds=seconds))


def test_one_gateway_takes_all_shards(database: Engine) -> None:
    assert take(database, "a") == ALL


def test_a_second_gateway_gets_its_half_after_the_first_has_given_it_back(database: Engine) -> None:
    take(database, "a")
    assert take(database, "b", 1) == frozenset()
    first = take(database, "a", 10)
    second = take(database, "b", 11)
    assert (len(first), len(second)) == (50, 50)
    assert first | second == ALL
    assert take(database, "a", 20) == first
    assert take(database, "b", 21) == second


def test_the_shards_of_a_gateway_that_died_are_taken_over(database: Engine) -> None:
    take(database, "a")
    take(database, "b", 1)
    take(database, "a", 10)
    take(database, "b", 11)
    late = 11 + LIFE.total_seconds()
    assert take(database, "b", late + 1) == ALL

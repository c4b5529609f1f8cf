"""What of a secret may be found afterwards: nothing."""

from __future__ import annotations

import json
import logging

from office import Office

from jishan_server import logs
from jishan_server.people.hashing import lowest_cost


def test_no_secret_lies_in_the_database(office: Office) -> None:
    one = office.people.residents[0]
    staff = office.people.staff[0]
    office.ok("PUT", f"/residents/{one.id}/pin", {"pin": "86420975"})
    token = office.token("coordinator")
    office.parts.writer.close()
    with office.parts.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    raw = (office.parts.config.data_dir / "jishan.db").read_bytes()
    for secret in (one.card, one.card.lower(), "86420975", staff.password, token):
        assert secret.encode() not in raw
    assert one.name.encode() in raw


def test_the_same_operation_gives_the_same_hash_and_another_does_not() -> None:
    hashing = lowest_cost(bytes(32))
    first = hashing.secret("4711", "operation-1")
    assert first == hashing.secret("4711", "operation-1")
    assert first != hashing.secret("4711", "operation-2")
    assert hashing.verify(first, "4711")
    assert not hashing.verify(first, "4712")
    assert not hashing.verify("no hash", "4711")
    # The database alone, without the server's key, is of no use.
    assert not lowest_cost(bytes(range(32))).verify(first, "4711")
    assert "00" * 32 not in repr(hashing)


def test_logs_blot_out_secrets_wherever_they_lie() -> None:
    event = {
        "event": "x",
        "pin": "4711",
        "body": {"password": "p", "list": [{"token": "t", "uid": "00745A70"}], "points": 3},
        "api_key": "k",
        "Authorization": "Bearer t",
        "claim_code": "ABCD",
        "keys": 3,
        "pinned": None,
    }
    shown = json.dumps(logs.blot(logging.getLogger(), "info", event))
    for secret in ("4711", '"p"', '"t"', "00745A70", '"k"', "Bearer", "ABCD"):
        assert secret not in shown
    assert '"points": 3' in shown
    assert '"keys": 3' in shown

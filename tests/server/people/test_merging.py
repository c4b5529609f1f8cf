"""Two records of one person become one, and a record is closed: what moves, what stays, what is refused."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest
from office import Office
from sqlalchemy import select, update

from jishan_protocol.sealing import Credential
from jishan_server import audit
from jishan_server.db import writing
from jishan_server.errors import DomainError
from jishan_server.ledger import notes, tables
from jishan_server.ledger.model import Cause, Kind, Transfer
from jishan_server.ledger.store import book
from jishan_server.ledger.verify import verify
from jishan_server.people.credentials import account_of, identify, prepare
from jishan_server.people.one_person import is_same_person, survivor_of
from jishan_server.people.staff import resident_of as staff_resident
from jishan_server.people.tables import staff

WHY = {"reason": "同一个人登记了两次"}


def resident(office: Office, number: int) -> str:
    return office.people.residents[number].id


def merge(office: Office, old: int, into: int, **more: Any) -> Any:
    body = WHY | {"into_id": resident(office, into)}
    return office.send("POST", f"/residents/{resident(office, old)}/merge", body, **{"as_": "admin"} | more)


def close(office: Office, number: int, **more: Any) -> Any:
    return office.send("POST", f"/residents/{resident(office, number)}/close", WHY, **{"as_": "approver"} | more)


def balance(office: Office, number: int) -> dict[str, Any]:
    found: dict[str, Any] = office.ok("GET", f"/residents/{resident(office, number)}/balance")
    return found


def who(office: Office, credential: Credential) -> Any:
    """What a machine would be told of a credential: the resident, or the code of the refusal."""
    with writing(office.parts.engine) as connection:
        prepared = prepare(connection, [credential], office.parts.hashing)
        (found,) = identify(connection, prepared, office.parts.hashing, office.now)
    return found.code if isinstance(found, DomainError) else found.resident_id


def move(office: Office, kind: Kind, id: str, number: int = 0, points: int = 0, pending: str | None = None) -> None:
    """Book past the API what a machine would have."""
    debit, credit = ("", "") if pending else (account_of(resident(office, number)), "sys:redeemed:jiangpan")
    one = Transfer(id, kind, debit, credit, points, Cause("test", id), "test", "test", pending_id=pending)
    with writing(office.parts.engine) as connection:
        (answer,) = book(connection, [one], office.now)
    assert not isinstance(answer, DomainError)


def is_sound(office: Office) -> bool:
    with office.parts.engine.connect() as connection:
        return verify(connection).ok


def test_the_survivor_has_the_points_and_the_cards_of_both(office: Office) -> None:
    office.credit(0, 10)
    office.credit(1, 5)
    answer = merge(office, 0, 1)
    assert answer.status_code == 200, answer.text
    survivor = answer.get_json()
    assert survivor["id"] == resident(office, 1)
    assert len(survivor["cards"]) == 2
    assert (balance(office, 0)["posted_points"], balance(office, 1)["available_points"]) == (0, 15)
    old = office.ok("GET", f"/residents/{resident(office, 0)}")
    assert (old["state"], old["merged_into"], old["cards"], old["has_pin"]) == (
        "merged",
        resident(office, 1),
        [],
        False,
    )
    moved = office.ok("GET", f"/residents/{resident(office, 1)}/statement")["items"][0]
    assert (moved["cause_type"], moved["reason"], moved["posted_change_points"]) == ("merge", "account_merged", 10)
    # What the lot came from: the line of the old record's own statement.
    before = office.ok("GET", f"/residents/{resident(office, 0)}/statement")["items"]
    assert moved["cause_id"] in [line["transfer_id"] for line in before]
    assert [line["activity"] for line in before] == [None, "扫雪"]
    assert is_sound(office)


def test_the_old_card_opens_the_survivors_account_and_the_old_number_says_why_not(office: Office) -> None:
    old, into = office.people.residents[:2]
    assert merge(office, 0, 1).status_code == 200
    assert who(office, Credential(card=old.card)) == into.id
    assert who(office, Credential(card=into.card)) == into.id
    assert who(office, Credential(member=old.member_number, pin=old.pin)) == "resident_merged"
    assert who(office, Credential(member=into.member_number, pin=into.pin)) == into.id


def test_a_merge_sent_again_is_answered_as_the_first_time(office: Office) -> None:
    office.credit(0, 10)
    first, again = (merge(office, 0, 1, key="merge-once") for _ in range(2))
    assert (first.status_code, first.get_json()) == (again.status_code, again.get_json())
    assert balance(office, 1)["posted_points"] == 10
    told = office.ok("GET", f"/residents/{resident(office, 1)}/messages", as_="admin")["items"]
    assert [one["kind"] for one in told if one["resident_id"] == resident(office, 1)] == ["account_merged"]
    assert merge(office, 0, 1, key="").get_json()["code"] == "idempotency_key_required"
    assert merge(office, 0, 2, key="merge-once").get_json()["code"] == "idempotency_conflict"


def test_points_of_an_open_redemption_come_to_the_survivor(office: Office) -> None:
    office.credit(0, 10)
    move(office, Kind.HOLD, "held", 0, 4)
    assert merge(office, 0, 1).status_code == 200
    assert (balance(office, 0)["held_points"], balance(office, 1)["available_points"]) == (4, 6)
    move(office, Kind.VOID, "freed", pending="held")
    assert (balance(office, 0)["posted_points"], balance(office, 1)["available_points"]) == (0, 10)
    assert is_sound(office)


def test_a_credit_that_was_under_way_comes_to_the_survivor(office: Office) -> None:
    body = {"resident_id": resident(office, 0), "points": 3, "activity": "扫雪", "reason": "参加"}
    made = office.ok("POST", "/credits", body)
    assert merge(office, 0, 1).status_code == 200
    office.ok("POST", f"/credits/{made['id']}/approve", {}, as_="approver")
    assert (balance(office, 0)["posted_points"], balance(office, 1)["available_points"]) == (0, 3)
    assert is_sound(office)


def test_a_credit_of_the_old_record_can_be_taken_back(office: Office) -> None:
    made = office.credit(0, 10)
    assert merge(office, 0, 1).status_code == 200
    office.ok("POST", f"/credits/{made['id']}/reverse", WHY, as_="approver")
    assert (balance(office, 1)["posted_points"], balance(office, 1)["owed_points"]) == (0, 0)
    assert is_sound(office)


def test_three_records_become_one(office: Office) -> None:
    office.credit(0, 10)
    office.credit(1, 5)
    assert merge(office, 0, 1).status_code == 200
    assert merge(office, 1, 2).status_code == 200
    assert balance(office, 2)["available_points"] == 15
    assert who(office, Credential(card=office.people.residents[0].card)) == resident(office, 2)
    with office.parts.engine.connect() as connection:
        assert survivor_of(connection, resident(office, 0)) == resident(office, 2)
    assert is_sound(office)


@pytest.mark.parametrize(
    ("old", "into", "code"),
    [(1, 1, "merge_same"), (0, 2, "resident_merged"), (2, 0, "resident_merged"), (1, 0, "resident_merged")],
)
def test_a_merge_that_makes_no_sense_is_refused(office: Office, old: int, into: int, code: str) -> None:
    office.credit(0, 10)
    assert merge(office, 0, 1).status_code == 200
    with office.unchanged():
        assert merge(office, old, into).get_json()["code"] == code


def test_a_merge_needs_the_permission_a_reason_and_a_record(office: Office) -> None:
    office.credit(0, 10)
    with office.unchanged():
        for login in ("coordinator", "approver", "operator"):
            assert merge(office, 0, 1, as_=login).get_json()["code"] == "forbidden"
        path = f"/residents/{resident(office, 0)}/merge"
        for body in (
            {},
            WHY,
            {"into_id": resident(office, 1)},
            WHY | {"into_id": 7},
            WHY | {"into_id": "x", "more": 1},
            {"into_id": "x", "reason": " "},
        ):
            assert office.send("POST", path, body, as_="admin").get_json()["code"] == "fields_invalid"
        nobody = WHY | {"into_id": "nobody"}
        assert office.send("POST", path, nobody, as_="admin").get_json()["code"] == "resident_unknown"


def test_records_of_two_estates_are_not_merged(office: Office) -> None:
    office.ok("POST", "/estates", {"id": "other", "parent_id": "hongya", "name": "别处"}, as_="admin")
    made = office.ok("POST", "/residents", {"estate_id": "other", "name": "别人"}, as_="admin")
    with office.unchanged():
        body = WHY | {"into_id": made["id"]}
        answer = office.send("POST", f"/residents/{resident(office, 0)}/merge", body, as_="admin")
        assert answer.get_json()["code"] == "merge_elsewhere"


def test_nobody_merges_a_record_of_their_own(office: Office) -> None:
    admin = next(one.id for one in office.people.staff if one.login == "admin")
    office.credit(0, 10)
    with writing(office.parts.engine) as connection:
        connection.execute(update(staff).where(staff.c.id == admin).values(resident_id=resident(office, 1)))
    with office.unchanged():
        for old, into in ((0, 1), (1, 0)):
            assert merge(office, old, into).get_json()["code"] == "merge_own"


def test_a_member_of_staff_is_the_resident_by_each_of_their_records(office: Office) -> None:
    body = {"resident_id": resident(office, 0), "points": 3, "activity": "扫雪", "reason": "参加"}
    made = office.ok("POST", "/credits", body)
    final = office.credit(0, 5)
    approver = next(one.id for one in office.people.staff if one.login == "approver")
    with writing(office.parts.engine) as connection:
        connection.execute(update(staff).where(staff.c.id == approver).values(resident_id=resident(office, 0)))
    assert merge(office, 0, 1).status_code == 200
    assert merge(office, 2, 1).status_code == 200
    with office.parts.engine.connect() as connection:
        now_is = staff_resident(connection, approver)
        same = [is_same_person(connection, now_is, resident(office, number)) for number in range(4)]
    assert (now_is, same) == (resident(office, 1), [True, True, True, False])
    with office.unchanged():
        answer = office.send("POST", f"/credits/{made['id']}/approve", {}, as_="approver")
        assert answer.get_json()["code"] == "credit_own"
        answer = office.send("POST", f"/credits/{final['id']}/reverse", WHY, as_="approver")
        assert answer.get_json()["code"] == "reversal_own"


def test_a_frozen_record_is_not_merged(office: Office) -> None:
    office.credit(0, 10)
    office.ok("POST", f"/residents/{resident(office, 0)}/freeze", WHY, as_="approver")
    with office.unchanged():
        assert merge(office, 0, 1).get_json()["code"] == "account_frozen"
        assert merge(office, 1, 0).get_json()["code"] == "account_frozen"
        assert close(office, 0).get_json()["code"] == "account_frozen"


def test_a_record_that_has_ended_takes_nothing_new(office: Office) -> None:
    assert merge(office, 0, 1).status_code == 200
    assert close(office, 2).status_code == 200
    for number, code in ((0, "resident_merged"), (2, "resident_closed")):
        path = f"/residents/{resident(office, number)}"
        for method, rest, body, login in (
            ("POST", "/freeze", WHY, "approver"),
            ("POST", "/unfreeze", WHY, "approver"),
            ("POST", "/cards", {"uid": "0102030405"[:8]}, "coordinator"),
            ("PUT", "/pin", {"pin": "471108"}, "coordinator"),
        ):
            assert office.send(method, path + rest, body, as_=login).get_json()["code"] == code
        assert close(office, number).get_json()["code"] == code


def test_closing_ends_the_points_the_cards_and_the_number(office: Office) -> None:
    office.credit(0, 10)
    one = office.people.residents[0]
    closed = close(office, 0).get_json()
    assert (closed["state"], closed["closed_at"]) == ("closed", "2026-03-02T04:00:00.000Z")
    assert [(card["state"], card["blocked_reason"]) for card in closed["cards"]] == [("blocked", "closed")]
    assert balance(office, 0)["posted_points"] == 0
    assert who(office, Credential(card=one.card)) == "card_blocked"
    assert who(office, Credential(member=one.member_number, pin=one.pin)) == "resident_closed"
    line = office.ok("GET", f"/residents/{one.id}/statement")["items"][0]
    assert (line["cause_type"], line["reason"], line["posted_change_points"]) == ("close", "account_closed", -10)
    assert is_sound(office)


def test_closing_waits_for_an_open_redemption(office: Office) -> None:
    office.credit(0, 10)
    move(office, Kind.HOLD, "held", 0, 4)
    assert close(office, 0).get_json()["state"] == "closed"
    assert (balance(office, 0)["posted_points"], balance(office, 0)["held_points"]) == (10, 4)
    move(office, Kind.CAPTURE, "taken", pending="held")
    assert (balance(office, 0)["posted_points"], balance(office, 0)["held_points"]) == (0, 0)
    assert is_sound(office)


def test_closing_needs_the_permission_a_reason_a_key_and_no_debt(office: Office) -> None:
    made = office.credit(0, 10)
    with office.unchanged():
        assert close(office, 0, as_="coordinator").get_json()["code"] == "forbidden"
        assert close(office, 0, key="").get_json()["code"] == "idempotency_key_required"
    move(office, Kind.HOLD, "held", 0, 10)
    move(office, Kind.CAPTURE, "taken", pending="held")
    office.ok("POST", f"/credits/{made['id']}/reverse", WHY, as_="approver")
    with office.unchanged():
        refused = close(office, 0).get_json()
    assert (refused["code"], refused["fields"]) == ("points_owed", {"owed": 10})


def test_a_credit_for_a_closed_record_is_refused(office: Office) -> None:
    body = {"resident_id": resident(office, 0), "points": 3, "activity": "扫雪", "reason": "参加"}
    made = office.ok("POST", "/credits", body)
    assert close(office, 0).status_code == 200
    with office.unchanged():
        answer = office.send("POST", f"/credits/{made['id']}/approve", {}, as_="approver")
    assert answer.get_json()["code"] == "account_closed"


def test_the_reason_lies_in_a_note_and_nowhere_else(office: Office) -> None:
    assert merge(office, 0, 1).status_code == 200
    assert close(office, 2).status_code == 200
    with office.parts.engine.connect() as connection:
        kept = connection.execute(select(tables.notes.c.hash, tables.notes.c.resident_id)).all()
        assert {one.resident_id for one in kept} == {resident(office, 0), resident(office, 2)}
        hashes = set(connection.scalars(select(tables.endings.c.note)))
        assert hashes == {one.hash for one in kept}
        assert set(notes.read(connection, hashes).values()) == {WHY["reason"]}
    with writing(office.parts.engine) as connection:
        notes.forget(connection, resident(office, 0))
        notes.forget(connection, resident(office, 2))
    assert is_sound(office)
    dump = "\n".join(sqlite3.connect(office.parts.config.data_dir / "jishan.db").iterdump())
    assert WHY["reason"] not in dump


def test_both_are_in_the_audit_log(office: Office) -> None:
    assert merge(office, 0, 1).status_code == 200
    assert close(office, 2).status_code == 200
    with office.parts.engine.connect() as connection:
        query = select(audit.entries.c.action, audit.entries.c.subject_id, audit.entries.c.details)
        noted = connection.execute(query.order_by(audit.entries.c.number.desc()).limit(2)).all()
    assert [tuple(one) for one in reversed(noted)] == [
        ("resident_merged", resident(office, 0), f'{{"into": "{resident(office, 1)}"}}'),
        ("resident_closed", resident(office, 2), "{}"),
    ]

"""A wrong credit is taken back: what is there at once, what is spent already is owed."""

from __future__ import annotations

from typing import Any

import pytest
from office import Office
from sqlalchemy import select

from jishan_server.audit import entries
from jishan_server.db import writing
from jishan_server.ledger.model import Cause, Kind, Refused, Transfer
from jishan_server.ledger.store import book
from jishan_server.ledger.verify import verify

WHY = {"reason": "签到表有误"}


def balance(office: Office, resident: int) -> tuple[int, int, int]:
    """Available, held and owed points, as the API shows them."""
    shown = office.ok("GET", f"/residents/{office.people.residents[resident].id}/balance")
    return shown["available_points"], shown["held_points"], shown["owed_points"]


def spend(office: Office, resident: int, points: int, id: str, *, is_over: bool = True) -> None:
    """Hold points, and take them if the item has left already."""
    account = f"res:{office.people.residents[resident].id}"
    cause = Cause("redemption", id)
    words: dict[str, Any] = {"cause": cause, "actor": "machine-1", "reason": "test"}
    transfers = [Transfer(f"hold-{id}", Kind.HOLD, account, "sys:redeemed:jiangpan", points, **words)]
    if is_over:
        transfers.append(Transfer(f"capture-{id}", Kind.CAPTURE, "", "", 0, pending_id=f"hold-{id}", **words))
    with writing(office.parts.engine) as connection:
        assert not [one for one in book(connection, transfers, office.now) if isinstance(one, Refused)]


def lines(office: Office, resident: int) -> list[tuple[str, str, int, int]]:
    """The statement, newest first: kind, reason, change, balance."""
    shown = office.ok("GET", f"/residents/{office.people.residents[resident].id}/statement")["items"]
    return [(one["kind"], one["reason"], one["posted_change_points"], one["posted_points"]) for one in shown]


def test_a_wrong_credit_is_taken_back(office: Office) -> None:
    kept, wrong = office.credit(0, 4), office.credit(0, 6)
    office.tick(hours=1)
    done = office.ok("POST", f"/credits/{wrong['id']}/reverse", WHY, as_="approver")
    approver = next(one.id for one in office.people.staff if one.login == "approver")
    assert (done["state"], done["reversal_reason"]) == ("reversed", "签到表有误")
    assert (done["reversed_by"], done["reversed_at"]) == (approver, "2026-03-02T05:00:00.000Z")
    assert (done["transfer_id"], done["decided_at"]) == (wrong["transfer_id"], wrong["decided_at"])
    assert balance(office, 0) == (4, 0, 0)
    assert lines(office, 0)[0] == ("reversal", "credit_reversed", -6, 4)
    assert [one["id"] for one in office.ok("GET", "/credits?state=reversed")["items"]] == [wrong["id"]]
    assert [one["id"] for one in office.ok("GET", "/credits?state=final")["items"]] == [kept["id"]]
    with office.parts.engine.connect() as connection:
        noted = select(entries.c.actor).where(entries.c.action == "credit_reversed", entries.c.subject_id == done["id"])
        assert connection.execute(noted).scalars().all() == [approver]
    with office.parts.engine.connect() as connection:
        assert verify(connection, processes=1).ok


def test_what_is_spent_already_is_owed_and_later_credits_pay_it_first(office: Office) -> None:
    wrong = office.credit(0, 10)
    spend(office, 0, 7, "one")
    office.ok("POST", f"/credits/{wrong['id']}/reverse", WHY, as_="approver")
    assert balance(office, 0) == (0, 0, 7)
    assert lines(office, 0)[:2] == [("reversal", "credit_reversed", -10, 0), ("post", "owed", 7, 10)]
    office.credit(0, 5)
    assert balance(office, 0) == (0, 0, 2)
    office.credit(0, 5)
    assert balance(office, 0) == (3, 0, 0)
    assert lines(office, 0)[:2] == [("post", "repaid", -2, 3), ("post", "credit_approved", 5, 5)]
    with office.parts.engine.connect() as connection:
        assert verify(connection, processes=1).ok


def test_a_reversal_leaves_held_points_to_their_redemption(office: Office) -> None:
    wrong = office.credit(0, 10)
    spend(office, 0, 7, "one", is_over=False)
    office.ok("POST", f"/credits/{wrong['id']}/reverse", WHY, as_="approver")
    assert balance(office, 0) == (0, 7, 7)


def test_a_credit_of_a_frozen_resident_is_taken_back(office: Office) -> None:
    wrong = office.credit(0, 10)
    path = f"/residents/{office.people.residents[0].id}/freeze"
    office.ok("POST", path, {"reason": "核查"}, as_="approver")
    office.ok("POST", f"/credits/{wrong['id']}/reverse", WHY, as_="approver")
    assert balance(office, 0) == (0, 0, 0)


def test_a_credit_is_taken_back_once(office: Office) -> None:
    path = f"/credits/{office.credit(0, 10)['id']}"
    first = office.ok("POST", f"{path}/reverse", WHY, as_="approver", key="reverse-0001")
    with office.unchanged():
        assert office.ok("POST", f"{path}/reverse", WHY, as_="approver", key="reverse-0001") == first
        other = {"reason": "另一个原因"}
        conflict = "idempotency_conflict"
        office.refused(409, conflict, "POST", f"{path}/reverse", other, as_="approver", key="reverse-0001")
        office.refused(409, "already_reversed", "POST", f"{path}/reverse", WHY, as_="secretary")
        office.refused(409, "credit_closed", "POST", f"{path}/approve", {}, as_="secretary")
        office.refused(409, "credit_closed", "POST", f"{path}/reject", WHY, as_="secretary")


def test_only_an_approved_credit_is_taken_back(office: Office) -> None:
    body = {"resident_id": office.people.residents[0].id, "points": 5, "activity": "扫雪", "reason": "参加"}
    path = f"/credits/{office.ok('POST', '/credits', body)['id']}"
    with office.unchanged():
        said = office.refused(409, "credit_not_approved", "POST", f"{path}/reverse", WHY, as_="approver")
        assert said["fields"] == {"state": "recorded"}
        office.ok("POST", f"{path}/reject", WHY, as_="approver")
        said = office.refused(409, "credit_not_approved", "POST", f"{path}/reverse", WHY, as_="approver")
        assert said["fields"] == {"state": "rejected"}
        office.refused(404, "credit_unknown", "POST", "/credits/nothing/reverse", WHY, as_="approver")


@pytest.mark.parametrize(
    "body", [{}, {"reason": "  "}, {"reason": 5}, {"reason": "x" * 501}, {"reason": "x", "points": 1}]
)
def test_a_credit_is_not_taken_back_without_a_reason(office: Office, body: dict[str, Any]) -> None:
    path = f"/credits/{office.credit(0, 10)['id']}/reverse"
    with office.unchanged():
        office.refused(422, "fields_invalid", "POST", path, body, as_="approver")


def test_a_credit_is_not_taken_back_without_a_key(office: Office) -> None:
    path = f"/credits/{office.credit(0, 10)['id']}/reverse"
    with office.unchanged():
        office.refused(400, "idempotency_key_required", "POST", path, WHY, as_="approver", key="")


def test_who_approves_takes_back_and_nobody_else(office: Office) -> None:
    path = f"/credits/{office.credit(0, 10)['id']}/reverse"
    with office.unchanged():
        for login in ("coordinator", "operator"):
            office.refused(403, "forbidden", "POST", path, WHY, as_=login)
    office.ok("POST", path, WHY, as_="secretary")


def test_a_credit_of_another_estate_is_not_taken_back(office: Office) -> None:
    office.ok("POST", "/estates", {"id": "shanshui", "parent_id": "qingyijiang", "name": "山水苑"}, as_="admin")
    staff = {"login": "far.away", "name": "远", "password": "a long password"}
    roles = [{"role": "approver", "organization_id": "shanshui"}]
    office.ok("POST", "/staff", staff | {"roles": roles}, as_="admin")
    made = office.credit(0, 10)
    with office.unchanged():
        refused_as(office, "far.away", made["id"], "forbidden")


def test_nobody_takes_back_a_credit_of_their_own(office: Office) -> None:
    own = office.people.residents[0].id
    staff = {"login": "wang.jianhua", "name": "王建华", "password": "a long password", "resident_id": own}
    roles = [{"role": "approver", "organization_id": "jiangpan"}]
    office.ok("POST", "/staff", staff | {"roles": roles}, as_="admin")
    made = office.credit(0, 10)
    with office.unchanged():
        refused_as(office, "wang.jianhua", made["id"], "reversal_own")


def refused_as(office: Office, login: str, credit_id: str, code: str) -> None:
    """A member of staff who is not of the demo is refused with 403."""
    answer = office.client.post("/api/v1/auth/token", json={"login": login, "password": "a long password"})
    headers = {"Authorization": f"Bearer {answer.get_json()['token']}"}
    path = f"/credits/{credit_id}/reverse"
    office.refused(403, code, "POST", path, WHY, as_=None, key="own-key-0001", headers=headers)

"""Approvals as a mass kind: a batch of any mixture does the same as one by one, in few statements."""

from __future__ import annotations

from collections.abc import Sequence

from office import Office
from sqlalchemy import event

from jishan_server.db import connect_for_writing
from jishan_server.kinds import kinds
from jishan_server.ledger.verify import verify
from jishan_server.volunteering.credits import DecideCredit, RecordCredit
from jishan_server.volunteering.rules import CreditRules
from jishan_server.writer import Operation, Outcome, drain


def staff(office: Office, login: str) -> str:
    return next(one.id for one in office.people.staff if one.login == login)


def record(office: Office, count: int) -> list[str]:
    """Record credits of 1, 2, 3, ... points for residents in turn; their ids."""
    ids = []
    for number in range(count):
        resident = office.people.residents[number % 6].id
        body = RecordCredit(staff(office, "coordinator"), resident, None, number + 1, "扫雪", "x")
        ids.append(office.parts.writer.call(Operation(f"record-{number}", "record_credit", body))["id"])
    return ids


def batch(office: Office, operations: Sequence[Operation]) -> tuple[list[Outcome], int]:
    """The outcomes of one transaction, and how many statements it took."""
    statements: list[str] = []
    with connect_for_writing(office.parts.engine) as connection:
        event.listen(connection, "before_cursor_execute", lambda *words: statements.append(words[2]))
        known = kinds(CreditRules(), office.parts.vending.rules)
        outcomes = drain(operations, connection, known, office.now)
        connection.commit()
    return outcomes, len(statements)


def codes(outcomes: Sequence[Outcome]) -> list[str]:
    return [one.error.code if one.error else one.value["state"] for one in outcomes]


def test_a_mixed_batch_is_judged_one_by_one(office: Office) -> None:
    first, second, third = record(office, 3)
    approver, other = staff(office, "approver"), staff(office, "secretary")
    operations = [
        Operation("op-1", "approve_credit", DecideCredit(approver, first)),
        Operation("op-1", "approve_credit", DecideCredit(approver, first)),
        Operation("op-1", "approve_credit", DecideCredit(approver, second)),
        Operation("op-2", "approve_credit", DecideCredit(other, first)),
        Operation("op-3", "approve_credit", DecideCredit(staff(office, "coordinator"), second)),
        Operation("op-4", "approve_credit", DecideCredit(approver, "nothing")),
        Operation("op-5", "reject_credit", DecideCredit(approver, third, "没有到场")),
        Operation("op-6", "approve_credit", DecideCredit(staff(office, "admin"), second)),
    ]
    outcomes, _ = batch(office, operations)
    assert codes(outcomes) == [
        "final",
        "final",
        "idempotency_conflict",
        "credit_closed",
        "forbidden",
        "credit_unknown",
        "rejected",
        "final",
    ]
    assert [one.replayed for one in outcomes[:2]] == [False, True]
    balances = office.balances()
    posted = [balances[f"res:{one.id}"][0] for one in office.people.residents]
    assert posted == [1, 2, 0, 0, 0, 0]
    with office.unchanged():
        again, _ = batch(office, operations)
    assert codes(again) == codes(outcomes)
    assert [one.value for one in again] == [one.value for one in outcomes]


def test_two_hundred_approvals_take_a_handful_of_statements(office: Office) -> None:
    ids = record(office, 200)
    approver = staff(office, "approver")
    outcomes, statements = batch(
        office, [Operation(f"op-{id}", "approve_credit", DecideCredit(approver, id)) for id in ids]
    )
    assert set(codes(outcomes)) == {"final"}
    assert statements <= 20
    assert sum(posted for posted, _ in office.balances().values()) == 200 * 201 // 2
    with office.parts.engine.connect() as connection:
        assert verify(connection, processes=1).ok

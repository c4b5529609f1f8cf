"""The ledger's rows of a credit carry the hash of the words that people wrote, and nothing of the words."""

from __future__ import annotations

from office import Office
from sqlalchemy import select

from jishan_server.ledger import notes, tables
from jishan_server.ledger.verify import Report, verify
from jishan_server.volunteering.tables import credits

REASON = "王奶奶腿脚不便，送饭到家"


def proved(office: Office) -> Report:
    with office.parts.engine.connect() as connection:
        return verify(connection)


def test_the_words_of_a_credit_are_bound_to_its_rows_and_forgotten_with_the_person(office: Office) -> None:
    resident = office.people.residents[0].id
    body = {"resident_id": resident, "points": 3, "activity": "助老", "reason": REASON}
    made = office.ok("POST", "/credits", body)
    office.ok("POST", f"/credits/{made['id']}/approve", {}, as_="approver")
    office.ok("POST", f"/credits/{made['id']}/reverse", {"reason": "记在了别人名下"}, as_="approver")
    t, c = tables.transfers.c, credits.c
    with office.parts.engine.connect() as connection:
        post, reversal = connection.execute(select(t.note).order_by(t.sequence)).scalars()
        assert notes.read(connection, [post, reversal]) == {post: f"助老\n{REASON}", reversal: "记在了别人名下"}
    assert proved(office).checked["notes"] == 2
    erased = {"reason": "asked", "cannot_be_undone": True}
    office.ok("POST", f"/residents/{resident}/erase", erased, as_="admin")
    with office.parts.engine.connect() as connection:
        kept = connection.execute(select(c.reason, c.reversal_reason, c.note).where(c.id == made["id"])).one()
        assert tuple(kept) == (None, None, post)
        assert notes.read(connection, [post, reversal]) == {}
    assert proved(office).ok
    assert office.ok("GET", f"/credits/{made['id']}")["reason"] is None

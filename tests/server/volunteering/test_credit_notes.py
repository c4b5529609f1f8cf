"""The ledger's rows of a credit carry the hash of the words that people wrote, and nothing of the words."""

from __future__ import annotations

from activity_office import Club
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


def test_the_words_of_a_session_and_of_a_correction_are_bound_too(office: Office) -> None:
    club = Club(office)
    session = club.session()
    club.at("2026-03-03T16:30")
    office._tokens.clear()
    for number in (0, 1):
        club.one(session, number)
    office.ok("POST", f"/sessions/{session}/credits", {"reason": REASON})
    office.ok("POST", f"/sessions/{session}/credits/approve", {}, as_="approver")
    first, _ = office.ok("GET", f"/credits?session_id={session}")["items"]
    wrong = {"minutes": 60, "reason": "三点就走了"}
    corrected = office.ok("POST", f"/credits/{first['id']}/correct", wrong, as_="approver")
    office.ok("POST", f"/credits/{corrected['id']}/approve", {}, as_="secretary")
    t = tables.transfers.c
    with office.parts.engine.connect() as connection:
        hashes = connection.execute(select(t.note).order_by(t.sequence)).scalars().all()
        words = notes.read(connection, hashes)
        salts = connection.execute(select(tables.notes.c.salt)).scalars().all()
    assert [words[hash] for hash in hashes] == [f"河道清理\n{REASON}"] * 2 + ["河道清理\n三点就走了"] * 2
    assert len(set(hashes)) == len(set(salts)) == 3
    assert proved(office).checked["notes"] == 3
    # Forgetting one person leaves the words of the others.
    erased = {"reason": "asked", "cannot_be_undone": True}
    office.ok("POST", f"/residents/{first['resident_id']}/erase", erased, as_="admin")
    with office.parts.engine.connect() as connection:
        assert list(notes.read(connection, hashes).values()) == [f"河道清理\n{REASON}"]
    assert proved(office).ok


def words_of_rows(office: Office) -> list[str | None]:
    """The words behind each row of the ledger, in order; None where a row has none."""
    with office.parts.engine.connect() as connection:
        hashes = connection.execute(select(tables.transfers.c.note).order_by(tables.transfers.c.sequence)).scalars()
        found = hashes.all()
        words = notes.read(connection, [one for one in found if one])
    return [words.get(one or "") for one in found]


def test_the_words_of_tasks_appeals_and_adjustments_are_bound_too(office: Office) -> None:
    resident = office.people.residents[0].id
    task = office.ok("POST", "/tasks", {"organization_id": "jiangpan", "title": "修路灯", "need": REASON})["id"]
    lead = {"resident_id": resident, "part": "lead", "minutes": 60}
    for event, people in (("assigned", []), ("led", [lead]), ("handled", [])):
        office.ok("POST", f"/tasks/{task}/steps", {"event": event, "people": people})
    office.ok("POST", f"/tasks/{task}/confirm", {}, as_="approver")

    (credit,) = office.ok("GET", f"/credits?resident_id={resident}")["items"]
    wanted = {"reason": "做了两个小时", "wanted_minutes": 120}
    appeal = office.ok("POST", f"/credits/{credit['id']}/appeals", wanted)
    answer = {"is_accepted": True, "reason": "属实"}
    office.ok("POST", f"/appeals/{appeal['id']}/decide", answer, as_="secretary")

    body = {"resident_id": resident, "points": 2, "reason_code": "goodwill", "reason": "机器吞分"}
    adjustment = office.ok("POST", "/adjustments", body, as_="admin")
    decision = {"decision": "approve", "reason": "看过机器"}
    office.ok("POST", f"/adjustments/{adjustment['id']}/decide", decision, as_="approver")

    again = "修路灯\n做了两个小时"
    assert words_of_rows(office) == [f"修路灯\n{REASON}", again, again, "机器吞分\n看过机器"]
    assert proved(office).ok
    office.ok("POST", f"/residents/{resident}/erase", {"reason": "asked", "cannot_be_undone": True}, as_="admin")
    assert words_of_rows(office)[:4] == [None] * 4
    assert proved(office).ok

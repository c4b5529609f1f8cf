"""Two records of one person that became one: everything of the old one is found at the one that stays."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent.parent))

from activity_office import Club
from office import Office

OLD, KEPT, OTHER = 0, 1, 2


def as_me(office: Office, number: int) -> dict[str, Any]:
    """What makes the office ask as a resident."""
    one = office.people.residents[number]
    body = {"member_number": one.member_number, "pin": one.pin}
    token = office.ok("POST", "/auth/resident-token", body, as_=None)["token"]
    return {"as_": None, "headers": {"Authorization": f"Bearer {token}"}}


def merge(office: Office) -> None:
    old, kept = (office.people.residents[number].id for number in (OLD, KEPT))
    body = {"into_id": kept, "reason": "同一个人登记了两次"}
    office.ok("POST", f"/residents/{old}/merge", body, as_="admin")


def at(club: Club, local: str) -> None:
    """Another day: the staff log in anew."""
    club.at(local)
    club.office._tokens.clear()


def lived(office: Office) -> dict[str, Any]:
    """A life of the old record: what it left behind."""
    club = Club(office)
    old = office.people.residents[OLD].id
    office.ok("POST", "/groups", {"organization_id": "jiangpan", "kind": "队", "name": "河道队"}, as_="admin")
    membership = {"organization_id": "jiangpan", "role": "队长", "from_day": "2026-01-01"}
    office.ok("POST", f"/residents/{old}/memberships", membership, as_="admin")
    both, alone = club.session("2026-03-03T14:00"), club.session("2026-03-04T14:00")
    to_come = club.session("2026-03-09T14:00")
    for number in (OLD, KEPT):
        office.ok("POST", f"/sessions/{both}/sign-ups", {"resident_id": office.people.residents[number].id})
    office.ok("POST", f"/sessions/{to_come}/sign-ups", {"resident_id": old})
    at(club, "2026-03-03T16:30")
    for number in (OLD, KEPT):
        club.one(both, number)
    at(club, "2026-03-04T16:30")
    club.one(alone, OLD)
    for session in (both, alone):
        office.ok("POST", f"/sessions/{session}/credits", {})
        office.ok("POST", f"/sessions/{session}/credits/approve", {}, as_="approver")
    rejected = office.ok("POST", "/credits", {"resident_id": old, "minutes": 60, "activity": "值夜", "reason": "登记"})
    office.ok("POST", f"/credits/{rejected['id']}/reject", {"reason": "没有看见"}, as_="approver")
    file = office.ok(
        "POST",
        f"/attachments?subject_type=resident&subject_id={old}",
        data=b"%PDF-1.7 proof",
        content_type="application/pdf",
    )
    claim = {"title": "旧事", "day": "2026-02-01", "minutes": 60, "attachment_ids": [file["id"]]}
    office.ok("POST", "/me/claims", claim, **as_me(office, OLD))
    report = office.ok("POST", "/me/reports", {"kind": "stuck", "words": "黑屏"}, **as_me(office, OLD))
    office.ok("POST", f"/reports/{report['number']}/decide", {"verdict": "refuse", "reason": "停电"}, as_="approver")
    return {"rejected": rejected["id"], "report": report["number"], "to_come": to_come}


def test_every_history_is_found_at_the_record_that_stays(both: Office) -> None:
    office = both
    left = lived(office)
    merge(office)
    kept = office.people.residents[KEPT].id
    mine = as_me(office, KEPT)
    assert [one["minutes"] for one in office.ok("GET", "/me/service-records", **mine)["items"]] == [120, 120, 120]
    assert len(office.ok("GET", "/me/attendances", **mine)["items"]) == 3
    signed = office.ok("GET", "/me/sign-ups", **mine)["items"]
    assert next(one["session_id"] for one in signed) == left["to_come"]
    assert len(signed) == 3
    assert sorted(one["state"] for one in office.ok("GET", "/me/credits", **mine)["items"]) == [
        "final",
        "final",
        "final",
        "rejected",
    ]
    assert len(office.ok("GET", f"/credits?resident_id={kept}")["items"]) == 4
    assert [one["title"] for one in office.ok("GET", "/me/claims", **mine)["items"]] == ["旧事"]
    assert [one["number"] for one in office.ok("GET", "/me/reports", **mine)["items"]] == [left["report"]]
    assert [one["role"] for one in office.ok("GET", f"/residents/{kept}/memberships")["items"]] == ["队长"]
    told = [one["kind"] for one in office.ok("GET", "/me/messages?limit=200", **mine)["items"]]
    assert told.count("credit_booked") == 3
    assert {"credit_rejected", "report_refused"} <= set(told)
    assert len(office.ok("GET", f"/residents/{kept}/consents", as_="admin")["items"]) == 2
    files = office.ok("GET", f"/attachments?subject_type=resident&subject_id={kept}", **mine)["items"]
    assert len(files) == 1
    records = office.ok("GET", "/me/export", **mine)["records"]
    assert len(records["service_records"]) == 3


def test_who_stays_acts_on_what_the_other_record_left(both: Office) -> None:
    office = both
    left = lived(office)
    merge(office)
    mine = as_me(office, KEPT)
    (signed, *_) = office.ok("GET", "/me/sign-ups", **mine)["items"]
    assert office.ok("POST", f"/me/sign-ups/{signed['id']}/cancel", **mine)["state"] == "cancelled"
    appeal = {"credit_id": left["rejected"], "reason": "我在"}
    assert office.ok("POST", "/me/appeals", appeal, **mine)["state"] == "filed"
    assert len(office.ok("GET", "/me/appeals", **mine)["items"]) == 1
    reason = {"reason": "没有停电"}
    assert office.ok("POST", f"/me/reports/{left['report']}/reopen", reason, **mine)["state"] == "open"
    message = next(one for one in office.ok("GET", "/me/messages", **mine)["items"] if one["kind"] == "credit_rejected")
    assert office.ok("POST", f"/me/messages/{message['number']}/dispute", {}, **mine)["disputed_at"]
    # Nobody else may.
    theirs = as_me(office, OTHER)
    office.refused(404, "credit_unknown", "POST", "/me/appeals", appeal, **theirs)
    office.refused(404, "message_unknown", "POST", f"/me/messages/{message['number']}/read", **theirs)


def test_one_person_keeps_the_better_of_two_places_and_the_other_goes_to_who_waits(both: Office) -> None:
    office = both
    club = Club(office)
    ids = [office.people.residents[number].id for number in (OLD, KEPT, OTHER)]
    first, second = club.session("2026-03-09T14:00", capacity=2), club.session("2026-03-10T14:00", capacity=1)
    third = club.session("2026-03-11T14:00", capacity=1)
    # Both have a place of the first, of the second only the old record, and of the third the other person.
    for session, order in ((first, (0, 1, 2)), (second, (0, 2, 1)), (third, (2, 0, 1))):
        for number in order:
            office.ok("POST", f"/sessions/{session}/sign-ups", {"resident_id": ids[number]})
    mine = office.ok("GET", f"/sessions/{third}/sign-ups")["items"][2]
    office.ok("POST", f"/sign-ups/{mine['id']}/cancel")
    merge(office)

    def places(session: str) -> list[tuple[str, str]]:
        items = office.ok("GET", f"/sessions/{session}/sign-ups")["items"]
        return [(one["resident_id"], one["state"]) for one in items]

    assert places(first) == [(ids[KEPT], "signed_up"), (ids[OTHER], "signed_up")]
    assert places(second) == [(ids[KEPT], "signed_up"), (ids[OTHER], "waiting")]
    assert places(third) == [(ids[OTHER], "signed_up"), (ids[KEPT], "waiting")]
    told = office.ok("GET", f"/residents/{ids[OTHER]}/messages")["items"]
    assert [one["kind"] for one in told] == ["sign_up_moved_up"]


def test_caps_count_what_the_other_record_has(office: Office) -> None:
    document = {
        "rate": {"points": 1, "minutes": 60},
        "rounding": {"step_minutes": 1, "minutes": "down", "points": "down"},
        "caps": [{"unit": "minutes", "per": "day", "most": 240}],
        "sources": ["a", "b", "c"],
        "notice_working_days": 0,
        "expiry": "never",
    }
    office.ok("POST", "/rules", {"document": document, "from_day": "2026-03-03", "note": "上限"}, as_="admin")
    office.tick(days=1)
    office._tokens.clear()
    old, kept = (office.people.residents[number].id for number in (OLD, KEPT))
    words = {"activity": "值夜", "reason": "登记"}
    assert office.ok("POST", "/credits", words | {"resident_id": old, "minutes": 180})["points"] == 3
    merge(office)
    assert office.ok("POST", "/credits", words | {"resident_id": kept, "minutes": 180})["points"] == 1


def test_the_yearly_report_counts_one_person_once(office: Office) -> None:
    for number in (OLD, KEPT):
        body = {"resident_id": office.people.residents[number].id, "minutes": 60, "activity": "扫雪", "reason": "登记"}
        made = office.ok("POST", "/credits", body)
        office.ok("POST", f"/credits/{made['id']}/approve", {}, as_="approver")

    def people(known_on: str) -> str:
        path = f"/reports/yearly.csv?organization_id=hongya&year=2026&known_on={known_on}"
        return str(office.send("GET", path, as_="admin").data.decode("utf-8-sig").splitlines()[-1].split(",")[3])

    assert people("2026-03-02") == "2"
    office.tick(days=1)
    office._tokens.clear()
    merge(office)
    assert (people("2026-03-02"), people("2026-03-03")) == ("2", "1")

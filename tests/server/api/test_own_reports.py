"""A resident on the phone: what became of their redemptions, a photo, a report, and nobody else's."""

from __future__ import annotations

from typing import Any

from link_world import World
from office import Office

from jishan_protocol.messages import OutcomeUnknown


def headers_of(office: Office, number: int) -> dict[str, str]:
    """The header of a resident who has logged in."""
    one = office.people.residents[number]
    body = {"member_number": one.member_number, "pin": one.pin}
    token = office.ok("POST", "/auth/resident-token", body, as_=None)["token"]
    return {"Authorization": f"Bearer {token}"}


def test_a_resident_reports_a_doubt_with_a_photo_and_sees_only_their_own(office: Office) -> None:
    office.credit(0, 10)
    world = World(office.parts.engine)
    world.now = office.now
    box = world.machine()
    id = box.vend()
    box.say(OutcomeUnknown(id, "restarted"))
    world.close()
    mine: dict[str, Any] = {"as_": None, "headers": headers_of(office, 0)}
    other: dict[str, Any] = {"as_": None, "headers": headers_of(office, 1)}
    resident = office.people.residents[0].id
    path = f"/attachments?subject_type=resident&subject_id={resident}"

    [seen] = office.ok("GET", "/me/redemptions", **mine)["items"]
    assert (seen["state"], seen["answer_by"], seen["report"]) == ("in_doubt", "2026-03-09", None)
    assert "3月9日前答复您" in seen["told_zh"]
    photo = office.send("POST", path, data=b"%PDF-1.7 x", content_type="application/pdf", **mine).get_json()
    body = {"kind": "not_out", "words": "没有出来", "redemption_id": id, "attachment_ids": [photo["id"]]}
    report = office.ok("POST", "/me/reports", body, **mine)
    assert [one["number"] for one in office.ok("GET", "/me/reports", **mine)["items"]] == [report["number"]]

    assert office.ok("GET", "/me/reports", **other)["items"] == []
    office.refused(404, "redemption_unknown", "POST", "/me/reports", body | {"attachment_ids": []}, **other)
    reopen = f"/me/reports/{report['number']}/reopen"
    office.refused(404, "report_unknown", "POST", reopen, {"reason": "x"}, **other)
    office.refused(403, "forbidden", "GET", f"/attachments/{photo['id']}", **other)
    assert office.ok("GET", path, **other)["items"] == []
    assert office.send("POST", path, data=b"%PDF-1.7 x", **other).status_code == 403
    assert office.send("GET", f"/attachments/{photo['id']}", **mine).data == b"%PDF-1.7 x"

    story = office.ok("GET", f"/reports/{report['number']}", as_="approver")
    assert story["evidence"]["redemption"]["id"] == id
    evidence = office.send("GET", f"/reports/{report['number']}/evidence", as_="operator").text
    assert resident not in evidence
    assert "没有出来" not in evidence

"""A small estate in which something has happened: what the pages of residents are looked at with."""

from __future__ import annotations

import re

from activity_office import Club
from link_world import World
from office import Office

from jishan_protocol.messages import OutcomeUnknown
from jishan_protocol.screen_codes import screen_code
from jishan_server.db import to_ms

OF_EVERYBODY = ("/machines", "/notice/jiangpan", "/c", "/c/123456789012345")
OF_RESIDENTS = (
    "/my",
    "/my/more",
    "/my/code",
    "/my/statement",
    "/my/explain",
    "/my/why-not",
    "/my/hours",
    "/my/appeals",
    "/my/certificates",
    "/my/activities",
    "/my/attendances",
    "/my/messages",
    "/my/preferences",
    "/my/machines",
    "/my/reports",
    "/my/reports/new",
    "/my/account",
    "/my/consent",
    "/my/accesses",
    "/my/sessions",
    "/my/close",
    "/my/closed",
)


def of_the_first_resident(office: Office) -> tuple[str, ...]:
    """Let the first resident have worked, signed up, redeemed, and waited for an answer; the pages that show it."""
    office.credit(0, 12)
    club = Club(office)
    session = club.session("2026-03-03T14:00", capacity=20)
    here = club.session("2026-03-02T12:30")
    mine = club.as_resident(0)
    office.ok("POST", "/me/sign-ups", {"session_id": session}, **mine)
    body = {"resident_id": office.people.residents[0].id, "minutes": 95, "activity": "河道清理", "reason": "三月"}
    done = office.ok("POST", "/credits", body)
    office.ok("POST", f"/credits/{done['id']}/approve", {}, as_="approver")
    refused = office.ok("POST", "/credits", body | {"minutes": 60, "activity": "楼道值守"})
    office.ok("POST", f"/credits/{refused['id']}/reject", {"reason": "名单上没有"}, as_="approver")
    office.ok("POST", "/me/appeals", {"credit_id": refused["id"], "reason": "我在"}, **mine)
    number = office.ok("POST", "/me/certificates", {}, **mine)["number"]
    world = World(office.parts.engine)
    world.now = office.now
    box = world.machine()
    box.beat()
    box.dispense(box.vend())
    unknown = box.vend(selection=14, points=5)
    box.say(OutcomeUnknown(unknown, "restarted"))
    office.ok("POST", "/me/reports", {"kind": "not_out", "redemption_id": unknown}, **mine)
    screen = f"/m/{box.id}/{screen_code(box.key, box.session.tag, to_ms(office.now) // 1000)}"
    world.close()
    return (
        f"/my/activities/{session}",
        f"/my/check/{here}",
        f"/my/credits/{done['id']}/appeal",
        f"/my/reports/new?redemption={unknown}",
        f"/c/{number}",
        screen,
        "/my/choose?selection=13",
    )


def short(address: str) -> str:
    """An address without ids, as the name of a picture."""
    return re.sub(r"[0-9a-z]{15,}", "x", address).strip("/").replace("/", "-").replace("?", "-")

"""A day at the desk: something waits of every kind, for the pictures of the desk's pages."""

from __future__ import annotations

from activity_office import Club
from lived_in import of_the_first_resident
from office import Office

KINDS = (
    "objections",
    "appeals",
    "adjustments",
    "claims",
    "disputes",
    "reports",
    "doubts",
    "anomalies",
    "leftovers",
    "uncredited",
    "consents",
)


def of_the_desk(office: Office) -> tuple[str, ...]:
    """Let things wait for the desk; its pages."""
    of_the_first_resident(office)
    people = office.people.residents
    club = Club(office)
    session = club.session("2026-03-02T12:10")
    activity = office.ok("GET", f"/sessions/{session}")["activity_id"]
    for one in people[:4]:
        office.ok("POST", f"/sessions/{session}/sign-ups", {"resident_id": one.id})
    office.ok("POST", f"/sessions/{session}/check-in", {"card": people[0].card})
    body = {"resident_id": people[1].id, "minutes": 90, "activity": "楼道值守", "reason": "三月"}
    waiting = office.ok("POST", "/credits", body)
    task = office.ok("POST", "/tasks", {"organization_id": "jiangpan", "title": "修路灯", "need": "3栋门口的灯不亮"})
    return (
        "/desk",
        "/desk/approve",
        f"/desk/credits/{waiting['id']}",
        "/desk/credits",
        "/desk/activities",
        "/desk/activities/new",
        f"/desk/activities/{activity}",
        f"/desk/sessions/{session}",
        f"/desk/sessions/{session}/code",
        f"/desk/sessions/{session}/credit",
        f"/desk/approve/sessions/{session}",
        "/desk/sheets",
        f"/desk/sheets/{session}",
        "/desk/people?q=w",
        "/desk/people/new",
        f"/desk/people/{people[0].id}?show=explain",
        f"/desk/people/{people[0].id}?show=why-not",
        "/desk/tasks",
        f"/desk/tasks/{task['id']}",
        "/desk/imports",
        "/desk/figures",
        "/desk/papers",
        *(f"/desk/to-do/{kind}" for kind in KINDS),
    )

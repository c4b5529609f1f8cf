"""The desk for its tests: staff at their windows, sessions to work on."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from office import Office
from reader import Pages

CLEANING = {
    "name_zh": "环境清洁",
    "name_en": "Cleaning",
    "category": "environment",
    "counts_as_service": True,
}


class Desk:
    """The demo's office with a session that ended an hour ago, and windows for those who work there."""

    def __init__(self, office: Office) -> None:
        self.office = office
        office.ok("PUT", "/activity-types/clean", CLEANING, as_="admin")

    def window(self, login: str) -> Pages:
        pages = Pages(self.office)
        pages.log_in_staff(login)
        return pages

    def secretary(self) -> Pages:
        """A window of the estate's secretary, who may record and approve."""
        role = {"role": "estate_secretary", "organization_id": "jiangpan"}
        body = {"login": "chief", "name": "陈主任", "password": "a-long-password", "roles": [role]}
        self.office.ok("POST", "/staff", body, as_="admin")
        pages = Pages(self.office)
        assert pages.send("/staff/login", login="chief", password="a-long-password").status_code == 303
        return pages

    def session(self, title: str = "楼道清洁", hours_from_now: float = 1) -> dict[str, Any]:
        """A published session of two hours that starts so many hours from now."""
        begin = self.office.now + timedelta(hours=hours_from_now)
        made = self.office.ok(
            "POST",
            "/activities",
            {
                "organization_id": "jiangpan",
                "title": title,
                "activity_type": "clean",
                "place": "3栋",
                "person_in_charge": "周敏",
                "risk_note": "地面湿滑",
            },
        )
        plan = {"starts_at": begin.isoformat(), "ends_at": (begin + timedelta(hours=2)).isoformat(), "reason": "补录"}
        (session,) = self.office.ok("POST", f"/activities/{made['id']}/sessions", plan)["sessions"]
        self.office.ok("POST", f"/activities/{made['id']}/publish", {"reason": "补录"})
        return dict(session)


def sent(pages: Pages, address: str, page: str | None = None, **fields: Any) -> str:
    """Send a form that is to be done, and give the page it leads to."""
    answer = pages.send(address, page, **fields)
    assert answer.status_code == 303, re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", answer.text))
    return pages.get(answer.headers["Location"])

"""An office with an activity: what the tests of activities and attendance share."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from office import Office

from jishan_server.kinds import TIMED
from jishan_server.volunteering.sessions import CLOSE
from jishan_server.writer import Operation

TYPE = "cleaning"


class Club:
    """One activity type and activities of the demo's estate; the office's clock stands at 2026-03-02 12:00 local."""

    def __init__(self, office: Office) -> None:
        self.office = office
        self.people = office.people.residents
        office.ok(
            "PUT",
            f"/activity-types/{TYPE}",
            {
                "name_zh": "环境清洁",
                "name_en": "Cleaning",
                "category": "environment",
                "counts_as_service": True,
                "longest_session_minutes": 300,
                "grace_minutes": 60,
            },
            as_="admin",
        )

    def activity(self, organization_id: str = "jiangpan", **more: Any) -> dict[str, Any]:
        """A draft."""
        body = {
            "organization_id": organization_id,
            "title": "河道清理",
            "activity_type": TYPE,
            "place": "青衣江边",
            "person_in_charge": "周敏",
        }
        made: dict[str, Any] = self.office.ok("POST", "/activities", body | more, as_="admin")
        return made

    def publish(self, activity_id: str, **body: Any) -> dict[str, Any]:
        done: dict[str, Any] = self.office.ok("POST", f"/activities/{activity_id}/publish", body, as_="admin")
        return done

    def plan(self, activity_id: str, start: str = "2026-03-03T14:00", hours: int = 2, **more: Any) -> dict[str, Any]:
        """One session; `start` is local."""
        made: dict[str, Any] = self.plans(activity_id, start, hours, **more)[0]
        return made

    def plans(self, activity_id: str, start: str, hours: int = 2, **more: Any) -> list[dict[str, Any]]:
        day, hour = start[:11], int(start[11:13])
        body = {"starts_at": f"{start}:00+08:00", "ends_at": f"{day}{hour + hours:02}:{start[14:16]}:00+08:00"}
        made = self.office.ok("POST", f"/activities/{activity_id}/sessions", body | more, as_="admin")
        found: list[dict[str, Any]] = made["sessions"]
        return found

    def session(self, start: str = "2026-03-03T14:00", hours: int = 2, **more: Any) -> str:
        """A session of a published activity."""
        activity = self.activity()
        self.publish(activity["id"])
        return str(self.plan(activity["id"], start, hours, **more)["id"])

    def at(self, local: str) -> None:
        """Let it be this local time."""
        self.office.now = datetime.fromisoformat(f"{local}:00+08:00").astimezone(UTC)

    def clock_turns(self) -> None:
        """What the server asks of itself every few seconds."""
        assert CLOSE in TIMED
        self.office.parts.writer.call(Operation(f"turn-{next(self.office.keys)}", CLOSE, None))

    def rows(self, session_id: str, *rows: dict[str, Any], **more: Any) -> dict[str, Any]:
        """Record many rows as the coordinator."""
        body = {"rows": list(rows)} | more
        answer: dict[str, Any] = self.office.ok("POST", f"/sessions/{session_id}/attendances", body)
        return answer

    def one(self, session_id: str, resident: int, **row: Any) -> dict[str, Any]:
        """Record one row that must be good."""
        answer = self.rows(session_id, {"resident_id": self.people[resident].id} | row)
        assert answer["problems"] == [], answer
        found: dict[str, Any] = (answer["saved"] or answer["already"])[0]
        return found

    def problem(self, session_id: str, row: dict[str, Any], **more: Any) -> tuple[str, str | None]:
        """Code and field of what is wrong with one row."""
        answer = self.rows(session_id, row, **more)
        assert answer["saved"] == answer["already"] == [], answer
        (found,) = answer["problems"]
        assert found["row"] == 1
        assert found["message_zh"].endswith("。")
        assert found["message_en"].endswith(".")
        return found["code"], found["field"]

    def as_resident(self, resident: int) -> dict[str, Any]:
        """What makes `Office.send` ask as a resident."""
        person = self.people[resident]
        body = {"member_number": person.member_number, "pin": person.pin}
        answer = self.office.client.post("/api/v1/auth/resident-token", json=body)
        assert answer.status_code == 201, answer.text
        return {"as_": None, "headers": {"Authorization": f"Bearer {answer.get_json()['token']}"}}

    def inbox(self, resident: int) -> list[str]:
        """The kinds of messages of a resident."""
        from sqlalchemy import select

        from jishan_server.people.message_tables import messages

        with self.office.parts.engine.connect() as connection:
            m = messages.c
            query = select(m.kind).where(m.resident_id == self.people[resident].id).order_by(m.number)
            return list(connection.scalars(query))

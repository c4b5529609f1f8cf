"""The end of a record that was merged, where people sign up: one person keeps one place of a session.

Two records of one person may both be signed up for a session to come. The survivor keeps the better of the two places,
the other is given back, and the first who waits gets it. Everything else of a merge stands in `people.merging`.
"""

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, RowMapping, select, update

from jishan_server.people import merging
from jishan_server.volunteering.activity_tables import sessions, sign_ups
from jishan_server.volunteering.signing_up import move_up
from jishan_server.writer import Operation

_u = sign_ups.c


def merge_residents(connection: Connection, operation: Operation, now: datetime, zone: ZoneInfo) -> dict[str, Any]:
    """`people.merging.merge_residents`, and one place of each session to come."""
    body: merging.MergeResidents = operation.body
    answer = merging.merge_residents(connection, operation, now, zone)
    # Of a session that only one of them was signed up for, the sign-up is the survivor's by now.
    stayed = select(_u.session_id).where(_u.resident_id == body.resident_id, _u.state != "cancelled")
    to_come = select(sessions.c.id).where(sessions.c.id.in_(stayed), sessions.c.starts_at > now)
    for session_id in connection.scalars(to_come.order_by(sessions.c.id).with_for_update()).all():
        _keep_one(connection, session_id, body, now)
        move_up(connection, session_id, now, zone)
    return answer


def _keep_one(connection: Connection, session_id: str, body: merging.MergeResidents, now: datetime) -> None:
    both = select(sign_ups).where(_u.session_id == session_id, _u.resident_id.in_([body.resident_id, body.into_id]))
    rows = {row["resident_id"]: row for row in connection.execute(both).mappings()}
    old, kept = rows[body.resident_id], rows[body.into_id]
    given_back = {"state": "cancelled", "cancelled_by": body.actor, "cancelled_at": now}
    if _standing(old) < _standing(kept):
        place = ("number", "state", "signed_up_by", "signed_up_at", "moved_up_at", "cancelled_by", "cancelled_at")
        # No two sign-ups of a session have one number, not even for a moment.
        _set(connection, old["id"], given_back | {"number": -old["number"]})
        _set(connection, kept["id"], {name: old[name] for name in place})
        given_back = {"number": kept["number"]}
    _set(connection, old["id"], given_back)


def _standing(row: RowMapping) -> tuple[int, int]:
    """The smaller, the better the place."""
    return ("signed_up", "waiting", "cancelled").index(row["state"]), row["number"]


def _set(connection: Connection, sign_up_id: str, values: dict[str, Any]) -> None:
    connection.execute(update(sign_ups).where(_u.id == sign_up_id).values(values))

"""What is late: work is entered, and approved, within 10 working days after it.

What was not even recorded is `attendance.uncredited`'s to say.
Source: Ministry of Civil Affairs Order 67, article 11.
"""

from collections.abc import Collection
from datetime import date, timedelta
from typing import Any

from sqlalchemy import Connection, select

from jishan_server.organizations.calendar import A_DAY, Calendar, calendar
from jishan_server.volunteering.credit_states import State
from jishan_server.volunteering.judging import DUE_WORKING_DAYS
from jishan_server.volunteering.tables import credits


def newest_overdue(days: Calendar, today: date) -> date:
    """The newest day whose work is overdue `today`."""
    day = today - timedelta(days=DUE_WORKING_DAYS + 1)
    while days.after(day, DUE_WORKING_DAYS) >= today:
        day -= A_DAY
    return day


def overdue(
    connection: Connection, estate_ids: Collection[str], today: date, after: list[str] | None, limit: int
) -> tuple[list[dict[str, Any]], tuple[str, str] | None]:
    """Recorded credits of these estates that should have been approved before today, oldest work first; and where the
    next page starts.
    """
    days = calendar(connection)
    c = credits.c
    query = select(c.id, c.estate_id, c.resident_id, c.activity, c.day, c.recorded_by)
    query = query.where(c.state == State.RECORDED, c.estate_id.in_(estate_ids))
    query = query.where(c.day <= newest_overdue(days, today).isoformat())
    if after is not None:
        day, id = after
        query = query.where((c.day > day) | ((c.day == day) & (c.id > id)))
    rows = connection.execute(query.order_by(c.day, c.id).limit(limit + 1)).mappings().all()
    shown = [
        {**row, "due_day": days.after(date.fromisoformat(row["day"]), DUE_WORKING_DAYS).isoformat()}
        for row in rows[:limit]
    ]
    return shown, (shown[-1]["day"], shown[-1]["id"]) if len(rows) > limit else None

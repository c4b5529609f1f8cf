"""Every change has its row in the audit log, and the log is only ever added to."""

from __future__ import annotations

import pytest
from office import Office
from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError

from jishan_server.audit import entries
from jishan_server.db import writing


def test_each_change_leaves_a_row_and_a_refusal_none(office: Office) -> None:
    made = office.ok("POST", "/residents", {"estate_id": "jiangpan", "name": "新人"})
    card = office.ok("POST", f"/residents/{made['id']}/cards", {"uid": "A1B2C3D4"})
    office.refused(409, "card_taken", "POST", f"/residents/{made['id']}/cards", {"uid": "A1B2C3D4"})
    office.ok("POST", f"/cards/{card['id']}/block", {"reason": "lost"})
    office.ok("PUT", f"/residents/{made['id']}/pin", {"pin": "4711"})
    office.ok("POST", f"/residents/{made['id']}/freeze", {"reason": "x"}, as_="approver")
    with office.parts.engine.connect() as connection:
        rows = connection.execute(
            select(entries.c.action, entries.c.actor, entries.c.details).where(entries.c.subject_id == made["id"])
        ).all()
    actions = [row.action for row in rows]
    assert actions == ["resident_created", "card_bound", "card_blocked", "pin_set", "resident_frozen"]
    staff = {one.login: one.id for one in office.people.staff}
    assert [row.actor for row in rows] == [staff["coordinator"]] * 4 + [staff["approver"]]
    assert "4711" not in "".join(row.details for row in rows)


def test_nobody_rewrites_the_audit_log(office: Office) -> None:
    for statement in (update(entries).values(actor="x"), delete(entries)):
        with pytest.raises(IntegrityError, match="append-only"), writing(office.parts.engine) as connection:
            connection.execute(statement)

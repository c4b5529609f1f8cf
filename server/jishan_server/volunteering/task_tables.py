"""Tasks: a need of the neighbourhood, who took part in which of the four parts, and each step that was taken."""

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
)

from jishan_server.db import MOVES, Instant, Serial, append_only, metadata

tasks = Table(
    "tasks",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("organization_id", String(40), ForeignKey("organizations.id"), nullable=False),
    Column("title", Text, nullable=False),
    Column("need", Text, nullable=False),
    Column("place", Text),
    # The local day by which it should be done, YYYY-MM-DD.
    Column("due_day", String(10)),
    Column("state", String(12), nullable=False),
    Column("made_by", String(64), nullable=False),
    # Who wrote down that it was done: the recorder of the credits that follow.
    Column("handled_by", String(64)),
    Column("handled_at", Instant),
    Column("confirmed_by", String(64)),
    Column("recorded_at", Instant, nullable=False),
    Column("changed_at", Instant, nullable=False),
    CheckConstraint("confirmed_by <> handled_by", name="two_people"),
    Index("ix_tasks_organization_id", "organization_id", "id"),
)

task_people = Table(
    "task_people",
    metadata,
    Column("task_id", String(40), ForeignKey("tasks.id"), nullable=False),
    Column("resident_id", String(40), ForeignKey("residents.id"), nullable=False, info={MOVES: True}),
    # lead, handle or assist
    Column("part", String(10), nullable=False),
    Column("minutes", Integer),
    # Paid for this hour by somebody: it is no volunteer service.
    Column("is_on_duty", Boolean, nullable=False),
    Column("credit_id", String(40), ForeignKey("credits.id")),
    PrimaryKeyConstraint("task_id", "resident_id"),
    Index("ix_task_people_resident_id", "resident_id"),
)

task_steps = Table(
    "task_steps",
    metadata,
    Column("number", Serial, primary_key=True, autoincrement=True),
    Column("task_id", String(40), ForeignKey("tasks.id"), nullable=False, index=True),
    Column("event", String(12), nullable=False),
    Column("state", String(12), nullable=False),
    Column("actor", String(64), nullable=False),
    Column("note", Text, nullable=False),
    Column("recorded_at", Instant, nullable=False),
)
append_only(task_steps)

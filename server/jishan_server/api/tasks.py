"""Tasks in four parts: a need is assigned, led, handled, assisted and confirmed."""

from typing import Any

from marshmallow import Schema, fields, validate

from jishan_server.api.asking import actor, change, parts
from jishan_server.api.blueprints import Blueprint
from jishan_server.api.paging import page, read_cursor
from jishan_server.api.schemas import MAX_NAME, MAX_TEXT, Paging, Strict, Text, WholeNumber, an_id, an_instant, page_of
from jishan_server.reading import reading
from jishan_server.volunteering import tasks as volunteering
from jishan_server.volunteering.rules import MAX_MINUTES
from jishan_server.volunteering.task_states import Event, Part, State

tasks = Blueprint("tasks", "Needs of the neighbourhood, in four parts")

STEPS = [event.value for event in Event if event is not Event.CONFIRMED]


class NewTask(Strict):
    organization_id = an_id(required=True)
    title = Text(MAX_NAME, required=True)
    need = Text(MAX_TEXT, required=True)
    place = Text(MAX_NAME, load_default=None, allow_none=True)
    due_day = fields.String(load_default=None, allow_none=True, metadata={"format": "date"})


class TaskPerson(Strict):
    resident_id = an_id(required=True)
    part = fields.String(required=True, validate=validate.OneOf([part.value for part in Part]))
    minutes = WholeNumber(load_default=None, allow_none=True, validate=validate.Range(1, MAX_MINUTES))
    is_on_duty = fields.Boolean(
        load_default=False, metadata={"description": "Paid for it: no volunteer service, no points."}
    )


class TaskStep(Strict):
    event = fields.String(required=True, validate=validate.OneOf(STEPS))
    note = Text(MAX_TEXT, least=0, load_default="")
    people = fields.List(
        fields.Nested(TaskPerson), load_default=list, validate=validate.Length(max=volunteering.MAX_PEOPLE)
    )


class TaskConfirmation(Strict):
    note = Text(MAX_TEXT, least=0, load_default="")


class TasksWanted(Paging):
    state = fields.String(load_default=None, validate=validate.OneOf([state.value for state in State]))
    overdue = fields.Boolean(load_default=False)


class Task(Schema):
    id = fields.String()
    organization_id = fields.String()
    title = fields.String()
    need = fields.String()
    place = fields.String(allow_none=True)
    due_day = fields.String(allow_none=True, metadata={"format": "date"})
    state = fields.String()
    made_by = fields.String()
    handled_by = fields.String(allow_none=True)
    handled_at = an_instant()
    confirmed_by = fields.String(allow_none=True)
    recorded_at = an_instant()
    changed_at = an_instant()


class TaskPersonView(Schema):
    resident_id = fields.String()
    part = fields.String()
    minutes = fields.Integer(allow_none=True)
    is_on_duty = fields.Boolean()
    credit_id = fields.String(allow_none=True)


class TaskStepView(Schema):
    event = fields.String()
    state = fields.String()
    actor = fields.String()
    note = fields.String()
    recorded_at = an_instant()


class TaskStory(Task):
    people = fields.List(fields.Nested(TaskPersonView))
    steps = fields.List(fields.Nested(TaskStepView))


@tasks.post("/tasks")
@tasks.takes(NewTask)
@tasks.answers(201, TaskStory)
def create_task(body: dict[str, Any]) -> dict[str, Any]:
    """Write a need down."""
    return change("make_task", volunteering.MakeTask(actor(), **body))


@tasks.get("/tasks")
@tasks.takes(TasksWanted, location="query")
@tasks.answers(200, page_of(Task))
def list_tasks(wanted: dict[str, Any]) -> dict[str, Any]:
    """Tasks in one's scope, newest first."""
    today = parts().clock().astimezone(parts().vending.rules.zone).date().isoformat()
    return page(
        *volunteering.page(
            reading(),
            actor(),
            state=wanted["state"],
            overdue_on=today if wanted["overdue"] else None,
            after=read_cursor(wanted["cursor"]),
            limit=wanted["limit"],
        )
    )


@tasks.get("/tasks/<id:task_id>")
@tasks.answers(200, TaskStory)
def get_task(task_id: str) -> dict[str, Any]:
    """One task with who took part and every step."""
    return volunteering.task(reading(), actor(), task_id)


@tasks.post("/tasks/<id:task_id>/steps")
@tasks.takes(TaskStep)
@tasks.answers(200, TaskStory)
def step_task(body: dict[str, Any], task_id: str) -> dict[str, Any]:
    """Assign it, take the lead, assist, say that it is done, send it back or cancel it."""
    people = tuple(volunteering.Participant(**one | {"part": Part(one["part"])}) for one in body["people"])
    step = volunteering.StepTask(actor(), task_id, Event(body["event"]), body["note"], people)
    return change("step_task", step, key_required=True)


@tasks.post("/tasks/<id:task_id>/confirm")
@tasks.takes(TaskConfirmation)
@tasks.answers(200, TaskStory)
def confirm_task(body: dict[str, str], task_id: str) -> dict[str, Any]:
    """Confirm that it is done: those who led and assisted are credited."""
    return change("confirm_task", volunteering.ConfirmTask(actor(), task_id, body["note"]), key_required=True)

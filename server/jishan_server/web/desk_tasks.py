"""Needs of the neighbourhood in four parts: assigned, led, handled, assisted; and confirmed by somebody else."""

from typing import Any, Final

from flask import render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from jishan_server.api.asking import actor, change
from jishan_server.api.paging import page, read_cursor
from jishan_server.api.schemas import MAX_NAME
from jishan_server.errors import DomainError
from jishan_server.organizations.roles import Permission
from jishan_server.reading import reading
from jishan_server.volunteering import tasks as volunteering
from jishan_server.volunteering.rules import MAX_MINUTES
from jishan_server.volunteering.task_states import TRANSITIONS, Event, Part, State
from jishan_server.web.desk_ground import ON_A_PAGE, can, day, desk, nodes, people, said, typed, whole, words
from jishan_server.web.desk_people import found_people
from jishan_server.web.ground import done, for_staff, today

NAMED: Final = {Event.LED: Part.LEAD, Event.ASSISTED: Part.ASSIST}
"""Steps that name one person, and their part."""


@desk.get("/tasks")
@for_staff
def tasks() -> ResponseReturnValue:
    """Tasks in one's scope, newest first."""
    return _tasks()


@desk.post("/tasks")
@for_staff
def make_task() -> ResponseReturnValue:
    """Write a need down."""
    try:
        body = volunteering.MakeTask(
            actor(),
            request.form.get("organization_id", ""),
            words("title", _("什么事"), most=MAX_NAME),
            words("need", _("具体情况")),
            words("place", _("地点"), most=MAX_NAME, least=0) or None,
            day("due_day", _("最迟哪天")),
        )
        made = change("make_task", body)
    except DomainError as error:
        return _tasks(error)
    return done(_("已记下。"), ".task", task_id=made["id"])


def _tasks(error: DomainError | None = None) -> tuple[str, int]:
    state = request.args.get("state")
    found = page(
        *volunteering.page(
            reading(),
            actor(),
            state=state if state in set(State) else None,
            overdue_on=today().isoformat() if request.args.get("overdue") else None,
            after=read_cursor(None if error else request.args.get("cursor")),
            limit=ON_A_PAGE,
        )
    )
    shown = render_template(
        "desk/tasks.html",
        **found,
        state=state,
        states=state_words(),
        places=[(one["id"], one["name"]) for one in nodes(None)] if can(Permission.TASK_WRITE) else [],
        today=today().isoformat(),
        typed=typed(),
        error=error and said(error),
    )
    return shown, error.status if error else 200


@desk.get("/tasks/<id:task_id>")
@for_staff
def task(task_id: str) -> ResponseReturnValue:
    """One task: who has which part, what was done, what comes next."""
    return _task(task_id)


@desk.post("/tasks/<id:task_id>")
@for_staff
def step_task(task_id: str) -> ResponseReturnValue:
    """Take a step, or confirm."""
    wanted = request.form.get("event", "")
    try:
        note = words("note", _("说明"), least=0)
        if wanted == Event.CONFIRMED:
            change("confirm_task", volunteering.ConfirmTask(actor(), task_id, note), key_required=True)
            return done(_("已确认办结，领办和协办的人记了积分。"), ".task", task_id=task_id)
        if wanted not in set(Event):
            raise DomainError("fields_invalid", names=_("步骤"))
        found = volunteering.task(reading(), actor(), task_id)
        event = Event(wanted)
        named = _named(found, event)
        if isinstance(named, list):
            return _task(task_id, candidates=named, event=event)
        change("step_task", volunteering.StepTask(actor(), task_id, event, note, named), key_required=True)
    except DomainError as error:
        return _task(task_id, error)
    return done(_("已保存。"), ".task", task_id=task_id)


def _named(task: dict[str, Any], event: Event) -> tuple[volunteering.Participant, ...] | list[dict[str, Any]]:
    """The people of a step; a list of whom the words may mean, where that is not one person."""
    if event is Event.HANDLED:
        return tuple(
            volunteering.Participant(
                one["resident_id"],
                Part(one["part"]),
                whole(f"minutes-{one['resident_id']}", _("分钟"), 1, MAX_MINUTES),
                f"duty-{one['resident_id']}" in request.form,
            )
            for one in task["people"]
        )
    if event not in NAMED:
        return ()
    chosen = request.form.get("resident_id")
    if not chosen:
        found = found_people(words("who", _("姓名或号码"), most=40), task["organization_id"])
        if len(found) != 1:
            return found
        chosen = found[0]["id"]
    minutes = whole("minutes", _("分钟"), 1, MAX_MINUTES)
    return (volunteering.Participant(chosen, NAMED[event], minutes, "duty" in request.form),)


def _task(
    task_id: str,
    error: DomainError | None = None,
    candidates: list[dict[str, Any]] | None = None,
    event: Event | None = None,
) -> tuple[str, int]:
    found = volunteering.task(reading(), actor(), task_id)
    steps = [event for state, event in TRANSITIONS if state == found["state"]]
    judging = {Event.SENT_BACK, Event.CONFIRMED}
    shown = render_template(
        "desk/task.html",
        task=found,
        people=people(one["resident_id"] for one in found["people"]),
        steps=[one for one in steps if can(Permission.TASK_CONFIRM if one in judging else Permission.TASK_WRITE)],
        named=NAMED,
        event_words=event_words(),
        part_words={"lead": _("领办"), "handle": _("承办"), "assist": _("协办")},
        states=state_words(),
        candidates=candidates,
        event=event,
        typed=typed(),
        error=error and said(error),
    )
    return shown, error.status if error else 422 if candidates is not None else 200


def state_words() -> dict[str, str]:
    """What the states of a task are called."""
    return {
        "need": _("刚提出"),
        "assigned": _("已交办"),
        "led": _("有人领办"),
        "handled": _("办好了，等确认"),
        "confirmed": _("已办结"),
        "cancelled": _("已取消"),
    }


def event_words() -> dict[str, str]:
    """What the steps of a task are called."""
    return {
        "assigned": _("交办"),
        "led": _("领办"),
        "assisted": _("协办"),
        "handled": _("办好了"),
        "sent_back": _("没办好，退回"),
        "confirmed": _("确认办结"),
        "cancelled": _("取消"),
    }

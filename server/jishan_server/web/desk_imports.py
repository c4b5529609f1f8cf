"""Files of people, nodes, activities, attendance and hours: dropped here, previewed, booked, and taken back.

The good rows are booked piece by piece; the page says how far it is. What is wrong with a row stands in the table, and
comes back as a file with the reason behind each row.
"""

from typing import Any

from flask import Response, render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from jishan_server.api.asking import actor, change, operation_id, parts
from jishan_server.api.imports import ONE_AT_A_TIME, file_answer
from jishan_server.api.paging import page, read_cursor
from jishan_server.errors import DomainError
from jishan_server.organizations.roles import Permission, scope
from jishan_server.reading import reading
from jishan_server.sheets.durations import HALF_DAY_MINUTES
from jishan_server.volunteering.importing import jobs, keeping, sending, showing
from jishan_server.volunteering.importing.kinds import KINDS
from jishan_server.web.desk_ground import ON_A_PAGE, can, desk, in_words, nodes, said, typed, whole, words
from jishan_server.web.ground import done, for_staff, language, today


@desk.get("/imports")
@for_staff
def imports() -> ResponseReturnValue:
    """Send a file; the imports in one's scope, newest first."""
    return _imports()


@desk.post("/imports")
@for_staff
def send_import() -> ResponseReturnValue:
    """Read a file: its preview."""
    sent = request.files.get("file")
    kind, organization_id = request.form.get("kind", ""), request.form.get("organization_id", "")
    id = operation_id()
    try:
        keeping.may_send(reading(), actor(), kind, organization_id)
        if sent is None or not sent.filename:
            raise DomainError("sheet_empty")
        year = whole("year", _("年份"), 2000, 2100) or today().year
        file = sending.SentFile(
            kind, organization_id, sent.filename[: sending.MAX_NAME], sent.read(), year, HALF_DAY_MINUTES
        )
        if not ONE_AT_A_TIME.acquire(blocking=False):
            raise DomainError("import_busy")
        try:
            sending.send(
                reading(),
                parts().writer.call,
                actor(),
                id,
                file,
                parts().hashing,
                parts().credit_rules,
                parts().clock(),
            )
        finally:
            ONE_AT_A_TIME.release()
    except DomainError as error:
        return _imports(error)
    return done(_("文件读好了，请看一遍再导入。"), ".import_job", import_id=id)


def _imports(error: DomainError | None = None) -> tuple[str, int]:
    after = read_cursor(None if error else request.args.get("cursor"))
    found = page(*showing.page(reading(), actor(), after, ON_A_PAGE))
    shown = render_template(
        "desk/imports.html",
        **found,
        kinds=[(name, kind_words()[name]) for name, kind in KINDS.items() if can(kind.permission)],
        kind_names=kind_words(),
        places=[(one["id"], one["name"]) for one in nodes(None)],
        states=state_words(),
        year=today().year,
        typed=typed(),
        error=error and said(error),
    )
    return shown, error.status if error else 200


@desk.get("/imports/<id:import_id>")
@for_staff
def import_job(import_id: str) -> ResponseReturnValue:
    """One import: its preview, how far it is, and what is wrong with which row."""
    return _import(import_id)


@desk.post("/imports/<id:import_id>")
@for_staff
def work_import(import_id: str) -> ResponseReturnValue:
    """Book it, take it back, or say anew what its columns mean."""
    try:
        match request.form.get("do"):
            case "book":
                started = change("start_import", jobs.StartImport(actor(), import_id), key_required=True)
                jobs.carry_on(parts().writer, actor(), import_id, started["next"])
                told = _("开始导入了，可以离开这一页，它会继续。")
            case "undo":
                undoing = jobs.UndoImport(actor(), import_id, words("reason", _("原因")))
                started = change("undo_import", undoing, key_required=True)
                jobs.carry_on(parts().writer, actor(), import_id, started["next"], is_undo=True)
                told = _("开始撤回了。")
            case "map":
                _map(import_id)
                told = _("已按新的列重新读了一遍。")
            case _:
                raise DomainError("fields_invalid", names=_("步骤"))
    except DomainError as error:
        return _import(import_id, error)
    return done(told, ".import_job", import_id=import_id)


def _map(import_id: str) -> None:
    found = showing.view(reading(), actor(), import_id)
    mapping: dict[str, str | None] = {
        column["name"]: request.form.get(f"column-{column['letter']}") or None for column in found["columns"]
    }
    sending.remap(
        reading(),
        parts().writer.call,
        actor(),
        import_id,
        operation_id(),
        mapping,
        parts().hashing,
        parts().credit_rules,
        parts().clock(),
    )


def _import(import_id: str, error: DomainError | None = None) -> tuple[str, int]:
    reading().rollback()
    found = showing.view(reading(), actor(), import_id)
    after = read_cursor(None if error else request.args.get("cursor")) or 0
    problems = page(*showing.problems(reading(), actor(), import_id, after, ON_A_PAGE))
    kind = KINDS[found["kind"]]
    shown = render_template(
        "desk/import.html",
        job=found,
        problems=problems["items"],
        next_cursor=problems["next_cursor"],
        kind=kind_words()[found["kind"]],
        fields=[("", _("不导入"))] + [(field.name, in_words(field.zh, field.en)) for field in kind.fields],
        states=state_words(),
        is_moving=found["state"] in ("booking", "undoing"),
        needs_second=kind.approval is not None,
        may_book=can(kind.approval or kind.permission) and not (kind.approval and found["sent_by"] == actor()),
        may_undo=kind.undo is not None and can(kind.undo_permission),
        in_words=in_words,
        typed=typed(),
        error=error and said(error),
    )
    return shown, error.status if error else 200


@desk.get("/imports/<id:import_id>/state.json")
@for_staff
def import_state(import_id: str) -> ResponseReturnValue:
    """How far it is, for the page to renew itself."""
    found = showing.view(reading(), actor(), import_id)
    return {"state": found["state"], "done": found["pieces_done"], "pieces": found["pieces"]}


@desk.get("/imports/<id:import_id>/errors")
@for_staff
def import_errors(import_id: str) -> Response:
    """The refused rows as they were sent, with the reason behind each."""
    name, format, content = showing.error_file(reading(), actor(), import_id, parts().hashing, language())
    return file_answer(name, format, content)


@desk.get("/imports/templates/<id:kind>.xlsx")
@for_staff
def import_template(kind: str) -> Response:
    """An empty file of a kind, with an example row."""
    scope(reading(), actor(), Permission.IMPORT)
    return file_answer(f"{kind}.xlsx", "xlsx", showing.template(kind, "xlsx"))


def kind_words() -> dict[str, Any]:
    """What may be imported."""
    return {
        "people": _("人员"),
        "organizations": _("组织"),
        "activities": _("活动"),
        "attendance": _("签到"),
        "hours": _("以前的时长"),
    }


def state_words() -> dict[str, str]:
    """What the states of an import are called."""
    return {
        "reading": _("正在读"),
        "previewed": _("等导入"),
        "booking": _("正在导入"),
        "booked": _("已导入"),
        "undoing": _("正在撤回"),
        "undone": _("已撤回"),
    }

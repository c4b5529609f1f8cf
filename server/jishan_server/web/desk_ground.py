"""What the pages of the desk share: what one may do, the names behind ids, what was typed, and where forms lead.

What one may not do is not shown; that it is not done, the use cases see to. Ids never stand on a page where a name can.
"""

from collections.abc import Iterable, Mapping
from datetime import date, datetime, time
from typing import Any, Final

from flask import g, request
from marshmallow import ValidationError, fields

from jishan_server.api import refusals
from jishan_server.api.asking import actor, parts
from jishan_server.api.schemas import MAX_TEXT, Day, Text
from jishan_server.errors import DomainError
from jishan_server.organizations import tree
from jishan_server.organizations.roles import Permission
from jishan_server.people import staff
from jishan_server.reading import reading
from jishan_server.volunteering.signing_up import shown_people
from jishan_server.web.ground import language, pages, zone

desk = pages("desk", "/desk", is_staff=True)

ON_A_PAGE: Final = 50
MAX_ESTATES: Final = 500
"""As many as a list to choose from may have; a county has some ninety."""


FILES: Final = {
    "pages_desk.send_import": 21 * 1024 * 1024,
    "pages_desk.sheet_photo": 6 * 1024 * 1024,
}
"""Forms that bring a file, and the most bytes of each: the file, and the form around it."""


@desk.before_app_request
def _room_for_files() -> None:
    # Before the form is read, which is when its guard is checked.
    if (most := FILES.get(request.endpoint or "")) is not None:
        request.max_content_length = most


@desk.context_processor
def _context() -> dict[str, Any]:
    return {"can": can, "P": Permission, "node_name": node_name, "staff_name": staff_name, "local": local}


def can(*permissions: Permission) -> bool:
    """Whether the one who looks holds any of these permissions somewhere."""
    if "desk_permissions" not in g:
        g.desk_permissions = frozenset(staff.view(reading(), actor())["permissions"])
    return any(permission.value in g.desk_permissions for permission in permissions)


def nodes(level: str | None = tree.ESTATE) -> list[dict[str, Any]]:
    """The nodes of a level (None: all) that the one who looks may see, by name."""
    found, _further = tree.estates(reading(), actor(), level, limit=MAX_ESTATES)
    return sorted(found, key=lambda one: str(one["name"]))


def node_name(id: str | None) -> str:
    """A node's name; a dash for none."""
    if id is None:
        return "—"
    known: dict[str, str] = g.setdefault("desk_nodes", {})
    if id not in known:
        known[id] = tree.organization(reading(), id)["name"]
    return known[id]


def staff_name(id: str | None) -> str:
    """The name of a member of staff; what is nobody's is the system's, and a resident's own stays unnamed."""
    if id is None:
        return "—"
    known: dict[str, str] = g.setdefault("desk_staff", {})
    if id not in known:
        try:
            known[id] = staff.view(reading(), id)["name"]
        except DomainError:
            known[id] = "—"
    return known[id]


def people(ids: Iterable[str | None]) -> dict[str, dict[str, Any]]:
    """Name and member number of residents, as the one who looks may see them, by id."""
    wanted = {id for id in ids if id is not None}
    return shown_people(reading(), actor(), wanted) if wanted else {}


def in_words(zh: str, en: str) -> str:
    """Of two texts the one of this page's language."""
    return en if language() == "en" else zh


def words(name: str, label: str, *, most: int = MAX_TEXT, least: int = 1) -> str:
    """A line of text from the form; refusal: fields_invalid, naming it by its label."""
    return str(_read(Text(most, least), name, label) or "")


def whole(name: str, label: str, least: int, most: int) -> int | None:
    """A whole number from the form, None for nothing; refusal: fields_invalid."""
    text = request.form.get(name, "").strip()
    if not text:
        return None
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if not least <= number <= most:
        raise DomainError("fields_invalid", names=label)
    return number


def day(name: str, label: str) -> str | None:
    """A day from the form as YYYY-MM-DD, None for nothing; refusal: fields_invalid."""
    return None if not request.form.get(name) else str(_read(Day(), name, label))


def moment(on: str, clock: str, label: str) -> datetime:
    """A local day and time of day from two fields of the form; refusal: fields_invalid."""
    try:
        begin, of_day = date.fromisoformat(request.form.get(on, "")), time.fromisoformat(request.form.get(clock, ""))
    except ValueError:
        raise DomainError("fields_invalid", names=label) from None
    return datetime.combine(begin, of_day.replace(tzinfo=None), zone())


def local(value: str, form: str) -> str:
    """An instant of the API in the scheme's zone, for the value of a field: `%Y-%m-%d`, `%H:%M`."""
    return datetime.fromisoformat(value).astimezone(zone()).strftime(form)


def said(error: DomainError) -> str:
    """A refusal in words, to stand at the form again; it is counted like every other."""
    refusals.note(error)
    parts().metrics.refusals.labels(error.code).inc()
    return error.text(language())


def typed() -> Mapping[str, str]:
    """What was typed, to stand in the form again."""
    return request.form


def _read(field: fields.Field[Any], name: str, label: str) -> Any:
    try:
        return field.deserialize(request.form.get(name, ""))
    except ValidationError:
        raise DomainError("fields_invalid", names=label) from None

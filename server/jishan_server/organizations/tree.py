"""The region tree: making, renaming and moving its nodes, many at once too, and looking at them, on any day.

Levels are named freely (county, street, grid, building group, ...); only `estate` means something: an estate is where
residents belong, comes with the ledger's system accounts, stays an estate, and never stands inside another one. A node
may carry the `code` that other systems know it by, unique below its root.
A move keeps its history: `organization_moves` says who stood below whom on which day, local to the scheme.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, RowMapping, bindparam, insert, literal, select, update

from jishan_server import audit
from jishan_server.errors import DomainError
from jishan_server.ids import derived_id
from jishan_server.instants import iso
from jishan_server.ledger.model import estate_accounts
from jishan_server.ledger.store import open_accounts
from jishan_server.organizations.calendar import parse_day
from jishan_server.organizations.roles import Permission, permit, scope
from jishan_server.organizations.tables import organization_moves, organizations
from jishan_server.writer import Operation

ESTATE: Final = "estate"
MAX_CODE: Final = 80
MAX_LEVEL: Final = 40
MAX_NODE_NAME: Final = 200
"""What the columns hold."""

_Row = RowMapping


class Node(NamedTuple):
    """A node of the tree as it is now (`parent_id`: on the day that was asked for)."""

    id: str
    parent_id: str | None
    level: str
    name: str
    code: str | None


@dataclass(frozen=True, slots=True)
class CreateOrganization:
    """A node below `parent_id` (None only for the root, which `init` makes); without `id` it gets one."""

    actor: str
    parent_id: str | None
    level: str
    name: str
    id: str | None = None
    code: str | None = None


@dataclass(frozen=True, slots=True)
class ChangeOrganization:
    """What is None stays as it is."""

    actor: str
    organization_id: str
    name: str | None = None
    level: str | None = None
    code: str | None = None


@dataclass(frozen=True, slots=True)
class MoveOrganization:
    """Put a node, with all below it, below another one, from `day` on (YYYY-MM-DD; None is today)."""

    actor: str
    organization_id: str
    parent_id: str
    reason: str
    day: str | None = None


@dataclass(frozen=True, slots=True)
class NewNode:
    """A node as another system knows it; without `parent_code` it stands right below the node of the whole list."""

    code: str
    name: str
    level: str
    parent_code: str | None = None


@dataclass(frozen=True, slots=True)
class CreateOrganizations:
    """Many nodes below `under_id`, in any order; those whose code is there already are kept, and renamed if need be."""

    actor: str
    under_id: str
    nodes: tuple[NewNode, ...]


class Problem(NamedTuple):
    """Why a row (counted from 0) is left out: a code of `errors.CODES` with its fields."""

    row: int
    code: str
    fields: Mapping[str, str]


class Plan(NamedTuple):
    """What a list of nodes would do: `new` with parents before children."""

    new: tuple[NewNode, ...]
    renamed: tuple[NewNode, ...]
    unchanged: int
    problems: tuple[Problem, ...]


def create_organization(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Make a node of the tree; for an estate also its system accounts.

    Refusals: estate_unknown, forbidden, estate_exists, code_taken, estate_inside_estate.
    """
    body: CreateOrganization = operation.body
    above = [] if body.parent_id is None else path(connection, body.parent_id)
    permit(connection, body.actor, Permission.ESTATE_WRITE, body.parent_id)
    id = body.id or derived_id(operation.id, "organization")
    if connection.scalar(select(organizations.c.id).where(organizations.c.id == id)) is not None:
        raise DomainError("estate_exists", id=id)
    if body.level == ESTATE and any(node.level == ESTATE for node in above):
        raise DomainError("estate_inside_estate")
    root_id = above[0].id if above else id
    _check_code(connection, root_id, body.code)
    connection.execute(
        insert(organizations).values(
            id=id,
            parent_id=body.parent_id,
            root_id=root_id,
            level=body.level,
            name=body.name,
            code=body.code,
            created_at=now,
        )
    )
    if body.level == ESTATE:
        open_accounts(connection, estate_accounts(id), now)
    details = {"level": body.level, "parent_id": body.parent_id}
    _note(connection, operation, now, "organization_created", id, details)
    return organization(connection, id)


def change_organization(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Give a node another name, level or code. Refusals: estate_unknown, forbidden, level_fixed, code_taken."""
    body: ChangeOrganization = operation.body
    found = organization(connection, body.organization_id)
    permit(connection, body.actor, Permission.ESTATE_WRITE, body.organization_id)
    wanted = {"name": body.name, "level": body.level, "code": body.code}
    changed = {name: value for name, value in wanted.items() if value is not None and value != found[name]}
    if "level" in changed and ESTATE in (changed["level"], found["level"]):
        raise DomainError("level_fixed", level=found["level"])
    if not changed:
        return found
    _check_code(connection, path(connection, body.organization_id)[0].id, changed.get("code"))
    connection.execute(update(organizations).where(organizations.c.id == body.organization_id).values(changed))
    details = {name: [found[name], value] for name, value in changed.items()}
    _note(connection, operation, now, "organization_changed", body.organization_id, details)
    return organization(connection, body.organization_id)


def move_organization(connection: Connection, operation: Operation, now: datetime, zone: ZoneInfo) -> dict[str, Any]:
    """Put a node below another one, from today or an earlier day on; accounts, people and roles stay with it.

    Refusals: estate_unknown, forbidden, organization_root, day_invalid, move_day_invalid, organization_there_already,
    organization_circle, estate_inside_estate.
    """
    body: MoveOrganization = operation.body
    id, parent_id = body.organization_id, body.parent_id
    node, above = path(connection, id)[-1], path(connection, parent_id)
    if node.parent_id is None or above[0] != path(connection, id)[0]:
        permit(connection, body.actor, Permission.ESTATE_WRITE, id)
        raise DomainError("organization_root")
    permit(connection, body.actor, Permission.ESTATE_WRITE, node.parent_id)
    permit(connection, body.actor, Permission.ESTATE_WRITE, parent_id)
    today = now.astimezone(zone).date()
    day = today if body.day is None else parse_day(body.day)
    moves = _moves(connection)
    last = max((move.day for move in moves.get(id, ())), default="")
    if day > today or day.isoformat() < last:
        raise DomainError("move_day_invalid", last=last or "-", today=today.isoformat())
    if parent_id == node.parent_id:
        raise DomainError("organization_there_already")
    nodes = _nodes(connection)
    # The node must not come to stand below itself today, nor on any day since the move was.
    since = {move.day for of_node in moves.values() for move in of_node if move.day > day.isoformat()}
    if any(id in _above(_parents(nodes, moves, one), parent_id) for one in {day.isoformat()} | since):
        raise DomainError("organization_circle")
    has_estate = any(nodes[one].level == ESTATE for one in below(connection, id))
    if has_estate and any(one.level == ESTATE for one in above):
        raise DomainError("estate_inside_estate")
    connection.execute(update(organizations).where(organizations.c.id == id).values(parent_id=parent_id))
    connection.execute(
        insert(organization_moves).values(
            organization_id=id,
            from_parent_id=node.parent_id,
            to_parent_id=parent_id,
            day=day.isoformat(),
            reason=body.reason,
            moved_by=body.actor,
            recorded_at=now,
        )
    )
    details = {"from": node.parent_id, "to": parent_id, "day": day.isoformat()}
    _note(connection, operation, now, "organization_moved", id, details)
    return organization(connection, id)


def plan(connection: Connection, under_id: str, rows: Sequence[NewNode]) -> Plan:
    """What `create_many` would do with `rows`, in three statements for any number. Refusal: estate_unknown.

    A row is left out, with its reason, if it lacks a name, level or code; if its code came before in the list, or is
    known elsewhere in the tree or as another level; if its parent is not there, left out itself, or below it; or if it
    is an estate inside an estate. Nothing is ever moved.
    """
    above = path(connection, under_id)
    nodes = _nodes(connection)
    inside = below(connection, under_id)
    known = {node.code: node for node in nodes.values() if node.code and node.root_id == above[0].id}
    problems: list[Problem] = []
    children: dict[str | None, list[tuple[int, NewNode]]] = {}
    in_list: set[str] = set()
    for place, row in enumerate(rows):
        texts = {name: getattr(row, name) for name in _TEXTS}
        missing = [name for name, text in texts.items() if not text.strip() or len(text) > _TEXTS[name]]
        if missing:
            problems.append(Problem(place, "organization_incomplete", {"names": ", ".join(missing)}))
        elif row.code in in_list:
            problems.append(Problem(place, "code_taken", {"code": row.code}))
        else:
            in_list.add(row.code)
            children.setdefault(row.parent_code or None, []).append((place, row))
    # From above to below: (code, id if it is there already, whether an estate stands at it or above it).
    waiting: deque[tuple[str | None, str | None, bool]] = deque()
    waiting.append((None, under_id, any(node.level == ESTATE for node in above)))
    for code in children:
        if code is not None and code not in in_list and code in known and known[code].id in inside:
            parents = {id: node.parent_id for id, node in nodes.items()}
            estates_above = any(nodes[one].level == ESTATE for one in _above(parents, known[code].id))
            waiting.append((code, known[code].id, estates_above))
    new: list[NewNode] = []
    renamed: list[NewNode] = []
    unchanged = 0
    while waiting:
        parent_code, parent_id, in_estate = waiting.popleft()
        for place, row in children.pop(parent_code, ()):
            there = known.get(row.code)
            if there is not None and (there.id not in inside or there.parent_id != parent_id):
                problems.append(Problem(place, "organization_elsewhere", {"code": row.code}))
            elif there is not None and there.level != row.level:
                problems.append(Problem(place, "level_fixed", {"level": there.level}))
            elif there is None and row.level == ESTATE and in_estate:
                problems.append(Problem(place, "estate_inside_estate", {}))
            else:
                if there is None:
                    new.append(row)
                elif there.name != row.name:
                    renamed.append(row)
                else:
                    unchanged += 1
                waiting.append((row.code, there and there.id, in_estate or row.level == ESTATE))
    # Whoever was not reached hangs on what is not there, on what was left out, or on itself.
    for parent_code, left in children.items():
        problems += [Problem(place, "parent_unknown", {"code": parent_code or ""}) for place, _ in left]
    return Plan(tuple(new), tuple(renamed), unchanged, tuple(sorted(problems)))


_TEXTS: Final = {"code": MAX_CODE, "name": MAX_NODE_NAME, "level": MAX_LEVEL}


def create_many(
    connection: Connection, actor: str, operation_id: str, under_id: str, rows: Sequence[NewNode], now: datetime
) -> Plan:
    """Do what `plan` says, with a handful of statements; the same rows again change nothing.

    Refusals: estate_unknown, forbidden.
    """
    planned = plan(connection, under_id, rows)
    permit(connection, actor, Permission.ESTATE_WRITE, under_id)
    root_id = path(connection, under_id)[0].id
    o = organizations.c
    coded = select(o.code, o.id, o.name).where(o.root_id == root_id, o.code.is_not(None))
    known = connection.execute(coded).all()
    ids, names = {row.code: row.id for row in known}, {row.code: row.name for row in known}
    ids |= {row.code: derived_id(operation_id, f"organization {row.code}") for row in planned.new}
    if planned.new:
        connection.execute(
            insert(organizations),
            [
                {
                    "id": ids[row.code],
                    "parent_id": ids[row.parent_code] if row.parent_code else under_id,
                    "root_id": root_id,
                    "level": row.level,
                    "name": row.name,
                    "code": row.code,
                    "created_at": now,
                }
                for row in planned.new
            ],
        )
        estates = [ids[row.code] for row in planned.new if row.level == ESTATE]
        open_accounts(connection, [account for id in estates for account in estate_accounts(id)], now)
    if planned.renamed:
        connection.execute(
            update(organizations).where(organizations.c.id == bindparam("node_id")).values(name=bindparam("new_name")),
            [{"node_id": ids[row.code], "new_name": row.name} for row in planned.renamed],
        )
    noted: list[tuple[str, NewNode, dict[str, object]]]
    noted = [("organization_created", row, {"code": row.code}) for row in planned.new]
    # What it was called before stays known: a report of an earlier day uses it.
    noted += [("organization_changed", row, {"name": [names[row.code], row.name]}) for row in planned.renamed]
    written = [
        audit.Entry(actor, action, ("organization", ids[row.code]), operation_id, details)
        for action, row, details in noted
    ]
    audit.record_all(connection, now, written)
    return planned


def create_organizations(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """`create_many` as an operation of its own; gives `plan_view`."""
    body: CreateOrganizations = operation.body
    return plan_view(create_many(connection, body.actor, operation.id, body.under_id, body.nodes, now))


def plan_view(planned: Plan) -> dict[str, Any]:
    """How many nodes are new, renamed and unchanged, and which rows are left out, why."""
    return {
        "new": len(planned.new),
        "renamed": len(planned.renamed),
        "unchanged": planned.unchanged,
        "problems": [problem._asdict() | {"fields": dict(problem.fields)} for problem in planned.problems],
    }


def organization(connection: Connection, id: str) -> dict[str, Any]:
    """One node, whatever its level; refusal: estate_unknown."""
    row = connection.execute(select(organizations).where(organizations.c.id == id)).mappings().one_or_none()
    if row is None:
        raise DomainError("estate_unknown", id=id)
    return _view(row)


def estate(connection: Connection, actor: str, id: str) -> dict[str, Any]:
    """One node for `actor`; refusals: estate_unknown, forbidden."""
    found = organization(connection, id)
    permit(connection, actor, Permission.ESTATE_READ, id)
    return found


def estates(
    connection: Connection,
    actor: str,
    level: str | None = ESTATE,
    below_id: str | None = None,
    after: str = "",
    limit: int = 200,
) -> tuple[list[dict[str, Any]], str | None]:
    """The nodes of a level (None: of all) that `actor` may see, by id, and where the next page starts.

    Refusals: forbidden, estate_unknown.
    """
    visible = scope(connection, actor, Permission.ESTATE_READ)
    if below_id is not None:
        visible &= below(connection, below_id)
    query = select(organizations).where(organizations.c.id > after).order_by(organizations.c.id)
    if level is not None:
        query = query.where(organizations.c.level == level)
    return _page([row for row in connection.execute(query).mappings() if row["id"] in visible], limit)


def children(
    connection: Connection, actor: str, id: str, after: str = "", limit: int = 200
) -> tuple[list[dict[str, Any]], str | None]:
    """The nodes right below one, by id, and where the next page starts. Refusals: estate_unknown, forbidden."""
    estate(connection, actor, id)
    query = select(organizations).where(organizations.c.parent_id == id, organizations.c.id > after)
    rows = connection.execute(query.order_by(organizations.c.id).limit(limit + 1)).mappings().all()
    return _page(rows, limit)


def path(connection: Connection, id: str, on_day: date | None = None) -> list[Node]:
    """The nodes from the root down to this one, now or as the tree stood on a day; refusal: estate_unknown."""
    if on_day is not None:
        nodes = _nodes(connection)
        if id not in nodes:
            raise DomainError("estate_unknown", id=id)
        parents = _parents(nodes, _moves(connection), on_day.isoformat())
        return [
            Node(one, parents[one], nodes[one].level, nodes[one].name, nodes[one].code)
            for one in reversed(_above(parents, id))
        ]
    o = organizations.c
    columns = (o.id, o.parent_id, o.level, o.name, o.code)
    above = select(*columns, literal(0).label("steps")).where(o.id == id).cte("above", recursive=True)
    above = above.union_all(select(*columns, above.c.steps + 1).where(o.id == above.c.parent_id))
    rows = connection.execute(select(above).order_by(above.c.steps.desc())).all()
    if not rows:
        raise DomainError("estate_unknown", id=id)
    return [Node(row.id, row.parent_id, row.level, row.name, row.code) for row in rows]


def below(connection: Connection, id: str, on_day: date | None = None) -> frozenset[str]:
    """The ids of a node and of everything below it, now or on a day; refusal: estate_unknown."""
    if on_day is not None:
        nodes = _nodes(connection)
        if id not in nodes:
            raise DomainError("estate_unknown", id=id)
        parents = _parents(nodes, _moves(connection), on_day.isoformat())
        return frozenset(one for one in nodes if id in _above(parents, one))
    found = select(organizations.c.id).where(organizations.c.id == id).cte("below", recursive=True)
    found = found.union_all(select(organizations.c.id).where(organizations.c.parent_id == found.c.id))
    ids = frozenset(connection.scalars(select(found.c.id)))
    if not ids:
        raise DomainError("estate_unknown", id=id)
    return ids


def estate_of_node(connection: Connection, id: str, on_day: date | None = None) -> str | None:
    """The estate that a node is or stands in, None above estates; refusal: estate_unknown."""
    return next((node.id for node in path(connection, id, on_day) if node.level == ESTATE), None)


def moves_of(connection: Connection, actor: str, id: str) -> list[dict[str, Any]]:
    """How a node was moved, oldest first; refusals: estate_unknown, forbidden."""
    estate(connection, actor, id)
    m = organization_moves.c
    rows = connection.execute(select(organization_moves).where(m.organization_id == id).order_by(m.number)).mappings()
    shown = ("number", "from_parent_id", "to_parent_id", "day", "reason", "moved_by")
    return [{name: row[name] for name in shown} | {"recorded_at": iso(row["recorded_at"])} for row in rows]


class _Stored(NamedTuple):
    id: str
    parent_id: str | None
    root_id: str | None
    level: str
    name: str
    code: str | None


class _Move(NamedTuple):
    day: str
    from_parent_id: str
    to_parent_id: str


def _nodes(connection: Connection) -> dict[str, _Stored]:
    o = organizations.c
    rows = connection.execute(select(o.id, o.parent_id, o.root_id, o.level, o.name, o.code)).all()
    return {row.id: _Stored(*row) for row in rows}


def _moves(connection: Connection) -> dict[str, list[_Move]]:
    """Every move of every node, oldest first. Moves are rare: a tree is reorganised once in years."""
    m = organization_moves.c
    query = select(m.organization_id, m.day, m.from_parent_id, m.to_parent_id).order_by(m.day, m.number)
    found: dict[str, list[_Move]] = {}
    for id, *move in connection.execute(query):
        found.setdefault(id, []).append(_Move(*move))
    return found


def _parents(nodes: Mapping[str, _Stored], moves: Mapping[str, list[_Move]], day: str) -> dict[str, str | None]:
    """The parent of each node on a day: that of its last move until then; before its first move, whence it came."""
    found = {id: node.parent_id for id, node in nodes.items()}
    for id, of_node in moves.items():
        until = [move for move in of_node if move.day <= day]
        found[id] = until[-1].to_parent_id if until else of_node[0].from_parent_id
    return found


def _above(parents: Mapping[str, str | None], id: str) -> list[str]:
    """A node and all above it, upwards."""
    found = [id]
    while (parent := parents[found[-1]]) is not None:
        found.append(parent)
    return found


def _page(rows: Sequence[_Row], limit: int) -> tuple[list[dict[str, Any]], str | None]:
    shown = [_view(row) for row in rows[:limit]]
    return shown, shown[-1]["id"] if len(rows) > limit else None


def _view(row: _Row) -> dict[str, Any]:
    shown = ("id", "parent_id", "level", "name", "code")
    return {name: row[name] for name in shown} | {"created_at": iso(row["created_at"])}


def _check_code(connection: Connection, root_id: str, code: str | None) -> None:
    o = organizations.c
    taken = select(o.id).where(o.root_id == root_id, o.code == code)
    if code is not None and connection.scalar(taken) is not None:
        raise DomainError("code_taken", code=code)


def _note(
    connection: Connection,
    operation: Operation,
    now: datetime,
    action: str,
    id: str,
    details: Mapping[str, object],
) -> None:
    audit.record(
        connection,
        now,
        actor=operation.body.actor,
        action=action,
        subject=("organization", id),
        operation_id=operation.id,
        details=details,
    )

"""The tree: free levels, moves whose history stays, estates that stay estates, and many nodes at once."""

from __future__ import annotations

import json
import random
from datetime import date
from typing import Any

import pytest
from office import Office
from sqlalchemy import delete, event, func, select, update
from sqlalchemy.exc import DatabaseError

from jishan_server import audit
from jishan_server.db import connect_for_writing, writing
from jishan_server.ledger.store import balances
from jishan_server.organizations import tree
from jishan_server.organizations.roles import SYSTEM
from jishan_server.organizations.tables import organization_moves, organizations
from jishan_server.organizations.tree import NewNode
from jishan_server.volunteering.yearly import names_on


def made(office: Office, id: str, parent_id: str, level: str, **more: str) -> dict[str, Any]:
    body = {"id": id, "parent_id": parent_id, "level": level, "name": id, **more}
    done: dict[str, Any] = office.ok("POST", "/estates", body, as_="admin")
    return done


def moved(office: Office, id: str, parent_id: str, **more: str) -> dict[str, Any]:
    body = {"parent_id": parent_id, "reason": "x", **more}
    done: dict[str, Any] = office.ok("POST", f"/estates/{id}/moves", body, as_="admin")
    return done


def above(office: Office, id: str, day: str | None = None) -> list[str]:
    query = f"?day={day}" if day else ""
    return [one["id"] for one in office.ok("GET", f"/estates/{id}/path{query}", as_="admin")["items"]]


def below(office: Office, id: str, day: date | None = None) -> frozenset[str]:
    with office.parts.engine.connect() as connection:
        return tree.below(connection, id, day)


def test_levels_are_named_freely_and_a_path_begins_at_the_root(office: Office) -> None:
    made(office, "district", "hongya", "区")
    made(office, "grid", "district", "网格", code="G-001")
    made(office, "flats", "grid", "building group")
    assert above(office, "flats") == ["hongya", "district", "grid", "flats"]
    assert below(office, "district") == {"district", "grid", "flats"}
    shown = office.ok("GET", "/estates?level=网格", as_="admin")["items"]
    assert [(one["id"], one["code"]) for one in shown] == [("grid", "G-001")]
    everything = office.ok("GET", "/estates?level=all&below=district", as_="admin")["items"]
    assert [one["id"] for one in everything] == ["district", "flats", "grid"]


def test_lists_of_nodes_are_pages(office: Office) -> None:
    for number in range(5):
        made(office, f"building-{number}", "jiangpan", "building")
    found, cursor = [], ""
    while cursor is not None:
        query = f"?limit=2&cursor={cursor}" if cursor else "?limit=2"
        page = office.ok("GET", f"/estates/jiangpan/children{query}")
        found += [one["id"] for one in page["items"]]
        cursor = page["next_cursor"]
    assert found == [f"building-{number}" for number in range(5)]
    page = office.ok("GET", "/estates?level=building&limit=3")
    assert len(page["items"]) == 3
    rest = office.ok("GET", f"/estates?level=building&limit=3&cursor={page['next_cursor']}")
    assert [one["id"] for one in rest["items"]] == ["building-3", "building-4"]
    assert rest["next_cursor"] is None


def test_an_estate_gets_accounts_stays_one_and_stands_in_no_other(office: Office) -> None:
    made(office, "east", "qingyijiang", "estate")
    with office.parts.engine.connect() as connection:
        assert "sys:issuance:east" in balances(connection, ["sys:issuance:east"])
        assert tree.estate_of_node(connection, "east") == "east"
        assert tree.estate_of_node(connection, "hongya") is None
    made(office, "block", "east", "building")
    office.refused(409, "level_fixed", "PUT", "/estates/east", {"level": "building"}, as_="admin")
    office.refused(409, "level_fixed", "PUT", "/estates/block", {"level": "estate"}, as_="admin")
    inner = {"parent_id": "block", "level": "estate", "name": "x"}
    office.refused(422, "estate_inside_estate", "POST", "/estates", inner, as_="admin")
    body = {"parent_id": "jiangpan", "reason": "x"}
    office.refused(422, "estate_inside_estate", "POST", "/estates/east/moves", body, as_="admin")
    changed = office.ok("PUT", "/estates/east", {"name": "东苑", "code": "E-1"}, as_="admin")
    assert (changed["name"], changed["code"], changed["level"]) == ("东苑", "E-1", "estate")
    office.refused(409, "code_taken", "PUT", "/estates/block", {"code": "E-1"}, as_="admin")


def test_who_stood_below_whom_is_known_for_every_day(office: Office) -> None:
    made(office, "south", "hongya", "community")
    made(office, "west", "hongya", "community")
    moved(office, "jiangpan", "south", day="2026-02-01")
    moved(office, "jiangpan", "west")
    assert above(office, "jiangpan") == ["hongya", "west", "jiangpan"]
    assert above(office, "jiangpan", "2026-01-31") == ["hongya", "qingyijiang", "jiangpan"]
    assert above(office, "jiangpan", "2026-02-01") == ["hongya", "south", "jiangpan"]
    assert above(office, "jiangpan", "2026-03-01") == ["hongya", "south", "jiangpan"]
    assert above(office, "jiangpan", "2026-03-02") == ["hongya", "west", "jiangpan"]
    assert below(office, "south", date(2026, 3, 1)) == {"south", "jiangpan"}
    assert below(office, "south") == {"south"}
    moves = office.ok("GET", "/estates/jiangpan/moves", as_="admin")["items"]
    assert [(one["from_parent_id"], one["to_parent_id"], one["day"]) for one in moves] == [
        ("qingyijiang", "south", "2026-02-01"),
        ("south", "west", "2026-03-02"),
    ]
    # Points and people stay where they were.
    office.credit(0, 3)
    assert office.balances()[f"res:{office.people.residents[0].id}"] == (3, 0)


def test_the_history_of_moves_is_never_rewritten(office: Office) -> None:
    made(office, "south", "hongya", "community")
    moved(office, "jiangpan", "south")
    for statement in (update(organization_moves).values(day="2000-01-01"), delete(organization_moves)):
        with pytest.raises(DatabaseError, match="append-only"), writing(office.parts.engine) as connection:
            connection.execute(statement)


def test_a_move_is_refused_into_oneself_into_the_future_and_before_the_last_move(office: Office) -> None:
    made(office, "south", "hongya", "community")
    made(office, "inner", "south", "grid")
    for body, status, code in (
        ({"parent_id": "inner"}, 409, "organization_circle"),
        ({"parent_id": "south"}, 409, "organization_circle"),
        ({"parent_id": "hongya"}, 409, "organization_there_already"),
        ({"parent_id": "qingyijiang", "day": "2026-03-03"}, 422, "move_day_invalid"),
        ({"parent_id": "qingyijiang", "day": "soon"}, 422, "day_invalid"),
        ({"parent_id": "nothing"}, 404, "estate_unknown"),
    ):
        office.refused(status, code, "POST", "/estates/south/moves", {"reason": "x", **body}, as_="admin")
    root = {"parent_id": "south", "reason": "x"}
    office.refused(409, "organization_root", "POST", "/estates/hongya/moves", root, as_="admin")
    assert above(office, "inner") == ["hongya", "south", "inner"]
    moved(office, "south", "qingyijiang")
    early = {"parent_id": "hongya", "reason": "x", "day": "2026-03-01"}
    office.refused(422, "move_day_invalid", "POST", "/estates/south/moves", early, as_="admin")


def test_a_move_into_the_past_makes_no_circle_on_any_day_since(office: Office) -> None:
    made(office, "first", "hongya", "grid")
    made(office, "second", "hongya", "grid")
    moved(office, "first", "second", day="2026-01-10")
    moved(office, "first", "hongya", day="2026-02-10")
    body = {"parent_id": "first", "reason": "x"}
    early = body | {"day": "2026-01-20"}
    office.refused(409, "organization_circle", "POST", "/estates/second/moves", early, as_="admin")
    moved(office, "second", "first", day="2026-02-10")
    assert above(office, "second", "2026-02-09") == ["hongya", "second"]


def district() -> list[NewNode]:
    """89 estates below their communities, 269 grids, 2,092 building groups; children before parents."""
    rows = [NewNode(f"C{number}", f"社区{number}", "community") for number in range(10)]
    rows += [NewNode(f"E{number}", f"小区{number}", "estate", f"C{number % 10}") for number in range(89)]
    rows += [NewNode(f"G{number}", f"网格{number}", "grid", f"E{number % 89}") for number in range(269)]
    rows += [NewNode(f"B{number}", f"楼群{number}", "building group", f"G{number % 269}") for number in range(2092)]
    return rows[::-1]


def run(office: Office, id: str, rows: list[NewNode]) -> tuple[tree.Plan, int]:
    """What became of a list, and how many statements it took."""
    statements: list[str] = []
    with connect_for_writing(office.parts.engine) as connection:
        event.listen(connection, "before_cursor_execute", lambda *words: statements.append(words[2]))
        done = tree.create_many(connection, SYSTEM, id, "hongya", rows, office.now)
        connection.commit()
    return done, len(statements)


def test_a_whole_district_is_made_at_once_and_a_second_time_changes_nothing(office: Office) -> None:
    rows = district()
    done, statements = run(office, "import-1", rows)
    assert (len(done.new), done.problems) == (2460, ())
    assert statements < 20
    again, _ = run(office, "import-2", rows)
    assert (again.new, again.renamed, again.unchanged, again.problems) == ((), (), 2460, ())
    with office.parts.engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(organizations)) == 2463
        building = connection.scalar(select(organizations.c.id).where(organizations.c.code == "B2091"))
        assert building is not None
        path = tree.path(connection, building)
        assert [node.level for node in path] == ["county", "community", "estate", "grid", "building group"]
        estate_id = tree.estate_of_node(connection, building)
        assert f"sys:issuance:{estate_id}" in balances(connection, [f"sys:issuance:{estate_id}"])
    renamed, _ = run(office, "import-3", [NewNode("B7", "七号楼", "building group", "G7")])
    assert (len(renamed.renamed), renamed.new) == (1, ())
    with office.parts.engine.connect() as connection:
        e = audit.entries.c
        newest = select(e.action, e.details).order_by(e.number.desc()).limit(1)
        action, details = connection.execute(newest).one()
        assert (action, json.loads(details)) == ("organization_changed", {"name": ["楼群7", "七号楼"]})
        before = names_on(connection, office.now)
        assert "楼群7" in before.values()
        assert "七号楼" not in before.values()


def test_rows_that_cannot_be_are_left_out_with_their_reason_and_the_others_made(office: Office) -> None:
    run(office, "import-1", [NewNode("A", "甲", "community"), NewNode("E", "一", "estate", "A")])
    rows = [
        NewNode("B", "乙", "community"),
        NewNode("B", "乙二", "community"),
        NewNode("", "无", "grid"),
        NewNode("X", "x", "grid", "nowhere"),
        NewNode("Y", "y", "grid", "Z"),
        NewNode("Z", "z", "grid", "Y"),
        NewNode("E", "一", "estate", "B"),
        NewNode("A", "甲", "grid"),
        NewNode("F", "二", "estate", "E"),
        NewNode("G", "三", "grid", "E"),
        NewNode("H", "四", "grid", "F"),
    ]
    done, _ = run(office, "import-2", rows)
    assert {problem.row: problem.code for problem in done.problems} == {
        1: "code_taken",
        2: "organization_incomplete",
        3: "parent_unknown",
        4: "parent_unknown",
        5: "parent_unknown",
        6: "organization_elsewhere",
        7: "level_fixed",
        8: "parent_unknown",
        9: "parent_unknown",
        10: "parent_unknown",
    }
    assert [row.code for row in done.new] == ["B"]
    only, _ = run(office, "import-3", [rows[8], rows[9]])
    assert [problem.code for problem in only.problems] == ["estate_inside_estate"]
    assert [row.code for row in only.new] == ["G"]


def test_a_list_over_http_says_what_it_did(office: Office) -> None:
    nodes = [
        {"code": "1", "name": "1栋", "level": "building"},
        {"code": "2", "name": "x", "level": "unit", "parent_code": "9"},
    ]
    done = office.ok("POST", "/estates/jiangpan/nodes", {"nodes": nodes}, as_="admin")
    assert (done["new"], done["unchanged"]) == (1, 0)
    assert done["problems"] == [{"row": 1, "code": "parent_unknown", "fields": {"code": "9"}}]
    again = office.ok("POST", "/estates/jiangpan/nodes", {"nodes": nodes[:1]}, as_="admin")
    assert (again["new"], again["unchanged"]) == (0, 1)


def test_after_any_moves_the_tree_of_every_day_is_a_tree(office: Office) -> None:
    drawn = random.Random(7)
    ids = [made(office, f"node-{number}", "hongya", "grid")["id"] for number in range(6)]
    days = [f"2026-02-{day:02}" for day in range(1, 29)]
    outcomes = set()
    for _ in range(60):
        body = {"parent_id": drawn.choice(["hongya", *ids]), "reason": "x", "day": drawn.choice(days)}
        answer = office.send("POST", f"/estates/{drawn.choice(ids)}/moves", body, as_="admin")
        outcomes.add(answer.get_json().get("code"))
        assert answer.status_code in (200, 409, 422)
    assert {None, "organization_circle", "move_day_invalid"} <= outcomes
    with office.parts.engine.connect() as connection:
        for day in map(date.fromisoformat, days):
            for id in ids:
                assert tree.path(connection, id, day)[0].id == "hongya"
            assert tree.below(connection, "hongya", day) >= set(ids)

"""Groups inside and across estates, and residents in nodes and groups, with their days."""

from __future__ import annotations

from typing import Any

import pytest
from office import Office
from sqlalchemy import event

from jishan_server.db import connect_for_writing
from jishan_server.people import memberships
from jishan_server.people.memberships import NewMembership


def group(office: Office, name: str = "扫雪队", as_: str = "coordinator", **more: Any) -> str:
    body = {"organization_id": "jiangpan", "kind": "志愿队", "name": name, **more}
    id: str = office.ok("POST", "/groups", body, as_=as_)["id"]
    return id


def joined(office: Office, resident: int, **more: Any) -> dict[str, Any]:
    path = f"/residents/{office.people.residents[resident].id}/memberships"
    made: dict[str, Any] = office.ok("POST", path, {"from_day": "2026-03-01", **more})
    return made


def test_a_group_is_made_changed_closed_and_opened(office: Office) -> None:
    id = group(office, code="T-1")
    assert office.ok("GET", f"/groups/{id}")["is_open"]
    done = office.ok("PUT", f"/groups/{id}", {"name": "清扫队", "is_open": False})
    assert (done["name"], done["code"], done["is_open"]) == ("清扫队", "T-1", False)
    body = {"group_id": id, "from_day": "2026-03-01"}
    path = f"/residents/{office.people.residents[0].id}/memberships"
    office.refused(409, "group_closed", "POST", path, body)
    assert office.ok("PUT", f"/groups/{id}", {"is_open": True})["closed_at"] is None
    again = {"organization_id": "jiangpan", "kind": "x", "name": "x", "code": "T-1"}
    office.refused(409, "code_taken", "POST", "/groups", again)


def test_a_group_without_a_home_is_for_the_whole_scheme(office: Office) -> None:
    body = {"kind": "合唱团", "name": "全县合唱团"}
    office.refused(403, "forbidden", "POST", "/groups", body, as_="coordinator")
    whole = group(office, organization_id=None, as_="admin")
    ours = group(office)
    shown = {one["id"] for one in office.ok("GET", "/groups", as_="operator")["items"]}
    assert shown == {whole, ours}
    assert [one["id"] for one in office.ok("GET", "/groups?organization_id=jiangpan")["items"]] == [ours]
    assert joined(office, 0, group_id=whole, role="团员")["group_id"] == whole


def test_a_person_is_in_several_places_at_once_with_a_role_and_days(office: Office) -> None:
    building = {"id": "no-3", "parent_id": "jiangpan", "level": "building", "name": "3栋"}
    office.ok("POST", "/estates", building, as_="admin")
    team = group(office)
    head = joined(office, 0, organization_id="no-3", role="楼栋长")
    joined(office, 0, group_id=team, role="队长", to_day="2026-03-31")
    joined(office, 1, group_id=team)
    path = f"/residents/{office.people.residents[0].id}/memberships"
    assert [(one["role"], one["to_day"]) for one in office.ok("GET", path)["items"]] != []
    now = office.ok("GET", f"/memberships?group_id={team}&day=2026-03-31")["items"]
    assert sorted((one["name"], one["role"]) for one in now) == [("刘桂芳", ""), ("王建华", "队长")]
    later = office.ok("GET", f"/memberships?group_id={team}&day=2026-04-01")["items"]
    assert [one["name"] for one in later] == ["刘桂芳"]
    before = office.ok("GET", "/memberships?organization_id=no-3&day=2026-02-28")["items"]
    assert before == []
    ended = office.ok("PUT", f"/memberships/{head['id']}", {"to_day": "2026-03-10"})
    assert ended["to_day"] == "2026-03-10"
    office.refused(409, "membership_over", "PUT", f"/memberships/{head['id']}", {"to_day": "2026-03-11"})


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"from_day": "2026-03-01"}, 422, "membership_where"),
        ({"from_day": "2026-03-01", "group_id": "{team}", "organization_id": "jiangpan"}, 422, "membership_where"),
        ({"from_day": "2026-03-02", "to_day": "2026-03-01", "group_id": "{team}"}, 422, "days_reversed"),
        ({"from_day": "2026-02-30", "group_id": "{team}"}, 422, "fields_invalid"),
        ({"from_day": "2026-03-20", "group_id": "{team}", "role": "队长"}, 409, "membership_exists"),
        ({"from_day": "2026-03-01", "group_id": "nothing"}, 404, "group_unknown"),
        ({"from_day": "2026-03-01", "organization_id": "nothing"}, 404, "estate_unknown"),
        ({"from_day": "2026-03-01", "organization_id": "qingyijiang"}, 403, "forbidden"),
    ],
)
def test_what_cannot_be_is_refused(office: Office, body: dict[str, str], status: int, code: str) -> None:
    team = group(office)
    joined(office, 0, group_id=team, role="队长")
    path = f"/residents/{office.people.residents[0].id}/memberships"
    asked = {name: value.replace("{team}", team) for name, value in body.items()}
    office.refused(status, code, "POST", path, asked)
    assert len(office.ok("GET", path)["items"]) == 1


def test_a_group_of_another_estate_takes_ours_only_by_its_own_keepers(office: Office) -> None:
    office.ok("POST", "/estates", {"id": "east", "parent_id": "qingyijiang", "name": "x"}, as_="admin")
    theirs = group(office, organization_id="east", as_="admin")
    above = group(office, organization_id="qingyijiang", as_="admin")
    path = f"/residents/{office.people.residents[0].id}/memberships"
    office.refused(403, "forbidden", "POST", path, {"group_id": theirs, "from_day": "2026-03-01"})
    office.ok("POST", path, {"group_id": above, "from_day": "2026-03-01"})
    office.ok("POST", path, {"group_id": theirs, "from_day": "2026-03-01"}, as_="admin")
    # The group above is there for the estates below it; that of another estate is not.
    assert len(office.ok("GET", f"/memberships?group_id={above}")["items"]) == 1
    office.refused(403, "forbidden", "GET", f"/memberships?group_id={theirs}")
    assert {one["id"] for one in office.ok("GET", "/groups")["items"]} == {above}


def test_many_are_added_in_a_handful_of_statements_and_once(office: Office) -> None:
    team = group(office)
    roles = [f"第{number}" for number in range(200)]
    rows = [NewMembership(one.id, None, team, role, "2026-03-01") for one in office.people.residents for role in roles]
    statements: list[str] = []
    with connect_for_writing(office.parts.engine) as connection:
        event.listen(connection, "before_cursor_execute", lambda *words: statements.append(words[2]))
        added = memberships.add_many(connection, "system", "import-1", rows, office.now)
        again = memberships.add_many(connection, "system", "import-2", rows, office.now)
        connection.commit()
    assert (len(added), again) == (len(rows), [])
    assert len(statements) < 12

"""Accounts of staff: who may grant what, what disabling and passwords do, who can decide where an estate is small."""

from __future__ import annotations

from typing import Any

from office import Office

from jishan_server.organizations.roles import PERMISSIONS, Permission, Role
from jishan_server.people.staff import who_may

PASSWORD = "a long password"


def new(office: Office, login: str, role: str, node: str, as_: str = "admin") -> dict[str, Any]:
    body = {
        "login": login,
        "name": login,
        "password": PASSWORD,
        "roles": [{"role": role, "organization_id": node}],
    }
    made: dict[str, Any] = office.ok("POST", "/staff", body, as_=as_)
    return made


def logged_in(office: Office, login: str, password: str = PASSWORD) -> dict[str, str]:
    """The header that carries a fresh token."""
    answer = office.client.post("/api/v1/auth/token", json={"login": login, "password": password})
    assert answer.status_code == 201, answer.text
    return {"Authorization": f"Bearer {answer.get_json()['token']}"}


def id_of(office: Office, login: str) -> str:
    return next(one.id for one in office.people.staff if one.login == login)


def test_a_secretary_grants_what_is_in_their_own_role_and_nothing_else(office: Office) -> None:
    new(office, "sec", "estate_secretary", "jiangpan")
    token = logged_in(office, "sec")
    held = {one for one in Permission if Role.ESTATE_SECRETARY in PERMISSIONS[one]}
    for role in Role:
        body = {
            "login": f"by-sec.{role.value.replace('_', '-')}",
            "name": "x",
            "password": PASSWORD,
            "roles": [{"role": role.value, "organization_id": "jiangpan"}],
        }
        answer = office.send("POST", "/staff", body, as_=None, headers=token)
        if role is Role.RESIDENT:
            assert answer.status_code == 422
        elif {one for one in Permission if role in PERMISSIONS[one]} <= held:
            assert answer.status_code == 201, (role, answer.text)
        else:
            assert answer.get_json()["code"] == "grant_not_held", (role, answer.text)
    elsewhere = {"roles": [{"role": "coordinator", "organization_id": "qingyijiang"}]}
    path = f"/staff/{id_of(office, 'coordinator')}/roles"
    office.refused(403, "forbidden", "PUT", path, elsewhere, as_=None, headers=token)


def test_roles_are_changed_where_one_holds_them_and_others_stay_nobodys_question(office: Office) -> None:
    new(office, "sec", "estate_secretary", "jiangpan")
    office.ok("POST", "/estates", {"id": "east", "parent_id": "qingyijiang", "name": "x"}, as_="admin")
    both = new(office, "both", "approver", "jiangpan")
    path = f"/staff/{both['id']}/roles"
    at_east = {"role": "operator", "organization_id": "east"}
    here = {"role": "approver", "organization_id": "jiangpan"}
    office.ok("PUT", path, {"roles": [here, at_east]}, as_="admin")
    token = logged_in(office, "sec")
    moved = [{"role": "coordinator", "organization_id": "jiangpan"}, at_east]
    done = office.ok("PUT", path, {"roles": moved}, as_=None, headers=token)
    assert sorted(one["role"] for one in done["roles"]) == ["coordinator", "operator"]
    office.refused(403, "forbidden", "PUT", path, {"roles": moved[:1]}, as_=None, headers=token)
    # An account that is also another estate's is not this secretary's to lock out.
    for what, body in (("state", {"is_active": False}), ("password", {"password": PASSWORD}), ("", {"name": "y"})):
        path = f"/staff/{both['id']}/{what}".rstrip("/")
        office.refused(403, "forbidden", "PUT", path, body, as_=None, headers=token)


def test_nobody_loses_their_last_role_or_disables_themselves(office: Office) -> None:
    admin = id_of(office, "admin")
    office.refused(422, "fields_invalid", "PUT", f"/staff/{admin}/roles", {"roles": []}, as_="admin")
    office.refused(409, "staff_self", "PUT", f"/staff/{admin}/state", {"is_active": False}, as_="admin")
    office.refused(409, "staff_self", "PUT", f"/staff/{admin}/password", {"password": PASSWORD}, as_="admin")
    resident = office.people.residents[0].id
    office.refused(409, "staff_self", "PUT", f"/staff/{admin}", {"resident_id": resident}, as_="admin")
    assert office.ok("GET", f"/staff/{admin}", as_="admin")["is_active"]


def test_a_disabled_account_is_out_at_once_and_in_again_when_enabled(office: Office) -> None:
    made = new(office, "gone", "coordinator", "jiangpan")
    token = logged_in(office, "gone")
    office.ok("GET", "/residents", as_=None, headers=token)
    path = f"/staff/{made['id']}/state"
    assert not office.ok("PUT", path, {"is_active": False}, as_="admin")["is_active"]
    office.refused(401, "token_invalid", "GET", "/residents", as_=None, headers=token)
    login = {"login": "gone", "password": PASSWORD}
    office.refused(403, "account_disabled", "POST", "/auth/token", login, as_=None)
    office.refused(401, "login_failed", "POST", "/auth/token", login | {"password": "x"}, as_=None)
    assert office.ok("PUT", path, {"is_active": True}, as_="admin")["is_active"]
    office.ok("GET", "/residents", as_=None, headers=logged_in(office, "gone"))
    office.refused(401, "token_invalid", "GET", "/residents", as_=None, headers=token)


def test_a_role_that_was_taken_away_is_gone_with_the_next_request(office: Office) -> None:
    made = new(office, "moved", "coordinator", "jiangpan")
    token = logged_in(office, "moved")
    office.ok("GET", "/residents", as_=None, headers=token)
    roles = [{"role": "refiller", "organization_id": "jiangpan"}]
    office.ok("PUT", f"/staff/{made['id']}/roles", {"roles": roles}, as_="admin")
    office.refused(403, "forbidden", "GET", "/residents", as_=None, headers=token)


def test_ones_own_password_takes_the_old_one_and_ends_the_other_tokens(office: Office) -> None:
    new(office, "careful", "coordinator", "jiangpan")
    first, second = logged_in(office, "careful"), logged_in(office, "careful")
    body = {"old_password": PASSWORD, "password": "another password"}

    def change(code: str, status: int, **more: str) -> None:
        office.refused(status, code, "PUT", "/auth/password", body | more, as_=None, headers=second)

    change("password_invalid", 422, password="short")
    change("password_wrong", 403, old_password="x")
    kept = {**second, "Idempotency-Key": "change-0001"}
    for _ in range(2):
        office.ok("PUT", "/auth/password", body, as_=None, headers=kept)
    office.refused(401, "token_invalid", "GET", "/me", as_=None, headers=first)
    office.ok("GET", "/me", as_=None, headers=second)
    logged_in(office, "careful", "another password")
    for _ in range(4):
        change("password_wrong", 403, old_password="x")
    change("login_locked", 429, old_password="x")
    change("login_locked", 429, old_password="another password")


def test_a_password_that_an_administrator_sets_ends_tokens_and_locks(office: Office) -> None:
    made = new(office, "lost", "coordinator", "jiangpan")
    token = logged_in(office, "lost")
    for _ in range(5):
        office.send("POST", "/auth/token", {"login": "lost", "password": "x"}, as_=None)
    office.refused(429, "login_locked", "POST", "/auth/token", {"login": "lost", "password": PASSWORD}, as_=None)
    office.ok("PUT", f"/staff/{made['id']}/password", {"password": "set by another"}, as_="admin")
    office.refused(401, "token_invalid", "GET", "/me", as_=None, headers=token)
    logged_in(office, "lost", "set by another")


def test_lists_of_staff_are_pages_of_ones_own_scope(office: Office) -> None:
    new(office, "sec", "estate_secretary", "jiangpan")
    token = logged_in(office, "sec")
    found, cursor = [], ""
    while cursor is not None:
        query = f"?limit=2&cursor={cursor}" if cursor else "?limit=2"
        page = office.ok("GET", f"/staff{query}", as_=None, headers=token)
        found += [one["login"] for one in page["items"]]
        cursor = page["next_cursor"]
    assert found == ["approver", "coordinator", "sec"]
    office.refused(403, "forbidden", "GET", f"/staff/{id_of(office, 'admin')}", as_=None, headers=token)


def test_where_an_estate_has_nobody_else_the_node_above_decides(office: Office) -> None:
    approver, secretary, admin = (id_of(office, login) for login in ("approver", "secretary", "admin"))
    with office.parts.engine.connect() as connection:

        def nearest(*but: str) -> tuple[str | None, list[str]]:
            return who_may(connection, Permission.CREDIT_APPROVE, "jiangpan", but)

        assert nearest() == ("jiangpan", [approver])
        assert nearest(approver) == ("qingyijiang", [secretary])
        assert nearest(approver, secretary) == ("hongya", [admin])
        assert nearest(approver, secretary, admin) == (None, [])
    office.ok("PUT", f"/staff/{approver}/state", {"is_active": False}, as_="admin")
    with office.parts.engine.connect() as connection:
        assert who_may(connection, Permission.CREDIT_APPROVE, "jiangpan") == ("qingyijiang", [secretary])

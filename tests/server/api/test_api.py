"""The API's own rules: who may, pages, one shape of failure, documentation without a network."""

from __future__ import annotations

import re

import pytest
from office import Office


def test_a_credit_goes_from_record_to_balance(office: Office) -> None:
    resident = office.people.residents[0]
    body = {"resident_id": resident.id, "minutes": 150, "activity": "河道清理", "reason": "三月活动"}
    recorded = office.ok("POST", "/credits", body)
    assert (recorded["state"], recorded["points"], recorded["minutes"]) == ("recorded", 2, 150)
    assert office.balances()[f"res:{resident.id}"] == (0, 0)
    approved = office.ok("POST", f"/credits/{recorded['id']}/approve", {}, as_="approver")
    assert approved["state"] == "final"
    balance = office.ok("GET", f"/residents/{resident.id}/balance")
    assert (balance["available_points"], balance["held_points"], balance["owed_points"]) == (2, 0, 0)
    [line] = office.ok("GET", f"/residents/{resident.id}/statement")["items"]
    assert (line["activity"], line["posted_change_points"], line["posted_points"]) == ("河道清理", 2, 2)
    assert line["approved_by"] == approved["decided_by"] != recorded["recorded_by"]
    assert line["rule_version"] == "1"


PUBLIC = (
    *("/auth/token", "/auth/resident-token", "/enroll", "/ca.pem", "/notices", "/certificates/1/check"),
    # What a phone asks before its owner has logged in.
    *("/machine-claims", "/machine-claims/1"),
)


def test_without_a_token_nothing_but_the_public_is_answered(office: Office) -> None:
    rules = [rule for rule in office.client.application.url_map.iter_rules() if rule.rule.startswith("/api/v1/")]
    closed = [rule for rule in rules if not (rule.endpoint or "").startswith(("docs.", "api-docs."))]
    assert len(closed) > 30
    for rule in closed:
        path = re.sub(r"<[^>]*>", "1", rule.rule)
        if path.removeprefix("/api/v1") in PUBLIC:
            continue
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            answer = office.client.open(path, method=method)
            assert (answer.status_code, answer.get_json()["code"]) == (401, "token_invalid"), (method, path)


def test_a_token_ends_by_time_and_by_logging_out(office: Office) -> None:
    office.ok("GET", "/me")
    office.tick(hours=12)
    office.refused(401, "token_expired", "GET", "/me")
    office.ok("GET", "/me", as_="approver")
    office.ok("DELETE", "/auth/token", as_="approver")
    office.refused(401, "token_invalid", "GET", "/me", as_="approver")


def test_five_wrong_passwords_close_the_account_for_15_minutes(office: Office) -> None:
    right = next(one.password for one in office.people.staff if one.login == "coordinator")

    def log_in(password: str) -> tuple[int, str]:
        answer = office.client.post("/api/v1/auth/token", json={"login": "coordinator", "password": password})
        return answer.status_code, answer.get_json().get("code", "in")

    assert [log_in("wrong password") for _ in range(4)] == [(401, "login_failed")] * 4
    assert log_in("wrong password") == (429, "login_locked")
    assert log_in(right) == (429, "login_locked")
    office.tick(minutes=15)
    assert log_in(right) == (201, "in")


def test_a_login_that_does_not_exist_is_refused_like_a_wrong_password(office: Office) -> None:
    office.refused(401, "login_failed", "POST", "/auth/token", {"login": "nobody", "password": "x" * 12}, as_=None)


def test_an_unknown_field_is_refused_and_named(office: Office) -> None:
    said = office.refused(
        422, "fields_invalid", "POST", "/residents", {"estate_id": "jiangpan", "nmae": "王", "code": 1}
    )
    assert set(said["fields"]) == {"name", "nmae", "code"}
    assert "nmae" in said["message_en"]
    said = office.refused(422, "fields_invalid", "GET", "/residents?limits=3")
    assert set(said["fields"]) == {"limits"}


def test_the_language_of_a_refusal_is_the_callers(office: Office) -> None:
    said = office.refused(404, "resident_unknown", "GET", "/residents/nobody")
    assert said["message"] == said["message_zh"] == "没有找到这位居民。"
    said = office.refused(404, "resident_unknown", "GET", "/residents/nobody", headers={"Accept-Language": "en-GB,en"})
    assert said["message"] == said["message_en"] == "There is no such resident."


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing-here", 404, "not_found"),
        ("GET", "/residents/UPPER", 404, "not_found"),
        ("GET", "/residents/%00", 404, "not_found"),
        ("DELETE", "/residents", 405, "method_not_allowed"),
    ],
)
def test_what_does_not_exist_is_refused_in_the_one_shape(
    office: Office, method: str, path: str, status: int, code: str
) -> None:
    office.refused(status, code, method, path)


def test_a_list_is_read_page_by_page(office: Office) -> None:
    first = office.ok("GET", "/residents?limit=4")
    second = office.ok("GET", f"/residents?limit=4&cursor={first['next_cursor']}")
    names = [one["name"] for one in first["items"] + second["items"]]
    assert names == [one.name for one in office.people.residents]
    assert second["next_cursor"] is None
    for index in range(5):
        office.credit(index % 2, 3)
    seen: list[str] = []
    cursor = ""
    while True:
        part = office.ok("GET", f"/credits?limit=2{cursor}")
        seen += [one["id"] for one in part["items"]]
        if part["next_cursor"] is None:
            break
        cursor = f"&cursor={part['next_cursor']}"
    assert len(seen) == len(set(seen)) == 5


def test_a_statement_is_read_page_by_page(office: Office) -> None:
    for points in (3, 4, 5):
        office.credit(0, points)
    path = f"/residents/{office.people.residents[0].id}/statement?limit=2"
    first = office.ok("GET", path)
    second = office.ok("GET", f"{path}&cursor={first['next_cursor']}")
    lines = first["items"] + second["items"]
    assert [one["posted_points"] for one in lines] == [12, 7, 3]
    assert second["next_cursor"] is None


def test_a_cursor_holds_for_its_own_list_only(office: Office) -> None:
    for points in (3, 4):
        office.credit(0, points)
    own, other = (one.id for one in office.people.residents[:2])
    cursor = office.ok("GET", f"/residents/{own}/statement?limit=1")["next_cursor"]
    office.refused(400, "cursor_invalid", "GET", f"/residents/{other}/statement?cursor={cursor}")
    office.refused(400, "cursor_invalid", "GET", "/residents?cursor=WzFd")


def test_the_same_key_is_answered_as_the_first_time(office: Office) -> None:
    body = {"resident_id": office.people.residents[0].id, "points": 5, "activity": "扫雪", "reason": "x"}
    first = office.ok("POST", "/credits", body, key="key-00000001")
    assert office.ok("POST", "/credits", body, key="key-00000001") == first
    approved = office.ok("POST", f"/credits/{first['id']}/approve", {}, as_="approver", key="key-00000002")
    with office.unchanged():
        again = office.ok("POST", f"/credits/{first['id']}/approve", {}, as_="approver", key="key-00000002")
        assert again == approved
        # Another person's key of the same name is another key.
        office.ok("POST", "/credits", body, as_="admin", key="key-00000001")
    assert len(office.ok("GET", "/credits")["items"]) == 2


def test_credits_and_decisions_need_a_key(office: Office) -> None:
    body = {"resident_id": office.people.residents[0].id, "points": 5, "activity": "扫雪", "reason": "x"}
    office.refused(400, "idempotency_key_required", "POST", "/credits", body, key="")
    office.refused(400, "idempotency_key_invalid", "POST", "/credits", body, key="short")
    assert office.ok("GET", "/credits")["items"] == []


def test_a_pin_set_twice_with_one_key_is_set_once(office: Office) -> None:
    path = f"/residents/{office.people.residents[0].id}/pin"
    first = office.ok("PUT", path, {"pin": "4711"}, key="pin-key-0001")
    assert office.ok("PUT", path, {"pin": "4711"}, key="pin-key-0001") == first
    office.refused(409, "idempotency_conflict", "PUT", path, {"pin": "4712"}, key="pin-key-0001")
    office.refused(422, "pin_invalid", "PUT", path, {"pin": "12a4"})
    office.refused(422, "pin_invalid", "PUT", path, {"pin": "\u0661\u0662\u0663\u0664"})


def test_a_lost_card_is_replaced_in_one_step(office: Office) -> None:
    resident = office.people.residents[0]
    [card] = office.ok("GET", f"/residents/{resident.id}")["cards"]
    office.refused(409, "card_taken", "POST", f"/residents/{resident.id}/cards", {"uid": resident.card})
    office.refused(422, "card_invalid", "POST", f"/residents/{resident.id}/cards", {"uid": "not hex"})
    new = office.ok("POST", f"/cards/{card['id']}/replace", {"uid": "AABBCCDD"})
    assert (new["state"], new["ending"], new["resident_id"]) == ("active", "CCDD", resident.id)
    shown = office.ok("GET", f"/residents/{resident.id}")
    assert [(one["state"], one["blocked_reason"]) for one in shown["cards"]] == [("blocked", "lost"), ("active", None)]
    office.refused(403, "card_blocked", "POST", f"/cards/{card['id']}/block", {})


def test_a_refused_replacement_leaves_the_old_card_working(office: Office) -> None:
    one, two = office.people.residents[:2]
    [card] = office.ok("GET", f"/residents/{one.id}")["cards"]
    office.refused(409, "card_taken", "POST", f"/cards/{card['id']}/replace", {"uid": two.card})
    assert office.ok("GET", f"/residents/{one.id}")["cards"] == [card]


def test_a_frozen_resident_is_unfrozen_with_every_point(office: Office) -> None:
    office.credit(0, 7)
    path = f"/residents/{office.people.residents[0].id}"
    with office.unchanged():
        office.refused(403, "forbidden", "POST", f"{path}/freeze", {"reason": "x"})
        assert office.ok("POST", f"{path}/freeze", {"reason": "核查"}, as_="approver")["state"] == "frozen"
        assert office.ok("POST", f"{path}/unfreeze", {"reason": "核查完毕"}, as_="approver")["state"] == "active"


def test_nobody_gives_roles_above_their_own_place(office: Office) -> None:
    def new(login: str, role: str, node: str) -> dict[str, object]:
        roles = [{"role": role, "organization_id": node}]
        return {"login": login, "name": "新人", "password": "a long password", "roles": roles}

    made = office.ok("POST", "/staff", new("local.admin", "county_admin", "jiangpan"), as_="admin")
    assert made["roles"] == [{"role": "county_admin", "organization_id": "jiangpan"}]
    answer = office.client.post("/api/v1/auth/token", json={"login": "local.admin", "password": "a long password"})
    headers = {"Authorization": f"Bearer {answer.get_json()['token']}"}
    office.refused(403, "forbidden", "POST", "/staff", new("climber", "approver", "hongya"), as_=None, headers=headers)
    office.ok("POST", "/staff", new("helper", "approver", "jiangpan"), as_=None, headers=headers)
    office.refused(403, "forbidden", "POST", "/staff", new("climber", "approver", "jiangpan"))
    office.refused(409, "login_taken", "POST", "/staff", new("helper", "approver", "jiangpan"), as_="admin")
    office.refused(
        422,
        "password_invalid",
        "POST",
        "/staff",
        new("x.y.z", "approver", "jiangpan") | {"password": "short"},
        as_="admin",
    )


def test_an_operator_of_machines_sees_no_resident(office: Office) -> None:
    resident = office.people.residents[0].id
    for path in ("/residents", f"/residents/{resident}", f"/residents/{resident}/balance", "/credits"):
        office.refused(403, "forbidden", "GET", path, as_="operator")
    assert office.ok("GET", "/machines", as_="operator")["items"] == []


def test_the_documentation_needs_no_other_host(office: Office) -> None:
    page = office.client.get("/api/v1/docs/")
    assert page.status_code == 200
    linked = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(linked) >= 5
    for address in linked:
        assert address.startswith("/api/v1/docs/"), address
        assert office.client.get(address, buffered=True).status_code == 200, address
    assert "http" not in re.sub(r"http://localhost/api/v1/docs/oauth2-redirect.html", "", page.text)
    assert '"validatorUrl": null' in page.text
    styles = "".join(office.client.get(address, buffered=True).text for address in linked if address.endswith(".css"))
    assert not re.search(r"@import|url\((?!\"?data:)", styles)
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]


def test_the_openapi_document_tells_every_endpoint(office: Office) -> None:
    document = office.client.get("/api/v1/openapi.json").get_json()
    told = {
        (path, method.upper())
        for path, methods in document["paths"].items()
        for method in methods
        if method in ("get", "post", "put", "delete")
    }
    rules = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method)
        for rule in office.client.application.url_map.iter_rules()
        if rule.rule.startswith("/api/v1/") and not rule.endpoint.startswith(("docs.", "api-docs."))
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert told == rules
    assert document["security"] == [{"token": []}]
    assert document["paths"]["/api/v1/auth/token"]["post"]["security"] == []
    schema = document["components"]["schemas"]["NewCredit"]
    assert schema["additionalProperties"] is False


def test_health_and_figures_are_open_and_tell_the_truth(office: Office) -> None:
    assert office.client.get("/healthz").get_json() == {"status": "ok"}
    assert office.client.get("/readyz").get_json() == {"status": "ok", "database": True, "link": True}
    office.refused(404, "resident_unknown", "GET", "/residents/nobody")
    figures = office.client.get("/metrics").text
    assert 'jishan_refusals_total{code="resident_unknown"} 1.0' in figures
    assert "jishan_writer_queue_operations 0.0" in figures
    office.parts.writer.close()
    answer = office.client.get("/readyz")
    assert (answer.status_code, answer.get_json()["database"]) == (503, False)
    body = {"estate_id": "jiangpan", "name": "王"}
    office.refused(503, "unavailable", "POST", "/residents", body)

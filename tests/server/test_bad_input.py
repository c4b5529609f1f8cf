"""What people and programs send that is wrong: each is refused in plain words, and no balance moves.

What machines send wrong is in `vending/` and `gateway/`; cards and PINs at a machine in `people/`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parent))

from office import Office, opened


@pytest.fixture
def office(sqlite_template: Path, tmp_path: Path) -> Iterator[Office]:
    """A running server; the first resident has 10 points."""
    with opened(sqlite_template, tmp_path) as made:
        made.credit(0, 10)
        yield made


def credit(office: Office, **changes: Any) -> dict[str, Any]:
    body = {"resident_id": office.people.residents[0].id, "points": 5, "activity": "扫雪", "reason": "参加"}
    return {name: value for name, value in (body | changes).items() if value is not ...}


@pytest.mark.parametrize(
    "points", [0, -1, -(2**63), 1_000_001, 2**53, 10**400, 1.5, 1.0, 1e3, "5", True, [5], {"n": 5}]
)
def test_zero_negative_huge_and_fractional_points_are_refused(office: Office, points: object) -> None:
    with office.unchanged():
        said = office.refused(422, "fields_invalid", "POST", "/credits", credit(office, points=points))
        assert set(said["fields"]) == {"points"}


@pytest.mark.parametrize("minutes", [0, -60, 1441, 90.5, "60", True])
def test_zero_negative_huge_and_fractional_minutes_are_refused(office: Office, minutes: object) -> None:
    with office.unchanged():
        said = office.refused(422, "fields_invalid", "POST", "/credits", credit(office, points=..., minutes=minutes))
        assert set(said["fields"]) == {"minutes"}


def test_a_number_that_json_does_not_know_is_refused(office: Office) -> None:
    for word in ("NaN", "Infinity", "-Infinity"):
        raw = json.dumps(credit(office, points=float(word.replace("Infinity", "inf"))))
        with office.unchanged():
            office.refused(400, "json_invalid", "POST", "/credits", data=raw, content_type="application/json")


def test_minutes_and_points_together_or_neither_are_refused(office: Office) -> None:
    with office.unchanged():
        office.refused(422, "credit_amount", "POST", "/credits", credit(office, minutes=60))
        office.refused(422, "credit_amount", "POST", "/credits", credit(office, points=...))


def test_a_span_too_short_for_a_point_still_counts_as_hours(office: Office) -> None:
    with office.unchanged():
        made = office.ok("POST", "/credits", credit(office, points=..., minutes=59))
        done = office.ok("POST", f"/credits/{made['id']}/approve", {}, as_="approver")
        assert (done["state"], done["minutes"], done["points"], done["transfer_id"]) == ("final", 59, 0, None)


def test_a_credit_for_a_resident_of_another_estate_is_refused(office: Office) -> None:
    office.ok("POST", "/estates", {"id": "shanshui", "parent_id": "qingyijiang", "name": "山水苑"}, as_="admin")
    other = office.ok("POST", "/residents", {"estate_id": "shanshui", "name": "外小区居民"}, as_="admin")
    with office.unchanged():
        office.refused(403, "resident_elsewhere", "POST", "/credits", credit(office, resident_id=other["id"]))
        office.refused(403, "forbidden", "POST", "/credits", credit(office, resident_id=other["id"]), as_="operator")
    made = office.ok("POST", "/credits", credit(office, resident_id=other["id"]), as_="admin")
    with office.unchanged():
        office.refused(403, "forbidden", "POST", f"/credits/{made['id']}/approve", {}, as_="approver")
        office.refused(403, "forbidden", "GET", f"/credits/{made['id']}")
        office.refused(403, "forbidden", "GET", f"/residents/{other['id']}/balance")
        office.refused(403, "forbidden", "GET", "/residents?estate_id=shanshui")
    assert office.ok("GET", f"/residents/{other['id']}/balance", as_="admin")["posted_points"] == 0


def test_a_credit_for_nobody_is_refused(office: Office) -> None:
    with office.unchanged():
        office.refused(404, "resident_unknown", "POST", "/credits", credit(office, resident_id="nobody"))
        office.refused(404, "credit_unknown", "POST", "/credits/nothing/approve", {}, as_="approver")


def test_the_recorder_never_approves(office: Office) -> None:
    made = office.ok("POST", "/credits", credit(office), as_="admin")
    with office.unchanged():
        office.refused(403, "credit_same_person", "POST", f"/credits/{made['id']}/approve", {}, as_="admin")
        office.refused(403, "credit_same_person", "POST", f"/credits/{made['id']}/reject", {"reason": "x"}, as_="admin")
        office.refused(403, "forbidden", "POST", f"/credits/{made['id']}/approve", {}, as_="coordinator")


def test_nobody_approves_their_own_credit(office: Office) -> None:
    own = office.people.residents[0].id
    office.ok(
        "POST",
        "/staff",
        {
            "login": "wang.jianhua",
            "name": "王建华",
            "password": "a long password",
            "roles": [{"role": "approver", "organization_id": "jiangpan"}],
            "resident_id": own,
        },
        as_="admin",
    )
    token = office.client.post("/api/v1/auth/token", json={"login": "wang.jianhua", "password": "a long password"})
    headers = {"Authorization": f"Bearer {token.get_json()['token']}"}
    made = office.ok("POST", "/credits", credit(office))
    with office.unchanged():
        path = f"/credits/{made['id']}/approve"
        office.refused(403, "credit_own", "POST", path, {}, as_=None, key="own-key-0001", headers=headers)
    office.ok("POST", path, {}, as_="approver")
    assert office.balances()[f"res:{own}"] == (15, 0)


def test_a_credit_is_decided_once(office: Office) -> None:
    made = office.credit(0, 5)
    with office.unchanged():
        said = office.refused(409, "credit_closed", "POST", f"/credits/{made['id']}/approve", {}, as_="secretary")
        assert said["fields"] == {"state": "final"}
        office.refused(409, "credit_closed", "POST", f"/credits/{made['id']}/reject", {"reason": "x"}, as_="secretary")
    other = office.ok("POST", "/credits", credit(office))
    with office.unchanged():
        office.refused(
            422, "fields_invalid", "POST", f"/credits/{other['id']}/reject", {"reason": "  "}, as_="approver"
        )
        office.ok("POST", f"/credits/{other['id']}/reject", {"reason": "没有到场"}, as_="approver")
        office.refused(409, "credit_closed", "POST", f"/credits/{other['id']}/approve", {}, as_="approver")


def test_the_same_idempotency_key_with_another_body_is_refused(office: Office) -> None:
    office.ok("POST", "/credits", credit(office), key="the-same-key")
    with office.unchanged():
        office.refused(409, "idempotency_conflict", "POST", "/credits", credit(office, points=6), key="the-same-key")
        body = {"estate_id": "jiangpan", "name": "王"}
        office.refused(409, "idempotency_conflict", "POST", "/residents", body, key="the-same-key")
    assert len(office.ok("GET", "/credits?state=recorded")["items"]) == 1


def test_json_that_is_not_is_refused(office: Office) -> None:
    for raw in (b"{", b"{'a': 1}", b"\xff\xfe", b'{"a": 1} x', b"[" * 3, b'{"points": ' + b"9" * 5000 + b"}", b"nul"):
        with office.unchanged():
            office.refused(400, "json_invalid", "POST", "/credits", data=raw, content_type="application/json")
    with office.unchanged():
        for raw in (b"null", b"[]", b"5", b'"text"'):
            said = office.refused(422, "fields_invalid", "POST", "/credits", data=raw, content_type="application/json")
            assert said["fields"]


def test_a_body_that_is_not_said_to_be_json_is_refused(office: Office) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        with office.unchanged():
            raw = json.dumps(credit(office))
            office.refused(415, "media_type_unsupported", "POST", "/credits", data=raw, content_type=kind)


def test_1_mib_of_json_is_refused(office: Office) -> None:
    with office.unchanged():
        said = office.refused(413, "body_too_large", "POST", "/credits", credit(office, reason="好" * 2**20))
        assert said["fields"] == {"limit": 65536}
        raw = b"[" * 2**20
        office.refused(413, "body_too_large", "POST", "/credits", data=raw, content_type="application/json")


@pytest.mark.parametrize("depth", [17, 900, 1100, 30_000])
@pytest.mark.parametrize(("left", "middle", "right"), [("[", "", "]"), ('{"a":', "1", "}")])
def test_deeply_nested_json_is_refused(office: Office, depth: int, left: str, middle: str, right: str) -> None:
    raw = (left * depth + middle + right * depth)[:65_000]
    with office.unchanged():
        office.refused(400, "json_too_deep", "POST", "/credits", data=raw, content_type="application/json")


def test_names_with_rare_signs_and_emoji_stay_as_they_are(office: Office) -> None:
    for name in ("𠮷田小美", "赵丽🌸", "👨‍👩‍👧‍👦一家", "é̂", "𪚥" * 100):
        with office.unchanged():
            made = office.ok("POST", "/residents", {"estate_id": "jiangpan", "name": name})
            assert office.ok("GET", f"/residents/{made['id']}")["name"] == name
            assert name in office.send("GET", f"/residents/{made['id']}").text
    body = credit(office, activity="帮𠮷奶奶🛒", reason="=1+1")
    assert office.ok("POST", "/credits", body)["activity"] == "帮𠮷奶奶🛒"


@pytest.mark.parametrize("name", ["", "   ", "a\x00b", "a\nb", "\ud800", "x" * 101, 5, None, ["王"]])
def test_text_that_is_no_name_is_refused(office: Office, name: object) -> None:
    with office.unchanged():
        raw = json.dumps({"estate_id": "jiangpan", "name": name})
        said = office.refused(422, "fields_invalid", "POST", "/residents", data=raw, content_type="application/json")
        assert set(said["fields"]) == {"name"}
    assert len(office.ok("GET", "/residents")["items"]) == 6


def test_thousands_of_wrong_field_names_are_answered_briefly(office: Office) -> None:
    names = ["\ud800", "names", "self", "code", "字" * 100, *(f"f{number}" for number in range(3000))]
    raw = json.dumps(dict.fromkeys(names, 1))
    with office.unchanged():
        said = office.refused(422, "fields_invalid", "POST", "/residents", data=raw, content_type="application/json")
        assert len(said["fields"]) <= 50
        assert len(said["message_en"]) < 1000


def test_a_claim_code_used_twice_is_refused(office: Office) -> None:
    machine = {"machine_id": "box-1", "estate_id": "jiangpan", "name": "东门"}
    office.ok("POST", "/machines", machine, as_="operator")
    code = office.ok("POST", "/machines/box-1/claim-code", as_="operator")["claim_code"]
    wanted = {"claim_code": code, "journal_id": "a" * 32}
    let_in = office.ok("POST", "/enroll", wanted, as_=None)
    assert let_in["machine_id"] == "box-1"
    assert let_in["mqtt_url"] == "mqtt://localhost:1883"
    # The answer may have been lost: the same journal is told again, another one never.
    assert office.ok("POST", "/enroll", wanted, as_=None) == let_in
    with office.unchanged():
        office.refused(409, "claim_code_used", "POST", "/enroll", wanted | {"journal_id": "b" * 32}, as_=None)
        office.refused(404, "claim_code_unknown", "POST", "/enroll", wanted | {"claim_code": "ABCD"}, as_=None)
    fresh = office.ok("POST", "/machines/box-1/claim-code", as_="operator")["claim_code"]
    office.tick(hours=24)
    wanted = {"claim_code": fresh, "journal_id": "c" * 32}
    office.refused(410, "claim_code_expired", "POST", "/enroll", wanted, as_=None)


def test_a_claim_code_asked_for_twice_with_one_key_is_the_same(office: Office) -> None:
    machine = {"machine_id": "box-1", "estate_id": "jiangpan", "name": "东门"}
    office.ok("POST", "/machines", machine, as_="admin")
    first = office.ok("POST", "/machines/box-1/claim-code", as_="admin", key="claim-key-01")
    assert office.ok("POST", "/machines/box-1/claim-code", as_="admin", key="claim-key-01") == first


def test_a_planogram_against_an_older_one_is_refused(office: Office) -> None:
    office.ok("POST", "/machines", {"machine_id": "box-1", "estate_id": "jiangpan", "name": "东门"}, as_="admin")
    product = {"product_id": "soap", "estate_id": "jiangpan", "name_zh": "肥皂", "name_en": "Soap"}
    office.ok("POST", "/products", product, as_="operator")
    slot = {"selection": 13, "product_id": "soap", "points": 2, "capacity": 5}
    path = "/machines/box-1/planogram"
    assert office.ok("PUT", path, {"replaces": 0, "slots": [slot]}, as_="operator")["version"] == 1
    with office.unchanged():
        office.refused(409, "planogram_conflict", "PUT", path, {"replaces": 0, "slots": [slot]}, as_="operator")
        said = office.refused(
            422, "fields_invalid", "PUT", path, {"replaces": 1, "slots": [slot | {"points": 0}]}, as_="operator"
        )
        assert set(said["fields"]) == {"slots.0.points"}
        stock = {"counts": [{"selection": 14, "stock": 1}]}
        office.refused(404, "selection_unknown", "PUT", "/machines/box-1/stock", stock, as_="operator")
        stock = {"counts": [{"selection": 13, "stock": 6}]}
        office.refused(422, "stock_invalid", "PUT", "/machines/box-1/stock", stock, as_="operator")
    stock = {"counts": [{"selection": 13, "stock": 5}]}
    assert office.ok("PUT", "/machines/box-1/stock", stock, as_="operator")["slots"][0]["stock"] == 5

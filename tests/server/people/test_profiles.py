"""What is kept of a person, who sees how much of it, and how people are found."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from office import Office
from sqlalchemy import select

from jishan_server import audit
from jishan_server.people.id_numbers import check_sign, normalised

# Invented: a place that is not given out. 11010519491231002X is the example of GB 11643 itself.
ID_NUMBER = "11010519491231002X"
WHOLE = {
    "estate_id": "jiangpan",
    "name": "王小明",
    "phone": "13812345678",
    "sex": "m",
    "birth_day": "1949-12-31",
    "id_number": ID_NUMBER,
    "building": "3",
    "unit": "2",
    "room": "501",
    "email": "wang@example.cn",
    "category": "助老",
    "language": "en",
    "skills": [{"name": "电工", "licence": "T-110", "expires_on": "2027-06-30"}, {"name": "理发"}],
}


def test_everything_of_order_67_is_kept_and_nothing_of_it_is_required(office: Office) -> None:
    made = office.ok("POST", "/residents", WHOLE)
    again = office.ok("GET", f"/residents/{made['id']}")
    assert again == made
    for name, value in WHOLE.items():
        if name not in ("id_number", "skills"):
            assert made[name] == value
    assert made["skills"][0] == WHOLE["skills"][0]
    assert made["has_id_number"]
    assert "id_number" not in json.dumps(made).replace("has_id_number", "")
    bare = office.ok("POST", "/residents", {"estate_id": "jiangpan", "name": "无电话"})
    assert (bare["phone"], bare["birth_day"], bare["has_id_number"], bare["skills"]) == (None, None, False, [])


def test_an_id_number_lies_nowhere(office: Office) -> None:
    made = office.ok("POST", "/residents", WHOLE)
    office.ok("PUT", f"/residents/{made['id']}", {"id_number": "１１０１０５１９４９１２３１００２ｘ"})
    office.parts.writer.close()
    with office.parts.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    raw = (office.parts.config.data_dir / "jishan.db").read_bytes()
    assert ID_NUMBER.encode() not in raw
    assert ID_NUMBER[:17].encode() not in raw


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"id_number": "110105194912310021"}, "id_number_invalid"),
        ({"id_number": "1"}, "id_number_invalid"),
        ({"birth_day": "2026-03-03"}, "birth_day_invalid"),
        ({"birth_day": "1899-12-31"}, "birth_day_invalid"),
        ({"birth_day": "2026-02-30"}, "fields_invalid"),
        ({"phone": "x"}, "phone_invalid"),
        ({"email": "x"}, "email_invalid"),
        ({"sex": "x"}, "fields_invalid"),
        ({"points": 3}, "fields_invalid"),
    ],
)
def test_what_is_wrong_is_named_and_changes_nothing(office: Office, body: dict[str, str], code: str) -> None:
    id = office.people.residents[0].id
    before = office.ok("GET", f"/residents/{id}")
    office.refused(422, code, "PUT", f"/residents/{id}", body)
    office.refused(422, code, "POST", "/residents", {"estate_id": "jiangpan", "name": "x"} | body)
    assert office.ok("GET", f"/residents/{id}") == before


@given(st.from_regex(r"[1-9][0-9]{5}19[0-9]{2}(0[1-9]|1[0-2])(0[1-9]|1[0-9]|2[0-8])[0-9]{3}", fullmatch=True))
def test_the_check_sign_finds_every_single_wrong_sign(digits: str) -> None:
    number = digits + check_sign(digits)
    assert normalised(number.lower()) == number
    for place in range(18):
        other = "1" if number[place] != "1" else "2"
        assert normalised(number[:place] + other + number[place + 1 :]) is None


def test_an_edit_changes_what_is_named_and_the_audit_log_has_no_values(office: Office) -> None:
    made = office.ok("POST", "/residents", WHOLE)
    changes = {"building": "5", "room": None, "skills": [{"name": "理发"}], "phone": WHOLE["phone"]}
    edited = office.ok("PUT", f"/residents/{made['id']}", changes)
    assert (edited["building"], edited["room"], edited["unit"], edited["name"]) == ("5", None, "2", "王小明")
    assert [skill["name"] for skill in edited["skills"]] == ["理发"]
    with office.parts.engine.connect() as connection:
        rows = connection.execute(select(audit.entries).order_by(audit.entries.c.number)).all()
    assert json.loads(rows[-1].details) == {"fields": ["building", "room", "skills"]}
    assert not [row for row in rows if "13812345678" in row.details or "501" in row.details]
    count = len(rows)
    office.ok("PUT", f"/residents/{made['id']}", {"building": "5"})
    with office.parts.engine.connect() as connection:
        assert len(connection.execute(select(audit.entries.c.number)).all()) == count


def test_who_does_not_register_people_sees_them_masked(office: Office) -> None:
    made = office.ok("POST", "/residents", WHOLE)
    shown = office.ok("GET", f"/residents/{made['id']}", as_="approver")
    assert (shown["name"], shown["phone"], shown["building"], shown["is_masked"]) == (
        "王小明",
        "138****5678",
        "3",
        True,
    )
    assert [shown[name] for name in ("birth_day", "unit", "room", "email")] == [None] * 4
    assert shown["skills"][0] == {"name": "电工", "licence": None, "expires_on": "2027-06-30"}
    listed = office.ok("GET", "/residents?name=小明", as_="approver")["items"]
    assert [one["phone"] for one in listed] == ["138****5678"]
    frozen = office.ok("POST", f"/residents/{made['id']}/freeze", {"reason": "x"}, as_="approver")
    assert frozen["is_masked"]


def test_people_are_found_by_name_number_phone_card_and_building(office: Office) -> None:
    made = office.ok("POST", "/residents", WHOLE | {"name": "王%明"})
    office.ok("POST", f"/residents/{made['id']}/cards", {"uid": "A1B2C3D4"})
    for query in (
        "name=王%25",
        f"member_number={made['member_number']}",
        "phone_ending=5678",
        "card_ending=c3d4",
        "building=3",
        "name=明&building=3",
    ):
        found = office.ok("GET", f"/residents?{query}")["items"]
        assert [one["id"] for one in found] == [made["id"]], query
    assert office.ok("GET", "/residents?phone_ending=0000")["items"] == []
    office.refused(422, "fields_invalid", "GET", "/residents?phone_ending=%25")


def test_those_awaiting_consent_are_listed(office: Office) -> None:
    made = office.ok("POST", "/residents", {"estate_id": "jiangpan", "name": "未同意", "consent": None})
    found = office.ok("GET", "/residents?awaiting_consent=true&estate_id=jiangpan")["items"]
    assert [one["id"] for one in found] == [made["id"]]


def test_a_child_is_registered_with_a_guardian_on_paper(office: Office) -> None:
    child = {"estate_id": "jiangpan", "name": "小朋友", "birth_day": "2015-05-05"}
    office.refused(403, "guardian_needed", "POST", "/residents", child)
    guardian = {"resident_id": office.people.residents[0].id}
    paper = {"how": "paper", "form_number": "F-12", "form_day": "2026-03-01", "guardian": guardian}
    assert office.ok("POST", "/residents", child | {"consent": paper})["consent_state"] == "given"
    assert office.ok("POST", "/residents", child | {"consent": None})["consent_state"] == "awaiting"
    late = paper | {"form_day": "2026-03-03"}
    office.refused(422, "form_day_invalid", "POST", "/residents", child | {"consent": late})
    both = paper | {"guardian": guardian | {"name": "妈妈"}}
    office.refused(422, "guardian_invalid", "POST", "/residents", child | {"consent": both})

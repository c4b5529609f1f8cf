"""Who looked is written down, everybody gets a copy of everything about them, and forgetting forgets for good."""

from __future__ import annotations

import json
import shutil
import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from office import Office
from sqlalchemy import Engine, delete, func, insert, select, update
from sqlalchemy.exc import DBAPIError

from jishan_protocol.sealing import Credential
from jishan_server.db import writing
from jishan_server.errors import DomainError
from jishan_server.organizations.roles import SYSTEM, Role
from jishan_server.people import consents, privacy
from jishan_server.people.credentials import identify, prepare
from jishan_server.people.privacy_tables import personal_accesses
from jishan_server.people.staff import CreateStaff, Grant
from jishan_server.people.tables import cards, residents
from jishan_server.writer import Operation

WHOLE = {
    "estate_id": "jiangpan",
    "name": "王小明",
    "phone": "13812345678",
    "sex": "m",
    "birth_day": "1949-12-31",
    "id_number": "11010519491231002X",
    "building": "3",
    "unit": "2",
    "room": "5031",
    "email": "wangxm@example.cn",
    "skills": [{"name": "电工", "licence": "T-110"}],
    "consent": {"how": "paper", "form_number": "F-1", "guardian": {"name": "王大力", "phone": "13987654321"}},
}
ERASURE = {"reason": "asked", "cannot_be_undone": True}


def written(office: Office) -> None:
    """Wait until what was queued before is committed."""
    office.parts.writer.call(Operation(f"ping {next(office.keys)}", "ping", None))


def own(office: Office, resident: int = 0) -> dict[str, str]:
    """The header of a resident who has logged in."""
    one = office.people.residents[resident]
    body = {"member_number": one.member_number, "pin": one.pin}
    token = office.ok("POST", "/auth/resident-token", body, as_=None)["token"]
    return {"Authorization": f"Bearer {token}"}


def mine(office: Office, headers: dict[str, str], method: str, path: str, body: Any = None) -> Any:
    return office.ok(method, path, body, as_=None, headers=headers)


def test_each_look_of_staff_at_a_person_is_a_row_that_the_person_can_read(office: Office) -> None:
    one = office.people.residents[0]
    headers = own(office)
    office.ok("GET", f"/residents/{one.id}", as_="approver")
    office.ok("GET", f"/residents/{one.id}/balance", as_="approver")
    office.ok("GET", f"/residents/{one.id}/statement", as_="admin")
    office.ok("GET", f"/residents/{one.id}/consents", as_="admin")
    office.refused(403, "forbidden", "GET", f"/residents/{one.id}", as_="operator")
    mine(office, headers, "GET", "/me")
    written(office)
    rows = mine(office, headers, "GET", "/me/accesses")["items"]
    assert [(row["staff_name"], row["what"]) for row in rows] == [
        ("县级管理员", "consents"),
        ("县级管理员", "statement"),
        ("李国强", "balance"),
        ("李国强", "record"),
    ]
    first = mine(office, headers, "GET", "/me/accesses?limit=3")
    rest = mine(office, headers, "GET", f"/me/accesses?limit=3&cursor={first['next_cursor']}")
    assert first["items"] + rest["items"] == rows
    assert office.ok("GET", f"/residents/{one.id}/accesses", as_="admin")["items"] == rows
    office.refused(403, "forbidden", "GET", f"/residents/{one.id}/accesses", as_="coordinator")


def test_a_list_is_one_row_with_its_number_of_people(office: Office) -> None:
    office.ok("GET", "/residents?limit=4")
    office.ok("GET", "/residents?name=nobody")
    office.ok("GET", "/residents?name=王")
    written(office)
    with office.parts.engine.connect() as connection:
        rows = connection.execute(select(personal_accesses).order_by(personal_accesses.c.number)).all()
    assert [(row.what, row.resident_id, row.people) for row in rows] == [("list", None, 4), ("search", None, 1)]


@pytest.fixture(params=["sqlite_file", "postgresql_database"])
def database(request: pytest.FixtureRequest) -> Engine:
    found: Engine = request.getfixturevalue(request.param)
    return found


def test_who_looked_is_kept_for_six_months_whatever_anybody_asks(database: Engine, office: Office) -> None:
    ages = (0, 100, 183, 185, 400)
    with writing(database) as connection:
        connection.execute(
            insert(personal_accesses),
            [
                {
                    "recorded_at": office.now - timedelta(days=days),
                    "actor": "x",
                    "what": "record",
                    "people": 1,
                    "request_id": "x",
                }
                for days in ages
            ],
        )
    a = personal_accesses.c
    for statement in (delete(personal_accesses), update(personal_accesses).values(actor="y")):
        with pytest.raises(DBAPIError), writing(database) as connection:
            connection.execute(statement)
    with writing(database) as connection:
        # A clock ten years ahead lets nothing more go than the table's own newest row does.
        privacy.retain(connection, [], office.now + timedelta(days=3650), months=6)
        assert connection.scalar(select(func.count()).select_from(personal_accesses)) == 4
        privacy.retain(connection, [], office.now, months=12)
        assert connection.scalar(select(func.max(a.recorded_at) - func.min(a.recorded_at))) is not None
    with writing(database) as connection:
        connection.execute(delete(personal_accesses).where(a.recorded_at < office.now - timedelta(days=184)))
        assert connection.scalar(select(func.count()).select_from(personal_accesses)) == 3


def test_the_timer_removes_who_looked_after_the_setting(office: Office) -> None:
    office.ok("GET", f"/residents/{office.people.residents[0].id}")
    written(office)
    office.tick(days=800)
    office._tokens.clear()
    office.ok("GET", f"/residents/{office.people.residents[0].id}")
    written(office)
    office.parts.writer.call(Operation("retain", privacy.RETAIN, None))
    with office.parts.engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(personal_accesses)) == 1


def test_a_person_gets_everything_about_them_and_no_secret(office: Office) -> None:
    made = office.ok("POST", "/residents", WHOLE)
    office.ok("POST", f"/residents/{made['id']}/cards", {"uid": "A1B2C3D4"})
    office.ok("PUT", f"/residents/{made['id']}/pin", {"pin": "864209"})
    body = {"resident_id": made["id"], "points": 3, "activity": "扫雪", "reason": "参加"}
    credit = office.ok("POST", "/credits", body)
    office.ok("POST", f"/credits/{credit['id']}/approve", {}, as_="approver")
    told = office.ok("GET", f"/residents/{made['id']}/export", as_="admin")
    assert told["profile"]["phone"] == "13812345678"
    assert told["profile"]["id_number_ending"] == "002X"
    assert told["points"]["posted_points"] == 3
    assert [entry["posted_change_points"] for entry in told["entries"]] == [3]
    assert {"cards", "consents", "credits", "resident_skills", "guardians"} <= told["records"].keys()
    assert told["records"]["credits"][0]["activity"] == "扫雪"
    words = json.dumps(told)
    assert "hash" not in words
    assert "argon2" not in words
    headers = {"member_number": made["member_number"], "pin": "864209"}
    token = office.ok("POST", "/auth/resident-token", headers, as_=None)["token"]
    same = mine(office, {"Authorization": f"Bearer {token}"}, "GET", "/me/export")
    assert same["entries"] == told["entries"]
    assert "王建华" not in words
    office.refused(403, "forbidden", "GET", f"/residents/{made['id']}/export", as_="coordinator")
    written(office)
    rows = office.ok("GET", f"/residents/{made['id']}/accesses", as_="admin")["items"]
    assert [row["what"] for row in rows if row["what"] == "export"] == ["export"]


def raw(office: Office, folder: Path) -> bytes:
    """Every byte of the database that a reader could find: pages that are free again are not kept."""
    with office.parts.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(office.parts.config.data_dir / "jishan.db", folder / "copy.db")
    copy = sqlite3.connect(folder / "copy.db", isolation_level=None)
    copy.execute("VACUUM")
    copy.close()
    return (folder / "copy.db").read_bytes()


def test_erasing_leaves_the_sums_and_no_word_of_the_person(office: Office, tmp_path: Path) -> None:
    made = office.ok("POST", "/residents", WHOLE)
    card = office.ok("POST", f"/residents/{made['id']}/cards", {"uid": "A1B2C3D4"}, key="the-card-key")
    office.ok("PUT", f"/residents/{made['id']}/pin", {"pin": "864209"})
    body = {"resident_id": made["id"], "points": 3, "activity": "扫雪", "reason": "参加"}
    credit = office.ok("POST", "/credits", body)
    office.ok("POST", f"/credits/{credit['id']}/approve", {}, as_="approver")
    secrets = ("王小明", "13812345678", "5031", "wangxm@example.cn", "T-110", "王大力", "13987654321")
    before = raw(office, tmp_path)
    assert all(word.encode() in before for word in secrets)
    with office.parts.engine.connect() as connection:
        hash = connection.scalar(select(cards.c.hash).where(cards.c.id == card["id"]))
        id_hash = connection.scalar(select(residents.c.id_number_hash).where(residents.c.id == made["id"]))
    gone = office.ok("POST", f"/residents/{made['id']}/erase", ERASURE, as_="admin")
    assert (gone["name"], gone["phone"], gone["state"], gone["member_number"]) == (
        "已匿名",
        None,
        "frozen",
        made["member_number"],
    )
    assert gone["erased_at"] is not None
    after = raw(office, tmp_path)
    assert not [word for word in (*secrets, hash, id_hash) if str(word).encode() in after]
    assert office.ok("GET", f"/residents/{made['id']}/balance")["posted_points"] == 3
    assert office.ok("GET", f"/residents/{made['id']}/statement")["items"][0]["activity"] == "扫雪"
    office.refused(409, "resident_erased", "POST", f"/residents/{made['id']}/erase", ERASURE, as_="admin")
    office.refused(409, "resident_erased", "PUT", f"/residents/{made['id']}", {"name": "王小明"})
    # What the writer remembered of the person is gone too.
    again = office.send("POST", f"/residents/{made['id']}/cards", {"uid": "A1B2C3D4"}, key="the-card-key")
    assert again.get_json()["code"] == "resident_erased"
    # The card is nobody's now, and may be given to somebody else.
    hashing = office.parts.hashing
    with writing(office.parts.engine) as connection:
        [who] = identify(connection, prepare(connection, [Credential(card="A1B2C3D4")], hashing), hashing, office.now)
    assert who == DomainError("card_unknown")
    office.ok("POST", f"/residents/{office.people.residents[1].id}/cards", {"uid": "A1B2C3D4"})


def test_a_record_goes_with_the_one_it_was_merged_into(both: Office) -> None:
    first, second = both.people.residents[:2]
    body = {"into_id": second.id, "reason": "同一人"}
    both.ok("POST", f"/residents/{first.id}/merge", body, as_="admin")
    told = both.ok("GET", f"/residents/{second.id}/export", as_="admin")
    assert {row["resident_id"] for row in told["records"]["consents"]} == {first.id, second.id}
    both.ok("POST", f"/residents/{second.id}/erase", ERASURE, as_="admin")
    with both.parts.engine.connect() as connection:
        names = connection.scalars(select(residents.c.name).where(residents.c.id.in_([first.id, second.id]))).all()
        assert names == ["已匿名"] * 2
        assert connection.scalar(select(func.count()).select_from(cards).where(cards.c.ending != "")) == 4


def test_nothing_is_erased_by_mistake(office: Office) -> None:
    id = office.people.residents[0].id
    for body in ({"reason": "asked"}, {"reason": "asked", "cannot_be_undone": False}, ERASURE | {"reason": "x"}):
        office.refused(422, "fields_invalid", "POST", f"/residents/{id}/erase", body, as_="admin")
    office.refused(403, "forbidden", "POST", f"/residents/{id}/erase", ERASURE)
    assert office.ok("GET", f"/residents/{id}")["erased_at"] is None


def test_names_are_public_only_masked_and_with_consent(office: Office) -> None:
    ids = [one.id for one in office.people.residents[:3]]
    withdraw = consents.WithdrawConsent(SYSTEM, ids[2], "desk")
    office.parts.writer.call(Operation("w", "withdraw_consent", withdraw))
    with office.parts.engine.connect() as connection:
        assert privacy.public_names(connection, ids) == {ids[0]: "王*华", ids[1]: "刘*芳"}


def test_consent_is_given_and_withdrawn_on_ones_own_phone(office: Office) -> None:
    headers = own(office)
    about = mine(office, headers, "GET", "/me/consents")
    assert (about["state"], about["text"]["version"]) == ("given", 1)
    assert "撤回" in about["text"]["zh"]
    assert mine(office, headers, "POST", "/me/consents/withdraw")["how"] == "phone"
    assert mine(office, headers, "GET", "/me/consents")["state"] == "withdrawn"
    office.refused(409, "consent_text_changed", "POST", "/me/consents", {"text_version": 9}, as_=None, headers=headers)
    given = mine(office, headers, "POST", "/me/consents", {"text_version": 1})
    assert (given["is_given"], given["written_by"]) == (True, f"resident:{office.people.residents[0].id}")
    said = office.ok("GET", f"/residents/{office.people.residents[0].id}/consents")["items"]
    assert [(one["how"], one["is_given"]) for one in said] == [("phone", True), ("phone", False), ("desk", True)]


def test_the_desk_takes_consent_on_paper_and_its_withdrawal(office: Office) -> None:
    made = office.ok("POST", "/residents", {"estate_id": "jiangpan", "name": "新人", "consent": None})
    paper = {"how": "paper", "form_number": "F-3", "form_day": "2026-03-02"}
    assert office.ok("POST", f"/residents/{made['id']}/consents", paper)["form_number"] == "F-3"
    assert office.ok("GET", f"/residents/{made['id']}")["consent_state"] == "given"
    office.ok("POST", f"/residents/{made['id']}/consents/withdraw", {})
    office.refused(409, "consent_not_given", "POST", f"/residents/{made['id']}/consents/withdraw", {})
    office.refused(403, "forbidden", "POST", f"/residents/{made['id']}/consents", {}, as_="approver")


def test_a_new_text_is_published_by_the_county(office: Office) -> None:
    new = {"zh": "新" * 50, "en": "new " * 20, "from_day": "2026-03-09"}
    assert office.ok("POST", "/consent-texts", new, as_="admin")["version"] == 2
    assert [text["version"] for text in office.ok("GET", "/consent-texts")["items"]] == [1, 2]
    office.refused(422, "consent_text_day", "POST", "/consent-texts", new | {"from_day": "2026-03-01"}, as_="admin")
    office.refused(403, "forbidden", "POST", "/consent-texts", new, as_="coordinator")
    headers = own(office)
    assert mine(office, headers, "GET", "/me/consents")["text"]["version"] == 1
    office.tick(days=7)
    assert mine(office, headers, "GET", "/me/consents")["text"]["version"] == 2


def test_a_lost_card_is_blocked_from_the_phone_and_nobody_elses_is(office: Office) -> None:
    headers, other = own(office), own(office, 1)
    [card] = mine(office, headers, "GET", "/me")["cards"]
    path = f"/me/cards/{card['id']}/block"
    office.refused(404, "card_unknown", "POST", path, {}, as_=None, headers=other)
    assert mine(office, headers, "POST", path, {})["state"] == "blocked"


def test_a_person_sees_points_and_the_months_entries_as_a_sheet_without_formulas(office: Office) -> None:
    one = office.people.residents[0]
    headers = own(office)
    # 28 February, 23:30 in Shanghai, and two hours later.
    office.now = office.now.replace(month=2, day=28, hour=15, minute=30)
    march = office.now + timedelta(hours=2)
    body = {"resident_id": one.id, "points": 2, "activity": "=HYPERLINK(1)", "reason": "x"}
    for at in (office.now, march):
        office.now = at
        credit = office.ok("POST", "/credits", body)
        office.ok("POST", f"/credits/{credit['id']}/approve", {}, as_="approver")
    headers = own(office)
    assert mine(office, headers, "GET", "/me/balance")["available_points"] == 4
    assert mine(office, headers, "GET", "/me/balance")["pending_points"] == 0
    assert len(mine(office, headers, "GET", "/me/statement")["items"]) == 2
    [entry] = mine(office, headers, "GET", "/me/statement/month?month=2026-02")["items"]
    assert entry["posted_points"] == 2
    answer = office.send("GET", "/me/statement/month.csv?month=2026-03", as_=None, headers=headers)
    assert answer.content_type == "text/csv; charset=utf-8"
    header, row, _ = answer.data.decode("utf-8-sig").split("\r\n")
    assert header.startswith("时间,类别,活动")
    assert row.startswith("2026-03-01 01:30:00,记入,'=HYPERLINK(1),2,0,4,4,")
    office.refused(422, "fields_invalid", "GET", "/me/statement/month?month=2026-13", as_=None, headers=headers)


def test_a_person_closes_their_own_account(office: Office) -> None:
    headers = own(office)
    assert mine(office, headers, "POST", "/me/close", {"reason": "搬家"})["state"] == "closed"
    office.refused(401, "token_invalid", "GET", "/me", as_=None, headers=headers)


def test_duplicates_are_shown_with_their_evidence_and_dismissed_for_good(both: Office) -> None:
    office = both
    first = office.ok("POST", "/residents", WHOLE)
    second = office.ok("POST", "/residents", WHOLE | {"building": "9", "consent": None})
    office.ok("POST", "/residents", {"estate_id": "jiangpan", "name": "王小明", "building": "9"})
    pairs = office.ok("GET", "/duplicates?estate_id=jiangpan")["items"]
    assert [pair["evidence"] for pair in pairs] == [
        ["id_number", "name_and_birth_day", "phone"],
        ["name_and_building"],
    ]
    assert {pairs[0]["first"]["id"], pairs[0]["second"]["id"]} == {first["id"], second["id"]}
    assert pairs[0]["first"]["phone"] == "138****5678"
    two = {"first_id": second["id"], "second_id": first["id"]}
    for _ in range(2):
        office.ok("POST", "/duplicates/dismiss", two)
    assert [pair["evidence"] for pair in office.ok("GET", "/duplicates")["items"]] == [["name_and_building"]]
    office.refused(
        422, "pair_invalid", "POST", "/duplicates/dismiss", {"first_id": first["id"], "second_id": first["id"]}
    )
    office.refused(403, "forbidden", "GET", "/duplicates", as_="approver")


def test_nobody_sees_the_people_of_another_estate(office: Office) -> None:
    office.ok("POST", "/estates", {"id": "hepan", "parent_id": "qingyijiang", "name": "河畔"}, as_="admin")
    there = CreateStaff(SYSTEM, "neighbour", "x", "x", (Grant(Role.COORDINATOR, "hepan"),))
    office.parts.writer.call(Operation("neighbour", "create_staff", there))
    theirs = office.ok("POST", "/residents", WHOLE | {"estate_id": "hepan"}, as_="admin")
    office.ok("POST", "/residents", WHOLE)
    assert theirs["id"] not in {one["id"] for one in office.ok("GET", "/residents?name=小明")["items"]}
    assert office.ok("GET", "/duplicates")["items"] == []
    assert len(office.ok("GET", "/duplicates", as_="admin")["items"]) == 1
    office.refused(403, "forbidden", "GET", "/residents?estate_id=hepan")
    two = {"first_id": theirs["id"], "second_id": office.people.residents[0].id}
    office.refused(403, "forbidden", "POST", "/duplicates/dismiss", two)

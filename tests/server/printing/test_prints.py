"""Papers over HTTP: who gets which, what stands on them, and how their files are called."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

sys.path += [str(Path(__file__).parent), *(str(Path(__file__).parents[1] / name) for name in ("", "volunteering"))]

from activity_office import Club
from click.testing import CliRunner
from link_world import World
from office import Office, opened
from pdf_text import pages_of, texts_of
from sqlalchemy import update
from test_crediting import Desk

from jishan_server.cli import main
from jishan_server.db import writing
from jishan_server.people.tables import residents


@pytest.fixture
def desk(office: Office) -> Desk:
    return Desk(office)


def paper(office: Office, path: str, **more: Any) -> tuple[str, str]:
    """What a paper says, without spaces, and what its file is called."""
    answer = office.send("GET", path, **more)
    assert answer.status_code == 200, answer.text
    assert answer.content_type == "application/pdf"
    assert len(answer.data) < 200_000
    assert pages_of(answer.data) >= 1
    name = answer.headers["Content-Disposition"].partition("filename*=UTF-8''")[2]
    return "".join(texts_of(answer.data)).replace(" ", ""), unquote(name)


def test_a_notice_sheet_has_masked_names_and_until_when_one_may_object(desk: Desk) -> None:
    office = desk.office
    with writing(office.parts.engine) as connection:
        one = residents.c.id == desk.people[0].id
        connection.execute(update(residents).where(one).values(building="7号楼", unit="2单元", room="301"))
    desk.rules(from_day="2026-03-03", notice_working_days=3)
    office.tick(days=2)
    desk.credit(0, 125)
    text, name = paper(office, "/estates/jiangpan/notice-sheet.pdf?where=社区服务台&telephone=028-37400000")
    assert name == "公示-江畔家园-2026-03-04.pdf"
    assert "王*华" in text
    assert "王建华" not in text
    assert "7号楼" in text
    assert "2单元" not in text
    assert "301" not in text
    assert "2小时5分" in text
    assert "提出异议的地点：社区服务台" in text
    assert "电话：028-37400000" in text
    assert "2026-03-09" in text
    english, _ = paper(office, "/estates/jiangpan/notice-sheet.pdf?language=en", as_="approver")
    assert "Publicnoticeofservice" in english
    assert "2h5min" in english
    office.refused(422, "fields_invalid", "GET", "/estates/jiangpan/notice-sheet.pdf?language=fr")
    office.refused(403, "forbidden", "GET", "/estates/jiangpan/notice-sheet.pdf", as_="operator")


def test_a_poster_has_the_next_sessions_and_where_to_sign_up(office: Office) -> None:
    club = Club(office)
    activity = club.activity(description="带上水。", contact="028-1")
    office.refused(409, "activity_not_published", "GET", f"/activities/{activity['id']}/poster.pdf")
    club.publish(activity["id"])
    club.plan(activity["id"])
    text, name = paper(office, f"/activities/{activity['id']}/poster.pdf")
    assert name == "海报-河道清理.pdf"
    assert "2026年3月3日（周二）14:00–16:00" in text
    assert f"https://points.example/a/{activity['id']}" in text
    assert "周敏028-1" in text
    assert "Tue3March202614:00" in paper(office, f"/activities/{activity['id']}/poster.pdf?language=en")[0]


def test_a_sheet_that_was_signed_is_found_again_by_its_code(office: Office) -> None:
    club = Club(office)
    session = club.session()
    office.ok("POST", f"/sessions/{session}/sign-ups", {"resident_id": club.people[0].id})
    text, name = paper(office, f"/sessions/{session}/sheet.pdf")
    assert name == f"签到表-河道清理-{session[:8]}.pdf"
    assert f"表码：{session[:8]}" in text
    assert club.people[0].member_number in text
    [row] = office.ok("GET", f"/sessions/{session}/sheet")["rows"]
    assert row["row_code"] in text
    assert office.ok("GET", f"/sheets/{session[:8]}") == {"session_id": session}
    office.refused(404, "session_unknown", "GET", "/sheets/zzzzzzzz")
    office.refused(404, "session_unknown", "GET", f"/sheets/{session[:3]}")
    office.refused(404, "session_unknown", "GET", "/sheets/________")


def test_a_passbook_shows_the_balance_and_what_moved_it(desk: Desk) -> None:
    office = desk.office
    desk.credit(0, 600)
    world = World(office.parts.engine)
    world.now = office.now
    box = world.machine()
    box.dispense(box.vend())
    box.vend()
    world.close()
    text, name = paper(office, f"/residents/{desk.people[0].id}/passbook.pdf")
    assert name == "积分存折-王建华-2026-03-02.pdf"
    assert "可用积分6" in text
    assert "2分正在兑换" in text
    assert "兑换商品−28" in text
    assert "河道清理+1010" in text
    own = office.send("GET", "/me/passbook.pdf", **desk.as_resident(0))
    assert "".join(texts_of(own.data)).replace(" ", "") == text


def test_cards_have_name_and_number_a_hundred_at_a_time(desk: Desk) -> None:
    office = desk.office
    text, _ = paper(office, "/estates/jiangpan/cards.pdf")
    for person in desk.people:
        assert person.member_number in text
    after = desk.people[0].member_number
    assert after not in paper(office, f"/estates/jiangpan/cards.pdf?after={after}")[0]
    assert after in paper(office, f"/residents/{desk.people[0].id}/card.pdf")[0]
    assert after in paper(office, "/me/card.pdf", **desk.as_resident(0))[0]
    office.refused(403, "forbidden", "GET", "/estates/jiangpan/cards.pdf", as_="approver")
    office.refused(422, "fields_invalid", "GET", "/estates/jiangpan/cards.pdf?after=1")


def test_why_there_are_no_points_goes_on_a_page(desk: Desk) -> None:
    desk.record(0)
    span = "first_day=2026-03-01&last_day=2026-03-31"
    text, _ = paper(desk.office, f"/residents/{desk.people[0].id}/why-not.pdf?{span}")
    assert "等另一位工作人员审核" in text
    english, _ = paper(desk.office, f"/me/why-not.pdf?{span}&language=en", **desk.as_resident(0))
    assert "waitsforanotherperson" in english


def test_the_yearly_report_is_a_pdf_too(desk: Desk) -> None:
    desk.credit(0, 125)
    path = "/reports/yearly.pdf?organization_id=jiangpan&year=2026&known_on=2026-12-31&later=true"
    text, name = paper(desk.office, path, as_="admin")
    assert "人数" in text
    assert "2.0" in text
    assert name == "志愿服务年度报告-江畔家园-2026-2026-12-31.pdf"
    english, _ = paper(desk.office, path, as_="admin", headers={"Accept-Language": "en"})
    assert "Subtotal" in english
    desk.office.refused(404, "not_found", "GET", path.replace(".pdf", ".doc"), as_="admin")


def test_a_notice_is_printed_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("JISHAN_")]:
        monkeypatch.delenv(name)
    for name, value in (("DATA_DIR", str(tmp_path)), ("ARGON2_ROUNDS", "1"), ("ARGON2_MEMORY_KIB", "8")):
        monkeypatch.setenv(f"JISHAN_{name}", value)
    assert CliRunner().invoke(main, ["init", "--demo"]).exit_code == 0
    file = tmp_path / "公示.pdf"
    done = CliRunner().invoke(main, ["print", "notice", "jiangpan", str(file), "--where", "服务台"])
    assert done.exit_code == 0, done.output
    assert "提出异议的地点：服务台" in "".join(texts_of(file.read_bytes()))
    assert CliRunner().invoke(main, ["print", "cards", "jiangpan", str(file)]).exit_code == 0
    assert "王建华" in "".join(texts_of(file.read_bytes()))
    refused = CliRunner().invoke(main, ["print", "notice", "nowhere", str(file)])
    assert refused.exit_code != 0


def test_one_address_has_no_more_papers_made_than_the_server_can_bear(sqlite_template: Path, tmp_path: Path) -> None:
    with opened(sqlite_template, tmp_path, requests_per_minute=40) as office:
        path = f"/residents/{office.people.residents[0].id}/card.pdf"
        assert [office.send("GET", path).status_code for _ in range(3)] == [200, 200, 429]
        office.ok("GET", "/me")

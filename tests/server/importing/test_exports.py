"""Exports and the yearly report: only who agreed, only one's own estates, and the same answer to the same question."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path += [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

from importing_desk import csv_of, imported, send, settled
from office import Office

from jishan_server.organizations.roles import SYSTEM
from jishan_server.organizations.tree import ChangeOrganization, CreateOrganization
from jishan_server.sheets import reading
from jishan_server.sheets.cells import Cell
from jishan_server.writer import Operation

HERE = "organization_id=jiangpan"


def sheet(office: Office, path: str, as_: str = "admin") -> list[list[Cell]]:
    answer = office.send("GET", path, as_=as_)
    assert answer.status_code == 200, answer.text
    return reading.read(answer.data).rows


def work(office: Office, resident: int, minutes: int, **more: Any) -> Any:
    """A credit that is final."""
    body = {"resident_id": office.people.residents[resident].id, "minutes": minutes, "activity": "扫雪", "reason": "x"}
    made = office.ok("POST", "/credits", body | more)
    return office.ok("POST", f"/credits/{made['id']}/approve", {}, as_="approver")


def test_nobody_without_consent_and_nobody_of_another_estate_is_exported(office: Office) -> None:
    body = CreateOrganization(SYSTEM, "qingyijiang", "estate", "河畔", "hepan")
    office.parts.writer.call(Operation("export-other", "create_organization", body))
    rows: list[list[Cell]] = [["未同意", None, None, "1栋"], ["=已同意", "T-1", "2026-01-01", "1栋"]]
    header = ["姓名", "同意书编号", "签字日期", "楼栋"]
    imported(office, "people", csv_of(header, [rows[0], ["已同意", *rows[1][1:]]]))
    imported(office, "people", csv_of(header, [["别处的", "T-2", "2026-01-01", "1栋"]]), where="hepan")
    names = [row[1] for row in sheet(office, f"/exports/people.csv?{HERE}")]
    assert "已同意" in names
    assert "未同意" not in names
    assert "别处的" not in names
    assert "别处的" in [row[1] for row in sheet(office, "/exports/people.xlsx?organization_id=hongya")]


def test_every_export_is_a_sheet_in_both_forms(office: Office) -> None:
    person = office.people.residents[0].id
    work(office, 0, 120)
    for what in ("people", "service-records", "credits", "attendance", "statement"):
        for format in ("csv", "xlsx"):
            rows = sheet(office, f"/exports/{what}.{format}?{HERE}&resident_id={person}")
            assert len(rows) >= (1 if what == "attendance" else 2), what
    office.refused(404, "not_found", "GET", f"/exports/secrets.csv?{HERE}", as_="admin")
    office.refused(404, "not_found", "GET", f"/exports/people.pdf?{HERE}", as_="admin")
    office.refused(404, "resident_unknown", "GET", f"/exports/statement.csv?{HERE}&resident_id=nobody", as_="admin")


def test_an_export_is_written_down(office: Office) -> None:
    from sqlalchemy import select

    from jishan_server.people.privacy_tables import personal_accesses

    office.ok("GET", "/residents", as_="admin")
    assert office.send("GET", f"/exports/people.csv?{HERE}", as_="admin").status_code == 200
    office.parts.writer.call(Operation("after-export", "ping", None))
    with office.parts.engine.connect() as connection:
        assert ("export", 6) in connection.execute(select(personal_accesses.c.what, personal_accesses.c.people)).all()


def report(office: Office, known_on: str, year: int = 2026, *, later: bool = False, format: str = "xlsx") -> bytes:
    path = f"/reports/yearly.{format}?organization_id=hongya&year={year}&known_on={known_on}&later={later}"
    answer = office.send("GET", path, as_="admin")
    assert answer.status_code == 200, answer.text
    return bytes(answer.data)


def test_the_report_of_january_is_the_same_in_march(office: Office) -> None:
    office.now = datetime(2027, 1, 10, 4, 0, tzinfo=UTC)
    office._tokens.clear()
    first = work(office, 0, 120, day="2026-12-30", category="环境")
    work(office, 0, 60, day="2026-12-29", category="环境")
    work(office, 1, 90, day="2026-12-30", category="助老")
    in_january = {format: report(office, "2027-01-15", format=format) for format in ("csv", "xlsx")}
    rows = reading.read(in_january["csv"]).rows
    assert rows[1:] == [
        ["江畔家园", "江畔家园", "助老", "1", "1", "90", "1.5"],
        ["江畔家园", "江畔家园", "环境", "1", "2", "180", "3.0"],
        ["江畔家园", "小计", "", "2", "3", "270", "4.5"],
        ["合计", "", "", "2", "3", "270", "4.5"],
    ]

    office.now = datetime(2027, 3, 10, 4, 0, tzinfo=UTC)
    office._tokens.clear()
    work(office, 2, 30, day="2026-12-31", category="环境")
    office.ok("POST", f"/credits/{first['id']}/reverse", {"reason": "记错了"}, as_="approver")
    body = ChangeOrganization(SYSTEM, "jiangpan", name="江畔新居")
    office.parts.writer.call(Operation("rename", "change_organization", body))
    for format, was in in_january.items():
        assert report(office, "2027-01-15", format=format) == was
    later = reading.read(report(office, "2027-01-15", later=True, format="csv")).rows
    assert later[0][-4:] == ["之后补记人次", "之后补记分钟", "之后更正人次", "之后更正分钟"]
    assert later[-1] == ["合计", "", "", "2", "3", "270", "4.5", "1", "30", "1", "120"]
    now = reading.read(report(office, "2027-03-31", format="csv")).rows
    assert now[-1][3:6] == ["3", "3", "180"]


def test_a_minute_before_and_after_midnight_are_two_days_and_two_years(office: Office) -> None:
    # 23:59 on 31 December in Beijing, and 00:01 on the day after.
    for at in (datetime(2026, 12, 31, 15, 59, tzinfo=UTC), datetime(2026, 12, 31, 16, 1, tzinfo=UTC)):
        office.now = at
        office._tokens.clear()
        work(office, 0, 60)
    assert [reading.read(report(office, "2027-01-31", year)).rows[-1][4] for year in (2026, 2027)] == [1, 1]
    rows = sheet(office, f"/exports/service-records.csv?{HERE}")
    assert [row[2] for row in rows[1:]] == ["2026-12-31", "2027-01-01"]
    one = sheet(office, f"/exports/service-records.csv?{HERE}&last_day=2026-12-31")
    assert len(one) == 2


def test_hours_that_were_imported_are_in_the_report(office: Office) -> None:
    person = office.people.residents[0]
    raw = csv_of(["会员号", "日期", "时长", "活动"], [[person.member_number, "2025-11-02", "3小时", "植树"]])
    preview = send(office, "hours", raw, as_="coordinator")
    office.ok("POST", f"/imports/{preview['id']}/book", as_="approver")
    settled(office, preview["id"])
    assert reading.read(report(office, "2026-03-31", 2025, format="csv")).rows[-1] == [
        "合计",
        "",
        "",
        "1",
        "1",
        "180",
        "3.0",
    ]

"""What a person does with a file: sends it, looks, books, undoes. Beside the fixtures of `conftest.py`."""

from __future__ import annotations

from typing import Any

from office import Office
from sqlalchemy import func, select

from jishan_server.people.tables import residents
from jishan_server.sheets.cells import Cell
from jishan_server.sheets.writing import write_csv, write_xlsx
from jishan_server.writer import Operation

HEADER = [
    "姓名",
    "手机",
    "身份证",
    "性别",
    "出生日期",
    "楼栋",
    "单元",
    "房号",
    "卡号",
    "会员号",
    "同意书编号",
    "签字日期",
]


def csv_of(header: list[str], rows: list[list[Cell]], encoding: str = "utf-8-sig") -> bytes:
    return write_csv(header, rows, encoding)


def xlsx_of(header: list[str], rows: list[list[Cell]]) -> bytes:
    return write_xlsx(header, rows, "名单")


def send(office: Office, kind: str, raw: bytes, *, as_: str = "admin", where: str = "jiangpan", **query: Any) -> Any:
    """Send a file; the preview."""
    words = "".join(f"&{name}={value}" for name, value in query.items())
    answer = office.send(
        "POST",
        f"/imports?kind={kind}&organization_id={where}{words}",
        as_=as_,
        data=raw,
        headers={"Content-Type": "application/octet-stream"},
    )
    assert answer.status_code == 201, answer.text
    return answer.get_json()


def settled(office: Office, import_id: str, as_: str = "admin") -> Any:
    """The import when its last piece is done: each operation that is waited for comes after one piece more."""
    for number in range(500):
        found = office.ok("GET", f"/imports/{import_id}", as_=as_)
        if found["state"] not in ("booking", "undoing"):
            return found
        office.parts.writer.call(Operation(f"wait-{import_id}-{found['state']}-{number}", "ping", None))
    raise AssertionError(found)


def book(office: Office, import_id: str, as_: str = "admin") -> Any:
    office.ok("POST", f"/imports/{import_id}/book", as_=as_)
    return settled(office, import_id)


def imported(office: Office, kind: str, raw: bytes, **more: Any) -> Any:
    """Send and book in one go."""
    return book(office, send(office, kind, raw, **more)["id"])


def problems(office: Office, import_id: str, as_: str = "admin") -> list[Any]:
    found: list[Any] = []
    cursor = ""
    while True:
        page = office.ok("GET", f"/imports/{import_id}/problems?limit=200{cursor}", as_=as_)
        found += page["items"]
        if page["next_cursor"] is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"


def count_of_residents(office: Office) -> int:
    with office.parts.engine.connect() as connection:
        return int(connection.scalar(select(func.count()).select_from(residents)) or 0)

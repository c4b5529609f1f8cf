"""What a resident owns and why: the balance, and every entry with the activity behind it and the balance after it.

Staff in whose scope the resident is may look, and the resident.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, tzinfo
from typing import Any, Final, Literal

from sqlalchemy import Connection, func, select

from jishan_server.instants import iso
from jishan_server.ledger.store import Line, Mark
from jishan_server.ledger.store import statement as lines_of
from jishan_server.organizations.roles import Permission, permit
from jishan_server.people import accounts
from jishan_server.people.credentials import account_of
from jishan_server.people.one_person import records_of
from jishan_server.people.residents import estate_of
from jishan_server.sheets.writing import write_csv
from jishan_server.volunteering.credit_states import State
from jishan_server.volunteering.credits import credits_by_id
from jishan_server.volunteering.tables import credits

PENDING: Final = (State.APPROVED, State.WAITING_CONSENT, State.OBJECTED)
"""Approved, but not booked: in the public notice, objected to, or waiting for the person's consent."""
MONTH_PAGE: Final = 200


def balance(connection: Connection, actor: str, resident_id: str) -> dict[str, Any]:
    """Points of a resident, and how many are approved but not booked yet; refusals: resident_unknown, forbidden."""
    permit(connection, actor, Permission.RESIDENT_READ, estate_of(connection, resident_id), about=resident_id)
    c = credits.c
    pending = select(func.sum(c.points)).where(
        c.resident_id.in_(records_of(connection, resident_id)), c.state.in_(PENDING)
    )
    return accounts.balance(connection, resident_id) | {"pending_points": int(connection.scalar(pending) or 0)}


def statement(
    connection: Connection, actor: str, resident_id: str, after: tuple[int, int, int] | None, limit: int
) -> tuple[list[dict[str, Any]], tuple[int, int, int] | None]:
    """Entries of a resident's account, newest first, and where the next page starts.

    Refusals: resident_unknown, forbidden.
    """
    permit(connection, actor, Permission.RESIDENT_READ, estate_of(connection, resident_id), about=resident_id)
    lines, mark = lines_of(connection, account_of(resident_id), Mark(*after) if after else None, limit)
    behind = credits_by_id(connection, [line.cause_id for line in lines if line.cause_type == "credit"])
    views = [_view(line, behind.get(line.cause_id)) for line in lines]
    return views, None if mark is None else (mark.sequence, mark.posted, mark.held)


def month(connection: Connection, actor: str, resident_id: str, wanted: str, zone: tzinfo) -> list[dict[str, Any]]:
    """The entries of a month (`2026-03`, local to the scheme), oldest first; refusals: resident_unknown, forbidden."""
    found: list[dict[str, Any]] = []
    after: tuple[int, int, int] | None = None
    while True:
        views, after = statement(connection, actor, resident_id, after, MONTH_PAGE)
        months = [datetime.fromisoformat(one["recorded_at"]).astimezone(zone).strftime("%Y-%m") for one in views]
        found += [one for one, of_month in zip(views, months, strict=True) if of_month == wanted]
        if after is None or months[-1] < wanted:
            return found[::-1]


CSV_HEADER: Final = {
    "zh": ("时间", "类别", "活动", "积分变动", "预留变动", "积分余额", "可用积分", "审核人", "规则版本", "到期时间"),
    "en": ("Time", "Kind", "Activity", "Points", "Held", "Balance", "Available", "Approved by", "Rules", "Expires"),
}
_KINDS: Final = {
    "zh": {
        "post": "记入",
        "hold": "预留",
        "capture": "兑换扣分",
        "void": "预留退回",
        "reversal": "冲正",
    },
    "en": {},
}


def month_csv(entries: Sequence[Mapping[str, Any]], language: Literal["zh", "en"], zone: tzinfo) -> bytes:
    """Entries as a CSV sheet with local times; no cell of it becomes a formula."""

    def local(at: str | None) -> str | None:
        return None if at is None else datetime.fromisoformat(at).astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")

    rows = [
        (
            local(one["recorded_at"]),
            _KINDS[language].get(one["kind"], one["kind"]),
            one["activity"],
            one["posted_change_points"],
            one["held_change_points"],
            one["posted_points"],
            one["available_points"],
            one["approved_by"],
            one["rule_version"],
            local(one["expires_at"]),
        )
        for one in entries
    ]
    return write_csv(CSV_HEADER[language], rows)


def _view(line: Line, credit: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "sequence": line.sequence,
        "transfer_id": line.transfer_id,
        "kind": line.kind.value,
        "posted_change_points": line.posted_change,
        "held_change_points": line.held_change,
        "posted_points": line.posted,
        "held_points": line.held,
        "available_points": line.available,
        "cause_type": line.cause_type,
        "cause_id": line.cause_id,
        "reason": line.reason,
        "activity": credit["activity"] if credit else None,
        "approved_by": credit["decided_by"] if credit else None,
        "rule_version": line.rule_version,
        "expires_at": iso(line.expires_at),
        "recorded_at": iso(line.recorded_at),
    }

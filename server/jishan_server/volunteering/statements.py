"""What a resident owns and why: the balance, and every entry with the activity behind it and the balance after it."""

from typing import Any

from sqlalchemy import Connection

from jishan_server.instants import iso
from jishan_server.ledger.store import Line, Mark
from jishan_server.ledger.store import statement as lines_of
from jishan_server.organizations.roles import Permission, permit
from jishan_server.people import accounts
from jishan_server.people.credentials import account_of
from jishan_server.people.residents import estate_of
from jishan_server.volunteering.credits import credits_by_id


def balance(connection: Connection, actor: str, resident_id: str) -> dict[str, Any]:
    """Points of a resident; refusals: resident_unknown, forbidden."""
    permit(connection, actor, Permission.RESIDENT_READ, estate_of(connection, resident_id))
    return accounts.balance(connection, resident_id)


def statement(
    connection: Connection, actor: str, resident_id: str, after: tuple[int, int, int] | None, limit: int
) -> tuple[list[dict[str, Any]], tuple[int, int, int] | None]:
    """Entries of a resident's account, newest first, and where the next page starts.

    Refusals: resident_unknown, forbidden.
    """
    permit(connection, actor, Permission.RESIDENT_READ, estate_of(connection, resident_id))
    lines, mark = lines_of(connection, account_of(resident_id), Mark(*after) if after else None, limit)
    credits = credits_by_id(connection, [line.cause_id for line in lines if line.cause_type == "credit"])
    views = [_view(line, credits.get(line.cause_id)) for line in lines]
    return views, None if mark is None else (mark.sequence, mark.posted, mark.held)


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

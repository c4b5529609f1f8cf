"""Whether the server's clock is to be believed: points end and days are closed by it alone.

A clock is doubted that is behind the newest batch or far ahead of it. What is booked meanwhile would hide that, so the
doubt is written down with it and lasts until a person confirms the date; from then on the clock is compared with what
was confirmed, until a newer batch is there. A server that runs while nothing is booked looks at its clock all the time,
and writes down now and then that it went on without a jump (`keep`): a quiet week is no reason to doubt it. While it is
doubted no points end and no day is closed, and points that would have ended are set aside.
Source: decisions, "The link" (the last of its rules about clocks).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from sqlalchemy import Connection, func, insert, select

from jishan_server.db import MILLISECOND, from_ms, to_ms
from jishan_server.ledger import tables
from jishan_server.ledger.model import LEDGER

# Servers that share a database differ by less, and so do the steps by which NTP turns a clock back.
MAX_BEHIND_MS: Final = timedelta(seconds=5) // MILLISECOND
# A weekend without a single movement of points; a wrong year, month or day is far more.
MAX_AHEAD_MS: Final = timedelta(days=2) // MILLISECOND
# How old the newest instant may become before a running server writes a newer one: a few rows in a quiet week, and far
# from what is doubted.
KEPT_MS: Final = timedelta(hours=20) // MILLISECOND


@dataclass(frozen=True, slots=True)
class Doubt:
    """The clock is doubted; `known_at` is the newest instant that the ledger goes by."""

    known_at: datetime


def is_doubtful(known_ms: int, is_doubted: bool, now_ms: int) -> bool:
    """Whether `now` is to be doubted against the newest instant that is known, 0 if there is none."""
    return is_doubted or (known_ms > 0 and not known_ms - MAX_BEHIND_MS <= now_ms <= known_ms + MAX_AHEAD_MS)


def doubt(connection: Connection, now: datetime) -> Doubt | None:
    """Why the clock is doubted, if it is."""
    known = _known(connection)
    if known is None:
        return None
    return Doubt(known.at) if is_doubtful(to_ms(known.at), known.is_doubted, to_ms(now)) else None


class _Known(NamedTuple):
    """The newest instant that the ledger goes by, and the newest batch."""

    at: datetime
    is_doubted: bool
    serial: int


def _known(connection: Connection) -> _Known | None:
    b, c = tables.batches.c, tables.clock_checks.c
    newest = connection.execute(select(b.serial, b.recorded_at).order_by(b.serial.desc()).limit(1)).one_or_none()
    if newest is None:
        return None
    check = connection.execute(select(tables.clock_checks).order_by(c.number.desc()).limit(1)).one_or_none()
    is_doubted = check is not None and check.is_doubted
    at = newest.recorded_at
    if check is not None and (is_doubted or check.newest_serial >= newest.serial):
        at = check.known_at
    return _Known(at, is_doubted, newest.serial)


def keep(connection: Connection, now: datetime) -> None:
    """Write down, where nothing was booked for a while, that the clock went on without a jump: asked every few seconds
    by a running server. A doubted clock is left to a person.
    """
    known = _known(connection)
    if known is None or to_ms(now) < to_ms(known.at) + KEPT_MS:
        return
    if not is_doubtful(to_ms(known.at), known.is_doubted, to_ms(now)):
        _note(connection, False, now, known.serial, LEDGER)


def note_doubt(connection: Connection, known_ms: int, serial: int) -> None:
    """Write down that batch `serial` is booked by a doubted clock."""
    _note(connection, True, from_ms(known_ms), serial, LEDGER)


def confirm(connection: Connection, now: datetime, actor: str) -> None:
    """Believe the clock again: a person has confirmed the date."""
    newest = connection.execute(select(func.max(tables.batches.c.serial))).scalar()
    _note(connection, False, now, newest or 0, actor)


def _note(connection: Connection, is_doubted: bool, known_at: datetime, serial: int, actor: str) -> None:
    row = {"is_doubted": is_doubted, "known_at": known_at, "newest_serial": serial, "actor": actor}
    connection.execute(insert(tables.clock_checks).values(row))

"""The ledger's own kinds of operation: a transfer, many at a time (its id is the transfer's, its body the `Transfer`),
and the closing of days with the checkpoints that follow it, which a timer asks for.
"""

from collections.abc import Sequence
from datetime import datetime, tzinfo
from typing import Final

from sqlalchemy import Connection

from jishan_server.errors import DomainError
from jishan_server.ledger import clock
from jishan_server.ledger.history import keep_due
from jishan_server.ledger.model import Refused
from jishan_server.ledger.store import book, close_days
from jishan_server.writer import Kind, Kinds, Operation, Outcome


def transfer(connection: Connection, operations: Sequence[Operation], now: datetime) -> list[Outcome]:
    """Book the transfers. A refused one leaves no row: the same id may be asked again, and is judged again."""
    answers = book(connection, [operation.body for operation in operations], now)
    return [
        Outcome(error=DomainError(answer.code, **answer.fields))
        if isinstance(answer, Refused)
        else Outcome(answer, replayed=answer.is_replay)
        for answer in answers
    ]


def days(connection: Connection, operations: Sequence[Operation], now: datetime, zone: tzinfo) -> list[Outcome]:
    """Note that the clock goes on; close every day that is over; when there is none, keep checkpoints of accounts that
    have grown long.
    """
    clock.keep(connection, now)
    closed = close_days(connection, now, zone)
    if not closed:
        keep_due(connection)
    return [Outcome(closed) for _ in operations]


DAYS: Final = "ledger.days"
KINDS: Final[Kinds] = {"ledger.transfer": Kind(run_batch=transfer)}

"""The ledger's own kind of operation: a transfer, many at a time. Its id is the transfer's, its body the `Transfer`."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import Connection

from jishan_server.errors import DomainError
from jishan_server.ledger.model import Refused
from jishan_server.ledger.store import book
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


KINDS: Final[Kinds] = {"ledger.transfer": Kind(run_batch=transfer)}

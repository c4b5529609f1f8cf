"""A small scheme on every database: one estate, residents, and short words for transfers."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine

from jishan_server import db
from jishan_server.ledger import clock
from jishan_server.ledger.model import Booked, Cause, Kind, Refused, Transfer, estate_accounts, resident_accounts
from jishan_server.ledger.store import Balance, balances, book, open_accounts
from jishan_server.ledger.verify import Report, verify

START = datetime(2026, 1, 1, tzinfo=UTC)
ISSUANCE, REDEEMED, EXPIRED = "sys:issuance:garden", "sys:redeemed:garden", "sys:expired:garden"
RESIDENTS = ("li", "wang", "zhao")


def days(number: float) -> datetime:
    """So many days after the start."""
    return START + timedelta(days=number)


def transfer(id: str, kind: Kind, debit: str = "", credit: str = "", points: int = 0, **more: Any) -> Transfer:
    """A transfer whose cause is its own id unless told."""
    more.setdefault("cause", Cause("test", id))
    return Transfer(id, kind, debit, credit, points, actor="staff-1", reason="test", **more)


def credit(id: str, to: str, points: int, **more: Any) -> Transfer:
    return transfer(id, Kind.POST, ISSUANCE, f"res:{to}", points, **more)


def gift(id: str, giver: str, to: str, points: int, **more: Any) -> Transfer:
    return transfer(id, Kind.POST, f"res:{giver}", f"res:{to}", points, **more)


def hold(id: str, of: str, points: int, **more: Any) -> Transfer:
    return transfer(id, Kind.HOLD, f"res:{of}", REDEEMED, points, **more)


def capture(id: str, pending: str, **more: Any) -> Transfer:
    return transfer(id, Kind.CAPTURE, pending_id=pending, **more)


def void(id: str, pending: str, **more: Any) -> Transfer:
    return transfer(id, Kind.VOID, pending_id=pending, **more)


def reversal(id: str, of: str, **more: Any) -> Transfer:
    return transfer(id, Kind.REVERSAL, reverses_id=of, **more)


@dataclass
class Scheme:
    """A database with an estate and its residents."""

    engine: Engine

    def book(self, *transfers: Transfer, at: datetime = START) -> list[Booked | Refused]:
        """Book in one transaction; where the clock would be doubted, a person confirms it first."""
        with db.writing(self.engine) as connection:
            if clock.doubt(connection, at) is not None:
                clock.confirm(connection, at, "staff-1")
            return book(connection, transfers, at)

    def unconfirmed(self, *transfers: Transfer, at: datetime) -> list[Booked | Refused]:
        """Book in one transaction by a clock that nobody has looked at."""
        with db.writing(self.engine) as connection:
            return book(connection, transfers, at)

    def confirm(self, at: datetime) -> None:
        """A person confirms the clock."""
        with db.writing(self.engine) as connection:
            clock.confirm(connection, at, "staff-1")

    def doubt(self, at: datetime) -> clock.Doubt | None:
        """Whether this clock is doubted."""
        with self.engine.connect() as connection:
            return clock.doubt(connection, at)

    def booked(self, *transfers: Transfer, at: datetime = START) -> None:
        """Book, and none may be refused."""
        assert [one for one in self.book(*transfers, at=at) if isinstance(one, Refused)] == []

    def refused(self, one: Transfer, at: datetime = START) -> str:
        """The code with which it is refused; nothing may have changed."""
        before = self.everything()
        (answer,) = self.book(one, at=at)
        assert isinstance(answer, Refused), answer
        assert self.everything() == before
        return answer.code

    def everything(self) -> list[Any]:
        """All rows of the ledger."""
        with self.engine.connect() as connection:
            names = ("accounts", "transfers", "balances", "batches", "days", "endings", "clock_checks")
            found = [db.metadata.tables[name] for name in names]
            return [connection.execute(one.select().order_by(*one.primary_key)).all() for one in found]

    def balance(self, account: str) -> Balance:
        account_id = account if ":" in account else f"res:{account}"
        with self.engine.connect() as connection:
            return balances(connection, [account_id])[account_id]

    def verify(self) -> Report:
        with self.engine.connect() as connection:
            return verify(connection)


def open_scheme(engine: Engine) -> Scheme:
    with db.writing(engine) as connection:
        open_accounts(connection, estate_accounts("garden"), START)
        for resident in RESIDENTS:
            open_accounts(connection, resident_accounts(resident, "garden"), START)
    return Scheme(engine)


def wait_for_a_lock(engine: Engine) -> None:
    """Return when some transaction waits for another's lock."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        while not connection.exec_driver_sql("SELECT count(*) FROM pg_locks WHERE NOT granted").scalar():
            pass

"""How fast the ledger is: rows P1, P2, P3, P6 and P7 of docs/benchmarks.md.

R is pgbench's TPC-B (scale 10, `-c 8 -j 2`) on a PostgreSQL started here with its own, durable settings, measured first
and last. A redemption is a hold and its capture, each answered after a durable commit. Machines are closed loops: each
asks again as soon as it has its answer, and repeats every fiftieth question to see that it is answered from memory. A
figure counts only if `ledger verify` is clean afterwards and at least 1 % of the questions were repeated.

    python benchmarks/ledger.py [P1 P2 ...] [--seconds 10]
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine

from jishan_protocol.ids import RANDOM_BITS, timed_id
from jishan_server import db
from jishan_server.db import DatabaseUnavailable
from jishan_server.ledger import operations, verify
from jishan_server.ledger.model import MAX_BATCH, Cause, Kind, Transfer, estate_accounts, resident_accounts
from jishan_server.ledger.store import book, open_accounts
from jishan_server.vending.changes import hold_id_of, transfer_id_of
from jishan_server.writer import Operation, Writer

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests" / "server"))

from postgresql_server import Postgresql, start_postgresql, stop_postgresql

RESIDENTS: Final = 2_000
REPEAT_EVERY: Final = 50
ESTATE: Final = "bench"
TRANSFER: Final = "ledger.transfer"
# Redemptions prepared for the warm-up, which tells how many the measurement needs.
WARM_UP: Final = 60_000
# About how many the fastest row redeems in a millisecond: the times of the ids pass as the measurement does.
EACH_MS: Final = 20
FDATASYNC_BYTES: Final = 8_192
# Transfers that P7 verifies, for each second that the other rows take: a million in a full run.
VERIFIED_EACH_S: Final = 100_000

Row = dict[str, Any]


class Fleet:
    """Machines that redeem as fast as they are answered, all from the writer's own callbacks.

    What they will ask is made before the time starts, so that it is the ledger that is measured.
    """

    def __init__(self, writer: Writer, machines: int, expected: int, residents: int) -> None:
        self.writer = writer
        self.latencies: list[float] = []
        self.refusals: list[str] = []
        self.redemptions = 0
        self.replays = 0
        self._machines = machines
        self._open = 0
        self._until = 0.0
        self._ended = threading.Event()
        self._script = _redemptions(expected, residents)

    def run(self, seconds: float) -> float:
        """Run for so long; the redemptions per second that were answered in that time."""
        gc.collect()
        gc.freeze()
        self._open = self._machines
        begun = time.perf_counter()
        self._until = begun + seconds
        for _ in range(self._machines):
            _Machine(self).redeem()
        self._ended.wait()
        return self.redemptions / (time.perf_counter() - begun)

    def take(self) -> tuple[Operation, Operation] | None:
        """What a machine does next; None when the time or the script is over."""
        if self._script and time.perf_counter() < self._until:
            return self._script.pop()
        self._open -= 1
        if not self._open:
            self._ended.set()
        return None

    def p99_ms(self) -> float:
        """The slowest answer but one of a hundred."""
        return statistics.quantiles(self.latencies, n=100)[98] * 1_000


class _Machine:
    """One closed loop: hold, capture, and now and then a question twice."""

    __slots__ = ("asked", "asking", "fleet", "following", "is_repeat")

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.asking: Operation
        self.asked = 0.0
        self.following: Operation | None = None
        self.is_repeat = False

    def redeem(self) -> None:
        pair = self.fleet.take()
        if pair is not None:
            hold, self.following = pair
            self.ask(hold)

    def ask(self, operation: Operation) -> None:
        self.asking = operation
        self.asked = time.perf_counter()
        self.fleet.writer.enqueue(operation, self.done)

    def done(self, answer: Any) -> None:
        fleet = self.fleet
        fleet.latencies.append(time.perf_counter() - self.asked)
        if isinstance(answer, DatabaseUnavailable) or answer.error is not None:
            fleet.refusals.append(str(answer))
        if self.is_repeat:
            self.is_repeat = False
            fleet.replays += answer.replayed
        elif len(fleet.latencies) % REPEAT_EVERY == 0:
            self.is_repeat = True
            self.ask(self.asking)
            return
        following, self.following = self.following, None
        if following is not None:
            self.ask(following)
        else:
            fleet.redemptions += 1
            self.redeem()


def _build() -> Path:
    """The folder of everything made here: on the disk of this checkout, not on a temporary file system in memory."""
    folder = Path("build")
    folder.mkdir(exist_ok=True)
    return folder


def _redemptions(number: int, residents: int) -> list[tuple[Operation, Operation]]:
    """Redemptions to do, the first one last.

    Their ids are made by the functions that the agent and the server make theirs by, with the time at which each is
    about to be asked for.
    """
    chance = random.Random(time.time_ns())
    begun_ms = time.time_ns() // 1_000_000
    script: list[tuple[Operation, Operation]] = []
    for place in range(number):
        id = timed_id(begun_ms + place // EACH_MS, chance.getrandbits(RANDOM_BITS))
        resident = f"res:r{chance.randrange(residents)}"
        cause = Cause("redemption", id)
        hold_id = hold_id_of(id)
        end_id = transfer_id_of(id, hold_id, Kind.CAPTURE)
        hold = Transfer(hold_id, Kind.HOLD, resident, f"sys:redeemed:{ESTATE}", 1, cause, "machine", "redemption")
        capture = Transfer(end_id, Kind.CAPTURE, "", "", 0, cause, "machine", "redemption", None, hold_id)
        script.append((Operation(hold.id, TRANSFER, hold), Operation(capture.id, TRANSFER, capture)))
    return script[::-1]


def prepare(engine: Engine, residents: int = RESIDENTS) -> None:
    """A migrated database with an estate whose residents have points enough."""
    db.upgrade(engine)
    now = datetime.now(UTC)
    with db.writing(engine) as connection:
        open_accounts(connection, estate_accounts(ESTATE), now)
        everyone = [one for number in range(residents) for one in resident_accounts(f"r{number}", ESTATE)]
        open_accounts(connection, everyone, now)
        book(connection, [_credit(number) for number in range(residents)], now)
    if engine.dialect.name == "postgresql":
        # What autovacuum does within a minute.
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")


def _credit(number: int) -> Transfer:
    cause = Cause("start", f"r{number}")
    return Transfer(
        f"start-{number}", Kind.POST, f"sys:issuance:{ESTATE}", f"res:r{number}", 1_000_000, cause, "bench", "start"
    )


def redeem(engine: Engine, machines: int, seconds: float, residents: int = RESIDENTS) -> Row:
    """Redemptions per second and the 99th percentile of the answers, proved."""
    writer = Writer(engine, operations.KINDS, lambda: datetime.now(UTC))
    try:
        expected = Fleet(writer, machines, WARM_UP, residents).run(min(2.0, seconds / 4))
        fleet = Fleet(writer, machines, int(expected * seconds * 1.5), residents)
        rate = fleet.run(seconds)
    finally:
        writer.close()
    with engine.connect() as connection:
        report = verify.verify(connection)
    assert report.ok, report
    assert not fleet.refusals, fleet.refusals[:3]
    repeated = fleet.replays / len(fleet.latencies)
    assert repeated >= 0.01, "too few repeated questions"
    return {"rate": rate, "answers": len(fleet.latencies), "p99_ms": fleet.p99_ms(), "rows": report.checked["rows"]}


@contextmanager
def sqlite_file() -> Iterator[Engine]:
    """A SQLite file with the product's settings, on the disk that holds the working directory."""
    with tempfile.TemporaryDirectory(dir=_build()) as folder:
        engine = db.make_engine(f"sqlite:///{folder}/jishan.db")
        yield engine
        engine.dispose()


@contextmanager
def postgresql_database(server: Postgresql, name: str) -> Iterator[Engine]:
    """An empty database on the server."""
    server.command(f"CREATE DATABASE {name}")
    engine = db.make_engine(server.url(name))
    yield engine
    engine.dispose()
    server.command(f"DROP DATABASE {name} WITH (FORCE)")


def pgbench(server: Postgresql, seconds: float, is_new: bool) -> float:
    """TPC-B transactions per second, scale 10, 8 clients, 2 threads."""
    program = str(server.programs / "pgbench")
    link = ["-h", "127.0.0.1", "-p", str(server.port), "-U", "jishan", "pgbench"]
    if is_new:
        server.command("CREATE DATABASE pgbench")
        subprocess.run([program, "-i", "-q", "-s", "10", *link], check=True, capture_output=True)
    command = [program, "-c", "8", "-j", "2", "-T", str(max(1, round(seconds))), *link]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.search(r"tps = ([0-9.]+)", told)
    assert found is not None, told
    return float(found[1])


def fdatasyncs(seconds: float) -> float:
    """How many times a second 8 KiB are written and synchronised, in a file that has its size already."""
    with tempfile.NamedTemporaryFile(dir=_build()) as file:
        blocks, block = 1_000, os.urandom(FDATASYNC_BYTES)
        file.write(block * blocks)
        file.flush()
        os.fsync(file.fileno())
        count, begun = 0, time.perf_counter()
        while (passed := time.perf_counter() - begun) < seconds:
            os.pwrite(file.fileno(), block, count % blocks * FDATASYNC_BYTES)
            os.fdatasync(file.fileno())
            count += 1
        return count / passed


def p1(seconds: float) -> Callable[[float], Row]:
    with sqlite_file() as engine:
        prepare(engine)
        found = redeem(engine, 64, seconds)

    def row(reference: float) -> Row:
        detail = f"{found['rate']:,.0f} redemptions/s, 64 machines, p99 {found['p99_ms']:.1f} ms (target 4)"
        return _row(found["rate"] / reference, "x R", ">= 6", detail)

    return row


def p2(server: Postgresql, seconds: float) -> Callable[[float], Row]:
    found = {}
    for machines in (64, 256):
        with postgresql_database(server, f"redeem_{machines}") as engine:
            prepare(engine)
            found[machines] = redeem(engine, machines, seconds)

    def row(reference: float) -> Row:
        ratios = [found[machines]["rate"] / reference for machines in found]
        detail = "; ".join(
            f"{machines} machines: {one['rate']:,.0f} redemptions/s, p99 {one['p99_ms']:.1f} ms"
            for machines, one in found.items()
        )
        return _row(ratios, "x R", ">= 2.5 and >= 3.5", f"{detail} (targets 6 and 20 ms)")

    return row


def p3(seconds: float) -> Callable[[float], Row]:
    first = fdatasyncs(seconds / 4)
    with sqlite_file() as engine:
        prepare(engine)
        found = redeem(engine, 1, seconds)
    last = fdatasyncs(seconds / 4)
    rate = found["answers"] / seconds

    def row(_: float) -> Row:
        detail = f"{rate:,.0f} transfers/s against {first:,.0f} and {last:,.0f} fdatasyncs/s"
        return _row(rate / ((first + last) / 2), "x fdatasync", ">= 0.7", detail)

    return row


def p6(seconds: float) -> Callable[[float], Row]:
    rates = []
    for residents in (RESIDENTS, 1):
        with sqlite_file() as engine:
            prepare(engine)
            rates.append(redeem(engine, 64, seconds, residents)["rate"])

    def row(_: float) -> Row:
        detail = f"{rates[1]:,.0f} redemptions/s on one account, {rates[0]:,.0f} on {RESIDENTS:,}"
        return _row(rates[1] / rates[0], "x spread load", ">= 0.9", detail)

    return row


def p7(server: Postgresql | None, transfers: int) -> Callable[[float], Row]:
    figures: dict[str, tuple[float, float, float]] = {}
    with sqlite_file() as engine:
        figures["SQLite"] = _verified(engine, transfers)
    if server is not None:
        with postgresql_database(server, "verify") as engine:
            figures["PostgreSQL"] = _verified(engine, transfers)

    def row(_: float) -> Row:
        detail = "; ".join(
            f"{name}: balances {balances:.2f}, leaves {leaves:.2f} on one core and {parallel:.2f} on all"
            for name, (balances, leaves, parallel) in figures.items()
        )
        values = [round(balances, 2) for balances, _, _ in figures.values()]
        return _row(values, "million transfers/s", ">= 1, and leaves >= 0.25 for each core", detail)

    return row


def _verified(engine: Engine, transfers: int) -> tuple[float, float, float]:
    """Million transfers verified a second: balances, and digest leaves with one process and with one for each core."""
    prepare(engine)
    script = _redemptions(transfers // 2, RESIDENTS)
    with db.connect_for_writing(engine) as connection:
        for start in range(0, len(script), MAX_BATCH // 2):
            pairs = script[start : start + MAX_BATCH // 2]
            book(connection, [one.body for pair in pairs for one in pair], datetime.now(UTC))
            connection.commit()
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("ANALYZE")
            connection.commit()
        figures = []
        for check in (
            verify.check_balances,
            lambda one: verify.check_rows(one, 1),
            lambda one: verify.check_rows(one, os.cpu_count() or 1),
        ):
            begun = time.perf_counter()
            assert check(connection).broken is None
            figures.append(transfers / (time.perf_counter() - begun) / 1e6)
            connection.rollback()
        assert verify.verify(connection).ok
    return figures[0], figures[1], figures[2]


def _row(value: float | Sequence[float], unit: str, target: str, detail: str) -> Row:
    rounded = round(value, 2) if isinstance(value, int | float) else [round(one, 2) for one in value]
    return {"value": rounded, "unit": unit, "target": target, "detail": detail}


def rows(names: Sequence[str] = ("P1", "P2", "P3", "P6", "P7"), seconds: float = 10.0) -> dict[str, Row]:
    """The rows asked for, and R; a row whose program is missing says so."""
    try:
        server: Postgresql | None = start_postgresql()
    except LookupError as error:
        server, missing = None, str(error)
    try:
        references = [] if server is None else [pgbench(server, seconds, True)]
        makers: dict[str, Callable[[], Callable[[float], Row]]] = {
            "P1": lambda: p1(seconds),
            "P3": lambda: p3(seconds),
            "P6": lambda: p6(seconds),
            "P7": lambda: p7(server, int(VERIFIED_EACH_S * seconds)),
        }
        if server is not None:
            running = server
            makers["P2"] = lambda: p2(running, seconds)
        made = {name: makers[name]() for name in names if name in makers}
        if server is not None:
            references.append(pgbench(server, seconds, False))
    finally:
        if server is not None:
            stop_postgresql(server)
    if not references:
        return {name: {"value": None, "unit": "", "target": "", "detail": f"not measured: {missing}"} for name in names}
    reference = statistics.mean(references)
    found = {name: made[name](reference) for name in names}
    told = " and ".join(f"{one:,.0f}" for one in references)
    return {"R": _row(reference, "tps", "", f"pgbench TPC-B, scale 10, -c 8 -j 2: {told}"), **found}


def main() -> None:
    """Print the rows as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=["P1", "P2", "P3", "P6", "P7"])
    parser.add_argument("--seconds", type=float, default=10.0)
    asked = parser.parse_args()
    print(json.dumps(rows(asked.names, asked.seconds), indent=2))


if __name__ == "__main__":
    main()

"""What every process of the server is put together from, in one place: engine, writer, rules, figures."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime

from sqlalchemy import Connection

from jishan_server import local_socket
from jishan_server.config import Config
from jishan_server.db import all_tables, make_engine
from jishan_server.gateway.pki import authority_fingerprint
from jishan_server.kinds import BODIES, kinds
from jishan_server.metrics import make_metrics
from jishan_server.parts import Parts
from jishan_server.people.hashing import Hashing
from jishan_server.vending.keys import Keys
from jishan_server.vending.limits import Limit, Limits
from jishan_server.vending.redemptions import Vending
from jishan_server.vending.rules import Rules
from jishan_server.volunteering.importing import jobs
from jishan_server.volunteering.rule_versions import rules_on
from jishan_server.volunteering.rules import CreditRules
from jishan_server.writer import Kind, Writer


def utc_now() -> datetime:
    """The server's clock."""
    return datetime.now(UTC)


def hashing_of(config: Config) -> Hashing:
    """How secrets are hashed under these settings."""
    return Hashing(config.secret, config.argon2_rounds, config.argon2_memory_kib)


def rules_of(config: Config) -> Rules:
    """What vending goes by under these settings."""
    return Rules(
        points_without_pin_per_day=config.points_without_pin_per_day,
        doubt_answer_days=config.doubt_answer_days,
        report_answer_days=config.report_answer_days,
        time_zone=config.time_zone,
    )


def limits_on(connection: Connection, day: date) -> Limits:
    """What the scheme's rules of a day say about redeeming."""
    found = rules_on(connection, day)
    redemptions = tuple(Limit(one.unit.value, one.per.value, one.most) for one in found.redemptions)  # type: ignore[arg-type]
    return Limits(redemptions, found.points_without_pin_per_day)


def credit_rules_of(config: Config) -> CreditRules:
    """What credits are worth under these settings."""
    return CreditRules(config.minutes_per_point, config.credit_expiry, config.time_zone)


@contextlib.contextmanager
def assembled(
    config: Config, more_kinds: Mapping[str, Kind] | None = None, clock: Callable[[], datetime] = utc_now
) -> Iterator[Parts]:
    """Open the database and its writer until the block ends.

    With SQLite this process becomes the one that writes (local_socket.Busy if another is), and does what command line
    tools ask of it. `more_kinds` are kinds of operation beside those of people: the gateway's.
    """
    all_tables()
    rules = rules_of(config)
    vending = Vending(Keys(config.secret), hashing_of(config), rules, limits_on)
    with contextlib.ExitStack() as closing:
        if config.is_sqlite:
            closing.enter_context(local_socket.exclusive(config.lock_path))
        engine = make_engine(config.sqlalchemy_url)
        closing.callback(engine.dispose)
        known = {
            **kinds(credit_rules_of(config), rules, config.access_log_months, config.channels, limits_on),
            **jobs.kinds(vending.hashing, credit_rules_of(config)),
            **(more_kinds or {}),
        }
        writer = Writer(engine, known, clock, config.writer_batch)
        closing.callback(writer.close)
        if config.is_sqlite:
            closing.enter_context(local_socket.serving(config.socket_path, writer.call, BODIES | jobs.BODIES))
        yield Parts(
            config,
            engine,
            writer,
            vending,
            make_metrics(lambda: writer.queue_length),
            clock,
            authority_fingerprint(config.pki_dir),
        )

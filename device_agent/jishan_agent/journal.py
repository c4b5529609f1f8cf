"""The machine's memory: one SQLite file, written before anything is said or moved.

Rules:
1. `write` is one transaction with one fsync (WAL, synchronous=FULL). What it wrote is on disk when it returns.
2. An outbox row keeps the payload's bytes as they were signed: they are sent again as they are, never made anew. Rows
   are closed only by the server's acknowledgement and kept OUTBOX_KEPT_MS longer, for a server that was restored.
3. Sequences are contiguous within one `journal_id`, which is random and made with the file.
4. There are no names, no credentials, no card numbers here: blocked cards are keyed hashes.
5. A full disk takes the reserve file's place and the machine stops selling. Any other failure to write raises
   JournalBroken, which ends the process: what could not be written must not be said.

`docs/agent.md`, "The disk", says what a person does about each refusal.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Final, TypeVar

from jishan_agent.vending import Redemption
from jishan_agent.vouchers import Ended
from jishan_protocol.errors import JishanError
from jishan_protocol.messages import CloseVouchers, Desired, Slot
from jishan_protocol.redemption import State

SCHEMA_VERSION: Final = 1
APPLICATION_ID: Final = 0x4A534A31
"""'JSJ1': marks the file as ours, so that a foreign database is not written to."""

RESERVE_BYTES: Final = 1 << 20
"""Room for hundreds of commits: more than the vend in hand and a day of faults need after the disk is full."""

CHECKPOINT_PAGES: Final = 64
"""The write-ahead log is folded into the file after so many pages (256 KiB): it must fit into the reserve."""

OUTBOX_KEPT_MS: Final = 90 * 86_400_000
"""How far back a restored server may ask (a backup older than that is no backup)."""

MAX_UNACKED: Final = 100_000
"""With so many rows waiting the machine stops selling; a machine that is away sells nothing and reaches this never."""

_VOUCHERS: Final = "CREATE TABLE IF NOT EXISTS vouchers (number INTEGER PRIMARY KEY, ended TEXT NOT NULL) STRICT"
"""Made at the start of a run: a journal that was made without it is as good."""

_SCHEMA: Final = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE outbox (
    seq INTEGER PRIMARY KEY,
    topic TEXT NOT NULL,
    payload BLOB NOT NULL,
    redemption_id TEXT,
    acked_at_ms INTEGER,
    is_rejected INTEGER NOT NULL
) STRICT;
CREATE INDEX outbox_by_ack ON outbox (acked_at_ms);
CREATE TABLE redemptions (
    id TEXT PRIMARY KEY,
    state TEXT NOT NULL,
    is_recovering INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,
    content TEXT NOT NULL
) STRICT;
CREATE TABLE closures (selection INTEGER PRIMARY KEY, code TEXT NOT NULL, seq INTEGER NOT NULL) STRICT;
"""

_WHOLE_MACHINE: Final = -1
"""Stands in `closures` for the machine as a whole."""

_T = TypeVar("_T")


class JournalRefused(JishanError):
    """The journal cannot be used: another process has it, or the file is foreign, corrupt or read-only."""


class JournalBroken(JishanError):
    """A write or an fsync failed. Nothing that depends on it may be said; the process ends."""


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """One signed message, ready to be sent as it is."""

    seq: int
    topic: str
    payload: bytes
    redemption_id: str | None


class Reserve:
    """A file that holds room on the disk for what must still be written when the disk is full."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def restore(self) -> bool:
        """Make the file if it is missing; False while there is no room for it."""
        if self._path.exists() and self._path.stat().st_size == RESERVE_BYTES:
            return True
        try:
            with self._path.open("wb") as file:
                # Random bytes: a file system that compresses would keep no room for zeros.
                file.write(os.urandom(RESERVE_BYTES))
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            self.release()
            return False
        return True

    def release(self) -> bool:
        """Give the room back; False if there was none to give."""
        try:
            self._path.unlink()
        except OSError:
            return False
        return True


class Journal:
    """The journal on an open connection. `fresh_id` becomes the journal id of a new file."""

    def __init__(self, connection: sqlite3.Connection, fresh_id: str, reserve: Reserve | None = None) -> None:
        self._connection = connection
        self._reserve = reserve
        self._has_reserve = True
        connection.isolation_level = None
        # The pragma must run outside a transaction; a connection to memory answers "memory" and stays so.
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        self._prepare(fresh_id)
        self.journal_id = self._about("journal_id")
        self.restore_reserve()

    def _prepare(self, fresh_id: str) -> None:
        application_id, version = (
            self._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
        )
        if (application_id, version) == (APPLICATION_ID, SCHEMA_VERSION):
            return
        if application_id == APPLICATION_ID:
            raise JournalRefused(f"the journal has layout {version}, this program knows {SCHEMA_VERSION}")
        if self._connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            raise JournalRefused("the file is a database, but not a journal of this program")

        def create() -> None:
            for statement in _SCHEMA.split(";"):
                self._connection.execute(statement)
            self._set_about("journal_id", fresh_id)
            for name in ("boot", "last_seq", "pack_number", "acked_upto"):
                self._set_about(name, "0")
            self._connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            self._connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")

        self.write(create)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    # Writing.

    def write(self, body: Callable[[], _T]) -> _T:
        """Run `body`, which calls the methods below, in one transaction with one fsync.

        `body` may be run twice: on a full disk it is rolled back, the reserve is given up, and it is run again.
        Raises JournalBroken.
        """
        try:
            return self._write_once(body)
        except sqlite3.Error as error:
            if (
                getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_FULL
                or self._reserve is None
                or not self._reserve.release()
            ):
                raise JournalBroken(f"the journal cannot be written: {error}") from error
            self._has_reserve = False
        try:
            return self._write_once(body)
        except sqlite3.Error as error:
            raise JournalBroken(f"the journal cannot be written even in the reserve: {error}") from error

    def _write_once(self, body: Callable[[], _T]) -> _T:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            result = body()
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        return result

    @property
    def has_reserve(self) -> bool:
        """Without the reserve the machine does not sell."""
        return self._has_reserve

    def restore_reserve(self) -> bool:
        """Try to make the reserve; gives `has_reserve`."""
        self._has_reserve = self._reserve is None or self._reserve.restore()
        return self._has_reserve

    # Small facts.

    def _about(self, name: str) -> str:
        row = self._connection.execute("SELECT value FROM about WHERE name = ?", (name,)).fetchone()
        return "" if row is None else str(row[0])

    def _set_about(self, name: str, value: str) -> None:
        self._connection.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", (name, value))

    @property
    def boot(self) -> int:
        """How often an agent has begun on this journal."""
        return int(self._about("boot"))

    def begin_run(self) -> None:
        """Count one more start."""
        self._set_about("boot", str(self.boot + 1))
        self._connection.execute(_VOUCHERS)

    @property
    def pack_number(self) -> int:
        """The dispenser's last communication number that was written down."""
        return int(self._about("pack_number"))

    def save_pack_number(self, number: int) -> None:
        """Write down the dispenser's last communication number."""
        self._set_about("pack_number", str(number))

    # The outbox.

    @property
    def last_seq(self) -> int:
        """The last sequence given out; 0 when none was."""
        return int(self._about("last_seq"))

    @property
    def acked_upto(self) -> int:
        """Everything up to here is committed at the server."""
        return int(self._about("acked_upto"))

    @property
    def outbox_length(self) -> int:
        """How many messages wait for the server's acknowledgement."""
        return self.last_seq - self.acked_upto

    def append(self, row: OutboxRow) -> None:
        """Add the next message; its sequence is `last_seq` + 1."""
        assert row.seq == self.last_seq + 1, f"{row.seq} after {self.last_seq}"
        self._connection.execute(
            "INSERT INTO outbox VALUES (?, ?, ?, ?, NULL, 0)", (row.seq, row.topic, row.payload, row.redemption_id)
        )
        self._set_about("last_seq", str(row.seq))

    def unacked(self, after: int, limit: int) -> list[OutboxRow]:
        """The messages after sequence `after` that wait, in order, at most `limit`."""
        rows = self._connection.execute(
            "SELECT seq, topic, payload, redemption_id FROM outbox WHERE seq > ? ORDER BY seq LIMIT ?",
            (max(after, self.acked_upto), limit),
        )
        return [OutboxRow(*row) for row in rows]

    def acknowledge(self, upto: int, rejected: tuple[int, ...], server_at_ms: int) -> list[str]:
        """Close every row up to `upto`, forget what is older than OUTBOX_KEPT_MS; gives their redemption ids."""
        closed = self._connection.execute(
            "UPDATE outbox SET acked_at_ms = ? WHERE seq <= ? AND acked_at_ms IS NULL RETURNING redemption_id",
            (server_at_ms, upto),
        ).fetchall()
        self._connection.executemany("UPDATE outbox SET is_rejected = 1 WHERE seq = ?", [(seq,) for seq in rejected])
        self._set_about("acked_upto", str(upto))
        # By the server's clock: the machine's own may stand in 1970.
        long_ago = server_at_ms - OUTBOX_KEPT_MS
        self._connection.execute("DELETE FROM outbox WHERE acked_at_ms < ?", (long_ago,))
        self._connection.execute(
            "DELETE FROM redemptions WHERE state IN ('captured', 'voided', 'denied') AND NOT is_recovering"
            " AND last_seq < (SELECT coalesce(min(seq), ?) FROM outbox)",
            (upto,),
        )
        return [row[0] for row in closed if row[0] is not None]

    def reopen(self, from_seq: int) -> None:
        """Wait again for the acknowledgement of everything from `from_seq` on: the server was restored."""
        self._connection.execute("UPDATE outbox SET acked_at_ms = NULL WHERE seq >= ?", (from_seq,))
        self._set_about("acked_upto", str(min(self.acked_upto, from_seq - 1)))

    def sign_again(self, sign: Callable[[str, bytes], bytes]) -> None:
        """Give every kept message a new signature: this machine was enrolled again and has another key.

        `sign(topic, payload)` gives the new payload, with the same id, sequence and content.
        """
        rows = self._connection.execute("SELECT seq, topic, payload FROM outbox").fetchall()
        self._connection.executemany(
            "UPDATE outbox SET payload = ? WHERE seq = ?", [(sign(topic, payload), seq) for seq, topic, payload in rows]
        )

    # Redemptions.

    def save_redemption(self, redemption: Redemption) -> None:
        """Write a redemption's row."""
        self._connection.execute(
            "INSERT OR REPLACE INTO redemptions VALUES (?, ?, ?, ?, ?)",
            (
                redemption.id,
                redemption.state.value,
                redemption.is_recovering,
                self.last_seq,
                json.dumps(asdict(redemption), ensure_ascii=False),
            ),
        )

    def redemption(self, redemption_id: str) -> Redemption | None:
        """The redemption of this id."""
        row = self._connection.execute("SELECT content FROM redemptions WHERE id = ?", (redemption_id,)).fetchone()
        return None if row is None else _redemption(row[0])

    def left_open(self) -> tuple[Redemption, ...]:
        """What the last run left without an end, or with a dispenser that had not come to rest."""
        rows = self._connection.execute(
            "SELECT content FROM redemptions WHERE state IN ('requested', 'held', 'vending') OR is_recovering"
            " ORDER BY rowid"
        )
        return tuple(_redemption(row[0]) for row in rows)

    def redemptions(self, limit: int) -> list[Redemption]:
        """The newest redemptions, newest first."""
        rows = self._connection.execute("SELECT content FROM redemptions ORDER BY rowid DESC LIMIT ?", (limit,))
        return [_redemption(row[0]) for row in rows]

    # What must not be sold, until the server has heard of it and a document newer than that says otherwise.

    def close_selection(self, selection: int | None, code: str) -> None:
        """Sell nothing from this selection (None: from the whole machine)."""
        self._connection.execute(
            "INSERT OR REPLACE INTO closures VALUES (?, ?, ?)",
            (_WHOLE_MACHINE if selection is None else selection, code, self.last_seq),
        )

    def open_selection(self, selection: int) -> None:
        """A proof showed it to be in order."""
        self._connection.execute("DELETE FROM closures WHERE selection = ?", (selection,))

    def closures(self) -> dict[int | None, str]:
        """What is closed here, and why; None stands for the whole machine."""
        rows = self._connection.execute("SELECT selection, code FROM closures")
        return {None if selection == _WHOLE_MACHINE else selection: code for selection, code in rows}

    # Vouchers.

    @property
    def voucher_key(self) -> str:
        """The server's public key for vouchers; empty before it has said one."""
        return self._about("voucher_key")

    @property
    def vouchers_closed_upto(self) -> int:
        """No voucher up to this number is taken."""
        return int(self._about("vouchers_closed_upto") or 0)

    def voucher_ended(self, number: int) -> Ended:
        """Why this number is not taken, as a code of `words`; empty if it is."""
        if number <= self.vouchers_closed_upto:
            return "voucher_ended"
        row = self._connection.execute("SELECT ended FROM vouchers WHERE number = ?", (number,)).fetchone()
        return "" if row is None else "voucher_used" if row[0] == "voucher_used" else "voucher_ended"

    def take_voucher(self, number: int) -> None:
        """Write down that it is used. A number that has ended breaks the transaction: it must not be taken again."""
        if number <= self.vouchers_closed_upto:
            raise sqlite3.IntegrityError(f"voucher {number} is closed")
        self._connection.execute("INSERT INTO vouchers VALUES (?, 'voucher_used')", (number,))
        # Only a voucher that was good for an item shows that the guessing is over.
        self.save_wrong_digits(0)

    def close_vouchers(self, closing: CloseVouchers) -> None:
        """Take none of these any more, and keep the key."""
        up_to = max(closing.up_to, self.vouchers_closed_upto)
        rows = [(number,) for number in closing.numbers]
        self._connection.executemany("INSERT OR IGNORE INTO vouchers VALUES (?, 'voucher_ended')", rows)
        self._connection.execute("DELETE FROM vouchers WHERE number <= ?", (up_to,))
        self._set_about("vouchers_closed_upto", str(up_to))
        self._set_about("voucher_key", closing.key)

    @property
    def wrong_digits(self) -> int:
        """How often wrong digits were typed since a voucher was taken; a restart does not forget it."""
        return int(self._about("wrong_digits") or 0)

    def save_wrong_digits(self, number: int) -> None:
        """Write it down."""
        self._set_about("wrong_digits", str(number))

    # What the server wishes.

    def save_desired(self, desired: Desired) -> None:
        """Keep a newer document; closures that the server had heard of when it wrote it are its own from now on."""
        self._set_about("desired", json.dumps(asdict(desired), ensure_ascii=False))
        self._connection.execute("DELETE FROM closures WHERE seq <= ?", (self.acked_upto,))

    def desired(self) -> Desired | None:
        """The document in force; None before the first."""
        text = self._about("desired")
        if not text:
            return None
        members: dict[str, Any] = json.loads(text)
        slots = tuple(Slot(**slot) for slot in members.pop("slots"))
        return Desired(slots=slots, blocked_cards=tuple(members.pop("blocked_cards")), **members)


def _redemption(content: str) -> Redemption:
    members: dict[str, Any] = json.loads(content)
    return Redemption(**members | {"state": State(members["state"])})


@contextmanager
def locked(path: Path) -> Iterator[IO[str]]:
    """Hold `path` for this process alone; raises JournalRefused when another process holds it."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise JournalRefused(f"{path} is held by another process: is the agent running already?") from error
        yield file


def open_journal(directory: Path, fresh_id: str) -> Journal:
    """Open or make `journal.sqlite` in a directory that is `locked`.

    Raises JournalRefused when the file is foreign, corrupt or read-only, JournalBroken when the disk fails.
    """
    path = directory / "journal.sqlite"
    try:
        connection = sqlite3.connect(path, isolation_level=None)
        if connection.execute("PRAGMA quick_check").fetchone()[0] != "ok":
            raise JournalRefused(f"{path} is corrupt; move it away, and a person must settle what was open")
        journal = Journal(connection, fresh_id, Reserve(directory / "reserve"))
        # Nothing changes, but a file or a disk that is read-only is found now and not in the middle of a vend.
        journal.write(lambda: journal.save_pack_number(journal.pack_number))
    except (sqlite3.DatabaseError, JournalBroken) as error:
        raise JournalRefused(f"{path} cannot be used: {error}") from error
    return journal


def read_journal(directory: Path) -> Journal:
    """Open an existing journal to look at it, beside a running agent; nothing can be written."""
    path = directory / "journal.sqlite"
    if not path.exists():
        raise JournalRefused(f"{path} does not exist: the agent has not run yet")
    return Journal(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True), "")

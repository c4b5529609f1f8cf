"""The journal: what is written is there, what cannot be written is never said, what is not ours is not touched."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jishan_agent.journal import (
    OUTBOX_KEPT_MS,
    RESERVE_BYTES,
    Journal,
    JournalBroken,
    JournalRefused,
    OutboxRow,
    Reserve,
    locked,
    open_journal,
    read_journal,
)
from jishan_agent.vending import Redemption
from jishan_protocol.redemption import State


def redemption(state: State = State.VENDING, **changes: Any) -> Redemption:
    members = {"readings": {"sales_count": 4}, "approval": "token", **changes}
    return Redemption("r1", state, 13, "soap", 2, 3, "肥皂", "soap", **members)


def append(journal: Journal, count: int, redemption_id: str | None = "r1") -> None:
    def body() -> None:
        for _ in range(count):
            seq = journal.last_seq + 1
            journal.append(OutboxRow(seq, "topic", b"payload %d" % seq, redemption_id))

    journal.write(body)


@pytest.fixture
def journal(tmp_path: Path) -> Any:
    opened = open_journal(tmp_path, "j1")
    yield opened
    opened.close()


def test_what_was_written_is_there_after_a_restart(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, "j1")
    journal.write(lambda: journal.save_redemption(redemption()))
    append(journal, 3)
    journal.write(lambda: journal.close_selection(13, "xy_03"))
    journal.close()
    again = open_journal(tmp_path, "another")
    assert again.journal_id == "j1"
    assert again.redemption("r1") == redemption()
    assert again.left_open() == (redemption(),)
    assert [row.payload for row in again.unacked(0, 10)] == [b"payload 1", b"payload 2", b"payload 3"]
    assert again.closures() == {13: "xy_03"}
    again.close()


def test_a_transaction_that_fails_leaves_nothing(journal: Journal) -> None:
    def body() -> None:
        journal.append(OutboxRow(1, "topic", b"payload", None))
        raise KeyError

    with pytest.raises(KeyError):
        journal.write(body)
    assert journal.last_seq == 0
    assert journal.unacked(0, 10) == []


def test_sequences_have_no_gap(journal: Journal) -> None:
    append(journal, 2)
    with pytest.raises(AssertionError):
        journal.write(lambda: journal.append(OutboxRow(4, "topic", b"payload", None)))
    assert journal.last_seq == 2


def test_acknowledged_rows_are_kept_for_a_restored_server_and_then_forgotten(journal: Journal) -> None:
    journal.write(lambda: journal.save_redemption(redemption(State.CAPTURED)))
    append(journal, 5)
    assert journal.write(lambda: journal.acknowledge(3, (2,), 1_000)) == ["r1"] * 3
    assert journal.outbox_length == 2
    journal.write(lambda: journal.reopen(2))
    assert [row.seq for row in journal.unacked(0, 10)] == [2, 3, 4, 5]
    journal.write(lambda: journal.acknowledge(5, (), 2_000))
    append(journal, 1, None)
    journal.write(lambda: journal.acknowledge(6, (), 2_001 + OUTBOX_KEPT_MS))
    journal.write(lambda: journal.reopen(1))
    assert [row.seq for row in journal.unacked(0, 10)] == [6]
    assert journal.redemption("r1") is None


def test_a_redemption_in_hand_is_never_forgotten(journal: Journal) -> None:
    journal.write(lambda: journal.save_redemption(redemption(State.VENDING)))
    append(journal, 1)
    journal.write(lambda: journal.acknowledge(1, (), 1))
    append(journal, 1)
    journal.write(lambda: journal.acknowledge(2, (), 2 + 2 * OUTBOX_KEPT_MS))
    assert journal.redemption("r1") is not None


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "agent.lock")
    program = f"""
from pathlib import Path
from jishan_agent.journal import locked
with locked(Path({path!r})):
    pass
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with locked(tmp_path / "agent.lock"):
        other = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert other.returncode == 1
    assert "held by another process" in other.stderr


def test_a_foreign_database_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    foreign = sqlite3.connect(path)
    foreign.execute("CREATE TABLE recipes (name)")
    foreign.commit()
    foreign.close()
    with pytest.raises(JournalRefused, match="not a journal"):
        open_journal(tmp_path, "j1")


def test_a_corrupt_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite").write_bytes(b"this is no database at all" * 100)
    with pytest.raises(JournalRefused, match="cannot be used"):
        open_journal(tmp_path, "j1")


def test_a_journal_of_a_later_layout_is_refused(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, "j1")
    journal._connection.execute("PRAGMA user_version=99")
    journal.close()
    with pytest.raises(JournalRefused, match="layout 99"):
        open_journal(tmp_path, "j1")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to what is read-only")
def test_a_read_only_journal_stops_the_start(tmp_path: Path) -> None:
    open_journal(tmp_path, "j1").close()
    (tmp_path / "journal.sqlite").chmod(stat.S_IRUSR)
    with pytest.raises(JournalRefused):
        open_journal(tmp_path, "j1")


def test_a_failing_write_is_not_survived(journal: Journal) -> None:
    journal._connection.execute("PRAGMA query_only=ON")
    with pytest.raises(JournalBroken):
        append(journal, 1)


class FullDisk(Reserve):
    """A disk with as many pages as the journal has, and with the reserve's room once that is given up."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        super().__init__(path)
        self.connection = connection
        self.has_room = False
        self.restore()
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count={pages}")

    def restore(self) -> bool:
        return (self.has_room or not hasattr(self, "was_released")) and super().restore()

    def release(self) -> bool:
        self.was_released = True
        self.connection.execute("PRAGMA max_page_count=100000")
        return super().release()


def test_a_full_disk_takes_the_reserve_and_loses_nothing(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "journal.sqlite")
    Journal(connection, "j1")
    disk = FullDisk(tmp_path / "reserve", connection)
    journal = Journal(connection, "j1", disk)
    assert (tmp_path / "reserve").stat().st_size == RESERVE_BYTES
    append(journal, 1_000)
    assert journal.last_seq == 1_000
    assert not journal.has_reserve
    assert not (tmp_path / "reserve").exists()
    assert not journal.restore_reserve()
    disk.has_room = True
    assert journal.restore_reserve()
    journal.close()


def test_a_full_disk_without_a_reserve_ends_the_process(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "journal.sqlite")
    journal = Journal(connection, "j1")
    connection.execute(f"PRAGMA max_page_count={connection.execute('PRAGMA page_count').fetchone()[0]}")
    with pytest.raises(JournalBroken):
        append(journal, 1_000)
    assert journal.last_seq == 0
    journal.close()


def test_a_machine_with_a_full_disk_finishes_its_vend_says_so_and_sells_no_more(bench: Any, tmp_path: Path) -> None:
    bench.journal._reserve = disk = FullDisk(tmp_path / "reserve", bench.connection)
    while bench.journal.has_reserve:
        bench.tap()
        bench.press()
        bench.run(5_000)
    bench.run(10_000)
    assert bench.server.names().count("Dispensed") == len(bench.vmc.driven)
    assert bench.agent.status.why_not_selling == "disk_full"
    bench.tap()
    assert bench.said == "disk_full"
    assert bench.server.beats[-1].reason == "disk_full"
    disk.has_room = True
    bench.run(90_000)
    assert bench.agent.status.is_selling


def test_the_journal_can_be_read_beside_a_running_agent(tmp_path: Path, journal: Journal) -> None:
    append(journal, 2)
    reading = read_journal(tmp_path)
    assert reading.last_seq == 2
    with pytest.raises(JournalBroken):
        append(reading, 1)
    reading.close()


def test_no_card_and_no_pin_reach_the_disk(bench: Any, tmp_path: Path, capsys: Any) -> None:
    from jishan_agent.vending import Identified
    from jishan_protocol.sealing import Credential

    bench.agent.handle(Identified(Credential(member="880123", pin="493817")), bench.now_ms)
    bench.press()
    bench.until("Dispensed")
    bench.tap("DEADBEEF")
    bench.press()
    bench.run(20_000)
    assert [one.member or one.card for one in bench.server.credentials] == ["880123", "DEADBEEF"]
    bench.connection.execute("PRAGMA wal_checkpoint")
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    for secret in (b"880123", b"493817", b"DEADBEEF", b"deadbeef"):
        assert secret not in kept
    assert "493817" not in repr(bench.agent._vending)
    assert "493817" not in capsys.readouterr().out


def test_a_directory_without_a_journal_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(JournalRefused, match="has not run"):
        read_journal(tmp_path)

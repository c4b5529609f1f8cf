"""From the inbox to the mailbox: the real thread, writer, mail server and receiver; and what a crash leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from letters import LETTER, NOW, letter
from office import SECRET, Office, opened
from receivers import MailServer, Receiver
from sqlalchemy import select, update

from jishan_server.assembly import assembled
from jishan_server.cli import main
from jishan_server.config import Config
from jishan_server.db import writing
from jishan_server.messaging.letters import Report
from jishan_server.messaging.shell import Sender, send_all, sending_kinds
from jishan_server.people.delivery import LEASE, Outcome
from jishan_server.people.message_tables import message_channels, message_sendings
from jishan_server.people.messages import Message, tell
from jishan_server.people.tables import residents

PATIENCE_S = 30.0
LEASE_OVER = LEASE + timedelta(seconds=1)
SETTINGS: dict[str, Any] = {"argon2_rounds": 1, "argon2_memory_kib": 8, "quiet_hours": ""}


def wait_for(is_so: Callable[[], bool]) -> None:
    waiting = threading.Event()
    for _ in range(int(PATIENCE_S / 0.02)):
        if is_so():
            return
        waiting.wait(0.02)
    raise AssertionError("it did not come")


@pytest.fixture
def data(sqlite_template: Path, tmp_path: Path) -> Path:
    """The data directory of a server that is not running, in which one message waits for two channels."""
    with opened(sqlite_template, tmp_path) as office:
        put(office)
    (tmp_path / "secret.key").touch(mode=0o600)
    (tmp_path / "secret.key").write_text(SECRET.hex())
    return tmp_path


def put(office: Office) -> None:
    """One message for somebody who chose e-mail and the webhook."""
    id = office.people.residents[0].id
    with writing(office.parts.engine) as connection:
        connection.execute(update(residents).where(residents.c.id == id).values(email="wang@example.cn"))
        connection.execute(
            message_channels.insert(),
            [{"resident_id": id, "channel": one, "since_at": office.now} for one in ("email", "webhook")],
        )
        tell(connection, office.now, [Message(id, "points_adjusted_up", {"points": 3})])


def config_of(folder: Path, mail_server: MailServer, receiver: Receiver) -> Config:
    return Config(
        data_dir=folder,
        secret=SECRET,
        smtp_url=f"smtp://127.0.0.1:{mail_server.port}",
        mail_from="no-reply@jishan.example",
        webhook_url=receiver.url,
        webhook_secret="a secret of some length",
        **SETTINGS,
    )


def states(parts: Any) -> set[tuple[str, str]]:
    s = message_sendings.c
    with parts.engine.connect() as connection:
        return {(row[0], row[1]) for row in connection.execute(select(s.channel, s.state))}


def test_a_message_leaves_on_every_channel_that_was_chosen_once(
    data: Path, mail_server: MailServer, receiver: Receiver
) -> None:
    config = config_of(data, mail_server, receiver)
    with assembled(config, sending_kinds(config), lambda: NOW) as parts:
        sender = Sender(parts)
        wait_for(lambda: states(parts) == {("email", "sent"), ("webhook", "sent")})
        sender.close()
    assert [got["To"] for got in mail_server.got] == ["wang@example.cn"]
    assert "给您补了3分" in mail_server.got[0].get_content()
    assert [got.json["kind"] for got in receiver.got] == ["points_adjusted_up"]


def test_a_sender_killed_between_sending_and_writing_it_down_sends_again_under_the_same_id(
    data: Path, mail_server: MailServer, receiver: Receiver
) -> None:
    config = config_of(data, mail_server, receiver)
    # A process of its own that halts when the letter has been taken, and is then killed.
    program = f"""
import signal, sys
from datetime import timedelta
sys.path.append({str(Path(__file__).parent)!r})
from letters import NOW
from datetime import timedelta
from pathlib import Path
from jishan_server.assembly import assembled
from jishan_server.config import Config
from jishan_server.messaging import posts, shell
class Halting(posts.WebhookAdapter):
    def send(self, letter, now):
        report = super().send(letter, now)
        sys.stdout.write("sent\\n"); sys.stdout.flush()
        signal.pause()
config = Config(data_dir=Path({str(data)!r}), secret={SECRET!r}, webhook_url={receiver.url!r},
    webhook_secret="a secret of some length", quiet_hours="", smtp_url="smtp://127.0.0.1:1", mail_from="a@b.cn")
with assembled(config, shell.sending_kinds(config), lambda: NOW) as parts:
    from jishan_server.people.outbox import CLAIM, Claim
    from jishan_server.writer import Operation
    letters = parts.writer.call(Operation("one", CLAIM, Claim(frozenset(["webhook"]))))
    Halting(config.webhook_url, config.webhook_secret).send(letters[0], NOW)
"""
    running = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    assert running.stdout.readline() == "sent\n"
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    running.stdout.close()
    later = [NOW]
    with assembled(config, sending_kinds(config), lambda: later[0]) as parts:
        sender = Sender(parts)
        wait_for(lambda: ("email", "sent") in states(parts))
        # Leased to the dead one.
        assert ("webhook", "waiting") in states(parts)
        later[0] += LEASE_OVER
        wait_for(lambda: ("webhook", "sent") in states(parts))
        sender.close()
    first, second = receiver.got
    assert first.json["id"] == second.json["id"]
    assert first.body == second.body


class Scripted:
    """An adapter that gives the reports that it was given."""

    def __init__(self, *reports: Report | Exception) -> None:
        self.reports = list(reports)
        self.is_closed = False

    def send(self, letter: Any, now: Any) -> Report:
        report = self.reports.pop(0)
        if isinstance(report, Exception):
            raise report
        return report

    def close(self) -> None:
        self.is_closed = True


def test_a_channel_that_is_down_is_left_alone_and_the_others_go_on() -> None:
    known = {
        "email": Scripted(Report(Outcome.AGAIN, "unreachable", is_down=True)),
        "sms": Scripted(Report(Outcome.SENT)),
    }
    letters = [letter(sending=1), letter(sending=2), letter(sending=3, channel="sms")]
    tried, down = send_all(letters, known, lambda: NOW, lambda: True)
    assert [one.outcome for one in tried] == [Outcome.AGAIN, Outcome.UNTRIED, Outcome.SENT]
    assert down == {"email"}
    assert all(adapter.is_closed for adapter in known.values())


def test_a_letter_that_is_our_fault_holds_up_no_other() -> None:
    known = {"email": Scripted(RuntimeError("ours"), Report(Outcome.SENT))}
    tried, _ = send_all([LETTER, LETTER], known, lambda: NOW, lambda: True)
    assert [(one.outcome, one.problem) for one in tried] == [(Outcome.REFUSED, "fault"), (Outcome.SENT, None)]


def test_what_there_is_no_time_for_goes_back_untried() -> None:
    tried, _ = send_all([LETTER], {"email": Scripted()}, lambda: NOW, lambda: False)
    assert [one.outcome for one in tried] == [Outcome.UNTRIED]


def test_the_command_tries_an_adapter(data: Path, receiver: Receiver) -> None:
    environment = {
        "JISHAN_DATA_DIR": str(data),
        "JISHAN_WEBHOOK_URL": receiver.url,
        "JISHAN_WEBHOOK_SECRET": "a secret of some length",
    }
    run = ["messages", "test", "--channel", "webhook", "--to", "r1"]
    done = CliRunner().invoke(main, run, env=environment)
    assert json.loads(done.stdout)["outcome"] == "sent"
    assert receiver.got[0].json["kind"] == "test"
    receiver.status = 503
    done = CliRunner().invoke(main, run, env=environment)
    assert (done.exit_code, json.loads(done.stdout)["problem"]) == (1, "http_503")
    done = CliRunner().invoke(main, ["messages", "test", "--channel", "sms", "--to", "138"], env=environment)
    assert "no setting names an adapter for sms" in done.output

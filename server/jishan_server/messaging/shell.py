"""The thread that sends: it takes letters from the outbox, sends them outside of any transaction, and writes down what
came of it. It runs where the gateway runs, and only where the settings name a channel.

Rules: `people.outbox` decides what goes and what is tried again; this module only waits. Between sending and writing
it down a crash may come: the lease ends, and the letter goes once more under the same id. When a channel is down, its
other letters of the round go back untried, and it is left alone for a minute. Tries are counted at `/metrics`.
"""

import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import structlog
from prometheus_client.core import CounterMetricFamily

from jishan_server.config import Config
from jishan_server.db import DatabaseUnavailable
from jishan_server.errors import DomainError
from jishan_server.message_forms import parse_form
from jishan_server.messaging.letters import Adapter, Report
from jishan_server.messaging.mail import MailAdapter
from jishan_server.messaging.posts import FormAdapter, WebhookAdapter
from jishan_server.parts import Parts
from jishan_server.people.delivery import MAX_SENDING, PAUSE, Outcome, parse_quiet_hours
from jishan_server.people.outbox import CLAIM, CONCLUDE, MAX_CLAIMED, Claim, Letter, Tried, claim, conclude
from jishan_server.writer import Kind, Operation

LOOK_S: Final = 5.0
"""How often the outbox is looked into while nothing is due."""

log = structlog.get_logger(__name__)


def adapters(config: Config) -> dict[str, Adapter]:
    """The adapter of each channel that the settings name; they have been checked at the start."""
    found: dict[str, Adapter] = {}
    if config.smtp_url:
        found["email"] = MailAdapter(config.smtp_url, config.mail_from, config.mail_name, config.site_url)
    if config.webhook_url:
        found["webhook"] = WebhookAdapter(config.webhook_url, config.webhook_secret)
    for channel, path, secret in (
        ("sms", config.sms_form, config.sms_secret_file),
        ("wechat", config.wechat_form, config.wechat_secret_file),
    ):
        if path:
            form = parse_form(Path(path).read_text(encoding="utf-8"))
            found[channel] = FormAdapter(form, Path(secret) if secret else None)
    return found


def sending_kinds(config: Config) -> dict[str, Kind]:
    """The sender's kinds of operation for the writer."""
    quiet, zone = parse_quiet_hours(config.quiet_hours), ZoneInfo(config.time_zone)
    return {
        CLAIM: Kind(run_batch=partial(claim, channels=config.channels, quiet=quiet, zone=zone)),
        CONCLUDE: Kind(run_batch=conclude),
    }


def send_all(
    letters: Sequence[Letter], known: Mapping[str, Adapter], clock: Callable[[], datetime], is_time: Callable[[], bool]
) -> tuple[list[Tried], frozenset[str]]:
    """Send letters one after the other while there is time: what came of each, and the channels that are down."""
    down: set[str] = set()
    tried = []
    for letter in letters:
        report = Report(Outcome.UNTRIED)
        if letter.channel not in down and is_time():
            report = _send(known[letter.channel], letter, clock())
            if report.is_down:
                down.add(letter.channel)
        tried.append(Tried(letter.sending, letter.tries, report.outcome, report.problem))
    for adapter in known.values():
        adapter.close()
    return tried, frozenset(down)


def _send(adapter: Adapter, letter: Letter, now: datetime) -> Report:
    try:
        return adapter.send(letter, now)
    except Exception:
        # A fault of ours with this one letter: the others must not wait for it.
        log.exception("letter_cannot_be_sent", id=letter.id)
        return Report(Outcome.REFUSED, "fault")


class Sender:
    """The thread, from construction to `close`."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._adapters = adapters(parts.config)
        self._paused_until_s: dict[str, float] = {}
        self._counts: dict[tuple[str, str], int] = {}
        self._stopping = threading.Event()
        parts.metrics.registry.register(self)
        self._thread = threading.Thread(target=self._run, name="sender")
        self._thread.start()

    def close(self) -> None:
        """Finish the letter in hand and end."""
        self._stopping.set()
        self._thread.join()

    def collect(self) -> list[CounterMetricFamily]:
        """What prometheus_client asks a collector for."""
        counts = CounterMetricFamily(
            "jishan_letters", "Tries to send, by channel and outcome", labels=["channel", "outcome"]
        )
        for (channel, outcome), number in dict(self._counts).items():
            counts.add_metric([channel, outcome], number)
        return [counts]

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                is_more = self._round()
            except (DatabaseUnavailable, DomainError) as error:
                log.warning("outbox_not_reached", error=str(error))
                is_more = False
            if not is_more:
                self._stopping.wait(LOOK_S)

    def _round(self) -> bool:
        """Send what is due; whether there may be more at once."""
        call, now_s = self._parts.writer.call, time.monotonic()
        live = frozenset(one for one in self._adapters if self._paused_until_s.get(one, now_s) <= now_s)
        letters: list[Letter] = call(Operation(uuid.uuid4().hex, CLAIM, Claim(live)))
        if not letters:
            return False
        until_s = time.monotonic() + MAX_SENDING.total_seconds()
        tried, down = send_all(
            letters,
            self._adapters,
            self._parts.clock,
            lambda: time.monotonic() < until_s and not self._stopping.is_set(),
        )
        call(Operation(uuid.uuid4().hex, CONCLUDE, tuple(tried)))
        for channel in down:
            self._paused_until_s[channel] = time.monotonic() + PAUSE.total_seconds()
        for letter, one in zip(letters, tried, strict=True):
            place = (letter.channel, one.outcome.value)
            self._counts[place] = self._counts.get(place, 0) + 1
            if one.outcome in (Outcome.AGAIN, Outcome.REFUSED):
                log.warning("not_sent", channel=letter.channel, id=letter.id, tries=one.tries, problem=one.problem)
        return len(letters) == MAX_CLAIMED

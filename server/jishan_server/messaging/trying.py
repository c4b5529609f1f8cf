"""`jishan-server messages test`: one invented letter through a real adapter, to see whether the settings are right."""

import json
import secrets
from datetime import datetime
from typing import Final

import click

from jishan_server.assembly import utc_now
from jishan_server.config import Config, load
from jishan_server.people.delivery import Outcome
from jishan_server.people.message_tables import CHANNELS
from jishan_server.people.outbox import Letter

WORDS: Final = {
    "zh": "这是一条测试消息，收到就说明设置好了。",
    "en": "This is a test message: the settings are right.",
}


@click.group()
def messages() -> None:
    """What concerns messages that leave this server."""


@messages.command()
@click.option("--channel", type=click.Choice(CHANNELS), required=True)
@click.option("--to", required=True, help="E-mail address, phone number, openid; for a webhook a resident's id.")
@click.option("--language", type=click.Choice(["zh", "en"]), default="zh", show_default=True)
def test(channel: str, to: str, language: str) -> None:
    """Send one test message now, past the outbox and the quiet hours; exits with 1 if it was not taken."""
    config = load()
    report = _try(config, channel, letter(channel, to, language, utc_now(), secrets.token_hex(8)), utc_now())
    click.echo(json.dumps(report))
    if report["outcome"] != Outcome.SENT:
        raise SystemExit(1)


def letter(channel: str, to: str, language: str, now: datetime, id: str) -> Letter:
    """A letter that is about nothing."""
    return Letter(
        id=f"test-{id}-{channel}",
        sending=0,
        tries=1,
        channel=channel,
        to=to,
        resident_id=to if channel == "webhook" else "",
        member_number="",
        language=language,
        kind="test",
        text=WORDS[language],
        fields="{}",
        recorded_at=now,
    )


def _try(config: Config, channel: str, one: Letter, now: datetime) -> dict[str, str | None]:
    # Imported here: the other commands are quicker without.
    from jishan_server.messaging.shell import adapters

    known = adapters(config)
    if channel not in known:
        raise click.ClickException(f"no setting names an adapter for {channel}; see docs/messages.md")
    report = known[channel].send(one, now)
    known[channel].close()
    return {"outcome": report.outcome.value, "problem": report.problem, "id": one.id}

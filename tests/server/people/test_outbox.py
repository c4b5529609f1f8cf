"""The outbox: what goes to whom, when it is tried again, and what staff see of it."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import event, func, select, update
from sqlalchemy.exc import IntegrityError

sys.path.append(str(Path(__file__).parent.parent))

from office import Office

from jishan_server.db import connect_for_writing, writing
from jishan_server.people import outbox
from jishan_server.people.delivery import (
    DELAYS,
    GIVE_UP_AFTER,
    LEASE,
    MAX_TRIES,
    NO_QUIET_HOURS,
    URGENT,
    Outcome,
    QuietHours,
    next_try,
    parse_quiet_hours,
)
from jishan_server.people.message_tables import CHANNELS, message_channels, message_sendings, messages
from jishan_server.people.message_texts import TEXTS
from jishan_server.people.messages import Message, tell
from jishan_server.people.outbox import Claim, Letter, Tried
from jishan_server.people.preferences import ChooseChannels, choose_channels
from jishan_server.people.tables import residents
from jishan_server.vending.watching import watch
from jishan_server.writer import Operation, operations

ZONE = ZoneInfo("Asia/Shanghai")
NIGHT = QuietHours(time(21, 30), time(8))


def token_of(office: Office) -> dict[str, Any]:
    """What makes `Office.send` ask as the first resident."""
    one = office.people.residents[0]
    token = office.ok("POST", "/auth/resident-token", {"member_number": one.member_number, "pin": one.pin}, as_=None)
    return {"as_": None, "headers": {"Authorization": f"Bearer {token['token']}"}}


def choose(office: Office, resident: int, *channels: str, **more: Any) -> Any:
    """Have a resident with every address choose channels, past the API."""
    id = office.people.residents[resident].id
    with writing(office.parts.engine) as connection:
        connection.execute(
            update(residents).where(residents.c.id == id).values(email=f"r{resident}@example.cn", phone="13800001111")
        )
        body = ChooseChannels("system", id, channels, wechat_openid="openid-1", **more)
        return choose_channels(connection, Operation(f"choose-{office.now}", "x", body), office.now, CHANNELS)


def say(office: Office, resident: int, kind: str = "points_adjusted_up", many: int = 1) -> None:
    with writing(office.parts.engine) as connection:
        tell(connection, office.now, [Message(office.people.residents[resident].id, kind, {"points": 3})] * many)


def claim(office: Office, quiet: QuietHours = NO_QUIET_HOURS, live: Sequence[str] = CHANNELS) -> list[Letter]:
    with writing(office.parts.engine) as connection:
        asked = Operation("claim", outbox.CLAIM, Claim(frozenset(live)))
        (answer,) = outbox.claim(connection, [asked], office.now, CHANNELS, quiet, ZONE)
    found: list[Letter] = answer.value
    return found


def conclude(office: Office, letters: Sequence[Letter], outcome: Outcome, problem: str | None = None) -> None:
    said = tuple(Tried(one.sending, one.tries, outcome, problem) for one in letters)
    with writing(office.parts.engine) as connection:
        outbox.conclude(connection, [Operation("done", outbox.CONCLUDE, said)], office.now)


def states(office: Office) -> list[tuple[str, int, str | None]]:
    with office.parts.engine.connect() as connection:
        s = message_sendings.c
        return [tuple(row) for row in connection.execute(select(s.state, s.tries, s.problem).order_by(s.number))]


def test_only_those_who_chose_a_channel_are_written_to(both: Office) -> None:
    choose(both, 0, "email", "webhook")
    say(both, 0)
    say(both, 1)
    letters = claim(both)
    resident = both.people.residents[0]
    assert [(one.channel, one.to) for one in letters] == [("email", "r0@example.cn"), ("webhook", resident.id)]
    assert {one.text for one in letters} == {"工作人员给您补了3分。想知道原因，请找小区工作人员。"}
    assert len({one.id for one in letters}) == 2
    assert claim(both) == []


def test_a_message_is_planned_once_however_often_one_looks(both: Office) -> None:
    choose(both, 0, "email")
    say(both, 0, many=30)
    first = claim(both)
    both.tick(seconds=30)
    second = claim(both)
    both.tick(minutes=2)
    assert (len(first), len(second), len(claim(both))) == (20, 10, 0)
    assert len({one.id for one in (*first, *second)}) == 30
    with both.parts.engine.connect() as connection:
        row = dict(connection.execute(select(message_sendings).limit(1)).mappings().one())
        with pytest.raises(IntegrityError):
            connection.execute(message_sendings.insert().values(row | {"number": 1000}))


def test_what_was_told_before_one_chose_stays_in_the_inbox(office: Office) -> None:
    say(office, 0)
    office.tick(minutes=1)
    choose(office, 0, "email")
    assert claim(office) == []
    say(office, 0)
    assert len(claim(office)) == 1


def test_a_message_committed_late_with_a_smaller_number_is_not_passed_over(both: Office) -> None:
    choose(both, 0, "email")
    say(both, 0, many=3)
    with writing(both.parts.engine) as connection:
        late = dict(connection.execute(select(messages).order_by(messages.c.number).limit(1)).mappings().one())
        connection.execute(messages.delete().where(messages.c.number == late["number"]))
    assert len(claim(both)) == 2
    if both.parts.config.is_sqlite:
        return  # One writer: numbers are committed in their order.
    with writing(both.parts.engine) as connection:
        connection.execute(messages.insert().values(late))
    assert len(claim(both)) == 1


def test_two_gateways_never_take_one_letter_at_once(both: Office) -> None:
    choose(both, 0, "email")
    say(both, 0, many=30)
    if both.parts.config.is_sqlite:
        assert not {one.id for one in claim(both)} & {one.id for one in claim(both)}
        return
    one, other = (connect_for_writing(both.parts.engine) for _ in range(2))
    asked = [Operation("claim", outbox.CLAIM, Claim(frozenset(CHANNELS)))]
    (first,) = outbox.claim(one, asked, both.now, CHANNELS, NO_QUIET_HOURS, ZONE)
    one.commit()
    (first,) = outbox.claim(one, asked, both.now, CHANNELS, NO_QUIET_HOURS, ZONE)
    # The first has not committed; the second waits for nothing.
    (second,) = outbox.claim(other, asked, both.now + LEASE, CHANNELS, NO_QUIET_HOURS, ZONE)
    assert not {letter.id for letter in first.value} & {letter.id for letter in second.value}
    assert (len(first.value), len(second.value)) == (10, 20)
    for connection in (one, other):
        connection.commit()
        connection.close()


def test_who_dies_between_sending_and_writing_it_down_leaves_it_to_the_next_under_the_same_id(both: Office) -> None:
    choose(both, 0, "email")
    say(both, 0)
    (first,) = claim(both)
    both.tick(seconds=(LEASE - timedelta(seconds=1)).total_seconds())
    assert claim(both) == []
    both.tick(seconds=1)
    (second,) = claim(both)
    assert (second.id, second.text) == (first.id, first.text)
    # The first was only slow: what it says now is not about the row that the second has.
    conclude(both, [first], Outcome.REFUSED, "smtp_550")
    conclude(both, [second], Outcome.SENT)
    assert states(both) == [("sent", 2, None)]


def test_tries_come_at_growing_distances_and_end_in_the_list_of_what_failed(both: Office) -> None:
    choose(both, 0, "email")
    say(both, 0)
    for delay in DELAYS:
        conclude(both, claim(both), Outcome.AGAIN, "unreachable")
        both.tick(seconds=(delay - timedelta(seconds=1)).total_seconds())
        assert claim(both) == []
        both.tick(seconds=1)
    conclude(both, claim(both), Outcome.AGAIN, "unreachable")
    assert states(both) == [("failed", MAX_TRIES, "unreachable")]
    (shown,) = both.ok("GET", "/messages/failed")["items"]
    assert (shown["channel"], shown["problem"], shown["tries"]) == ("email", "unreachable", MAX_TRIES)
    assert "example.cn" not in json.dumps(shown)
    both.ok("POST", f"/messages/sendings/{shown['number']}/resend")
    both.refused(409, "sending_not_failed", "POST", f"/messages/sendings/{shown['number']}/resend")
    both.refused(404, "sending_unknown", "POST", "/messages/sendings/999/resend")
    assert both.ok("GET", "/messages/failed")["items"] == []
    (letter,) = claim(both)
    assert letter.tries == 1


def test_an_alert_tells_the_estate_of_what_failed_and_settles_when_it_was_sent_once_more(both: Office) -> None:
    choose(both, 0, "email")

    def fail() -> None:
        say(both, 0)
        conclude(both, claim(both), Outcome.REFUSED, "refused")
        look()

    def look() -> None:
        with writing(both.parts.engine) as connection:
            watch(connection, both.now, both.parts.vending.rules)

    def alerts() -> list[tuple[Any, ...]]:
        found = both.ok("GET", "/alerts", as_="operator")["items"]
        return [(one["estate_id"], one["detail"]) for one in found if one["kind"] == "messages_failed"]

    look()
    assert alerts() == []
    fail()
    fail()
    assert alerts() == [("jiangpan", {"count": 1})]
    # Resolved by a person, it comes back with the next that fails, and not before.
    (told,) = [one for one in both.ok("GET", "/alerts", as_="operator")["items"] if one["kind"] == "messages_failed"]
    both.tick(minutes=1)
    both.ok("POST", f"/alerts/{told['number']}/resolve", as_="operator")
    look()
    assert alerts() == []
    both.tick(minutes=1)
    fail()
    assert alerts() == [("jiangpan", {"count": 3})]
    for one in both.ok("GET", "/messages/failed")["items"]:
        both.ok("POST", f"/messages/sendings/{one['number']}/resend")
    look()
    assert alerts() == []


def test_all_tries_take_less_time_than_giving_up() -> None:
    now = datetime(2026, 3, 2, tzinfo=UTC)
    assert sum(DELAYS, timedelta()) < GIVE_UP_AFTER
    assert sorted(DELAYS) == list(DELAYS)
    assert next_try(MAX_TRIES, now) is None
    assert next_try(1, now) == now + DELAYS[0]


def test_what_was_not_tried_keeps_its_tries_and_fails_when_it_has_waited_too_long(office: Office) -> None:
    choose(office, 0, "email")
    say(office, 0)
    for _ in range(20):
        conclude(office, claim(office), Outcome.UNTRIED)
    assert states(office) == [("waiting", 0, None)]
    office.tick(seconds=GIVE_UP_AFTER.total_seconds() + 1)
    assert claim(office) == []
    assert states(office) == [("failed", 1, "too_late")]


def test_a_channel_that_is_down_does_not_hold_up_the_others(office: Office) -> None:
    choose(office, 0, "email", "webhook")
    say(office, 0, many=30)
    assert {one.channel for one in claim(office, live=["webhook"])} == {"webhook"}


def test_a_letter_whose_takers_all_died_fails(office: Office) -> None:
    choose(office, 0, "email")
    say(office, 0)
    for _ in range(MAX_TRIES):
        assert len(claim(office)) == 1
        office.tick(seconds=LEASE.total_seconds())
    assert claim(office) == []
    assert states(office) == [("failed", MAX_TRIES + 1, "lost")]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"consent_state": "withdrawn"}, "no_consent"),
        ({"email": None}, "no_address"),
        ({}, "switched_off"),
    ],
)
def test_who_may_not_or_cannot_be_written_to_any_more_is_not(office: Office, change: Any, problem: str) -> None:
    choose(office, 0, "email")
    say(office, 0)
    conclude(office, claim(office), Outcome.AGAIN, "unreachable")
    office.tick(minutes=5)
    id = office.people.residents[0].id
    with writing(office.parts.engine) as connection:
        if change:
            connection.execute(update(residents).where(residents.c.id == id).values(change))
        else:
            connection.execute(message_channels.delete())
    assert claim(office) == []
    assert states(office) == [("dropped", 2, problem)]
    assert office.ok("GET", "/messages/failed")["items"] == []


def test_nobody_is_planned_for_who_has_not_agreed(office: Office) -> None:
    choose(office, 0, "email")
    with writing(office.parts.engine) as connection:
        connection.execute(update(residents).values(consent_state="awaiting"))
    say(office, 0)
    assert claim(office) == []
    assert states(office) == []


def test_at_night_only_what_is_urgent_leaves(both: Office) -> None:
    choose(both, 0, "email")
    both.now = datetime(2026, 3, 2, 14, 0, tzinfo=UTC)  # 22:00 in Shanghai
    say(both, 0, "points_adjusted_up")
    say(both, 0, "redemption_done")
    assert [one.kind for one in claim(both, NIGHT)] == ["redemption_done"]
    both.tick(hours=9, minutes=59)
    assert claim(both, NIGHT, ["webhook"]) == []
    both.tick(minutes=1)
    assert "points_adjusted_up" in [one.kind for one in claim(both, NIGHT)]


@pytest.mark.parametrize(
    ("text", "local", "is_quiet"),
    [
        ("21:30-08:00", "21:29", False),
        ("21:30-08:00", "21:30", True),
        ("21:30-08:00", "00:00", True),
        ("21:30-08:00", "07:59", True),
        ("21:30-08:00", "08:00", False),
        ("12:00-14:00", "13:00", True),
        ("12:00-14:00", "14:00", False),
        ("08:00-08:00", "08:00", False),
        ("", "03:00", False),
    ],
)
def test_quiet_hours_are_local_and_may_go_over_midnight(text: str, local: str, is_quiet: bool) -> None:
    now = datetime.combine(date(2026, 3, 2), time.fromisoformat(local), ZONE).astimezone(UTC)
    assert parse_quiet_hours(text).holds(now, ZONE) is is_quiet


def test_urgent_kinds_are_kinds() -> None:
    assert TEXTS.keys() >= URGENT


def test_planning_and_claiming_take_the_same_few_statements_for_one_and_for_many(office: Office) -> None:
    counts = []
    for many in (1, 500):
        choose(office, 0, "email")
        say(office, 0, many=many)
        statements: list[str] = []
        with writing(office.parts.engine) as connection:
            event.listen(connection, "before_cursor_execute", lambda *found: statements.append(found[2]))  # noqa: B023
            asked = Operation("claim", outbox.CLAIM, Claim(frozenset(CHANNELS)))
            if not counts:
                outbox.claim(connection, [asked], office.now, CHANNELS, NO_QUIET_HOURS, ZONE)
                statements.clear()
            outbox.claim(connection, [asked], office.now, CHANNELS, NO_QUIET_HOURS, ZONE)
        counts.append(len(statements))
        office.tick(minutes=1)
    assert max(counts) <= 8


def test_people_choose_channels_themselves_and_see_no_address(both: Office) -> None:
    mine = token_of(both)
    shown = both.ok("GET", "/me/messages/preferences", **mine)
    assert (shown["channels"], shown["available"], shown["without_address"]) == ([], [], ["email", "sms"])
    both.refused(409, "channel_off", "PUT", "/me/messages/preferences", {"channels": ["email"]}, **mine)
    done = both.ok("PUT", "/me/messages/preferences", {"channels": [], "language": "en"}, **mine)
    assert done["language"] == "en"
    both.refused(422, "fields_invalid", "PUT", "/me/messages/preferences", {"channels": ["pigeon"]}, **mine)


def test_nobody_is_put_on_a_channel_without_consent_or_address(office: Office) -> None:
    id = office.people.residents[0].id
    body = ChooseChannels("system", id, ("email",))

    def refusal(**person: Any) -> str:
        with writing(office.parts.engine) as connection:
            connection.execute(update(residents).where(residents.c.id == id).values(**person))
            with pytest.raises(Exception) as caught:  # noqa: PT011 (its code is looked at)
                choose_channels(connection, Operation("x", "x", body), office.now, CHANNELS)
        return str(getattr(caught.value, "code", caught.value))

    assert refusal(email=None) == "channel_address"
    assert refusal(email="a@example.cn", consent_state="withdrawn") == "channel_consent"


def test_an_openid_is_kept_and_never_shown_and_the_desk_may_choose_for_others(office: Office) -> None:
    office.parts = dataclasses.replace(office.parts)
    shown = choose(office, 0, "wechat", language="en")
    assert "openid" not in json.dumps(shown)
    choose(office, 0, "wechat", "email")
    with office.parts.engine.connect() as connection:
        query = select(message_channels.c.address).where(message_channels.c.channel == "wechat")
        assert connection.scalar(query) == "openid-1"
        assert connection.scalar(select(func.count()).where(operations.c.response_json.contains("openid-1"))) == 0
    seen = office.ok("GET", f"/residents/{office.people.residents[0].id}/messages/preferences")
    assert (seen["channels"], seen["language"]) == (["email", "wechat"], "en")
    path = f"/residents/{office.people.residents[0].id}/messages/preferences"
    assert office.ok("PUT", path, {"channels": []})["channels"] == []

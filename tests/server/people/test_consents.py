"""Consent: asked before, written down once and for all, and as easily withdrawn as given."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

import pytest
from office import Office
from sqlalchemy import event, select, update

from jishan_protocol.sealing import Credential
from jishan_server.db import writing
from jishan_server.errors import DomainError
from jishan_server.organizations.roles import SYSTEM
from jishan_server.people import consents
from jishan_server.people.consent_tables import consents as said
from jishan_server.people.credentials import Identified, identify, prepare
from jishan_server.people.residents import CreateResident
from jishan_server.writer import Operation

SHANGHAI = ZoneInfo("Asia/Shanghai")


def register(office: Office, consent: consents.NewConsent | None = None) -> str:
    """Somebody with the card A1B2C3D4, registered without a word about consent unless one is given."""
    body = CreateResident(SYSTEM, "jiangpan", "新人", consent=consent)
    made: str = office.parts.writer.call(Operation("new", "create_resident", body))["id"]
    office.ok("POST", f"/residents/{made}/cards", {"uid": "A1B2C3D4"})
    return made


def tap(office: Office, machine_id: str | None = "east", times: int = 1) -> list[str]:
    """What the card A1B2C3D4 is answered at a machine: `ok`, or the refusal's code."""
    hashing = office.parts.hashing
    with writing(office.parts.engine) as connection:
        shown = prepare(connection, [Credential(card="A1B2C3D4")] * times, hashing)
        answers = identify(connection, shown, hashing, office.now, [machine_id] * times)
    return [one.code if isinstance(one, DomainError) else "ok" for one in answers]


def state(office: Office, resident_id: str) -> str:
    with office.parts.engine.connect() as connection:
        return consents.state(connection, resident_id)


def test_whoever_registers_at_the_desk_has_agreed(office: Office) -> None:
    ids = [one.id for one in office.people.residents]
    waiting = register(office)
    with office.parts.engine.connect() as connection:
        assert consents.with_consent(connection, [*ids, waiting, "nobody"]) == frozenset(ids)
        [row] = consents.history(connection, ids[0])
        assert (row["how"], row["text_version"], row["is_given"]) == ("desk", 1, True)
        assert consents.history(connection, waiting) == []


def test_a_second_tap_at_the_same_machine_gives_consent_and_goes_on(both: Office) -> None:
    office = both
    id = register(office)
    assert tap(office) == ["consent_needed"]
    office.tick(seconds=10)
    assert tap(office) == ["ok"]
    assert tap(office, "west") == ["ok"]
    with office.parts.engine.connect() as connection:
        [row] = consents.history(connection, id)
    assert (row["how"], row["machine_id"], row["written_by"]) == ("card_tap", "east", f"resident:{id}")


def test_a_bounce_of_the_card_is_no_consent(office: Office) -> None:
    id = register(office)
    assert tap(office, times=3) == ["consent_needed"] * 3
    office.tick(seconds=1)
    assert tap(office) == ["consent_needed"]
    assert state(office, id) == "awaiting"
    office.tick(seconds=1)
    assert tap(office) == ["ok"]


@pytest.mark.parametrize(("second", "seconds"), [("west", 10), ("east", 121), (None, 10)])
def test_a_tap_elsewhere_or_too_late_asks_anew(office: Office, second: str | None, seconds: int) -> None:
    id = register(office)
    assert tap(office) == ["consent_needed"]
    office.tick(seconds=seconds)
    assert tap(office, second) == ["consent_needed"]
    assert state(office, id) == "awaiting"


def test_a_childs_card_gives_no_consent(office: Office) -> None:
    id = register(office)
    office.parts.writer.call(Operation("ping", "ping", None))
    with writing(office.parts.engine) as connection:
        born = consents.of_age_at("2015-01-01", SHANGHAI)
        connection.execute(update(consents.residents).where(consents.residents.c.id == id).values(of_age_at=born))
    assert tap(office) == ["guardian_needed"]
    office.tick(seconds=10)
    assert tap(office) == ["guardian_needed"]
    give = consents.GiveConsent(SYSTEM, id, "desk")
    with pytest.raises(DomainError, match="guardian_needed"):
        office.parts.writer.call(Operation("alone", "give_consent", give))
    guardian = consents.Guardian(name="新人的妈妈", phone="13800000000")
    give = consents.GiveConsent(SYSTEM, id, "paper", "F-7", "2026-03-01", guardian)
    told = office.parts.writer.call(Operation("with", "give_consent", give))
    assert (told["guardian_name"], told["form_number"], told["form_day"]) == ("新人的妈妈", "F-7", "2026-03-01")
    assert tap(office) == ["ok"]


def test_a_child_turns_14_on_the_local_day() -> None:
    assert consents.of_age_at("2012-03-02", SHANGHAI) == datetime(2026, 3, 1, 16, tzinfo=UTC)
    assert consents.of_age_at("2012-02-29", SHANGHAI) == datetime.combine(date(2026, 3, 1), time(), SHANGHAI)
    assert consents.of_age_at(None, SHANGHAI) is None


def test_withdrawing_leaves_the_points_to_use(office: Office) -> None:
    one = office.people.residents[0]
    withdraw = consents.WithdrawConsent(SYSTEM, one.id, "desk")
    office.parts.writer.call(Operation("w1", "withdraw_consent", withdraw))
    assert state(office, one.id) == "withdrawn"
    hashing = office.parts.hashing
    with writing(office.parts.engine) as connection:
        [who] = identify(connection, prepare(connection, [Credential(card=one.card)], hashing), hashing, office.now)
        assert isinstance(who, Identified)
        assert consents.with_consent(connection, [one.id]) == frozenset()
        assert [row["is_given"] for row in consents.history(connection, one.id)] == [False, True]
    with pytest.raises(DomainError, match="consent_not_given"):
        office.parts.writer.call(Operation("w2", "withdraw_consent", withdraw))


def test_those_who_have_agreed_cost_the_machine_no_further_statement(office: Office) -> None:
    one, hashing = office.people.residents[0], office.parts.hashing
    statements: list[str] = []
    with writing(office.parts.engine) as connection:
        shown = prepare(connection, [Credential(card=one.card)], hashing)
        event.listen(connection, "before_cursor_execute", lambda *words: statements.append(words[2]))
        identify(connection, shown, hashing, office.now, ["east"])
    assert len(statements) == 1


def test_a_new_text_holds_from_its_day_and_older_consent_stays(office: Office) -> None:
    def publish(id: str, day: str) -> int:
        body = consents.PublishConsentText(SYSTEM, "新的告知书。", "A new text.", day)
        version: int = office.parts.writer.call(Operation(id, "publish_consent_text", body))["version"]
        return version

    assert publish("t2", "2026-03-04") == 2
    with pytest.raises(DomainError, match="consent_text_day"):
        publish("t3", "2026-03-01")
    register(office)
    tap(office)
    office.tick(days=2)
    assert tap(office) == ["consent_needed"]
    office.tick(seconds=5)
    assert tap(office) == ["ok"]
    with office.parts.engine.connect() as connection:
        versions = connection.execute(select(said.c.how, said.c.text_version).order_by(said.c.number)).all()
        assert consents.with_consent(connection, [office.people.residents[0].id])
    assert tuple(versions[0]) == ("desk", 1)
    assert tuple(versions[-1]) == ("card_tap", 2)

"""Who stands at the machine: cards, member numbers and PINs, right and wrong. Nobody's balance moves by asking."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from office import Office
from sqlalchemy import event

from jishan_protocol.cards import reversed_uid
from jishan_protocol.sealing import Credential
from jishan_server.db import writing
from jishan_server.errors import DomainError
from jishan_server.people.credentials import Identified, identify, masked, prepare


@pytest.fixture(autouse=True)
def balances_stay(office: Office) -> Iterator[None]:
    office.credit(0, 10)
    with office.unchanged():
        yield


def ask(office: Office, *credentials: Credential) -> list[Identified | str]:
    """What each credential is answered in one batch: who it is, or the refusal's code."""
    hashing = office.parts.hashing
    with office.parts.engine.connect() as connection:
        prepared = prepare(connection, credentials, hashing)
    with writing(office.parts.engine) as connection:
        answers = identify(connection, prepared, hashing, office.now)
    return [one.code if isinstance(one, DomainError) else one for one in answers]


def test_a_card_is_its_resident_with_and_without_pin(office: Office) -> None:
    one = office.people.residents[0]
    plain, with_pin = ask(office, Credential(card=one.card), Credential(card=one.card.lower(), pin=one.pin))
    assert plain == Identified(one.id, f"res:{one.id}", "jiangpan", "王*华", False)
    assert isinstance(with_pin, Identified)
    assert with_pin.with_pin


def test_a_member_number_with_its_pin_is_its_resident(office: Office) -> None:
    one = office.people.residents[3]
    (who,) = ask(office, Credential(member=one.member_number, pin=one.pin))
    assert who == Identified(one.id, f"res:{one.id}", "jiangpan", "𠮷*美", True)


def test_an_unknown_card_is_refused(office: Office) -> None:
    assert ask(office, Credential(card="01020304"), Credential(card="no card")) == ["card_unknown", "card_unknown"]


def test_a_card_read_by_a_wrong_profile_is_refused_with_a_hint(office: Office) -> None:
    # The second card of the demo is 1EA68671; a reversing reader prints 7186A61E. 0007625328 is the first in decimal.
    hashing = office.parts.hashing
    for shown in (reversed_uid("1EA68671"), "0007625328"):
        with writing(office.parts.engine) as connection:
            (refusal,) = identify(
                connection, prepare(connection, [Credential(card=shown)], hashing), hashing, office.now
            )
        assert refusal == DomainError("card_unknown", hint="wrong_reader_profile")


def test_a_blocked_card_is_refused_and_its_replacement_works(office: Office) -> None:
    one = office.people.residents[0]
    [card] = office.ok("GET", f"/residents/{one.id}")["cards"]
    office.ok("POST", f"/cards/{card['id']}/replace", {"uid": "A1B2C3D4"})
    old, new = ask(office, Credential(card=one.card), Credential(card="A1B2C3D4"))
    assert old == "card_blocked"
    assert isinstance(new, Identified)
    assert new.resident_id == one.id


def test_a_frozen_resident_is_refused_by_card_and_by_number(office: Office) -> None:
    one = office.people.residents[0]
    office.ok("POST", f"/residents/{one.id}/freeze", {"reason": "核查"}, as_="approver")
    credentials = [Credential(card=one.card), Credential(member=one.member_number, pin=one.pin)]
    assert ask(office, *credentials) == ["resident_frozen", "resident_frozen"]
    office.ok("POST", f"/residents/{one.id}/unfreeze", {"reason": "好了"}, as_="approver")
    assert all(isinstance(who, Identified) for who in ask(office, *credentials))


def test_five_wrong_pins_close_the_number_for_15_minutes_and_the_card_goes_on(office: Office) -> None:
    one = office.people.residents[0]
    right, wrong = Credential(member=one.member_number, pin=one.pin), Credential(member=one.member_number, pin="0000")
    assert [ask(office, wrong)[0] for _ in range(5)] == ["pin_wrong"] * 4 + ["pin_locked"]
    assert ask(office, right) == ["pin_locked"]
    by_card, with_pin = ask(office, Credential(card=one.card), Credential(card=one.card, pin=one.pin))
    assert isinstance(by_card, Identified)
    # While the PIN rests, a card with it is a card without.
    assert isinstance(with_pin, Identified)
    assert not with_pin.with_pin
    office.tick(minutes=15)
    (who,) = ask(office, right)
    assert isinstance(who, Identified)


def test_wrong_pins_in_one_batch_count_one_by_one(office: Office) -> None:
    one = office.people.residents[0]
    right, wrong = Credential(member=one.member_number, pin=one.pin), Credential(member=one.member_number, pin="0000")
    assert ask(office, *[wrong] * 6, right) == ["pin_wrong"] * 4 + ["pin_locked"] * 3


def test_a_wrong_pin_with_a_card_is_refused_and_counted(office: Office) -> None:
    one = office.people.residents[0]
    wrong = Credential(card=one.card, pin="0000")
    assert [ask(office, wrong)[0] for _ in range(5)] == ["pin_wrong"] * 4 + ["pin_locked"]
    assert ask(office, Credential(member=one.member_number, pin=one.pin)) == ["pin_locked"]


def test_a_right_pin_forgets_the_wrong_ones(office: Office) -> None:
    one = office.people.residents[0]
    right, wrong = Credential(member=one.member_number, pin=one.pin), Credential(member=one.member_number, pin="0000")
    for _ in range(3):
        assert ask(office, *[wrong] * 4) == ["pin_wrong"] * 4
        assert isinstance(ask(office, right)[0], Identified)


def test_a_pin_set_at_the_desk_ends_the_lock(office: Office) -> None:
    one = office.people.residents[0]
    ask(office, *[Credential(member=one.member_number, pin="0000")] * 5)
    office.ok("PUT", f"/residents/{one.id}/pin", {"pin": "86420"})
    (who,) = ask(office, Credential(member=one.member_number, pin="86420"))
    assert isinstance(who, Identified)
    assert ask(office, Credential(member=one.member_number, pin=one.pin)) == ["pin_wrong"]


def test_a_pin_changed_between_looking_and_judging_counts_as_it_is_now(office: Office) -> None:
    one, hashing = office.people.residents[0], office.parts.hashing
    shown = [Credential(member=one.member_number, pin=one.pin), Credential(member=one.member_number, pin="86420")]
    with office.parts.engine.connect() as connection:
        prepared = prepare(connection, shown, hashing)
    office.ok("PUT", f"/residents/{one.id}/pin", {"pin": "86420"})
    with writing(office.parts.engine) as connection:
        old, new = identify(connection, prepared, hashing, office.now)
    assert old == DomainError("pin_wrong")
    assert isinstance(new, Identified)


def test_a_number_without_a_pin_or_of_nobody_is_refused(office: Office) -> None:
    made = office.ok("POST", "/residents", {"estate_id": "jiangpan", "name": "新人"})
    assert not made["has_pin"]
    answers = ask(office, Credential(member=made["member_number"], pin="0000"), Credential(member="99999999", pin="1"))
    assert answers == ["pin_wrong", "member_unknown"]


def test_a_thousand_cards_take_a_handful_of_statements(office: Office) -> None:
    one, hashing = office.people.residents[0], office.parts.hashing
    shown = [Credential(card=one.card)] * 500 + [Credential(card=f"{n:08X}") for n in range(500)]
    statements: list[str] = []
    with writing(office.parts.engine) as connection:
        event.listen(connection, "before_cursor_execute", lambda *words: statements.append(words[2]))
        answers = identify(connection, prepare(connection, shown, hashing), hashing, office.now)
    assert len(answers) == 1000
    assert len(statements) <= 4


def test_a_credential_shows_nothing_of_itself(office: Office) -> None:
    one = office.people.residents[0]
    shown = repr(Credential(card=one.card, pin=one.pin))
    assert one.card not in shown
    assert one.pin not in shown


def test_names_are_masked_for_the_screen() -> None:
    assert [masked(name) for name in ("王建华", "王华", "王", "欧阳小芳", "𠮷田小美")] == [
        "王*华",
        "王*",
        "王*",
        "欧*芳",
        "𠮷*美",
    ]

"""Member numbers and their check digit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from jishan_server.people.member_numbers import (
    FIRST_SERIAL,
    LAST_SERIAL,
    check_digit,
    is_member_number,
    member_number,
)

numbers = st.integers(FIRST_SERIAL, LAST_SERIAL).map(member_number)


def test_the_check_digit_is_the_standards() -> None:
    # ISO 7064, the example of MOD 11,10.
    assert check_digit("0794") == "5"


@given(numbers)
def test_a_number_checks_itself(number: str) -> None:
    assert is_member_number(number)
    assert len(number) == 8


@given(numbers, st.integers(0, 7), st.integers(1, 9))
def test_one_wrong_digit_is_always_found(number: str, place: int, shift: int) -> None:
    wrong = str((int(number[place]) + shift) % 10)
    assert not is_member_number(number[:place] + wrong + number[place + 1 :])


def test_nearly_every_pair_of_changed_places_is_found() -> None:
    missed = total = 0
    for serial in range(FIRST_SERIAL, FIRST_SERIAL + 20_000, 7):
        number = member_number(serial)
        for place in range(7):
            if number[place] != number[place + 1]:
                total += 1
                changed = number[:place] + number[place + 1] + number[place] + number[place + 2 :]
                missed += is_member_number(changed)
    assert missed / total < 0.03


def test_what_is_no_number_is_none() -> None:
    for text in ("", "1000001", "100000128", "abcdefgh", "١٢٣٤٥٦٧٨", " 1000001"):
        assert not is_member_number(text)

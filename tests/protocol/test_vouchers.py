"""The two forms of a voucher: what was written is read, and nothing else is."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).parent))

from voucher_vectors import MACHINE_KEY, PATH, PRIVATE_KEY, vectors

from jishan_protocol import vouchers
from jishan_protocol.errors import ProtocolError
from jishan_protocol.messages import VendStarted, decode, encode
from jishan_protocol.vouchers import Voucher

KEY = vouchers.public_key(PRIVATE_KEY)
IDS = st.from_regex(r"[0-9a-z_-]{1,40}", fullmatch=True)
VOUCHERS = st.builds(
    Voucher, IDS, IDS, st.integers(1, 999_999_999), st.integers(0, 9999), IDS, st.integers(1, 1_000_000), IDS
)
SHORT = st.builds(Voucher, IDS, IDS, st.integers(1, 999_999), st.integers(0, 999), IDS, st.integers(1, 1_000_000), IDS)


def test_the_vectors_are_those_of_this_program() -> None:
    assert json.loads(PATH.read_text(encoding="utf-8")) == vectors()


@pytest.mark.parametrize("one", vectors()["bad_texts"], ids=lambda one: one["text"][:12] + one["reason"])
def test_a_bad_text_is_refused_for_its_reason(one: dict[str, str]) -> None:
    with pytest.raises(ProtocolError) as refused:
        vouchers.read(one["text"], KEY)
    assert refused.value.reason == one["reason"]


@pytest.mark.parametrize("digits", vectors()["bad_digits"])
def test_a_slip_of_the_finger_is_told_from_a_guess(digits: str) -> None:
    with pytest.raises(ProtocolError) as refused:
        vouchers.read_digits(digits)
    assert refused.value.reason == "bad_digits"


@given(VOUCHERS)
def test_a_text_says_what_was_written(voucher: Voucher) -> None:
    text = vouchers.write(voucher, PRIVATE_KEY)
    assert len(text) <= vouchers.MAX_TEXT
    assert vouchers.read(text, KEY) == voucher


@given(VOUCHERS)
def test_a_text_passes_as_the_approval_of_a_vend(voucher: Voucher) -> None:
    text = vouchers.write(voucher, PRIVATE_KEY)
    started = VendStarted(voucher.redemption_id, text, voucher.selection, voucher.product_id, voucher.points, None)
    assert decode("outbox", *encode(started)) == started


@given(SHORT)
def test_digits_fit_the_voucher_they_were_made_for(voucher: Voucher) -> None:
    digits = vouchers.write_digits(voucher, MACHINE_KEY)
    assert digits is not None
    grouped = " ".join(digits[start : start + 4] for start in range(0, 16, 4))
    assert vouchers.looks_typed(digits)
    assert vouchers.looks_typed(grouped)
    assert vouchers.read_digits(grouped) == vouchers.read_digits(digits)
    assert vouchers.fits(vouchers.read_digits(digits), voucher, MACHINE_KEY)
    assert not vouchers.looks_typed("13")


@given(SHORT, SHORT)
def test_digits_fit_no_other_voucher_and_no_other_machine(voucher: Voucher, other: Voucher) -> None:
    digits = vouchers.write_digits(voucher, MACHINE_KEY)
    assert digits is not None
    typed = vouchers.read_digits(digits)
    if (other.number, other.selection) != (voucher.number, voucher.selection):
        assert not vouchers.fits(typed, other, MACHINE_KEY)
    # One chance in a million: Hypothesis would have to look for it.
    dearer = dataclasses.replace(voucher, points=voucher.points + 1)
    assert vouchers.fits(typed, dearer, MACHINE_KEY) == (vouchers.write_digits(dearer, MACHINE_KEY) == digits)


@given(SHORT, st.integers(0, 15), st.integers(1, 9))
def test_one_wrong_digit_is_always_seen(voucher: Voucher, place: int, change: int) -> None:
    digits = vouchers.write_digits(voucher, MACHINE_KEY)
    assert digits is not None
    wrong = digits[:place] + str((int(digits[place]) + change) % 10) + digits[place + 1 :]
    with pytest.raises(ProtocolError):
        vouchers.read_digits(wrong)


@given(VOUCHERS, st.data())
def test_a_text_with_any_sign_changed_is_no_voucher(voucher: Voucher, data: st.DataObject) -> None:
    text = vouchers.write(voucher, PRIVATE_KEY)
    place = data.draw(st.integers(0, len(text) - 1))
    sign = data.draw(st.characters(min_codepoint=32, max_codepoint=126))
    changed = text[:place] + sign + text[place + 1 :]
    if changed == text:
        return
    # The last sign of a signature carries four bits: some neighbours of it say the same signature.
    if place == len(text) - 1:
        return
    with pytest.raises(ProtocolError):
        vouchers.read(changed, KEY)


@given(st.text(max_size=400))
def test_any_text_is_read_or_refused(text: str) -> None:
    with pytest.raises(ProtocolError):
        vouchers.read(text, KEY)


def test_another_machine_journal_or_number_is_another_redemption() -> None:
    ids = {vouchers.redemption_id(*where) for where in (("m", "j", 1), ("m2", "j", 1), ("m", "j2", 1), ("m", "j", 2))}
    assert len(ids) == 4

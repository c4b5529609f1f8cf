"""Ids that begin with their time: in order where the clock is right, never twice where it is wrong."""

from __future__ import annotations

import re
from random import Random

import pytest

from jishan_protocol.ids import RANDOM_BITS, timed_id

NOW_MS = 1_790_000_000_000


def test_a_later_id_sorts_behind_an_earlier_one() -> None:
    random = Random(7)
    ids = [timed_id(NOW_MS + step, random.getrandbits(RANDOM_BITS)) for step in range(2_000)]
    assert ids == sorted(ids)


def test_no_two_ids_are_the_same_under_a_clock_that_stands_at_1970() -> None:
    random = Random(7)
    assert len({timed_id(0, random.getrandbits(RANDOM_BITS)) for _ in range(20_000)}) == 20_000


@pytest.mark.parametrize("at_ms", [0, -1, NOW_MS, (1 << 48) - 1, 1 << 48, (1 << 63) - 1])
@pytest.mark.parametrize("random_bits", [0, (1 << RANDOM_BITS) - 1])
def test_an_id_has_32_hex_digits_whatever_the_clock_says(at_ms: int, random_bits: int) -> None:
    assert re.fullmatch("[0-9a-f]{32}", timed_id(at_ms, random_bits))


def test_an_id_is_its_time_and_then_its_random_bits() -> None:
    assert timed_id(NOW_MS, 0xABC) == "01a0c4506c00" + "00000000000000000abc"

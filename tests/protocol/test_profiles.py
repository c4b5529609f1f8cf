"""An operator's own words about a firmware: taken where they fit, refused by their name where they do not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest

from jishan_protocol.dispensers.profiles import ProfileError, check_range, chosen


@dataclass(frozen=True, slots=True, kw_only=True)
class Firmware:
    """A profile of no protocol."""

    name: str
    is_fast: bool = False
    wait_ms: int = 100
    deny: Literal["stop", "minus"] = "stop"
    length: Literal[3, 4] = 3

    def __post_init__(self) -> None:
        check_range(self, "wait_ms", 1, 1_000)


KNOWN = {"default": Firmware(name="default"), "fast": Firmware(name="fast", is_fast=True)}


def test_a_profile_is_built_in_changed_or_new() -> None:
    assert chosen(KNOWN, "fast") is KNOWN["fast"]
    assert chosen(KNOWN, "fast", {"wait_ms": 5}) == Firmware(name="fast", is_fast=True, wait_ms=5)
    assert chosen(KNOWN, "ours", {"deny": "minus"}) == Firmware(name="ours", deny="minus")
    assert chosen(KNOWN, "ours", {"like": "fast", "length": 4}) == Firmware(name="ours", is_fast=True, length=4)


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({"speed": 1}, "speed: there is no such setting; there are deny, is_fast, length, wait_ms"),
        ({"name": "x"}, "name: there is no such setting"),
        ({"is_fast": 1}, "is_fast: 1 is neither true nor false"),
        ({"wait_ms": "5"}, "wait_ms: '5' is not a whole number"),
        ({"wait_ms": True}, "wait_ms: True is not a whole number"),
        ({"wait_ms": 1.5}, "wait_ms: 1.5 is not a whole number"),
        ({"wait_ms": 0}, "wait_ms: 0 is not from 1 to 1000"),
        ({"deny": "no"}, "deny: 'no' is none of 'stop', 'minus'"),
        ({"length": 5}, "length: 5 is none of 3, 4"),
        ({"like": "slow"}, "there is no 'slow'; there are default, fast"),
        ({"like": 3}, "like: 3 is not text"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_name(own: dict[str, object], words: str) -> None:
    with pytest.raises(ProfileError) as refused:
        chosen(KNOWN, "ours", own)
    assert str(refused.value).startswith(words)


def test_a_name_that_is_nobodys_is_refused() -> None:
    with pytest.raises(ProfileError, match="there is no 'ours'; there are default, fast"):
        chosen(KNOWN, "ours")

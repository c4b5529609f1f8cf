"""Ids that begin with their time: what is new stands beside what is new in an index, and touches the end of few pages.

The order is for speed alone and nothing relies on it; that no two are the same is for the random bits. So a clock that
is wrong costs speed, never a redemption.
"""

from typing import Final

RANDOM_BITS: Final = 80
"""Two of a billion ids of one millisecond are the same with a chance of one in two million."""
_TIME_BITS: Final = 48
"""Milliseconds until the year 10889; a later time begins anew."""


def timed_id(at_ms: int, random_bits: int) -> str:
    """32 lower-case hex digits: 12 of `at_ms`, milliseconds since 1970, then 20 of RANDOM_BITS random bits."""
    return f"{at_ms % (1 << _TIME_BITS):012x}{random_bits:020x}"

"""What a scanner at a machine reads: a resident's rotating personal code, or the member number of a printed card.

A personal code is 18 decimal digits: a scanner that types like a keyboard gets digits right whatever layout and caps
lock say, and Code 128 packs them in pairs. On a phone it may stand in an address, `<site>/p/<digits>`, so that a camera
which is no machine's leads somewhere. A member number has eight digits, the last of which checks the others.
"""

from __future__ import annotations

import re
from typing import Final

DIGITS: Final = 18
"""60 bits, of a code that lives a minute or two and works once."""

PATH: Final = "p"
MEMBER_DIGITS: Final = 8

_CODE: Final = re.compile(rf"(?:https?://\S+/{PATH}/)?([0-9]{{{DIGITS}}})")


def code_of(random_bytes: bytes) -> str:
    """The code made of 16 or more random bytes."""
    return str(int.from_bytes(random_bytes) % 10**DIGITS).rjust(DIGITS, "0")


def read_code(scanned: str) -> str | None:
    """The personal code in what a scanner read, alone or in its address."""
    match = _CODE.fullmatch(scanned.strip())
    return match[1] if match else None


def check_digit(digits: str) -> str:
    """The ISO 7064 MOD 11,10 check digit of a string of digits, which ends a member number."""
    product = 10
    for digit in digits:
        product = ((product + int(digit)) % 10 or 10) * 2 % 11
    return str((1 - product) % 10)


def is_member_number(text: str) -> bool:
    """Whether `text` has eight ASCII digits of which the last checks the others."""
    return len(text) == MEMBER_DIGITS and text.isascii() and text.isdigit() and check_digit(text[:-1]) == text[-1]

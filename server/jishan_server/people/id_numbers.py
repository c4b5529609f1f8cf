"""The 18 signs of a resident identity card: 6 of a place, 8 of a birth date, 3 of order, and a check sign.

The check sign is ISO 7064 MOD 11-2: the first 17 digits weighted 7 9 10 5 8 4 2 1 6 3 7 9 10 5 8 4 2 and summed, the
sum modulo 11 looked up in `10X98765432`. A number is asked of nobody, never kept and never shown: only its keyed hash
(two rows of one person are found by it) and its last four signs.
Source: GB 11643-1999.
"""

import unicodedata
from datetime import date
from typing import Final

_WEIGHTS: Final = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECKS: Final = "10X98765432"
SIGNS: Final = 18


def check_sign(digits: str) -> str:
    """The check sign of the first 17 digits."""
    return _CHECKS[sum(weight * int(digit) for weight, digit in zip(_WEIGHTS, digits, strict=True)) % 11]


def normalised(text: str) -> str | None:
    """A number as it is hashed, from what a person typed (full-width digits, small x, spaces); None if it is none."""
    number = "".join(unicodedata.normalize("NFKC", text).split()).upper()
    digits = number[:-1]
    if len(number) != SIGNS or not (digits.isascii() and digits.isdigit()) or check_sign(digits) != number[-1]:
        return None
    try:
        date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return None
    return number

"""Phone and ID numbers, and what spreadsheets do to them: 1.38E+10, 5.11E+17, a lost leading zero, a trailing .0.

Pure. What lost no digit is put right in silence (13800001111.0), what did is named.
"""

import re
from collections.abc import Callable
from typing import Final

from jishan_server.sheets.cells import Cell, CellProblem, text_of

_SCIENTIFIC: Final = re.compile(r"\d(?:\.\d+)?E\+?\d+", re.IGNORECASE)
_MOBILE: Final = re.compile(r"1[3-9]\d{9}")
_LANDLINE: Final = re.compile(r"0\d{9,11}|[48]00\d{7}")
ROUNDED_DIGITS: Final = 3
"""A spreadsheet's number has 15 digits: of an ID number's 18 the last three become 0."""


def plain(cell: Cell) -> str:
    """A number's digits without spaces, hyphens, a spreadsheet's apostrophe and its `.0`."""
    text = re.sub(r"[\s\-‐–—_'()·]", "", text_of(cell))
    return re.sub(r"(?<=\d)\.0+$", "", text)


def is_scientific(text: str) -> bool:
    """Whether a spreadsheet wrote this number its own way, and lost digits."""
    return _SCIENTIFIC.fullmatch(text) is not None


def parse_phone(cell: Cell) -> str:
    """A phone number of digits alone: a mobile of 11, or a landline with its area code.

    Raises CellProblem: missing, phone_scientific, phone_several, phone_lost_zero, phone_length, phone_unreadable.
    """
    text = text_of(cell)
    if not text:
        raise CellProblem("missing")
    if is_scientific(text):
        raise CellProblem("phone_scientific", value=text)
    if re.search(r"\d{7}\s*[/,;、|\n]\s*\d{7}", text) or re.fullmatch(r"1\d{10} 1\d{10}", text):
        raise CellProblem("phone_several")
    digits = re.sub(r"^(?:\+86|0086|86(?=1\d{10}$))", "", plain(cell))
    if _MOBILE.fullmatch(digits) or _LANDLINE.fullmatch(digits):
        # A number cell with so many zeros at its end came back from 1.38E+10.
        if isinstance(cell, int | float) and digits.endswith("0000000"):
            raise CellProblem("phone_scientific", value=f"{float(cell):.2E}")
        return digits
    if not digits.isascii() or not digits.isdigit():
        raise CellProblem("phone_unreadable")
    if len(digits) in (9, 10, 11) and digits[0] in "23456789":
        raise CellProblem("phone_lost_zero", digits=len(digits))
    raise CellProblem("phone_length", digits=len(digits))


def parse_id_number(cell: Cell, checked: Callable[[str], str | None]) -> str:
    """An ID number of 18 signs; `checked` gives it as it is kept, None if its check sign or birth date is wrong.

    Raises CellProblem: missing, id_scientific, id_rounded, id_old, id_length, id_check.
    """
    text = text_of(cell)
    if not text:
        raise CellProblem("missing")
    if is_scientific(text):
        # The first digits say the district only: no person can be told from them.
        raise CellProblem("id_scientific", value=f"{text[:4]}E+17")
    number = plain(cell).upper()
    if isinstance(cell, int | float) and len(number) >= 16:
        raise CellProblem("id_rounded")
    if re.fullmatch(r"\d{15}", number):
        raise CellProblem("id_old")
    if len(number) != 18:
        raise CellProblem("id_length", digits=len(number))
    known = checked(number)
    if known is None:
        raise CellProblem("id_rounded" if number.endswith("0" * ROUNDED_DIGITS) else "id_check")
    return known

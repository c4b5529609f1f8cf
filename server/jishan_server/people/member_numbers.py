"""Member numbers: seven digits and a check digit, keyed in at a machine without a phone.

The check digit is ISO 7064 MOD 11,10 (in China GB/T 17710): it finds every single wrong digit and nearly every pair of
digits that changed places, and is a digit itself, so that a keypad is enough. Product P starts at 10; for each digit d,
S = (P + d) mod 10, or 10 for 0, and P = 2 S mod 11; the check digit c makes (P + c) mod 10 = 1. `0794` gets `5`.
"""

from typing import Final

SERIAL_DIGITS: Final = 7
FIRST_SERIAL: Final = 1_000_001
"""Numbers start at seven full digits: leading zeros get lost on paper."""
LAST_SERIAL: Final = 9_999_999


def check_digit(digits: str) -> str:
    """The ISO 7064 MOD 11,10 check digit of a string of digits."""
    product = 10
    for digit in digits:
        product = ((product + int(digit)) % 10 or 10) * 2 % 11
    return str((1 - product) % 10)


def member_number(serial: int) -> str:
    """The member number of a serial from FIRST_SERIAL to LAST_SERIAL."""
    assert FIRST_SERIAL <= serial <= LAST_SERIAL
    digits = str(serial).rjust(SERIAL_DIGITS, "0")
    return digits + check_digit(digits)


def is_member_number(text: str) -> bool:
    """Whether `text` has eight ASCII digits of which the last checks the others."""
    return len(text) == SERIAL_DIGITS + 1 and text.isascii() and text.isdigit() and check_digit(text[:-1]) == text[-1]

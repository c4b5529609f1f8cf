"""Member numbers: seven digits and a check digit, keyed in at a machine without a phone.

The check digit is ISO 7064 MOD 11,10 (in China GB/T 17710): it finds every single wrong digit and nearly every pair of
digits that changed places, and is a digit itself, so that a keypad is enough. Product P starts at 10; for each digit d,
S = (P + d) mod 10, or 10 for 0, and P = 2 S mod 11; the check digit c makes (P + c) mod 10 = 1. `0794` gets `5`.
"""

from typing import Final

from jishan_protocol.personal_codes import check_digit, is_member_number

__all__ = ["FIRST_SERIAL", "LAST_SERIAL", "SERIAL_DIGITS", "check_digit", "is_member_number", "member_number"]

SERIAL_DIGITS: Final = 7
FIRST_SERIAL: Final = 1_000_001
"""Numbers start at seven full digits: leading zeros get lost on paper."""
LAST_SERIAL: Final = 9_999_999


def member_number(serial: int) -> str:
    """The member number of a serial from FIRST_SERIAL to LAST_SERIAL."""
    assert FIRST_SERIAL <= serial <= LAST_SERIAL
    digits = str(serial).rjust(SERIAL_DIGITS, "0")
    return digits + check_digit(digits)

"""A keypad on a line of its own: lines of text, in pieces of any size."""

from __future__ import annotations

from random import Random

import pytest

from jishan_agent.dispensers.base import CancelPressed, Pressed
from jishan_agent.readers.serial_keypad import GAP_MS, MAX_BUFFERED, Keypad


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        (b"12\n", [Pressed(12)]),
        (b"12\r\n", [Pressed(12)]),
        (b" 7 \r", [Pressed(7)]),
        (b"007\n", [Pressed(7)]),
        (b"1\n2\n", [Pressed(1), Pressed(2)]),
        (b"0\n", [CancelPressed()]),
        (b"C\n", [CancelPressed()]),
        (b"\n\r\n", []),
        (b"hello\n", []),
        (b"-3\n", []),
        (b"1 2\n", []),
        (b"123456\n", []),
        (b"\xff\xfe\n13\n", [Pressed(13)]),
        ("１２\n".encode(), []),
    ],
)
def test_a_line_is_a_press(typed: bytes, found: list[object]) -> None:
    assert Keypad().receive(typed, 0) == found
    one_by_one = Keypad()
    assert [event for byte in typed for event in one_by_one.receive(bytes([byte]), 0)] == found


def test_half_a_line_of_somebody_who_left_is_forgotten() -> None:
    keypad = Keypad()
    assert keypad.receive(b"1", 0) == []
    assert keypad.receive(b"3\n", GAP_MS + 1) == [Pressed(3)]


def test_noise_fills_no_memory_and_hides_no_press() -> None:
    keypad, random = Keypad(), Random(1)
    for _ in range(1_000):
        keypad.receive(random.randbytes(100).replace(b"\n", b"x").replace(b"\r", b"x"), 0)
    assert len(keypad._buffer) <= MAX_BUFFERED
    assert keypad.receive(b"\n13\n", 0) == [Pressed(13)]

"""What is typed on a keypad of its own: a selection, a number and its PIN; key by key, in pieces of any size."""

from __future__ import annotations

from random import Random

import pytest

from jishan_agent.dispensers.base import CancelPressed, Pressed
from jishan_agent.keying import DOT, GAP_MS, MAX_TYPED, Entered, Entry, Keyed, pressed
from jishan_agent.readers.serial_keypad import keys
from jishan_agent.vending import Identified, Prompted
from jishan_protocol.sealing import Credential

MEMBER = "10000012"
CARD = Credential(card="00745A70")


class Typist:
    """Somebody at the keypad."""

    def __init__(self, card: Credential | None = None) -> None:
        self.entry, self.card = Entry(), card

    def type(self, data: bytes, now_ms: int = 0) -> list[Entered]:
        found = []
        for key in keys(data).keys:
            self.entry, entered = pressed(self.entry, key, now_ms, self.card)
            if entered is not None:
                found.append(entered)
        return found


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        (b"12\n", [Pressed(12)]),
        (b"12\r\n", [Pressed(12)]),
        (b"12#", [Pressed(12)]),
        (b" 7 \r", [Pressed(7)]),
        (b"007\n", [Pressed(7)]),
        (b"1\n2\n", [Pressed(1), Pressed(2)]),
        (b"0\n", [CancelPressed()]),
        (b"C\n", [CancelPressed()]),
        (b"12*", [CancelPressed()]),
        (b"12*3#", [CancelPressed(), Pressed(3)]),
        (b"\n\r\n", []),
        (b"hello\n", []),
        (b"-3\n", []),
        (b"1 2\n", []),
        (b"\xff\xfe\n13\n", [Pressed(13)]),
        ("１２\n".encode(), []),
        (b"123456#", [Prompted("number_wrong")]),
        (b"10000013#", [Prompted("number_wrong")]),
        (b"10000012#", [Prompted("enter_pin")]),
        (b"10000012#066172#", [Prompted("enter_pin"), Identified(Credential(member=MEMBER, pin="066172"))]),
        (b"10000012#12#", [Prompted("enter_pin"), Prompted("pin_form")]),
        (b"10000012#0#12#", [Prompted("enter_pin"), CancelPressed(), Pressed(12)]),
        (b"10000012#12#12#", [Prompted("enter_pin"), Prompted("pin_form"), Pressed(12)]),
        (b"10000012#0661*12#", [Prompted("enter_pin"), CancelPressed(), Pressed(12)]),
        (b"10000012#06?61#12#", [Prompted("enter_pin"), Pressed(12)]),
    ],
)
def test_what_was_typed_is_what_it_means(typed: bytes, found: list[object]) -> None:
    assert Typist().type(typed) == found
    one_by_one = Typist()
    assert [event for byte in typed for event in one_by_one.type(bytes([byte]))] == found


def test_a_card_that_waits_for_its_pin_gets_what_is_typed() -> None:
    assert Typist(CARD).type(b"0661#") == [Identified(Credential(card="00745A70", pin="0661"))]
    assert Typist(CARD).type(b"12#") == [Prompted("pin_form")]
    assert Typist(CARD).type(b"0#") == [CancelPressed()]


def test_what_was_left_half_typed_is_nobodys() -> None:
    typist = Typist()
    assert typist.type(b"1") == []
    assert typist.type(b"3\n", GAP_MS + 1) == [Pressed(3)]
    assert typist.type(b"10000012#", 2 * GAP_MS) == [Prompted("enter_pin")]
    assert typist.type(b"0661#", 3 * GAP_MS + 1) == [Pressed(661)], "no PIN of somebody who has left"


def test_a_pin_is_shown_as_dots_and_nothing_typed_is_printed() -> None:
    typist = Typist()
    typist.type(b"1000")
    assert typist.entry.shown(is_pin=False) == "1000"
    typist.type(b"0012#0661")
    assert typist.entry.shown(is_pin=False) == DOT * 4
    assert Entry(text="0661").shown(is_pin=True) == DOT * 4
    for printed in (repr(typist.entry), repr(Keyed("0661"))):
        assert "0661" not in printed
        assert MEMBER not in printed


def test_noise_fills_no_memory_and_hides_no_press() -> None:
    typist, random = Typist(), Random(1)
    for _ in range(300):
        typist.type(bytes(byte for byte in random.randbytes(100) if byte not in b"\r\n#*Cc"))
        assert len(typist.entry.text) <= MAX_TYPED
    assert typist.type(b"\n13\n") == [Pressed(13)]

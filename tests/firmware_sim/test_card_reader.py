"""The simulated card reader sends what real ones send."""

from __future__ import annotations

import pytest

from jishan_protocol import cards
from jishan_protocol.errors import ProtocolError
from jishan_sim.faces.card_reader import READERS, tap


@pytest.mark.parametrize(
    ("reader", "uid", "sent"),
    [
        ("line-hex", "7186A61E", b"7186A61E\r\n"),
        ("line-hex-reversed", "7186A61E", b"1EA68671\r\n"),
        ("line-decimal10", "7186A61E", b"1904649758\r\n"),
        ("line-decimal10", "00745A70", b"0007625328\r\n"),
        ("line-3+5", "00745A70", b"116,23152\r\n"),
        ("line-decimal8", "00745A70", b"07625328\r\n"),
        ("em4100", "0F00745A70", b"\x020F00745A7051\r\n\x03"),
        ("mifare", "4596B78A", bytes.fromhex("04 0C 02 20 00 04 00 45 96 B7 8A 3F")),
        ("mifare-reversed", "8AB79645", bytes.fromhex("04 0C 02 20 00 04 00 45 96 B7 8A 3F")),
    ],
)
def test_each_reader_sends_the_card_in_its_own_form(reader: str, uid: str, sent: bytes) -> None:
    assert tap(uid, READERS[reader]) == sent


@pytest.mark.parametrize("name", [name for name, reader in READERS.items() if reader.framing == "line"])
def test_what_a_line_reader_prints_reads_back_as_the_same_card(name: str) -> None:
    profile = READERS[name].profile
    uid = "00745A70" if profile.length == 4 else "04A1B2C3D4E5F6"
    if profile.reversed and profile.form == "decimal10":
        uid = "7186A61E"
    assert cards.read_uid(tap(uid, READERS[name]).decode(), profile) == uid


@pytest.mark.parametrize(
    ("reader", "uid"), [("em4100", "7186A61E"), ("line-decimal8", "7186A61E"), ("line-3+5", "7186A61E")]
)
def test_a_card_that_a_reader_cannot_read_is_refused_by_name(reader: str, uid: str) -> None:
    with pytest.raises(ValueError, match="uid"):
        tap(uid, READERS[reader])


def test_a_uid_that_is_none_is_refused() -> None:
    with pytest.raises(ProtocolError):
        tap("hello", READERS["line-hex"])

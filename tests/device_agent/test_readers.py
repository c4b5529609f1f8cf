"""Card readers: one card has one identity, whatever reader it is held to, and however the bytes come."""

from __future__ import annotations

from random import Random

import pytest

from jishan_agent.readers.serial_cards import MAX_BUFFERED, READERS, REPEAT_MS, CardReader, CodeRead, Tapped, Unreadable
from jishan_sim.faces import card_reader as simulated


@pytest.mark.parametrize(
    ("name", "printed", "uid"),
    [
        ("line-decimal10", b"0007625328\r\n", "00745A70"),
        ("line-3+5", b"116,23152\r\n", "00745A70"),
        ("line-3+5", b"11623152\n", "00745A70"),
        ("line-hex", b"00745A70\r\n", "00745A70"),
        ("line-decimal10", b"1904649758\r", "7186A61E"),
        ("line-hex-reversed", b"1EA68671\r\n", "7186A61E"),
        ("mifare", bytes.fromhex("04 0C 02 20 00 04 00 45 96 B7 8A 3F"), "4596B78A"),
        ("em4100", b"\x02" + b"0A00745A70" + b"2E" + b"\r\n\x03", "0A00745A70"),
    ],
)
def test_a_known_card_has_its_one_identity(name: str, printed: bytes, uid: str) -> None:
    printed = printed.replace(b"2E", b"%02X" % (0x0A ^ 0x74 ^ 0x5A ^ 0x70))
    assert CardReader(READERS[name]).receive(printed, 1_000) == [Tapped(uid)]


@pytest.mark.parametrize("name", sorted(READERS))
def test_every_simulated_reader_is_understood_in_pieces_of_any_size(name: str) -> None:
    assert sorted(READERS) == sorted(simulated.READERS)
    random, settings = Random(1), READERS[name]
    reader = CardReader(settings)
    for round_number in range(50):
        raw = random.randbytes(settings.profile.length)
        if settings.profile.form in ("3+5", "decimal8"):
            raw = bytes([0, *raw[1:]])
        uid = raw.hex().upper()
        frame = simulated.tap(uid, simulated.READERS[name])
        found = [
            tap
            for place, byte in enumerate(frame)
            for tap in reader.receive(bytes([byte]), round_number * 10_000 + place)
        ]
        assert found == [Tapped(uid)]


def test_a_card_held_to_the_reader_is_one_tap() -> None:
    reader = CardReader(READERS["line-hex"])
    assert len(reader.receive(b"00745A70\r\n00745A70\r\n", 1_000)) == 1
    assert reader.receive(b"00745A70\r\n", 1_000 + REPEAT_MS - 1) == []
    assert reader.receive(b"00745A70\r\n", 1_000 + 3 * REPEAT_MS) == [Tapped("00745A70")]


def test_a_frame_whose_beginning_was_cut_off_spoils_nothing_after_it() -> None:
    reader = CardReader(READERS["mifare"])
    frame = bytes.fromhex("04 0C 02 20 00 04 00 45 96 B7 8A 3F")
    assert reader.receive(frame[5:], 1_000) == []
    assert reader.receive(frame, 2_000) == [Tapped("4596B78A")]


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("line-hex", b"0007625328\r\n"),
        ("line-hex", b"hello\r\n"),
        ("line-hex", b"\xff\xfe\r\n"),
        ("line-decimal10", b"00745A70\r\n"),
        ("line-decimal10", b"9999999999\r\n"),
        ("mifare", bytes.fromhex("04 0C 02 20 00 04 00 45 96 B7 8A 3E")),
        ("em4100", b"\x020A00745A7000\r\n\x03"),
    ],
)
def test_what_is_no_card_under_the_profile_is_never_a_card(name: str, printed: bytes) -> None:
    found = CardReader(READERS[name]).receive(printed, 1_000)
    assert len(found) == 1
    assert isinstance(found[0], Unreadable)


def test_noise_is_bounded() -> None:
    reader = CardReader(READERS["line-hex"])
    for now_ms in range(1_000):
        assert reader.receive(b"x" * 100, now_ms) == []
    assert len(reader._buffer) <= MAX_BUFFERED


def test_a_reader_of_cards_and_codes_tells_one_from_the_other() -> None:
    reader, code = CardReader(READERS["line-hex"]), "482915036617204981"
    assert reader.receive(f"{code}\r\n".encode(), 0) == [CodeRead(code)]
    assert reader.receive(f"{code}\r\n".encode(), 500) == [], "held there"
    assert reader.receive(b"00745A70\r\n", 600) == [Tapped("00745A70")]
    voucher = "JSV1:" + "x" * 290
    assert reader.receive(f"{voucher}\r\n".encode(), 700) == [CodeRead(voucher)]

"""The XY codec against its vectors, and against lines that cut, flip, double and invent bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jishan_protocol.dispensers import xy
from jishan_protocol.dispensers.profiles import ProfileError, chosen
from jishan_protocol.errors import ProtocolError

VECTORS = json.loads((Path(__file__).parents[2] / "docs/vectors/xy.json").read_text("utf-8"))["vectors"]
DEFAULT = xy.PROFILES["default"]
PAPER = xy.PROFILES["paper"]

SELECTION = st.integers(0, 65_535)
BYTE = st.integers(0, 255)
FOUR_BYTES = st.integers(0, 2**32 - 1)
DIGITS = st.from_regex(r"[0-9]{14}", fullmatch=True).filter(str.isascii)
PARTS: dict[type[Any], tuple[st.SearchStrategy[Any], ...]] = {
    xy.Poll: (),
    xy.Ack: (),
    xy.Check: (SELECTION,),
    xy.CheckResult: (BYTE, SELECTION),
    xy.Press: (SELECTION,),
    xy.DispensingStatus: (BYTE, SELECTION, BYTE),
    xy.Selected: (SELECTION,),
    xy.Drive: (st.booleans(), st.booleans(), SELECTION),
    xy.SelectionReport: (SELECTION, FOUR_BYTES, BYTE, BYTE, SELECTION, BYTE),
    xy.SetPrice: (SELECTION, FOUR_BYTES),
    xy.SetStock: (SELECTION, BYTE),
    xy.SetCapacity: (SELECTION, BYTE),
    xy.SetProduct: (SELECTION, SELECTION),
    xy.SetPollInterval: (BYTE,),
    xy.MoneyReceived: (BYTE, FOUR_BYTES, st.binary(max_size=20)),
    xy.Credit: (FOUR_BYTES,),
    xy.DisplayText: (st.binary(min_size=16, max_size=16), BYTE, BYTE),
    xy.Synchronise: (),
    xy.HostVersion: (BYTE, st.binary(min_size=15, max_size=15)),
    xy.MachineStateQuery: (),
    xy.MachineState: (
        BYTE,
        BYTE,
        BYTE,
        BYTE,
        st.integers(-128, 127),
        BYTE,
        FOUR_BYTES,
        FOUR_BYTES,
        st.binary(min_size=10, max_size=10),
        st.binary(min_size=8, max_size=8),
    ),
    xy.LiftQuery: (),
    xy.LiftState: (BYTE,),
    xy.MenuRequest: (st.sampled_from([0x24, 0x27, 0x33, 0x85]), BYTE, st.binary(max_size=30)),
    xy.MenuResponse: (st.sampled_from([0x24, 0x27, 0x33, 0x85]), BYTE, st.binary(max_size=30)),
    xy.ReadClock: (),
    xy.SetClock: (DIGITS,),
    xy.Clock: (DIGITS,),
    xy.ClockSet: (BYTE,),
    xy.ReadJamList: (),
    xy.ClearJamList: (),
    xy.JamList: (st.lists(SELECTION, max_size=60).map(tuple), st.lists(SELECTION, max_size=60).map(tuple)),
    xy.JamListCleared: (BYTE,),
    xy.ReadSelectionConfig: (SELECTION,),
    xy.SelectionConfig: (FOUR_BYTES, SELECTION, BYTE, SELECTION, BYTE, BYTE, BYTE, BYTE),
    xy.ReadSales: (SELECTION,),
    xy.Sales: (FOUR_BYTES, FOUR_BYTES),
    xy.OpenCabinet: (BYTE,),
    xy.OpenLayer: (BYTE,),
    xy.Unknown: (st.sampled_from([0x17, 0x25, 0x63, 0xEE]), st.binary(max_size=254)),
}
MESSAGES = st.one_of(*(st.builds(kind, *parts) for kind, parts in PARTS.items()))
PACK_NO = st.integers(1, 255)


def parsed(data: bytes, read_size: int = 4096) -> list[xy.Frame | xy.BadBytes]:
    parser = xy.Parser()
    found: list[xy.Frame | xy.BadBytes] = []
    for start in range(0, len(data), read_size):
        found += parser.feed(data[start : start + read_size])
    return found + parser.finish()


def frames(data: bytes, read_size: int = 4096) -> list[xy.Frame]:
    return [one for one in parsed(data, read_size) if isinstance(one, xy.Frame)]


def decode_lines(found: list[xy.Frame | xy.BadBytes]) -> list[dict[str, Any]]:
    return [
        {"ok": True} | xy.describe(one)
        if isinstance(one, xy.Frame)
        else {"ok": False, "error": one.error, "bytes": one.raw.hex(" ").upper()}
        for one in found
    ]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
@pytest.mark.parametrize("read_size", [1, 2, 3, 7, 4096])
def test_every_vector_reads_as_printed(vector: dict[str, Any], read_size: int) -> None:
    lines = decode_lines(parsed(bytes.fromhex(vector["bytes"]), read_size))
    assert len(lines) == len(vector["lines"])
    for got, expected in zip(lines, vector["lines"], strict=True):
        got_fields, expected_fields = got.pop("fields", {}), expected.get("fields", {})
        assert expected_fields.items() <= got_fields.items()
        assert {key: value for key, value in expected.items() if key != "fields"}.items() <= got.items()


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_every_good_vector_is_written_as_printed(vector: dict[str, Any]) -> None:
    profile = xy.PROFILES[vector.get("profile", "default")]
    good = frames(bytes.fromhex(vector["bytes"]))
    assert [xy.write(xy.read(frame), frame.pack_no or 1, profile) for frame in good] == list(map(xy.encode, good))


@given(MESSAGES, PACK_NO)
def test_every_message_comes_back_from_its_bytes(message: xy.Message, pack_no: int) -> None:
    (frame,) = frames(xy.write(message, pack_no, PAPER))
    assert xy.read(frame) == message
    assert frame.pack_no in (None, pack_no)
    json.dumps(xy.describe(frame))


def test_every_message_type_is_in_the_round_trip() -> None:
    assert set(PARTS) == set(get_args(xy.Message))


@given(st.lists(st.tuples(MESSAGES, PACK_NO), max_size=5), st.binary(max_size=20), st.integers(1, 300))
def test_frames_do_not_depend_on_the_size_of_the_reads(
    said: list[tuple[xy.Message, int]], noise: bytes, read_size: int
) -> None:
    data = noise + b"".join(xy.write(message, pack_no, DEFAULT) for message, pack_no in said)
    assert parsed(data, read_size) == parsed(data)


@given(st.binary(max_size=2000), st.integers(1, 300))
def test_any_bytes_are_cut_without_loss(data: bytes, read_size: int) -> None:
    found = parsed(data, read_size)
    assert found == parsed(data)
    raws = [one.raw if isinstance(one, xy.BadBytes) else xy.encode(one) for one in found]
    assert b"".join(raws) == data
    assert all(len(one.raw) <= xy.MAX_BAD_BYTES for one in found if isinstance(one, xy.BadBytes))


@given(MESSAGES, PACK_NO, st.data())
def test_a_frame_with_a_flipped_bit_is_never_read_whole(message: xy.Message, pack_no: int, data: st.DataObject) -> None:
    raw = bytearray(xy.write(message, pack_no, DEFAULT))
    position = data.draw(st.integers(0, len(raw) - 1))
    raw[position] ^= 1 << data.draw(st.integers(0, 7))
    assert all(len(xy.encode(frame)) < len(raw) for frame in frames(bytes(raw)))


@given(MESSAGES, PACK_NO)
def test_a_frame_after_a_cut_one_is_read(message: xy.Message, pack_no: int) -> None:
    raw = xy.write(message, pack_no, DEFAULT)
    # One byte of XOR cannot show every cut: a POLL or two may be taken for the rest of the frame,
    # but never more than one frame holds.
    polls = xy.write(xy.Poll(), 1, DEFAULT) * (xy.MAX_FRAME_BYTES // 5 + 1)
    for cut in range(1, len(raw)):
        assert frames(raw[:cut] + polls)[-1] == xy.Frame(xy.POLL, None)


@given(MESSAGES, PACK_NO)
def test_a_doubled_frame_is_read_twice(message: xy.Message, pack_no: int) -> None:
    raw = xy.write(message, pack_no, DEFAULT)
    assert len(frames(raw + raw)) == 2


def test_a_false_header_holds_its_bytes_back_only_until_the_line_is_silent() -> None:
    parser = xy.Parser()
    assert parser.feed(bytes.fromhex("FA FB 71 FF FA FB 41 00 40")) == []
    assert parser.waiting
    bad, poll = parser.finish()
    assert bad == xy.BadBytes(bytes.fromhex("FA FB 71 FF"), "incomplete", "9 of 260 bytes of a frame")
    assert poll == xy.Frame(xy.POLL, None)
    assert not parser.waiting


@pytest.mark.parametrize("header", ["FA FB 41 3C", "FA FB 42 01", "FA FB 04 84", "FA FB 06 45"])
def test_a_header_with_an_impossible_length_holds_nothing_back(header: str) -> None:
    parser = xy.Parser()
    bad, *rest = parser.feed(bytes.fromhex(header) + xy.POLL_FRAME * 60)
    assert isinstance(bad, xy.BadBytes)
    assert (bad.error, bad.raw) == ("bad_length", bytes.fromhex(header))
    assert rest == [xy.Frame(xy.POLL, None)] * 60


def test_a_header_inside_the_text_cuts_nothing() -> None:
    raw = xy.write(xy.DisplayText(b"\xfa\xfbA\x00@" + bytes(11), 0, 1), 9, DEFAULT)
    assert [frame.cmd for frame in frames(raw)] == [0x24]


def test_endless_noise_fills_no_memory() -> None:
    parser = xy.Parser()
    pieces = parser.feed(b"\xfa" * 100_000)
    assert all(isinstance(piece, xy.BadBytes) for piece in pieces)
    assert sum(len(piece.raw) for piece in pieces if isinstance(piece, xy.BadBytes)) > 99_000
    assert len(parser.finish()) == 1


def test_an_oversized_text_is_never_written() -> None:
    with pytest.raises(ValueError, match="254 fit"):
        xy.encode(xy.Frame(0x70, 1, bytes(255)))


@pytest.mark.parametrize("pack_no", [0, 256, -1])
def test_a_pack_no_outside_its_range_is_never_written(pack_no: int) -> None:
    with pytest.raises(ValueError, match="PackNO"):
        xy.write(xy.Synchronise(), pack_no, DEFAULT)


def test_a_selection_too_large_for_its_place_is_never_written() -> None:
    with pytest.raises(ValueError, match="selection"):
        xy.write(xy.Check(70_000), 1, DEFAULT)


@pytest.mark.parametrize("digits", ["2026", "2026010100000x", "²0260101000000"])
def test_a_clock_that_is_no_clock_is_never_written(digits: str) -> None:
    with pytest.raises(ValueError, match="YYYYMMDDHHMMSS"):
        xy.write(xy.SetClock(digits), 1, DEFAULT)


def test_the_pack_no_goes_round_from_255_to_1() -> None:
    assert xy.next_pack_no(1) == 2
    assert xy.next_pack_no(255) == 1


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (xy.Frame(0x06, 1, b"\x01\x00\x00"), "length"),
        (xy.Frame(0x04, 1, b"\x02\x00"), "length"),
        (xy.Frame(0x04, 1, b"\x02\x00\x01\x00\x00"), "length"),
        (xy.Frame(0x01, 1, b"\x02"), "length"),
        (xy.Frame(0x21, 1, b"\x02"), "length"),
        (xy.Frame(0x31, None), "length"),
        (xy.Frame(0x41, 1), "length"),
        (xy.Frame(0x42, 1, b"\x00"), "length"),
        (xy.Frame(0x70, 1, b"\x32"), "length"),
        (xy.Frame(0x71, 1, b"\x32\x00\x02\x00\x01"), "length"),
        (xy.Frame(0x71, 1, b"\x32\x00\x00\x00\x00"), "length"),
        (xy.Frame(0x71, 1, b"\x09\x00\x20\x26\x0a\x01\x00\x00\x00"), "clock"),
        (xy.Frame(0x71, 1, b"\x47\x00\x00"), "length"),
    ],
)
def test_a_text_of_the_wrong_length_is_the_peers_fault(frame: xy.Frame, reason: str) -> None:
    with pytest.raises(ProtocolError) as refused:
        xy.read(frame)
    assert refused.value.reason == reason


def test_only_02_is_a_success_and_a_code_on_no_list_is_unknown() -> None:
    outcomes = {status: xy.outcome_of(status) for status in range(256)}
    assert [status for status, outcome in outcomes.items() if outcome == "dispensed"] == [0x02]
    assert [status for status, outcome in outcomes.items() if outcome == "progress"] == [
        0x01, 0x10, 0x11, 0x14, 0x16, 0x18, 0x19, 0x21, 0x22, 0x23, 0x24, 0x26,
    ]  # fmt: skip
    assert [status for status, outcome in outcomes.items() if outcome == "not_dispensed"] == [
        0x03, 0x04, 0x06, 0x07, 0x0A, 0x12, 0x13, 0x15, 0x17, 0x20, 0x25, 0x27, 0x28, 0x29, 0x30, 0x31, 0x32, 0xFF,
    ]  # fmt: skip
    assert xy.outcome_of(0x05) == "unknown"


def test_lift_door_strut_and_pushrod_close_the_machine_and_a_jam_does_not() -> None:
    assert [status for status in range(256) if xy.closes_machine(status)] == [
        0x07, 0x12, 0x13, 0x15, 0x17, 0x20, 0x25, 0x27, 0x28, 0x29, 0x30, 0x31, 0x32,
    ]  # fmt: skip
    assert xy.check_closes_machine(0x05)
    assert not xy.check_closes_machine(0x02)
    assert not xy.check_closes_machine(0xEE)


def test_the_seconds_left_are_the_last_number_in_either_form() -> None:
    assert xy.DispensingStatus(0x23, 5, 30).seconds_left == 30
    assert xy.DispensingStatus(0x23, 30).seconds_left == 30
    assert xy.DispensingStatus(0x22, 30).seconds_left is None


def test_a_captured_machine_state_reads_whole() -> None:
    text = bytes.fromhex("00 01 00 00 13 00 00000000 00000000 30303030303030303030 13AAAAAAAAAAAAAA")
    (frame,) = frames(xy.encode(xy.Frame(0x52, 0x54, text)))
    state = xy.read(frame)
    assert isinstance(state, xy.MachineState)
    assert (state.temperature_tenths_c, state.door_open, state.machine_id) == (190, False, b"0" * 10)
    assert xy.encode(frame)[3] == 33
    assert xy.describe(frame)["fields"]["temperatures"] == [19] + [None] * 7  # type: ignore[index]


def test_a_temperature_below_zero_and_one_not_read_are_told_apart() -> None:
    cold = xy.MachineState(0, 0, 0, 0, -5, 1, 0, 0, b"0" * 10, b"\xfb" + b"\xaa" * 7)
    unread = xy.MachineState(0, 0, 0, 0, 0, 1, 0, 0, b"0" * 10, b"\xaa" * 8)
    assert (cold.temperature_tenths_c, cold.door_open) == (-50, True)
    assert unread.temperature_tenths_c is None


def test_the_default_profile_claims_no_proof() -> None:
    assert not DEFAULT.sales_count_host_vends
    assert not DEFAULT.stock_counts_host_vends
    assert not DEFAULT.counter_survives_power_cut
    assert not DEFAULT.ignores_repeated_drive


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({"poll_interval_ms": 2_100}, "poll_interval_ms: 2100 is not from 0 to 2000"),
        ({"poll_interval_ms": 150}, "poll_interval_ms: 150 is no multiple of 100"),
        ({"longest_vend_ms": 10}, "longest_vend_ms: 10 is not from 1000 to 600000"),
        ({"check_length": 5}, "check_length: 5 is none of 3, 4"),
        ({"without_lift": "1-"}, "without_lift: '1-' is no selection"),
        ({"without_drop_sensor": "1;2"}, "without_drop_sensor: '1;2' is no selection"),
    ],
)
def test_a_firmware_that_cannot_be_is_refused_by_its_setting(own: dict[str, object], words: str) -> None:
    with pytest.raises(ProfileError) as refused:
        chosen(xy.PROFILES, "ours", own)
    assert str(refused.value).startswith(words)


def test_a_lift_and_a_sensor_may_be_for_some_selections_only() -> None:
    ours = chosen(xy.PROFILES, "ours", {"like": "lift", "without_lift": "1-3,9", "without_drop_sensor": "41"})
    assert [ours.lifts(selection) for selection in (1, 3, 4, 9)] == [False, False, True, False]
    assert [ours.watches(selection) for selection in (40, 41)] == [True, False]

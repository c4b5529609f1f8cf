"""The spring board codec against its vectors, against another Modbus, and against lines that spoil bytes."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.framer import FramerRTU
from pymodbus.pdu import DecodePDU
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest, WriteMultipleRegistersRequest

from jishan_protocol.dispensers import modbus_board as codec
from jishan_protocol.dispensers.cutting import BadBytes
from jishan_protocol.dispensers.modbus_board import Lane
from jishan_protocol.dispensers.profiles import ProfileError, chosen

VECTORS = json.loads((Path(__file__).parents[2] / "docs/vectors/modbus-board.json").read_text("utf-8"))["vectors"]

UNIT = st.integers(1, codec.MAX_UNIT)
REGISTER = st.integers(0, 0xFFFF)
COUNT = st.integers(1, codec.MAX_REGISTERS)
CONTENT = COUNT.flatmap(lambda count: st.binary(min_size=2 * count, max_size=2 * count))
MESSAGES = st.one_of(
    st.builds(codec.ReadRegisters, UNIT, REGISTER, COUNT),
    st.builds(codec.Registers, UNIT, CONTENT),
    st.builds(codec.WriteRegisters, UNIT, REGISTER, CONTENT),
    st.builds(codec.Written, UNIT, REGISTER, COUNT),
    st.builds(codec.Refusal, UNIT, st.sampled_from([codec.READ, codec.WRITE]), st.integers(0, 255)),
)


def cut(data: bytes, read_size: int = 4096) -> list[bytes | BadBytes]:
    reader = codec.reader()
    found: list[bytes | BadBytes] = []
    for start in range(0, len(data), read_size):
        found += reader.feed(data[start : start + read_size])
    return found + reader.finish()


def frames(data: bytes, read_size: int = 4096) -> list[bytes]:
    return [one for one in cut(data, read_size) if isinstance(one, bytes)]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
@pytest.mark.parametrize("read_size", [1, 2, 3, 7, 4096])
def test_every_vector_reads_as_printed(vector: dict[str, Any], read_size: int) -> None:
    lines = [
        {"ok": False, "error": one.error, "bytes": one.raw.hex(" ").upper()}
        if isinstance(one, BadBytes)
        else {"ok": True, **codec.describe(one)}
        for one in cut(bytes.fromhex(vector["bytes"]), read_size)
    ]
    assert len(lines) == len(vector["lines"])
    for got, expected in zip(lines, vector["lines"], strict=True):
        fields: Any = got.pop("fields", {})
        assert expected.get("fields", {}).items() <= fields.items()
        assert {key: value for key, value in expected.items() if key != "fields"}.items() <= got.items()


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_every_good_vector_is_written_as_printed(vector: dict[str, Any]) -> None:
    for frame in frames(bytes.fromhex(vector["bytes"])):
        assert codec.write(codec.read(frame)) == frame


@given(MESSAGES)
def test_every_message_comes_back_from_its_bytes(message: codec.Message) -> None:
    (frame,) = cut(codec.write(message))
    assert isinstance(frame, bytes)
    assert codec.read(frame) == message


@given(st.lists(MESSAGES, max_size=6), st.sampled_from([1, 2, 3, 5, 8, 4096]))
def test_frames_are_found_in_reads_of_any_size(messages: list[codec.Message], read_size: int) -> None:
    whole = [codec.write(message) for message in messages]
    assert cut(b"".join(whole), read_size) == whole


# --- another Modbus says the same ----------------------------------------------------------------------------------


@given(st.binary(max_size=64))
def test_the_crc_is_that_of_pymodbus(raw: bytes) -> None:
    assert codec.crc(raw) == FramerRTU.compute_CRC(raw).to_bytes(2, "big")


@given(UNIT, REGISTER, COUNT)
def test_a_question_is_that_of_pymodbus(unit: int, register: int, count: int) -> None:
    theirs = FramerRTU(DecodePDU(True)).buildFrame(
        ReadHoldingRegistersRequest(address=register, count=count, dev_id=unit)
    )
    assert codec.write(codec.ReadRegisters(unit, register, count)) == theirs


@given(UNIT, st.integers(0, 99), st.integers(0, 4), st.booleans(), st.booleans())
def test_a_start_is_a_write_of_two_registers_to_pymodbus(
    unit: int, lane: int, kind: int, drop_sensor: bool, lift: bool
) -> None:
    request = WriteMultipleRegistersRequest(
        address=codec.START_REGISTER, registers=[lane << 8 | kind, drop_sensor << 8 | lift], dev_id=unit
    )
    theirs = FramerRTU(DecodePDU(True)).buildFrame(request)
    assert codec.write(codec.start(unit, codec.Start(lane, kind, drop_sensor, lift))) == theirs


@given(UNIT, CONTENT)
def test_pymodbus_reads_our_answers(unit: int, content: bytes) -> None:
    raw = codec.write(codec.Registers(unit, content))
    used, theirs = FramerRTU(DecodePDU(False)).handleFrame(raw, unit, 0)
    assert used == len(raw)
    assert theirs is not None
    assert b"".join(one.to_bytes(2, "big") for one in theirs.registers) == content


# --- lines that spoil bytes ----------------------------------------------------------------------------------------


@given(st.data(), MESSAGES)
def test_one_or_two_flipped_bits_are_never_a_frame(data: st.DataObject, message: codec.Message) -> None:
    raw = bytearray(codec.write(message))
    for place in data.draw(st.lists(st.integers(0, 8 * len(raw) - 1), min_size=1, max_size=2, unique=True)):
        raw[place // 8] ^= 1 << place % 8
    assert bytes(raw) not in cut(bytes(raw))


@given(MESSAGES, MESSAGES, st.data())
def test_a_frame_after_one_that_was_cut_off_is_found(
    first: codec.Message, second: codec.Message, data: st.DataObject
) -> None:
    whole, next_one = codec.write(first), codec.write(second)
    part = whole[: data.draw(st.integers(1, len(whole) - 1))]
    assert next_one in frames(part + next_one)


def test_a_doubled_frame_is_two() -> None:
    raw = codec.write(codec.Registers(1, b"\x02\x00"))
    assert cut(raw + raw, 3) == [raw, raw]


def test_an_endless_line_of_noise_fills_no_memory() -> None:
    reader = codec.reader()
    random = Random(5)
    found = [one for _ in range(200) for one in reader.feed(random.randbytes(1_000))] + reader.finish()
    assert sum(len(one.raw) if isinstance(one, BadBytes) else len(one) for one in found) == 200_000
    assert not reader.waiting


# --- numbers and profiles ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        codec.ReadRegisters(0, 3, 1),
        codec.ReadRegisters(9, 3, 1),
        codec.ReadRegisters(1, 0x10000, 1),
        codec.ReadRegisters(1, 3, 0),
        codec.ReadRegisters(1, 3, 11),
        codec.Registers(1, b"\x01"),
        codec.Registers(1, b""),
    ],
)
def test_numbers_that_do_not_fit_are_refused(message: codec.Message) -> None:
    with pytest.raises(ValueError, match=r"unit|bytes|registers"):
        codec.write(message)


@pytest.mark.parametrize("lane", [-1, 100])
def test_a_lane_that_is_none_is_refused(lane: int) -> None:
    with pytest.raises(ValueError, match="lane"):
        codec.start(1, codec.Start(lane, 1, True, False))


@pytest.mark.parametrize("profile", codec.PROFILES.values(), ids=lambda profile: profile.name)
def test_every_lane_has_one_selection_and_every_selection_one_lane(profile: codec.ModbusBoardProfile) -> None:
    lanes = [Lane(unit, lane) for unit in range(1, profile.units + 1) for lane in range(codec.LANES)]
    assert [profile.place(profile.selection(lane)) for lane in lanes] == lanes
    assert profile.place(profile.first_selection - 1) is None
    assert profile.place(profile.selection(lanes[-1]) + 1) is None


def test_row_one_column_one_is_lane_0() -> None:
    rows = codec.PROFILES["rows"]
    assert (rows.place(11), rows.place(20), rows.place(21)) == (Lane(1, 0), Lane(1, 9), Lane(1, 10))
    assert codec.PROFILES["two-units"].place(101) == Lane(2, 0)


@pytest.mark.parametrize("own", [{"units": 9}, {"lane_kind": 0}, {"first_selection": 0}, {"longest_vend_ms": 1}])
def test_a_profile_that_cannot_be_is_refused(own: dict[str, object]) -> None:
    with pytest.raises(ProfileError):
        chosen(codec.PROFILES, "default", own)

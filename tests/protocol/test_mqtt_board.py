"""The codec of network-connected boards against its vectors, and against lines that are cut, spoilt and oversized."""

from __future__ import annotations

import importlib.util
import json
import pathlib
from dataclasses import fields
from types import ModuleType
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jishan_protocol.dispensers import mqtt_board as board
from jishan_protocol.envelope import MAX_INTEGER
from jishan_protocol.errors import ProtocolError

HERE = pathlib.Path(__file__).parent
FILE = json.loads((HERE.parents[1] / "docs/vectors/mqtt-board.json").read_text(encoding="utf-8"))
KEY = bytes.fromhex(FILE["key_hex"])

NUMBER = st.integers(1, MAX_INTEGER)
CODE = st.from_regex(r"[0-9a-z_]{1,30}", fullmatch=True).filter(str.isascii)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "ask": st.integers(0, MAX_INTEGER),
    "store": NUMBER,
    "number": NUMBER,
    "nonce": st.integers(0, MAX_INTEGER),
    "selection": st.integers(0, board.MAX_SELECTION),
    "ttl_ms": st.integers(1, board.MAX_TTL_MS),
    "boot": NUMBER,
    "last": st.integers(0, MAX_INTEGER),
    "press": NUMBER,
    "stock": st.integers(0, 65_535),
    "temperature_tenths_c": st.none() | st.integers(-1_000, 2_000),
    "is_busy": st.booleans(),
    "is_sellable": st.booleans(),
    "is_verified": st.booleans(),
    "door": st.sampled_from(["open", "closed", "unknown"]),
    "code": CODE,
    "outcome": st.sampled_from(board.Outcome),
}
MESSAGES = st.one_of([st.builds(form, *[VALUES[one.name] for one in fields(form)]) for form in get_args(board.Message)])


def direction_of(message: board.Message) -> board.Direction:
    return "d" if isinstance(message, board.Down) else "u"


def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mqtt_board_vectors", HERE / "mqtt_board_vectors.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_vector_file_is_what_the_code_makes() -> None:
    made = maker()
    assert made.PATH.read_text(encoding="utf-8") == made.text()


@pytest.mark.parametrize("vector", FILE["vectors"], ids=lambda vector: vector["name"])
def test_a_vector_is_accepted_or_refused_as_the_file_says(vector: dict[str, str]) -> None:
    direction: board.Direction = "d" if vector["topic"].endswith("/d") else "u"
    assert vector["topic"] == board.topic(FILE["board"], direction)

    def read() -> board.Message:
        return board.decode(direction, board.unseal(vector["payload"].encode(), FILE["board"], direction, KEY))

    if vector["expect"] == "ok":
        assert json.loads(board.encode(read())) == json.loads(vector["payload"][65:])
    else:
        with pytest.raises(ProtocolError) as refused:
            read()
        assert refused.value.reason == vector["expect"]
        if vector["expect"] == "bad_body":
            assert vector["why"] in refused.value.detail


def test_every_type_and_every_outcome_has_a_vector() -> None:
    good = [json.loads(one["payload"][65:]) for one in FILE["vectors"] if one["expect"] == "ok"]
    assert {one["type"] for one in good} == {name for forms in board.TYPES.values() for name in forms}
    assert {one.get("outcome") for one in good} - {None} == set(board.Outcome)


def test_golden_bytes() -> None:
    vend = board.Vend(5, 1, 7, 13, 20_000)
    content = b'{"v":1,"type":"vend","store":5,"number":1,"nonce":7,"selection":13,"ttl_ms":20000}'
    assert board.line(vend) == b"d " + content + b"\n"
    mac = b"6ceb35b0da596babb1c1b22aad921b1fb41965f26b81551c5355cddaf32104df"
    assert board.seal(content, "b1", "d", bytes(32)) == mac + b"." + content


@given(MESSAGES)
def test_every_message_comes_back_as_it_was(message: board.Message) -> None:
    direction = direction_of(message)
    content = board.encode(message)
    assert board.decode(direction, content) == message
    payload = board.seal(content, "b1", direction, KEY)
    assert len(payload) <= board.MAX_PAYLOAD_BYTES
    assert board.unseal(payload, "b1", direction, KEY) == content
    assert board.LineReader(direction).feed(board.line(message)) == [message]
    assert list(board.split_lines(board.line(message))) == [(direction, content)]


@given(st.lists(st.builds(board.Query, NUMBER, NUMBER), max_size=4), st.lists(st.integers(1, 300), max_size=12))
def test_pieces_of_any_size_give_the_same_messages(messages: list[board.Query], cuts: list[int]) -> None:
    stream = b"".join(board.line(one) for one in messages)
    reader, found, place = board.LineReader("d"), [], 0
    for cut in [*cuts, len(stream)]:
        found += reader.feed(stream[place : place + cut])
        place += cut
    found += reader.feed(stream[place:])
    assert found == messages
    one_at_a_time = board.LineReader("d")
    assert [got for byte in stream for got in one_at_a_time.feed(bytes([byte]))] == messages


@given(st.binary(max_size=300), NUMBER)
def test_after_anything_at_all_the_next_line_is_read(noise: bytes, number: int) -> None:
    query = board.Query(5, number)
    found = board.LineReader("d").feed(noise + b"\n" + board.line(query))
    assert found[-1] == query
    assert all(isinstance(one, board.BadLine) for one in found[:-1])


@given(MESSAGES, st.data())
def test_a_flipped_bit_is_never_taken(message: board.Message, data: st.DataObject) -> None:
    direction = direction_of(message)
    payload = bytearray(board.seal(board.encode(message), "b1", direction, KEY))
    payload[data.draw(st.integers(0, len(payload) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(ProtocolError):
        board.unseal(bytes(payload), "b1", direction, KEY)


def test_a_line_that_does_not_end_costs_no_memory_and_one_message() -> None:
    reader = board.LineReader("d")
    found = []
    for _ in range(1_000):
        found += reader.feed(b"d" * 100)
    assert [type(one) for one in found] == [board.BadLine]
    query = board.line(board.Query(5, 1))
    assert reader.feed(b"the end of it\n" + query + query) == [board.Query(5, 1)] * 2


def test_the_other_direction_is_not_read() -> None:
    (bad,) = board.LineReader("u").feed(board.line(board.Query(5, 1)))
    assert isinstance(bad, board.BadLine)
    assert bad.error == "malformed"


@pytest.mark.parametrize(
    "message",
    [
        board.Vend(0, 1, 1, 1, 1),
        board.Vend(1, 1, 1, 1, board.MAX_TTL_MS + 1),
        board.Check(1, 65_536),
        board.Query(MAX_INTEGER + 1, 1),
        board.Slot(1, True, "Not A Code", 1),
    ],
)
def test_a_value_out_of_its_range_is_not_said(message: board.Message) -> None:
    with pytest.raises(ValueError, match=r"is not a whole number|does not fit|2\^53"):
        board.encode(message)


def test_a_capture_is_told_in_words() -> None:
    content = board.encode(board.Ack(5, 1))
    told = board.describe(b"d " + content)
    assert (told["name"], told["fields"], told["mac"]) == ("ack", {"store": 5, "number": 1}, None)
    payload = board.seal(content, "b1", "d", KEY)
    told = board.describe(b"jishan/board/v1/b1/d " + payload)
    assert (told["board"], told["direction"], told["mac"]) == ("b1", "d", payload[:64].decode())
    for line, reason in ((b"jishan/v1/s07/m1/u/ask x", "foreign_topic"), (b"x {}", "malformed"), (b"", "malformed")):
        with pytest.raises(ProtocolError) as refused:
            board.describe(line)
        assert refused.value.reason == reason

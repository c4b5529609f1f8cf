"""Envelopes and messages: exact opposites, and nothing wrong gets through."""

from __future__ import annotations

import importlib.util
import json
import pathlib
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jishan_protocol import messages, topics
from jishan_protocol.envelope import MAX_PAYLOAD_BYTES, Envelope, Session, mac, seal, unseal
from jishan_protocol.errors import ProtocolError

HERE = pathlib.Path(__file__).parent
KEYS = {1: bytes(range(32)), 2: b"second key".ljust(32, b"!")}
TOPIC = topics.up(7, "m1a2b3", "outbox")


def _maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("link_vectors", HERE / "link_vectors.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FILE = json.loads((HERE.parents[1] / "docs/vectors/link.json").read_text(encoding="utf-8"))


def test_the_vector_file_is_what_the_code_makes() -> None:
    maker = _maker()
    assert maker.PATH.read_text(encoding="utf-8") == maker.text()


@pytest.mark.parametrize("vector", FILE["vectors"], ids=lambda vector: vector["name"])
def test_a_vector_is_accepted_or_refused_as_the_file_says(vector: dict[str, str]) -> None:
    keys = {FILE["key_id"]: bytes.fromhex(FILE["key_hex"])}

    def read() -> messages.Message:
        opened = unseal(vector["payload"].encode(), vector["topic"], keys)
        return messages.decode(topics.parse(vector["topic"]).kind, opened.envelope.type, opened.envelope.body)

    if vector["expect"] == "ok":
        message = read()
        assert messages.encode(message)[1] == json.loads(vector["payload"][65:])["body"]
    else:
        with pytest.raises(ProtocolError) as refused:
            read()
        assert refused.value.reason == vector["expect"]
        if vector["expect"] == "bad_body":
            assert vector["why"] in refused.value.detail


def test_every_message_type_has_a_vector() -> None:
    named = {vector["name"] for vector in FILE["vectors"]}
    assert {name for forms in messages.MESSAGES.values() for name in forms} <= named


ENVELOPES = st.builds(
    Envelope,
    id=st.from_regex(r"[0-9a-z_-]{1,40}", fullmatch=True),
    type=st.just("fault"),
    body=st.dictionaries(st.text(max_size=5), st.one_of(st.integers(-(2**53) + 1, 2**53 - 1), st.text(max_size=20))),
    journal_id=st.just("journal-1"),
    session=st.builds(Session, st.integers(0, 9), st.integers(0, 9), st.just("tag")),
    key_id=st.sampled_from([1, 2]),
    seq=st.none() | st.integers(1, 2**53 - 1),
    issued_at_ms=st.none() | st.integers(0, 2**53 - 1),
    expires_at_ms=st.none() | st.integers(0, 2**53 - 1),
)


@given(ENVELOPES)
def test_a_sealed_envelope_opens_to_itself(envelope: Envelope) -> None:
    try:
        payload = seal(envelope, TOPIC, KEYS[envelope.key_id])
    except UnicodeEncodeError:
        return  # a lone surrogate has no bytes; nothing was sent
    assert unseal(payload, TOPIC, KEYS).envelope == envelope


@given(st.binary(max_size=300))
def test_bytes_from_anywhere_are_refused_in_words(noise: bytes) -> None:
    for payload in (noise, mac(KEYS[1], TOPIC, noise).encode() + b"." + noise):
        with pytest.raises(ProtocolError):
            unseal(payload, TOPIC, KEYS)


@given(st.integers(0, 10_000), st.integers(0, 7))
def test_one_flipped_bit_anywhere_is_seen(position: int, bit: int) -> None:
    payload = bytearray(seal(_envelope(), TOPIC, KEYS[1]))
    payload[position % len(payload)] ^= 1 << bit
    with pytest.raises(ProtocolError):
        unseal(bytes(payload), TOPIC, KEYS)


def _envelope(**changes: Any) -> Envelope:
    body = {"selection": None, "code": "x", "detail": ""}
    return Envelope("a", "fault", body, "journal-1", Session(1, 1, "t"), 1, **changes)


def test_a_payload_of_exactly_the_limit_passes_and_one_byte_more_does_not() -> None:
    room = MAX_PAYLOAD_BYTES - len(seal(_envelope(), TOPIC, KEYS[1]))
    body = {"selection": None, "code": "x", "detail": "a" * room}
    largest = Envelope("a", "fault", body, "journal-1", Session(1, 1, "t"), 1)
    assert len(seal(largest, TOPIC, KEYS[1])) == MAX_PAYLOAD_BYTES
    body["detail"] += "a"
    with pytest.raises(ProtocolError, match="oversized"):
        seal(largest, TOPIC, KEYS[1])


@pytest.mark.parametrize("text", ["a\x00b", "\ud800"])
def test_text_that_a_database_cannot_keep_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError, match=r"fault\.detail"):
        messages.decode("outbox", "fault", {"selection": None, "code": "x", "detail": text})


@pytest.mark.parametrize("points", [0, -1, 1.5, "2", True, None, 10**9])
def test_points_are_whole_and_between_one_and_a_million(points: object) -> None:
    body = messages.encode(messages.Authorize("r", "c", 1, 1, "p", 1))[1] | {"points": points}
    with pytest.raises(ProtocolError, match=r"authorize\.points"):
        messages.decode("ask", "authorize", body)


def test_names_outside_the_basic_plane_pass_unharmed() -> None:
    slot = messages.Slot(1, "p", "𠮷野家🍜", "Yoshinoya 🍜", 1, True)
    desired = messages.Desired(1, 1, False, 15, (slot,), ())
    type_name, body = messages.encode(desired)
    assert messages.decode("desired", type_name, json.loads(json.dumps(body))) == desired


@pytest.mark.parametrize("shard", [0, 7, 99])
def test_topics_are_short_and_read_back(shard: int) -> None:
    machine = "m" * topics.MAX_MACHINE_ID
    for make, kinds in ((topics.up, topics.UP_KINDS), (topics.down, topics.DOWN_KINDS)):
        for kind in kinds:
            topic = make(shard, machine, kind)
            assert len(topic) <= topics.MAX_TOPIC_BYTES
            assert topic.count("/") <= 7
            assert (topics.parse(topic).shard, topics.parse(topic).machine_id) == (shard, machine)


@pytest.mark.parametrize(
    "topic", ["", "jishan/v1/s07/m/u/ack", "jishan/v2/s07/m/u/ask", "jishan/v1/s07/m/x/u/ask", "#"]
)
def test_a_foreign_topic_is_refused(topic: str) -> None:
    with pytest.raises(ProtocolError, match="foreign_topic"):
        topics.parse(topic)

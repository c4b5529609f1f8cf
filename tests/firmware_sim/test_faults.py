"""Settings of what goes wrong: read from files, refused by name, and the line that wears bytes."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jishan_sim.faults import (
    Faults,
    FaultsError,
    Line,
    LineFaults,
    Once,
    VendFaults,
    from_file,
    from_mapping,
    to_mapping,
    worn_frame,
)

TOML = """
seed = 7
drop_sensor = "blind"

[vend]
jam = 0.1
hold_status_ms = 500

[selections.3]
no_drop = 1

[[once]]
selection = 4
power_cut = 1
power_cut_ms = -100

[line]
byte_loss = 0.001
"""
EXPECTED = Faults(
    seed=7,
    drop_sensor="blind",
    vend=VendFaults(jam=0.1, hold_status_ms=500),
    selections={3: VendFaults(no_drop=1)},
    once=(Once(selection=4, power_cut=1, power_cut_ms=-100),),
    line=LineFaults(byte_loss=0.001),
)


def test_a_toml_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "faults.toml"
    path.write_text(TOML, "utf-8")
    assert from_file(path) == EXPECTED


def test_a_json_file_says_the_same(tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    path.write_text(json.dumps(to_mapping(EXPECTED)), "utf-8")
    assert from_file(path) == EXPECTED


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"vend": {"jam": 1.5}}, "vend.jam"),
        ({"vend": {"jam": -0.1}}, "vend.jam"),
        ({"vend": {"jam": "often"}}, "vend.jam"),
        ({"vend": {"jamm": 1}}, "vend.jamm"),
        ({"vend": 3}, "vend"),
        ({"selections": {"3": {"no_drop": 2}}}, "selections.3.no_drop"),
        ({"selections": {"three": {}}}, "selections.three"),
        ({"once": [{}, {"selection": 0}]}, "once.1.selection"),
        ({"once": [{"power_cut_ms": -201}]}, "once.0.power_cut_ms"),
        ({"once": [{"hold_status_ms": 1.5}]}, "once.0.hold_status_ms"),
        ({"once": [{}] * 1001}, "once"),
        ({"line": {"delay_ms": 3_600_001}}, "line.delay_ms"),
        ({"line": {"byte_loss": None}}, "line.byte_loss"),
        ({"drop_sensor": "sleepy"}, "drop_sensor"),
        ({"silent": "yes"}, "silent"),
        ({"clock_jump_s": 10**12}, "clock_jump_s"),
        ({"moon": 1}, "moon"),
        ([], "body"),
        (None, "body"),
    ],
)
def test_a_bad_setting_is_refused_by_its_name(settings: Any, name: str) -> None:
    with pytest.raises(FaultsError) as refused:
        from_mapping(settings)
    assert list(refused.value.errors) == [name]


@pytest.mark.parametrize(("name", "text"), [("faults.toml", "jam = ="), ("faults.json", "{"), ("gone.toml", None)])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, text: str | None) -> None:
    path = tmp_path / name
    if text is not None:
        path.write_text(text, "utf-8")
    with pytest.raises(FaultsError, match=name):
        from_file(path)


def test_one_shots_come_before_the_selection_and_the_selection_before_the_rest() -> None:
    faults = from_mapping(
        {"vend": {"jam": 1}, "selections": {"3": {"slow": 1}}, "once": [{"selection": 3, "no_drop": 1}]}
    )
    first, rest = faults.for_vend(3)
    assert (first, rest.once) == (Once(selection=3, no_drop=1), ())
    assert rest.for_vend(3) == (VendFaults(slow=1), rest)
    assert faults.for_vend(4) == (VendFaults(jam=1), faults)


@given(st.lists(st.binary(max_size=40), max_size=10), st.integers(0, 200), st.integers(0, 100))
def test_a_slow_line_delivers_every_byte_in_order(sends: list[bytes], delay_ms: int, seed: int) -> None:
    line = Line(LineFaults(delay_ms=delay_ms), Random(seed))
    arrived = b""
    for at_ms, data in enumerate(sends):
        line.send(data, at_ms)
        arrived += line.take(at_ms)
    while (due_ms := line.next_due_ms) is not None:
        assert due_ms <= len(sends) + delay_ms
        arrived += line.take(due_ms)
    assert arrived == b"".join(sends)


def test_a_line_without_faults_draws_no_chance() -> None:
    chance = Random(5)
    line = Line(LineFaults(), chance)
    line.send(b"hello", 0)
    assert line.take(0) == b"hello"
    assert worn_frame(b"hello", LineFaults(), chance) == b"hello"
    assert chance.random() == Random(5).random()


def test_each_wear_of_a_byte_is_what_it_says() -> None:
    def through(**faults: float) -> bytes:
        line = Line(LineFaults(**faults), Random(1))
        line.send(bytes(100), 0)
        return line.take(0)

    assert through(byte_loss=1) == b""
    assert through(byte_double=1) == bytes(200)
    assert all(byte.bit_count() == 1 for byte in through(byte_flip=1))
    assert 0 < len(through(byte_loss=0.5)) < 100


def test_each_wear_of_a_frame_is_what_it_says() -> None:
    frame = bytes(range(10))
    assert worn_frame(frame, LineFaults(frame_loss=1), Random(1)) == b""
    assert worn_frame(frame, LineFaults(frame_double=1), Random(1)) == frame * 2
    cut = worn_frame(frame, LineFaults(cut_frame=1), Random(1))
    assert cut == frame[: len(cut)]
    assert 0 < len(cut) < 10
    bad = worn_frame(frame, LineFaults(bad_checksum=1), Random(1))
    assert bad[:-1] == frame[:-1]
    assert bad[-1] != frame[-1]

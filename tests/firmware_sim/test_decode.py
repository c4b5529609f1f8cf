"""`jishan-sim decode xy`: every vector, whole captures, and bytes that are no frame."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from jishan_sim.__main__ import main

VECTORS = json.loads((Path(__file__).parents[2] / "docs/vectors/xy.json").read_text("utf-8"))["vectors"]


def decode(*arguments: str, given: bytes = b"") -> tuple[int, list[dict[str, Any]]]:
    result = CliRunner().invoke(main, ["decode", "xy", *arguments], input=given)
    return result.exit_code, [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_every_vector_is_told_in_words(vector: dict[str, Any]) -> None:
    exit_code, lines = decode(vector["bytes"])
    assert exit_code == 0
    assert len(lines) == len(vector["lines"])
    for line, expected in zip(lines, vector["lines"], strict=True):
        assert expected.get("fields", {}).items() <= line.get("fields", {}).items()
        assert {key: value for key, value in expected.items() if key != "fields"}.items() <= line.items()


def test_a_capture_comes_as_an_argument_a_file_or_standard_input(tmp_path: Path) -> None:
    capture = "".join(vector["bytes"] + "\r\n\t" for vector in VECTORS)
    from_argument = decode(capture)
    assert decode(*capture.split()) == from_argument
    assert len(from_argument[1]) == sum(len(vector["lines"]) for vector in VECTORS)
    path = tmp_path / "capture.txt"
    path.write_text(capture, "ascii")
    assert decode(str(path)) == from_argument
    assert decode(given=capture.encode()) == from_argument
    assert decode("-", given=capture.lower().replace(" ", "").encode()) == from_argument
    raw = tmp_path / "capture.bin"
    raw.write_bytes(bytes.fromhex(capture))
    assert decode(str(raw)) == from_argument


@pytest.mark.parametrize(("text", "why"), [("FA F", "whole bytes"), ("FA FG", "'G'"), ("0xFA", "'x'")])
def test_hex_that_is_none_is_refused_in_words(text: str, why: str) -> None:
    result = CliRunner().invoke(main, ["decode", "xy", text])
    assert result.exit_code == 2
    assert "CAPTURE" in result.stderr
    assert why in result.stderr


def test_a_frame_whose_text_is_too_short_is_not_ok() -> None:
    (line,) = decode("FA FB 04 02 01 02 04")[1]
    assert (line["ok"], line["error"], line["bytes"]) == (False, "length", "FA FB 04 02 01 02 04")


def test_a_frame_that_was_cut_off_is_incomplete() -> None:
    assert [line["error"] for line in decode("FA FB 04 04 A4 02")[1]] == ["incomplete"]


def test_an_unknown_command_is_a_frame_without_words() -> None:
    (line,) = decode("FA FB 17 01 01 16")[1]
    assert (line["ok"], line["cmd"], line["name"]) == (True, 0x17, "unknown")


def test_a_status_on_no_list_is_unknown() -> None:
    (line,) = decode("FA FB 04 04 11 05 00 01 14")[1]
    assert (line["fields"]["outcome"], line["fields"]["meaning"]) == ("unknown", "on no list")


def test_nothing_is_nothing() -> None:
    assert decode("") == (0, [])


def test_an_unknown_protocol_is_refused() -> None:
    assert CliRunner().invoke(main, ["decode", "morse", ""]).exit_code == 2

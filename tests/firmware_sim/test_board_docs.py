"""What the pages on the boards show is what there is: captures in words, profiles, frames."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from jishan_sim.__main__ import main
from jishan_sim.faces import FACES

DOCS = Path(__file__).parents[2] / "docs"
BOARDS = ("lock-board", "modbus-board")


@pytest.fixture(params=BOARDS)
def board(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def page(board: str) -> str:
    return (DOCS / f"protocols/{board}.md").read_text("utf-8")


def test_the_decode_example_prints_what_the_page_shows(board: str) -> None:
    found = re.search(r"```console\n(.*?)```", page(board), re.DOTALL)
    assert found is not None
    command, *lines = found[1].splitlines()
    _, *arguments = shlex.split(command.removeprefix("$ "))
    assert CliRunner().invoke(main, arguments).stdout.splitlines() == lines


def test_every_vector_is_told_in_words(board: str) -> None:
    for vector in json.loads((DOCS / f"vectors/{board}.json").read_text("utf-8"))["vectors"]:
        told = CliRunner().invoke(main, ["decode", board, vector["bytes"]]).stdout.splitlines()
        assert [json.loads(line)["ok"] for line in told] == [line["ok"] for line in vector["lines"]], vector["name"]


def test_every_frame_of_the_page_is_a_vector(board: str) -> None:
    known = {vector["bytes"] for vector in json.loads((DOCS / f"vectors/{board}.json").read_text("utf-8"))["vectors"]}
    table = page(board).split("## Vectors")[1]
    shown = re.findall(r"`([0-9A-F]{2}(?: [0-9A-F]{2})+)`", table)
    assert shown
    assert set(shown) <= known


def test_every_profile_is_on_the_page_with_every_setting(board: str) -> None:
    profiles = re.search(r"## Profiles\n(.*?)\n## ", page(board), re.DOTALL)
    assert profiles is not None
    named = {
        name
        for row in profiles[1].splitlines()
        if row.startswith("| `")
        for name in re.findall(r"`([a-z-]+)`", row.split("|")[1])
    }
    assert named == set(FACES[board].profiles)
    for setting in set(FACES[board].profiles["default"].__slots__) - {"name"}:
        assert f"`{setting}`" in profiles[1]

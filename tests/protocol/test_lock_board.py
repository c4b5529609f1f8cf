"""The lock board codec against its vectors, and against lines that cut, flip, double and invent bytes."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jishan_protocol.dispensers import lock_board as codec
from jishan_protocol.dispensers.cutting import MAX_BAD_BYTES, BadBytes
from jishan_protocol.dispensers.lock_board import Lock
from jishan_protocol.dispensers.profiles import ProfileError, chosen

VECTORS = json.loads((Path(__file__).parents[2] / "docs/vectors/lock-board.json").read_text("utf-8"))["vectors"]
DEFAULT = codec.PROFILES["default"]
LARGE = codec.LockBoardProfile(name="large", locks=50)

BOARD = st.integers(1, codec.MAX_BOARD)
LOCK = st.integers(1, codec.MAX_LOCK)
LOCKS = st.lists(LOCK, unique=True).map(sorted).map(tuple)
COMMANDS = st.one_of(
    st.builds(codec.Open, BOARD, LOCK),
    st.builds(codec.OpenAll, BOARD),
    st.builds(codec.OpenSeveral, BOARD, LOCKS),
    st.builds(codec.Query, BOARD, LOCK),
    st.builds(codec.QueryAll, BOARD),
)
ANSWERS = st.one_of(
    st.builds(codec.OpenAnswer, BOARD, LOCK, st.booleans()),
    st.builds(codec.Contact, BOARD, LOCK, st.booleans()),
    st.builds(codec.ContactChanged, BOARD, LOCK, st.booleans()),
)


def cut(data: bytes, read_size: int = 4096, profile: codec.LockBoardProfile = DEFAULT) -> list[bytes | BadBytes]:
    reader = codec.reader(profile)
    found: list[bytes | BadBytes] = []
    for start in range(0, len(data), read_size):
        found += reader.feed(data[start : start + read_size])
    return found + reader.finish()


def in_words(found: list[bytes | BadBytes]) -> list[dict[str, Any]]:
    return [
        {"ok": False, "error": one.error, "bytes": one.raw.hex(" ").upper()}
        if isinstance(one, BadBytes)
        else {"ok": True, **codec.describe(one)}
        for one in found
    ]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
@pytest.mark.parametrize("read_size", [1, 2, 3, 7, 4096])
def test_every_vector_reads_as_printed(vector: dict[str, Any], read_size: int) -> None:
    lines = in_words(cut(bytes.fromhex(vector["bytes"]), read_size))
    assert len(lines) == len(vector["lines"])
    for got, expected in zip(lines, vector["lines"], strict=True):
        assert expected.get("fields", {}).items() <= got.pop("fields", {}).items()
        assert {key: value for key, value in expected.items() if key != "fields"}.items() <= got.items()


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_every_good_vector_is_written_as_printed(vector: dict[str, Any]) -> None:
    for frame in cut(bytes.fromhex(vector["bytes"])):
        if isinstance(frame, bytes):
            message = codec.read_command(frame) or codec.read_answer(frame)
            assert message is not None
            assert codec.write(message, DEFAULT) == frame


@given(COMMANDS)
def test_every_command_comes_back_from_its_bytes(command: codec.Command) -> None:
    (frame,) = cut(codec.write(command, LARGE), profile=LARGE)
    assert isinstance(frame, bytes)
    assert codec.read_command(frame) == command


@given(ANSWERS)
def test_every_answer_comes_back_from_its_bytes(answer: codec.Answer) -> None:
    (frame,) = cut(codec.write(answer, LARGE), profile=LARGE)
    assert isinstance(frame, bytes)
    assert codec.read_answer(frame) == answer


@given(BOARD, LOCKS)
def test_the_contacts_of_a_whole_board_come_back(board: int, made: tuple[int, ...]) -> None:
    frame = codec.write(codec.Contacts(board, made), LARGE)
    assert codec.read_answer(frame) == codec.Contacts(board, made)


def test_an_answer_that_says_made_is_the_command_itself() -> None:
    """Why nobody may believe it: an adapter that gives back our own bytes says the same."""
    command = codec.write(codec.Open(1, 1), DEFAULT)
    assert codec.read_answer(command) == codec.OpenAnswer(1, 1, True)
    assert codec.write(codec.OpenAnswer(1, 1, True), DEFAULT) == command


def test_a_query_that_comes_back_is_no_answer() -> None:
    assert codec.read_answer(codec.write(codec.Query(1, 1), DEFAULT)) is None
    assert codec.read_answer(codec.write(codec.QueryAll(1), DEFAULT)) is None


@pytest.mark.parametrize("message", [codec.Open(1, 0), codec.Query(1, 0), codec.Contact(1, 0, True)])
def test_a_message_for_one_lock_is_never_one_for_all(message: codec.Command | codec.Answer) -> None:
    with pytest.raises(ValueError, match="lock 0"):
        codec.write(message, DEFAULT)


@pytest.mark.parametrize(
    "message", [codec.Open(0, 1), codec.Open(32, 1), codec.Open(1, 51), codec.OpenSeveral(1, (25,))]
)
def test_numbers_that_do_not_fit_are_refused(message: codec.Command) -> None:
    with pytest.raises(ValueError, match=r"board|lock"):
        codec.write(message, DEFAULT)


@given(st.data(), st.sampled_from([vector["bytes"] for vector in VECTORS if vector["lines"][0]["ok"]]))
def test_one_flipped_bit_is_never_a_frame(data: st.DataObject, text: str) -> None:
    raw = bytearray(bytes.fromhex(text))
    place = data.draw(st.integers(0, 8 * len(raw) - 1))
    raw[place // 8] ^= 1 << place % 8
    assert bytes(raw) not in cut(bytes(raw))


@given(st.lists(st.one_of(COMMANDS, ANSWERS).filter(lambda one: not isinstance(one, codec.OpenSeveral)), max_size=8))
def test_frames_are_found_in_reads_of_any_size_and_doubled(messages: list[codec.Command | codec.Answer]) -> None:
    frames = [codec.write(message, DEFAULT) for message in messages for _ in range(2)]
    for read_size in (1, 2, 3, 5, 4096):
        assert cut(b"".join(frames), read_size) == frames


def test_a_frame_after_a_frame_that_was_cut_off_is_found() -> None:
    whole = codec.write(codec.Contact(2, 3, False), DEFAULT)
    for length in range(1, len(whole)):
        found = cut(whole[:length] + whole)
        assert [one for one in found if isinstance(one, bytes)] == [whole]


def test_an_endless_line_of_noise_fills_no_memory() -> None:
    reader = codec.reader(DEFAULT)
    random = Random(5)
    taken = 0
    for _ in range(200):
        found = reader.feed(random.randbytes(1_000))
        assert all(len(one.raw) <= MAX_BAD_BYTES for one in found if isinstance(one, BadBytes))
        taken += sum(len(one.raw) if isinstance(one, BadBytes) else len(one) for one in found)
    taken += sum(len(one.raw) if isinstance(one, BadBytes) else len(one) for one in reader.finish())
    assert taken == 200_000
    assert not reader.waiting


# --- profiles ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", codec.PROFILES.values(), ids=lambda profile: profile.name)
def test_every_lock_has_one_selection_and_every_selection_one_lock(profile: codec.LockBoardProfile) -> None:
    locks = [Lock(board, lock) for board in range(1, profile.boards + 1) for lock in range(1, profile.locks + 1)]
    assert [profile.place(profile.selection(lock)) for lock in locks] == locks
    selections = {profile.selection(lock) for lock in locks}
    assert len(selections) == len(locks)
    assert {one for one in range(-5, 2_000) if profile.place(one) is not None} == selections


@pytest.mark.parametrize(
    ("profile", "selection", "lock"),
    [
        ("default", 1, Lock(1, 1)),
        ("default", 24, Lock(1, 24)),
        ("default", 25, None),
        ("default", 0, None),
        ("four-boards", 25, Lock(2, 1)),
        ("four-boards-hundreds", 210, Lock(2, 10)),
        ("four-boards-hundreds", 200, None),
        ("four-boards-hundreds", 225, None),
        ("four-boards-hundreds", 10, None),
    ],
)
def test_a_selection_names_a_lock(profile: str, selection: int, lock: Lock | None) -> None:
    assert codec.PROFILES[profile].place(selection) == lock


def test_wiring_says_what_a_contact_means() -> None:
    assert DEFAULT.is_open(False)
    assert not DEFAULT.is_open(True)
    assert codec.PROFILES["made-when-open"].is_open(True)
    assert not codec.PROFILES["made-when-open"].is_open(False)


@pytest.mark.parametrize(
    "own", [{"boards": 32}, {"boards": 0}, {"locks": 51}, {"boards": 31, "locks": 50}, {"boards": 10, "hundreds": True}]
)
def test_a_profile_that_cannot_be_is_refused(own: dict[str, object]) -> None:
    with pytest.raises(ProfileError):
        chosen(codec.PROFILES, "default", own)


def test_thirty_one_boards_fit_with_running_numbers() -> None:
    assert chosen(codec.PROFILES, "default", {"boards": 31}).place(744) == Lock(31, 24)

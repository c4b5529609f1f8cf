"""The MDB line codec against its vectors, and against lines that cut, flip, double and invent bytes."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jishan_protocol.dispensers import mdb_lines as mdb
from jishan_protocol.dispensers.profiles import ProfileError, chosen
from jishan_protocol.errors import ProtocolError

DOCS = Path(__file__).parents[2] / "docs"
VECTORS = json.loads((DOCS / "vectors/mdb-lines.json").read_text("utf-8"))["vectors"]
PAGE = (DOCS / "protocols/mdb-lines.md").read_text("utf-8")
DEFAULT = mdb.PROFILES["default"]

AMOUNT = st.integers(0, mdb.MAX_POINTS).map(Decimal)
WORDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9 .-]{0,18}[A-Za-z0-9]", fullmatch=True).filter(str.isascii)
PARTS: dict[type[Any], tuple[st.SearchStrategy[Any], ...]] = {
    mdb.Identify: (),
    mdb.SwitchOff: (),
    mdb.SwitchOn: (),
    mdb.Configure: (st.from_regex(r"[a-z-]{1,40}", fullmatch=True), WORDS),
    mdb.Approve: (AMOUNT, st.none() | st.integers(0, mdb.MAX_ITEM)),
    mdb.Deny: (),
    mdb.Stop: (),
    mdb.Start: (AMOUNT,),
    mdb.Display: (WORDS,),
    mdb.Version: (WORDS, WORDS),
    mdb.WentOff: (),
    mdb.WentOn: (),
    mdb.SettingTaken: (),
    mdb.InState: (st.sampled_from(mdb.BusState),),
    mdb.InSession: (st.none() | AMOUNT,),
    mdb.VendRequested: (AMOUNT, st.integers(0, mdb.MAX_ITEM)),
    mdb.VendSucceeded: (),
    mdb.Refused: (st.sampled_from(["", "VEND", "START", "STOP"]), st.integers(-9, 9)),
    mdb.NotUnderstood: (WORDS,),
    mdb.Chatter: (WORDS.map(lambda words: f"r,{words}"),),
    mdb.Unknown: (WORDS.map(lambda words: f"d,{words}"),),
}
MESSAGE = st.one_of(*(st.builds(kind, *parts) for kind, parts in PARTS.items()))


def lines_of(data: bytes) -> list[str | mdb.BadLine]:
    parser = mdb.Parser()
    return parser.feed(data) + parser.finish()


def words_of(data: bytes) -> list[str]:
    return [one for one in lines_of(data) if isinstance(one, str)]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_every_vector_says_what_it_means(vector: dict[str, Any]) -> None:
    found = lines_of(vector["text"].encode("latin-1"))
    assert len(found) == len(vector["lines"])
    for line, expected in zip(found, vector["lines"], strict=True):
        if expected["ok"]:
            assert isinstance(line, str)
            assert {"ok": True, **mdb.describe(line)} == expected
        elif isinstance(line, mdb.BadLine):
            assert line.error == expected["error"]
        else:
            with pytest.raises(ProtocolError, match=expected["error"]):
                mdb.read(line)


@pytest.mark.parametrize("profile", mdb.PROFILES.values(), ids=lambda profile: profile.name)
@given(message=MESSAGE)
def test_what_is_written_is_read_again(profile: mdb.MdbProfile, message: mdb.Message) -> None:
    (line,) = lines_of(mdb.write(message, profile))
    assert isinstance(line, str)
    assert mdb.read(line) == message


def test_the_page_names_every_profile_and_every_setting() -> None:
    section = PAGE.partition("## Profiles\n")[2].partition("\n## ")[0]
    first_cells = [row.split("|")[1] for row in section.splitlines() if row.startswith("| `")]
    assert {name for cell in first_cells for name in re.findall(r"`([a-z-]+)`", cell)} == set(mdb.PROFILES)
    settings = {setting.name for setting in fields(mdb.MdbProfile)} - {"name", "old_words"}
    assert settings <= set(re.findall(r"`([a-z_]+)`", section.rpartition("profiles.toml")[2]))


def test_every_message_has_a_round_trip() -> None:
    assert PARTS.keys() == set(get_args(mdb.Message))


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n", b"\n\r\n", b"  \r\n"])
def test_every_end_of_a_line_ends_it_once(end: bytes) -> None:
    assert lines_of(b"c,1" + end + b"c,0" + end) == ["c,1", "c,0"]


@given(st.lists(MESSAGE, max_size=8), st.lists(st.integers(0, 400), max_size=20))
def test_the_lines_do_not_depend_on_how_the_stream_was_cut(messages: list[mdb.Message], cuts: list[int]) -> None:
    data = b"".join(mdb.write(message, DEFAULT) for message in messages)
    places = sorted({0, *(cut for cut in cuts if cut < len(data)), len(data)})
    parser, found = mdb.Parser(), []
    for start, end in pairwise(places):
        found += parser.feed(data[start:end])
    assert found == lines_of(data)
    one_at_a_time = mdb.Parser()
    assert [line for byte in data for line in one_at_a_time.feed(bytes([byte]))] == found
    assert not one_at_a_time.waiting


@given(st.binary(max_size=600))
def test_any_bytes_are_read_without_an_error_of_ours(data: bytes) -> None:
    for line in lines_of(data):
        if isinstance(line, str):
            assert len(line) <= mdb.MAX_LINE_BYTES
            try:
                mdb.describe(line)
            except ProtocolError:
                continue


@given(st.binary(max_size=300))
def test_after_any_noise_a_line_is_read_again(noise: bytes) -> None:
    assert words_of(noise + b"\nc,VEND,SUCCESS\n")[-1] == "c,VEND,SUCCESS"


def test_a_line_without_an_end_fills_no_memory() -> None:
    parser = mdb.Parser()
    found = [line for _ in range(10_000) for line in parser.feed(b"c,STATUS,VEND,")]
    assert [line.error for line in found if isinstance(line, mdb.BadLine)] == ["too_long"]
    assert parser.feed(b"\nc,1\n") == ["c,1"]


@given(st.sampled_from(["c,VEND,SUCCESS", "c,ERR,VEND 3"]), st.data())
def test_no_flipped_lost_or_doubled_byte_makes_a_success(line: str, data: st.DataObject) -> None:
    raw = bytearray(line.encode("ascii"))
    place = data.draw(st.integers(0, len(raw) - 1))
    how = data.draw(st.sampled_from(["flip", "lose", "double"]))
    if how == "flip":
        raw[place] ^= 1 << data.draw(st.integers(0, 7))
    elif how == "lose":
        del raw[place]
    else:
        raw.insert(place, raw[place])
    assert mdb.VendSucceeded() not in [mdb.read(one) for one in words_of(bytes(raw) + b"\n")]


@pytest.mark.parametrize("quote", ["", '"'])
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("VEND 3", mdb.NOT_DISPENSED),
        ("VEND 1", mdb.CANCELLED),
        ("VEND 5", mdb.MACHINE_RESET),
        ("VEND -2", mdb.BAD_PAYLOAD),
        ("VEND -3", mdb.WRONG_STATE),
        ("START -3", mdb.Refused("START", -3)),
        ("STOP -3", mdb.Refused("STOP", -3)),
        ("-3", mdb.Refused("", -3)),
        ("cashless is on", mdb.ALREADY_ON),
        ("cashless is off", mdb.ALREADY_OFF),
        ("VEND 33333333", mdb.Refused("", None, "VEND 33333333")),
        ("VEND", mdb.Refused("", None, "VEND")),
        ("", mdb.Refused("", None, "")),
    ],
)
def test_errors_are_read_with_and_without_quotes(quote: str, words: str, message: mdb.Refused) -> None:
    assert mdb.read(f"c,ERR,{quote}{words}{quote}") == message


@pytest.mark.parametrize(
    "line",
    [
        "c,STATUS,VEND,NaN,5",
        "c,STATUS,VEND,Infinity,5",
        "c,STATUS,VEND,1e3,5",
        "c,STATUS,VEND,-1,5",
        "c,STATUS,VEND,1.00,",
        "c,STATUS,VEND,1.00,5,6",
        "c,STATUS,VEND,\u0661,5",
        "c,VEND,SUCCESS,1",
        "c,VEND,SUCCESSc,STATUS,IDLE",
        "C,VEND,-2",
        "C,VEND,",
        "c,status,enabled",
    ],
)
def test_what_is_nearly_a_line_is_none(line: str) -> None:
    assert isinstance(mdb.read(line), mdb.Unknown)


@pytest.mark.parametrize(
    ("amount", "points"),
    [("2", 2), ("2.00", 2), ("99.20", None), ("0", None), ("0.00", None), ("65533", 65_533), ("65534", None)],
)
def test_an_amount_is_points_only_as_a_whole_number_of_them(amount: str, points: int | None) -> None:
    assert mdb.points_of(Decimal(amount)) == points


@pytest.mark.parametrize(
    ("profile", "item", "selection"),
    [
        ("default", 18, 18),
        ("default", 0x0103, 259),
        ("default", 65_535, 65_535),
        ("row-column", 0x0103, 13),
        ("row-column", 0x0609, 69),
        ("row-column", 0x010A, mdb.NO_SELECTION),
        ("row-column", 0xFFFF, mdb.NO_SELECTION),
        ("row-column", 5, 5),
    ],
)
def test_an_item_is_a_number_or_a_row_and_a_column(profile: str, item: int, selection: int) -> None:
    assert mdb.selection_of(item, mdb.PROFILES[profile]) == selection
    if selection:
        assert mdb.item_of(selection, mdb.PROFILES[profile]) == item


@pytest.mark.parametrize(("profile", "selection"), [("default", 65_536), ("default", -1), ("row-column", 2_560)])
def test_a_selection_without_an_item_number_is_refused(profile: str, selection: int) -> None:
    with pytest.raises(ValueError, match=str(selection)):
        mdb.item_of(selection, mdb.PROFILES[profile])


def test_a_text_that_no_display_holds_is_refused() -> None:
    assert mdb.write(mdb.Display("X" * 32), DEFAULT) == b"C,DISPLAY," + b"X" * 32 + b"\n"
    with pytest.raises(ValueError, match="33"):
        mdb.write(mdb.Display("X" * 33), DEFAULT)
    for text in ("\u79ef\u5206", "A\nC,VEND,1"):
        with pytest.raises(ValueError, match="no line"):
            mdb.write(mdb.Display(text), DEFAULT)


def test_an_amount_is_approved_as_it_was_asked_for() -> None:
    request = mdb.read("c,STATUS,VEND,2.00,5")
    assert isinstance(request, mdb.VendRequested)
    assert mdb.write(mdb.Approve(request.amount), DEFAULT) == b"C,VEND,2.00\n"
    assert mdb.write(mdb.Approve(request.amount, request.item), DEFAULT) == b"C,VEND,2.00,5\n"


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("deny_by", "shrug"),
        ("address", "16"),
        ("currency_code", "0x11560"),
        ("scale_factor", 0),
        ("decimal_places", 4),
        ("row_multiplier", -1),
        ("longest_vend_ms", 0),
    ],
)
def test_a_bad_setting_of_a_profile_is_refused_by_its_name(setting: str, value: object) -> None:
    with pytest.raises(ProfileError, match=setting):
        chosen(mdb.PROFILES, "mine", {setting: value})

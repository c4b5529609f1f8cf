"""What the machine speaks: every sentence has its clips, every clip its text, and a sound is found, made, or missed."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

sys.path.append(str(Path(__file__).parent))

from machine_front import record, record_pack

from jishan_agent.__main__ import main
from jishan_agent.kiosk import voice
from jishan_agent.kiosk.phrases import GOODS, SPOKEN, Item, balance, number, offer, read_book, said
from jishan_agent.kiosk.voice import Player, Voices
from jishan_agent.words import WORDS
from jishan_protocol.messages import Greeting, Slot

BOOK = voice.book()
LANGUAGES = ("zh", "en")
SPEAKER = """
import pathlib, sys
from machine_front import record
voice, file, text = sys.argv[2], sys.argv[4], sys.argv[5]
with open(sys.argv[0] + ".asked", "a", encoding="utf-8") as asked: print(voice, text, file=asked)
record(pathlib.Path(file), 440)
"""


@pytest.fixture
def speaker(tmp_path: Path) -> str:
    """A speech program that notes what it was asked."""
    program = tmp_path / "speak.py"
    program.write_text(f"import sys; sys.path.append({str(Path(__file__).parent)!r})\n{SPEAKER}", encoding="utf-8")
    return shlex.join((sys.executable, str(program)))


def test_every_phrase_has_text_in_both_languages() -> None:
    for name, phrase in BOOK.items():
        assert voice.CLIP.fullmatch(name), name
        assert re.search("[一-龥]", phrase.zh), name
        assert not re.search("[一-龥][,:;(!?]", phrase.zh), name
        assert phrase.en.isascii(), name
        assert re.search("[a-z]", phrase.en), name


@pytest.mark.parametrize("texts", ['["您好", ""]', '["", "hello"]', '["您好"]', '["您好", 1]'])
def test_a_phrase_without_text_is_refused_by_its_name(texts: str) -> None:
    with pytest.raises(ValueError, match="greeting_of_ours"):
        read_book(f"[story]\ngreeting_of_ours = {texts}\n")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("code", [*WORDS, "greeting", "denied:sold_out", "denied:never_heard_of"])
def test_every_sentence_of_the_machine_has_clips(code: str, language: Any) -> None:
    for item in (Item("soap", 2), None):
        clips = said(code, item, language, BOOK)
        assert clips
        assert {clip for clip in clips if not clip.startswith(GOODS)} <= BOOK.keys()


def test_a_sentence_with_places_says_what_stands_in_them() -> None:
    for code, (zh, _) in WORDS.items():
        clips = said(code, Item("soap", 13), "zh", BOOK)
        if "{name_zh}" in zh:
            assert GOODS + "soap" in clips, code
        if "{points}" in zh and code != "outcome_unknown":
            assert "n13" in clips, code
    assert SPOKEN.keys() <= WORDS.keys() | {"greeting"}


@pytest.mark.parametrize(
    ("value", "zh", "en"),
    [
        (0, "零", "zero"),
        (2, "两", "two"),
        (10, "十", "ten"),
        (15, "十五", "fifteen"),
        (20, "二十", "twenty"),
        (42, "四十二", "forty two"),
        (100, "一百", "one hundred"),
        (105, "一百零五", "one hundred five"),
        (115, "一百一十五", "one hundred fifteen"),
        (120, "一百二十", "one hundred twenty"),
        (1_005, "一千零五", "one thousand five"),
        (1_015, "一千零一十五", "one thousand fifteen"),
        (1_500, "一千五百", "one thousand five hundred"),
        (10_086, "一万零八十六", "ten thousand eighty six"),
        (123_456, "十二万三千四百五十六", "one hundred twenty three thousand four hundred fifty six"),
    ],
)
def test_a_number_is_put_together_from_clips(value: int, zh: str, en: str) -> None:
    assert "".join(BOOK[clip].zh for clip in number(value, "zh")) == zh
    assert " ".join(BOOK[clip].en for clip in number(value, "en")) == en


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_number_of_points_can_be_said(language: Any) -> None:
    for value in (*range(3_000), 99_999, 1_000_000):
        assert set(number(value, language)) <= BOOK.keys()


def test_goods_and_a_balance_are_said_as_people_say_them() -> None:
    slot = Slot(2, "rice", "大米", "rice", 20, True)
    assert offer(slot, "zh") == ("n2", "place", "goods-rice", "n20", "points")
    assert offer(slot, "en") == ("place", "n2", "goods-rice", "n20", "points")
    assert balance(Greeting("g", "王*", 15, -2, 0), "zh") == ("lost", "two_of", "points", "you_have", "n15", "points")
    assert balance(Greeting("g", "王*", 15, None, 0), "zh") == ("you_have", "n15", "points")


def test_a_recording_comes_first_and_what_it_lacks_is_spoken_and_kept(tmp_path: Path, speaker: str) -> None:
    pack = tmp_path / "pack"
    record(pack / "choose.wav", 300)
    voices = Voices((pack,), tmp_path / "spoken", speaker, BOOK)
    assert voices.sound("zh", "choose") == pack / "choose.wav"
    made = voices.sound("zh", "offline")
    assert made is not None
    assert voice.loudest(made) > voice.SILENCE
    assert voices.sound("zh", "offline") == made
    english = voices.sound("en", "choose")
    assert english is not None
    assert english.parent.name == "en"
    assert voices.sound("zh", "goods-rice", "大米") is not None
    asked = (tmp_path / "speak.py.asked").read_text(encoding="utf-8").splitlines()
    assert asked == [f"cmn {WORDS['offline'][0]}", f"en {WORDS['choose'][1]}", "cmn 大米"]
    assert not list((tmp_path / "spoken").rglob("*.new"))


@pytest.mark.parametrize("clip", ["", "../choose", "a/b", "nothing_of_the_kind", "goods-nothing", "x" * 100])
def test_a_clip_that_is_none_has_no_sound(tmp_path: Path, speaker: str, clip: str) -> None:
    assert Voices((), tmp_path / "spoken", speaker, BOOK).sound("zh", clip) is None
    assert not (tmp_path / "speak.py.asked").exists()


@pytest.mark.parametrize("command", ["", "no-such-program-here", "false"])
def test_a_machine_that_cannot_speak_says_so_and_goes_on(tmp_path: Path, command: str) -> None:
    voices = Voices((), tmp_path / "spoken", command, BOOK)
    assert voices.sound("zh", "choose") is None
    if command != "false":
        assert "not recorded" in voices.trouble()


def test_a_whole_pack_needs_no_speech_program(tmp_path: Path) -> None:
    record_pack(tmp_path / "voices/estate", ("soap",))
    packs = voice.pack_folders(tmp_path, "estate")
    assert Voices(packs, tmp_path / "spoken", "", BOOK).trouble() == ""
    assert voice.pack_folders(tmp_path, "") == ()


def test_espeak_ng_speaks_both_languages(tmp_path: Path) -> None:
    if shutil.which("espeak-ng") is None:
        pytest.skip("espeak-ng is not installed")
    voices = Voices((), tmp_path / "spoken", "espeak-ng", BOOK)
    assert voices.trouble() == ""
    for language in ("zh", "en"):
        sound = voices.sound(language, "dispensed" if "dispensed" in BOOK else "take_item")
        assert sound is not None
        assert voice.loudest(sound) > voice.SILENCE


def test_the_sheet_for_whoever_records_names_each_file_and_its_words(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["voices", "record-list", "--dir", str(tmp_path)])
    assert result.exit_code == 0
    lines = dict(line.split("\t") for line in result.output.splitlines())
    assert lines.keys() == {f"{name}.wav" for name in BOOK}
    assert lines["please_tap.wav"] == "请刷卡。"


def test_what_a_pack_lacks_is_named(tmp_path: Path) -> None:
    pack = tmp_path / "voices/estate"
    record_pack(pack, ())
    run = CliRunner()
    whole = run.invoke(main, ["voices", "check", "--dir", str(tmp_path), "estate"])
    assert (whole.exit_code, whole.output) == (0, f"{len(BOOK)} of {len(BOOK)} are there\n")
    (pack / "choose.wav").unlink()
    (pack / "please_tap.wav").write_bytes(b"not a sound")
    record(pack / "n1.wav", 300, loudness=10)
    lacking = run.invoke(main, ["voices", "check", "--dir", str(tmp_path), "estate"])
    assert lacking.exit_code == 1
    assert "choose.wav: missing" in lacking.output
    assert "please_tap.wav: not a WAV file" in lacking.output
    assert "n1.wav: silent" in lacking.output
    assert run.invoke(main, ["voices", "check", "--dir", str(tmp_path), "nobody"]).exit_code == 1


def test_a_machine_without_a_screen_plays_clip_after_clip_and_breaks_off_for_what_is_newer(tmp_path: Path) -> None:
    played = tmp_path / "played"
    program = tmp_path / "play.py"
    program.write_text(
        "import sys, time\n"
        f"with open({str(played)!r}, 'a') as file: print(sys.argv[1], file=file, flush=True)\n"
        "time.sleep(600 if sys.argv[1].endswith('long') else 0)\n",
        encoding="utf-8",
    )
    failed = threading.Event()
    player = Player(shlex.join((sys.executable, str(program))), failed.set)
    reached = {name: threading.Event() for name in ("long", "last")}

    def clip(name: str) -> Any:
        def found() -> Path | None:
            if name in reached:
                reached[name].set()
            return None if name == "missing" else tmp_path / name

        return found

    player.start()
    player.play([clip("one"), clip("missing"), clip("two"), clip("long"), clip("never")], waits=False)
    assert reached["long"].wait(30)
    player.play([clip("three")], waits=False)
    player.play([clip("four"), clip("last")], waits=True)
    assert reached["last"].wait(30)
    player.stop()
    assert not failed.is_set()
    names = [Path(line).name for line in played.read_text().split()]
    assert "never" not in names
    assert [name for name in names if name not in ("long", "last")] == ["one", "two", "three", "four"]


def test_json_of_the_book_is_small_enough_to_be_recorded_in_an_afternoon() -> None:
    assert len(json.dumps({name: phrase.zh for name, phrase in BOOK.items()}, ensure_ascii=False)) < 5_000
    assert len(BOOK) <= 130

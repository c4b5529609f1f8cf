"""The front panel: every fault has a field, every word both languages, and nothing in the page runs inline."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import fields
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from random import Random

import pytest
from flask.testing import FlaskClient

import jishan_sim.panel as panel
from jishan_sim.cabinet import Slot
from jishan_sim.control import create_app
from jishan_sim.faces import FACES
from jishan_sim.faces.card_reader import READERS
from jishan_sim.faults import Faults, LineFaults, VendFaults
from jishan_sim.machine import Machine
from jishan_sim.panel.words import FAULT_WORDS, LANGUAGES, WORDS, words

SCRIPT = (Path(panel.__file__).parent / "static/panel.js").read_text("utf-8")
TEMPLATE = (Path(panel.__file__).parent / "panel.html").read_text("utf-8")


PATIENCE_S = 10


class Wire:
    """A line with nobody at the other end; it keeps what was said."""

    name = "nowhere"

    def __init__(self) -> None:
        self.said = b""
        self.has_spoken = threading.Event()

    def read(self) -> bytes:
        return b""

    def write(self, data: bytes) -> None:
        self.said += data
        if data:
            self.has_spoken.set()

    def waits_on(self) -> list[int] | None:
        return []

    def close(self) -> None:
        return


@pytest.fixture
def machine() -> Iterator[Machine]:
    face = FACES["xy"].make("default", [Slot(1, 5, 5), Slot(2, 5, 5)], Faults(), Random(1))
    with closing(Machine("xy", face, Wire(), Wire(), READERS["line-hex"], None)) as made:
        yield made


@pytest.fixture
def web(machine: Machine) -> FlaskClient:
    return create_app(machine).test_client()


class Tags(HTMLParser):
    """Every tag of a page with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_page_runs_no_inline_script_and_loads_nothing_from_elsewhere(web: FlaskClient) -> None:
    answer = web.get("/")
    assert answer.headers["Content-Security-Policy"] == panel.POLICY
    for tag, attributes in Tags(answer.text).found:
        assert not [name for name in attributes if name.startswith("on") or name == "style"], (tag, attributes)
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith(("/panel/", "#", "?")), (tag, attributes)
        if address := attributes.get("src"):
            with web.get(address) as script:
                assert script.status_code == 200
        assert tag != "style"
        assert tag != "script" or attributes["src"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_fault_has_a_field_with_a_name_that_people_understand(web: FlaskClient, language: str) -> None:
    page = web.get(f"/?lang={language}").text
    for kind, prefix, form in ((VendFaults, "vend.", "vend"), (LineFaults, "line.", "line"), (Faults, "", "machine")):
        shown = re.search(rf'<form data-faults="{form}">(.*?)</form>', page, re.DOTALL)
        assert shown is not None
        for setting in fields(kind):
            if setting.metadata["parse"] is not None and setting.name not in panel.LEFT_OUT:
                assert f'name="{setting.name}"' in shown[1]
                assert f"<span>{words(language)[prefix + setting.name]}</span>" in unescape(shown[1])


def test_every_word_is_used_and_every_word_that_is_used_is_there() -> None:
    used = set(re.findall(r"words\.([a-z_]+)", SCRIPT + TEMPLATE)) | {"stuck_sensor", "ok", "blind"}
    assert used == set(WORDS)
    assert set(re.findall(r'words\["([a-z_.]+)"\]', TEMPLATE)) <= set(FAULT_WORDS)


def test_chinese_words_have_chinese_punctuation() -> None:
    for zh, en in (WORDS | FAULT_WORDS).values():
        assert zh
        assert en
        assert not re.search(r"[\u4e00-\u9fff][,.:;?!()]|[,.:;?!()][\u4e00-\u9fff]", zh), zh


def test_the_language_is_that_of_the_address_or_else_of_the_browser(web: FlaskClient) -> None:
    assert '<html lang="zh-CN">' in web.get("/").text
    assert '<html lang="en">' in web.get("/", headers={"Accept-Language": "en-GB,zh;q=0.5"}).text
    assert '<html lang="zh-CN">' in web.get("/?lang=zh", headers={"Accept-Language": "en"}).text
    assert '<html lang="zh-CN">' in web.get("/?lang=tlh", headers={"Accept-Language": "fr"}).text


def test_a_card_in_the_address_stands_in_the_field_and_nothing_more(web: FlaskClient) -> None:
    page = web.get('/?card="><script>1</script>').text
    assert "<script>1" not in page
    assert 'value="7186A61E"' in web.get("/?card=7186A61E").text


def test_names_are_for_eyes_and_replace_those_before(web: FlaskClient) -> None:
    assert web.post("/names", json={"names": {"1": {"zh": "香皂", "en": "Soap", "points": 2}}}).status_code == 200
    assert web.get("/state").json["names"] == {"1": {"zh": "香皂", "en": "Soap", "points": 2}}  # type: ignore[index]
    refused = web.post("/names", json={"names": {"x": {"zh": "", "en": "Soap"}}})
    assert refused.status_code == 400
    assert refused.json["errors"].keys() >= {"names.x.zh"}  # type: ignore[index]
    assert web.post("/names", json={"names": {}}).status_code == 200
    assert web.get("/state").json["names"] == {}  # type: ignore[index]


def test_a_change_of_faults_leaves_the_others_and_adds_to_once(web: FlaskClient) -> None:
    web.put("/faults", json={"vend": {"slow": 1}, "line": {"noise": 0.5}, "once": [{"jam": 1}]})
    change = {"vend": {"no_drop": 1}, "selections": {"2": {"jam": 1}}, "once": [{"selection": 1, "status_lost": 1}]}
    faults = web.patch("/faults", json=change).json
    assert faults is not None
    assert (faults["vend"]["slow"], faults["vend"]["no_drop"], faults["line"]["noise"]) == (1, 1, 0.5)
    assert [entry["selection"] for entry in faults["once"]] == [None, 1]
    assert faults["selections"]["2"]["jam"] == 1
    refused = web.patch("/faults", json={"line": {"nose": 1}})
    assert (refused.status_code, refused.json["errors"].keys()) == (400, {"line.nose"})  # type: ignore[index]
    assert web.patch("/faults", json=[1]).status_code == 400
    assert web.get("/faults").json == faults


def test_the_screen_shows_what_the_agent_says_or_the_host_wrote(machine: Machine, tmp_path: Path) -> None:
    web = create_app(machine).test_client()
    assert web.get("/state").json["screen"] is None  # type: ignore[index]
    machine.screen = tmp_path / "status.json"
    assert web.get("/state").json["screen"] is None  # type: ignore[index]
    said = {"code": "welcome", "zh": "请刷卡。", "en": "Please tap."}
    machine.screen.write_text(f'{{"said": {{"code": "welcome", "zh": "{said["zh"]}", "en": "{said["en"]}"}}}}', "utf-8")
    assert web.get("/state").json["screen"] == said | {"address": ""}  # type: ignore[index]
    machine.screen.write_text("{", "utf-8")
    assert web.get("/state").json["screen"] is None  # type: ignore[index]


def test_a_code_with_signs_that_no_reader_prints_is_refused(web: FlaskClient) -> None:
    assert web.post("/code", json={"text": "JS1:abc"}).status_code == 200
    for text in ("", "a\nb", "x" * 513):
        refused = web.post("/code", json={"text": text})
        assert (refused.status_code, refused.json["errors"].keys()) == (400, {"text"})  # type: ignore[index]


def test_keys_go_out_on_the_line_of_a_keypad_and_are_refused_without_one(machine: Machine, web: FlaskClient) -> None:
    refused = web.post("/keys", json={"keys": "12345678#"})
    assert (refused.status_code, refused.json["errors"].keys()) == (400, {"keys"})  # type: ignore[index]
    assert web.get("/state").json["has_keypad_line"] is False  # type: ignore[index]
    keypad = Wire()
    with closing(Machine("xy", machine.face, Wire(), Wire(), READERS["line-hex"], None, keypad)) as with_keypad:
        own = create_app(with_keypad).test_client()
        with with_keypad.at_work() as (face, now_ms):
            face.power_on(now_ms)
        assert own.post("/keys", json={"keys": "0123 4567#"}).status_code == 200
        assert own.post("/keys", json={"keys": "12x"}).status_code == 400
        run_until(with_keypad, keypad)
    assert keypad.said == b"0123 4567#"


def test_a_selection_is_pressed_on_the_dispensers_own_keys_or_else_on_the_keypads_line() -> None:
    for protocol, said in (("xy", b""), ("lock-board", b"2\n")):
        face = FACES[protocol].make("default", [Slot(1, 5, 5), Slot(2, 5, 5)], Faults(), Random(1))
        keypad, cards = Wire(), Wire()
        with closing(Machine(protocol, face, Wire(), cards, READERS["line-hex"], None, keypad)) as one:
            with one.at_work() as (powered, now_ms):
                powered.power_on(now_ms)
            assert create_app(one).test_client().post("/press", json={"selection": 2}).status_code == 200
            one.tap("7186A61E")
            run_until(one, cards)
        assert keypad.said == said


def test_a_code_goes_out_as_text_on_the_code_readers_line(machine: Machine) -> None:
    cards, codes = Wire(), Wire()
    for port, line in ((codes, codes), (None, cards)):
        with closing(Machine("xy", machine.face, Wire(), cards, READERS["line-hex"], None, None, port)) as one:
            with one.at_work() as (face, now_ms):
                face.power_on(now_ms)
            one.scan("JS1:a")
            run_until(one, line)
        assert line.said == b"JS1:a\r\n"


def run_until(machine: Machine, line: Wire) -> None:
    """Let it run until something was said on a line."""
    running = threading.Thread(target=machine.run)
    running.start()
    assert line.has_spoken.wait(PATIENCE_S)
    machine.stop()
    running.join()

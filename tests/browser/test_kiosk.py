"""A person in front of the machine's own screen: by card and finger, by keys and ears alone, and nobody at all."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Response, expect

sys.path.append(str(Path(__file__).parents[1] / "device_agent"))

from machine_front import MachineFront, news
from served import PATIENCE_MS, grave_problems

from jishan_agent.kiosk import page as kiosk_page
from jishan_agent.kiosk import voice
from jishan_protocol.dispensers import xy
from jishan_protocol.messages import Slot

AGENT_TESTS: Final = Path(__file__).parents[1] / "device_agent"
pytestmark = pytest.mark.external

SIZES: Final = {"portrait": {"width": 1080, "height": 1920}, "landscape": {"width": 1280, "height": 800}}
LANGUAGES: Final = ("zh", "en")
LEAST_TYPE_PX: Final = 24
LEAST_TARGET_PX: Final = 60
SITE: Final = "https://jishan.example"
LABEL: Final = "王*华"
PLAYED: Final = """
  window.played = [];
  const play = HTMLMediaElement.prototype.play;
  HTMLMediaElement.prototype.play = function () {
    window.played.push(this.src.split('/').pop().replace('.wav', ''));
    return play.call(this);
  };
"""
MEASURE: Final = """() => {
  const shown = (one) => one.offsetParent !== null;
  const own = (one) => [...one.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
  return {
    type: [...document.body.querySelectorAll('*')].filter((one) => shown(one) && own(one))
      .map((one) => [one.textContent.slice(0, 20), parseFloat(getComputedStyle(one).fontSize)]),
    targets: [...document.querySelectorAll('button')].filter(shown).map((one) => {
      const box = one.getBoundingClientRect();
      return [one.textContent.slice(0, 20), box.width, box.height, box.left, box.top, box.right, box.bottom];
    }),
    page: [innerWidth, innerHeight, document.documentElement.scrollWidth, document.documentElement.scrollHeight],
    cut: [...document.querySelectorAll('.good, main, p')].filter((one) => shown(one)
      // The boxes of Chinese signs are higher than their line.
      && (one.scrollHeight > one.clientHeight + parseFloat(getComputedStyle(one).fontSize) / 4
        || one.scrollWidth > one.clientWidth + 2))
      .map((one) => one.textContent.slice(0, 20)),
  };
}"""
CONTRAST: Final = """() => {
  const light = (text) => {
    const parts = text.match(/[0-9.]+/g).slice(0, 3).map((part) => part / 255)
      .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
  };
  const ground = (one) => {
    for (let at = one; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (!/^rgba.* 0\\)$/.test(colour)) return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  return [...document.body.querySelectorAll('*')].filter((one) => one.offsetParent !== null
      && [...one.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim())).map((one) => {
    const [a, b] = [light(getComputedStyle(one).color), light(ground(one))].sort((x, y) => y - x);
    return [one.textContent.slice(0, 20), (a + 0.05) / (b + 0.05)];
  });
}"""


def picture() -> bytes:
    """A small PNG of one colour."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = (b"\0" + b"\x4a\x90\x60" * 64) * 64
    header = struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


class Kiosk:
    """A machine, its page on a real port, and the window of the screen on its front."""

    def __init__(self, front: MachineFront, url: str, context: BrowserContext) -> None:
        self.front, self.url = front, url
        self.page: Page = context.new_page()
        self.fetched: set[str] = set()
        self.played: set[str] = set()
        self.foreign: list[str] = []
        self.errors: list[str] = []
        self.page.add_init_script(PLAYED)
        self.page.on("response", self._heard)
        self.page.on(
            "request", lambda request: self.foreign.append(request.url) if not self._is_own(request.url) else None
        )
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda said: self._complained(said))
        self.page.goto(url)
        self.shows("idle")

    def _complained(self, said: ConsoleMessage) -> None:
        # What nobody has recorded and nobody can speak is missed without harm.
        if said.type == "error" and "404" not in said.text:
            self.errors.append(said.text)

    def _is_own(self, address: str) -> bool:
        return address.startswith((self.url, "data:"))

    def _heard(self, response: Response) -> None:
        if "/sound/" in response.url:
            self.fetched.add(response.url.rpartition("/")[2].removesuffix(".wav"))

    def shows(self, step: str) -> None:
        """Wait until the window shows what the machine does."""
        assert self.front.look().step == step
        expect(self.page.locator("body")).to_have_attribute("data-step", step)

    def settled(self, done: Callable[[], bool]) -> None:
        """Let the loop turn until what the window sent has come."""
        for _ in range(PATIENCE_MS // 20):
            self.front.look()
            if done():
                return
            self.page.wait_for_timeout(20)
        raise AssertionError(self.front.look())

    def reaches(self, step: str) -> None:
        """Wait for what the window sent, then for what it shows."""
        self.settled(lambda: self.front.look().step == step)
        self.shows(step)

    def until(self, step: str) -> None:
        """Let the machine's time pass."""
        self.front.until(step)
        self.shows(step)

    def hears(self, *clips: str) -> None:
        """Every one of these clips is played now, was fetched from the machine, and is none of silence."""

        def has_heard() -> bool:
            self.played |= set(self.page.evaluate("window.played.splice(0)"))
            return set(clips) <= self.played & self.fetched

        self.settled(has_heard)
        for clip in clips:
            path = self.front.voices.sound("zh", clip)
            assert path is not None
            assert voice.loudest(path) > voice.SILENCE, clip
        self.played.clear()


@pytest.fixture
def make_kiosk(chromium: Browser, tmp_path: Path) -> Iterator[Callable[..., Kiosk]]:
    """Make a machine with its page, and a window of a size."""
    spec = importlib.util.spec_from_file_location("agent_bench", AGENT_TESTS / "conftest.py")
    assert spec is not None
    assert spec.loader is not None
    bench_module: Any = importlib.util.module_from_spec(spec)
    sys.modules["agent_bench"] = bench_module
    spec.loader.exec_module(bench_module)
    made: list[Kiosk] = []
    with ExitStack() as open_things:

        def make(size: str = "landscape", slots: tuple[Slot, ...] = ()) -> Kiosk:
            directory = tmp_path / str(len(made))
            (directory / "pictures").mkdir(parents=True)
            (directory / "pictures/soap.png").write_bytes(picture())
            bench = bench_module.Bench(directory, xy.PROFILES["default"])
            if slots:
                bench.server.desired = bench_module.Desired(1, 3, False, 15, slots, ())
            bench.server.greeting = news
            bench.start()
            identity = dataclasses.replace(bench.agent._identity, site_url=SITE, has_keypad=True)
            bench.agent._identity = identity
            open_things.callback(lambda: bench.connection.close())
            bench.ready()
            front = MachineFront(bench, directory, pictured=frozenset({"soap"}))
            pages = kiosk_page.Pages(front.booth, front.voices, kiosk_page.pictured(directory), "127.0.0.1", 0)
            pages.start()
            open_things.callback(pages.stop)
            context = chromium.new_context(viewport=SIZES[size], has_touch=True)  # type: ignore[arg-type]
            open_things.callback(context.close)
            context.set_default_timeout(PATIENCE_MS)
            kiosk = Kiosk(front, f"http://127.0.0.1:{pages.port}/", context)
            made.append(kiosk)
            return kiosk

        yield make
        for kiosk in made:
            assert kiosk.foreign == []
            assert kiosk.errors == []


MANY: Final = (
    Slot(1, "soap", "肥皂", "Soap", 2, True),
    Slot(2, "rice", "东北大米五公斤装", "Rice, five kilograms", 12, True),
    Slot(3, "oil", "食用油", "Cooking oil", 30, True),
    Slot(4, "towel", "纯棉毛巾两条", "Two cotton towels", 6, True),
    Slot(5, "salt", "食盐", "Salt", 1, False),
    Slot(6, "tissue", "抽纸", "Tissues", 3, True),
    Slot(13, "paste", "牙膏", "Toothpaste", 4, True),
)


def measured(kiosk: Kiosk, name: str) -> None:
    """Type, targets and contrast are large enough, all of it is on the screen, axe finds nothing grave."""
    if folder := os.environ.get("LOOK"):
        kiosk.page.screenshot(path=f"{folder}/kiosk-{name}.png")
    found = kiosk.page.evaluate(MEASURE)
    assert [one for one in found["type"] if one[1] < LEAST_TYPE_PX] == [], name
    assert [one for one in found["targets"] if min(one[1], one[2]) < LEAST_TARGET_PX] == [], name
    width, height, scroll_width, scroll_height = found["page"]
    assert (scroll_width, scroll_height) == (width, height), name
    outside = [one[0] for one in found["targets"] if one[3] < 0 or one[4] < 0 or one[5] > width or one[6] > height]
    assert outside == [], name
    assert found["cut"] == [], name
    assert [one for one in kiosk.page.evaluate(CONTRAST) if one[1] < 4.5] == [], name
    assert grave_problems(kiosk.page) == [], name


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("size", SIZES)
def test_every_step_is_large_and_clear_on_either_screen(
    make_kiosk: Callable[..., Kiosk], size: str, language: str
) -> None:
    kiosk = make_kiosk(size, MANY)
    front, page = kiosk.front, kiosk.page
    front.bench.vmc.status_delay_ms = 2_000

    def look(step: str) -> None:
        kiosk.reaches(step)
        expect(page.locator("html")).to_have_attribute("lang", "zh-CN" if language == "zh" else "en")
        measured(kiosk, f"{size}-{language}-{step}")

    if language == "en":
        page.click("[data-act=language]")
        kiosk.settled(lambda: front.look().language == "en")
    page.wait_for_function("(document.querySelector('#code img') || {}).naturalWidth > 0")
    look("idle")
    page.click("[data-act=pad]")
    look("pad")
    page.click("[data-act='digit:1']")
    page.click("[data-act=unpad]")
    kiosk.reaches("idle")
    front.tap()
    look("choosing")
    front.pass_time(28_000)
    expect(page.locator("#notice.warning")).to_be_visible()
    measured(kiosk, f"{size}-{language}-warning")
    page.click("[data-act=stay]")
    kiosk.settled(lambda: not front.look().is_warning)
    page.click("[data-act='choose:1']")
    look("confirm")
    page.click("[data-act=confirm]")
    look("asking")
    front.until("vending")
    look("vending")
    front.until("result")
    look("result")
    page.click("[data-act=ok]")
    kiosk.reaches("idle")
    page.click("[data-act='choose:2']")
    look("identify")
    page.click("[data-act=finish]")
    kiosk.reaches("result")
    front.bench.unlink()
    front.pass_time(11_000)
    look("closed")
    page.click("[data-act=contrast]")
    expect(page.locator("html")).to_have_class("contrast")
    measured(kiosk, f"{size}-{language}-contrast")


def test_a_person_redeems_by_card_and_finger(make_kiosk: Callable[..., Kiosk]) -> None:
    kiosk = make_kiosk("portrait")
    front, page = kiosk.front, kiosk.page
    expect(page.locator("#telephone")).to_contain_text("0833-1234567")
    expect(page.locator("img.picture")).to_have_attribute("src", "/picture/soap")
    front.tap()
    kiosk.shows("choosing")
    expect(page.locator("#words")).to_contain_text(LABEL)
    page.tap("[data-act='choose:13']")
    kiosk.reaches("confirm")
    page.tap("[data-act=confirm]")
    kiosk.reaches("asking")
    kiosk.until("result")
    expect(page.locator("#words")).to_have_text("请取走肥皂。已扣2分。")
    expect(page.locator("body")).not_to_contain_text(LABEL)
    assert front.bench.server.names() == ["VendStarted", "Dispensed"]


def test_a_person_redeems_by_keys_and_ears_alone(make_kiosk: Callable[..., Kiosk]) -> None:
    kiosk = make_kiosk()
    front, keyboard = kiosk.front, kiosk.page.keyboard
    keyboard.press("*")
    kiosk.hears("can_choose", "n13", "place", "goods-soap", "two_of", "points", "how_to")
    front.tap()
    kiosk.hears("card_read", "choose", "press_listen")
    keyboard.press("*")
    kiosk.hears("gained", "n6", "you_have_messages", "n1", "messages", "you_have", "n15")
    for key in "13":
        keyboard.press(key)
    kiosk.hears("n1", "n3")
    keyboard.press("Enter")
    kiosk.reaches("confirm")
    kiosk.hears("goods-soap", "two_of", "points", "press_confirm")
    keyboard.press("Enter")
    kiosk.reaches("asking")
    kiosk.hears("asking")
    kiosk.until("vending")
    kiosk.hears("vending")
    kiosk.until("result")
    kiosk.hears("take_item", "goods-soap", "used", "two_of", "points")
    keyboard.press("Enter")
    kiosk.reaches("idle")
    for key in "13":
        keyboard.press(key)
    keyboard.press("Enter")
    kiosk.reaches("identify")
    kiosk.hears("goods-soap", "two_of", "points", "please_tap")
    keyboard.press("Escape")
    kiosk.reaches("result")
    kiosk.hears("cancelled")
    assert front.bench.server.names() == ["VendStarted", "Dispensed"]


@pytest.mark.parametrize("step", ["choosing", "confirm", "identify", "vending"])
def test_nobody_touches_it_for_a_minute_and_the_next_person_finds_no_name(
    make_kiosk: Callable[..., Kiosk], step: str
) -> None:
    kiosk = make_kiosk()
    front, page = kiosk.front, kiosk.page
    if step != "identify":
        front.tap()
    if step != "choosing":
        page.click("[data-act='choose:13']")
        kiosk.reaches("identify" if step == "identify" else "confirm")
    if step == "vending":
        page.click("[data-act=confirm]")
        kiosk.reaches("asking")
        kiosk.until("vending")
    kiosk.shows(step)
    front.pass_time(62_000)
    kiosk.shows(front.look().step)
    assert front.look().step in ("idle", "result")
    expect(page.locator("body")).not_to_contain_text(LABEL)
    assert front.bench.server.names().count("Dispensed") == len(front.bench.vmc.driven) == (step == "vending")


def test_a_page_of_another_host_may_ask_and_press_nothing(make_kiosk: Callable[..., Kiosk]) -> None:
    kiosk = make_kiosk()
    request = kiosk.page.request
    address = kiosk.url.removesuffix("/")
    for path in ("/", "/screen", "/sound/zh/choose.wav", "/picture/soap"):
        assert request.get(address + path).status == 200
        assert request.get(address + path, headers={"Host": "elsewhere.example"}).status == 403
    assert request.post(address + "/act", data="act=digit:1", headers={"Content-Type": "text/plain"}).status == 415
    assert request.post(address + "/act", data={"act": 1, "view": 0}).status == 400
    for path in ("/sound/zh/nothing.wav", "/sound/fr/choose.wav", "/picture/rice", "/picture/..%2Fvoices"):
        assert request.get(address + path).status == 404


def test_a_page_whose_agent_has_gone_says_so_and_comes_back_with_it(make_kiosk: Callable[..., Kiosk]) -> None:
    kiosk = make_kiosk()
    kiosk.front.tap()
    kiosk.shows("choosing")
    kiosk.page.route("**/screen*", lambda route: route.abort())
    kiosk.front.press("digit:1")
    expect(kiosk.page.locator("body")).to_have_attribute("data-step", "lost")
    expect(kiosk.page.locator("body")).not_to_contain_text(LABEL)
    kiosk.page.unroute("**/screen*")
    expect(kiosk.page.locator("body")).to_have_attribute("data-step", "choosing")
    kiosk.errors.clear()

"""The front panel of a simulated machine in a real browser: before the whole system, and each of its buttons alone.

`LOOK=folder` keeps the pictures, for a person to look at.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from served import PATIENCE_MS, WIDTHS, grave_problems

sys.path.append(str(Path(__file__).parents[1] / "system"))

from processes import POINTS, Machine, Site, wait_for

from jishan_sim.demo_stage import MACHINE as MACHINE_ID
from jishan_sim.demo_stage import MachineOnStage, Stage, Web, add_machine, on_stage, until
from jishan_sim.play import MACHINE, started

pytestmark = pytest.mark.external

NAMES = {
    "1": {"zh": "肥皂", "en": "Soap", "points": 1},
    "2": {"zh": "肥皂", "en": "Soap", "points": 1},
    "3": {"zh": "毛巾", "en": "Towel", "points": 8},
}
Opener = Callable[..., Page]


@pytest.fixture
def panel(chromium: Browser) -> Iterator[Opener]:
    """Opens a panel in a window of its own; the test fails by an error in the page, or by a request to another host."""
    contexts, wrong = [], list[str]()

    def open_at(address: str, width: str = "desktop", language: str = "en", search: str = "") -> Page:
        context = chromium.new_context(viewport=WIDTHS[width], locale=language)  # type: ignore[arg-type]
        contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        context.on("request", lambda request: None if request.url.startswith(address) else wrong.append(request.url))
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        # Content that the policy refuses is told here; a request that the machine refuses is what some tests are for.
        page.on("console", lambda message: wrong.append(message.text) if "Security Policy" in message.text else None)
        page.goto(f"{address}/{search}")
        page.locator(".slot").first.wait_for()
        return page

    yield open_at
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture
def alone() -> Iterator[Web]:
    """A machine with a plain host, without server and agent."""
    with started(MACHINE.load({"slots": "1-3"})) as front:
        front.ask("POST", "/names", {"names": NAMES})
        yield front


def photographed(page: Page, name: str) -> None:
    if folder := os.environ.get("LOOK"):
        page.screenshot(path=Path(folder) / f"panel-{name}.png", full_page=True)


def state(front: Web) -> dict[str, Any]:
    found: dict[str, Any] = front.ask("GET", "/state")
    return found


def says(page: Page, words: str) -> None:
    expect(page.locator("#said")).to_contain_text(words, timeout=PATIENCE_MS)


# --- before the whole system ---


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[tuple[Site, Machine]]:
    """Server, broker, agent and machine as processes; the resident of the machine has POINTS."""
    site = Site(tmp_path, "sqlite", "amqtt", "default", selections=3)
    try:
        (one,) = site.open_machines(1)
        one.control("POST", "names", names=NAMES)
        yield site, one
    finally:
        site.close()


def test_an_item_is_redeemed_at_the_panel_and_a_jam_gives_the_points_back(
    machine: tuple[Site, Machine], panel: Opener
) -> None:
    site, one = machine

    def points() -> tuple[int, int]:
        balance = site.api("GET", f"residents/{one.resident_id}/balance", login="coordinator")
        return balance["available_points"], balance["held_points"]

    phone = panel(one.panel, "phone", "zh-CN", f"?card={one.card}")
    says(phone, "请刷卡")
    phone.get_by_role("button", name="刷卡").click()
    says(phone, "请选择商品")
    phone.locator("#keypad").get_by_role("button", name="1", exact=True).click()
    phone.get_by_role("button", name="确定").click()
    expect(phone.locator(".slot.is-turning")).to_have_attribute("data-selection", "1")
    photographed(phone, "phone-zh-turning")
    says(phone, "请取走肥皂")
    expect(phone.locator("#tray-words")).to_contain_text("肥皂")
    expect(phone.get_by_role("button", name="货道 1，肥皂")).to_contain_text("4 件")
    photographed(phone, "phone-zh-dispensed")
    wait_for(lambda: points() == (POINTS - 1, 0), "one point to be taken")

    desk = panel(one.panel, "desktop", "en", f"?card={one.card}")
    wait_for(lambda: one.is_at_rest, "the machine to be ready again")
    desk.get_by_role("button", name="Jam", exact=True).click()
    expect(desk.locator("#in-force")).to_have_text("The next vend: Jam 1")
    desk.get_by_role("button", name="Tap", exact=True).click()
    says(desk, "choose an item")
    desk.locator("#keypad").focus()
    desk.keyboard.type("2")
    desk.keyboard.press("Enter")
    says(desk, "Your 1 points are back")
    expect(desk.get_by_role("button", name="Coil 2, Soap")).to_contain_text("stuck")
    expect(desk.locator("#log")).to_contain_text("outcome=not_dispensed selection=2")
    expect(desk.locator("#log")).to_contain_text("drive drop_sensor=true lift=false selection=2")
    photographed(desk, "desktop-en-jam")
    wait_for(lambda: points() == (POINTS - 1, 0), "the points to be back")
    assert (one.items_gone(1), one.items_gone(2)) == (1, 0)
    site.check()


# --- each button alone ---


@pytest.mark.parametrize("language", ["zh-CN", "en"])
@pytest.mark.parametrize("width", sorted(WIDTHS))
def test_the_panel_can_be_read_by_everybody(alone: Web, panel: Opener, width: str, language: str) -> None:
    page = panel(alone.base, width, language)
    alone.ask("PATCH", "/faults", {"once": [{"selection": 2, "jam": 1}], "line": {"noise": 0.1}, "silent": False})
    alone.ask("POST", "/refill", {"selection": 3, "items": 0})
    for summary in page.locator("summary").all():
        summary.click()
    page.locator("#told").evaluate("told => { told.textContent = 'x' }")
    page.wait_for_timeout(600)  # two looks of the page
    photographed(page, f"{width}-{language}")
    assert grave_problems(page) == []
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0


def test_every_switch_of_the_cabinet_does_what_it_says(alone: Web, panel: Opener) -> None:
    page = panel(alone.base)
    page.get_by_role("button", name="Open", exact=True).click()
    expect(page.locator("#door-is")).to_have_text("open")
    assert state(alone)["door_open"]
    page.get_by_role("button", name="Close", exact=True).click()
    expect(page.locator("#door-is")).to_have_text("closed")
    page.get_by_label("Celsius").fill("-3")
    page.get_by_role("button", name="Set", exact=True).first.click()
    expect(page.locator("#temperature-is")).to_have_text("-3 °C")
    page.get_by_label("Celsius").fill("")
    page.get_by_role("button", name="Set", exact=True).first.click()
    expect(page.locator("#temperature-is")).to_have_text("not readable")
    page.get_by_label("Coil (empty: all)").fill("3")
    page.get_by_label("Items (empty: full)").fill("9")
    page.get_by_role("button", name="Refill").click()
    expect(page.get_by_role("button", name="Coil 3, Towel")).to_contain_text("9 items")
    page.get_by_label("Coil (empty: all)").fill("77")
    page.get_by_role("button", name="Refill").click()
    expect(page.locator("#told")).to_have_text("Refused: selection: there is no slot 77")
    page.get_by_text("The machine's own price").click()
    price = page.locator("form[data-request='POST /price']")
    price.get_by_label("Coil").fill("1")
    price.get_by_label("Points").fill("4")
    price.get_by_role("button").click()
    expect(page.locator("#told")).to_have_text("Done: Set")
    assert state(alone)["slots"][0]["price"] == 4
    page.get_by_role("button", name="Switch off").click()
    expect(page.locator("#said")).to_have_text("No power")
    assert not state(alone)["powered"]
    page.get_by_role("button", name="Switch on").click()
    expect(page.locator("#said")).not_to_have_text("No power")


def test_faults_are_set_for_every_vend_for_one_coil_for_the_next_and_mended(alone: Web, panel: Opener) -> None:
    page = panel(alone.base)
    for summary in page.locator("#faults summary").all():
        summary.click()
    vend, line, machine = (page.locator(f"form[data-faults={name}]") for name in ("vend", "line", "machine"))
    vend.get_by_label("A slow turn").fill("0.5")
    vend.get_by_role("button").click()
    expect(page.locator("#in-force")).to_have_text("A slow turn 0.5")
    vend.get_by_label("A slow turn").fill("0")
    vend.get_by_label("Power cut in the vend").fill("1")
    vend.get_by_label("Cut after the motor's start").fill("-100")
    vend.locator("[data-scope]").select_option("selections")
    vend.get_by_label("Of coil").fill("2")
    vend.get_by_role("button").click()
    expect(page.locator("#in-force")).to_contain_text("Coil 2: Power cut in the vend 1")
    vend.locator("[data-scope]").select_option("once")
    vend.get_by_role("button").click()
    expect(page.locator("#in-force")).to_contain_text("The next vend (Coil 2): Power cut in the vend 1")
    line.get_by_label("Noise").fill("0.25")
    line.get_by_role("button").click()
    expect(page.locator("#in-force")).to_contain_text("Noise 0.25")
    machine.get_by_label("Drop sensor").select_option("blind")
    machine.get_by_label("The line is unplugged").check()
    machine.get_by_role("button").click()
    expect(page.locator("#in-force")).to_contain_text("Drop sensor blind, The line is unplugged true")
    faults = alone.ask("GET", "/faults")
    assert (faults["vend"]["slow"], faults["selections"]["2"]["power_cut_ms"]) == (0.5, -100)
    assert [entry["selection"] for entry in faults["once"]] == [2]
    assert (faults["line"]["noise"], faults["drop_sensor"], faults["unplugged"]) == (0.25, "blind", True)
    vend.get_by_label("Jam").evaluate("input => { input.max = 9; input.value = 7 }")
    vend.get_by_role("button").click()
    expect(page.locator("#told")).to_contain_text("Refused: once.1.jam")
    page.get_by_role("button", name="Mend everything").click()
    expect(page.locator("#in-force")).to_have_text("none")
    assert alone.ask("GET", "/faults")["once"] == []


def test_a_coil_is_a_key_and_what_falls_lies_in_the_tray_until_it_is_taken(alone: Web, panel: Opener) -> None:
    page = panel(alone.base)
    page.get_by_role("button", name="Two items fall").click()
    page.get_by_role("button", name="Coil 1, Soap").click()
    expect(page.locator("#fallen g")).to_have_count(2, timeout=PATIENCE_MS)
    expect(page.locator("#tray-words")).to_have_text("Soap, Soap (2 dropped in all)")
    page.get_by_role("button", name="Take").click()
    expect(page.locator("#fallen g")).to_have_count(0)
    page.reload()
    expect(page.locator("#tray-words")).to_have_text("The tray is empty. (2 dropped in all)")


def test_a_panel_says_when_its_machine_is_gone_and_goes_on_when_it_is_back(alone: Web, panel: Opener) -> None:
    page = panel(alone.base)
    page.route("**/state", lambda route: route.fulfill(status=503, json={"code": "away"}))
    expect(page.locator("#told")).to_contain_text("The machine does not answer")
    page.unroute("**/state")
    expect(page.locator("#told")).to_have_text("")


# --- every way to say who one is ---


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stage, MachineOnStage]]:
    """What `jishan-sim demo` shows; its first resident has 20 points."""
    with on_stage(tmp_path_factory.mktemp("demo"), lambda line: None, separate_broker=False) as stage:
        machine = add_machine(stage, MACHINE_ID, "demo")
        stage.credit(stage.people["residents"][0], 20, "河道清洁", "panel-credit")
        yield stage, machine


@pytest.fixture
def front(demo: tuple[Stage, MachineOnStage], panel: Opener) -> Iterator[Page]:
    """The panel of the demo's machine, ready for the next resident; one item comes out and costs what its coil says."""
    stage, machine = demo
    resident = stage.people["residents"][0]
    until("the machine sells", machine.is_selling, PATIENCE_MS / 500)
    before, dropped = stage.balance(resident)["available_points"], machine.dropped()
    yield panel(machine.front.base, "phone", "zh-CN")
    until("2 points taken", lambda: stage.balance(resident)["available_points"] == before - 2)
    assert (machine.dropped(), stage.balance(resident)["held_points"]) == (dropped + 1, 0)


@pytest.fixture
def phone(demo: tuple[Stage, MachineOnStage], chromium: Browser) -> Iterator[Page]:
    """The resident's own phone, logged in."""
    stage, _ = demo
    resident = stage.people["residents"][0]
    context = chromium.new_context(viewport=WIDTHS["phone"], locale="zh-CN", base_url=stage.where["http"])  # type: ignore[arg-type]
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.goto("/login")
    page.fill("[name=number]", resident["member_number"])
    page.fill("[name=pin]", resident["pin"])
    page.click("main button")
    page.wait_for_url("**/my")
    yield page
    context.close()


def test_a_code_on_the_phone_is_held_to_the_code_reader(front: Page, phone: Page) -> None:
    phone.goto("/my/code")
    digits = phone.locator("#live .big").inner_text().replace(" ", "")
    front.get_by_label("扫到的内容").fill(digits)
    front.get_by_role("button", name="扫码", exact=True).click()
    says(front, "请选择商品")
    front.get_by_role("button", name="货道 1，香皂").click()
    says(front, "请取走香皂")
    photographed(front, "phone-zh-by-code")


def test_a_number_and_a_pin_are_typed_on_the_keypad(front: Page, demo: tuple[Stage, MachineOnStage]) -> None:
    resident = demo[0].people["residents"][0]
    for entered in (resident["member_number"], resident["pin"]):
        front.locator("#keypad").focus()
        front.keyboard.type(entered)
        front.keyboard.press("Enter")
        says(front, "请输入密码" if entered is resident["member_number"] else "请选择商品")
    front.get_by_role("button", name="货道 4，香皂").click()
    says(front, "请取走香皂")


def test_a_phone_scans_the_screen_and_chooses(front: Page, phone: Page) -> None:
    address = front.get_by_role("link", name="用手机扫码选择").get_attribute("href")
    assert address is not None
    phone.goto(address)
    phone.get_by_role("link", name="香皂").first.click()
    photographed(phone, "phone-zh-chooses")
    phone.get_by_role("button", name="确定兑换").click()
    says(front, "请取走香皂")
    expect(phone.get_by_role("heading", name="已出货")).to_be_visible(timeout=PATIENCE_MS)

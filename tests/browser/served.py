"""An office at a real address, and windows in which a person opens its pages."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from axe_playwright_python.sync_playwright import Axe
from office import Office
from playwright.sync_api import Browser, BrowserContext, Page
from waitress.server import create_server

WIDTHS: Final = {"desktop": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}
PATIENCE_MS: Final = 15_000
GRAVE: Final = ("serious", "critical")


class Site:
    """`url` is where the pages are. A window is closed with the site."""

    def __init__(self, office: Office, browser: Browser, url: str) -> None:
        self.office = office
        self.url = url
        self.foreign: list[str] = []
        """Addresses on other hosts that a page asked for: there must be none."""
        self._browser = browser
        self._contexts: list[BrowserContext] = []

    def window(self, width: str = "phone", language: str = "zh-CN") -> Page:
        """A fresh window without cookies: `width` is `phone` or `desktop`."""
        context = self._browser.new_context(
            viewport=WIDTHS[width],  # type: ignore[arg-type]
            locale=language,
            base_url=self.url,
            timezone_id="Asia/Shanghai",
            has_touch=width == "phone",
        )
        context.set_default_timeout(PATIENCE_MS)
        context.on("request", lambda request: self._watch(request.url))
        self._contexts.append(context)
        return context.new_page()

    def resident(self, number: int = 0, width: str = "phone", language: str = "zh-CN") -> Page:
        """A window in which a resident of the demo is logged in."""
        one = self.office.people.residents[number]
        page = self.window(width, language)
        page.goto("/login")
        page.fill("[name=number]", one.member_number)
        page.fill("[name=pin]", one.pin)
        page.click("main button")
        page.wait_for_url("**/my")
        return page

    def staff(self, login: str, width: str = "desktop", language: str = "zh-CN") -> Page:
        """A window in which a member of the demo's staff is logged in."""
        one = next(one for one in self.office.people.staff if one.login == login)
        return self._staff(login, one.password, width, language)

    def _staff(self, login: str, password: str, width: str, language: str) -> Page:
        page = self.window(width, language)
        page.goto("/staff/login")
        page.fill("[name=login]", login)
        page.fill("[name=password]", password)
        page.click("main button")
        page.wait_for_load_state()
        return page

    def secretary(self, width: str = "desktop", language: str = "zh-CN") -> Page:
        """A window of the estate's secretary, who may do whatever is done at a desk."""
        login, password = "chief", "a-long-password"
        role = {"role": "estate_secretary", "organization_id": self.office.people.estate_id}
        body = {"login": login, "name": "陈主任", "password": password, "roles": [role]}
        self.office.ok("POST", "/staff", body, as_="admin")
        return self._staff(login, password, width, language)

    def close(self) -> None:
        for context in self._contexts:
            context.close()

    def _watch(self, address: str) -> None:
        if not address.startswith((self.url, "data:", "blob:", "about:")):
            self.foreign.append(address)


def grave_problems(page: Page) -> list[str]:
    """What axe finds serious or critical on a page, as `rule: element`."""
    found: dict[str, Any] = Axe().run(page).response
    return [
        f"{problem['id']}: {node['target']}"
        for problem in found["violations"]
        if problem["impact"] in GRAVE
        for node in problem["nodes"]
    ]


@contextmanager
def serve(office: Office, browser: Browser) -> Iterator[Site]:
    """The office's app on the production server, at a free port of this host."""
    sockets: dict[int, Any] = {}
    server = create_server(office.client.application, map=sockets, host="127.0.0.1", port=0, threads=8)
    stopping = threading.Event()

    def run() -> None:
        while not stopping.is_set():
            server.asyncore.loop(timeout=0.2, map=sockets, use_poll=True, count=1)
        server.task_dispatcher.shutdown()
        server.asyncore.close_all(sockets)

    thread = threading.Thread(target=run, name="pages")
    thread.start()
    site = Site(office, browser, f"http://127.0.0.1:{server.effective_port}")
    try:
        yield site
        assert site.foreign == []
    finally:
        site.close()
        stopping.set()
        thread.join()

"""Every page in both widths and languages: axe finds nothing serious, nothing is wider than the screen, no other host.

`LOOK=folder` keeps the pictures, for a person to look at.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.sync_api import Page
from served import WIDTHS, Site, grave_problems

pytestmark = pytest.mark.external

ANYBODY = ("/login", "/staff/login", "/nowhere")
RESIDENT = ("/my", "/my/statement")
COORDINATOR = ("/desk",)


@pytest.mark.parametrize("language", ["zh-CN", "en"])
@pytest.mark.parametrize("width", sorted(WIDTHS))
def test_every_page_can_be_read_by_everybody(site: Site, width: str, language: str) -> None:
    site.office.credit(0, 7)
    windows = (
        (site.window(width, language), ANYBODY),
        (site.resident(0, width, language), RESIDENT),
        (site.staff("coordinator", width, language), COORDINATOR),
    )
    problems = [
        f"{address}: {problem}"
        for page, addresses in windows
        for address in addresses
        for problem in looked_at(page, address, f"{width}-{language}")
    ]
    assert problems == []


def looked_at(page: Page, address: str, name: str) -> list[str]:
    """What is wrong with a page; its picture is kept where LOOK names a folder."""
    page.goto(address)
    if folder := os.environ.get("LOOK"):
        file = Path(folder) / f"{address.strip('/').replace('/', '-') or 'home'}-{name}.png"
        page.screenshot(path=file, full_page=True)
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return grave_problems(page) + ([f"{wide} px wider than the screen"] if wide > 0 else [])

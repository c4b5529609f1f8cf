"""Every page in both widths and languages: axe finds nothing serious, nothing is wider than the screen, no other host.

`LOOK=folder` keeps the pictures, for a person to look at.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from desk_day import of_the_desk
from lived_in import OF_EVERYBODY, OF_RESIDENTS, of_the_first_resident, short
from playwright.sync_api import Page
from served import WIDTHS, Site, grave_problems

pytestmark = pytest.mark.external

ANYBODY = ("/login", "/staff/login", "/nowhere")
COORDINATOR = ("/desk",)


@pytest.mark.parametrize("language", ["zh-CN", "en"])
@pytest.mark.parametrize("width", sorted(WIDTHS))
def test_every_page_can_be_read_by_everybody(site: Site, width: str, language: str) -> None:
    site.office.credit(0, 7)
    windows = (
        (site.window(width, language), ANYBODY),
        (site.staff("coordinator", width, language), COORDINATOR),
    )
    problems = [
        f"{address}: {problem}"
        for page, addresses in windows
        for address in addresses
        for problem in looked_at(page, address, f"{width}-{language}")
    ]
    assert problems == []


@pytest.mark.parametrize("language", ["zh-CN", "en"])
@pytest.mark.parametrize("width", sorted(WIDTHS))
def test_every_page_of_a_resident_can_be_read(site: Site, width: str, language: str) -> None:
    addresses = (*OF_EVERYBODY, *OF_RESIDENTS, *of_the_first_resident(site.office))
    page = site.resident(0, width, language)
    assert [one for address in addresses for one in said_of(page, address, f"{width}-{language}")] == []


@pytest.mark.parametrize("language", ["zh-CN", "en"])
@pytest.mark.parametrize("width", sorted(WIDTHS))
def test_every_page_of_the_desk_can_be_read(site: Site, width: str, language: str) -> None:
    addresses = of_the_desk(site.office)
    page = site.secretary(width, language)
    assert [one for address in addresses for one in said_of(page, address, f"{width}-{language}")] == []


def test_every_page_of_a_resident_can_be_read_in_large_type(site: Site) -> None:
    addresses = (*OF_EVERYBODY, *OF_RESIDENTS, *of_the_first_resident(site.office))
    page = site.resident(0)
    page.click("text=大字版")
    assert [one for address in addresses for one in said_of(page, address, "elder")] == []


def said_of(page: Page, address: str, name: str) -> list[str]:
    return [f"{address}: {problem}" for problem in looked_at(page, address, name)]


def looked_at(page: Page, address: str, name: str) -> list[str]:
    """What is wrong with a page; its picture is kept where LOOK names a folder."""
    page.goto(address)
    if folder := os.environ.get("LOOK"):
        file = Path(folder) / f"{short(address) or 'home'}-{name}.png"
        page.screenshot(path=file, full_page=True)
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return grave_problems(page) + ([f"{wide} px wider than the screen"] if wide > 0 else [])

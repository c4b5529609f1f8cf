"""A resident with a phone in front of a real machine: every program a process, the phone a client of the HTTP API."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parent))

from processes import Machine, Refused, Site, ask, wait_for


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A running site with one machine that sells everything for one point."""
    made = Site(tmp_path_factory.mktemp("phones"), "sqlite", "amqtt", "default", selections=3)
    try:
        made.open_machines(1)
        yield made
    finally:
        made.close()


class Phone:
    """A resident's phone, logged in."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.resident = site._people["residents"][0]
        login = {"member_number": self.resident["member_number"], "pin": self.resident["pin"]}
        self._token = ask("POST", f"{site.http}/api/v1/auth/resident-token", login)["token"]

    def ask(self, method: str, path: str, body: object = None) -> Any:
        return ask(method, f"{self.site.http}/api/v1/{path}", body, Authorization=f"Bearer {self._token}")

    def until_over(self, redemption_id: str) -> dict[str, Any]:
        """Ask again and again, as a page does."""

        def over() -> dict[str, Any] | None:
            seen: dict[str, Any] = self.ask("GET", f"me/redemptions/{redemption_id}")
            return seen if seen["is_over"] else None

        return wait_for(over, "the end of the redemption")  # type: ignore[return-value]


@pytest.fixture(scope="module")
def phone(site: Site) -> Phone:
    made = Phone(site)
    credit = {"resident_id": made.resident["id"], "points": 9, "activity": "河道清理", "reason": "志愿活动"}
    recorded = site.api("POST", "credits", credit, "coordinator")
    site.api("POST", f"credits/{recorded['id']}/approve", {"reason": "已核对"}, "approver")
    return made


def points(phone: Phone) -> int:
    found: int = phone.ask("GET", "me/balance")["available_points"]
    return found


def wait_at_rest(site: Site) -> Machine:
    (machine,) = site.machines
    wait_for(lambda: machine.is_at_rest and bool(machine.status()["address"]), "a code on the screen")
    return machine


def test_the_screen_is_scanned_the_item_chosen_on_the_phone_and_it_falls(site: Site, phone: Phone) -> None:
    machine, had = wait_at_rest(site), points(phone)
    address = machine.status()["address"]
    assert address.startswith(f"{site.http}/m/{machine.id}/")
    scan = {"machine_id": machine.id, "screen_code": address.rpartition("/")[2]}
    seen = ask("POST", f"{site.http}/api/v1/machine-claims", scan)
    with pytest.raises(Refused, match="screen_code_used"):
        ask("POST", f"{site.http}/api/v1/machine-claims", scan)
    (slot,) = [one for one in seen["slots"] if one["selection"] == 2]
    choice = {name: slot[name] for name in ("selection", "product_id", "points")}
    choice["planogram_version"] = seen["planogram_version"]
    path = f"me/machine-claims/{seen['claim_id']}"
    assert phone.ask("POST", f"{path}/offer", choice)["state"] == "offered"
    redemption_id = wait_for(lambda: phone.ask("GET", path)["redemption_id"], "the machine to ask for it")
    ended = phone.until_over(redemption_id)
    assert (ended["state"], ended["told_zh"]) == ("captured", "已出货，扣了1分。")
    assert machine.items_gone(2) == 1
    assert points(phone) == had - 1


def test_whoever_taps_a_card_meanwhile_ends_what_the_phone_had(site: Site, phone: Phone) -> None:
    machine, had, gone = wait_at_rest(site), points(phone), wait_at_rest(site).items_gone(2)
    scan = {"machine_id": machine.id, "screen_code": machine.status()["address"].rpartition("/")[2]}
    seen = ask("POST", f"{site.http}/api/v1/machine-claims", scan)
    machine.control("POST", "tap", uid=machine.card)
    wait_for(lambda: machine.status()["state"] == "choosing", "the card to be read")
    choice = {"selection": 2, "product_id": "soap", "points": 1, "planogram_version": seen["planogram_version"]}
    path = f"me/machine-claims/{seen['claim_id']}"
    phone.ask("POST", f"{path}/offer", choice)
    ended = wait_for(lambda: (found := phone.ask("GET", path))["state"] == "ended" and found, "the refusal")
    assert ended["reason"] == "scan_over"
    assert "没有扣分" in ended["told_zh"]
    machine.control("POST", "press", selection=0)
    assert (points(phone), machine.items_gone(2)) == (had, gone)


def test_a_personal_code_is_held_to_the_reader_once(site: Site, phone: Phone) -> None:
    machine, had = wait_at_rest(site), points(phone)
    shown = phone.ask("GET", "me/code")
    assert shown["address"] == f"{site.http}/p/{shown['code']}"
    for is_first in (True, False):
        wait_at_rest(site)
        machine.control("POST", "code", text=shown["code"])
        wait_for(lambda: machine.status()["state"] == "choosing", "the code to be read")
        machine.control("POST", "press", selection=3)
        said = "dispensed" if is_first else "denied:code_used"
        wait_for(lambda said=said: machine.status()["said"]["code"] == said, said)  # type: ignore[misc]
    wait_at_rest(site)
    assert machine.items_gone(3) == 1
    assert points(phone) == had - 1

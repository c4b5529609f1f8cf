"""A browser without its window, for tests of the pages."""

from __future__ import annotations

import re
from typing import Any

from office import Office
from werkzeug.test import TestResponse


class Pages:
    """One browser without its window: it keeps cookies, and sends forms with what the page put into them."""

    def __init__(self, office: Office, language: str = "zh-CN") -> None:
        self.office = office
        self.client = office.client.application.test_client()
        self.headers = {"Accept-Language": language}

    def get(self, address: str, status: int = 200) -> str:
        """The text of a page."""
        answer = self.client.get(address, headers=self.headers)
        assert answer.status_code == status, answer.text
        return answer.text

    def send(self, address: str, page: str | None = None, **fields: Any) -> TestResponse:
        """Send a form of a page (of the address itself, if no other is named) and give what came back."""
        text = self.get(page or address)
        guards = {name: _hidden(text, name) for name in ("csrf_token", "form_id") if f'name="{name}"' in text}
        return self.client.post(address, data=guards | fields, headers=self.headers)

    def log_in(self, resident: int = 0) -> None:
        """As a resident of the demo."""
        one = self.office.people.residents[resident]
        answer = self.send("/login", number=one.member_number, pin=one.pin)
        assert answer.status_code == 303, answer.text

    def log_in_staff(self, login: str) -> None:
        """As a member of the demo's staff."""
        one = next(one for one in self.office.people.staff if one.login == login)
        answer = self.send("/staff/login", login=login, password=one.password)
        assert answer.status_code == 303, answer.text


def _hidden(text: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', text)
    assert found is not None
    return found[1]

"""Limits on what one address may ask."""

from __future__ import annotations

from pathlib import Path

from office import opened


def test_logins_from_one_address_are_limited(sqlite_template: Path, tmp_path: Path) -> None:
    with opened(sqlite_template, tmp_path, logins_per_minute=3) as office:
        for _ in range(3):
            body = {"login": "nobody", "password": "x" * 12}
            office.refused(401, "login_failed", "POST", "/auth/token", body, as_=None)
        answer = office.send("POST", "/auth/token", body, as_=None)
        assert (answer.status_code, answer.get_json()["code"]) == (429, "rate_limited")
        assert int(answer.headers["Retry-After"]) > 0


def test_requests_from_one_address_are_limited(sqlite_template: Path, tmp_path: Path) -> None:
    with opened(sqlite_template, tmp_path, requests_per_minute=5) as office:
        answers = [office.send("GET", "/me", as_=None).status_code for _ in range(7)]
        assert answers == [401] * 5 + [429] * 2

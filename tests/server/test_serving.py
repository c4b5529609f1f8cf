"""The app on its production server: plain on loopback, TLS elsewhere, and a clean end."""

from __future__ import annotations

import dataclasses
import json
import ssl
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))

from office import Office, opened

from jishan_server.app import create_app
from jishan_server.gateway import pki
from jishan_server.serving import served


@pytest.fixture
def office(sqlite_template: Path, tmp_path: Path) -> Iterator[Office]:
    with opened(sqlite_template, tmp_path, logins_per_minute=2) as made:
        yield made


def get(url: str, context: ssl.SSLContext | None = None) -> str:
    with urllib.request.urlopen(url, timeout=10, context=context) as answer:
        text: str = answer.read().decode()
        return text


def test_it_serves_over_loopback(office: Office) -> None:
    config = dataclasses.replace(office.parts.config, http_port=0)
    with served(create_app(office.parts), config) as port:
        assert json.loads(get(f"http://127.0.0.1:{port}/healthz")) == {"status": "ok"}
    with pytest.raises(urllib.error.URLError):
        get(f"http://127.0.0.1:{port}/healthz")


def test_beyond_loopback_it_serves_tls_and_knows_who_asks(office: Office, tmp_path: Path) -> None:
    pki.make(tmp_path / "pki", ["127.0.0.1"], office.now)
    config = dataclasses.replace(office.parts.config, http_port=0, http_host="0.0.0.0")
    assert config.http_tls
    seen: list[tuple[str, str]] = []
    app = create_app(office.parts)

    def watched(environ, start_response):  # type: ignore[no-untyped-def]
        seen.append((environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]))
        return app(environ, start_response)

    trusted = ssl.create_default_context(cafile=str(tmp_path / "pki" / "ca.crt"))
    with served(watched, config) as port:
        url = f"https://127.0.0.1:{port}"
        assert json.loads(get(f"{url}/healthz", trusted)) == {"status": "ok"}
        assert get(f"{url}/api/v1/ca.pem", trusted) == (tmp_path / "pki" / "ca.crt").read_text()
        with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
            get(f"{url}/healthz", ssl.create_default_context())
    assert seen == [("127.0.0.1", "https")] * 2


def test_what_is_being_answered_at_the_end_is_answered(office: Office) -> None:
    entered, go = threading.Event(), threading.Event()

    def slow(environ, start_response):  # type: ignore[no-untyped-def]
        entered.set()
        go.wait(10)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"done"]

    config = dataclasses.replace(office.parts.config, http_port=0)
    answers: list[str] = []
    with served(slow, config) as port:
        asking = threading.Thread(target=lambda: answers.append(get(f"http://127.0.0.1:{port}/")))
        asking.start()
        assert entered.wait(10)
        threading.Timer(0.2, go.set).start()
    asking.join()
    assert answers == ["done"]

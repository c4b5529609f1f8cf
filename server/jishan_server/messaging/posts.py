"""Adapters that post over HTTP: the signed webhook, and the forms of providers of text messages and WeChat templates.

No redirect is followed: a signature and a secret are for the address in the settings and no other.
"""

import http.client
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

from jishan_server.message_forms import Form, fill, is_accepted
from jishan_server.messaging.letters import Report
from jishan_server.messaging.signing import body_of, headers_of
from jishan_server.people.delivery import Outcome
from jishan_server.people.outbox import Letter

PATIENCE_S: Final = 10.0
MAX_ANSWER_BYTES: Final = 64 * 1024
MAX_SECRET_BYTES: Final = 4096

_AGAIN: Final = frozenset({401, 403, 404, 408, 425, 429})
"""Refusals of the 4xx kind that a person at the other end or in the settings puts right, or that pass by themselves."""


class WebhookAdapter:
    """Posts each letter, signed, to one address."""

    def __init__(self, url: str, secret: str) -> None:
        self._url, self._secret = url, secret

    def send(self, letter: Letter, now: datetime) -> Report:
        """Post one letter."""
        body = body_of(letter)
        return _post(self._url, headers_of(letter, self._secret, body, now), body)[0]

    def close(self) -> None:
        """Nothing stays open."""


class FormAdapter:
    """Posts a form for each letter; `secret_path` is read each time."""

    def __init__(self, form: Form, secret_path: Path | None) -> None:
        self._form, self._secret_path = form, secret_path

    def send(self, letter: Letter, now: datetime) -> Report:
        """Post one letter."""
        try:
            secret = "" if self._secret_path is None else _secret_in(self._secret_path)
            filled = fill(
                self._form,
                {
                    "id": letter.id,
                    "kind": letter.kind,
                    "language": letter.language,
                    "secret": secret,
                    "text": letter.text,
                    "to": letter.to,
                },
            )
        except (OSError, ValueError):
            return Report(Outcome.AGAIN, "secret_unreadable", is_down=True)
        report, answer = _post(filled.url, filled.headers, filled.body)
        if report.outcome is Outcome.SENT and not is_accepted(self._form, answer):
            return Report(Outcome.AGAIN, "not_accepted")
        return report

    def close(self) -> None:
        """Nothing stays open."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object, **__: object) -> None:
        return None


_OPENER: Final = urllib.request.build_opener(_NoRedirect)


def _post(url: str, headers: Mapping[str, str], body: bytes) -> tuple[Report, bytes]:
    """POST, and the beginning of the answer."""
    # The settings take no other scheme than http and https.
    request = urllib.request.Request(url, body, dict(headers), method="POST")  # noqa: S310
    try:
        with _OPENER.open(request, timeout=PATIENCE_S) as answer:
            return Report(Outcome.SENT), answer.read(MAX_ANSWER_BYTES)
    except urllib.error.HTTPError as error:
        error.close()
        is_again = error.code >= 500 or error.code in _AGAIN
        return Report(Outcome.AGAIN if is_again else Outcome.REFUSED, f"http_{error.code}"), b""
    except (OSError, http.client.HTTPException):
        return Report(Outcome.AGAIN, "unreachable", is_down=True), b""


def _secret_in(path: Path) -> str:
    with path.open(encoding="ascii") as file:
        return file.read(MAX_SECRET_BYTES).strip()

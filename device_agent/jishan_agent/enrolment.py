"""Enrolment: a one-time claim code becomes this machine's identity.

The claim code carries the fingerprint of the server's own authority. Its certificate is fetched over a connection that
nobody vouches for, compared with the fingerprint, and only then trusted: for the enrolment itself and, kept as
`ca.pem`, for every connection after it. The code's secret is sent only over a connection that is trusted so.
"""

from __future__ import annotations

import dataclasses
import json
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from jishan_agent import config
from jishan_agent.journal import Journal
from jishan_protocol import claim_codes
from jishan_protocol.envelope import seal, unseal
from jishan_protocol.errors import JishanError

TIMEOUT_S: Final = 20
MAX_ANSWER_BYTES: Final = 64 * 1024
GIVEN: Final = (
    "machine_id",
    "shard",
    "key_id",
    "key",
    "card_key",
    "mqtt_url",
    "mqtt_username",
    "mqtt_password",
)
"""What the server's answer must hold."""
MAY_BE_GIVEN: Final = ("site_url",)
"""What an older server does not say."""


class EnrolmentError(JishanError):
    """The server was not reached, is not the one that the code names, or refused."""


def enroll(server: str, typed_code: str, directory: Path, journal: Journal, *, allow_plain_http: bool) -> str:
    """Enrol this journal's machine and write its settings; gives the machine id.

    Enrolling again keeps the journal: what waits in it is signed with the new key.
    Raises EnrolmentError, ConfigError, ProtocolError("bad_claim_code").
    """
    code = claim_codes.read(typed_code)
    config.check_address("server", server, "https", "--allow-plain-http", is_allowed=allow_plain_http)
    former = config.enrolled(directory)
    context, certificate = _trusted(server, code.fingerprint)
    body = {"claim_code": claim_codes.write(code), "journal_id": journal.journal_id}
    answer = _post(f"{server.rstrip('/')}/api/v1/enroll", body, context)
    missing = [name for name in GIVEN if name not in answer]
    if missing:
        raise EnrolmentError(f"the server's answer has no {missing[0]}")
    given: dict[str, Any] = {name: answer[name] for name in GIVEN + MAY_BE_GIVEN if name in answer}
    if former and former["machine_id"] != given["machine_id"]:
        raise EnrolmentError(
            f"{directory} belongs to machine {former['machine_id']}, the code is for {given['machine_id']}: "
            "give that machine a directory of its own"
        )
    if certificate:
        (directory / "ca.pem").write_text(certificate, encoding="ascii")
        given["ca_file"] = str((directory / "ca.pem").absolute())
    if former and former["key"] != given["key"]:
        old, new = bytes.fromhex(former["key"]), bytes.fromhex(given["key"])
        journal.write(lambda: journal.sign_again(_signer(former["key_id"], old, given["key_id"], new)))
    config.write(directory, given)
    return str(given["machine_id"])


def _signer(old_id: int, old: bytes, new_id: int, new: bytes) -> Any:
    def sign(topic: str, payload: bytes) -> bytes:
        envelope = unseal(payload, topic, {old_id: old, new_id: new}).envelope
        return seal(dataclasses.replace(envelope, key_id=new_id), topic, new)

    return sign


def _trusted(server: str, fingerprint: str) -> tuple[ssl.SSLContext | None, str]:
    """What to trust in `server`, and the authority's certificate where the code names one."""
    is_https = urlsplit(server).scheme == "https"
    if fingerprint == claim_codes.NO_AUTHORITY:
        # Without an authority of its own, the server is on this host or has a certificate that the world vouches for.
        return (ssl.create_default_context() if is_https else None), ""
    # Nothing secret goes over this connection, and what comes is compared with the fingerprint.
    nobody = ssl.create_default_context()
    nobody.check_hostname = False
    nobody.verify_mode = ssl.CERT_NONE
    certificate = _get(f"{server.rstrip('/')}/api/v1/ca.pem", nobody if is_https else None)
    try:
        der = ssl.PEM_cert_to_DER_cert(certificate)
    except ValueError as error:
        raise EnrolmentError("the server's /api/v1/ca.pem is no certificate") from error
    if claim_codes.fingerprint_of(der) != fingerprint:
        raise EnrolmentError("this is not the server that the claim code names: its authority has another fingerprint")
    return (ssl.create_default_context(cadata=certificate) if is_https else None), certificate


def _get(url: str, context: ssl.SSLContext | None) -> str:
    return _ask(urllib.request.Request(url), context).decode("ascii", "replace")  # noqa: S310 (https, see _trusted)


def _post(url: str, body: dict[str, str], context: ssl.SSLContext | None) -> dict[str, Any]:
    request = urllib.request.Request(  # noqa: S310 (http or https, see check_address)
        url,
        json.dumps(body).encode(),
        {"Content-Type": "application/json", "Idempotency-Key": f"enroll-{body['journal_id']}"},
    )
    try:
        answer = json.loads(_ask(request, context))
    except ValueError as error:
        raise EnrolmentError("the server's answer is not JSON") from error
    if not isinstance(answer, dict):
        raise EnrolmentError("the server's answer is not an object")
    return answer


def _ask(request: urllib.request.Request, context: ssl.SSLContext | None) -> bytes:
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S, context=context) as answer:  # noqa: S310
            return bytes(answer.read(MAX_ANSWER_BYTES))
    except urllib.error.HTTPError as error:
        with error:
            raise EnrolmentError(f"the server refused: {_reason(error.read(MAX_ANSWER_BYTES), error.code)}") from None
    except (urllib.error.URLError, OSError) as error:
        raise EnrolmentError(f"{request.full_url} was not reached: {getattr(error, 'reason', error)}") from error


def _reason(body: bytes, status: int) -> str:
    """The server's own words, where it has any."""
    try:
        failure = json.loads(body)
        return f"{failure['message_zh']} {failure['message_en']} ({failure['code']})"
    except (ValueError, KeyError, TypeError):
        return f"HTTP {status}"

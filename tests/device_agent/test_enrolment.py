"""Enrolment: only the server that the claim code names is told the code, and its authority is pinned."""

from __future__ import annotations

import datetime
import http.server
import ipaddress
import json
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from jishan_agent import config
from jishan_agent.__main__ import main
from jishan_agent.enrolment import EnrolmentError, enroll
from jishan_agent.journal import OutboxRow, open_journal
from jishan_protocol import claim_codes, topics
from jishan_protocol.envelope import Envelope, Session, seal, unseal

NEVER = datetime.datetime(2100, 1, 1, tzinfo=datetime.UTC)
LONG_AGO = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)
SECRET = "ABCDEFGHIJ"


def authority(directory: Path) -> tuple[Path, Path, x509.Certificate]:
    """A private authority and a certificate of it for 127.0.0.1."""
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("authority", "server")]
    builders = [
        x509.CertificateBuilder()
        .issuer_name(names[0])
        .subject_name(name)
        .public_key(key.public_key())
        .serial_number(place + 1)
        .not_valid_before(LONG_AGO)
        .not_valid_after(NEVER)
        for place, (name, key) in enumerate(zip(names, keys, strict=True))
    ]
    identifier = x509.SubjectKeyIdentifier.from_public_key(keys[0].public_key())
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    top = (
        builders[0]
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(usage, critical=True)
        .sign(keys[0], hashes.SHA256())
    )
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    by_top = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
    leaf = builders[1].add_extension(address, critical=False).add_extension(by_top, critical=False)
    pem = serialization.Encoding.PEM
    private = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (directory / "server.crt").write_bytes(leaf.sign(keys[0], hashes.SHA256()).public_bytes(pem))
    (directory / "server.key").write_bytes(keys[1].private_bytes(pem, *private))
    return directory / "server.crt", directory / "server.key", top


class Registry:
    """A server with the two endpoints of enrolment, over TLS."""

    def __init__(self, directory: Path) -> None:
        certificate, key, top = authority(directory)
        self.top = top
        self.bodies: list[dict[str, str]] = []
        self.status = 201
        self.answer: dict[str, Any] = {
            "machine_id": "m1",
            "shard": 7,
            "key_id": 1,
            "key": "ab" * 32,
            "card_key": "cd" * 32,
            "mqtt_url": "mqtts://127.0.0.1:8883",
            "mqtt_username": "m1",
            "mqtt_password": "pass-word",
        }
        registry = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                pem = registry.top.public_bytes(serialization.Encoding.PEM)
                self.reply(200 if self.path == "/api/v1/ca.pem" else 404, pem)

            def do_POST(self) -> None:
                registry.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.reply(registry.status, json.dumps(registry.answer).encode())

            def reply(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: Any) -> None:
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.http.socket = context.wrap_socket(self.http.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self.http.server_port}"
        self.thread = threading.Thread(target=self.http.serve_forever, daemon=True)
        self.thread.start()

    def code(self) -> str:
        der = self.top.public_bytes(serialization.Encoding.DER)
        return claim_codes.write(claim_codes.ClaimCode(SECRET, claim_codes.fingerprint_of(der)))

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    made = Registry(tmp_path)
    yield made
    made.close()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "agent"
    path.mkdir()
    return path


def enrol(registry: Registry, directory: Path, code: str = "") -> str:
    journal = open_journal(directory, "j1")
    try:
        return enroll(registry.url, code or registry.code(), directory, journal, allow_plain_http=False)
    finally:
        journal.close()


def test_one_command_enrols_and_pins_the_authority(registry: Registry, directory: Path) -> None:
    arguments = ["enroll", "--server", registry.url, "--code", registry.code().lower(), "--dir", str(directory)]
    result = CliRunner().invoke(main, [*arguments, "--dispenser-port", "/dev/ttyUSB0"])
    assert result.exit_code == 0, result.output
    settings = config.load(directory, {})
    assert (settings.machine_id, settings.dispenser_port) == ("m1", "/dev/ttyUSB0")
    assert Path(settings.ca_file).read_bytes() == registry.top.public_bytes(serialization.Encoding.PEM)
    journal = open_journal(directory, "another")
    assert registry.bodies == [{"claim_code": registry.code(), "journal_id": journal.journal_id}]
    journal.close()


def test_a_server_with_another_authority_is_not_told_the_code(registry: Registry, directory: Path) -> None:
    other = claim_codes.write(claim_codes.ClaimCode(SECRET, "B" * 16))
    with pytest.raises(EnrolmentError, match="another fingerprint"):
        enrol(registry, directory, other)
    assert registry.bodies == []
    assert config.enrolled(directory) == {}


def test_a_certificate_that_the_authority_did_not_sign_is_refused(
    registry: Registry, directory: Path, tmp_path: Path
) -> None:
    (tmp_path / "impostor").mkdir()
    impostor = Registry(tmp_path / "impostor")
    # It shows the authority that the code names, but its own certificate is another's.
    impostor.top = registry.top
    with pytest.raises(EnrolmentError, match="not reached"):
        enrol(impostor, directory)
    assert impostor.bodies == []
    impostor.close()


def test_a_mistyped_code_goes_nowhere(registry: Registry, directory: Path) -> None:
    code = registry.code()
    mistyped = code[:-1] + ("A" if code[-1] != "A" else "B")
    arguments = ["enroll", "--server", registry.url, "--code", mistyped, "--dir", str(directory)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert "mistyped" in result.output
    assert registry.bodies == []


def test_a_refusal_is_told_in_the_servers_words(registry: Registry, directory: Path) -> None:
    registry.status = 409
    registry.answer = {"code": "claim_code_used", "message_zh": "注册码已经用过了", "message_en": "used before"}
    with pytest.raises(EnrolmentError, match=r"注册码已经用过了 used before \(claim_code_used\)"):
        enrol(registry, directory)
    assert config.enrolled(directory) == {}


def test_plain_http_beyond_this_host_needs_the_option_that_says_so(directory: Path) -> None:
    arguments = [
        "enroll",
        "--server",
        "http://10.0.0.1:1",
        "--code",
        claim_codes.write(claim_codes.ClaimCode(SECRET, "A" * 16)),
    ]
    result = CliRunner().invoke(main, [*arguments, "--dir", str(directory)])
    assert result.exit_code == 1
    assert "--allow-plain-http" in result.output


def test_enrolling_again_signs_what_waits_with_the_new_key(registry: Registry, directory: Path) -> None:
    enrol(registry, directory)
    topic = topics.up(7, "m1", "outbox")
    envelope = Envelope("a", "fault", {"code": "x"}, "j1", Session(1, 0, "none"), 1, 1)
    payload = seal(envelope, topic, bytes.fromhex("ab" * 32))
    journal = open_journal(directory, "j1")
    journal.write(lambda: journal.append(OutboxRow(1, topic, payload, None)))
    journal.close()
    registry.answer |= {"key_id": 2, "key": "ef" * 32}
    enrol(registry, directory)
    journal = open_journal(directory, "j1")
    signed = unseal(journal.unacked(0, 1)[0].payload, topic, {2: bytes.fromhex("ef" * 32)}).envelope
    journal.close()
    assert (signed.id, signed.body, signed.seq, signed.key_id) == ("a", {"code": "x"}, 1, 2)


def test_a_directory_is_one_machines(registry: Registry, directory: Path) -> None:
    enrol(registry, directory)
    registry.answer |= {"machine_id": "m2"}
    with pytest.raises(EnrolmentError, match="belongs to machine m1"):
        enrol(registry, directory)
    assert config.load(directory, {}).machine_id == "m1"

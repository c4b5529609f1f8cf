"""The server's own certificate authority, so that nobody types a line of openssl.

`make` writes four files: `ca.crt`, `ca.key`, `server.crt` (the server's certificate and the authority's) and
`server.key`. Keys have mode 0600. The authority is made once; the server's certificate is made anew for other names by
running `make` again. A machine knows the authority by the fingerprint in its claim code and pins it.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from jishan_protocol.claim_codes import NO_AUTHORITY, fingerprint_of

AUTHORITY_LIFE: Final = timedelta(days=3650 * 2)
"""Machines pin the authority: it outlives them."""

CERTIFICATE_LIFE: Final = timedelta(days=3650)
"""A private authority has no renewal service: long, and made anew by one command."""

BACKDATED: Final = timedelta(days=1)
"""A machine whose clock is a little behind must be able to connect."""


def make(directory: Path, names: Sequence[str], now: datetime) -> None:
    """Make the authority if there is none, and a server certificate for `names` (host names or addresses)."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (directory / "ca.key").exists():
        _make_authority(directory, now)
    _make_server(directory, names, now)


def authority_fingerprint(directory: Path) -> str:
    """The authority's fingerprint as claim codes carry it; NO_AUTHORITY where there is none."""
    path = directory / "ca.crt"
    if not path.exists():
        return NO_AUTHORITY
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    return fingerprint_of(certificate.public_bytes(serialization.Encoding.DER))


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS for a listener of the server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    return context


def _make_authority(directory: Path, now: datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Jishan private authority")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(is_authority=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write_key(directory / "ca.key", key)
    (directory / "ca.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _make_server(directory: Path, names: Sequence[str], now: datetime) -> None:
    authority_pem = (directory / "ca.crt").read_bytes()
    authority = x509.load_pem_x509_certificate(authority_pem)
    authority_key = serialization.load_pem_private_key((directory / "ca.key").read_bytes(), None)
    assert isinstance(authority_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + CERTIFICATE_LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(_usage(is_authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    _write_key(directory / "server.key", key)
    pem = certificate.public_bytes(serialization.Encoding.PEM) + authority_pem
    (directory / "server.crt").write_bytes(pem)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        encipher_only=False,
        decipher_only=False,
    )


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)

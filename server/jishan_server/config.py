"""Every setting of the server: one frozen dataclass, read once at the start.

Sources, the later one wins: the defaults below, the TOML file that `JISHAN_CONFIG` names (`http_port = 8080`), the
environment (`JISHAN_HTTP_PORT=8080`). A setting that is unknown or wrong stops the start and names itself. There are no
default secrets: `jishan-server init` draws the one secret into `secret.key` in the data directory.

An address that is not loopback is served with TLS only (certificates of `init`, or your own); `allow_plain_http` and
`allow_plain_mqtt` are the settings that say otherwise, for a host behind a TLS proxy.
"""

import ipaddress
import os
import re
import stat
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from jishan_server.message_forms import parse_form
from jishan_server.organizations.roles import Role
from jishan_server.people.delivery import parse_quiet_hours

SECRET_BYTES: Final = 32
MIN_SECRET: Final = 16
"""Signs of a secret that a person makes up; `openssl rand -hex 32` makes a better one."""
PREFIX: Final = "JISHAN_"
OTHERS: Final = ("JISHAN_AGENT_", "JISHAN_SIM_", "JISHAN_CONFIG")
"""Variables of other programs, and the one that names the file."""

Log = Literal["json", "text"]


class ConfigError(Exception):
    """A setting is wrong; the message names it, and never shows a secret."""


@dataclass(frozen=True, slots=True)
class Config:
    """The settings. Durations and counts are whole numbers, units last in the name."""

    data_dir: Path = Path("jishan-data")
    """Database, secret, certificates, lock file and local socket lie here, mode 0700."""
    database_url: str = ""
    """Empty: SQLite in the data directory. Else `postgresql://...`."""

    http_host: str = "127.0.0.1"
    http_port: int = 8080
    http_threads: int = 8
    http_trusted_proxy: str = ""
    """The address of a proxy whose X-Forwarded-For is believed; empty: none."""
    allow_plain_http: bool = False
    public_url: str = ""
    """The address under which people reach this server, as printed codes and posters carry it; empty: this host's."""

    mqtt_url: str = ""
    """Empty: the embedded broker. Else `mqtts://user:password@host:8883` or `mqtt://...`."""
    mqtt_host: str = "127.0.0.1"
    """Where the embedded broker listens."""
    mqtt_port: int = 1883
    allow_plain_mqtt: bool = False
    mqtt_public_url: str = ""
    """What machines are told to connect to; empty: the host they enrolled at, and the broker's port."""

    tls_certificate: str = ""
    """Empty: `pki/server.crt` and `pki/server.key` in the data directory, as `init` made them."""
    tls_key: str = ""

    smtp_url: str = field(default="", repr=False)
    """Empty: no e-mail. Else `smtp://user:password@host:587` (STARTTLS) or `smtps://...:465`."""
    mail_from: str = ""
    """The address that mails come from."""
    mail_name: str = "积善"
    """The name beside it."""
    webhook_url: str = ""
    """Empty: none. Else each message of those who chose it is posted there, signed."""
    webhook_secret: str = field(default="", repr=False)
    sms_form: str = ""
    """Empty: no text messages. Else a TOML file that says what is posted to their provider."""
    sms_secret_file: str = ""
    """What `{secret}` in the form is; read for each message."""
    wechat_form: str = ""
    """The same for WeChat template messages."""
    wechat_secret_file: str = ""
    quiet_hours: str = "21:30-08:00"
    """When nothing leaves but what is urgent, in the scheme's time zone; empty: never quiet."""

    log: Log = "json"
    time_zone: str = "Asia/Shanghai"

    minutes_per_point: int = 60
    credit_expiry: str = "never"
    """`never`, `year_end` (31 December 23:59:59 of the scheme's time zone) or `days:N`."""
    points_without_pin_per_day: int = 20
    """What a card may spend in a day without its PIN."""
    doubt_answer_days: int = 5
    """Working days within which a resident has an answer, when nobody knows whether an item came out."""
    report_answer_days: int = 5
    """Working days within which a resident has an answer to a report about a machine."""
    token_hours: int = 12
    second_factor_roles: str = "county_admin"
    """Roles, with commas between them, that must have a second factor to use the pages; empty: none must."""
    access_log_months: int = 24
    """How long it is kept who looked at whom: six months at least."""
    resident_token_days: int = 30
    """How long a resident stays logged in on their phone."""
    logins_per_minute: int = 20
    """Tries to log in from one address."""
    requests_per_minute: int = 1200
    """All requests of one address."""
    argon2_rounds: int = 2
    argon2_memory_kib: int = 19456
    writer_batch: int = 1000

    secret: bytes = field(default=b"", repr=False)
    """Not a setting of its own: read from `secret.key` by `load`."""

    @property
    def sqlalchemy_url(self) -> str:
        """The database as SQLAlchemy names it."""
        if not self.database_url:
            return f"sqlite:///{self.data_dir.absolute() / 'jishan.db'}"
        return re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", self.database_url)

    @property
    def is_sqlite(self) -> bool:
        """Whether one process must do all the writing."""
        return self.sqlalchemy_url.startswith("sqlite")

    @property
    def secret_path(self) -> Path:
        return self.data_dir / "secret.key"

    @property
    def socket_path(self) -> Path:
        """Where the running process takes operations from command line tools."""
        return self.data_dir / "jishan.sock"

    @property
    def lock_path(self) -> Path:
        """Locked by the one process that writes to SQLite."""
        return self.data_dir / "jishan.lock"

    @property
    def pki_dir(self) -> Path:
        """The certificates of `init`."""
        return self.data_dir / "pki"

    @property
    def certificate_path(self) -> Path:
        return Path(self.tls_certificate) if self.tls_certificate else self.pki_dir / "server.crt"

    @property
    def key_path(self) -> Path:
        return Path(self.tls_key) if self.tls_key else self.pki_dir / "server.key"

    @property
    def http_tls(self) -> bool:
        """Whether HTTP is served over TLS: always, when the address is not loopback and nothing says otherwise."""
        return not is_loopback(self.http_host) and not self.allow_plain_http

    @property
    def site_url(self) -> str:
        """What codes and printed addresses begin with, without a slash at the end."""
        if self.public_url:
            return self.public_url.rstrip("/")
        host = f"[{self.http_host}]" if ":" in self.http_host else self.http_host
        return f"{'https' if self.http_tls else 'http'}://{host}:{self.http_port}"

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels on which messages can leave."""
        known = {
            "email": self.smtp_url,
            "sms": self.sms_form,
            "webhook": self.webhook_url,
            "wechat": self.wechat_form,
        }
        return tuple(channel for channel, setting in known.items() if setting)

    @property
    def mqtt_tls(self) -> bool:
        """Whether the embedded broker takes TLS connections."""
        return not is_loopback(self.mqtt_host) and not self.allow_plain_mqtt


def load(environment: Mapping[str, str] = os.environ, **overrides: object) -> Config:
    """Read the settings and the secret; raises ConfigError. `overrides` are command line options, None = not given."""
    config = settings(environment, **overrides)
    _check(config)
    if not config.secret_path.is_file():
        raise ConfigError(f"data_dir: {config.secret_path} is missing; run `jishan-server init` first")
    if config.secret_path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(f"data_dir: others may read {config.secret_path}; `chmod 600` it")
    try:
        secret = bytes.fromhex(config.secret_path.read_text().strip())
    except ValueError:
        secret = b""
    if len(secret) != SECRET_BYTES:
        raise ConfigError(f"data_dir: {config.secret_path} does not hold {SECRET_BYTES} bytes in hex")
    return replace(config, secret=secret)


def settings(environment: Mapping[str, str] = os.environ, **overrides: object) -> Config:
    """Read the settings as `init` needs them, before there are secret and certificates; raises ConfigError."""
    given: dict[str, object] = {}
    path = environment.get(PREFIX + "CONFIG")
    if path:
        try:
            given |= tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"{PREFIX}CONFIG: {path}: {error}") from error
    for name, text in environment.items():
        if name.startswith(PREFIX) and not name.startswith(OTHERS):
            given[name.removeprefix(PREFIX).lower()] = text
    given |= {name: value for name, value in overrides.items() if value is not None}
    unknown = given.keys() - _READERS.keys()
    if unknown:
        raise ConfigError(f"{min(unknown)}: there is no such setting")
    return Config(**{name: _read(name, value) for name, value in given.items()})


def is_loopback(host: str) -> bool:
    """Whether nobody but this host can reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _read(name: str, value: object) -> Any:
    try:
        return _READERS[name](value)
    except ValueError as error:
        raise ConfigError(f"{name}: {error}") from error


def _number(least: int, most: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        text = str(value)
        if isinstance(value, bool) or re.fullmatch(r"-?[0-9]{1,9}", text, re.ASCII) is None:
            raise ValueError("not a whole number")
        if not least <= int(text) <= most:
            raise ValueError(f"{text} is not from {least} to {most}")
        return int(text)

    return read


def _text(form: str = r"[^\x00-\x1f]*") -> Callable[[object], str]:
    def read(value: object) -> str:
        if not isinstance(value, str) or re.fullmatch(form, value) is None:
            raise ValueError(f"does not fit {form}")
        return value

    return read


def _truth(value: object) -> bool:
    known = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    try:
        return known[str(value).lower()]
    except KeyError:
        raise ValueError("neither true nor false") from None


def _path(value: object) -> Path:
    if not str(value):
        raise ValueError("empty")
    return Path(str(value))


def _zone(value: object) -> str:
    try:
        return ZoneInfo(str(value)).key
    except (OSError, KeyError) as error:
        raise ValueError("no such time zone") from error


def _roles(value: object) -> str:
    if unknown := {one.strip() for one in str(value).split(",")} - {"", *(role.value for role in Role)}:
        raise ValueError(f"{min(unknown)} is no role")
    return str(value)


def _url(*schemes: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        # The value may hold a password and is not repeated.
        if str(value) and urlsplit(str(value)).scheme not in schemes:
            raise ValueError(f"its scheme is none of {', '.join(schemes)}")
        return str(value)

    return read


def _secret(value: object) -> str:
    # The value is not repeated.
    if not isinstance(value, str) or (value and not (MIN_SECRET <= len(value) <= 200 and value.isprintable())):
        raise ValueError(f"not {MIN_SECRET} to 200 visible signs")
    return value


def _quiet_hours(value: object) -> str:
    parse_quiet_hours(str(value))
    return str(value)


_READERS: Final[dict[str, Callable[[object], Any]]] = {
    "data_dir": _path,
    "database_url": _url("sqlite", "postgres", "postgresql", "postgresql+psycopg"),
    "http_host": _text(r"\S+"),
    "http_port": _number(0, 65535),
    "http_threads": _number(1, 200),
    "http_trusted_proxy": _text(r"\S*"),
    "allow_plain_http": _truth,
    "public_url": _url("http", "https"),
    "mqtt_url": _url("mqtt", "mqtts"),
    "mqtt_host": _text(r"\S+"),
    "mqtt_port": _number(0, 65535),
    "allow_plain_mqtt": _truth,
    "mqtt_public_url": _url("mqtt", "mqtts"),
    "tls_certificate": _text(),
    "tls_key": _text(),
    "smtp_url": _url("smtp", "smtps"),
    "mail_from": _text(r"[A-Za-z0-9._+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+|"),
    "mail_name": _text(),
    "webhook_url": _url("http", "https"),
    "webhook_secret": _secret,
    "sms_form": _text(),
    "sms_secret_file": _text(),
    "wechat_form": _text(),
    "wechat_secret_file": _text(),
    "quiet_hours": _quiet_hours,
    "log": _text(r"json|text"),
    "time_zone": _zone,
    "minutes_per_point": _number(1, 1440),
    "credit_expiry": _text(r"never|year_end|days:[1-9][0-9]{0,4}"),
    "points_without_pin_per_day": _number(0, 1_000_000),
    "doubt_answer_days": _number(0, 60),
    "report_answer_days": _number(0, 60),
    "token_hours": _number(1, 24 * 30),
    "second_factor_roles": _roles,
    "access_log_months": _number(6, 1200),
    "resident_token_days": _number(1, 366),
    "logins_per_minute": _number(1, 100_000),
    "requests_per_minute": _number(1, 10_000_000),
    "argon2_rounds": _number(1, 100),
    "argon2_memory_kib": _number(8, 4 * 1024 * 1024),
    "writer_batch": _number(1, 1000),
}


def _check(config: Config) -> None:
    """Rules that take two settings."""
    mqtt = urlsplit(config.mqtt_url)
    if mqtt.scheme == "mqtt" and not is_loopback(mqtt.hostname or "") and not config.allow_plain_mqtt:
        raise ConfigError("mqtt_url: not TLS and not loopback; use mqtts://, or set allow_plain_mqtt")
    for name, is_tls in (("http_host", config.http_tls), ("mqtt_host", config.mqtt_tls)):
        if is_tls and not (config.certificate_path.is_file() and config.key_path.is_file()):
            raise ConfigError(
                f"{name}: {getattr(config, name)} is not loopback and there is no certificate at "
                f"{config.certificate_path}; run `jishan-server init --name NAME`, or set "
                f"allow_plain_{name.removesuffix('_host')}"
            )
    _check_messages(config)
    if bool(config.tls_certificate) != bool(config.tls_key):
        raise ConfigError("tls_key: a certificate and its key go together")


def _check_messages(config: Config) -> None:
    """What messages leave by: whole, and secrets on no open line."""
    if config.smtp_url and not urlsplit(config.smtp_url).hostname:
        raise ConfigError("smtp_url: names no host")
    if config.smtp_url and not config.mail_from:
        raise ConfigError("mail_from: smtp_url needs an address that mails come from")
    _check_sealed("webhook_url", config.webhook_url)
    if config.webhook_url and not config.webhook_secret:
        raise ConfigError("webhook_secret: webhook_url needs one")
    for channel in ("sms", "wechat"):
        path, secret_path = getattr(config, f"{channel}_form"), getattr(config, f"{channel}_secret_file")
        if path:
            try:
                form = parse_form(Path(path).read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise ConfigError(f"{channel}_form: {path}: {error}") from error
            _check_sealed(f"{channel}_form", form.url)
        if secret_path and not Path(secret_path).is_file():
            raise ConfigError(f"{channel}_secret_file: {secret_path} is missing")


def _check_sealed(name: str, url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise ConfigError(f"{name}: not https and not loopback")

"""The settings of one machine: a directory with `agent.toml`, overridden by the environment and the command line.

`agent.toml` is written by `jishan-agent enroll` with mode 0600, because it holds the machine's key; a person may edit
the rest of it. `JISHAN_AGENT_<NAME>` overrides a setting. A setting that is unknown or wrong stops the start and names
itself. `profiles.toml` beside it adds or changes dispenser and reader profiles; `dispenser_profiles` names another file
for the dispenser's.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import json
import os
import re
import stat
import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Literal, TypeVar
from urllib.parse import urlsplit

from jishan_agent.agent import Identity
from jishan_agent.dispensers import DRIVERS, Maker
from jishan_agent.dispensers.base import Dispenser, Memory
from jishan_agent.readers.scanners import SCANNERS, ScannerSettings
from jishan_agent.readers.serial_cards import READERS, ReaderSettings
from jishan_agent.readers.serial_keypad import KEYPAD_BAUD_RATE
from jishan_protocol.cards import ReaderProfile
from jishan_protocol.dispensers.profiles import Profile, ProfileError
from jishan_protocol.errors import JishanError

PREFIX: Final = "JISHAN_AGENT_"
ENROLLED_AS: Final = "agent.toml"
PROFILES: Final = "profiles.toml"
FASTEST_BAUD: Final = 4_000_000  # what the quickest of the usual USB adapters does
KEY_BYTES: Final = 32
KEYBOARDS: Final = "/dev/input/"

T = TypeVar("T")


class ConfigError(JishanError):
    """A setting is missing or wrong; the message names it and never shows a secret."""


@dataclass(frozen=True, slots=True)
class Config:
    """The settings; those without a default come from the enrolment."""

    directory: Path
    machine_id: str
    shard: int
    key_id: int
    key: bytes = field(repr=False)
    card_key: bytes = field(repr=False)
    mqtt_url: str
    mqtt_username: str
    mqtt_password: str = field(repr=False)
    ca_file: str = ""
    """Empty: none was pinned, the server is on loopback."""
    allow_plain_mqtt: bool = False
    """Speak to a broker that is not on this host without TLS."""

    dispenser_protocol: str = "xy"
    """What the dispenser speaks: a name of `jishan_agent.dispensers.DRIVERS`."""
    dispenser_port: str = ""
    """A device, `socket://host:port`, or any other address that pyserial knows."""
    dispenser_baud_rate: int = 0
    """0: the protocol's usual one."""
    dispenser_profile: str = "default"
    """Which firmware it has: a built-in profile of the protocol, or one of an operator's own."""
    dispenser_profiles: str = ""
    """The TOML file of an operator's own profiles. Empty: `profiles.toml` beside `agent.toml`, if it is there."""
    keypad_port: str = ""
    """A keypad of its own, for a dispenser without keys. Empty: there is none."""
    keypad_baud_rate: int = KEYPAD_BAUD_RATE
    card_port: str = ""
    """Empty: no card reader."""
    card_profile: str = "line-hex"
    scanner_port: str = ""
    """A barcode scanner's serial port, or the keyboard that it is, below `/dev/input/`. Empty: there is none."""
    scanner_profile: str = ""
    """Empty: `keys` for a keyboard, else `line`."""
    site_url: str = ""
    """The server's address for phones; with it the screen shows a code to scan. Empty: none."""
    kiosk_address: str = ""
    """Where the machine's own screen is served, `127.0.0.1:8090`; only on this host. Empty: there is none."""
    telephone: str = ""
    """The estate's, for whoever stands there and needs help; the screen always shows it."""
    voice_pack: str = ""
    """Recordings in the estate's own way of speaking, `voices/<pack>/`. Empty: there are none."""
    speech_command: str = "espeak-ng"
    """Speaks what is not recorded. Empty: nothing does."""
    audio_command: str = ""
    """Plays a sound file (`aplay -q`), for a machine without a screen. Empty: the screen's page plays."""
    utc_offset_minutes: int = 480
    """Of the place where the machine stands; the dispenser's clock shows it."""
    log: Literal["json", "text"] = "json"

    @property
    def identity(self) -> Identity:
        """What signs."""
        return Identity(
            self.machine_id,
            self.shard,
            self.key_id,
            {self.key_id: self.key},
            self.card_key,
            self.utc_offset_minutes,
            site_url=self.site_url,
            has_keypad=bool(self.keypad_port or self.kiosk_address),
        )


def load(directory: Path, environment: Mapping[str, str] = os.environ, **overrides: object) -> Config:
    """Read the settings of an enrolled machine; `overrides` are command line options, None = not given.

    Raises ConfigError.
    """
    path = directory / ENROLLED_AS
    if not path.exists():
        raise ConfigError(f"{path} does not exist: enrol this machine first (jishan-agent enroll)")
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(f"others may read {path}, which holds the machine's key; `chmod 600` it")
    given = _read_toml(path)
    for name, text in environment.items():
        if name.startswith(PREFIX) and name.removeprefix(PREFIX).lower() in _READERS:
            given[name.removeprefix(PREFIX).lower()] = text
    given |= {name: value for name, value in overrides.items() if value is not None}
    config = Config(directory, **_checked(given))
    check_address("mqtt_url", config.mqtt_url, "mqtts", "allow_plain_mqtt", is_allowed=config.allow_plain_mqtt)
    return config


def write(directory: Path, enrolled: Mapping[str, object]) -> None:
    """Write the enrolment into `agent.toml`, keeping what a person has set there. Raises ConfigError."""
    path = directory / ENROLLED_AS
    settings = (_read_toml(path) if path.exists() else {}) | dict(enrolled)
    _checked(settings)
    # JSON's strings, numbers and truth values are TOML's too.
    lines = [f"{name} = {json.dumps(value, ensure_ascii=True)}\n" for name, value in settings.items()]
    temporary = path.with_suffix(".new")
    with open(temporary, "w", encoding="utf-8", opener=_private) as file:
        file.writelines(lines)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def enrolled(directory: Path) -> dict[str, Any]:
    """What stands in `agent.toml`; empty before the first enrolment."""
    path = directory / ENROLLED_AS
    return _read_toml(path) if path.exists() else {}


def check_address(name: str, url: str, secure: str, permission: str, *, is_allowed: bool) -> None:
    """Refuse an address that is neither on this host nor TLS, unless the setting `permission` says otherwise."""
    parts = urlsplit(url)
    if parts.scheme != secure and not is_allowed and not is_loopback(parts.hostname or ""):
        raise ConfigError(f"{name}: {url} is neither TLS nor on this host; use {secure}://, or set {permission}")


def is_loopback(host: str) -> bool:
    """Whether nobody but this host can reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def dispenser_profile(config: Config) -> Profile:
    """The dispenser's profile: `[dispenser.NAME]` of the operator's file, else a built-in one. Raises ConfigError."""
    profile: Profile = _of_dispenser(config, lambda maker, own: maker.profile(config.dispenser_profile, own))
    return profile


def dispenser(config: Config, memory: Memory) -> Dispenser:
    """The driver of the dispenser, with its profile. Raises ConfigError."""
    return _of_dispenser(config, lambda maker, own: maker(config.dispenser_profile, memory, own))


def dispenser_baud_rate(config: Config) -> int:
    """The speed of the dispenser's line."""
    return config.dispenser_baud_rate or DRIVERS[config.dispenser_protocol].baud_rate


def _of_dispenser(config: Config, make: Callable[[Maker[Any], dict[str, Any] | None], T]) -> T:
    path, name = config.directory / PROFILES, config.dispenser_profile
    if config.dispenser_profiles:
        path = config.directory / config.dispenser_profiles
        if not path.exists():
            raise ConfigError(f"dispenser_profiles: {path} does not exist")
    own = _profiles(path, "dispenser").get(name)
    try:
        return make(DRIVERS[config.dispenser_protocol], own)
    except ProfileError as error:
        place = "dispenser_profile" if own is None else f"{path}: [dispenser.{name}]"
        raise ConfigError(f"{place}: {error}") from error


def reader_settings(config: Config) -> ReaderSettings:
    """The card reader's settings: `[reader.NAME]` of `profiles.toml`, else a built-in one. Raises ConfigError."""
    name = config.card_profile
    changes = _profiles(config.directory / PROFILES, "reader").get(name)
    base = READERS.get(name)
    if changes is None and base is None:
        raise ConfigError(f"card_profile: there is no {name!r}; there are {', '.join(sorted(READERS))}")
    settings, own = base or ReaderSettings(), dict(changes or {})
    try:
        outer = {one: own.pop(one) for one in ("framing", "baud_rate") if one in own}
        profile: ReaderProfile = dataclasses.replace(settings.profile, **own)
        return dataclasses.replace(settings, profile=profile, **outer)
    except TypeError as error:
        raise ConfigError(f"profiles.toml: [reader.{name}]: {error}") from error


def scanner_settings(config: Config) -> ScannerSettings:
    """The scanner's settings: `[scanner.NAME]` of `profiles.toml`, else a built-in one. Raises ConfigError."""
    name = config.scanner_profile or ("keys" if is_keyboard(config.scanner_port) else "line")
    changes = _profiles(config.directory / PROFILES, "scanner").get(name)
    base = SCANNERS.get(name)
    if changes is None and base is None:
        raise ConfigError(f"scanner_profile: there is no {name!r}; there are {', '.join(sorted(SCANNERS))}")
    try:
        return dataclasses.replace(base or ScannerSettings(), **(changes or {}))
    except TypeError as error:
        raise ConfigError(f"profiles.toml: [scanner.{name}]: {error}") from error


def is_keyboard(port: str) -> bool:
    """Whether a port is a keyboard of Linux, whose keys are read as events."""
    return port.startswith(KEYBOARDS)


def _profiles(path: Path, kind: str) -> Mapping[str, dict[str, Any]]:
    profiles = _read_toml(path).get(kind, {}) if path.exists() else {}
    if not isinstance(profiles, dict) or not all(isinstance(one, dict) for one in profiles.values()):
        raise ConfigError(f"{path}: {kind} is not a table of profiles")
    return profiles


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from error


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _checked(given: Mapping[str, object]) -> dict[str, Any]:
    """Parse each setting; the settings are right when this returns."""
    unknown = given.keys() - _READERS.keys()
    if unknown:
        raise ConfigError(f"{min(unknown)}: there is no such setting")
    required = {one.name for one in fields(Config) if one.default is dataclasses.MISSING} - {"directory"}
    missing = required - given.keys()
    if missing:
        raise ConfigError(f"{min(missing)}: is not set")
    checked = {}
    for name, value in given.items():
        try:
            checked[name] = _READERS[name](value)
        except ValueError as error:
            # The value may be a key and is not repeated.
            raise ConfigError(f"{name}: {error}") from error
    return checked


def _text(form: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        if not isinstance(value, str) or re.fullmatch(form, value) is None:
            raise ValueError(f"does not fit {form}")
        return value

    return read


def _one_of(known: Collection[str]) -> Callable[[object], str]:
    def read(value: object) -> str:
        if value not in known:
            raise ValueError(f"there is no such one; there are {', '.join(sorted(known))}")
        return str(value)

    return read


def _number(least: int, most: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        if isinstance(value, bool) or re.fullmatch(r"-?[0-9]{1,9}", str(value), re.ASCII) is None:
            raise ValueError("not a whole number")
        if not least <= int(str(value)) <= most:
            raise ValueError(f"not from {least} to {most}")
        return int(str(value))

    return read


def _truth(value: object) -> bool:
    try:
        return {"true": True, "1": True, "false": False, "0": False}[str(value).lower()]
    except KeyError:
        raise ValueError("neither true nor false") from None


def _key(value: object) -> bytes:
    if not isinstance(value, str) or re.fullmatch(r"[0-9a-f]{64}", value) is None:
        raise ValueError(f"not {KEY_BYTES} bytes in hex")
    return bytes.fromhex(value)


def _mqtt_url(value: object) -> str:
    try:
        parts = urlsplit(str(value))
        is_right = parts.scheme in ("mqtt", "mqtts") and bool(parts.hostname) and parts.port is not None
    except ValueError:
        is_right = False
    if not is_right:
        raise ValueError("not of the form mqtts://host:port")
    return str(value)


def _kiosk_address(value: object) -> str:
    if value == "":
        return ""
    try:
        parts = urlsplit(f"//{value}")
        is_right = is_loopback(parts.hostname or "") and parts.port is not None and parts.netloc == str(value)
    except ValueError:
        is_right = False
    if not is_right:
        raise ValueError("not of the form 127.0.0.1:8090; the screen is served on this host only")
    return str(value)


_READERS: Final[dict[str, Callable[[object], Any]]] = {
    "machine_id": _text(r"[0-9a-z_-]{1,32}"),
    "shard": _number(0, 99),
    "key_id": _number(0, 1_000_000),
    "key": _key,
    "card_key": _key,
    "mqtt_url": _mqtt_url,
    "mqtt_username": _text(r"[\x21-\x7e]{1,100}"),
    "mqtt_password": _text(r"[\x21-\x7e]{1,200}"),
    "ca_file": _text(r"[^\x00-\x1f]*"),
    "allow_plain_mqtt": _truth,
    "dispenser_protocol": _one_of(DRIVERS),
    "dispenser_port": _text(r"[^\x00-\x1f]*"),
    "dispenser_baud_rate": _number(0, FASTEST_BAUD),
    "dispenser_profile": _text(r"[0-9A-Za-z_+-]{1,40}"),
    "dispenser_profiles": _text(r"[^\x00-\x1f]*"),
    "keypad_port": _text(r"[^\x00-\x1f]*"),
    "keypad_baud_rate": _number(50, FASTEST_BAUD),
    "card_port": _text(r"[^\x00-\x1f]*"),
    "scanner_port": _text(r"[^\x00-\x1f]*"),
    "scanner_profile": _text(r"[0-9A-Za-z_+-]{0,40}"),
    "site_url": _text(r"(?:https?://[\x21-\x7e]{1,200}[^/\s])?"),
    "card_profile": _text(r"[0-9A-Za-z_+-]{1,40}"),
    "kiosk_address": _kiosk_address,
    "telephone": _text(r"[0-9 +()-]{0,40}"),
    "voice_pack": _text(r"[0-9a-z_-]{0,40}"),
    "speech_command": _text(r"[^\x00-\x1f]*"),
    "audio_command": _text(r"[^\x00-\x1f]*"),
    "utc_offset_minutes": _number(-720, 840),
    "log": _text("json|text"),
}

"""Settings: read once, a bad one named, no secret shown, no plain address beyond this host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jishan_agent import config
from jishan_agent.config import ConfigError
from jishan_agent.dispensers.base import Memory

ENROLLED: dict[str, Any] = {
    "machine_id": "m1",
    "shard": 7,
    "key_id": 1,
    "key": "ab" * 32,
    "card_key": "cd" * 32,
    "mqtt_url": "mqtt://127.0.0.1:1883",
    "mqtt_username": "m1",
    "mqtt_password": "pass-word",
}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    config.write(tmp_path, ENROLLED)
    return tmp_path


def test_what_enrolment_wrote_is_read_and_only_by_its_owner(directory: Path) -> None:
    settings = config.load(directory, {})
    assert (settings.machine_id, settings.key, settings.dispenser_profile) == (
        "m1",
        bytes.fromhex("ab" * 32),
        "default",
    )
    path = directory / "agent.toml"
    assert path.stat().st_mode & 0o077 == 0
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        config.load(directory, {})


def test_the_environment_and_then_the_command_line_win(directory: Path) -> None:
    environment = {"JISHAN_AGENT_CARD_PROFILE": "mifare", "JISHAN_AGENT_LOG": "text", "JISHAN_AGENT_STOP_AT": "asked"}
    settings = config.load(directory, environment, card_profile="em4100", card_port=None)
    assert (settings.card_profile, settings.log, settings.card_port) == ("em4100", "text", "")


def test_enrolling_again_keeps_what_a_person_has_set(directory: Path) -> None:
    config.write(directory, config.enrolled(directory) | {"dispenser_port": "/dev/ttyUSB0"})
    config.write(directory, ENROLLED | {"key_id": 2})
    settings = config.load(directory, {})
    assert (settings.dispenser_port, settings.key_id) == ("/dev/ttyUSB0", 2)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("shard", 100),
        ("shard", True),
        ("key", "zz" * 32),
        ("mqtt_url", "http://127.0.0.1:1883"),
        ("mqtt_url", "mqtt://127.0.0.1"),
        ("log", "xml"),
        ("utc_offset_minutes", "noon"),
        ("allow_plain_mqtt", "maybe"),
        ("speed", 9),
    ],
)
def test_a_bad_setting_is_refused_by_its_name_and_not_shown(directory: Path, name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=name) as refused:
        config.load(directory, {}, **{name: value})
    assert "zz" not in str(refused.value)


def test_a_missing_setting_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="card_key"):
        config.write(tmp_path, {name: value for name, value in ENROLLED.items() if name != "card_key"})
    with pytest.raises(ConfigError, match="enrol"):
        config.load(tmp_path, {})


def test_a_broker_elsewhere_needs_tls_or_the_setting_that_says_otherwise(directory: Path) -> None:
    with pytest.raises(ConfigError, match="allow_plain_mqtt"):
        config.load(directory, {}, mqtt_url="mqtt://10.0.0.7:1883")
    with pytest.raises(ConfigError, match="allow_plain_mqtt"):
        config.load(directory, {}, mqtt_url="mqtt://broker.example:1883")
    assert config.load(directory, {}, mqtt_url="mqtts://10.0.0.7:8883").mqtt_url == "mqtts://10.0.0.7:8883"
    assert config.load(directory, {"JISHAN_AGENT_ALLOW_PLAIN_MQTT": "true"}, mqtt_url="mqtt://10.0.0.7:1883")
    assert config.load(directory, {}, mqtt_url="mqtt://[::1]:1883")


def test_secrets_are_not_printed(directory: Path) -> None:
    shown = repr(config.load(directory, {})) + repr(config.load(directory, {}).identity)
    assert "pass-word" not in shown
    assert repr(bytes.fromhex("ab" * 32))[2:-1] not in shown


def test_profiles_are_editable(directory: Path) -> None:
    (directory / "profiles.toml").write_text(
        "[dispenser.ours]\nlongest_vend_ms = 9000\nsales_count_host_vends = true\n"
        '[dispenser.counting]\nlift = true\n[reader.desk]\nform = "decimal10"\nbaud_rate = 19200\n'
    )
    ours = config.dispenser_profile(config.load(directory, {}, dispenser_profile="ours"))
    assert (ours.name, ours.longest_vend_ms, ours.sales_count_host_vends) == ("ours", 9000, True)
    counting = config.dispenser_profile(config.load(directory, {}, dispenser_profile="counting"))
    assert (counting.lift, counting.sales_count_host_vends) == (True, True)
    desk = config.reader_settings(config.load(directory, {}, card_profile="desk"))
    assert (desk.profile.form, desk.baud_rate, desk.framing) == ("decimal10", 19200, "line")


def test_an_unknown_profile_and_an_unknown_entry_are_named(directory: Path) -> None:
    with pytest.raises(ConfigError, match="no 'best'"):
        config.dispenser_profile(config.load(directory, {}, dispenser_profile="best"))
    (directory / "profiles.toml").write_text("[dispenser.ours]\nspeed = 3\n[reader.ours]\nspeed = 3\n")
    with pytest.raises(ConfigError, match="speed"):
        config.dispenser_profile(config.load(directory, {}, dispenser_profile="ours"))
    with pytest.raises(ConfigError, match="speed"):
        config.reader_settings(config.load(directory, {}, card_profile="ours"))


def test_the_dispenser_is_chosen_by_its_protocol(directory: Path) -> None:
    settings = config.load(directory, {}, dispenser_protocol="mdb")
    assert config.dispenser_profile(settings).name == "default"
    assert config.dispenser_baud_rate(settings) == 115_200
    assert config.dispenser_baud_rate(config.load(directory, {}, dispenser_baud_rate="9600")) == 9_600
    assert config.dispenser(config.load(directory, {}), Memory(7)).pack_number == 7
    with pytest.raises(ConfigError, match=r"dispenser_protocol: there is no such one; there are .*mdb.*xy"):
        config.load(directory, {}, dispenser_protocol="fax")


def test_an_operators_own_file_of_profiles_may_lie_elsewhere(directory: Path) -> None:
    with pytest.raises(ConfigError, match=r"dispenser_profiles: .*ours.toml does not exist"):
        config.dispenser_profile(config.load(directory, {}, dispenser_profiles="ours.toml"))
    (directory / "ours.toml").write_text('[dispenser.north]\nlike = "counting"\npoll_interval_ms = 150\n')
    north = config.load(directory, {}, dispenser_profiles="ours.toml", dispenser_profile="north")
    with pytest.raises(ConfigError, match=r"ours.toml: \[dispenser.north\]: poll_interval_ms: 150 is no multiple"):
        config.dispenser_profile(north)
    (directory / "ours.toml").write_text('[dispenser.north]\nlike = "counting"\npoll_interval_ms = 500\n')
    assert config.dispenser_profile(north).name == "north"

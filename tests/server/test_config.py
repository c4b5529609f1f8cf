"""Settings: read once, and a bad one stops the start and names itself."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jishan_server.config import Config, ConfigError, load, settings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data directory with its secret."""
    path = tmp_path / "secret.key"
    path.touch(mode=0o600)
    path.write_text("ab" * 32)
    return tmp_path


def test_defaults_stand_and_the_environment_goes_before_the_file(folder: Path) -> None:
    file = folder / "jishan.toml"
    file.write_text('http_port = 9000\ncredit_expiry = "year_end"\n')
    environment = {
        "JISHAN_DATA_DIR": str(folder),
        "JISHAN_CONFIG": str(file),
        "JISHAN_HTTP_PORT": "9001",
        "JISHAN_AGENT_KEY": "of another program",
        "PATH": "/bin",
    }
    config = load(environment)
    assert (config.http_port, config.credit_expiry, config.minutes_per_point) == (9001, "year_end", 60)
    assert config.secret == bytes.fromhex("ab" * 32)
    assert load(environment, http_port=9002).http_port == 9002


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("http_port", "high"),
        ("http_port", "65536"),
        ("http_port", "-1"),
        ("http_port", "1.5"),
        ("allow_plain_http", "perhaps"),
        ("credit_expiry", "days:0"),
        ("time_zone", "Mars/Phobos"),
        ("time_zone", "../etc/passwd"),
        ("database_url", "mysql://root:hidden@host/x"),
        ("mqtt_url", "http://broker"),
        ("log", "loud"),
        ("data_dir", ""),
        ("minutes_per_point", "0"),
        ("htp_port", "8080"),
        ("smtp_url", "http://user:hidden@host"),
        ("smtp_url", "smtp://"),
        ("mail_from", "a@b.cn\nBcc: c@d.cn"),
        ("webhook_url", "http://user:hidden@host/"),
        ("webhook_secret", "hidden"),
        ("sms_form", "/no/such/file"),
        ("wechat_secret_file", "/no/such/file"),
        ("quiet_hours", "night"),
    ],
)
def test_a_bad_setting_stops_the_start_and_names_itself(folder: Path, name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"^{name}: ") as caught:
        load({"JISHAN_DATA_DIR": str(folder), f"JISHAN_{name.upper()}": value})
    assert "hidden" not in str(caught.value)


def test_a_secret_is_never_made_up(folder: Path) -> None:
    environment = {"JISHAN_DATA_DIR": str(folder)}
    (folder / "secret.key").chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        load(environment)
    (folder / "secret.key").chmod(0o600)
    for wrong in ("", "ab" * 31, "not hex"):
        (folder / "secret.key").write_text(wrong)
        with pytest.raises(ConfigError, match="32 bytes"):
            load(environment)
    (folder / "secret.key").unlink()
    with pytest.raises(ConfigError, match="jishan-server init"):
        load(environment)
    assert settings(environment).secret == b""


@pytest.mark.parametrize("name", ["http", "mqtt"])
def test_an_address_that_is_not_loopback_needs_tls_or_a_setting_that_says_otherwise(folder: Path, name: str) -> None:
    environment = {"JISHAN_DATA_DIR": str(folder), f"JISHAN_{name.upper()}_HOST": "192.0.2.1"}
    with pytest.raises(ConfigError, match=f"^{name}_host: .*allow_plain_{name}"):
        load(environment)
    assert not getattr(load(environment | {f"JISHAN_ALLOW_PLAIN_{name.upper()}": "yes"}), f"{name}_tls")
    (folder / "pki").mkdir()
    for file in ("server.crt", "server.key"):
        (folder / "pki" / file).touch()
    assert getattr(load(environment), f"{name}_tls")
    for host in ("127.0.0.1", "127.0.0.9", "::1", "localhost"):
        assert not getattr(load(environment | {f"JISHAN_{name.upper()}_HOST": host}), f"{name}_tls")


def test_a_plain_broker_that_is_not_loopback_is_refused(folder: Path) -> None:
    environment = {"JISHAN_DATA_DIR": str(folder), "JISHAN_MQTT_URL": "mqtt://user:hidden@broker.example"}
    with pytest.raises(ConfigError, match=r"^mqtt_url: ") as caught:
        load(environment)
    assert "hidden" not in str(caught.value)
    assert load(environment | {"JISHAN_ALLOW_PLAIN_MQTT": "true"}).allow_plain_mqtt
    assert load(environment | {"JISHAN_MQTT_URL": "mqtts://broker.example"}).mqtt_url


def test_settings_do_not_show_the_secret(folder: Path) -> None:
    config = load({"JISHAN_DATA_DIR": str(folder)})
    assert "ab" * 8 not in repr(config)
    assert "171" not in repr(config)


def test_the_database_is_sqlite_unless_postgresql_is_named() -> None:
    assert Config(data_dir=Path("/d")).sqlalchemy_url == "sqlite:////d/jishan.db"
    for given in ("postgres://h/n", "postgresql://h/n", "postgresql+psycopg://h/n"):
        config = Config(database_url=given)
        assert config.sqlalchemy_url == "postgresql+psycopg://h/n"
        assert not config.is_sqlite
    assert os.fspath(Config().data_dir) == "jishan-data"


def test_printed_addresses_begin_with_the_public_url_or_with_this_host() -> None:
    given = settings({"JISHAN_PUBLIC_URL": "https://jishan.example/"})
    assert given.site_url == "https://jishan.example"
    assert settings({"JISHAN_HTTP_PORT": "8081"}).site_url == "http://127.0.0.1:8081"
    assert settings({"JISHAN_HTTP_HOST": "::1"}).site_url == "http://[::1]:8080"
    with pytest.raises(ConfigError, match="public_url"):
        settings({"JISHAN_PUBLIC_URL": "ftp://jishan.example"})


@pytest.mark.parametrize(
    ("settings_", "named"),
    [
        ({"SMTP_URL": "smtps://host"}, "mail_from"),
        ({"WEBHOOK_URL": "https://host/"}, "webhook_secret"),
        ({"WEBHOOK_URL": "http://192.0.2.1/", "WEBHOOK_SECRET": "a secret of some length"}, "webhook_url"),
        ({"SMS_FORM": "form.toml"}, "sms_form"),
    ],
)
def test_a_channel_whose_settings_are_not_whole_stops_the_start(
    folder: Path, settings_: dict[str, str], named: str
) -> None:
    (folder / "form.toml").write_text('url = "http://192.0.2.1/"\n[body]\nto = "{to}"')
    given = {f"JISHAN_{name}": str(folder / value) if "FORM" in name else value for name, value in settings_.items()}
    with pytest.raises(ConfigError, match=f"^{named}: "):
        load({"JISHAN_DATA_DIR": str(folder)} | given)


def test_channels_are_those_that_the_settings_name_and_secrets_are_not_shown(folder: Path) -> None:
    config = load(
        {
            "JISHAN_DATA_DIR": str(folder),
            "JISHAN_SMTP_URL": "smtp://post:hidden@host",
            "JISHAN_MAIL_FROM": "no-reply@jishan.example",
            "JISHAN_WEBHOOK_URL": "https://host/",
            "JISHAN_WEBHOOK_SECRET": "hidden for all time",
        }
    )
    assert config.channels == ("email", "webhook")
    assert "hidden" not in repr(config)
    assert load({"JISHAN_DATA_DIR": str(folder)}).channels == ()

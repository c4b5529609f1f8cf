"""`jishan-server up`: web, gateway, writer and, unless `mqtt_url` names another, the embedded broker, in one process.

A port that is taken gives way to the next free one, and that is said. When all is up, one line of JSON on standard
output says where: `{"ready": true, "http": "http://127.0.0.1:8080", "mqtt": "mqtt://127.0.0.1:1883"}`. SIGTERM and
SIGINT end it: the web answers what it has, the link is closed, the writer commits what is queued, nothing is left
running.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import structlog
from sqlalchemy import Engine

from jishan_server.app import create_app
from jishan_server.assembly import assembled, hashing_of, limits_on, rules_of
from jishan_server.config import Config, ConfigError, is_loopback
from jishan_server.db import make_engine, upgrade, writing
from jishan_server.gateway.access import GATEWAY_USER
from jishan_server.gateway.broker import Broker, Listener, PasswordOf
from jishan_server.gateway.core import Gateway
from jishan_server.gateway.shell import BrokerAddress, Link, external_broker, link_kinds
from jishan_server.messaging.shell import Sender, sending_kinds
from jishan_server.parts import Parts
from jishan_server.serving import served, stop_signals
from jishan_server.vending.keys import Keys
from jishan_server.vending.machines import ensure_identity
from jishan_server.vending.model import broker_key_id
from jishan_server.vending.redemptions import Vending
from jishan_server.volunteering.importing import jobs

PORTS_TRIED: Final = 50
"""How many ports above the wanted one are looked at."""

BROKER_S: Final = 5.0
"""How long the start waits for the broker; without it the web serves all the same, and the link goes on trying."""

log = structlog.get_logger(__name__)


def run(config: Config) -> None:
    """Serve until SIGTERM or SIGINT."""
    stopping = stop_signals()
    with serving(config) as where:
        sys.stdout.write(json.dumps({"ready": True, **where}) + "\n")
        sys.stdout.flush()
        log.info("serving", **where)
        stopping.wait()
        log.info("stopping")


def run_gateway(config: Config) -> None:
    """`jishan-server gateway`: serve the link until SIGTERM or SIGINT, beside other gateways and the web."""
    if not config.mqtt_url:
        raise ConfigError("mqtt_url: a gateway of its own needs a broker of its own")
    stopping = stop_signals()
    gateway = _gateway_of(config)
    with contextlib.ExitStack() as closing:
        parts = closing.enter_context(assembled(config, link_kinds(gateway) | sending_kinds(config)))
        link = Link(gateway, parts, external_broker(config), is_alone=config.is_sqlite)
        closing.callback(link.close)
        _send_messages(parts, closing)
        stopping.wait()


def run_broker(config: Config) -> None:
    """`jishan-server broker`: the embedded broker as a process of its own, until SIGTERM or SIGINT."""
    stopping = stop_signals()
    config = replace(config, mqtt_port=free_port(config.mqtt_host, config.mqtt_port))
    engine = make_engine(config.sqlalchemy_url)
    keys = Keys(config.secret)
    listener = Listener(config.mqtt_host, config.mqtt_port)
    if config.mqtt_tls:
        listener = replace(listener, certificate=config.certificate_path, key=config.key_path)
    broker = Broker((listener,), _password_of(engine, keys))
    sys.stdout.write(json.dumps({"ready": True, "mqtt": _embedded_url(config)}) + "\n")
    sys.stdout.flush()
    try:
        stopping.wait()
    finally:
        broker.close()
        engine.dispose()


def _password_of(engine: Engine, keys: Keys) -> PasswordOf:
    """Whom the broker lets in: the gateway, and machines by the key of their last enrolment."""

    def password_of(user: str) -> str | None:
        if user == GATEWAY_USER:
            return keys.mqtt_password(GATEWAY_USER, 0)
        with engine.connect() as connection:
            key_id = broker_key_id(connection, user)
        return None if key_id is None else keys.mqtt_password(user, key_id)

    return password_of


@contextlib.contextmanager
def serving(config: Config) -> Iterator[dict[str, str]]:
    """Have everything run until the block ends; gives the addresses."""
    config = replace(config, http_port=free_port(config.http_host, config.http_port))
    if not config.mqtt_url:
        config = replace(config, mqtt_port=free_port(config.mqtt_host, config.mqtt_port))
    gateway = _gateway_of(config)
    with contextlib.ExitStack() as closing:
        parts = closing.enter_context(assembled(config, link_kinds(gateway) | sending_kinds(config)))
        upgrade(parts.engine)
        with writing(parts.engine) as connection:
            ensure_identity(connection, secrets.token_hex(16), parts.clock())
        jobs.resume(parts.engine, parts.writer)
        address = external_broker(config) if config.mqtt_url else _embedded_broker(parts, closing)
        link = Link(gateway, parts, address, is_alone=config.is_sqlite)
        closing.callback(link.close)
        _send_messages(parts, closing)
        http_port = closing.enter_context(served(create_app(parts, lambda: link.is_ready), config))
        if not link.wait_until_ready(BROKER_S):
            log.warning("broker_not_there_yet", seconds=BROKER_S)
        yield {
            "http": f"{'https' if config.http_tls else 'http'}://{_reachable(config.http_host)}:{http_port}",
            "mqtt": _without_password(config.mqtt_url) or _embedded_url(config),
        }


def _send_messages(parts: Parts, closing: contextlib.ExitStack) -> None:
    """Have messages leave on the channels that the settings name."""
    if parts.config.channels:
        closing.callback(Sender(parts).close)


def _gateway_of(config: Config) -> Gateway:
    return Gateway(Vending(Keys(config.secret), hashing_of(config), rules_of(config), limits_on))


def free_port(host: str, wanted: int) -> int:
    """The wanted port, or the next free one above it; 0 gives any. Raises OSError if there is none."""
    for port in range(wanted, wanted + PORTS_TRIED) if wanted else [0]:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            found: int = probe.getsockname()[1]
        if wanted and found != wanted:
            log.warning("port_taken", host=host, wanted=wanted, instead=found)
        return found
    raise OSError(f"no free port from {wanted} to {wanted + PORTS_TRIED - 1} on {host}")


def _embedded_broker(parts: Parts, closing: contextlib.ExitStack) -> BrokerAddress:
    """Start the broker; the gateway speaks to it on loopback, machines by the settings' address."""
    config, keys = parts.config, parts.vending.keys
    listeners = [Listener(config.mqtt_host, config.mqtt_port)]
    if config.mqtt_tls:
        outside = Listener(config.mqtt_host, config.mqtt_port, config.certificate_path, config.key_path)
        listeners = [Listener("127.0.0.1", free_port("127.0.0.1", 0)), outside]
    broker = Broker(tuple(listeners), _password_of(parts.engine, keys))
    closing.callback(broker.close)
    return BrokerAddress(
        _reachable(listeners[0].host), listeners[0].port, GATEWAY_USER, keys.mqtt_password(GATEWAY_USER, 0)
    )


def _reachable(host: str) -> str:
    """An address for this host to connect to; one that means every address is reached on loopback."""
    return host if is_loopback(host) or host not in ("0.0.0.0", "::") else "127.0.0.1"


def _embedded_url(config: Config) -> str:
    return f"{'mqtts' if config.mqtt_tls else 'mqtt'}://{_reachable(config.mqtt_host)}:{config.mqtt_port}"


def _without_password(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"

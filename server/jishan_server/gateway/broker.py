"""The embedded broker: amqtt in a thread of its own, for one host.

Fit for that because the link relies on no broker: what it loses is sent again (docs/protocol.md). Larger fleets use
Mosquitto or another broker by `JISHAN_MQTT_URL`. Machines are its users; `gateway/access.py` says who may do what.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from amqtt.broker import Broker as AmqttBroker
from amqtt.contexts import Action, BaseContext, BrokerConfig, ListenerConfig
from amqtt.plugins.base import BaseAuthPlugin, BaseTopicPlugin
from amqtt.session import Session

from jishan_server.gateway.access import GATEWAY_USER, may

START_S: Final = 20
STOP_S: Final = 20
"""Longer than either ever took; a broker that is stuck must not keep the process from ending."""

PasswordOf = Callable[[str], str | None]

# amqtt tells of each connection; what matters of it is in our own log.
logging.getLogger("amqtt").setLevel(logging.ERROR)
logging.getLogger("transitions").setLevel(logging.ERROR)


class MachineAccess(BaseAuthPlugin, BaseTopicPlugin):  # type: ignore[misc]  # amqtt is untyped
    """Lets machines and the gateway in by password, each to its own topics."""

    @dataclass
    class Config:
        """`password_of` gives a user's password, or None for a stranger."""

        password_of: Any = None

    def __init__(self, context: BaseContext) -> None:
        super().__init__(context)
        self._password_of: PasswordOf = self._get_config_option("password_of")

    async def authenticate(self, *, session: Session) -> bool | None:
        is_own_name = session.client_id == session.username or session.username == GATEWAY_USER
        if not session.username or not is_own_name:
            return False
        password = self._password_of(session.username)
        return password is not None and hmac.compare_digest(password.encode(), (session.password or "").encode())

    async def topic_filtering(
        self, *, session: Session | None = None, topic: str | None = None, action: Action | None = None
    ) -> bool | None:
        if session is None or session.username is None or topic is None:
            return False
        if action is Action.RECEIVE:
            # What it may subscribe to it may receive; the subscription was asked about.
            return True
        return may(session.username, topic, action is Action.PUBLISH)


@dataclass(frozen=True, slots=True)
class Listener:
    """Where the broker listens; with certificate and key it takes TLS connections only."""

    host: str
    port: int
    certificate: Path | None = None
    key: Path | None = None


class Broker:
    """The broker's thread. Listens when the constructor returns; raises OSError if it cannot."""

    def __init__(self, listeners: tuple[Listener, ...], password_of: PasswordOf) -> None:
        self._listeners = listeners
        self._password_of = password_of
        self._is_up = threading.Event()
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="broker", daemon=True)
        self._thread.start()
        self._is_up.wait(START_S)
        if self._failure is not None or self._stop is None:
            raise OSError(f"the embedded broker does not start: {self._failure}")

    def close(self) -> None:
        """Stop listening and end the thread."""
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(STOP_S)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:
            self._failure = error
            logging.getLogger("jishan.broker").exception("the embedded broker has ended")
        finally:
            self._is_up.set()

    async def _serve(self) -> None:
        broker = AmqttBroker(_config(self._listeners, self._password_of))
        await broker.start()
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._is_up.set()
        await self._stop.wait()
        await broker.shutdown()


def _config(listeners: tuple[Listener, ...], password_of: PasswordOf) -> BrokerConfig:
    named = {
        "default" if number == 0 else f"listener{number}": ListenerConfig(
            bind=f"{listener.host}:{listener.port}",
            ssl=listener.certificate is not None,
            certfile=listener.certificate,
            keyfile=listener.key,
        )
        for number, listener in enumerate(listeners)
    }
    plugin = f"{MachineAccess.__module__}.{MachineAccess.__qualname__}"
    return BrokerConfig(listeners=named, plugins={plugin: {"password_of": password_of}})

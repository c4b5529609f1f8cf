"""The agent as a real process: a pseudo terminal, a real broker, real signals."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from amqtt.broker import Broker
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from jishan_agent import config

LONGEST_S = 60


def wait_for(holds: Callable[[], Any], what: str) -> Any:
    end = time.monotonic() + LONGEST_S
    while time.monotonic() < end:
        found = holds()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"{what} did not come within {LONGEST_S} s")


class BrokerThread:
    """An embedded broker that can be stopped and started."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.broker: Broker | None = None

    def start(self) -> None:
        settings = {
            "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{self.port}"}},
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        }

        async def begin() -> Broker:
            broker = Broker(settings)
            await broker.start()
            return broker

        self.broker = asyncio.run_coroutine_threadsafe(begin(), self.loop).result(10)

    def stop(self) -> None:
        if self.broker is not None:
            asyncio.run_coroutine_threadsafe(self.broker.shutdown(), self.loop).result(10)
            self.broker = None

    def close(self) -> None:
        self.stop()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()


class Office:
    """The scripted server at the broker."""

    def __init__(self, server: Any, port: int) -> None:
        self.server = server
        self.lock = threading.Lock()
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, "office")
        self.client.reconnect_delay_set(1, 1)
        self.client.on_connect = lambda client, *_: client.subscribe("jishan/v1/s07/+/u/+", 1)
        self.client.on_message = self.on_message
        self.client.connect_async("127.0.0.1", port)
        self.client.loop_start()
        wait_for(self.client.is_connected, "the office")

    def on_message(self, client: Any, userdata: Any, message: Any) -> None:
        with self.lock:
            self.server.now_ms = time.time_ns() // 1_000_000
            self.server.receive(message.topic, bytes(message.payload))
            while self.server.down:
                client.publish(*self.server.down.popleft(), 1)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


class Rig:
    """One machine's processes."""

    def __init__(self, directory: Path, server: Any) -> None:
        self.directory = directory
        self.broker = BrokerThread()
        self.broker.start()
        self.office = Office(server, self.broker.port)
        self.server = server
        self.processes: list[subprocess.Popen[str]] = []
        self.log = (directory / "agent.log").open("a")
        self.sim = self.spawn("jishan_sim", "machine", "--slots", "13-15", stdout=subprocess.PIPE)
        assert self.sim.stdout is not None
        self.ports = json.loads(self.sim.stdout.readline())
        (directory / "profiles.toml").write_text("[dispenser.quick]\nlongest_vend_ms = 8000\n")
        config.write(
            directory,
            {
                "machine_id": "m1",
                "shard": 7,
                "key_id": 1,
                "key": bytes(range(32)).hex(),
                "card_key": bytes(range(32, 64)).hex(),
                "mqtt_url": f"mqtt://127.0.0.1:{self.broker.port}",
                "mqtt_username": "m1",
                "mqtt_password": "secret",
                "dispenser_port": self.ports["dispenser"],
                "dispenser_profile": "quick",
                "card_port": self.ports["card"],
            },
        )

    def spawn(self, module: str, *arguments: str, stop_at: str = "", **options: Any) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        if stop_at:
            environment["JISHAN_AGENT_STOP_AT"] = stop_at
        options = {"stdout": self.log, "stderr": self.log} | options
        process = subprocess.Popen([sys.executable, "-m", module, *arguments], env=environment, text=True, **options)
        self.processes.append(process)
        return process

    def run_agent(self, stop_at: str = "") -> subprocess.Popen[str]:
        return self.spawn("jishan_agent", "run", "--dir", str(self.directory), stop_at=stop_at)

    def status(self) -> dict[str, Any]:
        try:
            return json.loads((self.directory / "status.json").read_text("utf-8"))
        except (OSError, ValueError):
            return {}

    def ready(self) -> None:
        wait_for(lambda: self.status().get("is_selling"), "selling")

    def control(self, path: str, **body: Any) -> Any:
        request = urllib.request.Request(
            f"{self.ports['control']}/{path}",
            json.dumps(body).encode() if body else None,
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def redeem(self) -> None:
        self.control("tap", uid="00745A70")
        wait_for(lambda: self.status().get("state") == "choosing", "a credential")
        self.control("press", selection=13)

    def names(self) -> list[str]:
        with self.office.lock:
            return list(self.server.names())

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
            process.communicate(timeout=30)
        self.office.close()
        self.broker.close()
        self.log.close()


@pytest.fixture
def rig(tmp_path: Path, server: Any) -> Iterator[Rig]:
    made = Rig(tmp_path, server)
    yield made
    made.close()


def test_a_redemption_over_a_pseudo_terminal_and_a_broker(rig: Rig) -> None:
    agent = rig.run_agent()
    rig.ready()
    rig.redeem()
    wait_for(lambda: "Dispensed" in rig.names(), "the outcome")
    wait_for(lambda: rig.status()["outbox_length"] == 0, "the acknowledgement")
    assert rig.control("state")["items_dropped"] == 1
    assert rig.status()["said"]["code"] == "dispensed"
    second = rig.spawn("jishan_agent", "run", "--dir", str(rig.directory), stderr=subprocess.PIPE)
    assert "another process" in second.communicate(timeout=30)[1]
    assert second.returncode == 1
    rig.broker.stop()
    wait_for(lambda: not rig.status()["is_selling"], "the loss of the link")
    rig.broker.start()
    rig.ready()
    agent.send_signal(signal.SIGTERM)
    assert agent.wait(30) == 0
    assert rig.control("state")["late_answers"] == 0


@pytest.mark.parametrize(
    ("step", "ends"),
    [
        ("requested_journaled", ("NotStarted",)),
        ("approved", ("NotStarted",)),
        ("vending_journaled", ("OutcomeUnknown",)),
        ("drive_sent", ("OutcomeUnknown", "Dispensed")),
        ("result_journaled", ("Dispensed",)),
    ],
)
def test_kill_9_at_a_step_loses_and_doubles_nothing(rig: Rig, step: str, ends: tuple[str, ...]) -> None:
    agent = rig.run_agent(stop_at=step)
    rig.ready()
    rig.redeem()
    assert agent.wait(LONGEST_S) == -signal.SIGKILL
    rig.run_agent()
    end = wait_for(lambda: [name for name in rig.names() if name not in ("VendStarted", "Fault")], "the end")
    assert end[-1] in ends
    wait_for(lambda: rig.status().get("outbox_length") == 0, "the acknowledgement")
    dropped = rig.control("state")["items_dropped"]
    assert dropped == (step in ("drive_sent", "result_journaled"))
    names = rig.names()
    assert names.count("Dispensed") <= 1

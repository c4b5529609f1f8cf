"""The whole server in one process, spoken to over real brokers: amqtt inside it, and Mosquitto beside it."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any
from urllib.parse import urlsplit

import pytest
from link_world import MACHINE, PRICE, PRODUCT, SECRET, SELECTION, Box
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from sqlalchemy import select

from jishan_protocol import topics
from jishan_protocol.messages import Ack, Approved, Denied, Desired, Dispensed, Heartbeat, Message, VendStarted
from jishan_protocol.sealing import Credential
from jishan_server import demo_data, up
from jishan_server.assembly import assembled
from jishan_server.config import Config
from jishan_server.db import make_engine, upgrade, writing
from jishan_server.gateway import pki
from jishan_server.gateway.access import GATEWAY_USER, write_mosquitto_files
from jishan_server.ledger import store as ledger
from jishan_server.ledger.model import Cause, Kind, Transfer
from jishan_server.organizations.roles import SYSTEM
from jishan_server.people.credentials import account_of
from jishan_server.vending import machines, tables
from jishan_server.vending.keys import Keys
from jishan_server.vending.redemptions import Vending
from jishan_server.writer import Operation

PATIENCE_S = 20.0


class Site:
    """What a Box needs of its world, on a server that runs by itself."""

    def __init__(self, config: Config) -> None:
        self.numbers = count(1)
        with assembled(config) as parts:
            upgrade(parts.engine)
            with writing(parts.engine) as connection:
                machines.ensure_identity(connection, "ledger-1", self.now)
            self.vending: Vending = parts.vending
            self.people = demo_data.fill(parts.writer.call, parts.hashing)
            account = account_of(self.people.residents[0].id)
            with writing(parts.engine) as connection:
                credit = Transfer("c" * 32, Kind.POST, "sys:issuance:jiangpan", account, 100, Cause("t", "1"), "t", "t")
                ledger.book(connection, [credit], self.now)
            code = machines.hash_of("CLAIM")
            for number, (kind, body) in enumerate(
                (
                    ("create_machine", machines.CreateMachine(SYSTEM, MACHINE, "jiangpan", "门口")),
                    ("create_product", machines.CreateProduct(SYSTEM, PRODUCT, "jiangpan", "肥皂", "Soap")),
                    (
                        "publish_planogram",
                        machines.PublishPlanogram(
                            SYSTEM, MACHINE, 0, (machines.SlotPlan(SELECTION, PRODUCT, PRICE, 50),)
                        ),
                    ),
                    ("count_stock", machines.CountStock(SYSTEM, MACHINE, ((SELECTION, 50),))),
                    ("make_claim_code", machines.MakeClaimCode(SYSTEM, MACHINE, code)),
                )
            ):
                parts.writer.call(Operation(f"site-{number}", kind, body))
            given = parts.writer.call(Operation("site-enroll", "enroll", machines.Enroll(code, "journal-1")))
        key = self.vending.keys.machine_key(MACHINE, 1)
        self.box = Box(self, MACHINE, given["shard"], 1, key, "journal-1")  # type: ignore[arg-type]

    @property
    def now(self) -> datetime:
        return datetime.now(UTC)

    def fresh_id(self, purpose: str = "id") -> str:
        return hashlib.sha256(f"{purpose} {next(self.numbers)}".encode()).hexdigest()[:32]


class Wire:
    """A machine's MQTT connection: what comes down waits in a queue."""

    def __init__(self, url: str, box: Box, password: str, authority: Path | None = None) -> None:
        self.box = box
        self.came: SimpleQueue[tuple[str, bytes]] = SimpleQueue()
        self.granted: SimpleQueue[list[Any]] = SimpleQueue()
        parts = urlsplit(url)
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=box.id)
        self.client.username_pw_set(box.id, password)
        if authority is not None:
            self.client.tls_set(str(authority))
        self.client.on_message = lambda client, userdata, message: self.came.put((message.topic, message.payload))
        self.client.on_connect = lambda client, *_: client.subscribe(topics.machine_filter(box.shard, box.id), 1)
        self.client.on_subscribe = lambda client, userdata, mid, codes, properties: self.granted.put(codes)
        self.client.connect(str(parts.hostname), int(parts.port or 0))
        self.client.loop_start()
        assert self.granted.get(timeout=PATIENCE_S)[0].value == 1

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def publish(self, message: tuple[str, bytes]) -> None:
        self.client.publish(*message, qos=1)

    def wait(self, form: type[Any]) -> Any:
        """The next message of a form; others are passed over."""
        deadline_s = time.monotonic() + PATIENCE_S
        while True:
            (message,) = self.box.read([self.came.get(timeout=max(0.01, deadline_s - time.monotonic()))])
            if isinstance(message, form):
                return message

    def redeem(self, resident: int | Credential = 0) -> None:
        """One whole redemption."""
        box = self.box
        self.publish(box.wish(resident))
        approved = self.wait(Approved)
        self.publish(box.next(VendStarted(approved.redemption_id, approved.approval, SELECTION, PRODUCT, PRICE, None)))
        self.publish(box.next(Dispensed(approved.redemption_id, True, "02")))
        while self.wait(Ack).upto < box.last_seq:
            pass


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def until(holds: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline_s, "it never came"
        time.sleep(0.02)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    cheap = Config(data_dir=tmp_path, secret=SECRET, argon2_rounds=1, argon2_memory_kib=8)
    return replace(cheap, http_port=free_port(), mqtt_port=free_port())


@contextmanager
def running(config: Config) -> Iterator[dict[str, str]]:
    """The server, until its link is up and then until the block ends."""
    with up.serving(config) as where:
        until(lambda: is_ready(where["http"]))
        yield where


def is_ready(http: str) -> bool:
    try:
        with urllib.request.urlopen(f"{http}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@contextmanager
def mosquitto(folder: Path, config: Config) -> Iterator[int]:
    """A real Mosquitto with the files that the server writes for it."""
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        assert os.environ.get("CI") != "true", "mosquitto is missing"
        pytest.skip("mosquitto is not installed")
    port = free_port()
    folder.mkdir()
    # Started as root, Mosquitto becomes `mosquitto` or `nobody`; here it stays who it is.
    user = "user root\n" if os.geteuid() == 0 else ""
    engine = make_engine(config.sqlalchemy_url)
    with engine.connect() as connection:
        write_mosquitto_files(folder, connection, Keys(config.secret))
    engine.dispose()
    (folder / "mosquitto.conf").write_text(
        f"{user}listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {folder}/passwords\n"
        f"acl_file {folder}/acl\nuse_username_as_clientid true\nset_tcp_nodelay true\n"
    )
    process = subprocess.Popen([program, "-c", str(folder / "mosquitto.conf")], stderr=subprocess.DEVNULL)
    try:
        until(lambda: answers(port))
        yield port
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@pytest.fixture(params=["amqtt", "mosquitto"])
def broker(request: pytest.FixtureRequest, config: Config, tmp_path: Path) -> Iterator[tuple[Site, dict[str, str]]]:
    """A running server with one enrolled machine, over each broker."""
    site = Site(config)
    with ExitStack() as closing:
        if request.param == "mosquitto":
            port = closing.enter_context(mosquitto(tmp_path / "mosquitto", config))
            config = replace(config, mqtt_url=f"mqtt://127.0.0.1:{port}")
        yield site, closing.enter_context(running(config))


def test_a_redemption_over_a_real_broker(broker: tuple[Site, dict[str, str]]) -> None:
    site, where = broker
    wire = Wire(where["mqtt"], site.box, site.vending.keys.mqtt_password(MACHINE, 1))
    try:
        site.box.beats += 1
        wire.publish(site.box.sealed("beat", heartbeat(site.box)))
        assert {type(wire.wait(Message)) for _ in range(2)} == {Ack, Desired}
        wire.redeem()
        resident = site.people.residents[0]
        wire.redeem(Credential(member=resident.member_number, pin=resident.pin))
        wire.publish(site.box.wish(Credential(member=resident.member_number, pin="0000")))
        assert wire.wait(Denied).code == "pin_wrong"
    finally:
        wire.close()
    with urllib.request.urlopen(f"{where['http']}/metrics", timeout=5) as answer:
        assert b"jishan_link_ready 1.0" in answer.read()


def heartbeat(box: Box) -> Message:
    return Heartbeat(box.beats, True, "", "idle", "closed", None, 0, box.last_seq, 0, "0", "xy")


def test_a_stranger_and_a_nosy_machine_are_kept_out_by_the_broker(broker: tuple[Site, dict[str, str]]) -> None:
    site, where = broker
    parts = urlsplit(where["mqtt"])
    refused: SimpleQueue[Any] = SimpleQueue()

    def connect(user: str, password: str) -> Any:
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=user, reconnect_on_failure=False)
        client.username_pw_set(user, password)
        client.on_connect = lambda client, userdata, flags, reason, properties: refused.put(reason)
        client.connect(str(parts.hostname), int(parts.port or 0))
        client.loop_start()
        reason = refused.get(timeout=PATIENCE_S)
        return client, reason

    keys = site.vending.keys
    for user, password in (
        (MACHINE, "guess"),
        ("box-9", keys.mqtt_password("box-9", 1)),
        (GATEWAY_USER, "guess"),
    ):
        client, reason = connect(user, password)
        assert reason.is_failure
        client.loop_stop()
    nosy, reason = connect(MACHINE, keys.mqtt_password(MACHINE, 1))
    assert not reason.is_failure
    came: SimpleQueue[Any] = SimpleQueue()
    nosy.on_message = lambda client, userdata, message: came.put(message.topic)
    nosy.subscribe("jishan/v1/+/+/u/+", 1)
    nosy.subscribe("#", 1)
    # What it says as another machine reaches nobody.
    nosy.publish(topics.down(site.box.shard, "box-2", "ack"), b"x", 1).wait_for_publish(5)
    nosy.publish(topics.up(site.box.shard, "box-2", "outbox"), b"x", 1).wait_for_publish(5)
    nosy.publish(topics.up(site.box.shard, MACHINE, "beat"), b"x", 1).wait_for_publish(5)
    with pytest.raises(Empty):
        assert came.get(timeout=1) == "nothing"
    nosy.disconnect()
    nosy.loop_stop()
    with urllib.request.urlopen(f"{where['http']}/metrics", timeout=5) as answer:
        figures = answer.read().decode()
    assert 'jishan_link_refused_total{reason="malformed"} 1.0' in figures
    assert "forged" not in figures


def test_the_link_comes_back_after_the_broker_was_away(config: Config, tmp_path: Path) -> None:
    site = Site(config)
    with mosquitto(tmp_path / "m1", config) as port:
        config = replace(config, mqtt_url=f"mqtt://127.0.0.1:{port}")
        serving = up.serving(config)
        where = serving.__enter__()
        until(lambda: is_ready(where["http"]))
    try:
        until(lambda: not is_ready(where["http"]))
        again = tmp_path / "m1" / "mosquitto.conf"
        process = subprocess.Popen(["/usr/sbin/mosquitto", "-c", str(again)], stderr=subprocess.DEVNULL)
        try:
            until(lambda: is_ready(where["http"]))
            wire = Wire(where["mqtt"], site.box, site.vending.keys.mqtt_password(MACHINE, 1))
            wire.redeem()
            wire.close()
        finally:
            process.terminate()
            process.wait(PATIENCE_S)
    finally:
        serving.__exit__(None, None, None)
    engine = make_engine(config.sqlalchemy_url)
    with engine.connect() as connection:
        assert connection.execute(select(tables.redemptions.c.state)).scalars().all() == ["captured"]
    engine.dispose()


def test_web_and_broker_over_tls_with_the_servers_own_authority(config: Config) -> None:
    config = replace(config, http_host="0.0.0.0", mqtt_host="0.0.0.0")
    pki.make(config.pki_dir, ["127.0.0.1", "localhost"], datetime.now(UTC))
    site = Site(config)
    with up.serving(config) as where:
        assert (urlsplit(where["http"]).scheme, urlsplit(where["mqtt"]).scheme) == ("https", "mqtts")
        authority = config.pki_dir / "ca.crt"
        context = ssl.create_default_context(cafile=str(authority))
        with urllib.request.urlopen(f"{where['http']}/healthz", timeout=5, context=context) as answer:
            assert answer.status == 200
        wire = Wire(where["mqtt"], site.box, site.vending.keys.mqtt_password(MACHINE, 1), authority)
        wire.redeem()
        wire.close()
        # Without TLS nobody is let in.
        with socket.create_connection(("127.0.0.1", int(urlsplit(where["mqtt"]).port or 0)), 5) as plain:
            plain.sendall(b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00")
            with suppress(OSError):
                assert plain.recv(4) != b"\x20\x02\x00\x00"


def test_a_taken_port_gives_way_to_the_next(config: Config) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", config.http_port))
        taken.listen()
        found = up.free_port("127.0.0.1", config.http_port)
    assert config.http_port < found <= config.http_port + up.PORTS_TRIED

"""Thousands of machines in one process: what they say is signed and right, and none is late."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from click.testing import CliRunner

from jishan_protocol import topics
from jishan_protocol.envelope import Envelope, Session, seal, unseal
from jishan_protocol.messages import Ack, Desired, Heartbeat, Reported, decode, encode
from jishan_sim.fleet import HEARTBEAT_S, LATE_S, Fleet, Identity, QuietAgent, Schedule, fleet, from_file, made_up

LONG_S = 30
ONE = Identity("m1", 7, 3, bytes(range(32)), "j" * 32)


def opened(said: tuple[str, bytes]) -> tuple[Envelope, object]:
    topic, payload = said
    envelope = unseal(payload, topic, {ONE.key_id: ONE.key}).envelope
    return envelope, decode(topics.parse(topic).kind, envelope.type, envelope.body)


def down(kind: str, message: Ack | Desired, key: bytes = ONE.key) -> tuple[str, bytes]:
    topic = topics.down(ONE.shard, ONE.id, kind)
    type_name, body = encode(message)
    return topic, seal(Envelope("e" * 32, type_name, body, ONE.journal_id, Session(1, 1, "s"), ONE.key_id), topic, key)


def test_heartbeats_are_signed_and_count_within_their_session() -> None:
    agent = QuietAgent(ONE, Random(1))
    agent.connected()
    first, second = opened(agent.beat()), opened(agent.beat())
    agent.connected()
    third = opened(agent.beat())
    beats = [message for _, message in (first, second, third) if isinstance(message, Heartbeat)]
    assert [one.number for one in beats] == [1, 2, 1]
    assert first[0].session == second[0].session != third[0].session
    assert [one.session.connection for one, _ in (first, third)] == [1, 2]


def test_the_document_that_comes_down_is_reported_until_it_is_acknowledged() -> None:
    agent = QuietAgent(ONE, Random(1))
    agent.connected()
    desired = down("desired", Desired(4, 2, False, 15, (), ()))
    for _ in range(2):
        said = agent.receive(*desired)
        assert said is not None
        envelope, message = opened(said)
        assert (envelope.seq, message) == (1, Reported(4, 2))
    assert agent.receive(*down("ack", Ack(1, (), "s", 0, None))) is None
    assert agent.answers == 3


def test_what_another_has_signed_is_counted_and_not_obeyed() -> None:
    agent = QuietAgent(ONE, Random(1))
    assert agent.receive(*down("desired", Desired(4, 2, False, 15, (), ()), key=bytes(32))) is None
    assert (agent.answers, agent.refused) == (0, 1)


def test_everybody_beats_once_in_each_interval_and_nobody_is_bunched_up() -> None:
    names = [f"m{number}" for number in range(500)]
    schedule = Schedule(names, 100.0, Random(5))
    for interval in range(3):
        taken = [name for step in range(150) for name in schedule.take(100 + HEARTBEAT_S * interval + step / 10)]
        taken += schedule.take(100 + HEARTBEAT_S * (interval + 1) - 0.0001)
        assert sorted(taken) == sorted(names)
    assert schedule.late == 0


def test_a_beat_that_leaves_late_is_counted_and_the_next_keeps_its_time() -> None:
    schedule = Schedule(["m1"], 0.0, Random(5))
    due_s = schedule.next_s
    assert list(schedule.take(due_s + LATE_S + 0.5)) == ["m1"]
    assert schedule.late == 1
    assert schedule.next_s == due_s + HEARTBEAT_S


def test_made_up_machines_are_the_same_for_one_seed_and_all_shards_have_some() -> None:
    fleet = list(made_up(1_000, Random(3)))
    assert fleet == list(made_up(1_000, Random(3)))
    assert len({one.id for one in fleet}) == len({one.key for one in fleet}) == 1_000
    assert {one.shard for one in fleet} == set(range(topics.SHARDS))


def test_identities_are_read_and_a_bad_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "fleet.json"
    one = {"id": "m1", "shard": 7, "key_id": 3, "key": ONE.key.hex(), "journal_id": ONE.journal_id}
    file.write_text(json.dumps([one, one | {"id": "m2"}]))
    assert from_file(file, 1) == [ONE]
    for bad in ("{}", "[{}]", "[", json.dumps([one | {"key": "xyz"}])):
        file.write_text(bad)
        with pytest.raises(ValueError, match=r"fleet\.json"):
            from_file(file, 5)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[int]:
    """The port of a broker that asks for no names."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    settings = tmp_path / "broker.yaml"
    settings.write_text(
        f"listeners:\n  default:\n    type: tcp\n    bind: 127.0.0.1:{port}\n"
        "plugins:\n  amqtt.plugins.authentication.AnonymousAuthPlugin:\n    allow_anonymous: true\n"
    )
    program = [str(Path(sys.executable).parent / "amqtt"), "-c", str(settings)]
    with subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        deadline = time.monotonic() + LONG_S
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield port
        running.kill()


def test_a_fleet_beats_through_a_broker_and_hears_its_answers(broker: int) -> None:
    from paho.mqtt import publish

    random = Random(1)
    known = [ONE, *made_up(150, random)]
    ours, stopping, seen = Fleet(known, random), threading.Event(), {}
    thread = threading.Thread(target=lambda: seen.update(ours.run(f"mqtt://127.0.0.1:{broker}", None, stopping)))
    thread.start()
    deadline = time.monotonic() + LONG_S
    while ours.agents["m1"].answers == 0 or ours.beats < 10:
        assert time.monotonic() < deadline
        publish.single(*down("ack", Ack(0, (), "s", 0, None)), qos=1, hostname="127.0.0.1", port=broker)
        time.sleep(0.1)
    stopping.set()
    thread.join(LONG_S)
    assert seen["machines"] == 151
    assert seen["beats"] >= 10
    assert (seen["late"], seen["disconnects"], seen["refused"]) == (0, 0, 0)


def test_no_broker_is_said_and_no_address_is_refused() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for url in (f"mqtt://127.0.0.1:{port}", "http://127.0.0.1:1"):
        done = CliRunner().invoke(fleet, ["--machines", "1", "--broker", url])
        assert done.exit_code == 1
        assert url in done.output

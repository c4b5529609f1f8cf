"""An estate to measure on: a data directory with residents who have cards and points, and enrolled machines."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine

from benchmarks.programs import free_port, started
from jishan_server.assembly import assembled
from jishan_server.config import load
from jishan_server.db import writing
from jishan_server.demo_data import ESTATE
from jishan_server.ledger.model import Cause, Kind, Transfer
from jishan_server.ledger.store import book
from jishan_server.organizations.roles import SYSTEM
from jishan_server.people.credentials import account_of
from jishan_server.people.residents import BindCard, CreateResident, hashed_card
from jishan_server.vending import machines
from jishan_server.writer import Operation, Outcome

SERVER: Final = (str(Path(sys.executable).with_name("jishan-server")),)
BATCH: Final = 500
PRODUCT: Final = "soap"
POINTS: Final = 1
STOCK: Final = 1_000
"""The most that a slot takes: nothing is sold out in a benchmark."""
SELECTIONS: Final = (11, 12, 13, 14)
RICH: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Site:
    """A prepared data directory, and what the machines of it know."""

    environment: Mapping[str, str]
    machines: list[dict[str, Any]]

    @contextmanager
    def serving(self) -> Iterator[dict[str, Any]]:
        """`jishan-server up` as a process, until the block ends; gives its addresses and process id."""
        with started([*SERVER, "up"], self.environment) as where:
            yield where

    def verify(self) -> None:
        """`jishan-server ledger verify`: a figure counts only if it finds nothing."""
        command = [*SERVER, "ledger", "verify"]
        told = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        assert told.returncode == 0, told.stdout + told.stderr


def prepare(folder: Path, mqtt_port: int | None, machine_count: int, residents_each: int) -> Site:
    """Make and fill `folder`; each machine has residents of its own, so that nobody waits for a redemption of theirs.

    Without a port of a broker the server will have its own, embedded one.
    """
    others = {name: value for name, value in os.environ.items() if not name.startswith("JISHAN_")}
    environment = others | {
        "JISHAN_DATA_DIR": str(folder),
        "JISHAN_HTTP_PORT": str(free_port()),
        "JISHAN_MQTT_PORT": str(free_port()),
        "JISHAN_MQTT_URL": "" if mqtt_port is None else f"mqtt://127.0.0.1:{mqtt_port}",
        "JISHAN_POINTS_WITHOUT_PIN_PER_DAY": str(RICH),
    }
    subprocess.run([*SERVER, "init", "--demo"], env=environment, check=True, capture_output=True)
    with assembled(load(environment)) as parts:
        numbers = count(1)

        def do(kind: str, body: object) -> Future[Outcome]:
            return parts.writer.submit(Operation(f"bench-{next(numbers)}", kind, body))

        residents = machine_count * residents_each
        made = [do("create_resident", CreateResident(SYSTEM, ESTATE, f"居民{number}")) for number in range(residents)]
        ids = [one.result().value["id"] for one in made]
        cards = [f"{number:08X}" for number in range(0x10000000, 0x10000000 + residents)]
        done = [
            do("bind_card", BindCard(SYSTEM, id, *hashed_card(parts.hashing, card)))
            for id, card in zip(ids, cards, strict=True)
        ]
        _give(parts.engine, ids)
        done.append(do("create_product", machines.CreateProduct(SYSTEM, PRODUCT, ESTATE, "肥皂", "Soap")))
        fleet = []
        plan = tuple(machines.SlotPlan(selection, PRODUCT, POINTS, STOCK) for selection in SELECTIONS)
        for number in range(machine_count):
            id, journal_id = f"bench-{number:04d}", f"{number:032x}"
            code = machines.hash_of(id)
            done += [
                do("create_machine", machines.CreateMachine(SYSTEM, id, ESTATE, id)),
                do("publish_planogram", machines.PublishPlanogram(SYSTEM, id, 0, plan)),
                do("count_stock", machines.CountStock(SYSTEM, id, tuple((one, STOCK) for one in SELECTIONS))),
                do("make_claim_code", machines.MakeClaimCode(SYSTEM, id, code)),
            ]
            enrolled = do("enroll", machines.Enroll(code, journal_id)).result().value
            key = parts.vending.keys.machine_key(id, enrolled["key_id"]).hex()
            own = cards[number * residents_each : (number + 1) * residents_each]
            fleet.append(
                {"id": id, "shard": enrolled["shard"], "key_id": enrolled["key_id"], "key": key}
                | {"journal_id": journal_id, "cards": own, "selections": SELECTIONS}
                | {"mqtt_password": parts.vending.keys.mqtt_password(id, enrolled["key_id"])}
            )
        refused = [error for one in done if (error := one.result().error) is not None]
        assert not refused, refused[0]
    return Site(environment, fleet)


def _give(engine: Engine, resident_ids: Sequence[str]) -> None:
    """Points enough for everybody."""
    with writing(engine) as connection:
        for start in range(0, len(resident_ids), BATCH):
            transfers = [
                Transfer(
                    id=f"bench-{id}",
                    kind=Kind.POST,
                    debit=f"sys:issuance:{ESTATE}",
                    credit=account_of(id),
                    points=RICH,
                    cause=Cause("bench", id),
                    actor=SYSTEM,
                    reason="benchmark",
                )
                for id in resident_ids[start : start + BATCH]
            ]
            book(connection, transfers, datetime.now(UTC))

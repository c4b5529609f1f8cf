"""Backups: taken while machines sell, restored into either database, and caught up from the machines' journals."""

from __future__ import annotations

import contextlib
import sys
import tarfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

sys.path.append(str(Path(__file__).parent))
sys.path.append(str(Path(__file__).parents[1] / "server"))

from office import SECRET, Office, opened
from postgresql_server import Postgresql, start_postgresql, stop_postgresql
from processes import missing
from shop import BEAT_MS, UP_MS, Shop
from world import quiet

from jishan_server import backups
from jishan_server.app import create_app
from jishan_server.assembly import assembled
from jishan_server.backups import BackupError
from jishan_server.config import Config
from jishan_server.db import connect_for_writing, make_engine, metadata, upgrade
from jishan_server.gateway.core import Gateway
from jishan_server.ledger.verify import verify
from jishan_server.vending.checks import CHECKS
from jishan_sim.faults import Faults, VendFaults


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    engine = make_engine(f"sqlite:///{path}")
    upgrade(engine)
    engine.dispose()
    return path


@pytest.fixture(scope="module")
def server() -> Iterator[Postgresql]:
    try:
        started = start_postgresql()
    except LookupError as error:
        missing(str(error))
    yield started
    stop_postgresql(started)


@pytest.fixture
def place_on(request: pytest.FixtureRequest) -> Callable[[str], str]:
    """Makes an empty database of a kind."""

    def make(kind: str) -> str:
        if kind == "sqlite":
            return ""
        server: Postgresql = request.getfixturevalue("server")
        name = f"backup_{uuid.uuid4().hex}"
        server.command(f"CREATE DATABASE {name}")
        return server.url(name)

    return make


def restored(file: Path, config: Config, office: Office) -> dict[str, Any]:
    """Restore a backup as the command line does."""
    config.data_dir.mkdir(exist_ok=True)
    engine = make_engine(config.sqlalchemy_url)
    try:
        return backups.restore(file, engine, config, "ledger-2", office.now)
    finally:
        engine.dispose()


def folder_with_secret(path: Path) -> Path:
    """A data directory as `init` leaves it."""
    (path / "pki").mkdir(mode=0o700, parents=True)
    (path / "secret.key").write_text(SECRET.hex() + "\n")
    (path / "pki" / "ca.srl").write_text("a serial\n")
    return path


def config_of(folder: Path, url: str) -> Config:
    return Config(data_dir=folder, secret=SECRET, database_url=url, argon2_rounds=1, argon2_memory_kib=8)


def vend(shop: Shop, times: int) -> None:
    """Redeem so often at the first machine: in turn an item falls for one resident, and none for the other."""
    machine = shop.machines[0]
    for number in range(times):
        resident, selection = number % 2, 13 + number % 2
        machine.set_faults(Faults(vend=VendFaults(no_drop=1.0)) if resident else Faults())
        said = shop.choose(machine, shop.card(resident), selection)
        assert said == ("not_dispensed" if resident else "dispensed")
        if resident:
            machine.cabinet.clear_jams()
            path = f"/machines/{machine.identity.machine_id}/slots/{selection}/state"
            shop.office.ok("PUT", path, {"is_open": True, "reason": "线圈已清理"}, as_="operator")
            shop.run(BEAT_MS)


def rows(office: Office, *names: str) -> dict[str, list[object]]:
    """Every row of these tables, or of all."""
    with office.parts.engine.connect() as connection:
        return {
            table.name: list(connection.execute(select(table).order_by(*table.primary_key)).all())
            for table in metadata.sorted_tables
            if not names or table.name in names
        }


def at(shop: Shop, office: Office) -> None:
    """Let the shop's people and machines go on with another server, at the same hour."""
    shop.connection.close()
    shop.office, shop.parts, shop.vending = office, office.parts, office.parts.vending
    shop.gateway = Gateway(shop.vending)
    shop.connection = connect_for_writing(office.parts.engine)
    office.now = shop.now


@contextlib.contextmanager
def opened_again(config: Config, before: Office) -> Iterator[Office]:
    """An office on a restored database, with the people that `before` knows."""
    offices: list[Office] = []
    with assembled(config, clock=lambda: offices[0].now if offices else before.now) as parts:
        office = Office.__new__(Office)
        office.__dict__.update(before.__dict__)
        office.parts, office.client = parts, create_app(parts).test_client()
        offices.append(office)
        yield office


@pytest.mark.parametrize(
    ("source", "target"), [("sqlite", "sqlite"), ("sqlite", "postgresql"), ("postgresql", "sqlite")]
)
def test_a_restored_server_reaches_the_same_balances_from_the_machines_journals(
    source: str, target: str, template: Path, tmp_path: Path, place_on: Callable[[str], str]
) -> None:
    quiet()
    folder = folder_with_secret(tmp_path / "first")
    settings = {"database_url": place_on(source)} if source == "postgresql" else {}
    if settings:
        engine = make_engine(config_of(folder, settings["database_url"]).sqlalchemy_url)
        upgrade(engine)
        engine.dispose()
    with contextlib.ExitStack() as closing:
        office = closing.enter_context(opened(template, folder, **settings))
        shop = Shop(office)
        closing.callback(shop.close)
        machine = shop.machine()
        office.credit(0, 8)
        file = tmp_path / "nightly.backup"
        backups.back_up(office.parts.engine, office.parts.config, file, shop.now)
        assert file.stat().st_mode & 0o077 == 0
        vend(shop, 10)
        wanted = (shop.balance(0), shop.balance(1))
        dropped = machine.cabinet.items_dropped(13)

        config = config_of(tmp_path / "second", place_on(target))
        office.now = shop.now
        manifest = restored(file, config, office)
        assert (config.data_dir / "secret.key").read_text() == (folder / "secret.key").read_text()
        assert (config.data_dir / "pki" / "ca.srl").exists()
        again = closing.enter_context(opened_again(config, office))
        assert manifest["members"]["tables/transfers.jsonl"]["rows"] == len(rows(again, "transfers")["transfers"])
        at(shop, again)
        closing.callback(shop.connection.close)
        for _ in range(20):
            shop.run(UP_MS)
            assert machine.agent is not None
            # The network of these tests delivers out of order, so that each try brings a few.
            if machine.agent.status.outbox_length == 0:
                break
        assert (shop.balance(0), shop.balance(1)) == wanted
        assert machine.cabinet.items_dropped(13) == dropped
        with again.parts.engine.connect() as connection:
            report = verify(connection, CHECKS)
        assert report.ok, report.first_break
        machine.set_faults(Faults())
        assert shop.choose(machine, shop.card(1), 13) == "dispensed"


def test_a_backup_restored_has_every_row_as_it_was(
    template: Path, tmp_path: Path, place_on: Callable[[str], str]
) -> None:
    folder = folder_with_secret(tmp_path / "first")
    with opened(template, folder) as office:
        office.credit(0, 5)
        backups.back_up(office.parts.engine, office.parts.config, tmp_path / "one", office.now)
        before = rows(office)
        for number, kind in enumerate(("postgresql", "sqlite")):
            config = config_of(tmp_path / f"place{number}", place_on(kind))
            restored(tmp_path / "one", config, office)
            with opened_again(config, office) as again:
                after = rows(again)
            assert after.pop("identity") != before["identity"]
            assert {name: before[name] for name in after} == after


def test_a_damaged_backup_and_a_place_that_is_taken_are_refused(template: Path, tmp_path: Path) -> None:
    folder = folder_with_secret(tmp_path / "first")
    with opened(template, folder) as office:
        engine, config = office.parts.engine, office.parts.config
        good = tmp_path / "good"
        backups.back_up(engine, config, good, office.now)
        with pytest.raises(BackupError, match="exists already"):
            backups.back_up(engine, config, good, office.now)
        with pytest.raises(BackupError, match=r"secret\.key exists already"):
            restored(good, config, office)
        elsewhere = config_of(tmp_path / "second", "")
        elsewhere.data_dir.mkdir()
        with pytest.raises(BackupError, match="not empty"):
            backups.restore(good, engine, elsewhere, "ledger-2", office.now)

    torn = tmp_path / "torn"
    torn.write_bytes(good.read_bytes()[:-200])
    changed = tmp_path / "changed"
    with tarfile.open(good) as old:
        old.extractall(tmp_path / "members", filter="data")
    balances = tmp_path / "members" / "tables" / "balances.jsonl"
    balances.write_text(balances.read_text().replace("5", "6"))
    with tarfile.open(changed, "w:gz") as new:
        for one in sorted((tmp_path / "members").rglob("*")):
            if one.is_file():
                new.add(one, one.relative_to(tmp_path / "members").as_posix())
    (tmp_path / "words").write_text("no backup")
    for path in (torn, changed, tmp_path / "words", tmp_path / "nothing"):
        with pytest.raises(BackupError, match="damaged"):
            restored(path, elsewhere, office)
        assert not (elsewhere.data_dir / "secret.key").exists()

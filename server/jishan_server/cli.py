"""`jishan-server`: what an operator types on the server itself.

Commands that write ask the running process over its local socket, or, when none runs, lock the database for themselves.
With PostgreSQL they have a writer of their own. The web and the gateway are imported by the commands that run them, so
that the others are quick.
"""

import dataclasses
import json
import logging
import os
import secrets
import sys
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import click

from jishan_protocol import claim_codes
from jishan_server import backups, demo_county, demo_data, demo_loading, files_cli, local_socket, logs, print_cli
from jishan_server.assembly import assembled, hashing_of, utc_now
from jishan_server.config import SECRET_BYTES, Config, ConfigError, load, settings
from jishan_server.db import all_tables, make_engine, upgrade, writing
from jishan_server.errors import DomainError
from jishan_server.gateway import pki
from jishan_server.gateway.access import write_mosquitto_files
from jishan_server.instants import iso
from jishan_server.ledger import verify as verifying
from jishan_server.ledger.store import closed_days
from jishan_server.messaging import trying
from jishan_server.organizations.roles import SYSTEM, Role
from jishan_server.organizations.tree import CreateOrganization
from jishan_server.people.residents import BindCard, CreateResident, SetPin, hashed_card, hashed_pin
from jishan_server.people.staff import CreateStaff, Grant, hashed_password
from jishan_server.vending import machines
from jishan_server.vending.checks import CHECKS
from jishan_server.vending.clock import ConfirmDate
from jishan_server.vending.keys import Keys
from jishan_server.writer import Operation

EXIT_REFUSED: Final = 1
EXIT_BROKEN_LEDGER: Final = 3


class _Group(click.Group):
    """Turns what a person can put right into a line on standard error."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            raise click.ClickException(f"setting {error}") from error
        except backups.BackupError as error:
            raise click.ClickException(str(error)) from error
        except local_socket.Busy as error:
            raise click.ClickException(f"{error}; is jishan-server running already?") from error
        except DomainError as error:
            raise click.ClickException(f"{error.text('en')} / {error.text('zh')} [{error.code}]") from error


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where database, secret and certificates lie.")
@click.pass_context
def main(context: click.Context, data_dir: Path | None) -> None:
    """The points ledger of a volunteer scheme and its vending machines."""
    if data_dir is not None:
        os.environ["JISHAN_DATA_DIR"] = str(data_dir)
    # Standard output is for answers; what a one-shot command logs is of interest only when it goes wrong.
    logs.configure("text")
    logging.getLogger().setLevel(logging.WARNING)


@main.command()
@click.option("--name", "names", multiple=True, help="Host name or address for the certificate; may be repeated.")
@click.option("--admin", default="admin", show_default=True, help="Login of the first administrator.")
@click.option("--password", help="The administrator's password; without it one is drawn and shown once.")
@click.option("--root", default="county", show_default=True, help="Id of the region tree's root.")
@click.option("--root-name", default="本县", show_default=True, help="Its name.")
@click.option("--demo", is_flag=True, help="Make the demo's estate, residents and staff instead.")
@click.option("--seed", default=1, show_default=True, help="Seed of the demo data.")
def init(
    names: tuple[str, ...], admin: str, password: str | None, root: str, root_name: str, demo: bool, seed: int
) -> None:
    """Make database, secret, certificates and the first administrator. A second time it only adds what is missing."""
    config = settings()
    config.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    _make_secret(config)
    if names or not config.certificate_path.exists():
        pki.make(config.pki_dir, names or ("localhost", "127.0.0.1", "::1"), utc_now())
    config = load()
    with local_socket.exclusive(config.lock_path):
        all_tables()
        engine = make_engine(config.sqlalchemy_url)
        upgrade(engine)
        with writing(engine) as connection:
            machines.ensure_identity(connection, secrets.token_hex(16), utc_now())
        engine.dispose()
    if demo:
        with assembled(config) as parts:
            filled = demo_data.fill(parts.writer.call, parts.hashing, seed)
        _print(dataclasses.asdict(filled))
        return
    _do(config, "create_organization", CreateOrganization(SYSTEM, None, "county", root_name, root), id=_fixed("root"))
    shown = password or secrets.token_urlsafe(12)
    body = CreateStaff(
        SYSTEM,
        admin,
        admin,
        hashed_password(hashing_of(config), shown, _fixed(admin)),
        (Grant(Role.COUNTY_ADMIN, root),),
    )
    _do(config, "create_staff", body, id=_fixed(admin))
    _print({"data_dir": str(config.data_dir), "login": admin} | ({} if password else {"password": shown}))


@main.command()
def up() -> None:
    """Run web, gateway and broker in one process until SIGTERM."""
    from jishan_server import up as running

    running.run(_serving())


@main.command()
def web() -> None:
    """Run the web application alone: with PostgreSQL, beside gateways in processes of their own."""
    from jishan_server import serving

    serving.run(_serving())


@main.command()
def gateway() -> None:
    """Run the gateway alone: with PostgreSQL, beside web processes."""
    from jishan_server import up as running

    running.run_gateway(_serving())


@main.command()
def broker() -> None:
    """Run the embedded broker alone: beside an `up` or a gateway whose `JISHAN_MQTT_URL` names it."""
    from jishan_server import up as running

    running.run_broker(_serving())


@main.command("create-staff")
@click.argument("login")
@click.option("--name", required=True, help="The person's name.")
@click.option(
    "--role",
    "roles",
    multiple=True,
    required=True,
    metavar="ROLE:NODE",
    help="A role and the id of the node it holds for, as coordinator:jiangpan; may be repeated.",
)
@click.option("--password", help="Without it one is drawn and shown once.")
def create_staff(login: str, name: str, roles: tuple[str, ...], password: str | None) -> None:
    """Make an account for a member of staff."""
    config = load()
    id = secrets.token_hex(16)
    shown = password or secrets.token_urlsafe(12)
    grants = tuple(_grant(text) for text in roles)
    body = CreateStaff(SYSTEM, login, name, hashed_password(hashing_of(config), shown, id), grants)
    made = _do(config, "create_staff", body, id=id)
    _print(made | ({} if password else {"password": shown}))


@main.command("create-estate")
@click.argument("estate_id")
@click.option("--name", required=True)
@click.option("--parent", required=True, help="Id of the node above it.")
@click.option("--level", default="estate", show_default=True, help="`estate`, or the name of a level above.")
def create_estate(estate_id: str, name: str, parent: str, level: str) -> None:
    """Make an estate or another node of the region tree."""
    _print(_do(load(), "create_organization", CreateOrganization(SYSTEM, parent, level, name, estate_id)))


@main.command("create-resident")
@click.option("--estate", required=True, help="The estate's id.")
@click.option("--name", required=True)
@click.option("--phone")
@click.option("--card", help="UID in hex, most significant byte first.")
@click.option("--pin", is_flag=True, help="Ask for the resident's PIN.")
def create_resident(estate: str, name: str, phone: str | None, card: str | None, pin: bool) -> None:
    """Register a resident, with a card and a PIN if given."""
    config = load()
    hashing = hashing_of(config)
    typed = click.prompt("PIN", hide_input=True, confirmation_prompt=True) if pin else None
    bound = hashed_card(hashing, card) if card else None
    made = _do(config, "create_resident", CreateResident(SYSTEM, estate, name, phone))
    if bound is not None:
        _do(config, "bind_card", BindCard(SYSTEM, made["id"], *bound))
    if typed is not None:
        id = secrets.token_hex(16)
        _do(config, "set_pin", SetPin(SYSTEM, made["id"], hashed_pin(hashing, typed, id)), id=id)
    _print(made)


@main.command("enroll-machine")
@click.argument("machine_id")
@click.option("--estate", help="The estate it stands in; makes the machine if it is new.")
@click.option("--name", help="What people call it.")
def enroll_machine(machine_id: str, estate: str | None, name: str | None) -> None:
    """Make a claim code by which a machine enrols, once, within a day."""
    config = load()
    if estate is not None:
        try:
            _do(config, "create_machine", machines.CreateMachine(SYSTEM, machine_id, estate, name or machine_id))
        except DomainError as error:
            if error.code != "machine_exists":
                raise
    secret = claim_codes.secret_of(secrets.token_bytes(claim_codes.SECRET_BYTES))
    made = _do(config, "make_claim_code", machines.MakeClaimCode(SYSTEM, machine_id, machines.hash_of(secret)))
    code = claim_codes.ClaimCode(secret, pki.authority_fingerprint(config.pki_dir))
    _print(made | {"claim_code": claim_codes.write(code)})


@main.command("mosquitto-files")
@click.argument("directory", type=click.Path(path_type=Path))
def mosquitto_files(directory: Path) -> None:
    """Write Mosquitto's `passwords` and `acl`; again after each enrolment, then let Mosquitto reload."""
    config = load()
    all_tables()
    engine = make_engine(config.sqlalchemy_url)
    with engine.connect() as connection:
        write_mosquitto_files(directory, connection, Keys(config.secret))
    engine.dispose()
    _print({"passwords": str(directory / "passwords"), "acl": str(directory / "acl")})


@main.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def backup(file: Path) -> None:
    """Write everything that this server is into FILE, while it runs: the database, the secret, the certificates."""
    config = load()
    all_tables()
    engine = make_engine(config.sqlalchemy_url)
    manifest = backups.back_up(engine, config, file.absolute(), utc_now())
    engine.dispose()
    _print({"file": str(file), "bytes": file.stat().st_size, "rows": _rows(manifest)})


@main.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
def restore(file: Path) -> None:
    """Make this server from a backup: the database must be empty, the data directory without a secret.

    Prove the ledger, and exit with 3 if it is broken. Machines catch up before they are given approvals.
    """
    config = settings()
    config.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    all_tables()
    with local_socket.exclusive(config.lock_path):
        engine = make_engine(config.sqlalchemy_url)
        fresh = secrets.token_hex(16)
        manifest = backups.restore(file, engine, config, fresh, utc_now())
        with engine.connect() as connection:
            report = verifying.verify(connection, CHECKS)
        engine.dispose()
    shown = {"made_at": manifest["made_at"], "rows": _rows(manifest), "ledger_id": fresh, "ledger_ok": report.ok}
    _print(shown | ({} if report.ok else {"first_break": dataclasses.asdict(report)["first_break"]}))
    if not report.ok:
        sys.exit(EXIT_BROKEN_LEDGER)


@main.command()
def restored() -> None:
    """Say that the database was restored from a backup: machines catch up before they are given approvals."""
    config = load()
    all_tables()
    with local_socket.exclusive(config.lock_path):
        engine = make_engine(config.sqlalchemy_url)
        fresh = secrets.token_hex(16)
        with writing(engine) as connection:
            machines.set_identity(connection, fresh, utc_now())
        engine.dispose()
    _print({"ledger_id": fresh})


@main.command("demo-data")
@click.option("--estates", default=demo_county.ESTATES, show_default=True, type=click.IntRange(1, 100))
@click.option("--people", default=demo_county.PEOPLE, show_default=True, type=click.IntRange(1, 100_000))
@click.option("--seed", default=1, show_default=True, help="The same seed makes the same county.")
def demo_data_(estates: int, people: int, seed: int) -> None:
    """Add a county of invented people with a year of activities to the demo that `init --demo` made."""
    config = load()
    zone = ZoneInfo(config.time_zone)
    wanted = demo_loading.LoadDemo(seed, utc_now().astimezone(zone).date().isoformat(), estates, people)
    booked: Counter[str] = Counter()
    with click.progressbar(demo_loading.operations(wanted, zone), label="demo data", file=sys.stderr) as shown:
        for operation in shown:
            booked.update(_do(config, operation.kind, operation.body, id=operation.id))
    _print(dict(booked))


@main.command("confirm-date")
@click.argument("date", metavar="YYYY-MM-DD", type=click.DateTime(["%Y-%m-%d"]))
def confirm_date(date: datetime) -> None:
    """Say that it is this date today, when the server doubts its clock: points end again, and days are closed."""
    _print(_do(load(), "confirm_date", ConfirmDate(SYSTEM, date.date().isoformat())))


main.add_command(files_cli.import_)
main.add_command(files_cli.export)
main.add_command(print_cli.print_)
main.add_command(trying.messages)


@main.group()
def ledger() -> None:
    """What concerns the ledger as a whole."""


@ledger.command()
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def verify(as_json: bool) -> None:
    """Prove the ledger from its rows; exits with 3 at the first broken rule and names the row."""
    all_tables()
    engine = make_engine(load().sqlalchemy_url)
    with engine.connect() as connection:
        report = verifying.verify(connection, CHECKS)
    engine.dispose()
    if as_json:
        _print(dataclasses.asdict(report))
    else:
        for rule, count in report.checked.items():
            click.echo(f"{rule}: {count}")
        click.echo("ok" if report.ok else f"BROKEN: {report.first_break}")
    if not report.ok:
        sys.exit(EXIT_BROKEN_LEDGER)


@ledger.command()
@click.option("--json", "as_json", is_flag=True, help="Print the days as JSON.")
def days(as_json: bool) -> None:
    """List the closed days: the number of rows, and the root of their tree, for publication."""
    all_tables()
    engine = make_engine(load().sqlalchemy_url)
    with engine.connect() as connection:
        closed = closed_days(connection)
    engine.dispose()
    if as_json:
        shown = [dataclasses.asdict(one) | {"root": one.root.hex(), "closed_at": iso(one.closed_at)} for one in closed]
        _print({"days": shown})
    else:
        for one in closed:
            click.echo(f"{one.day} {one.rows:>8} {one.root.hex()}")


def _serving() -> Config:
    """The settings of a process that serves: it logs as they say."""
    config = load()
    logs.configure(config.log)
    logging.getLogger().setLevel(logging.INFO)
    return config


def _do(config: Config, kind: str, body: object, id: str | None = None) -> dict[str, Any]:
    """Have one operation done, by the running process or here; raises DomainError."""
    operation = Operation(id or secrets.token_hex(16), kind, body)
    answer: dict[str, Any]
    try:
        with assembled(config) as parts:
            answer = parts.writer.call(operation)
    except local_socket.Busy:
        answer = local_socket.ask(config.socket_path, operation)
    return answer


def _rows(manifest: dict[str, Any]) -> int:
    return sum(one.get("rows", 0) for one in manifest["members"].values())


def _make_secret(config: Config) -> None:
    """Draw the server's one secret, unless there is one; only its owner may read it."""
    try:
        descriptor = os.open(config.secret_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(SECRET_BYTES) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _grant(text: str) -> Grant:
    role, separator, node = text.partition(":")
    if not separator or role not in set(Role):
        raise click.BadParameter(f"{text} is no ROLE:NODE; roles are {', '.join(Role)}")
    return Grant(Role(role), node)


def _fixed(name: str) -> str:
    """The operation id of what `init` makes: doing it again answers as the first time."""
    return f"init-{name}"


def _print(answer: dict[str, Any]) -> None:
    click.echo(json.dumps(answer, ensure_ascii=False, indent=2, default=str))

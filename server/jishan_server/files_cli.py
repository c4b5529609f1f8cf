"""`jishan-server import` and `jishan-server export`: files in and out, on the server itself.

Reading and judging happen in this process; what is written goes to the running server over its local socket, or, when
none runs, through a writer of this process, as for every other command.
"""

import contextlib
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

import click
from sqlalchemy import Connection, select

from jishan_server import local_socket
from jishan_server.assembly import assembled, credit_rules_of, hashing_of, utc_now
from jishan_server.config import Config, load
from jishan_server.db import all_tables, make_engine
from jishan_server.errors import DomainError
from jishan_server.organizations.roles import SYSTEM
from jishan_server.people.tables import staff
from jishan_server.sheets.durations import HALF_DAY_MINUTES
from jishan_server.sheets.writing import Format, write
from jishan_server.volunteering import exports as exporting
from jishan_server.volunteering import yearly
from jishan_server.volunteering.importing import jobs, sending, showing
from jishan_server.volunteering.importing.kinds import KINDS
from jishan_server.writer import Operation

SHOWN_PROBLEMS: Final = 20
"""The error file has them all."""


@click.command("import")
@click.argument("kind", type=click.Choice(sorted(KINDS)))
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--estate", "node", required=True, help="Id of the estate, or of a node above several.")
@click.option("--dry-run", is_flag=True, help="Show what it would do, and change nothing but the list of imports.")
@click.option("--yes", is_flag=True, help="Book without asking.")
@click.option("--year", type=click.IntRange(2000, 2100), help="Of days without one; else this year.")
@click.option("--half-day-minutes", type=click.IntRange(60, 720), default=HALF_DAY_MINUTES, show_default=True)
@click.option("--sent-by", metavar="LOGIN", help="Who brings the file; needed for hours.")
@click.option("--approved-by", metavar="LOGIN", help="Who has approved it; needed for hours, and somebody else.")
def import_(
    kind: str,
    file: Path,
    node: str,
    dry_run: bool,
    yes: bool,
    year: int | None,
    half_day_minutes: int,
    sent_by: str | None,
    approved_by: str | None,
) -> None:
    """Import a CSV, XLSX or XLS file: a preview, then the good rows; the others go into a file beside it."""
    config = load()
    rules, hashing, now = credit_rules_of(config), hashing_of(config), utc_now()
    if KINDS[kind].approval is not None and (sent_by is None or approved_by is None):
        raise click.UsageError(f"{kind} take two people: --sent-by and --approved-by")
    with _office(config) as (connection, call):
        actor, booker = _actor(connection, sent_by), _actor(connection, approved_by or sent_by)
        sent = sending.SentFile(
            kind, node, file.name, file.read_bytes(), year or now.astimezone(rules.zone).year, half_day_minutes
        )
        id = sending.send(connection, call, actor, secrets.token_hex(16), sent, hashing, rules, now, _bar("reading"))
        connection.rollback()
        found = showing.view(connection, SYSTEM, id)
        click.echo(
            f"{found['row_count']} rows: {found['new_count']} new, {found['known_count']} there already, "
            f"{found['bad_count']} refused"
        )
        for left in found["left_out"]:
            click.echo(f"row {left['row']} left out: {left['why']}")
        if found["bad_count"]:
            _show_problems(connection, id, file, hashing)
        if dry_run or not found["new_count"]:
            return
        if not yes:
            click.confirm(f"Book {found['new_count']} rows?", abort=True)
        step: int | None = call(
            Operation(f"{id}-start", "start_import", jobs.StartImport(booker, id, secrets.token_hex(16)))
        )["next"]
        with click.progressbar(length=found["pieces"], label="booking", file=sys.stderr) as bar:
            while step is not None:
                step = call(jobs.step(booker, id, step))["next"]
                bar.update(1)
        connection.rollback()
        done = showing.view(connection, SYSTEM, id)
        click.echo(f"{done['booked_count']} booked, {done['bad_count']} refused; import {id}")


@click.command("export")
@click.argument("what", type=click.Choice([*exporting.EXPORTS, "yearly"]))
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--node", required=True, help="Id of the estate or of a node above several.")
@click.option("--from", "first", type=click.DateTime(["%Y-%m-%d"]), help="First day.")
@click.option("--to", "last", type=click.DateTime(["%Y-%m-%d"]), help="Last day.")
@click.option("--resident", help="Id of the resident, for a statement.")
@click.option("--year", type=click.IntRange(2000, 2100), help="Of the yearly report.")
@click.option("--known-on", type=click.DateTime(["%Y-%m-%d"]), help="As known at the end of this day; else today.")
@click.option("--later", is_flag=True, help="With what came later, in columns of its own.")
def export(
    what: str,
    file: Path,
    node: str,
    first: datetime | None,
    last: datetime | None,
    resident: str | None,
    year: int | None,
    known_on: datetime | None,
    later: bool,
) -> None:
    """Write a table to FILE, whose ending .csv or .xlsx says the form; only of who agreed to the scheme."""
    config = load()
    rules = credit_rules_of(config)
    if file.suffix not in (".csv", ".xlsx"):
        raise click.BadParameter("it ends in .csv or .xlsx", param_hint="FILE")
    format: Format = "csv" if file.suffix == ".csv" else "xlsx"
    all_tables()
    engine = make_engine(config.sqlalchemy_url)
    with engine.connect() as connection:
        if what == "yearly":
            if year is None:
                raise click.UsageError("the yearly report takes --year")
            known = known_on.date() if known_on else utc_now().astimezone(rules.zone).date()
            asked = yearly.ReportWanted(node, year, known, later)
            table = yearly.report(connection, SYSTEM, asked, rules.zone)
        else:
            wanted = exporting.ExportWanted(node, _day(first), _day(last), resident)
            table = exporting.export(connection, SYSTEM, what, wanted, rules.zone)
        file.write_bytes(write(format, table.header, table.rows, table.name))
    engine.dispose()
    click.echo(str(file))


@contextlib.contextmanager
def _office(config: Config) -> Iterator[tuple[Connection, Callable[[Operation], Any]]]:
    """A connection for reading, and where operations are done: here, or by the running server."""
    with contextlib.ExitStack() as closing:
        try:
            parts = closing.enter_context(assembled(config))
            engine, call = parts.engine, parts.writer.call
        except local_socket.Busy:
            all_tables()
            engine = make_engine(config.sqlalchemy_url)
            closing.callback(engine.dispose)

            def call(operation: Operation) -> Any:
                return local_socket.ask(config.socket_path, operation)

        yield closing.enter_context(engine.connect()), call


def _actor(connection: Connection, login: str | None) -> str:
    if login is None:
        return SYSTEM
    id: str | None = connection.scalar(select(staff.c.id).where(staff.c.login == login))
    if id is None:
        raise DomainError("staff_unknown", id=login)
    return id


def _bar(label: str) -> Callable[[Iterable[Any]], Iterable[Any]]:
    def shown(items: Iterable[Any]) -> Iterator[Any]:
        with click.progressbar(list(items), label=label, file=sys.stderr) as bar:
            yield from bar

    return shown


def _show_problems(connection: Connection, import_id: str, file: Path, hashing: Any) -> None:
    for one in showing.problems(connection, SYSTEM, import_id, 0, SHOWN_PROBLEMS)[0]:
        where = f"row {one['row']}" + (f", {one['letter']} {one['column']}" if one["column"] else "")
        click.echo(f"{where}: {one['reason_zh']}{one['instead_zh']} / {one['reason_en']} {one['instead_en']}")
    name, _, content = showing.error_file(connection, SYSTEM, import_id, hashing, "zh")
    target = file.with_name(name)
    target.write_bytes(content)
    click.echo(f"refused rows: {target}")


def _day(at: datetime | None) -> date | None:
    return at.date() if at else None

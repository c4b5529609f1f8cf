"""`jishan-server print`: papers on the server itself, for whoever has no page to ask for them."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import click
from sqlalchemy import Connection

from jishan_server.assembly import utc_now
from jishan_server.config import load
from jishan_server.db import all_tables, make_engine
from jishan_server.errors import Language
from jishan_server.organizations.roles import SYSTEM
from jishan_server.printing.attendance import attendance_sheet
from jishan_server.printing.notices import notice_sheet, poster
from jishan_server.printing.passbook import cards, passbook
from jishan_server.volunteering import papers


class _Asked(NamedTuple):
    connection: Connection
    id: str
    language: Language
    where: str | None
    telephone: str | None
    site_url: str
    now: datetime
    zone: ZoneInfo


def _notice(asked: _Asked) -> bytes:
    where, telephone = asked.where, asked.telephone
    sheet = papers.notice_sheet(asked.connection, SYSTEM, asked.id, where, telephone, asked.now, asked.zone)
    return notice_sheet(sheet, asked.language)


def _cards(asked: _Asked) -> bytes:
    return cards(papers.cards(asked.connection, SYSTEM, asked.id, None), asked.language, asked.now)


def _poster(asked: _Asked) -> bytes:
    found = papers.poster(asked.connection, SYSTEM, asked.id, asked.site_url, asked.now, asked.zone, asked.language)
    return poster(found, asked.language)


def _sheet(asked: _Asked) -> bytes:
    sheet = papers.attendance_sheet(
        asked.connection, SYSTEM, asked.id, asked.site_url, asked.now, asked.zone, asked.language
    )
    return attendance_sheet(sheet, asked.language)


def _passbook(asked: _Asked) -> bytes:
    return passbook(papers.passbook(asked.connection, SYSTEM, asked.id, asked.now, asked.zone), asked.language)


PAPERS: Final[dict[str, Callable[[_Asked], bytes]]] = {
    "notice": _notice,
    "cards": _cards,
    "poster": _poster,
    "sheet": _sheet,
    "passbook": _passbook,
}


@click.command("print")
@click.argument("what", type=click.Choice(list(PAPERS)))
@click.argument("id")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--language", type=click.Choice(["zh", "en"]), default="zh", show_default=True)
@click.option("--where", help="Where one objects, on a notice; else room to write it.")
@click.option("--telephone", help="The same for the telephone.")
def print_(what: str, id: str, file: Path, language: Language, where: str | None, telephone: str | None) -> None:
    """Write a paper to FILE as PDF: notice or cards of an estate, poster of an activity, sheet of a session to sign,
    passbook of a resident; ID says of which.
    """
    config = load()
    all_tables()
    engine = make_engine(config.sqlalchemy_url)
    zone = ZoneInfo(config.time_zone)
    with engine.connect() as connection:
        asked = _Asked(connection, id, language, where, telephone, config.site_url, utc_now(), zone)
        file.write_bytes(PAPERS[what](asked))
    engine.dispose()
    click.echo(str(file))

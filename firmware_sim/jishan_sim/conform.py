"""`jishan-sim conform`: plays the host against a real controller, and says where it keeps to the protocol.

Safe by itself: it asks what can be asked, says what must be refused, and watches. What could move a motor or open a
lock is said only after the person's yes, or with --yes-move. The report names what agrees, what differs, and the
profile to set. A pack for each face stands in `conform_xy`, `conform_boards`, `conform_mdb` and `conform_mqtt`.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import click

from jishan_sim import conform_boards, conform_mdb, conform_mqtt, conform_xy
from jishan_sim.conform_report import Ask, Finding, Findings, Meanwhile, Report, Verdict, Wire, fitting
from jishan_sim.conform_wire import BrokerWire, PortWire
from jishan_sim.faces import FACES
from jishan_sim.ports import PortError, open_port

PACKS: Final[Mapping[str, Callable[[Findings], None]]] = {
    "lock-board": conform_boards.run_lock_board,
    "mdb": conform_mdb.run_mdb,
    "modbus-board": conform_boards.run_modbus_board,
    "mqtt": conform_mqtt.run_mqtt,
    "xy": conform_xy.run,
}


LOOK_S: Final = 0.01  # between two moments of serving the line; a POLL wants its answer within 100 ms


@dataclass(frozen=True, slots=True)
class Wishes:
    """How far a run may go: what the person is asked, and whether the whole pack is played, power cuts included."""

    ask: Ask
    may_move: Ask
    selection: int | None = None
    is_whole: bool = False


def findings_of(face: str, wire: Wire, wishes: Wishes) -> list[Finding]:
    """Play the pack of a face on a wire."""
    findings = Findings(wire, wishes.ask, wishes.may_move, is_whole=wishes.is_whole)
    findings.selection = wishes.selection
    PACKS[face](findings)
    return findings.found


def report_of(face: str, port: str, started_at: str, found: list[Finding]) -> Report:
    """The report of a run."""
    profiles: Mapping[str, Any] = FACES[face].profiles
    return Report(face, port, started_at, found, fitting(profiles, found))


def play(face: str, port: str, baud_rate: int, report: Path, wishes: Wishes) -> None:
    """A run as a program: opens the port, plays, writes REPORT.json and REPORT.html, and exits 1 where it differs."""
    started_at = datetime.now().astimezone().isoformat(timespec="seconds")
    with ExitStack() as open_things:
        try:
            wire: PortWire | BrokerWire
            if port.startswith(("mqtt://", "mqtts://")):
                wire = BrokerWire(port)
            else:
                wire = PortWire(open_port(port, baud_rate or FACES[face].baud_rate))
            open_things.callback(wire.close)
            found = findings_of(face, wire, wishes)
        except PortError as error:
            raise click.ClickException(str(error)) from None
    told = report_of(face, port, started_at, found)
    try:
        report.with_suffix(".json").write_text(told.json(), "utf-8")
        report.with_suffix(".html").write_text(told.html(), "utf-8")
    except OSError as error:
        raise click.ClickException(str(error)) from None
    for one in found:
        if one.verdict is not Verdict.AGREES:
            click.echo(f"{one.verdict}: {one.step}: {one.rule}: {one.detail}")
    differs = told.count(Verdict.DIFFERS)
    summary = {"agrees": told.count(Verdict.AGREES), "differs": differs, "profile": told.fitting.profile}
    click.echo(json.dumps(summary | {"settings": dict(told.fitting.settings)}))
    sys.exit(1 if differs else 0)


def asking(*, yes_move: bool) -> tuple[Ask, Ask]:
    """Whom to ask: (about what was seen, before something moves). Nobody, where no person sits at the terminal."""

    def asked(question: str, meanwhile: Meanwhile) -> bool | None:
        if not sys.stdin.isatty():
            return None
        answers: list[bool] = []
        # A thread of its own, as the prompt waits and the line does not.
        asking = threading.Thread(target=lambda: answers.append(click.confirm(question)), daemon=True)
        asking.start()
        while asking.is_alive():
            meanwhile()
            asking.join(LOOK_S)
        return answers[0] if answers else None

    return asked, (lambda *_: True) if yes_move else asked


def options(command: Callable[..., None]) -> Callable[..., None]:
    """What both commands take."""
    for option in (
        click.option("--yes-move", is_flag=True, help="Do not ask before something moves."),
        click.option("--report", type=click.Path(path_type=Path), default=Path("conformance"), show_default=True),
        click.option(
            "--selection", type=click.IntRange(1, 999), help="What may move; else the first that can be sold."
        ),
        click.option("--baud-rate", default=0, help="0 is the protocol's usual one."),
        click.option(
            "--port", required=True, help="Where it is plugged in: a serial port, or mqtt://HOST:PORT/BOARD?..."
        ),
    ):
        command = option(command)
    return command


@click.command()
@click.option("--face", type=click.Choice(sorted(PACKS)), required=True, help="What the controller speaks.")
@options
def conform(face: str, port: str, baud_rate: int, selection: int | None, report: Path, yes_move: bool) -> None:
    """Try a real controller's protocol as its host, and write REPORT.json and REPORT.html.

    Nothing moves before you have said yes. The last line printed is JSON; the exit status is 1 where something differs.
    """
    ask, may_move = asking(yes_move=yes_move)
    play(face, port, baud_rate, report, Wishes(ask, may_move, selection))

"""`jishan-sim host`: agent and server of a board that is being built, to the end: what moves, and a power cut.

`jishan-sim conform` tries what is safe, and what a person allows on top; this plays the whole pack: a command, its
double, one that has expired, one with a wrong nonce and a wrong MAC, the query that fences, and "now cut the power".
The report is the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from jishan_sim.conform import Wishes, asking, options, play

BOARDS: Final = ("mqtt", "xy")
"""The packs that have a power cut."""


@click.command()
@click.option("--face", type=click.Choice(BOARDS), required=True, help="What the board speaks.")
@options
def host(face: str, port: str, baud_rate: int, selection: int | None, report: Path, yes_move: bool) -> None:
    """Play agent and server to a board that turns motors, and write REPORT.json and REPORT.html.

    Sit in front of it: you are asked before each thing that moves, and told when to cut its power.
    """
    ask, may_move = asking(yes_move=yes_move)
    play(face, port, baud_rate, report, Wishes(ask, may_move, selection, is_whole=True))

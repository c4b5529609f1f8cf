"""`jishan-sim`: machines without hardware. Each command is imported when it is called."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Final

import click

COMMANDS: Final = {
    "conform": "jishan_sim.conform",
    "decode": "jishan_sim.decode",
    "demo": "jishan_sim.demo",
    "fleet": "jishan_sim.fleet",
    "host": "jishan_sim.host",
    "machine": "jishan_sim.machine",
    "play": "jishan_sim.play",
    "record": "jishan_sim.record",
    "replay": "jishan_sim.replay",
}


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name, module in COMMANDS.items() if find_spec(module)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        command = getattr(import_module(COMMANDS[cmd_name]), cmd_name)
        assert isinstance(command, click.Command)
        return command


@click.command(cls=_Lazy)
def main() -> None:
    """Vending machines without hardware."""


if __name__ == "__main__":
    main()

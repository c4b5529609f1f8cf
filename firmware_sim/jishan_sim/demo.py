"""`jishan-sim demo`: the whole system on this computer, with a simulated machine, for a person to look at or by itself.

It imports neither the server nor the agent: they are started as the processes that they are, and everything is done
through what people have, the HTTP API and the machine's front. `--once` plays the story and checks every step; the
story ends with `ledger verify`, and the exit code is 0 only if all of it held.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
import webbrowser
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from jishan_sim.demo_stage import MACHINE, PARTS, DemoFailed, MachineOnStage, Stage, add_machine, on_stage, until
from jishan_sim.demo_story import Told, tell

SMALL: Final = ("--estates", "5", "--people", "140")
"""What the demo shows beside its own estate: enough to look at, made in two seconds."""
WHOLE: Final = ()


@click.command()
@click.option("--once", is_flag=True, help="Play the story without a person; exit 0 only if all of it held.")
@click.option("--json", "as_json", is_flag=True, help="With --once: print the steps as JSON.")
@click.option("--county", is_flag=True, help="With the whole county: 89 estates, 2,518 people, 18,000 credits.")
@click.option("--face", type=click.Choice(sorted(PARTS)), default="xy", show_default=True, help="What machines speak.")
@click.option("--browser", is_flag=True, help="Open the machine's front panel in the browser.")
@click.option("--dir", "directory", type=click.Path(path_type=Path), default=Path("build/demo"), show_default=True)
def demo(once: bool, as_json: bool, county: bool, face: str, browser: bool, directory: Path) -> None:
    """Server, gateway, broker, a simulated machine and its agent on this computer, until Ctrl-C."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _interrupt)
    if os.environ.get("FRESH"):
        shutil.rmtree(directory, ignore_errors=True)
    try:
        if once:
            # A story begins at the beginning: it has a folder of its own.
            shutil.rmtree(directory / "once", ignore_errors=True)
            sys.exit(0 if _play(directory / "once", face, as_json=as_json) else 1)
        _show(directory, face, WHOLE if county else SMALL, opens=browser)
    except DemoFailed as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        click.echo("Stopped; nothing is left running.", err=True)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _play(directory: Path, face: str, *, as_json: bool) -> bool:
    steps: list[Told] = []
    began_s = time.monotonic()
    with on_stage(directory, lambda line: click.echo(line, err=True), separate_broker=True, face=face) as stage:
        ok = tell(stage, steps.append)
    if as_json:
        rows = [{"name": step.name, "ok": step.ok, "detail": step.detail} for step in steps]
        click.echo(json.dumps({"ok": ok, "steps": rows}, ensure_ascii=False, indent=1))
    else:
        width = max(len(step.name) for step in steps)
        click.echo("\n".join(f"{'ok' if step.ok else 'NO'}  {step.name:<{width}}  {step.detail}" for step in steps))
        click.echo(f"{'All held' if ok else 'NOT ALL HELD'}, in {time.monotonic() - began_s:.0f} s.")
    return ok


def _show(directory: Path, face: str, county: Sequence[str], *, opens: bool) -> None:
    with on_stage(directory, click.echo, separate_broker=False, county=county, face=face) as stage:
        machine = add_machine(stage, MACHINE, "demo")
        resident = stage.people["residents"][0]
        stage.credit(resident, 20, "河道清洁", "demo-credit-1")
        until(f"{machine.id} sells", machine.is_selling)
        click.echo(_welcome(stage, machine, resident))
        if opens:
            webbrowser.open(_panel(machine, resident))
        said = ""
        while True:
            for process in (stage.server, machine.simulator, machine.agent):
                if process.has_ended():
                    raise DemoFailed(f"{process.name} has ended: {process.last_words()}")
            words = machine.status().get("said", {})
            if words and words["code"] != said:
                said = words["code"]
                click.echo(f"  {time.strftime('%H:%M:%S')} {machine.id}  {words['zh']} / {words['en']}")
            time.sleep(0.2)


def _panel(machine: MachineOnStage, resident: Mapping[str, Any]) -> str:
    """The front panel, with the resident's card at hand."""
    return f"{machine.front.base}/?card={resident['card']}"


def _welcome(stage: Stage, machine: MachineOnStage, resident: Mapping[str, Any]) -> str:
    front, http = machine.front.base, stage.where["http"]
    staff = "\n".join(f"  {one['login']:<12} {one['password']}   ({one['role']})" for one in stage.people["staff"])
    post, put = (f"curl -s -X {method} -H 'Content-Type: application/json'" for method in ("POST", "PUT"))
    known = f"number {resident['member_number']}, PIN {resident['pin']}"
    jam = json.dumps({"once": [{"selection": 2, "jam": 1}]})
    return f"""
Everything runs. Ctrl-C ends it; the state stays in {stage.directory} (FRESH=1 starts anew).

Open the pages:    {http}/login and {http}/staff/login
Look at the API:   {http}/api/v1/docs
Log in:            POST {http}/api/v1/auth/token with one of
{staff}

Stand in front of machine {machine.id} in the browser, and break it on purpose:
  {_panel(machine, resident)}
What the machine's own screen shows:
  {machine.screen}

Be {resident["name"]} there: 20 points, card {resident["card"]}, {known}. Or without a browser:
  tap the card:    {post} {front}/tap -d '{{"uid": "{resident["card"]}"}}'
  press 1:         {post} {front}/press -d '{{"selection": 1}}'
  look inside:     curl -s {front}/state
  jam coil 2:      {put} {front}/faults -d '{jam}'

Play the whole story by itself:  make demo ARGS=--once
What the machine's display says:
"""

"""The simulator in other people's tests: the fixture, and an installation of the `sim` extra alone outside the tree.

The installation is made without a network: our wheel is built, and what the extra asks for is linked in from this
environment, distribution by distribution, so that something the extra forgets is missing there.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
import serial
from packaging.requirements import Requirement

from jishan_protocol.dispensers import xy
from jishan_sim.faces import FACES
from jishan_sim.faults import FaultsError
from jishan_sim.pytest_plugin import jishan_machine as a_fixture
from jishan_sim.running import RunningMachine

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/test-with-the-simulator.md"
LONG_S = 60
Make = Callable[..., RunningMachine]

machine_maker = a_fixture
"""The fixture under a name of this module's own, wherever the entry point is installed or not."""


def test_a_machine_of_every_face_has_a_line_and_a_power_switch(machine_maker: Make) -> None:
    for name in FACES:
        machine = machine_maker(name, slots="1-3")
        assert machine.state()["powered"]
        machine.power_cut()
        assert not machine.state()["powered"]
        assert os.path.exists(machine.port)
        assert (machine.keypad_port is None) == FACES[name].has_keypad


def test_hands_and_eyes_reach_the_same_cabinet(machine_maker: Make) -> None:
    machine = machine_maker("xy", slots="1,2", items=1, seed=3)
    machine.open_door()
    machine.set_temperature(-3)
    machine.set_price(2, 7)
    machine.refill(1, items=9)
    machine.faults({"vend": {"jam": 1}})
    state = machine.state()
    assert (state["door_open"], state["temperature_c"]) == (True, -3)
    assert [(slot["items"], slot["price"]) for slot in state["slots"]] == [(9, 100), (1, 7)]
    machine.open_door(False)
    assert not machine.state()["door_open"]
    assert (machine.dropped(), machine.items_dropped(), machine.turns()) == ([], 0, 0)


def test_presses_cards_and_money_go_out_on_their_lines(machine_maker: Make) -> None:
    machine = machine_maker("xy", card_port="tcp:127.0.0.1:0")
    with serial.serial_for_url(machine.port, xy.BAUD_RATE, timeout=0.1) as line:
        machine.press(2)
        machine.insert_money(500)
        parser, heard = xy.Parser(), []

        def is_said() -> bool:
            for one in parser.feed(line.read(max(1, line.in_waiting))):
                assert isinstance(one, xy.Frame)
                heard.append(xy.read(one))
                line.write(xy.ACK_FRAME)
            return xy.Selected(2) in heard and xy.MoneyReceived(1, 500) in heard

        machine.until(is_said)
        assert any(one["name"] == "selected" for one in machine.log())
    with serial.serial_for_url(machine.card_port, timeout=0.1) as cards:

        def is_read() -> bool:
            machine.tap("7186A61E")
            return bytes(cards.read(64)).startswith(b"7186A61E")

        machine.until(is_read)


def test_a_keypad_of_its_own_says_what_is_pressed(machine_maker: Make) -> None:
    machine = machine_maker("lock-board", slots="1-4", keypad_port="tcp:127.0.0.1:0")
    assert machine.keypad_port is not None
    with serial.serial_for_url(machine.keypad_port, timeout=0.1) as keypad:

        def is_read() -> bool:
            machine.press(3)
            return bytes(keypad.read(64)).startswith(b"3\n")

        machine.until(is_read)


def test_waiting_for_what_never_comes_ends_in_what_passed_the_line(machine_maker: Make) -> None:
    machine = machine_maker("xy")
    machine.until(lambda: machine.log())
    with pytest.raises(AssertionError, match="synchronise"):
        machine.until(lambda: False, within_s=0.05)


def test_what_cannot_be_had_is_refused_and_leaves_no_line_open() -> None:
    open_before = set(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else set()
    with pytest.raises(ValueError, match="'telex' is no face"):
        RunningMachine("telex")
    with pytest.raises(FaultsError):
        RunningMachine("xy", faults={"vend": {"jam": 2}})
    with pytest.raises(Exception, match="/dev/nothing"):
        RunningMachine("xy", card_port="/dev/nothing")
    if open_before:
        assert set(os.listdir("/proc/self/fd")) == open_before


# --- installed alone, outside the tree ---


@pytest.fixture(scope="module")
def own_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `env`, where only our wheel and what `jishan[sim]` asks for is installed."""
    folder = tmp_path_factory.mktemp("project")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    wheel = next(folder.glob("*.whl"))
    run(sys.executable, "-m", "venv", "--without-pip", folder / "env", cwd=folder)
    python = folder / "env/bin/python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", wheel, cwd=folder)
    link_in(python, closure("jishan", "sim") - {"jishan"})
    return folder


def run(*command: object, cwd: Path) -> str:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST", "COV"))
    }
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=LONG_S
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def closure(name: str, extra: str = "") -> set[str]:
    """The distributions that one asks for, itself included, as far as they are for this system."""
    found: set[str] = set()
    waiting = [(name, extra)]
    while waiting:
        name, extra = waiting.pop()
        found.add(name)
        for text in distribution(name).requires or ():
            wanted = Requirement(text)
            if wanted.marker is None or wanted.marker.evaluate({"extra": extra}):
                waiting += [(wanted.name, one) for one in (wanted.extras or {""}) if wanted.name not in found]
    return found


def link_in(python: Path, names: set[str]) -> None:
    """Put installed distributions into another environment, as links."""
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=ROOT).strip())
    for name in names:
        found = distribution(name)
        tops = {Path(file.parts[0]) for file in found.files or () if file.parts[0] not in ("..", "__pycache__")}
        for top in tops:
            if not (site / top).exists():
                (site / top).symlink_to(Path(str(found.locate_file(top))))


@pytest.mark.external
def test_the_sim_extra_alone_runs_machine_and_decode(own_project: Path) -> None:
    program = own_project / "env/bin/jishan-sim"
    decoded = run(program, "decode", "xy", "FA FB 41 00 40", cwd=own_project)
    assert json.loads(decoded)["name"] == "poll"
    command = [str(program), "machine", "--face", "mdb"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=own_project) as machine:
        assert machine.stdout is not None
        ports: dict[str, Any] = json.loads(machine.stdout.readline())
        machine.terminate()
        assert machine.wait(LONG_S) == 0
    assert ports.keys() == {"dispenser", "card", "control"}
    missing = "import importlib.util as it; print(it.find_spec('pytest'), it.find_spec('sqlalchemy'))"
    assert run(own_project / "env/bin/python", "-c", missing, cwd=own_project).split() == ["None", "None"]


@pytest.mark.external
def test_the_example_of_the_page_passes_in_a_project_of_its_own(own_project: Path) -> None:
    python = own_project / "env/bin/python"
    link_in(python, closure("pytest"))
    for block in re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S):
        (own_project / re.match(r'"""(\w+\.py)', block)[1]).write_text(block, "utf-8")  # type: ignore[index]
    begun = time.monotonic()
    said = run(
        python, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "test_my_agent.py", cwd=own_project
    )
    assert "5 passed" in said
    assert time.monotonic() - begun < 30

"""What decides has no clock, no chance and no wire of its own: the whole system runs from one seed because of it.

Three kinds of modules, told apart by what their source refers to:

- A pure module (`PURE`) calculates: it has no database, file, thread or socket either.
- A shell (`SHELLS`) is where time, chance and waiting come from. The list says why each is one.
- Every other module takes the time, ids and randomness as arguments, and its connection from the caller.

A reference is enough to be found: `default_factory=datetime.now` calls nothing where it stands.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[1]
FOLDERS: Final = ("protocol", "server", "device_agent", "firmware_sim")

PURE: Final = (
    "jishan_protocol.*",
    "jishan_server.errors",
    "jishan_server.ids",
    "jishan_server.instants",
    "jishan_server.ledger.digest",
    "jishan_server.ledger.lots",
    "jishan_server.ledger.model",
    "jishan_server.message_forms",
    "jishan_server.messaging.signing",
    "jishan_server.people.delivery",
    "jishan_server.people.member_numbers",
    "jishan_server.vending.deciding",
    "jishan_server.vending.keys",
    "jishan_server.vending.rules",
    "jishan_server.volunteering.codes",
    "jishan_server.volunteering.credit_states",
    "jishan_server.volunteering.judging",
    "jishan_server.volunteering.rules",
    "jishan_server.volunteering.task_states",
    "jishan_agent.dispensers.*",
    "jishan_agent.keying",
    "jishan_agent.kiosk.phrases",
    "jishan_agent.kiosk.screen",
    "jishan_agent.readers.*",
    "jishan_agent.vending",
    "jishan_agent.words",
    "jishan_sim.cabinet",
    "jishan_sim.faces.*",
)

# Besides what is called by these names, an ORM's own clock (`default=`) is found wherever it stands.
CLOCK_AND_CHANCE: Final = frozenset(
    {
        "asyncio",
        "concurrent",
        "cryptography.x509.random_serial_number",
        "datetime.date.today",
        "datetime.datetime.now",
        "datetime.datetime.today",
        "datetime.datetime.utcnow",
        "multiprocessing",
        "os.urandom",
        "paho",
        "queue",
        "secrets",
        "select",
        "selectors",
        "serial",
        "signal",
        "smtplib",
        "socket",
        "socketserver",
        "sqlalchemy.func.current_timestamp",
        "sqlalchemy.func.localtimestamp",
        "sqlalchemy.func.now",
        "sqlalchemy.func.random",
        "subprocess",
        "threading",
        "time",
        "urllib.request",
        "uuid.getnode",
        "uuid.uuid1",
        "uuid.uuid4",
    }
)
IN_AND_OUT: Final = frozenset(
    {"flask", "http", "io", "open", "os", "pathlib", "print", "shutil", "sqlite3", "sys", "tempfile"}
)
DATABASE: Final = frozenset({"alembic", "psycopg", "sqlalchemy"})

SHELLS: Final = {
    "jishan_agent.__main__": "draws ids, takes signals",
    "jishan_agent.enrolment": "asks the server over HTTPS",
    "jishan_agent.journal": "fills the reserve file with random bytes",
    "jishan_agent.kiosk.booth": "joins the loop's thread to those of the page",
    "jishan_agent.kiosk.page": "the page's port and its threads",
    "jishan_agent.kiosk.voice": "runs the programs that speak and play",
    "jishan_agent.loop": "the agent's only clock, and the threads of its serial ports",
    "jishan_agent.mqtt_port": "the MQTT connection to a board, and its thread",
    "jishan_agent.uplink": "the agent's MQTT connection",
    "jishan_server.api.asking": "draws the id of a request that has none",
    "jishan_server.api.auth": "draws tokens",
    "jishan_server.api.blueprints": "documents the API once, whichever thread asks first",
    "jishan_server.api.imports": "lets one file at a time be read",
    "jishan_server.api.machines": "draws the id of an enrolment, which has no key of its own",
    "jishan_server.api.prints": "lets one paper at a time be made",
    "jishan_server.api.refusals": "shares one count among the web's threads",
    "jishan_server.app": "times requests, draws their ids",
    "jishan_server.assembly": "the server's clock",
    "jishan_server.cli": "draws passwords and ids",
    "jishan_server.files_cli": "draws ids",
    "jishan_server.gateway.broker": "runs the embedded broker",
    "jishan_server.gateway.pki": "makes keys and dates certificates",
    "jishan_server.gateway.shell": "the gateway's clock, threads and MQTT connection",
    "jishan_server.ledger.verify": "shares the work among processes",
    "jishan_server.local_socket": "listens to commands on the same host",
    "jishan_server.messaging.mail": "speaks to a mail server",
    "jishan_server.messaging.posts": "posts over HTTP",
    "jishan_server.messaging.shell": "the sender's clock and thread",
    "jishan_server.messaging.trying": "draws an id",
    "jishan_server.serving": "the web's port and its threads",
    "jishan_server.up": "draws ids, looks for free ports",
    "jishan_server.web.entrance": "draws tokens",
    "jishan_server.web.ground": "draws the key of each form",
    "jishan_server.writer": "the writer's thread",
    "jishan_sim.conform": "dates its report",
    "jishan_sim.conform_wire": "the lines of a conformance run, with their clock",
    "jishan_sim.demo": "plays in real time",
    "jishan_sim.demo_stage": "starts real programs",
    "jishan_sim.demo_story": "plays in real time",
    "jishan_sim.fleet": "beats in real time, over MQTT",
    "jishan_sim.machine": "the simulator's only clock",
    "jishan_sim.mqtt_port": "a board's MQTT connection, and its thread",
    "jishan_sim.play": "plays in real time, starts a machine",
    "jishan_sim.ports": "the simulator's lines",
    "jishan_sim.record": "stands between two lines",
    "jishan_sim.replay": "plays in real time, on a line",
    "jishan_sim.running": "a machine on a thread of its own, for tests that run in real time",
}


def sources() -> dict[str, Path]:
    """Every module of ours by its dotted name; a package by the name of its folder."""
    found = {}
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("jishan_*/**/*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def named(patterns: tuple[str, ...], name: str) -> bool:
    """Whether a pattern names the module: itself, or for `package.*` the package and all below it."""
    return any(
        name == pattern or (pattern.endswith(".*") and (name + ".").startswith(pattern[:-1])) for pattern in patterns
    )


SOURCES: Final = sources()
PURE_MODULES: Final = [name for name in SOURCES if named(PURE, name)]
DECIDING_MODULES: Final = [name for name in SOURCES if name not in SHELLS]


def references(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, dotted name as its module calls it) of every imported thing and every attribute of one that is used."""
    imported: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                imported[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                imported[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                yield node.lineno, f"{node.module}.{alias.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            attributes: list[str] = []
            base: ast.expr = node
            while isinstance(base, ast.Attribute):
                attributes.insert(0, base.attr)
                base = base.value
            if isinstance(base, ast.Name) and base.id in imported:
                yield node.lineno, ".".join((imported[base.id], *attributes))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id not in imported:
            yield node.lineno, node.func.id


def clocks_of_columns(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Columns that fill themselves in: `default=`, `onupdate=`, `server_default=`.

    A `server_default` that is a constant is what rows hold that are older than their column.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "Column":
            for keyword in node.keywords:
                if keyword.arg == "server_default" and isinstance(keyword.value, ast.Constant):
                    continue
                if keyword.arg in ("default", "onupdate", "server_default", "server_onupdate"):
                    yield node.lineno, f"Column({keyword.arg}=)"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "CURRENT_TIMESTAMP" in node.value:
            yield node.lineno, "CURRENT_TIMESTAMP"


def chance(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Chance that no seed decides: the functions of `random`, SystemRandom, and a Random without its seed."""
    for line, name in references(tree):
        if name.startswith("random.") and name != "random.Random":
            yield line, name
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("Random", "random.Random") and not node.args:
            yield node.lineno, "Random() without a seed"


def violations(source: str, forbidden: frozenset[str]) -> list[str]:
    """What a module's source refers to and should not, each with its line."""
    tree = ast.parse(source)
    found = {
        (line, used) for line, used in references(tree) if any((used + ".").startswith(one + ".") for one in forbidden)
    }
    found |= set(clocks_of_columns(tree)) | set(chance(tree))
    return [f"line {line}: {used}" for line, used in sorted(found)]


@pytest.mark.parametrize("name", DECIDING_MODULES)
def test_what_decides_has_no_clock_no_chance_and_no_wire(name: str) -> None:
    assert not violations(SOURCES[name].read_text("utf-8"), CLOCK_AND_CHANCE)


@pytest.mark.parametrize("name", PURE_MODULES)
def test_a_pure_module_has_no_database_and_no_file_either(name: str) -> None:
    assert not violations(SOURCES[name].read_text("utf-8"), CLOCK_AND_CHANCE | IN_AND_OUT | DATABASE)


@pytest.mark.parametrize("name", SHELLS)
def test_a_shell_that_needs_no_exception_is_taken_off_the_list(name: str) -> None:
    assert violations(SOURCES[name].read_text("utf-8"), CLOCK_AND_CHANCE), f"{name} has become pure"


@pytest.mark.parametrize("pattern", PURE)
def test_every_pure_module_named_is_there(pattern: str) -> None:
    assert any(named((pattern,), name) for name in SOURCES)


@pytest.mark.parametrize(
    "line",
    [
        "import time\ntime.monotonic()",
        "from time import monotonic",
        "from datetime import datetime\nborn = field(default_factory=datetime.now)",
        "import datetime as dt\ndt.datetime.utcnow()",
        "import uuid\nuuid.uuid4().hex",
        "from uuid import uuid4",
        "import random\nrandom.random()",
        "from random import Random\nRandom()",
        "from random import SystemRandom",
        "import secrets",
        "import os\nos.urandom(8)",
        "import threading",
        "import socket",
        "from sqlalchemy import func\nfunc.now()",
        "Column('at', Instant, default=clock)",
    ],
)
def test_what_is_looked_for_is_found(line: str) -> None:
    assert violations(line, CLOCK_AND_CHANCE)


def test_what_is_handed_over_is_not_mistaken_for_a_clock() -> None:
    source = "from datetime import datetime\nfrom random import Random\ndef late(now: datetime, random: Random): ..."
    assert not violations(source, CLOCK_AND_CHANCE | IN_AND_OUT | DATABASE)

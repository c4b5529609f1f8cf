"""`docs/protocol.md` says what the code says, and the commands of `docs/operating.md` do what the page says."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jishan_protocol import messages
from jishan_server.gateway import core

ROOT = Path(__file__).parents[3]
PROTOCOL = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
OPERATING = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
PATIENCE_S = 60


def members_in(cell: str) -> set[str]:
    """The names in a table's cell, without the remarks in brackets."""
    return set(re.findall(r"`(\w+)`", re.sub(r"\([^)]*\)", "", cell)))


@pytest.mark.parametrize("kind", sorted(messages.MESSAGES))
def test_every_message_stands_in_the_protocol_page_with_all_its_members(kind: str) -> None:
    for name, form in messages.MESSAGES[kind].items():
        # What the server says stands with the topic's kind before it, what a machine says by its name.
        rows = re.findall(rf"^\| `{kind}` \| `{name}` \| ([^|]*)\|", PROTOCOL, re.MULTILINE)
        rows = rows or re.findall(rf"^\| `{name}` \| ([^|]*)\|", PROTOCOL, re.MULTILINE)
        assert len(rows) == 1, name
        assert members_in(rows[0]) == set(form.__dataclass_fields__), name


def test_every_refusal_of_the_gateway_stands_in_the_protocol_page() -> None:
    source = Path(core.__file__).read_text(encoding="utf-8")
    reasons = set(re.findall(r'(?:refused\[index\] = |refused\.setdefault\(index, |_refuse\()"(\w+)"', source))
    untimely = source[source.index("def _untimely") :].partition("\ndef ")[0]
    reasons |= set(re.findall(r'return "(\w+)"', untimely)) | {"no_expiry"}
    section = PROTOCOL.partition("## 11.")[2]
    known = set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| ([^|]*) \|", section, re.MULTILINE))))
    assert reasons - {"failed"} <= known


def blocks(number: int) -> list[str]:
    """The shell commands of one section of the operating page."""
    section = OPERATING.partition(f"\n## {number}. ")[2].partition("\n## ")[0]
    return re.findall(r"```sh\n(.*?)```", section, re.DOTALL)


class Shell:
    """bash with our two commands in its path, its settings kept from block to block."""

    def __init__(self, folder: Path) -> None:
        self.settings = folder / "settings"
        self.settings.write_text("")
        programs = folder / "programs"
        programs.mkdir()
        for name, module in (("jishan-server", "jishan_server.__main__"), ("jishan-agent", "jishan_agent.__main__")):
            program = f'exec {sys.executable} -c "from {module} import main; main()" "$@"'
            (programs / name).write_text(f"#!/bin/sh\n{program}\n")
            (programs / name).chmod(0o755)
        self.environment = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}"}

    def run(self, commands: str) -> str:
        script = f"set -eu\n. {self.settings}\n{commands}\nexport -p > {self.settings}\n"
        done = subprocess.run(
            ["bash", "-c", script], env=self.environment, capture_output=True, text=True, timeout=PATIENCE_S
        )
        assert done.returncode == 0, f"{commands}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def start(self, command: str, log: Path) -> subprocess.Popen[str]:
        with log.open("w") as errors:
            return subprocess.Popen(
                ["bash", "-c", f". {self.settings}\nexec {command}"],
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )


def end(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        assert process.stdout is not None
        process.stdout.close()


def test_the_commands_of_the_operating_page_lead_to_a_machine_that_is_online_over_tls(tmp_path: Path) -> None:
    missing = [name for name in ("bash", "curl", "jq") if shutil.which(name) is None]
    if missing:
        assert os.environ.get("CI") != "true", f"{missing} are missing"
        pytest.skip(f"{missing[0]} is not installed")
    shell = Shell(tmp_path)

    def here(commands: str) -> str:
        """The page's commands with this test's folders, names and ports."""
        for words, ours in (
            ("/var/lib/jishan-agent", str(tmp_path / "agent")),
            ("/var/lib/jishan", str(tmp_path / "server")),
            ("--name server.example --name 192.0.2.10", "--name localhost --name 127.0.0.1"),
            ("JISHAN_HTTP_PORT=8443", "JISHAN_HTTP_PORT=0"),
            ("JISHAN_MQTT_PORT=8883", "JISHAN_MQTT_PORT=0"),
        ):
            commands = commands.replace(words, ours)
        return commands

    prepare, serve = blocks(1)
    shell.run(here(prepare))
    settings, _, up = here(serve).strip().rpartition("\n")
    shell.run(settings)
    server = shell.start(up, tmp_path / "server.log")
    assert server.stdout is not None
    try:
        where = json.loads(server.stdout.readline() or "{}")
        assert where["http"].startswith("https://"), (tmp_path / "server.log").read_text()
        assert where["mqtt"].startswith("mqtts://")
        shell.run(f"export SERVER={where['http']}")
        people, goods = blocks(2)
        shell.run(here(people))
        code = json.loads(shell.run(here(goods)).partition("}")[0] + "}")["claim_code"]
        shell.run(f"export CLAIM_CODE={code}")
        enroll, sell = blocks(3)[0].strip().split("\n")
        shell.run(here(enroll))
        agent = shell.start(here(sell), tmp_path / "agent.log")
        try:
            for _ in range(100):
                seen = shell.run('$CURL "$SERVER/api/v1/machines/east-gate" -H "Authorization: Bearer $TOKEN"')
                if json.loads(seen)["is_online"]:
                    break
                time.sleep(0.2)
            else:
                pytest.fail((tmp_path / "agent.log").read_text()[-2000:])
            assert json.loads(seen)["state"] == "enrolled"
        finally:
            end(agent)
    finally:
        end(server)

"""From key press to motor: what P9 measures, with the real agent and server, and a controller that does not let wait.

An XY controller polls each 200 ms, and that wait is its own: this one polls each millisecond from the press until it is
told to turn the motor. The time runs from the moment before the press leaves the controller until the moment after it
has read the drive command; in between are the question to the server and its answer (two commits), the check of the
selection, two commits of the agent's journal, and three waits of up to a millisecond for a poll. Between presses it
polls at its usual pace, and nothing else runs.
"""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
import time
from collections import deque
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from benchmarks.programs import running
from benchmarks.site import POINTS, SELECTIONS, STOCK, Site
from jishan_agent import config
from jishan_agent.journal import open_journal
from jishan_protocol.dispensers import xy
from jishan_server.config import load
from jishan_server.people.hashing import Hashing

AGENT: Final = str(Path(sys.executable).with_name("jishan-agent"))
POLL_S: Final = xy.POLL_INTERVAL_MS / 1000
QUICK_POLL_S: Final = 0.001
DISPENSED: Final = 0x02
PATIENCE_S: Final = 60.0


class Controller:
    """The controller's end of the line, single-threaded: `turn` is one exchange."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._parser = xy.Parser()
        self._profile = xy.PROFILES["default"]
        self._pack_no = 0
        self._queue: deque[xy.Message] = deque([xy.Synchronise()])
        self.driven: int | None = None

    def turn(self, interval_s: float) -> None:
        """Send what waits, or a POLL; hear the answer; let the rest of the interval pass."""
        ends_s = time.perf_counter() + interval_s
        if not self._queue:
            self._line.sendall(xy.POLL_FRAME)
            self._hear(ends_s)
            return
        self._pack_no = xy.next_pack_no(self._pack_no)
        raw = xy.write(self._queue.popleft(), self._pack_no, self._profile)
        for _ in range(xy.MAX_SENDS):
            self._line.sendall(raw)
            if self._hear(time.perf_counter() + POLL_S, until_ack=True):
                return

    def say(self, message: xy.Message) -> None:
        """Say it at the next turn."""
        self._queue.append(message)

    def _hear(self, ends_s: float, until_ack: bool = False) -> bool:
        """Take what comes until `ends_s`, the ACK that is waited for, or a drive; whether the ACK came."""
        while self.driven is None and (left_s := ends_s - time.perf_counter()) > 0:
            if not select.select([self._line], [], [], left_s)[0]:
                continue
            data = self._line.recv(4096)
            assert data, "the agent has closed the line"
            for frame in self._parser.feed(data):
                assert isinstance(frame, xy.Frame), frame
                if frame.cmd != xy.ACK:
                    self._obey(xy.read(frame))
                elif until_ack:
                    return True
        return False

    def _obey(self, message: xy.Message) -> None:
        self._line.sendall(xy.ACK_FRAME)
        match message:
            case xy.Synchronise():
                self._queue.extend(xy.SelectionReport(one, POINTS, 5, 9, 0, 0) for one in SELECTIONS)
            case xy.Check(selection):
                self.say(xy.CheckResult(xy.CHECK_NORMAL, selection))
            case xy.Drive(_, _, selection):
                self.driven = selection
            case xy.MachineStateQuery():
                self.say(xy.MachineState(0, 0, 0, 0, 5, 0, 0, 0, b"0000000001", bytes(8)))
            case xy.SetClock():
                self.say(xy.ClockSet(0))


def presses_ms(site: Site, mqtt_url: str, folder: Path, number: int) -> list[float]:
    """Press so often, on a server that is up; gives each time from press to drive."""
    assert number <= STOCK
    given = site.machines[0]
    settings = load(site.environment)
    folder.mkdir(mode=0o700)
    with ExitStack() as open_things:
        listeners = [open_things.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        ports = [f"socket://127.0.0.1:{one.getsockname()[1]}" for one in listeners]
        config.write(
            folder,
            {name: given[name] for name in ("shard", "key_id", "key")}
            | {"machine_id": given["id"], "card_key": Hashing(settings.secret).card_key.hex(), "mqtt_url": mqtt_url}
            | {"mqtt_username": given["id"], "mqtt_password": given["mqtt_password"]}
            | {"dispenser_port": ports[0], "card_port": ports[1]},
        )
        open_journal(folder, given["journal_id"]).close()
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        open_things.enter_context(running([AGENT, "run", "--dir", str(folder)], **quiet))
        line, cards = (open_things.enter_context(listener.accept()[0]) for listener in listeners)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        controller = Controller(line)
        times_ms = []
        for turn in range(number):
            _poll_until(controller, folder, "idle")
            cards.sendall(given["cards"][turn % len(given["cards"])].encode() + b"\r\n")
            _poll_until(controller, folder, "choosing")
            times_ms.append(_press(controller, SELECTIONS[turn % len(SELECTIONS)]))
        return times_ms


def _press(controller: Controller, selection: int) -> float:
    controller.say(xy.Selected(selection))
    pressed_s = time.perf_counter()
    while controller.driven is None:
        controller.turn(QUICK_POLL_S)
        assert time.perf_counter() - pressed_s < PATIENCE_S, "the motor was never started"
    passed_ms = (time.perf_counter() - pressed_s) * 1_000
    assert controller.driven == selection
    controller.driven = None
    controller.say(xy.DispensingStatus(DISPENSED, selection))
    return passed_ms


def _poll_until(controller: Controller, folder: Path, state: str) -> None:
    """Poll at the usual pace until the agent is in a state, connected and selling."""
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        controller.turn(POLL_S)
        assert time.monotonic() < deadline_s, f"the agent does not become {state}"
        try:
            status: dict[str, Any] = json.loads((folder / "status.json").read_text())
        except FileNotFoundError:
            continue
        if status["state"] == state and status["is_selling"] and not status["outbox_length"]:
            return

"""`jishan-sim machine`: one simulated machine as a process, with its lines, its memory on disk and its control port.

The only place of the simulator with a clock, threads and files. One lock guards the face and the cabinet; whatever
has changed is on disk before the lock is let go, and so before a byte of it is sent or the control port shows it.
Killing the process is therefore a power cut: what has dropped stays dropped, a turn under way is gone.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
import threading
import time
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

import click

from jishan_protocol.dispensers import xy
from jishan_protocol.dispensers.profiles import ProfileError
from jishan_sim.cabinet import MAX_SLOTS, Cabinet, Slot
from jishan_sim.faces import FACES
from jishan_sim.faces.base import Face
from jishan_sim.faces.card_reader import CARD_BAUD_RATE, READERS, CardReader, tap
from jishan_sim.faults import Faults, from_file
from jishan_sim.ports import Port, PortError, open_port, split_address, wait

LONGEST_WAIT_S: Final = 0.5
KEYPAD_BAUD_RATE: Final = 9600
CODE_BAUD_RATE: Final = 9600
STATE_VERSION: Final = 1
CLOCK: Final[int | None] = getattr(time, "CLOCK_BOOTTIME", None)


def boot_ms() -> int:
    """Milliseconds since the computer started, sleep included where the system can say so."""
    return (time.monotonic_ns() if CLOCK is None else time.clock_gettime_ns(CLOCK)) // 1_000_000


class StateError(Exception):
    """A state file that cannot be used. The text names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateFile:
    """The non-volatile memory on disk."""

    path: Path

    def load(self, cabinet: Cabinet) -> None:
        """Take over what an earlier run left; nothing if there was none."""
        try:
            saved = json.loads(self.path.read_text("utf-8"))
            if saved["version"] != STATE_VERSION:
                raise ValueError(f"version {saved['version']}, {STATE_VERSION} is known")
            cabinet.restore(saved["cabinet"])
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StateError(f"{self.path}: {error!r}") from None

    def save(self, cabinet: Cabinet) -> None:
        """Write it durably: the file is the old one or the new one, whole, at any moment."""
        new = self.path.with_name(f"{self.path.name}.new")
        with new.open("w", encoding="utf-8") as opened:
            json.dump({"version": STATE_VERSION, "cabinet": cabinet.snapshot()}, opened)
            opened.flush()
            os.fsync(opened.fileno())
        new.replace(self.path)
        if os.name != "nt":
            folder = os.open(self.path.parent, os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)


class Machine:
    """One running machine. Every public method may be called from any thread."""

    def __init__(
        self,
        protocol: str,
        face: Face,
        dispenser_port: Port,
        card_port: Port,
        reader: CardReader,
        state_file: StateFile | None,
        keypad_port: Port | None = None,
        code_port: Port | None = None,
        screen: Path | None = None,
    ) -> None:
        self.protocol = protocol
        self.screen = screen
        self.names: dict[int, dict[str, Any]] = {}
        """What a person would read on each coil: `zh`, `en`, `points`. Only for eyes; no controller knows it."""
        self.face = face
        self._dispenser_port = dispenser_port
        self._card_port = card_port
        self._reader = reader
        self._keypad_port = keypad_port
        self._code_port = card_port if code_port is None else code_port
        self._state_file = state_file
        self._saved_revision = -1
        self._tapped = self._pressed = self._scanned = b""
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._woken, self._wake = socket.socketpair()
        self._woken.setblocking(False)
        self._wake.setblocking(False)

    @contextmanager
    def at_work(self) -> Iterator[tuple[Face, int]]:
        """The face, up to date, and the time. What is changed in here is on disk when it ends."""
        with self._lock:
            now_ms = boot_ms()
            self.face.tick(now_ms)
            yield self.face, now_ms
            self.face.tick(now_ms)
            self._save()
        self.wake()

    def tap(self, uid: str) -> None:
        """Hold a card to the reader. ValueError or ProtocolError as in `card_reader.tap`."""
        sent = tap(uid, self._reader)
        with self._lock:
            if self.face.cabinet.powered:
                self._tapped += sent
        self.wake()

    def scan(self, text: str) -> None:
        """Hold a code to its reader: the text and CR LF, on the card reader's line where it has none of its own."""
        with self._lock:
            if self.face.cabinet.powered:
                self._scanned += text.encode("utf-8") + b"\r\n"
        self.wake()

    def press(self, selection: int) -> None:
        """Press a selection on the dispenser's own keypad, or where it has none on the keypad's line; 0 cancels."""
        if self.has_keys or self._keypad_port is None:
            with self.at_work() as (face, now_ms):
                face.press(selection, now_ms)
            return
        self.type_keys(f"{selection}\n")

    @property
    def has_keys(self) -> bool:
        """Whether the dispenser itself has keys."""
        return FACES[self.protocol].has_keypad

    @property
    def has_keypad_line(self) -> bool:
        """Whether a keypad has a line of its own, for more than selections."""
        return self._keypad_port is not None

    def type_keys(self, keys: str) -> None:
        """Type on the keypad that has a line of its own: digits, and a line's end, or `#`, to enter."""
        with self._lock:
            if self.face.cabinet.powered:
                self._pressed += keys.encode("ascii")
        self.wake()

    def wake(self) -> None:
        """Make the loop look again."""
        try:
            self._wake.send(b"\0")
        except BlockingIOError:
            return  # it is being woken already

    def stop(self) -> None:
        """End `run`."""
        self._stopping.set()
        self.wake()

    def run(self) -> None:
        """Pass bytes between the line and the face until `stop`."""
        mute = [port for port in {self._card_port, self._code_port, self._keypad_port} if port is not None]
        while not self._stopping.is_set():
            for port in mute:
                port.read()
            arrived = self._dispenser_port.read()
            with self._lock:
                now_ms = boot_ms()
                if arrived:
                    self.face.receive(arrived, now_ms)
                else:
                    self.face.tick(now_ms)
                self._save()
                output = self.face.take_output()
                tapped, self._tapped = self._tapped, b""
                pressed, self._pressed = self._pressed, b""
                scanned, self._scanned = self._scanned, b""
                due_ms = self.face.next_wakeup_ms
            self._dispenser_port.write(output)
            self._card_port.write(tapped)
            self._code_port.write(scanned)
            if self._keypad_port is not None:
                self._keypad_port.write(pressed)
            timeout_s = LONGEST_WAIT_S if due_ms is None else (due_ms - boot_ms()) / 1000
            wait([self._dispenser_port, *mute], self._woken.fileno(), min(max(timeout_s, 0), LONGEST_WAIT_S))
            try:
                self._woken.recv(4096)
            except BlockingIOError:
                continue

    def close(self) -> None:
        self._woken.close()
        self._wake.close()

    def _save(self) -> None:
        revision = self.face.cabinet.revision
        if self._state_file is not None and revision != self._saved_revision:
            self._state_file.save(self.face.cabinet)
            self._saved_revision = revision


def parse_selections(text: str) -> list[int]:
    """`1-10,21` as numbers. ValueError says what is wrong."""
    selections: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,3})(?:-([0-9]{1,3}))?\s*", part, re.ASCII)
        if match is None or not 1 <= int(match[1]) <= int(match[2] or match[1]) <= xy.MAX_SELECTION:
            raise ValueError(f"{part.strip()!r} is no selection and no range within 1..{xy.MAX_SELECTION}")
        selections += range(int(match[1]), int(match[2] or match[1]) + 1)
    if len(set(selections)) != len(selections):
        raise ValueError("a selection is named twice")
    if len(selections) > MAX_SLOTS:
        raise ValueError(f"{len(selections)} slots, {MAX_SLOTS} at most")
    return selections


@click.command()
@click.option(
    "--face", "protocol", type=click.Choice(sorted(FACES)), default="xy", show_default=True, help="What it speaks."
)
@click.option("--profile", default="default", show_default=True, help="Which firmware it has.")
@click.option(
    "--profiles", "profiles_path", type=click.Path(path_type=Path), help="A file of profiles, as the agent reads it."
)
@click.option("--port", "port_spec", default="pty", show_default=True, help="pty, tcp:HOST:PORT, or a serial port.")
@click.option("--card-port", "card_spec", default="pty", show_default=True, help="The card reader's port, likewise.")
@click.option("--keypad-port", "keypad_spec", help="A keypad of its own, likewise; where the face has none, a pty.")
@click.option("--code-port", "code_spec", help="A code reader of its own, likewise; else the card reader reads codes.")
@click.option("--reader", type=click.Choice(sorted(READERS)), default="line-hex", show_default=True)
@click.option(
    "--control", default="127.0.0.1:0", show_default=True, help="HOST:PORT of the control port; 0 = any free."
)
@click.option("--link", type=click.Path(path_type=Path), help="A symbolic link to the dispenser's pty.")
@click.option("--card-link", type=click.Path(path_type=Path), help="A symbolic link to the card reader's pty.")
@click.option("--keypad-link", type=click.Path(path_type=Path), help="A symbolic link to the keypad's pty.")
@click.option("--code-link", type=click.Path(path_type=Path), help="A symbolic link to the code reader's pty.")
@click.option(
    "--screen", type=click.Path(path_type=Path), help="The agent's status.json: what the panel's screen shows."
)
@click.option("--slots", default="1-10", show_default=True, help="Selections: 1-10,21,30-35.")
@click.option("--items", type=click.IntRange(0, 255), default=5, show_default=True, help="Items on each coil.")
@click.option(
    "--faults", "faults_path", type=click.Path(path_type=Path), help="What goes wrong: a .toml or .json file."
)
@click.option("--seed", type=int, help="The seed of chance; else the faults file's, else 0.")
@click.option("--state", "state_path", type=click.Path(path_type=Path), help="The file of the non-volatile memory.")
def machine(
    protocol: str,
    profile: str,
    profiles_path: Path | None,
    port_spec: str,
    card_spec: str,
    keypad_spec: str | None,
    code_spec: str | None,
    reader: str,
    control: str,
    link: Path | None,
    card_link: Path | None,
    keypad_link: Path | None,
    code_link: Path | None,
    screen: Path | None,
    slots: str,
    items: int,
    faults_path: Path | None,
    seed: int | None,
    state_path: Path | None,
) -> None:
    """Run one simulated machine until it is told to stop.

    The first line printed is JSON and names its ports: {"dispenser": ..., "card": ..., "control": "http://..."}, and
    "keypad" and "code" where those have a line of their own. The control port's address is the front panel's.
    """
    with ExitStack() as open_things:
        try:
            faults = Faults() if faults_path is None else from_file(faults_path)
            maker = FACES[protocol]
            hung = [Slot(one, items, items) for one in parse_selections(slots)]
            chance = Random(faults.seed if seed is None else seed)
            face = maker.make(profile, hung, faults, chance, _own_profile(profiles_path, profile))
            state_file = None if state_path is None else StateFile(path=state_path)
            if state_file is not None:
                state_file.load(face.cabinet)

            def opened(spec: str, baud_rate: int, place: Path | None) -> Port:
                port = open_port(spec, baud_rate, place)
                open_things.callback(port.close)
                return port

            dispenser_port = opened(port_spec, maker.baud_rate, link)
            card_port = opened(card_spec, CARD_BAUD_RATE, card_link)
            keypad_spec = keypad_spec or (None if maker.has_keypad else "pty")
            keypad_port = None if keypad_spec is None else opened(keypad_spec, KEYPAD_BAUD_RATE, keypad_link)
            code_port = None if code_spec is None else opened(code_spec, CODE_BAUD_RATE, code_link)
            running = Machine(
                *(protocol, face, dispenser_port, card_port, READERS[reader], state_file),
                *(keypad_port, code_port, screen),
            )
            open_things.callback(running.close)
            control_url = open_things.enter_context(_control_port(running, control))
        except (PortError, StateError, ProfileError, ValueError) as error:
            raise click.ClickException(str(error)) from None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: running.stop())
        with running.at_work() as (simulated, now_ms):
            simulated.power_on(now_ms)
        named = {"dispenser": dispenser_port.name, "card": card_port.name}
        named |= {} if keypad_port is None else {"keypad": keypad_port.name}
        named |= {} if code_port is None else {"code": code_port.name}
        click.echo(json.dumps(named | {"control": control_url}))
        sys.stdout.flush()
        try:
            running.run()
        except PortError as error:
            raise click.ClickException(str(error)) from None


def _own_profile(path: Path | None, name: str) -> dict[str, Any] | None:
    """`[dispenser.NAME]` of a file of profiles. ValueError names the file."""
    if path is None:
        return None
    try:
        own = tomllib.loads(path.read_text("utf-8")).get("dispenser", {}).get(name)
    except (OSError, ValueError, AttributeError) as error:
        raise ValueError(f"{path}: {error}") from None
    if own is not None and not isinstance(own, dict):
        raise ValueError(f"{path}: dispenser.{name} is not a table")
    return own


TURN_S: Final = 0.2
"""How long the control port sleeps with nothing to do; the end of the process waits no longer than this."""


@contextmanager
def _control_port(running: Machine, address: str) -> Iterator[str]:
    """Serve the control port; its URL. PortError names an address that cannot be had."""
    # Imported here: the web is the slow half of starting, and `run` needs none of it.
    from waitress import create_server

    from jishan_sim.control import create_app

    host, port = split_address(address)
    sockets: dict[int, Any] = {}
    try:
        server = create_server(create_app(running), map=sockets, host=host, port=port, threads=2)
    except OSError as error:
        raise PortError(f"{address}: {error}") from None
    stopping = threading.Event()

    def serve() -> None:
        while not stopping.is_set():
            server.asyncore.loop(timeout=TURN_S, map=sockets, use_poll=True, count=1)
        # Closed by the thread that polls them: another would take them from under its hands.
        server.task_dispatcher.shutdown()
        server.asyncore.close_all(sockets)

    thread = threading.Thread(target=serve, name="control", daemon=True)
    thread.start()
    try:
        yield f"http://{f'[{host}]' if ':' in host else host}:{server.effective_port}"
    finally:
        stopping.set()
        thread.join()

"""A simulated machine inside this process: the cabinet of a test, on a real line, with hands and eyes as methods.

What `jishan-sim machine` is as a program, this is as an object: a thread of its own passes bytes between the line and
the face, and every method may be called from any other. It needs no test framework; `jishan_sim.pytest_plugin` hands
it to pytest.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from random import Random
from types import TracebackType
from typing import Any, Final

from jishan_sim.cabinet import Drop, Slot
from jishan_sim.control import state_of
from jishan_sim.decode import DECODERS
from jishan_sim.faces import FACES
from jishan_sim.faces.card_reader import CARD_BAUD_RATE, READERS
from jishan_sim.faults import from_mapping
from jishan_sim.machine import KEYPAD_BAUD_RATE, Machine, parse_selections
from jishan_sim.ports import Port, PortError, open_port

PATIENCE_S: Final = 10.0
"""How long `until` waits unless told: longer than a turn, a reboot and an announcement together."""

LOOK_EVERY_S: Final = 0.01
STOPS_WITHIN_S: Final = 5.0


class RunningMachine:
    """One machine with power, until `close` or the end of its `with` block.

    `face` and `profile` say what it speaks, `port`, `card_port` and `keypad_port` where it is plugged in (`pty`,
    `tcp:127.0.0.1:0`, a serial port, `mqtt://HOST:PORT/BOARD?secrets=FILE`), `slots` the selections as `1-10,21`,
    `items` what hangs on each. The same `seed`, faults and bytes make the same story.

    The attributes of the same names are the addresses to open; `keypad_port` is None where the dispenser has keys.
    PortError, ProfileError, FaultsError or ValueError say what cannot be had.
    """

    def __init__(
        self,
        face: str = "xy",
        *,
        profile: str = "default",
        own_profile: Mapping[str, object] | None = None,
        slots: str = "1-10",
        items: int = 5,
        faults: Mapping[str, object] | None = None,
        seed: int = 0,
        port: str = "pty",
        card_port: str = "pty",
        keypad_port: str | None = None,
        reader: str = "line-hex",
    ) -> None:
        if face not in FACES:
            raise ValueError(f"{face!r} is no face; there are {', '.join(sorted(FACES))}")
        maker = FACES[face]
        hung = [Slot(one, items, items) for one in parse_selections(slots)]
        made = maker.make(profile, hung, from_mapping(faults or {}), Random(seed), own_profile)
        self._lines: list[Port] = []
        try:
            dispenser_line = self._opened(port, maker.baud_rate)
            card_line = self._opened(card_port, CARD_BAUD_RATE)
            keypad_spec = keypad_port or (None if maker.has_keypad else "pty")
            keypad_line = None if keypad_spec is None else self._opened(keypad_spec, KEYPAD_BAUD_RATE)
        except PortError:
            self._close_lines()
            raise
        self.face = face
        self.port = dispenser_line.name
        self.card_port = card_line.name
        self.keypad_port = None if keypad_line is None else keypad_line.name
        self._machine = Machine(face, made, dispenser_line, card_line, READERS[reader], None, keypad_line)
        self._failure: PortError | None = None
        self.power_on()
        self._thread = threading.Thread(target=self._run, name=f"simulated {face}", daemon=True)
        self._thread.start()

    # --- hands ---

    def press(self, selection: int) -> None:
        """Press a selection on its keypad; 0 gives up."""
        self._machine.press(selection)

    def tap(self, uid: str) -> None:
        """Hold a card to its reader; `uid` in hex, most significant byte first. ValueError where it is none."""
        self._machine.tap(uid)

    def refill(self, selection: int | None = None, items: int | None = None) -> None:
        """Free and fill a coil, or all of them; to capacity, or to `items`. KeyError for a slot that is none."""
        with self._machine.at_work() as (face, now_ms):
            for one in list(face.cabinet.slots) if selection is None else [selection]:
                face.cabinet.refill(one, items)
                face.report(one, now_ms)

    def faults(self, settings: Mapping[str, object]) -> None:
        """What goes wrong from now on, in place of all before it; `{}` is nothing. FaultsError names a bad setting."""
        wanted = from_mapping(settings)
        with self._machine.at_work() as (face, _):
            face.set_faults(wanted)

    def power_cut(self) -> None:
        """Take the power away."""
        with self._machine.at_work() as (face, now_ms):
            face.power_cut(now_ms)

    def power_on(self) -> None:
        """Give it power again."""
        with self._machine.at_work() as (face, now_ms):
            face.power_on(now_ms)

    def open_door(self, is_open: bool = True) -> None:
        """Open its door, or close it."""
        with self._machine.at_work() as (face, _):
            face.cabinet.open_door(is_open)

    def set_temperature(self, celsius: int | None) -> None:
        """The cold room; None while it cannot be read."""
        with self._machine.at_work() as (face, _):
            face.cabinet.set_temperature(celsius)

    def set_price(self, selection: int, points: int) -> None:
        """Set what the machine itself asks for an item. KeyError for a slot that is none."""
        with self._machine.at_work() as (face, _):
            face.cabinet.set_price(selection, points)

    def insert_money(self, amount: int, mode: int = 1) -> None:
        """Pay, `amount` in minor units."""
        with self._machine.at_work() as (face, now_ms):
            face.insert_money(mode, amount, now_ms)

    # --- eyes ---

    def dropped(self) -> list[Drop]:
        """The items that have left it, in order: the truth, whatever it said."""
        with self._machine.at_work() as (face, _):
            return list(face.cabinet.dropped)

    def items_dropped(self, selection: int | None = None) -> int:
        """How many items have left it, in all or from one selection."""
        with self._machine.at_work() as (face, _):
            return face.cabinet.items_dropped(selection)

    def turns(self) -> int:
        """How often a motor has been started."""
        with self._machine.at_work() as (face, _):
            return face.cabinet.turns

    def state(self) -> dict[str, Any]:
        """All that it holds and knows, as `GET /state` of the control port gives it."""
        with self._machine.at_work() as (face, now_ms):
            return state_of(self.face, face, now_ms)

    def log(self) -> list[dict[str, Any]]:
        """The newest frames on its line, in words; `sender` is `host` or what answers it."""
        with self._machine.at_work() as (face, _):
            frames = list(face.log)
        return [
            {"at_ms": one.at_ms, "sender": one.sender, **line}
            for one in frames
            for line in DECODERS[self.face](one.raw)
        ]

    def until(self, holds: Callable[[], object], within_s: float = PATIENCE_S) -> None:
        """Wait until something holds. AssertionError, with what passed the line, where it does not in time."""
        deadline = time.monotonic() + within_s
        while not holds():
            if self._failure is not None:
                raise self._failure
            if time.monotonic() >= deadline:
                said = "\n".join(str(line) for line in self.log()[-20:])
                raise AssertionError(f"not within {within_s:g} s; the newest frames:\n{said}")
            time.sleep(LOOK_EVERY_S)

    # --- its end ---

    def close(self) -> None:
        """Unplug it. PortError if its line had failed before."""
        self._machine.stop()
        self._thread.join(STOPS_WITHIN_S)
        assert not self._thread.is_alive(), "a machine stops when it is told to"
        self._machine.close()
        self._close_lines()
        if self._failure is not None:
            raise self._failure

    def __enter__(self) -> RunningMachine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _opened(self, spec: str, baud_rate: int) -> Port:
        self._lines.append(open_port(spec, baud_rate))
        return self._lines[-1]

    def _close_lines(self) -> None:
        for line in self._lines:
            line.close()

    def _run(self) -> None:
        try:
            self._machine.run()
        except PortError as error:
            self._failure = error

"""What every face is: the cabinet speaking one protocol, without a clock and without a port.

Bytes and the time in milliseconds come in as arguments, bytes go out; `next_wakeup_ms` says when `tick` is due, and a
late `tick` runs everything in the order in which it was due. The cabinet behind it is the physical truth and the same
for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, Generic, NamedTuple, Protocol

from jishan_protocol.dispensers.profiles import P, Profile, chosen
from jishan_sim.cabinet import Cabinet, Slot
from jishan_sim.faults import Faults

MAX_LOG: Final = 1_000  # frames kept for the person who looks


class Logged(NamedTuple):
    """One frame, or bytes that were none, as it passed the dispenser's plug. `sender` is `host`, or what answers it."""

    at_ms: int
    sender: str
    raw: bytes


class Face(Protocol):
    """A dispenser of one protocol with a cabinet behind it.

    `faults` are those in force, without what is used up; `late_answers` counts what the host said too late, where the
    protocol has a time for it, `bad_bytes` what came in and was no frame, `log` holds the newest MAX_LOG frames.
    """

    cabinet: Cabinet
    faults: Faults
    late_answers: int
    bad_bytes: int

    @property
    def profile(self) -> Profile: ...

    @property
    def log(self) -> Sequence[Logged]: ...

    def set_faults(self, faults: Faults) -> None:
        """Replace every fault from now on; a vend under way keeps its own."""

    def power_on(self, now_ms: int) -> None:
        """Power comes. Nothing happens if it has power."""

    def power_cut(self, now_ms: int) -> None:
        """Power goes: the motor stops, everything volatile is lost, nothing more is sent."""

    def receive(self, data: bytes, now_ms: int) -> None:
        """Bytes from the host, in pieces of any size."""

    def take_output(self) -> bytes:
        """The bytes that have come out of the cable since the last call, up to the last `tick`."""

    def press(self, selection: int, now_ms: int) -> None:
        """A person presses a selection on the dispenser's keypad; 0 cancels. Nothing where it has no keypad."""

    def insert_money(self, mode: int, amount: int, now_ms: int) -> None:
        """A person pays, `amount` in minor units. Nothing where it takes none."""

    def report(self, selection: int, now_ms: int) -> None:
        """A person has refilled a slot: the host is told where the protocol has a word for it."""

    @property
    def next_wakeup_ms(self) -> int | None:
        """When `tick` has something to do; None while there is no power and nothing brings it back."""

    def tick(self, now_ms: int) -> None:
        """Do everything that was due by now, in order."""


@dataclass(frozen=True, slots=True)
class FaceMaker(Generic[P]):
    """How the face of one protocol is made: its built-in profiles, the usual speed of its line, and its class.

    `has_keypad`: a person presses on the dispenser; else presses go out on a line of the keypad's own.
    """

    profiles: Mapping[str, P]
    baud_rate: int
    build: Callable[[Iterable[Slot], P, Faults, Random], Face]
    has_keypad: bool = True

    def profile(self, name: str, own: Mapping[str, object] | None = None) -> P:
        """The profile of that name, with an operator's `own` settings of it. ProfileError names what is wrong."""
        return chosen(self.profiles, name, own)

    def make(
        self,
        profile: str,
        slots: Iterable[Slot],
        faults: Faults,
        random: Random,
        own: Mapping[str, object] | None = None,
    ) -> Face:
        """A face with a profile and a cabinet of its own that counts as this firmware does. ProfileError likewise."""
        return self.build(slots, self.profile(profile, own), faults, random)

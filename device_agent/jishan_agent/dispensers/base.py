"""What the agent asks of a dispenser, and what a dispenser tells the agent.

A driver is a codec on a byte stream: bytes and the time come in as arguments, bytes and events go out, nothing waits
and nothing reads a clock. `receive` is called from the port's own thread as soon as bytes arrive; what a person or
the server decides comes later, from the agent's loop.

One vend at a time. The rule that every driver keeps: the bytes that may turn a motor leave at most once, and the
dispenser's own record of a result is acknowledged away only after `release`, which the agent calls when the result
stands in its journal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

Readings = Mapping[str, int]
"""Numbers read from the dispenser before and after a vend, by name: what a proof compares."""

Closes = Literal["selection", "machine"]


@dataclass(frozen=True, slots=True)
class Memory:
    """What a former run leaves to its successor's driver.

    `pack_number`, 0..254: the last communication number that may have been used; the next one is not used yet.
    """

    pack_number: int = 0


@dataclass(frozen=True, slots=True)
class Pressed:
    """A resident pressed a selection on the dispenser's own keypad, on a keypad of its own, or on the screen.

    `points` is the price that the machine shows for it, where it shows one.
    """

    selection: int
    points: int | None = None


@dataclass(frozen=True, slots=True)
class CancelPressed:
    """A resident gave up the choice."""


NOT_PRESSED = "not_requested"
"""The code of `Checked` by a machine that sells only what was pressed on itself, and nothing was."""


@dataclass(frozen=True, slots=True)
class Checked:
    """The answer to `check`. `closes` says how much must not be sold, `readings` are those before the vend."""

    selection: int
    is_sellable: bool
    code: str
    closes: Closes | None = None
    readings: Readings | None = None


@dataclass(frozen=True, slots=True)
class DriveSent:
    """The bytes that turn the motor have been handed to the port."""

    selection: int


@dataclass(frozen=True, slots=True)
class Progressed:
    """The vend goes on; there is no result yet."""

    selection: int
    code: str


@dataclass(frozen=True, slots=True)
class VendSucceeded:
    """The dispenser says that the item left; `is_verified` when its drop sensor was to see it."""

    selection: int
    is_verified: bool
    code: str


@dataclass(frozen=True, slots=True)
class VendFailed:
    """The dispenser says that nothing left, or nothing that could turn the motor was ever sent (`never_sent`)."""

    selection: int
    code: str
    closes: Closes


@dataclass(frozen=True, slots=True)
class VendUnknown:
    """The vend may have happened; the dispenser did not say."""

    selection: int
    reason: str


@dataclass(frozen=True, slots=True)
class VendProved:
    """Readings before and after prove what an unknown vend did. Comes with the dispenser at rest."""

    selection: int
    is_dispensed: bool
    evidence: str


@dataclass(frozen=True, slots=True)
class AtRest:
    """After `recover`: nothing is turning or queued any more, and nothing was proved. The next vend may come."""


@dataclass(frozen=True, slots=True)
class StrayResult:
    """A result with no vend open, or a second, different one. It changes nothing; staff should know."""

    selection: int
    code: str


@dataclass(frozen=True, slots=True)
class OnlineChanged:
    """The dispenser began or ceased to be there and ready."""

    is_online: bool


@dataclass(frozen=True, slots=True)
class Restarted:
    """The dispenser says that it has started again by itself."""


@dataclass(frozen=True, slots=True)
class StateRead:
    """The cabinet's door (`open`, `closed`, `unknown`) and temperature in tenths of a degree Celsius."""

    door: str
    temperature_tenths_c: int | None


@dataclass(frozen=True, slots=True)
class SelectionReported:
    """The dispenser's own view of one selection. Its stock is evidence for a person, never an event."""

    selection: int
    is_sellable: bool
    code: str
    stock: int


@dataclass(frozen=True, slots=True)
class Ignored:
    """The dispenser said something that a scheme of points has no use for, such as money: a line in the log."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Troubled:
    """The dispenser says of itself, with no vend open, that something is wrong; staff should know."""

    code: str


@dataclass(frozen=True, slots=True)
class Served:
    """The answer to `Serviced.service`: whether it was done, and what was said."""

    name: str
    is_done: bool
    detail: str


DispenserEvent = (
    Pressed
    | CancelPressed
    | Checked
    | DriveSent
    | Progressed
    | VendSucceeded
    | VendFailed
    | VendUnknown
    | VendProved
    | AtRest
    | StrayResult
    | OnlineChanged
    | Restarted
    | StateRead
    | SelectionReported
    | Ignored
    | Troubled
    | Served
)


class Dispenser(Protocol):
    """A driver. All times are milliseconds of the agent's monotonic clock."""

    @property
    def name(self) -> str:
        """The profile's name, as the heartbeat tells it."""

    @property
    def pack_number(self) -> int:
        """The last communication number used; kept on disk so that a restart does not use it again at once."""

    @property
    def next_wakeup_ms(self) -> int | None:
        """When `tick` should be called at the latest."""

    def receive(self, data: bytes, now_ms: int) -> None:
        """Take bytes from the port, in pieces of any size."""

    def tick(self, now_ms: int) -> None:
        """Let time pass: time-outs, periodic queries."""

    def take_output(self) -> bytes:
        """Give the bytes to be written now, once; bytes that cannot be written are lost, never kept for later."""

    def take_events(self) -> list[DispenserEvent]:
        """Give what has happened since the last call."""

    def begin(self, points: int, now_ms: int) -> None:
        """A resident has identified before pressing and may spend `points` at most.

        A dispenser that wants credit first begins a session; others do nothing.
        """

    def cancel(self, now_ms: int) -> None:
        """The choice that was pressed, or the session that began, ends without a vend: refused, given up or timed out.

        Never called between `vend` and the end of that vend. A dispenser whose machine waits for a word about the
        choice says so now; others do nothing. With nothing open it does nothing. What is pressed while a vend is in
        hand is refused by the driver itself, if its machine waits for an answer.
        """

    def check(self, selection: int, now_ms: int) -> None:
        """Ask whether a selection can be sold, and take the readings before the vend. Answered by Checked."""

    def vend(self, selection: int, not_after_ms: int, now_ms: int) -> None:
        """Turn the motor once, unless `not_after_ms` has passed when the bytes would leave."""

    def release(self, now_ms: int) -> None:
        """The last result is journaled: the dispenser's own record of it may be acknowledged away."""

    def recover(self, selection: int, readings: Readings | None, now_ms: int) -> None:
        """Find out that the dispenser is at rest and what it can prove; answered by VendProved or AtRest."""

    def set_clock(self, local_time: tuple[int, int, int, int, int, int], now_ms: int) -> None:
        """Set the dispenser's clock: year, month, day, hour, minute, second of the place it stands in."""


CLEAR_JAMS = "clear-jams"
"""The service that has the dispenser forget its jams: a person has looked, and opened the selection again."""


@runtime_checkable
class Serviced(Protocol):
    """A driver that can also do what only a person in front of the machine should ask for. Nothing of it sells."""

    @property
    def services(self) -> Mapping[str, str]:
        """Name -> what it does; those that want a number say so by `NUMBER`."""

    def service(self, name: str, number: int | None, now_ms: int) -> None:
        """Do it; answered by Served, also where a vend is in hand and nothing is done."""

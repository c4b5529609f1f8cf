"""What agent and server say to each other, as frozen dataclasses, and their form in JSON.

`encode` and `decode` are exact opposites. A message body has exactly the members of its dataclass: one that is
missing, unknown, or of another type or range is refused with a ProtocolError that names it. The table `MESSAGES` is the
protocol; `docs/protocol.md` explains it to people who write agents in other languages.
"""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from jishan_protocol.envelope import MAX_INTEGER
from jishan_protocol.errors import ProtocolError

MAX_POINTS: Final = 1_000_000
"""More than any planogram holds; it keeps sums far away from 2^53."""

MAX_SLOTS: Final = 120
"""XY machines number at most 100 selections in a cabinet; with names they stay within one payload."""

MAX_BLOCKED_CARDS: Final = 200
MAX_REJECTED: Final = 1000
MAX_VOUCHERS_CLOSED: Final = 64
"""More single numbers than this are closed by the next message."""

Id = Annotated[str, re.compile(r"[0-9a-z_-]{1,40}")]
Code = Annotated[str, re.compile(r"[0-9a-z_.:-]{0,60}")]
Text = Annotated[str, re.compile("[^\\x00\\ud800-\\udfff]{0,400}")]
Token = Annotated[str, re.compile(r"[0-9A-Za-z_=.:-]{1,600}")]
Count = Annotated[int, range(0, MAX_INTEGER)]
Positive = Annotated[int, range(1, MAX_INTEGER)]
Points = Annotated[int, range(1, MAX_POINTS + 1)]
Change = Annotated[int, range(-MAX_INTEGER, MAX_INTEGER)]
Selection = Annotated[int, range(0, 10_000)]
Tenths = Annotated[int, range(-1000, 2000)]


# Up, asked and answered at once: never in the outbox, gone with the process.


@dataclass(frozen=True, slots=True)
class Authorize:
    """May this credential take this selection at what the resident was shown? The credential is sealed."""

    redemption_id: Id
    credential: Token
    selection: Selection
    planogram_version: Count
    product_id: Id
    points: Points


@dataclass(frozen=True, slots=True)
class Greet:
    """Whose card is this, and what is new for them? Before a choice; the credential is sealed for `greet_id`.

    The answer is nice to have: nothing waits for it, and there may be none.
    """

    greet_id: Id
    credential: Token


@dataclass(frozen=True, slots=True)
class Declined:
    """What waits on a phone is not begun here, and why: another person has come meanwhile, the machine is busy."""

    claim_id: Id
    code: Code


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The machine's state of this moment. `number` grows within a session."""

    number: Count
    selling: bool
    reason: Code
    state: Code
    door: Code
    temperature_tenths_c: Tenths | None
    outbox_length: Count
    last_seq: Count
    planogram_version: Count
    agent_version: Code
    dispenser: Code


# Up, from the outbox: delivered until the server's own acknowledgement comes back.


@dataclass(frozen=True, slots=True)
class NotStarted:
    """No byte that could turn the motor has left: lapsed, check failed, cancelled, restarted."""

    redemption_id: Id
    reason: Code


@dataclass(frozen=True, slots=True)
class VendStarted:
    """The dispenser is about to be told. `approval` is the server's own token, given back."""

    redemption_id: Id
    approval: Token
    selection: Selection
    product_id: Id
    points: Points
    readings: Mapping[str, int] | None


@dataclass(frozen=True, slots=True)
class Dispensed:
    """The item left; `verified` when a drop sensor saw it."""

    redemption_id: Id
    verified: bool
    code: Code


@dataclass(frozen=True, slots=True)
class NotDispensed:
    """The dispenser says that nothing left; `closes` says how much must not be sold until a person has looked."""

    redemption_id: Id
    code: Code
    closes: Literal["selection", "machine"]


@dataclass(frozen=True, slots=True)
class OutcomeUnknown:
    """The vend may have happened and nobody here can know."""

    redemption_id: Id
    reason: Code


@dataclass(frozen=True, slots=True)
class ProvedDispensed:
    """Readings before and after prove that exactly this item left."""

    redemption_id: Id
    evidence: Text


@dataclass(frozen=True, slots=True)
class ProvedNotDispensed:
    """Readings before and after prove that nothing left."""

    redemption_id: Id
    evidence: Text


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that staff should know: a dispenser fault, a result with no vend open, a full disk."""

    selection: Selection | None
    code: Code
    detail: Text


@dataclass(frozen=True, slots=True)
class Reported:
    """The desired document that the machine now follows."""

    version: Count
    planogram_version: Count


@dataclass(frozen=True, slots=True)
class VouchersClosed:
    """From now on no voucher of this journal is taken whose number is `up_to` or lower, or one of `numbers`.

    What was taken before stands before it in the outbox.
    """

    up_to: Count
    numbers: tuple[Positive, ...]


# Down.


@dataclass(frozen=True, slots=True)
class Approved:
    """The points are held. Vend within `vend_within_s` of having asked, or not at all."""

    redemption_id: Id
    approval: Token
    vend_within_s: Positive
    available_points: Count
    resident_label: Text


@dataclass(frozen=True, slots=True)
class Denied:
    """No, and why: a stable code and words for the resident."""

    redemption_id: Id
    code: Code
    text_zh: Text
    text_en: Text


@dataclass(frozen=True, slots=True)
class Found:
    """The id is known already and this is its state: nothing was done."""

    redemption_id: Id
    state: Code


@dataclass(frozen=True, slots=True)
class Greeting:
    """What to tell the person whose card it is: what is new since their last tap. At the first one
    `points_changed` is null."""

    greet_id: Id
    resident_label: Text
    available_points: Count
    points_changed: Change | None
    unread_messages: Count


@dataclass(frozen=True, slots=True)
class Ack:
    """Everything up to `upto` is committed; of it, `rejected` was kept for a person and not applied.

    `catch_up_from` asks for everything from that sequence on, after the server was restored from a backup.
    """

    upto: Count
    rejected: tuple[Positive, ...]
    session: Id
    server_at_ms: Count
    catch_up_from: Positive | None


@dataclass(frozen=True, slots=True)
class Slot:
    """One selection as the machine shows it."""

    selection: Selection
    product_id: Id
    name_zh: Text
    name_en: Text
    points: Points
    is_enabled: bool


@dataclass(frozen=True, slots=True)
class Desired:
    """What the machine is to show and to keep to; a lower `version` than the one in force is ignored."""

    version: Positive
    planogram_version: Count
    is_closed: bool
    heartbeat_s: Positive
    slots: tuple[Slot, ...]
    blocked_cards: tuple[Id, ...]


# Down, unasked.


@dataclass(frozen=True, slots=True)
class Waiting:
    """A resident who opened `screen_code` has chosen on the phone. It moves nothing: the machine that showed this very
    code, to nobody else since, may ask `authorize` with the credential `claim`, or say `declined`. Said again until
    one of the two came, or it is too late.
    """

    claim_id: Id
    screen_code: Id
    selection: Selection
    planogram_version: Count
    product_id: Id
    points: Points


@dataclass(frozen=True, slots=True)
class CloseVouchers:
    """Refuse these numbers from now on, say so with `vouchers_closed`, and check texts with `key`.

    Machines that may give vouchers' items have it before the first voucher is made.
    """

    up_to: Count
    numbers: tuple[Positive, ...]
    key: Token


AskMessage = Authorize | Greet | Declined
OutboxMessage = (
    NotStarted
    | VendStarted
    | Dispensed
    | NotDispensed
    | OutcomeUnknown
    | ProvedDispensed
    | ProvedNotDispensed
    | Fault
    | Reported
    | VouchersClosed
)
Answer = Approved | Denied | Found | Greeting
Message = AskMessage | Heartbeat | OutboxMessage | Answer | Ack | Desired | Waiting | CloseVouchers

MESSAGES: Final[dict[str, dict[str, type[Any]]]] = {
    "ask": {"authorize": Authorize, "greet": Greet, "declined": Declined},
    "beat": {"heartbeat": Heartbeat},
    "outbox": {
        "not_started": NotStarted,
        "vend_started": VendStarted,
        "dispensed": Dispensed,
        "not_dispensed": NotDispensed,
        "outcome_unknown": OutcomeUnknown,
        "proved_dispensed": ProvedDispensed,
        "proved_not_dispensed": ProvedNotDispensed,
        "fault": Fault,
        "reported": Reported,
        "vouchers_closed": VouchersClosed,
    },
    "answer": {"approved": Approved, "denied": Denied, "found": Found, "greeting": Greeting},
    "ack": {"ack": Ack},
    "desired": {"desired": Desired, "close_vouchers": CloseVouchers},
    "offer": {"waiting": Waiting},
}
"""Topic kind -> message type -> dataclass."""

_TYPE_OF: Final[dict[type[Any], str]] = {form: name for forms in MESSAGES.values() for name, form in forms.items()}
_MAX_ITEMS: Final = {
    "slots": MAX_SLOTS,
    "blocked_cards": MAX_BLOCKED_CARDS,
    "rejected": MAX_REJECTED,
    "readings": 8,
    "numbers": MAX_VOUCHERS_CLOSED,
}

Reader = Callable[[Any, str], Any]


def encode(message: Message) -> tuple[str, dict[str, Any]]:
    """Give a message's type name and its JSON body."""
    return _TYPE_OF[type(message)], _plain(message)


def decode(kind: str, type_name: str, body: Mapping[str, Any]) -> Message:
    """Read a message of topic kind `kind`.

    Raises ProtocolError("unknown_type") or ProtocolError("bad_body"), which names the member.
    """
    form = MESSAGES.get(kind, {}).get(type_name)
    if form is None:
        raise ProtocolError("unknown_type", f"{type_name[:40]!r} on {kind[:20]!r}")
    message: Message = _reader(form)(body, type_name)
    return message


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | int):
        return value
    if dataclasses.is_dataclass(value):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return dict(value)
    return value


def _refuse(where: str, why: str) -> typing.NoReturn:
    raise ProtocolError("bad_body", f"{where}: {why}")


def _read_bool(value: Any, where: str) -> Any:
    return value if isinstance(value, bool) else _refuse(where, "not true or false")


def _reader_of_int(allowed: range) -> Reader:
    def read(value: Any, where: str) -> Any:
        if type(value) is not int or value not in allowed:
            _refuse(where, f"not an integer from {allowed.start} to {allowed.stop - 1}")
        return value

    return read


def _reader_of_text(pattern: re.Pattern[str]) -> Reader:
    def read(value: Any, where: str) -> Any:
        if not isinstance(value, str) or pattern.fullmatch(value) is None:
            _refuse(where, f"not text of the form {pattern.pattern}")
        return value

    return read


def _reader_of_choice(choices: tuple[Any, ...]) -> Reader:
    return lambda value, where: value if value in choices else _refuse(where, f"not one of {choices}")


def _reader_of_optional(read: Reader) -> Reader:
    return lambda value, where: None if value is None else read(value, where)


def _reader_of_items(read: Reader) -> Reader:
    def read_items(value: Any, where: str) -> Any:
        if not isinstance(value, list) or len(value) > _MAX_ITEMS[where.rpartition(".")[2]]:
            _refuse(where, "not a list, or too long")
        return tuple(read(item, f"{where}[{index}]") for index, item in enumerate(value))

    return read_items


def _reader_of_readings(value: Any, where: str) -> Any:
    if not isinstance(value, dict) or len(value) > _MAX_ITEMS["readings"]:
        _refuse(where, "not an object of at most 8 members")
    name, number = _reader_of_text(re.compile(r"[a-z_]{1,30}")), _reader_of_int(range(0, MAX_INTEGER))
    return {name(key, where): number(item, f"{where}.{key}") for key, item in value.items()}


def _reader_of_object(form: type[Any]) -> Reader:
    hints = typing.get_type_hints(form, include_extras=True)
    readers = tuple((name, _reader_of(hints[name])) for name in form.__dataclass_fields__)
    names = frozenset(hints)

    def read(value: Any, where: str) -> Any:
        if not isinstance(value, dict):
            _refuse(where, "not an object")
        if value.keys() != names:
            odd = sorted(value.keys() ^ names, key=str)[0]
            _refuse(f"{where}.{str(odd)[:40]}", "missing" if odd in names else "unknown")
        return form(*[read_member(value[name], f"{where}.{name}") for name, read_member in readers])

    return read


def _reader_of(hint: Any) -> Reader:
    """Compile the reader of one type hint; the hints used above are all there are."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is bool:
        return _read_bool
    if origin is Annotated:
        base, bound = arguments
        return _reader_of_int(bound) if base is int else _reader_of_text(bound)
    if origin is Literal:
        return _reader_of_choice(arguments)
    if origin in (types.UnionType, typing.Union):
        return _reader_of_optional(_reader_of(arguments[0]))
    if origin is tuple:
        return _reader_of_items(_reader_of(arguments[0]))
    if dataclasses.is_dataclass(hint):
        return _reader(typing.cast("type[Any]", hint))
    return _reader_of_readings


_READERS: Final[dict[type[Any], Reader]] = {}


def _reader(form: type[Any]) -> Reader:
    read = _READERS.get(form)
    if read is None:
        read = _READERS[form] = _reader_of_object(form)
    return read

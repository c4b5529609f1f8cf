"""The agent without its threads: events in, and out through the journal, the dispenser and `publish`.

The loop calls `handle` for everything that happens and `tick` when `next_wakeup_ms` has come; so does the simulation,
with a virtual clock. What decides is in `vending.step`; this module commits a step's writes, does its actions, and
keeps the link: sessions, heartbeats, the outbox, the desired document.

Rules of the link:
- Outbox rows are sent in order, again after a reconnect and when no acknowledgement came for RESEND_MS, as the bytes
  that were signed. A broker's word counts for nothing; only the server's `ack` closes a row.
- Nothing is published while the link is down: what waits, waits in the journal.
- The server's time is known from the newest `ack` of this very session, and counted on by the monotonic clock. Before
  the first one, only heartbeats go out.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final, assert_never

import structlog

from jishan_agent import keying, vending
from jishan_agent.dispensers import base
from jishan_agent.journal import MAX_UNACKED, Journal, OutboxRow
from jishan_agent.keying import Keyed
from jishan_agent.vending import Surroundings, Vending, VendingEvent
from jishan_agent.vouchers import CLOSED_MS, MAX_WRONG, Known, Promised, VoucherShown, judge
from jishan_agent.words import Say, say
from jishan_protocol import topics
from jishan_protocol.envelope import Envelope, Session, seal, unseal
from jishan_protocol.errors import ProtocolError
from jishan_protocol.ids import RANDOM_BITS, timed_id
from jishan_protocol.messages import (
    Ack,
    Approved,
    Authorize,
    CloseVouchers,
    Declined,
    Denied,
    Desired,
    Dispensed,
    Fault,
    Found,
    Greet,
    Greeting,
    Heartbeat,
    NotDispensed,
    NotStarted,
    OutboxMessage,
    OutcomeUnknown,
    ProvedDispensed,
    ProvedNotDispensed,
    Reported,
    Slot,
    VendStarted,
    Waiting,
    decode,
    encode,
)
from jishan_protocol.personal_codes import is_member_number, read_code
from jishan_protocol.screen_codes import AHEAD_S, SHOWN_S, screen_code
from jishan_protocol.sealing import NONCE_BYTES, Credential, card_hash, seal_credential
from jishan_protocol.vouchers import PREFIX as VOUCHER_PREFIX
from jishan_protocol.vouchers import looks_typed

WINDOW: Final = 64
"""So many unacknowledged messages are under way at once; a machine that was away for a day does not flood its shard."""

RESEND_MS: Final = 10_000
"""Without an acknowledgement for so long, the outbox is sent again from its first open row."""

DEFAULT_HEARTBEAT_S: Final = 15
"""Until the server has said how often."""

FIRST_BEAT_AGAIN_MS: Final = 3_000
"""The heartbeat that opens a session is repeated until it is answered: without it nothing can be sold."""

MAX_UNANSWERED_BEATS: Final = 3
"""So many heartbeats without an answer, and the server's time is asked for anew: the estimate may be what is wrong."""

RESERVE_AGAIN_MS: Final = 60_000
"""How often a full disk is tried again."""

CODE_KEPT_MS: Final = 15 * 60_000
"""A code on the screen may be opened for 2 minutes, and who opened it has 10 to choose."""

MAX_PACK_NUMBERS_AHEAD: Final = 64
"""The journal may lag so far behind the dispenser's PackNO; a new run skips that many of the 255."""

_OUTCOMES: Final = (NotStarted, Dispensed, NotDispensed, OutcomeUnknown, ProvedDispensed, ProvedNotDispensed)

StopAt = Callable[[str], None]
"""Called with the name of each of the seven steps as it is reached; the kill tests end the process there."""


@dataclass(frozen=True, slots=True)
class LinkUp:
    """The broker has granted the subscription of a new connection."""


@dataclass(frozen=True, slots=True)
class LinkDown:
    """The connection to the broker is gone."""


@dataclass(frozen=True, slots=True)
class Received:
    """A message came down."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class DispenserSpoke:
    """The driver has something to tell."""


@dataclass(frozen=True, slots=True)
class CardUnreadable:
    """The reader printed something that is no card."""

    detail: str


@dataclass(frozen=True, slots=True)
class Scanned:
    """A scanner read this text."""

    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class CannotSpeak:
    """The machine is to speak and has no way to."""

    detail: str


AgentEvent = (
    LinkUp
    | LinkDown
    | Received
    | DispenserSpoke
    | CardUnreadable
    | CannotSpeak
    | VoucherShown
    | Scanned
    | Keyed
    | vending.Identified
    | vending.Stayed
    | base.Pressed
    | base.CancelPressed
)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this machine is, from its enrolment. `keys` sign by key id, `card_key` hashes the cards of the block list."""

    machine_id: str
    shard: int
    key_id: int
    keys: dict[int, bytes] = field(repr=False)
    card_key: bytes = field(repr=False)
    utc_offset_minutes: int = 480
    agent_version: str = "0"
    site_url: str = ""
    """What the address on the screen begins with; empty: none is shown."""
    has_keypad: bool = False
    """Of its own, on which a number and a PIN can be typed."""

    @property
    def key(self) -> bytes:
        """The key in use."""
        return self.keys[self.key_id]


@dataclass(frozen=True, slots=True)
class Status:
    """What a person who looks at the machine may know."""

    state: str
    said: Say
    is_selling: bool
    why_not_selling: str
    is_connected: bool
    redemption_id: str
    outbox_length: int
    address: str = ""
    """For a phone to scan, while nobody is being served."""


@dataclass(frozen=True, slots=True)
class Front:
    """What a person in front of the machine may see and hear: no card, no member number, no PIN."""

    said: Say
    said_number: int
    """Grows with every sentence: the same one may be said twice."""
    why_not_selling: str
    slots: tuple[Slot, ...]
    closed: frozenset[int]
    is_identified: bool
    choice: Slot | None
    choice_ends_ms: int | None
    redemption: vending.Redemption | None
    news: Greeting | None
    address: str = ""
    """For a phone to scan, while nobody is being served."""
    typed: str = ""
    """What has been typed on the keypad, a PIN as dots."""
    awaits_pin: bool = False
    listen_number: int = 0
    """Grows when somebody enters nothing on the keypad: they want to hear what there is."""


def stop_nowhere(step: str) -> None:
    """The `StopAt` of every run that is not a kill test."""


class Agent:
    """One machine. `random` makes ids and nonces: SystemRandom in a real one, seeded in a simulation.

    `line` is held while the dispenser is spoken to, for a loop whose port has a thread of its own.
    """

    def __init__(
        self,
        identity: Identity,
        journal: Journal,
        dispenser: base.Dispenser,
        publish: Callable[[str, bytes], None],
        random: Random,
        stop_at: StopAt = stop_nowhere,
        line: AbstractContextManager[object] | None = None,
    ) -> None:
        self._identity = identity
        self._journal = journal
        self._dispenser = dispenser
        self._publish = publish
        self._random = random
        self._stop_at = stop_at
        self._line = line or nullcontext()
        self._log = structlog.get_logger("jishan_agent").bind(machine_id=identity.machine_id)
        self._vending = Vending()
        self._said = say("welcome")
        self._said_number = 0
        self._session: Session | None = None
        self._connection = 0
        self._beat_number = 0
        self._beat_due_ms = 0
        self._server_clock: tuple[int, int] | None = None
        self._unanswered_beats = 0
        self._sent_upto = 0
        self._resend_at_ms = 0
        self._reserve_due_ms = 0
        self._is_clock_due = False
        self._is_clearing_due = False
        self._is_journal_behind = False
        self._is_dispenser_online = False
        self._door = "unknown"
        self._temperature_tenths_c: int | None = None
        self._last_pack_number = journal.pack_number
        self._desired = journal.desired()
        self._slots: dict[int, Slot] = {}
        self._follow_desired()
        self._closures = journal.closures()
        self._digits_closed_until_ms: int | None = None
        self._entry = keying.Entry()
        self._listen_number = 0
        self._screen_codes: dict[str, int] = {}
        self._screen_code = ""
        self._screen_code_s = 0

    # What the loop calls.

    def start(self, now_ms: int) -> None:
        """Begin a run: count it, end what never began, look after what may have happened."""

        def begin() -> None:
            self._journal.begin_run()
            self._journal.save_pack_number(self._dispenser.pack_number)

        self._journal.write(begin)
        self._sent_upto = self._journal.acked_upto
        self._reserve_due_ms = now_ms + RESERVE_AGAIN_MS
        if self._journal.wrong_digits >= MAX_WRONG:
            # This clock began anew: how much of the time has passed is not known.
            self._digits_closed_until_ms = now_ms + CLOSED_MS
        self._step(vending.Started(self._journal.left_open()), now_ms)

    def handle(self, event: AgentEvent, now_ms: int) -> None:
        """Take what happened. Raises JournalBroken, after which this object must not be used any more."""
        match event:
            case LinkUp():
                self._link_up(now_ms)
            case LinkDown():
                self._link_down(now_ms)
            case Received():
                self._receive(event, now_ms)
            case DispenserSpoke():
                self._hear_dispenser(now_ms)
            case CardUnreadable():
                self._log.warning("card_unreadable", detail=event.detail)
                self._say(say("bad_card"))
            case CannotSpeak():
                self._log.warning("no_sound", detail=event.detail)
                self._commit((vending.Post(Fault(None, "no_sound", event.detail)),))
            case VoucherShown():
                self._show_voucher(event.text, now_ms)
            case Scanned():
                self._take_scanned(event.text.strip(), now_ms)
            case Keyed():
                self._take_keys(event.keys, now_ms)
            case vending.Identified() | vending.Stayed() | base.Pressed() | base.CancelPressed():
                self._step(event, now_ms)
            case _:
                assert_never(event)

    def tick(self, now_ms: int) -> None:
        """Let time pass."""
        with self._line:
            self._dispenser.tick(now_ms)
        self._hear_dispenser(now_ms)
        self._step(vending.TimePassed(), now_ms)
        if not self._journal.has_reserve and now_ms >= self._reserve_due_ms:
            self._reserve_due_ms = now_ms + RESERVE_AGAIN_MS
            self._journal.restore_reserve()
        self._keep_pack_number()
        self._clear_jams(now_ms)
        self._show_code(now_ms)
        if now_ms - self._entry.typed_ms > keying.GAP_MS:
            self._entry = keying.Entry()
        if self._session is None:
            return
        if now_ms >= self._beat_due_ms:
            self._beat(now_ms)
        if self._journal.outbox_length and now_ms >= self._resend_at_ms:
            self._sent_upto = self._journal.acked_upto
        self._send_outbox(now_ms)

    @property
    def next_wakeup_ms(self) -> int | None:
        """When `tick` has something to do at the latest."""
        due = [self._dispenser.next_wakeup_ms, self._vending.next_wakeup_ms]
        if self._entry != keying.Entry(typed_ms=self._entry.typed_ms):
            due.append(self._entry.typed_ms + keying.GAP_MS + 1)
        if self._screen_code in self._screen_codes:
            due.append(self._screen_codes[self._screen_code] + 1000 * SHOWN_S)
        if self._session is not None:
            due.append(self._beat_due_ms)
            due.append(self._resend_at_ms if self._journal.outbox_length else None)
        if not self._journal.has_reserve:
            due.append(self._reserve_due_ms)
        return min((at_ms for at_ms in due if at_ms is not None), default=None)

    @property
    def status(self) -> Status:
        """What stands in the status file."""
        attempt = self._vending.attempt
        state = "idle" if self._vending.choice_ends_ms is None else "choosing"
        why_not = self._why_not_selling()
        return Status(
            state=state if attempt is None else attempt.redemption.state.value,
            said=self._said,
            is_selling=not why_not,
            why_not_selling=why_not,
            is_connected=self._session is not None,
            redemption_id="" if attempt is None else attempt.redemption.id,
            outbox_length=self._journal.outbox_length,
            address=self._address,
        )

    @property
    def front(self) -> Front:
        """What the machine's own screen and voice tell."""
        state = self._vending
        return Front(
            said=self._said,
            said_number=self._said_number,
            why_not_selling=self._why_not_selling(),
            slots=tuple(sorted(self._slots.values(), key=lambda slot: slot.selection)),
            closed=frozenset(selection for selection in self._closures if selection is not None),
            is_identified=state.credential is not None,
            choice=state.choice,
            choice_ends_ms=state.choice_ends_ms,
            redemption=None if state.attempt is None else state.attempt.redemption,
            news=state.news,
            address=self._address,
            typed=self._entry.shown(is_pin=state.wants_pin),
            awaits_pin=bool(self._entry.member) or state.wants_pin,
            listen_number=self._listen_number,
        )

    # A step of the vending, carried out.

    def _step(self, event: VendingEvent, now_ms: int) -> None:
        around = Surroundings(
            why_not_selling=self._why_not_selling(),
            planogram_version=self._desired.planogram_version if self._desired else 0,
            slots=self._slots,
            closed=frozenset(selection for selection in self._closures if selection is not None),
            is_blocked=self._is_blocked,
            is_shown=lambda code: code in self._screen_codes,
            takes_pin=self._identity.has_keypad,
            # By the server's clock, which every redemption waits for: this machine's own may say 1970.
            fresh_id=timed_id(self._server_ms(now_ms) or 0, self._random.getrandbits(RANDOM_BITS)),
        )
        result = vending.step(self._vending, event, now_ms, around)
        if result.writes:
            self._commit(result.writes)
        if isinstance(event, Approved):
            self._stop_at("approved")
        self._vending = result.state
        if result.state.credential is not None or result.state.attempt is not None:
            # Somebody is being served: who scanned the screen before that has to do it again.
            self._screen_codes.clear()
        for action in result.actions:
            self._do(action, now_ms)
        self._show_code(now_ms)
        if result.writes:
            self._send_outbox(now_ms)

    def _commit(self, writes: tuple[vending.Write, ...]) -> None:
        """One fsync for all of it. What follows in `_step` relies on it."""
        ends = any(isinstance(write, vending.Post) and isinstance(write.message, _OUTCOMES) for write in writes)
        if ends:
            self._stop_at("result_received")

        def write_all() -> None:
            for write in writes:
                match write:
                    case vending.Save():
                        self._journal.save_redemption(write.redemption)
                    case vending.Post():
                        self._post(write.message)
                    case vending.Close():
                        self._journal.close_selection(write.selection, write.code)
                    case vending.Open():
                        self._journal.open_selection(write.selection)
                    case vending.Take():
                        self._journal.take_voucher(write.number)
                    case vending.Shut():
                        self._journal.close_vouchers(write.closing)
                    case _:
                        assert_never(write)

        self._journal.write(write_all)
        self._closures = self._journal.closures()
        for write in writes:
            if isinstance(write, vending.Save):
                redemption = write.redemption
                self._log.info(
                    "redemption",
                    redemption_id=redemption.id,
                    state=redemption.state.value,
                    selection=redemption.selection,
                    product_id=redemption.product_id,
                    points=redemption.points,
                )
            elif isinstance(write, vending.Post):
                # The approval is the server's own token and nobody else's business.
                words = {name: value for name, value in encode(write.message)[1].items() if name != "approval"}
                self._log.info("posted", message=type(write.message).__name__, **words)
        if ends:
            self._stop_at("result_journaled")
        elif any(isinstance(write, vending.Post) and isinstance(write.message, VendStarted) for write in writes):
            self._stop_at("vending_journaled")
        elif any(isinstance(write, vending.Save) for write in writes):
            self._stop_at("requested_journaled")

    def _post(self, message: OutboxMessage) -> None:
        """Sign the next message of the outbox and add it; inside a transaction."""
        seq = self._journal.last_seq + 1
        type_name, body = encode(message)
        topic = topics.up(self._identity.shard, self._identity.machine_id, "outbox")
        # Written without a link, it belongs to no connection: number 0 of this run.
        session = self._session or Session(self._journal.boot, 0, "none")
        payload = self._seal(type_name, body, topic, session, seq)
        redemption_id = body.get("redemption_id")
        self._journal.append(OutboxRow(seq, topic, payload, redemption_id))

    def _do(self, action: vending.Action, now_ms: int) -> None:
        match action:
            case vending.Ask():
                self._ask(action, now_ms)
            case vending.AskNews():
                self._ask_news(action, now_ms)
            case vending.Decline():
                if self._server_clock is not None:
                    self._send("ask", Declined(action.claim_id, action.code), now_ms, vending.ANSWER_MS)
            case vending.Begin():
                with self._line:
                    self._dispenser.begin(action.points, now_ms)
            case vending.Cancel():
                with self._line:
                    self._dispenser.cancel(now_ms)
            case vending.Check():
                with self._line:
                    self._dispenser.check(action.selection, now_ms)
            case vending.Vend():
                with self._line:
                    self._dispenser.vend(action.selection, action.not_after_ms, now_ms)
            case vending.Release():
                with self._line:
                    self._dispenser.release(now_ms)
            case vending.Recover():
                with self._line:
                    self._dispenser.recover(action.selection, action.readings, now_ms)
            case Say():
                self._say(action)
            case _:
                assert_never(action)

    def _say(self, words: Say) -> None:
        self._said = words
        self._said_number += 1
        self._log.info("said", code=words.code, zh=words.zh, en=words.en)

    def _fresh_id(self) -> str:
        return f"{self._random.getrandbits(128):032x}"

    def _is_blocked(self, uid: str) -> bool:
        return self._desired is not None and card_hash(self._identity.card_key, uid) in self._desired.blocked_cards

    def _why_not_selling(self) -> str:
        """The first reason not to sell, as a code of `words`; empty while the machine sells."""
        attempt = self._vending.attempt
        reasons = (
            ("journal_behind", self._is_journal_behind),
            ("disk_full", not self._journal.has_reserve),
            ("not_configured", not self._slots),
            ("closed", self._desired is not None and self._desired.is_closed),
            ("machine_fault", None in self._closures),
            ("door_open", self._door == "open"),
            ("recovering", attempt is not None and attempt.redemption.is_recovering),
            ("dispenser_offline", not self._is_dispenser_online),
            ("outbox_full", self._journal.outbox_length >= MAX_UNACKED),
            ("offline", self._session is None or self._server_clock is None),
        )
        return next((code for code, holds in reasons if holds), "")

    # A scanner, a keypad, and a phone before the screen.

    def _take_scanned(self, text: str, now_ms: int) -> None:
        code = read_code(text)
        if text.startswith(VOUCHER_PREFIX):
            self._show_voucher(text, now_ms)
        elif code is not None:
            self._step(vending.Identified(Credential(code=code)), now_ms)
        elif is_member_number(text) and self._identity.has_keypad:
            # A printed card: whose it is, and that they know its PIN, is still to be shown.
            self._entry = keying.waiting_for_pin(text, now_ms)
            self._step(vending.Prompted("enter_pin"), now_ms)
        else:
            self._log.info("scan_unreadable", length=len(text))
            self._say(say("bad_code"))

    def _take_keys(self, keys: str, now_ms: int) -> None:
        for key in keys:
            state = self._vending
            card = state.credential if state.wants_pin else None
            if key == keying.ENTER and self._entry.is_empty:
                self._listen_number += 1
            self._entry, entered = keying.pressed(self._entry, key, now_ms, card)
            match entered:
                case None:
                    if state.choice_ends_ms is not None:
                        self._step(vending.Stayed(), now_ms)
                case VoucherShown():
                    self._show_voucher(entered.text, now_ms)
                case _:
                    self._step(entered, now_ms)

    def _show_code(self, now_ms: int) -> None:
        """Keep a fresh code on the screen while a phone may scan it; see `jishan_protocol.screen_codes`."""
        state, session, server_ms = self._vending, self._session, self._server_ms(now_ms)
        is_free = state.attempt is None and state.credential is None and not self._why_not_selling()
        if not self._identity.site_url or not is_free or session is None or server_ms is None:
            self._screen_code = ""
            return
        made_ms = self._screen_codes.get(self._screen_code)
        if made_ms is not None and now_ms - made_ms < 1000 * SHOWN_S:
            return
        self._screen_codes = {
            code: made_ms for code, made_ms in self._screen_codes.items() if now_ms - made_ms < CODE_KEPT_MS
        }
        # Of one second there is one code, and it is not shown to the next person again.
        made_s = max(server_ms // 1000, self._screen_code_s + 1)
        if made_s > server_ms // 1000 + AHEAD_S // 2:
            self._screen_code = ""
            return
        self._screen_code_s = made_s
        self._screen_code = screen_code(self._identity.key, session.tag, made_s)
        self._screen_codes[self._screen_code] = now_ms

    @property
    def _address(self) -> str:
        code, identity = self._screen_code, self._identity
        return f"{identity.site_url}/m/{identity.machine_id}/{code}" if code else ""

    # Vouchers.

    def _show_voucher(self, text: str, now_ms: int) -> None:
        is_typed, until_ms = looks_typed(text), self._digits_closed_until_ms
        if is_typed and until_ms is not None and now_ms < until_ms:
            self._say(say("voucher_digits_closed"))
            return
        known = Known(
            self._identity.machine_id,
            self._journal.journal_id,
            self._identity.key,
            self._journal.voucher_key,
            self._slots,
            self._journal.voucher_ended,
        )
        judged = judge(text, known)
        if isinstance(judged, Promised):
            self._step(judged, now_ms)
            return
        self._say(say(judged.code))
        if judged.is_guess:
            wrong = self._journal.wrong_digits + 1 if until_ms is None else 1
            self._journal.write(lambda: self._journal.save_wrong_digits(wrong))
            self._digits_closed_until_ms = now_ms + CLOSED_MS if wrong >= MAX_WRONG else None
            if wrong >= MAX_WRONG:
                self._commit((vending.Post(Fault(None, "voucher_digits", f"{wrong} wrong")),))

    def _take_closing(self, closing: CloseVouchers, now_ms: int) -> None:
        """Close what the server wants closed. Said again while the answer is under way, it needs no second one."""
        journal = self._journal
        is_new = closing.key != journal.voucher_key or closing.up_to > journal.vouchers_closed_upto
        is_new |= any(not journal.voucher_ended(number) for number in closing.numbers)
        if is_new or not journal.outbox_length:
            self._step(closing, now_ms)

    # The dispenser.

    def _hear_dispenser(self, now_ms: int) -> None:
        with self._line:
            events = self._dispenser.take_events()
        for event in events:
            self._note(event, now_ms)
            self._step(event, now_ms)

    def _note(self, event: base.DispenserEvent, now_ms: int) -> None:
        """What the machine as a whole learns from the dispenser."""
        match event:
            case base.OnlineChanged():
                self._is_dispenser_online = event.is_online
                self._is_clock_due = event.is_online
                self._set_dispenser_clock(now_ms)
                self._log.info("dispenser", is_online=event.is_online)
                self._beat_due_ms = min(self._beat_due_ms, now_ms)
            case base.StateRead():
                if event.door != self._door:
                    self._log.info("door", door=event.door)
                    self._beat_due_ms = min(self._beat_due_ms, now_ms)
                self._door, self._temperature_tenths_c = event.door, event.temperature_tenths_c
            case base.DriveSent():
                self._stop_at("drive_sent")
                self._log.info("drive_sent", selection=event.selection)
            case base.StrayResult():
                self._commit((vending.Post(Fault(event.selection, "stray_result", event.code)),))
            case base.Troubled():
                self._commit((vending.Post(Fault(None, "dispenser_trouble", event.code)),))
            case base.Ignored():
                self._log.warning("ignored", code=event.code, detail=event.detail)
            case base.Served():
                self._log.info("served", name=event.name, is_done=event.is_done, detail=event.detail)
            case base.Restarted() if self._is_dispenser_online:
                self._commit((vending.Post(Fault(None, "dispenser_restarted", "")),))
            case base.SelectionReported():
                self._log.debug("selection", selection=event.selection, code=event.code, stock=event.stock)
            case base.Checked() if event.closes is not None:
                self._commit((vending.Post(Fault(event.selection, "check_failed", event.code)),))
            case _:
                pass

    def _set_dispenser_clock(self, now_ms: int) -> None:
        """The VMC's clock has no battery; the server's time is set, never this machine's own, which may say 1970."""
        server_ms = self._server_ms(now_ms)
        if not self._is_clock_due or server_ms is None:
            return
        self._is_clock_due = False
        here = datetime.fromtimestamp(server_ms / 1000, UTC) + timedelta(minutes=self._identity.utc_offset_minutes)
        with self._line:
            local_time = (here.year, here.month, here.day, here.hour, here.minute, here.second)
            self._dispenser.set_clock(local_time, now_ms)

    def _clear_jams(self, now_ms: int) -> None:
        """A person has looked and opened what was closed: the dispenser, too, is to let go of it, once it is idle."""
        dispenser = self._dispenser
        if not self._is_clearing_due or not self._is_dispenser_online or self._vending.attempt is not None:
            return
        self._is_clearing_due = False
        if isinstance(dispenser, base.Serviced) and base.CLEAR_JAMS in dispenser.services:
            with self._line:
                dispenser.service(base.CLEAR_JAMS, None, now_ms)

    def _keep_pack_number(self) -> None:
        number = self._dispenser.pack_number
        if (number - self._last_pack_number) % 255 >= MAX_PACK_NUMBERS_AHEAD // 2:
            self._last_pack_number = number
            self._journal.write(lambda: self._journal.save_pack_number(number))

    # The link.

    def _link_up(self, now_ms: int) -> None:
        self._connection += 1
        # It was of the former connection; who has opened it may still choose.
        self._screen_code = ""
        self._session = Session(self._journal.boot, self._connection, self._fresh_id())
        self._server_clock = None
        self._sent_upto = self._journal.acked_upto
        self._log.info("link_up", connection=self._connection)
        self._beat(now_ms)
        self._send_outbox(now_ms)

    def _link_down(self, now_ms: int) -> None:
        self._session = self._server_clock = None
        self._unanswered_beats = 0
        self._log.info("link_down")

    def _seal(
        self,
        type_name: str,
        body: dict[str, object],
        topic: str,
        session: Session,
        seq: int | None = None,
        issued_at_ms: int | None = None,
        expires_at_ms: int | None = None,
    ) -> bytes:
        envelope = Envelope(
            id=self._fresh_id(),
            type=type_name,
            body=body,
            journal_id=self._journal.journal_id,
            session=session,
            key_id=self._identity.key_id,
            seq=seq,
            issued_at_ms=issued_at_ms,
            expires_at_ms=expires_at_ms,
        )
        return seal(envelope, topic, self._identity.key)

    def _send(self, kind: str, message: Authorize | Greet | Declined | Heartbeat, now_ms: int, lasts_ms: int) -> bool:
        """Publish a message that is not kept; it expires by the server's own clock, once that is known."""
        if self._session is None:
            return False
        topic = topics.up(self._identity.shard, self._identity.machine_id, kind)
        issued_at_ms = self._server_ms(now_ms)
        expires_at_ms = None if issued_at_ms is None else issued_at_ms + lasts_ms
        type_name, body = encode(message)
        self._publish(
            topic,
            self._seal(type_name, body, topic, self._session, None, issued_at_ms, expires_at_ms),
        )
        return True

    def _ask(self, action: vending.Ask, now_ms: int) -> None:
        request = action.request
        nonce = self._random.getrandbits(8 * NONCE_BYTES).to_bytes(NONCE_BYTES, "big")
        sealed = seal_credential(self._identity.key, request.redemption_id, action.credential, nonce)
        message = Authorize(
            request.redemption_id,
            sealed,
            request.selection,
            request.planogram_version,
            request.product_id,
            request.points,
        )
        if self._server_clock is not None and self._send("ask", message, now_ms, vending.ANSWER_MS):
            self._stop_at("asked")

    def _ask_news(self, action: vending.AskNews, now_ms: int) -> None:
        nonce = self._random.getrandbits(8 * NONCE_BYTES).to_bytes(NONCE_BYTES, "big")
        sealed = seal_credential(self._identity.key, action.greet_id, action.credential, nonce)
        if self._server_clock is not None:
            self._send("ask", Greet(action.greet_id, sealed), now_ms, vending.ANSWER_MS)

    def _beat(self, now_ms: int) -> None:
        if self._unanswered_beats >= MAX_UNANSWERED_BEATS:
            # A message that was long under way makes the server's time look earlier than it is, and everything that
            # is stamped by it expired. A beat without a stamp is always taken.
            self._server_clock = None
        self._unanswered_beats += 1
        self._beat_number += 1
        status = self.status
        heartbeat_s = self._desired.heartbeat_s if self._desired else DEFAULT_HEARTBEAT_S
        message = Heartbeat(
            number=self._beat_number,
            selling=status.is_selling,
            reason=status.why_not_selling,
            state=status.state,
            door=self._door,
            temperature_tenths_c=self._temperature_tenths_c,
            outbox_length=status.outbox_length,
            last_seq=self._journal.last_seq,
            planogram_version=self._desired.planogram_version if self._desired else 0,
            agent_version=self._identity.agent_version,
            dispenser=self._dispenser.name,
        )
        lasts_ms = FIRST_BEAT_AGAIN_MS if self._server_clock is None else 1000 * heartbeat_s
        self._beat_due_ms = now_ms + lasts_ms
        self._send("beat", message, now_ms, lasts_ms)

    def _send_outbox(self, now_ms: int) -> None:
        """Send what the window still takes."""
        if self._session is None:
            return
        acked_upto = self._journal.acked_upto
        room = WINDOW - (self._sent_upto - acked_upto)
        rows = self._journal.unacked(self._sent_upto, room) if room > 0 else []
        for row in rows:
            self._publish(row.topic, row.payload)
            self._sent_upto = row.seq
        if rows:
            self._resend_at_ms = now_ms + RESEND_MS
            self._stop_at("outcome_sent")

    def _receive(self, event: Received, now_ms: int) -> None:
        try:
            address = topics.parse(event.topic)
            if (address.shard, address.machine_id, address.direction) != (
                self._identity.shard,
                self._identity.machine_id,
                "d",
            ):
                raise ProtocolError("foreign_topic", event.topic[: topics.MAX_TOPIC_BYTES])
            envelope = unseal(event.payload, event.topic, self._identity.keys).envelope
            message = decode(address.kind, envelope.type, envelope.body)
        except ProtocolError as error:
            self._log.warning("message_refused", reason=error.reason, detail=error.detail)
            return
        match message:
            case Approved() | Denied() | Found() | Greeting() | Waiting():
                self._step(message, now_ms)
            case Ack():
                self._acked(message, now_ms)
            case Desired():
                self._take_desired(message)
                self._send_outbox(now_ms)
            case CloseVouchers():
                self._take_closing(message, now_ms)
            case _:
                self._log.warning("message_refused", reason="wrong_direction", detail=envelope.type)

    def _acked(self, ack: Ack, now_ms: int) -> None:
        session = self._session
        if session is not None and ack.session == session.tag:
            self._take_server_time(ack.server_at_ms, now_ms)
        if ack.upto > self._journal.last_seq:
            # The server knows messages of this journal that the journal does not: it is an old copy.
            self._is_journal_behind = True
            self._log.error("journal_behind", server_has=ack.upto, journal_has=self._journal.last_seq)
            return
        if ack.catch_up_from is not None and ack.catch_up_from <= self._journal.acked_upto:
            from_seq = ack.catch_up_from
            self._journal.write(lambda: self._journal.reopen(from_seq))
            self._sent_upto = self._journal.acked_upto
            self._log.warning("server_catches_up", from_seq=from_seq)
        elif ack.upto > self._journal.acked_upto:
            if ack.rejected:
                self._log.error("messages_rejected", seqs=ack.rejected)
            closed = self._journal.write(lambda: self._journal.acknowledge(ack.upto, ack.rejected, ack.server_at_ms))
            self._sent_upto = max(self._sent_upto, ack.upto)
            self._resend_at_ms = now_ms + RESEND_MS
            self._log.debug("outbox_acked", upto=ack.upto)
            if closed:
                self._stop_at("outcome_acked")
        self._send_outbox(now_ms)

    def _take_server_time(self, server_at_ms: int, now_ms: int) -> None:
        is_first = self._server_clock is None
        self._unanswered_beats = 0
        # The later of two estimates is the better one: the way down can only make the server's time look earlier.
        known_ms = self._server_ms(now_ms)
        if known_ms is None or server_at_ms > known_ms:
            self._server_clock = (server_at_ms, now_ms)
        if is_first:
            self._beat_due_ms = now_ms
            self._set_dispenser_clock(now_ms)

    def _server_ms(self, now_ms: int) -> int | None:
        if self._server_clock is None:
            return None
        server_at_ms, heard_ms = self._server_clock
        return server_at_ms + now_ms - heard_ms

    def _take_desired(self, desired: Desired) -> None:
        if self._desired is not None and desired.version <= self._desired.version:
            return

        def save() -> None:
            self._journal.save_desired(desired)
            self._post(Reported(desired.version, desired.planogram_version))

        self._journal.write(save)
        self._desired = desired
        closures = self._journal.closures()
        self._is_clearing_due |= bool(self._closures.keys() - closures.keys())
        self._closures = closures
        self._follow_desired()
        self._log.info("desired", version=desired.version, planogram_version=desired.planogram_version)

    def _follow_desired(self) -> None:
        self._slots = {slot.selection: slot for slot in self._desired.slots} if self._desired else {}

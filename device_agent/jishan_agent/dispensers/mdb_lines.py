"""The driver of a machine on the MDB bus: we are its cashless device, through a line adapter. Without I/O and clock.

The machine (VMC) decides when a vend is asked for; this side approves or denies. Rules:

1. At a start the adapter is switched off, configured and switched on; the machine sells when it has enabled us.
2. The machine's request is what was pressed. Its price is told with it, and a price that is no whole number of points
   is told as 0, which no item costs. A request that ends, by whomever, is never approved.
3. **The approval is the moment a motor may turn: C,VEND leaves at most once.** Past `not_after_ms` it never leaves,
   looked at with the time at which the bytes are handed over. It carries the amount and the item of the request.
4. `c,VEND,SUCCESS` is a success, `c,ERR,VEND 3` a failure, an approval that the adapter did not take was never sent.
   Whatever else ends an approved vend, or nothing for the longest time a vend takes, leaves it unknown. No error is a
   reason to switch off: that would lose the result that follows.
5. After an unknown vend nothing is approved until the longest vend is over, and the adapter was switched off and on and
   enabled by the machine again. MDB keeps no record of a vend: nothing is ever proved.
6. What is asked for while a vend is in hand, and nobody can hear it, is denied here.

Source: docs/protocols/mdb-lines.md; the lines are in `jishan_protocol.dispensers.mdb_lines`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, auto
from typing import Final

from jishan_agent.dispensers import base
from jishan_protocol.dispensers import mdb_lines as mdb
from jishan_protocol.errors import ProtocolError

ANSWER_MS: Final = 1_000
"""The adapter answers a command in milliseconds; a longer silence is a lost line, or nobody there."""

MAX_SENDS: Final = 5
"""So often is one step of the set-up said before all of it begins anew. None of them does anything twice."""

AGAIN_MS: Final = 3_000
"""Pause before an adapter that did not answer is spoken to again."""

PING_MS: Final = 5_000
"""How often a silent adapter is asked whether it is still there, and still switched on."""

MAX_UNANSWERED: Final = 3
"""So many pings without a line of any kind, and the adapter is gone."""

ENABLE_MS: Final = 30_000
"""A machine that has not enabled us by then is off, or open, or the line that said so was lost: begin again with it."""

REQUEST_MS: Final = 180_000
"""A request that nobody has ended by then (a choice and its answer take 45 s) is denied."""

END_GRACE_MS: Final = 2_000
"""The result comes before the end of the session; where it comes after it, it comes at once."""

START_EVERY_MS: Final = 1_000
START_FOR_MS: Final = 30_000
"""Credit that the machine does not take yet is offered again for as long as a choice lives."""

SESSION_LINGERS_MS: Final = 3_000
"""A session that stays open without a request after a vend or a denial is ended by us: the credit was for one vend."""

CONFIRM_S: Final = 180
"""What the adapter is told to wait at least between a request and its end (mdb-timeout-vend): REQUEST_MS."""

BUSY_TICK_MS: Final = 200
IDLE_TICK_MS: Final = 1_000

CHOOSE: Final = "CHOOSE A PRODUCT"
TAKE: Final = "TAKE IT - THANK YOU"
NOT_SOLD: Final = "NO SALE"
NOTHING_CAME: Final = "NO ITEM - NO POINTS TAKEN"
CHECKING: Final = "WE CHECK - POINTS KEPT SAFE"


class _Link(Enum):
    """How far the adapter is: nobody heard; being set up; switched on and left to the machine."""

    AWAY = auto()
    SETTING_UP = auto()
    ON = auto()


@dataclass(frozen=True, slots=True)
class _Request:
    """What the machine waits for an answer to."""

    selection: int
    amount: Decimal
    item: int
    until_ms: int


@dataclass(slots=True)
class _Credit:
    """What a resident who has identified may spend; `offer_at_ms` is None while the machine has it."""

    points: int
    offer_at_ms: int | None
    until_ms: int


@dataclass(slots=True)
class _Flight:
    """The vend in hand, from `vend` (or `recover`, after a restart) until its result, or until the machine is at rest.

    `ended_at_ms`: the machine left the vend without a result, which may still be on its way.
    """

    selection: int
    not_after_ms: int
    request: _Request | None = None
    sent_at_ms: int | None = None
    ended_at_ms: int | None = None
    is_unknown: bool = False
    result: mdb.Message | None = None


class MdbDispenser:
    """One machine behind one adapter."""

    def __init__(self, profile: mdb.MdbProfile) -> None:
        self._profile = profile
        self._parser = mdb.Parser()
        self._output = bytearray()
        self._events: list[base.DispenserEvent] = []
        self._link = _Link.AWAY
        self._script: deque[mdb.Message] = deque()
        self._asked: mdb.Message | None = None
        self._asked_at_ms = 0
        self._sends = 0
        self._speak_at_ms = 0
        self._heard_ms = 0
        self._unanswered = 0
        self._state: mdb.BusState | None = None
        self._not_enabled_since_ms = 0
        self._in_session = False
        self._request: _Request | None = None
        self._flight: _Flight | None = None
        self._rest_due_ms: int | None = None
        self._is_resting = False
        self._credit: _Credit | None = None
        self._stop_at_ms: int | None = None
        self._to_display = ""
        self._last: tuple[int, mdb.Message | None] = (mdb.NO_SELECTION, None)
        self._is_online = False
        self._ticked_ms = 0
        self.bad_lines = 0

    @property
    def name(self) -> str:
        """The profile's name."""
        return f"mdb:{self._profile.name}"

    @property
    def pack_number(self) -> int:
        """MDB lines carry no numbers."""
        return 0

    @property
    def next_wakeup_ms(self) -> int | None:
        """At once for an approval that is to leave, and for what is to be told; else as often as there is need."""
        flight = self._flight
        if self._events or (flight is not None and flight.sent_at_ms is None):
            return self._ticked_ms + 1
        is_busy = self._link is not _Link.ON or flight or self._request or self._credit or self._stop_at_ms is not None
        return self._ticked_ms + (BUSY_TICK_MS if is_busy else IDLE_TICK_MS)

    def take_output(self) -> bytes:
        """Give the bytes to be written now."""
        output = bytes(self._output)
        self._output.clear()
        return output

    def take_events(self) -> list[base.DispenserEvent]:
        """Give what has happened."""
        events, self._events = self._events, []
        return events

    # What the agent asks for.

    def begin(self, points: int, now_ms: int) -> None:
        """Offer credit to a machine that wants it first, now and until it takes it."""
        self._show(CHOOSE)
        if not self._profile.always_idle and 1 <= points <= mdb.MAX_POINTS:
            self._credit = _Credit(points, now_ms, now_ms + START_FOR_MS)

    def cancel(self, now_ms: int) -> None:
        """Deny the request that waits, end the session that stands open."""
        if self._request is not None or self._credit is not None:
            self._show(NOT_SOLD)
        self._credit = None
        if self._request is not None:
            self._deny(now_ms)
        elif self._in_session and not self._is_in_hand:
            self._end_session()

    def check(self, selection: int, now_ms: int) -> None:
        """A selection can be sold while the machine waits for an answer about it."""
        request = self._request
        if request is None:
            code = base.NOT_PRESSED
        elif request.selection != selection:
            code = "wrong_request"
        else:
            code = "ready" if self._is_online else "offline"
        self._events.append(base.Checked(selection, code == "ready", code))

    def vend(self, selection: int, not_after_ms: int, now_ms: int) -> None:
        """Let the approval leave at the next call that brings the time, unless it is too late by then."""
        assert self._flight is None, "one vend at a time"
        assert self._rest_due_ms is None, "no vend before the machine is at rest"
        self._flight = _Flight(selection, not_after_ms, self._request)
        self._last = (selection, None)

    def release(self, now_ms: int) -> None:
        """The result is on disk. The adapter keeps none."""
        if self._rest_due_ms is None:
            self._flight = None

    def recover(self, selection: int, readings: base.Readings | None, now_ms: int) -> None:
        """Wait for the longest vend to be over, then switch the adapter off and on."""
        flight = self._flight
        if flight is None:
            # A former run's vend: nobody knows how long ago it began.
            flight = self._flight = _Flight(selection, now_ms, sent_at_ms=now_ms)
        flight.is_unknown = True
        begun_ms = now_ms if flight.sent_at_ms is None else flight.sent_at_ms
        self._rest_due_ms = max(now_ms, begun_ms + self._profile.longest_vend_ms)

    def set_clock(self, local_time: tuple[int, int, int, int, int, int], now_ms: int) -> None:
        """The machine's clock is its own."""

    # Lines in.

    def receive(self, data: bytes, now_ms: int) -> None:
        """Take bytes."""
        for found in self._parser.feed(data):
            if isinstance(found, mdb.BadLine):
                self.bad_lines += 1
                continue
            try:
                message = mdb.read(found)
            except ProtocolError:
                self.bad_lines += 1
                continue
            self._heard_ms, self._unanswered = now_ms, 0
            self._take(message, now_ms)
        self._follow(now_ms)

    def _take(self, message: mdb.Message, now_ms: int) -> None:
        match message:
            case mdb.VendRequested():
                self._requested(message, now_ms)
            case mdb.VendSucceeded() | mdb.NOT_DISPENSED:
                self._take_result(message)
            case mdb.Refused("VEND"):
                self._vend_refused(message, now_ms)
            case mdb.InState():
                self._state_changed(message.state, now_ms)
            case mdb.InSession():
                self._session_idle(message, now_ms)
            case mdb.WentOff():
                self._went_off("adapter_off")
            case mdb.WentOn() if self._link is _Link.ON and self._asked == mdb.SwitchOn():
                # The question whether it is still on has switched it on: it had begun anew, without our settings.
                self._lost("adapter_restarted", now_ms)
            case mdb.Refused("", _, words) if words != mdb.ALREADY_ON.words:
                # It names no command: with an approval under way it may be the answer to that one.
                self._lose(f"mdb_{message.code}" if message.code is not None else "mdb_refused")
            case mdb.NotUnderstood():
                self._lose("mdb_not_understood")
            case _:
                pass
        self._answered(message, now_ms)

    # The machine asks.

    def _requested(self, message: mdb.VendRequested, now_ms: int) -> None:
        self._state, self._in_session = mdb.BusState.ENABLED, True
        self._stop_at_ms = self._credit = None
        if self._link is not _Link.ON:
            return
        selection = mdb.selection_of(message.item, self._profile)
        request = _Request(selection, message.amount, message.item, now_ms + REQUEST_MS)
        former = self._request
        if former is not None and (former.amount, former.item) == (request.amount, request.item):
            return
        if self._is_in_hand:
            # The same line twice, or a machine that has gone on without a word about the vend before.
            if self._is_lost:
                self._request = request
                self._deny(now_ms)
            return
        self._request = request
        if former is not None:
            # The end of the former request was lost: whoever pressed presses again.
            self._deny(now_ms)
            self._events.append(base.CancelPressed())
            return
        self._events.append(base.Pressed(selection, mdb.points_of(message.amount) or 0))

    def _request_ended(self) -> None:
        """The machine waits for no answer any more."""
        if self._request is not None:
            self._request = None
            self._events.append(base.CancelPressed())
        flight = self._flight
        if flight is not None and flight.sent_at_ms is None and not flight.is_unknown:
            flight.request = None

    def _deny(self, now_ms: int) -> None:
        self._request = None
        self._stop_at_ms = now_ms + SESSION_LINGERS_MS
        self._send(mdb.Deny() if self._profile.deny_by == "vend" else mdb.Stop())

    def _end_session(self) -> None:
        self._in_session = False
        self._stop_at_ms = None
        self._send(mdb.Stop())

    # The vend.

    @property
    def _is_in_hand(self) -> bool:
        """A vend has been approved and is not over for us."""
        return self._flight is not None and self._flight.sent_at_ms is not None

    @property
    def _is_lost(self) -> bool:
        """The vend in hand is unknown, or has its result: what the machine asks now is about another."""
        flight = self._flight
        return flight is not None and (flight.is_unknown or flight.result is not None)

    def _approve(self, flight: _Flight, request: _Request, now_ms: int) -> None:
        """The only place where an approval is made. Nothing keeps its bytes: they leave now or never."""
        flight.sent_at_ms = now_ms
        self._request = None
        self._send(mdb.Approve(request.amount, request.item if self._profile.approve_names_item else None))
        self._events.append(base.DriveSent(flight.selection))

    def _drop_flight(self, flight: _Flight) -> None:
        """The approval has not left and never will."""
        self._flight = None
        self._events.append(base.VendFailed(flight.selection, "never_sent", "selection"))

    def _take_result(self, result: mdb.Message) -> None:
        flight = self._flight
        code = "mdb_success" if isinstance(result, mdb.VendSucceeded) else "mdb_vend_3"
        if flight is None or flight.sent_at_ms is None or flight.result is not None:
            # The same result once more says nothing new. Before an approval, an error is about the request alone.
            if self._request is None and self._last[1] != result:
                self._events.append(base.StrayResult(self._last[0], code))
            if isinstance(result, mdb.Refused):
                self._request_ended()
            return
        flight.result = result
        self._last = (flight.selection, result)
        if isinstance(result, mdb.VendSucceeded):
            self._show(TAKE)
            self._events.append(base.VendSucceeded(flight.selection, self._profile.drop_sensor, code))
        else:
            self._show(NOTHING_CAME)
            self._events.append(base.VendFailed(flight.selection, code, "selection"))

    def _vend_refused(self, refusal: mdb.Refused, now_ms: int) -> None:
        """An error that names the vend, other than 3."""
        flight = self._flight
        code = f"mdb_vend_{refusal.code}"
        if not self._is_in_hand or self._is_lost:
            if refusal.code is not None and refusal.code >= 0:
                self._request_ended()
            return
        assert flight is not None
        if refusal in (mdb.BAD_PAYLOAD, mdb.WRONG_STATE) and flight.ended_at_ms is None:
            # Lines keep their order, and no other VEND is unanswered: this answers the approval, which went no further.
            flight.result = refusal
            self._last = (flight.selection, refusal)
            closes: base.Closes = "machine" if refusal == mdb.BAD_PAYLOAD else "selection"
            self._events.append(base.VendFailed(flight.selection, code, closes))
            if refusal == mdb.BAD_PAYLOAD:
                self._deny(now_ms)
        else:
            self._lose(code)

    def _lose(self, reason: str) -> None:
        """An approved vend is unknown from here on, until a late result."""
        flight = self._flight
        if flight is not None and self._is_in_hand and not self._is_lost:
            flight.is_unknown = True
            self._show(CHECKING)
            self._events.append(base.VendUnknown(flight.selection, reason))

    # The adapter's state on the bus.

    def _state_changed(self, state: mdb.BusState, now_ms: int) -> None:
        former, self._state = self._state, state
        self._in_session = False
        self._stop_at_ms = None
        self._request_ended()
        if self._link is not _Link.ON:
            return
        if state is mdb.BusState.INACTIVE:
            if self._asked == mdb.SwitchOn():
                self._lost("adapter_restarted", now_ms)
                return
            if former not in (None, mdb.BusState.INACTIVE):
                self._events.append(base.Restarted())
            self._lose("machine_reset")
        elif state is mdb.BusState.ENABLED:
            self._vend_left(now_ms)
            if self._credit is not None and self._credit.offer_at_ms is None:
                # The machine has ended the session that we began: somebody gave up there.
                self._credit = None
                self._events.append(base.CancelPressed())

    def _session_idle(self, message: mdb.InSession, now_ms: int) -> None:
        """A session stands open: the one we began, or one that is over but for its end."""
        self._in_session = True
        self._request_ended()
        if self._credit is not None and message.credit is not None:
            self._credit.offer_at_ms = self._stop_at_ms = None
            return
        self._vend_left(now_ms)
        if self._stop_at_ms is None:
            self._stop_at_ms = now_ms + SESSION_LINGERS_MS

    def _vend_left(self, now_ms: int) -> None:
        """The machine is past the vend; without a result by now its line was lost."""
        flight = self._flight
        if flight is not None and self._is_in_hand and flight.ended_at_ms is None:
            flight.ended_at_ms = now_ms

    def _went_off(self, reason: str) -> None:
        self._state, self._in_session = None, False
        self._request_ended()
        self._lose(reason)

    def _lost(self, reason: str, now_ms: int) -> None:
        """The adapter is away, or not as we left it: begin again with it."""
        self._went_off(reason)
        self._link, self._asked, self._speak_at_ms = _Link.AWAY, None, now_ms
        self._script.clear()

    # Time.

    def tick(self, now_ms: int) -> None:
        """Look after what does not come."""
        request = self._request
        if request is not None and now_ms >= request.until_ms:
            self._deny(now_ms)
            self._events.append(base.CancelPressed())
        self._follow(now_ms)

    def _follow(self, now_ms: int) -> None:
        """What is due now, whether bytes or time brought it."""
        self._ticked_ms = now_ms
        self._watch_flight(now_ms)
        self._watch_link(now_ms)
        self._watch_rest(now_ms)
        self._watch_display()
        self._watch_session(now_ms)
        is_online = self._link is _Link.ON and self._state is mdb.BusState.ENABLED
        if is_online != self._is_online:
            self._is_online = is_online
            self._events.append(base.OnlineChanged(is_online))

    def _watch_display(self) -> None:
        """A machine shows our text only while it has enabled us and nothing is under way."""
        is_calm = not self._in_session and (self._is_lost or not self._is_in_hand)
        if self._to_display and self._link is _Link.ON and self._state is mdb.BusState.ENABLED and is_calm:
            text, self._to_display = self._to_display, ""
            self._send(mdb.Display(text))

    def _watch_flight(self, now_ms: int) -> None:
        flight = self._flight
        if flight is None or flight.is_unknown or flight.result is not None:
            return
        if flight.sent_at_ms is None:
            request = flight.request
            is_asked_for = request is not None and request is self._request and request.selection == flight.selection
            if request is not None and is_asked_for and now_ms < flight.not_after_ms:
                self._approve(flight, request, now_ms)
            else:
                self._drop_flight(flight)
            return
        longest_ms = flight.sent_at_ms + self._profile.longest_vend_ms
        ends_ms = longest_ms if flight.ended_at_ms is None else flight.ended_at_ms + END_GRACE_MS
        if now_ms >= min(longest_ms, ends_ms):
            self._lose("no_result")

    def _watch_session(self, now_ms: int) -> None:
        if self._link is not _Link.ON or self._state is not mdb.BusState.ENABLED:
            return
        if self._stop_at_ms is not None and now_ms >= self._stop_at_ms:
            self._stop_at_ms = None
            if self._in_session and self._request is None and self._credit is None and not self._is_in_hand:
                self._end_session()
        credit = self._credit
        if credit is None or credit.offer_at_ms is None or now_ms < credit.offer_at_ms:
            return
        if now_ms >= credit.until_ms:
            self._credit = None
        elif self._request is None and not self._is_in_hand:
            credit.offer_at_ms = now_ms + START_EVERY_MS
            self._send(mdb.Start(Decimal(credit.points)))

    def _watch_rest(self, now_ms: int) -> None:
        """Off and on when the longest vend is over; at rest when the machine has enabled us after it."""
        if self._rest_due_ms is None or now_ms < self._rest_due_ms:
            return
        if not self._is_resting:
            self._is_resting = True
            self._set_up(now_ms)
        elif self._link is _Link.ON and self._state is mdb.BusState.ENABLED:
            self._rest_due_ms = self._flight = None
            self._is_resting = False
            self._events.append(base.AtRest())

    # The adapter: there, set up, still on.

    def _watch_link(self, now_ms: int) -> None:
        if self._link is not _Link.ON or self._state is mdb.BusState.ENABLED:
            self._not_enabled_since_ms = now_ms
        elif now_ms - self._not_enabled_since_ms >= ENABLE_MS and (self._is_resting or not self._is_in_hand):
            self._set_up(now_ms)
        if self._asked is not None and now_ms - self._asked_at_ms >= ANSWER_MS:
            self._unanswered += 1
            if self._link is _Link.SETTING_UP:
                self._say_again(self._asked, now_ms)
                return
            self._asked = None
            if self._link is _Link.AWAY:
                self._speak_at_ms = now_ms + AGAIN_MS
            elif self._unanswered >= MAX_UNANSWERED:
                self._lost("adapter_gone", now_ms)
        if self._asked is not None:
            return
        if self._link is _Link.AWAY and now_ms >= self._speak_at_ms:
            self._ask(mdb.Identify(), now_ms)
        elif self._link is _Link.ON and now_ms - max(self._heard_ms, self._asked_at_ms) >= PING_MS:
            # "cashless is on" says that nobody has pulled its plug. In a vend nothing is said that could disturb it.
            is_calm = self._request is None and not self._is_in_hand
            self._ask(mdb.SwitchOn() if is_calm else mdb.Identify(), now_ms)

    def _ask(self, message: mdb.Message, now_ms: int) -> None:
        self._asked, self._asked_at_ms, self._sends = message, now_ms, 1
        self._send(message)

    def _say_again(self, step: mdb.Message, now_ms: int) -> None:
        """A step of the set-up, or its answer, was lost or spoilt."""
        if self._sends >= MAX_SENDS:
            # An adapter that does not take the settings could ask for other prices: nothing is sold with it.
            self._link, self._asked, self._speak_at_ms = _Link.AWAY, None, now_ms + AGAIN_MS
            return
        self._asked_at_ms = now_ms
        self._sends += 1
        self._send(step)

    def _set_up(self, now_ms: int) -> None:
        """Off, the settings, on."""
        profile = self._profile
        confirm_s = max(CONFIRM_S, profile.longest_vend_ms // 1000)
        self._link, self._state, self._not_enabled_since_ms = _Link.SETTING_UP, None, now_ms
        self._script = deque(
            (
                mdb.SwitchOff(),
                mdb.Configure("mdb-addr", profile.address),
                mdb.Configure("mdb-currency-code", profile.currency_code),
                mdb.Configure("mdb-decimal-places", str(profile.decimal_places)),
                mdb.Configure("mdb-scale-factor", str(profile.scale_factor)),
                mdb.Configure("mdb-always-idle", str(int(profile.always_idle))),
                mdb.Configure("mdb-timeout-vend", str(confirm_s)),
                mdb.SwitchOn(),
            )
        )
        self._ask(self._script.popleft(), now_ms)

    def _answered(self, message: mdb.Message, now_ms: int) -> None:
        """Go on with what an answer allows."""
        asked = self._asked
        if asked is None or not _answers(asked, message):
            return
        if isinstance(message, mdb.Refused | mdb.NotUnderstood) and message not in (mdb.ALREADY_ON, mdb.ALREADY_OFF):
            self._say_again(asked, now_ms)
            return
        self._asked = None
        if self._link is _Link.AWAY:
            self._begin_set_up(now_ms)
        elif self._link is _Link.SETTING_UP:
            if self._script:
                self._ask(self._script.popleft(), now_ms)
            else:
                self._link = _Link.ON

    def _begin_set_up(self, now_ms: int) -> None:
        """Somebody is there. A vend that may still be under way is not disturbed: its result may come yet."""
        if self._is_in_hand and not self._is_resting:
            self._speak_at_ms = now_ms + PING_MS
        else:
            self._set_up(now_ms)

    # Lines out.

    def _send(self, message: mdb.Message) -> None:
        self._output += mdb.write(message, self._profile)

    def _show(self, text: str) -> None:
        """Tell the resident, when the machine's display can be had."""
        if self._profile.display:
            self._to_display = text


def _answers(asked: mdb.Message, message: mdb.Message) -> bool:
    """Whether a line can be the answer to what was asked; bus chatter and requests answer nothing."""
    match asked:
        case mdb.Identify():
            return isinstance(message, mdb.Version)
        case mdb.SwitchOff():
            return isinstance(message, mdb.WentOff) or message == mdb.ALREADY_OFF
        case mdb.SwitchOn():
            return isinstance(message, mdb.WentOn) or message == mdb.ALREADY_ON
        case _:
            is_refused = isinstance(message, mdb.Refused) and message.command != "VEND" and message != mdb.ALREADY_OFF
            return is_refused or isinstance(message, mdb.SettingTaken | mdb.NotUnderstood)

"""One vend at a time, as a pure function: what happened in, the next state, what to write and what to do out.

The seven steps of docs/architecture.md ("The life of a redemption"), and the rules that keep them:

1. The writes of a step are committed, in one fsync, before any of its actions is done. So `requested` is on disk
   before the server is asked, `vending` and its `vend_started` before the dispenser is told, and a result before the
   dispenser's record of it is released.
2. The deadline counts from the moment before the request was sent, on the monotonic clock that comes in as `now_ms`,
   and an approval is taken only by the attempt, in memory, that asked for it.
3. A redemption changes its state only by `jishan_protocol.redemption.advance`.
4. What may have started is never tried again: a result, a proof, or `outcome_unknown`.
   A voucher is taken by the fsync that writes its number beside `vend_started`; before that it stays as it was.
5. A choice or a session that ends without a vend is ended at the dispenser too (`Cancel`), whatever ended it; never
   while a vend may be under way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, assert_never

from jishan_agent.dispensers import base
from jishan_agent.vouchers import Promised
from jishan_agent.words import Say, greeting, say
from jishan_protocol.messages import (
    Approved,
    Authorize,
    CloseVouchers,
    Denied,
    Dispensed,
    Found,
    Greeting,
    NotDispensed,
    NotStarted,
    OutboxMessage,
    OutcomeUnknown,
    ProvedDispensed,
    ProvedNotDispensed,
    Slot,
    VendStarted,
    VouchersClosed,
    Waiting,
)
from jishan_protocol.redemption import CLOSED, Event, Party, State, advance
from jishan_protocol.sealing import Credential

CHOICE_MS: Final = 30_000
"""A choice without a card, or a card without a choice, is forgotten after this: the next person must not inherit it."""

ANSWER_MS: Final = 15_000
"""How long a resident is left waiting for the server before the attempt is called lapsed."""

ASK_AGAIN_MS: Final = 3_000
"""An unanswered request is sent again, under the same id."""

VOUCHER_MS: Final = 30_000
"""A voucher's vend begins within this of being shown, or not at all: as long as an approval lasts."""

PIN_REQUIRED: Final = "pin_required"
"""What the server denies a card with that has spent what a card may without its PIN."""

RECOVERY_MS: Final = 600_000
"""A dispenser that has not come to rest by then (the longest heated vend takes 5 minutes) leaves the outcome unknown;
the driver goes on trying, and a later proof is still told."""


# What happens, besides the dispenser's events and the server's answers.


@dataclass(frozen=True, slots=True)
class Identified:
    """A card was tapped, or a member number and PIN were entered."""

    credential: Credential


@dataclass(frozen=True, slots=True)
class Prompted:
    """A keypad has got so far: `code` of `words` says what is to be typed next, or what was wrong with it."""

    code: str


@dataclass(frozen=True, slots=True)
class Started:
    """The process has started; `left_open` are the redemptions that the last run left without an end."""

    left_open: tuple[Redemption, ...]


@dataclass(frozen=True, slots=True)
class TimePassed:
    """Nothing happened but the time."""


@dataclass(frozen=True, slots=True)
class Stayed:
    """Whoever is choosing is still there, or has been warned: they get as long again."""


VendingEvent = (
    Identified
    | Started
    | Stayed
    | TimePassed
    | Promised
    | base.DispenserEvent
    | Approved
    | Denied
    | Found
    | Greeting
    | CloseVouchers
    | Prompted
    | Waiting
)


# What is written.


@dataclass(frozen=True, slots=True)
class Redemption:
    """One redemption as the journal keeps it: no credential, no name."""

    id: str
    state: State
    selection: int
    product_id: str
    points: int
    planogram_version: int
    name_zh: str
    name_en: str
    approval: str = ""
    readings: base.Readings | None = None
    is_recovering: bool = False
    """The dispenser has not shown since that it is at rest."""
    voucher_number: int | None = None
    """The voucher that approved it early."""


@dataclass(frozen=True, slots=True)
class Save:
    """Write the redemption's row."""

    redemption: Redemption


@dataclass(frozen=True, slots=True)
class Post:
    """Put a message into the outbox."""

    message: OutboxMessage


@dataclass(frozen=True, slots=True)
class Close:
    """Sell nothing from this selection (None: from the whole machine) until a person has opened it."""

    selection: int | None
    code: str


@dataclass(frozen=True, slots=True)
class Open:
    """A proof has shown that the selection is in order."""

    selection: int


@dataclass(frozen=True, slots=True)
class Take:
    """Write down that this voucher is used; a second time is refused by the journal itself."""

    number: int


@dataclass(frozen=True, slots=True)
class Shut:
    """Take none of these vouchers from now on."""

    closing: CloseVouchers


Write = Save | Post | Close | Open | Take | Shut


# What is done after the writes.


@dataclass(frozen=True, slots=True)
class Ask:
    """Send this request, sealing the credential."""

    request: Authorize
    credential: Credential


@dataclass(frozen=True, slots=True)
class AskNews:
    """Ask once what is new for the person of this card; no step waits for the answer."""

    greet_id: str
    credential: Credential


@dataclass(frozen=True, slots=True)
class Decline:
    """Tell the server why what waits on a phone is not begun here."""

    claim_id: str
    code: str


@dataclass(frozen=True, slots=True)
class Check:
    """Let the dispenser say whether the selection can be sold."""

    selection: int


@dataclass(frozen=True, slots=True)
class Vend:
    """Tell the dispenser to turn the motor, if no byte would leave past `not_after_ms`."""

    selection: int
    not_after_ms: int


@dataclass(frozen=True, slots=True)
class Release:
    """The result is on disk: the dispenser may forget it."""


@dataclass(frozen=True, slots=True)
class Recover:
    """Let the driver find out what an unknown vend did, and when the dispenser is at rest."""

    selection: int
    readings: base.Readings | None


@dataclass(frozen=True, slots=True)
class Begin:
    """Somebody has identified before pressing: a dispenser that wants credit first gets `points` of it."""

    points: int


@dataclass(frozen=True, slots=True)
class Cancel:
    """What was pressed, or begun, ends without a vend."""


Action = Ask | AskNews | Decline | Begin | Cancel | Check | Vend | Release | Recover | Say


# The state.


@dataclass(frozen=True, slots=True)
class Attempt:
    """The redemption in hand. `credential` lives until the request is answered, and only here."""

    redemption: Redemption
    deadline_ms: int
    credential: Credential | None = None
    request: Authorize | None = None
    asked_at_ms: int = 0
    ask_again_at_ms: int = 0


@dataclass(frozen=True, slots=True)
class Vending:
    """One session (a credential, a selection, or both) and at most one attempt."""

    credential: Credential | None = None
    choice: Slot | None = None
    """As the resident was shown it: whatever differs by the time the card is tapped is not what was chosen."""
    choice_ends_ms: int | None = None
    attempt: Attempt | None = None
    greet_id: str = ""
    """The greeting that is asked for; an answer to any other is late and means nothing."""
    news: Greeting | None = None
    """What is new for whoever has identified; it goes with the session."""
    promised: Promised | None = None
    """A good voucher that was shown, until its vend begins; it waits for a press where the machine wants one."""
    wants_pin: bool = False
    """The card in `credential` was asked for its PIN."""

    @property
    def next_wakeup_ms(self) -> int | None:
        """When TimePassed matters next."""
        attempt = self.attempt
        if attempt is None:
            return self.choice_ends_ms
        if attempt.redemption.state is State.REQUESTED:
            return min(attempt.deadline_ms, attempt.ask_again_at_ms)
        # A vend under way ends by the dispenser's word, never by this clock.
        return attempt.deadline_ms if _may_stop(attempt) or attempt.redemption.is_recovering else None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a step needs to know of the machine; `fresh_id` is the id of what begins here, if anything does."""

    why_not_selling: str
    planogram_version: int
    slots: Mapping[int, Slot]
    closed: frozenset[int]
    is_blocked: Callable[[str], bool]
    fresh_id: str
    is_shown: Callable[[str], bool] = lambda code: False
    """Whether this program showed that screen code, and to nobody else since."""
    takes_pin: bool = False
    """There is a keypad on which a PIN can be typed."""


@dataclass(frozen=True, slots=True)
class Step:
    """What a step gives: the next state, and what to commit before what to do."""

    state: Vending
    writes: tuple[Write, ...] = ()
    actions: tuple[Action, ...] = ()


def step(state: Vending, event: VendingEvent, now_ms: int, around: Surroundings) -> Step:
    """Say what an event means. Events that have no place in the state change nothing."""
    match event:
        case Identified():
            return _identified(state, event.credential, now_ms, around)
        case base.Pressed():
            return _pressed(state, event, now_ms, around)
        case base.CancelPressed():
            return _cancelled(state)
        case Prompted():
            return _prompted(state, event.code, now_ms, around)
        case Waiting():
            return _waiting(state, event, now_ms, around)
        case TimePassed():
            return _time_passed(state, now_ms)
        case Stayed():
            return Step(state if state.choice_ends_ms is None else replace(state, choice_ends_ms=now_ms + CHOICE_MS))
        case Started():
            return _started(event.left_open, now_ms)
        case Approved():
            return _approved(state, event, now_ms)
        case Denied():
            return _denied(state, event, now_ms, around)
        case Found():
            return _found(state, event)
        case Greeting():
            return _greeted(state, event)
        case Promised():
            return _promised(state, event, now_ms, around)
        case CloseVouchers():
            return _close_vouchers(state, event)
        case base.Checked():
            return _checked(state, event, now_ms)
        case base.VendSucceeded() | base.VendFailed() | base.VendUnknown() | base.VendProved() | base.AtRest():
            return _ended(state, event, now_ms)
        case (
            base.DriveSent()
            | base.Progressed()
            | base.StrayResult()
            | base.OnlineChanged()
            | base.Restarted()
            | base.StateRead()
            | base.SelectionReported()
            | base.Ignored()
            | base.Troubled()
            | base.Served()
        ):
            return Step(state)
        case _:
            assert_never(event)


def _moved(redemption: Redemption, event: Event, by: Party = Party.AGENT) -> Redemption:
    return replace(redemption, state=advance(redemption.state, event, by).state)


def _said(redemption: Redemption, code: str) -> Say:
    return say(code, name_zh=redemption.name_zh, name_en=redemption.name_en, points=redemption.points)


# A session: a credential and a selection, in either order.


def _refused(code: str) -> Step:
    """Nothing comes of what was pressed or tapped."""
    return Step(Vending(), actions=(Cancel(), say(code)))


def _begun(around: Surroundings) -> Begin:
    """Nobody here knows a balance: as much as the dearest item costs."""
    prices = (slot.points for slot in around.slots.values() if slot.is_enabled)
    return Begin(max(prices, default=0))


def _identified(state: Vending, credential: Credential, now_ms: int, around: Surroundings) -> Step:
    if state.attempt is not None:
        return Step(state, actions=(say(_why_busy(state.attempt)),))
    if around.why_not_selling:
        return _refused(around.why_not_selling)
    if credential.card is not None and around.is_blocked(credential.card):
        return _refused("card_blocked")
    if state.choice is None:
        begun = (_begun(around),) if state.credential is None else ()
        session = Vending(credential=credential, choice_ends_ms=now_ms + CHOICE_MS, greet_id=state.greet_id)
        if credential == state.credential:
            session = replace(session, news=state.news)
        if credential.card is None or credential.pin is not None or credential == state.credential:
            return Step(session, actions=(*begun, say("choose")))
        session = replace(session, greet_id=around.fresh_id)
        return Step(session, actions=(*begun, say("choose"), AskNews(session.greet_id, credential)))
    return _begin(credential, state.choice, now_ms, around)


def _prompted(state: Vending, code: str, now_ms: int, around: Surroundings) -> Step:
    """Somebody types: they have as long again, and nothing of it is an attempt yet."""
    if state.attempt is not None:
        return Step(state, actions=(say(_why_busy(state.attempt)),))
    if around.why_not_selling:
        return _refused(around.why_not_selling)
    return Step(replace(state, choice_ends_ms=now_ms + CHOICE_MS), actions=(say(code),))


def _waiting(state: Vending, offer: Waiting, now_ms: int, around: Surroundings) -> Step:
    """Somebody in front of the screen has chosen on a phone: an attempt like any other, or the server is told why not.

    What only was pressed before is no other person's: the phone's choice takes its place.
    """
    attempt = state.attempt
    if attempt is not None:
        is_this = attempt.credential is not None and attempt.credential.claim == offer.claim_id
        return Step(state, actions=() if is_this else (Decline(offer.claim_id, "busy"),))
    slot = around.slots.get(offer.selection)
    shown = (offer.planogram_version, offer.product_id, offer.points)
    reasons = (
        (around.why_not_selling, bool(around.why_not_selling)),
        ("claim_over", state.credential is not None or not around.is_shown(offer.screen_code)),
        ("no_such_selection", slot is None),
        ("changed", slot is not None and shown != (around.planogram_version, slot.product_id, slot.points)),
        ("selection_disabled", slot is not None and not (slot.is_enabled and slot.selection not in around.closed)),
    )
    code = next((code for code, holds in reasons if holds), "")
    if code or slot is None:
        return Step(state, actions=(Decline(offer.claim_id, code),))
    begun = _begin(Credential(claim=offer.claim_id), slot, now_ms, around)
    # What was pressed before was another item, unless it is this one.
    ending = () if state.choice is None or state.choice.selection == slot.selection else (Cancel(),)
    return replace(begun, actions=(*ending, *begun.actions))


def _greeted(state: Vending, answer: Greeting) -> Step:
    """What is new for the person who is choosing."""
    if answer.greet_id != state.greet_id:
        return Step(state)
    words = greeting(answer.resident_label, answer.available_points, answer.points_changed, answer.unread_messages)
    return Step(replace(state, greet_id="", news=answer), actions=(words,))


def _pressed(state: Vending, pressed: base.Pressed, now_ms: int, around: Surroundings) -> Step:
    if state.attempt is not None:
        return Step(state, actions=(say(_why_busy(state.attempt)),))
    promised = state.promised
    if promised is not None and pressed.selection == promised.voucher.selection:
        if pressed.points not in (None, promised.voucher.points):
            return _refused("voucher_changed")
        return _promised(state, promised, now_ms, around)
    if around.why_not_selling:
        return _refused(around.why_not_selling)
    slot = around.slots.get(pressed.selection)
    if slot is None:
        return _press_again(state, "no_such_selection", around)
    if not slot.is_enabled or pressed.selection in around.closed:
        return _press_again(state, "selection_disabled", around)
    if pressed.points is not None and pressed.points != slot.points:
        # The price on the machine's own display is another one.
        return _refused("changed")
    if state.credential is None:
        words = say("identify", name_zh=slot.name_zh, name_en=slot.name_en, points=slot.points)
        return Step(Vending(choice=slot, choice_ends_ms=now_ms + CHOICE_MS), actions=(words,))
    return _begin(state.credential, slot, now_ms, around)


def _press_again(state: Vending, code: str, around: Surroundings) -> Step:
    """This selection is none; whoever has identified may press another. A former choice stands no more."""
    if state.credential is None:
        return _refused(code)
    return Step(state, actions=(Cancel(), _begun(around), say(code)))


def _why_busy(attempt: Attempt) -> str:
    return "recovering" if attempt.redemption.is_recovering else "busy"


def _begin(credential: Credential, shown: Slot, now_ms: int, around: Surroundings) -> Step:
    slot = around.slots.get(shown.selection)
    if slot is None or not slot.is_enabled or shown.selection in around.closed:
        # It was closed while the resident looked for the card.
        return _refused("selection_disabled")
    if slot != shown:
        # A new planogram came meanwhile: nobody pays a price that was not shown.
        return _refused("changed")
    redemption = Redemption(
        id=around.fresh_id,
        state=State.REQUESTED,
        selection=slot.selection,
        product_id=slot.product_id,
        points=slot.points,
        planogram_version=around.planogram_version,
        name_zh=slot.name_zh,
        name_en=slot.name_en,
    )
    # The sealed credential is filled in where the message is made; here it stays apart from what may be printed.
    request = Authorize(redemption.id, "", slot.selection, around.planogram_version, slot.product_id, slot.points)
    attempt = Attempt(
        redemption,
        deadline_ms=now_ms + ANSWER_MS,
        credential=credential,
        request=request,
        asked_at_ms=now_ms,
        ask_again_at_ms=now_ms + ASK_AGAIN_MS,
    )
    return Step(Vending(attempt=attempt), (Save(redemption),), (Ask(request, credential), say("asking")))


def _cancelled(state: Vending) -> Step:
    attempt = state.attempt
    if attempt is not None:
        return _not_started(attempt, "cancelled", "cancelled") if _may_stop(attempt) else Step(state)
    if state.choice_ends_ms is None:
        return Step(state)
    return _refused("cancelled")


def _time_passed(state: Vending, now_ms: int) -> Step:
    attempt = state.attempt
    if attempt is None:
        if state.choice_ends_ms is not None and now_ms >= state.choice_ends_ms:
            return _refused("timed_out")
        return Step(state)
    if _may_stop(attempt):
        if now_ms >= attempt.deadline_ms:
            return _not_started(attempt, "lapsed", "lapsed")
        if attempt.request is not None and attempt.credential is not None and now_ms >= attempt.ask_again_at_ms:
            again = replace(attempt, ask_again_at_ms=now_ms + ASK_AGAIN_MS)
            return Step(Vending(attempt=again), actions=(Ask(attempt.request, attempt.credential),))
        return Step(state)
    if attempt.redemption.is_recovering and now_ms >= attempt.deadline_ms:
        return _recovery_overdue(state, attempt, now_ms)
    return Step(state)


# A voucher: the approval was given before, and nobody is asked.


def _promised(state: Vending, promised: Promised, now_ms: int, around: Surroundings) -> Step:
    """A good voucher was shown. The link may be down; everything else must be as for any sale."""
    if state.attempt is not None:
        return Step(state, actions=(say(_why_busy(state.attempt)),))
    if around.why_not_selling not in ("", "offline"):
        return _refused(around.why_not_selling)
    voucher, slot = promised.voucher, around.slots.get(promised.voucher.selection)
    if slot is None or (slot.product_id, slot.points) != (voucher.product_id, voucher.points):
        return _refused("voucher_changed")
    if not slot.is_enabled or slot.selection in around.closed:
        return _refused("voucher_later")
    requested = Redemption(
        id=voucher.redemption_id,
        state=State.REQUESTED,
        selection=slot.selection,
        product_id=slot.product_id,
        points=slot.points,
        planogram_version=around.planogram_version,
        name_zh=slot.name_zh,
        name_en=slot.name_en,
        approval=promised.approval,
        voucher_number=voucher.number,
    )
    held = _moved(requested, Event.APPROVED, Party.SERVER)
    # What was pressed before was another item, unless it is this one.
    ending = () if state.choice is None or state.choice.selection == slot.selection else (Cancel(),)
    attempt = Attempt(held, deadline_ms=now_ms + VOUCHER_MS)
    return Step(Vending(attempt=attempt, promised=promised), actions=(*ending, Check(held.selection)))


def _close_vouchers(state: Vending, closing: CloseVouchers) -> Step:
    """Refuse these numbers, and say so: what was shown and has not begun does not begin."""
    writes = (Shut(closing), Post(VouchersClosed(closing.up_to, closing.numbers)))
    number = None if state.promised is None else state.promised.voucher.number
    if number is None or (number > closing.up_to and number not in closing.numbers):
        return Step(state, writes)
    return Step(Vending(), writes, (Cancel(), say("voucher_ended")))


# The answer.


def _may_stop(attempt: Attempt) -> bool:
    """Nothing that could turn the motor has been said yet."""
    return attempt.redemption.state in (State.REQUESTED, State.HELD)


def _not_started(attempt: Attempt, reason: str, words: str) -> Step:
    if attempt.redemption.voucher_number is not None:
        # Nothing is written and nothing said: its number is not taken, and can be tried again.
        return Step(Vending(), actions=(Cancel(), say("voucher_later" if words == "not_sellable" else "voucher_kept")))
    redemption = _moved(attempt.redemption, Event.NOT_STARTED)
    writes = (Save(redemption), Post(NotStarted(redemption.id, reason)))
    return Step(Vending(), writes, (Cancel(), _said(redemption, words)))


def _asked_for(state: Vending, redemption_id: str) -> Attempt | None:
    """The attempt that waits for the answer about this id; an answer to anything else is late and means nothing."""
    attempt = state.attempt
    if attempt is None or attempt.redemption.id != redemption_id or attempt.redemption.state is not State.REQUESTED:
        return None
    return attempt


def _approved(state: Vending, answer: Approved, now_ms: int) -> Step:
    attempt = _asked_for(state, answer.redemption_id)
    if attempt is None:
        return Step(state)
    held = replace(_moved(attempt.redemption, Event.APPROVED, Party.SERVER), approval=answer.approval)
    attempt = Attempt(held, deadline_ms=attempt.asked_at_ms + 1000 * answer.vend_within_s)
    if now_ms >= attempt.deadline_ms:
        return _not_started(attempt, "lapsed", "lapsed")
    # HELD needs no fsync of its own: an approval is worth nothing to the next run.
    return Step(Vending(attempt=attempt), actions=(Check(held.selection),))


def _denied(state: Vending, answer: Denied, now_ms: int, around: Surroundings) -> Step:
    attempt = _asked_for(state, answer.redemption_id)
    if attempt is None:
        return Step(state)
    redemption = _moved(attempt.redemption, Event.DENIED, Party.SERVER)
    words = Say(f"denied:{answer.code}", answer.text_zh, answer.text_en)
    card = attempt.credential
    if answer.code == PIN_REQUIRED and around.takes_pin and card is not None and card.card is not None:
        # The same card with its PIN is another attempt, for what was chosen already.
        session = Vending(
            credential=card,
            choice=around.slots.get(redemption.selection),
            choice_ends_ms=now_ms + CHOICE_MS,
            wants_pin=True,
        )
        return Step(session, (Save(redemption),), (Cancel(), _begun(around), words))
    return Step(Vending(), (Save(redemption),), (Cancel(), words))


def _found(state: Vending, answer: Found) -> Step:
    """The server knows the id but gives no approval again: this attempt cannot go on."""
    attempt = _asked_for(state, answer.redemption_id)
    return Step(state) if attempt is None else _not_started(attempt, "found", "lapsed")


# The dispenser.


def _checked(state: Vending, check: base.Checked, now_ms: int) -> Step:
    attempt = state.attempt
    if attempt is None or attempt.redemption.state is not State.HELD:
        return Step(state)
    held = attempt.redemption
    if check.selection != held.selection:
        return Step(state)
    if now_ms >= attempt.deadline_ms:
        return _not_started(attempt, "lapsed", "lapsed")
    if check.code == base.NOT_PRESSED and state.promised is not None:
        waiting = Vending(promised=state.promised, choice_ends_ms=now_ms + CHOICE_MS)
        return Step(waiting, actions=(Begin(held.points), _said(held, "voucher_press")))
    if not check.is_sellable:
        stopped = _not_started(attempt, f"check:{check.code}", "not_sellable")
        return replace(stopped, writes=(*stopped.writes, *_closing(check.selection, check.closes, check.code)))
    redemption = replace(_moved(attempt.redemption, Event.VEND_STARTED), readings=check.readings)
    started = VendStarted(
        redemption.id,
        redemption.approval,
        redemption.selection,
        redemption.product_id,
        redemption.points,
        redemption.readings,
    )
    taking = () if redemption.voucher_number is None else (Take(redemption.voucher_number),)
    return Step(
        Vending(attempt=replace(attempt, redemption=redemption)),
        (Save(redemption), Post(started), *taking),
        (Vend(redemption.selection, attempt.deadline_ms), _said(redemption, "vending")),
    )


def _closing(selection: int, closes: base.Closes | None, code: str) -> tuple[Write, ...]:
    return () if closes is None else (Close(None if closes == "machine" else selection, code),)


Ending = base.VendSucceeded | base.VendFailed | base.VendUnknown | base.VendProved | base.AtRest


def _ended(state: Vending, ending: Ending, now_ms: int) -> Step:
    """A result, a proof, or the lack of both, for the vend in hand; with none in hand it changes nothing."""
    attempt = state.attempt
    if attempt is None or _may_stop(attempt):
        return Step(state)
    redemption = attempt.redemption
    if not isinstance(ending, base.AtRest) and ending.selection != redemption.selection:
        return Step(state)
    if redemption.state in CLOSED and isinstance(ending, base.VendSucceeded | base.VendFailed):
        # Its end is on disk already: this is the dispenser's record of it, said again after a restart.
        return Step(state, actions=(Release(),))
    match ending:
        case base.VendSucceeded():
            message = Dispensed(redemption.id, ending.is_verified, ending.code)
            return _settled(attempt, Event.DISPENSED, (Post(message),))
        case base.VendFailed():
            failed = NotDispensed(redemption.id, ending.code, ending.closes)
            closing = _closing(ending.selection, ending.closes, ending.code)
            return _settled(attempt, Event.NOT_DISPENSED, (Post(failed), *closing))
        case base.VendUnknown():
            return _in_doubt(attempt, ending.reason, now_ms)
        case base.VendProved():
            return _proved(attempt, ending)
        case base.AtRest():
            return _at_rest(attempt)
        case _:
            assert_never(ending)


_SPOKEN: Final = {State.CAPTURED: "dispensed", State.VOIDED: "not_dispensed", State.IN_DOUBT: "outcome_unknown"}


def _settled(attempt: Attempt, event: Event, posts: tuple[Write, ...]) -> Step:
    """The dispenser has spoken. While it recovers it takes no next vend: the attempt stays, closed, until then."""
    redemption = _moved(attempt.redemption, event)
    actions: tuple[Action, ...] = (Release(), _said(redemption, _SPOKEN[redemption.state]))
    if redemption.is_recovering:
        return Step(Vending(attempt=replace(attempt, redemption=redemption)), (Save(redemption), *posts), actions)
    return Step(Vending(), (Save(redemption), *posts), actions)


def _unknown(redemption: Redemption, reason: str) -> tuple[Redemption, tuple[Write, ...]]:
    """Say `outcome_unknown`: once, and close the selection until a person or a proof opens it."""
    doubtful = _moved(redemption, Event.OUTCOME_UNKNOWN)
    return doubtful, (Post(OutcomeUnknown(redemption.id, reason)), Close(redemption.selection, "outcome_unknown"))


def _in_doubt(attempt: Attempt, reason: str, now_ms: int) -> Step:
    if attempt.redemption.is_recovering:
        return Step(Vending(attempt=attempt))
    doubtful, writes = _unknown(attempt.redemption, reason)
    doubtful = replace(doubtful, is_recovering=True)
    return Step(
        Vending(attempt=Attempt(doubtful, deadline_ms=now_ms + RECOVERY_MS)),
        (Save(doubtful), *writes),
        (Recover(doubtful.selection, doubtful.readings), _said(doubtful, "outcome_unknown")),
    )


def _proved(attempt: Attempt, proof: base.VendProved) -> Step:
    redemption, writes = replace(attempt.redemption, is_recovering=False), tuple[Write, ...]()
    if redemption.state is State.VENDING:
        # The table knows proofs only of what has been said to be in doubt.
        redemption, writes = _unknown(redemption, "restarted")
    if redemption.state is not State.IN_DOUBT:
        return Step(Vending(), (Save(redemption),))
    event = Event.PROVED_DISPENSED if proof.is_dispensed else Event.PROVED_NOT_DISPENSED
    form = ProvedDispensed if proof.is_dispensed else ProvedNotDispensed
    redemption = _moved(redemption, event)
    message = form(redemption.id, proof.evidence)
    # An item that left proves the selection sound; one that stayed has jammed.
    opening = (Open(redemption.selection),) if proof.is_dispensed else ()
    return Step(
        Vending(),
        (Save(redemption), *writes, Post(message), *opening),
        (_said(redemption, _SPOKEN[redemption.state]),),
    )


def _at_rest(attempt: Attempt) -> Step:
    redemption, writes = replace(attempt.redemption, is_recovering=False), tuple[Write, ...]()
    if redemption.state is State.VENDING:
        redemption, writes = _unknown(redemption, "restarted")
    return Step(Vending(), (Save(redemption), *writes), (say("welcome"),))


def _recovery_overdue(state: Vending, attempt: Attempt, now_ms: int) -> Step:
    """The dispenser stays away. The outcome is unknown by now; the attempt stays until the dispenser is at rest."""
    waiting = replace(attempt, deadline_ms=now_ms + RECOVERY_MS)
    if attempt.redemption.state is not State.VENDING:
        return Step(replace(state, attempt=waiting))
    doubtful, writes = _unknown(attempt.redemption, "dispenser_away")
    return Step(
        Vending(attempt=replace(waiting, redemption=doubtful)),
        (Save(doubtful), *writes),
        (_said(doubtful, "outcome_unknown"),),
    )


# A new run.


def _started(left_open: tuple[Redemption, ...], now_ms: int) -> Step:
    """End what never began, and ask the dispenser about what may have happened."""
    writes: list[Write] = []
    attempt: Attempt | None = None
    for redemption in left_open:
        if redemption.state in (State.REQUESTED, State.HELD):
            ended = _moved(redemption, Event.NOT_STARTED)
            writes += [Save(ended), Post(NotStarted(ended.id, "restarted"))]
        else:
            recovering = replace(redemption, is_recovering=True)
            writes.append(Save(recovering))
            attempt = Attempt(recovering, deadline_ms=now_ms + RECOVERY_MS)
    if attempt is None:
        return Step(Vending(), tuple(writes), (say("welcome"),))
    recover = Recover(attempt.redemption.selection, attempt.redemption.readings)
    return Step(Vending(attempt=attempt), tuple(writes), (recover, say("recovering")))

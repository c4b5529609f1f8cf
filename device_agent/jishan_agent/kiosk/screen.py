"""What the machine's own screen shows and speaks, as pure functions: the agent's front in, a `Screen` out.

`followed` takes what the machine does, `acted` what the person does; both give the next `Memory`, and what the agent is
to be told. `drawn` turns a memory into a screen; the page only draws it. The rules:

1. The memory holds no name and no balance: those stand in `Front.news`, which goes with the session. They are not
   drawn while the machine asks whether anybody is still there.
2. A choice lasts 30 s (`vending.CHOICE_MS`), then the screen warns once and gives as long again.
3. What a person does counts only if the view is still the one they saw: nothing moves under the hand.
4. The balance is spoken only when somebody presses listen.
5. With a card read, a choice is asked back before the agent hears of it; without, the tap is the confirmation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from jishan_agent.agent import AgentEvent, Front
from jishan_agent.dispensers.base import CancelPressed, Pressed
from jishan_agent.keying import CANCEL, DOT, ENTER, Keyed
from jishan_agent.kiosk.phrases import Clips, Item, Language, Phrase, balance, number, offer, said
from jishan_agent.vending import Stayed
from jishan_agent.words import WORDS, Say
from jishan_protocol.messages import Slot
from jishan_protocol.redemption import CLOSED, State

RESULT_MS: Final = 60_000
"""A result stays long enough to be read twice; any press, tap or card ends it."""

SHORT_RESULT_MS: Final = 10_000
"""Where nothing was wanted any more, the next person finds the goods again soon."""

LAST_MOMENT_MS: Final = 3_000
"""So long before a choice is forgotten the warning comes; the loop turns at least three times in it."""

LOOK_MS: Final = 60_000
"""Language, contrast and voice go back to what is usual so long after the last person touched anything."""

GOODS_ON_A_PAGE: Final = 6
"""As many as stand on either screen with a picture and large type."""

MAX_TYPED: Final = 20
"""A voucher has sixteen digits, a member number eight."""

SELECTION_DIGITS: Final = 4
"""What is longer is for the agent to read: a member number, or a voucher."""

MAX_SPOKEN: Final = 4
"""So many of the newest utterances are told to a page: two may come between two looks."""


class Step(StrEnum):
    """Where the person is."""

    IDLE = "idle"
    CLOSED = "closed"
    CHOOSING = "choosing"
    CONFIRM = "confirm"
    IDENTIFY = "identify"
    PAD = "pad"
    PIN = "pin"
    ASKING = "asking"
    VENDING = "vending"
    RESULT = "result"


_HEADINGS: Final[Mapping[str, str]] = {
    "dispensed": "done",
    "not_dispensed": "kept",
    "outcome_unknown": "kept",
    "cancelled": "ended",
    "timed_out": "ended",
    "bad_card": "again",
    "no_such_selection": "again",
    "selection_disabled": "again",
    "changed": "again",
}
"""What stands over a result; anything else did not work."""

_NOT_WANTED: Final = frozenset({"cancelled", "timed_out"})
_ACT: Final = re.compile(r"([a-z]+)(?::(-?[0-9]{1,4}))?")
_NUMBERED: Final = frozenset({"digit", "choose", "page"})
_ON_THE_WAY: Final = frozenset({"welcome", "choose", "identify", "asking", "vending", "greeting"})
"""Sentences that no result page is made of."""

TEXTS: Final[Mapping[str, tuple[str, str]]] = {
    "idle": ("爱心积分兑换", "Points for goods"),
    "how": ("请刷卡，或先选商品", "Tap your card, or choose first"),
    "how_code": ("请刷卡，或用手机扫码，或先选商品", "Tap your card, scan with your phone, or choose first"),
    "closed": ("暂停兑换", "Not open right now"),
    "choosing": ("请选商品", "Please choose"),
    "confirm": ("要换这个吗？", "Take this one?"),
    "identify": ("请刷卡", "Tap your card"),
    "pad": ("请输入号码", "Type a number"),
    "pad_hint": ("货号、八位会员号或凭证号码，然后按确认", "A selection, a member number or a voucher, then enter"),
    "pin": ("请输入密码", "Type your PIN"),
    "asking": ("正在核对积分", "Checking your points"),
    "vending": ("正在出货", "Your item is coming"),
    "result": ("没有换成", "That did not work"),
    "ended": ("已结束", "Finished"),
    "again": ("请再试一次", "Please try again"),
    "done": ("请取货", "Please take your item"),
    "kept": ("积分都在", "Your points are safe"),
    "points": ("{}分", "{} points"),
    "point": ("{}分", "{} point"),
    "paused": ("暂停兑换", "not available"),
    "lacking": ("还差{}分", "{} points short"),
    "too_few": ("您的积分不够，还差{}分。请选别的。", "You are {} points short. Please choose another."),
    "there": ("您还在吗？请按任意键，再等30秒。", "Are you still there? Press any key for 30 seconds more."),
    "typed": ("号码：{}", "Number: {}"),
    "telephone": ("服务电话：{}", "Help: {}"),
    "no_telephone": ("有问题请到小区服务点", "Please ask at the estate's desk"),
    "listen": ("听一听", "Listen"),
    "finish": ("结束", "Done"),
    "back": ("返回", "Back"),
    "cancel": ("取消", "Cancel"),
    "take": ("确认换取", "Confirm"),
    "enter": ("确认", "Enter"),
    "untype": ("重输", "Clear"),
    "digits": ("输号码", "Type a number"),
    "ok": ("知道了", "OK"),
    "stay": ("我还在", "I am here"),
    "more": ("下一页", "Next page"),
    "less": ("上一页", "Previous page"),
    "contrast": ("黑底白字", "Contrast"),
    "voice_off": ("关语音", "Voice off"),
    "voice": ("开语音", "Voice on"),
    "language": ("English", "中文"),
    "stage_points": ("核对积分", "Checking points"),
    "stage_vend": ("正在出货", "Item on its way"),
    "stage_take": ("请取货", "Take your item"),
    "tap_hint": ("把卡贴在读卡处，就会换取", "Hold your card to the reader to take it"),
}


@dataclass(frozen=True, slots=True)
class Setting:
    """What a machine's owner has set: the estate's telephone, the goods that have a picture, and who plays sounds."""

    telephone: str = ""
    pictured: frozenset[str] = frozenset()
    is_heard_elsewhere: bool = False
    """A player of the machine's own speaks; the page stays silent."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """An utterance. One that `waits` is spoken after what is being said, any other at once."""

    number: int
    language: Language
    clips: Clips
    waits: bool


@dataclass(frozen=True, slots=True)
class Memory:
    """What the screen remembers between two looks at the machine."""

    language: Language = "zh"
    is_contrast: bool = False
    is_voiced: bool = True
    typed: str = ""
    chosen: int | None = None
    """The selection that is asked back; only while somebody has identified."""
    page: int = 0
    has_pad: bool = False
    """Somebody types with a finger."""
    notice: str = ""
    """Said by the screen itself, in its language; until the next sentence or press."""
    item: Item | None = None
    """The goods of the newest choice: a sentence about its end comes when the choice is gone."""
    is_warned: bool = False
    touched_ms: int = 0
    result: Say | None = None
    result_until_ms: int = 0
    said_number: int = -1
    keyed: str = ""
    """What the agent showed of the keypad's keys; a PIN is dots there too."""
    listen_number: int = 0
    spoken: tuple[Spoken, ...] = ()
    view: int = 0
    place: tuple[Step, int | None] = (Step.IDLE, None)


@dataclass(frozen=True, slots=True)
class Turn:
    """The next memory, and what the agent is to hear."""

    memory: Memory
    events: tuple[AgentEvent, ...] = ()


@dataclass(frozen=True, slots=True)
class Good:
    """One of the goods on the screen; `act` is empty where it cannot be chosen."""

    selection: int
    name: str
    sign: str
    """Its first sign, for where there is no picture."""
    points: str
    why_not: str
    picture: str
    act: str


@dataclass(frozen=True, slots=True)
class Button:
    """A button, and the key that does the same."""

    act: str
    label: str
    key: str
    is_main: bool = False


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the way to the goods: `done`, `now` or `later`."""

    label: str
    state: str


@dataclass(frozen=True, slots=True)
class Screen:
    """Everything that the page draws."""

    view: int
    step: Step
    language: Language
    is_contrast: bool
    heading: str
    words: str
    notice: str
    is_warning: bool
    is_good: bool
    typed: str
    goods: tuple[Good, ...]
    shown: Good | None
    stages: tuple[Stage, ...]
    pad: tuple[Button, ...]
    buttons: tuple[Button, ...]
    turning: tuple[Button, ...]
    """To the other pages of the goods."""
    bar: tuple[Button, ...]
    telephone: str
    address: str
    """For a phone to scan; empty while somebody is being served."""
    spoken: tuple[Spoken, ...]


# What the machine does.


def followed(memory: Memory, front: Front, book: Mapping[str, Phrase], now_ms: int) -> Turn:
    """Take the machine as it is now."""
    before, events = memory, tuple[AgentEvent, ...]()
    slot = front.choice or front.redemption
    if slot is not None:
        memory = replace(memory, item=Item(slot.product_id, slot.points))
    if front.said_number != memory.said_number:
        memory = _heard(memory, front, book, now_ms)
    memory = _told(memory, front, now_ms)
    if not front.is_identified:
        memory = replace(memory, chosen=None)
    if front.choice_ends_ms is None:
        memory = replace(memory, is_warned=False)
        if now_ms - memory.touched_ms >= LOOK_MS:
            usual = Memory()
            memory = replace(memory, language=usual.language, is_contrast=usual.is_contrast, is_voiced=usual.is_voiced)
            memory = replace(memory, typed="", page=0, notice="", has_pad=False)
    elif not memory.is_warned and now_ms >= front.choice_ends_ms - LAST_MOMENT_MS:
        memory = _spoken(replace(memory, is_warned=True, typed=""), ("still_there",))
        events = (Stayed(),)
    return Turn(_placed(before, memory, front, now_ms), events)


def _heard(memory: Memory, front: Front, book: Mapping[str, Phrase], now_ms: int) -> Memory:
    """The machine has said something."""
    code, is_first = front.said.code, memory.said_number < 0
    memory = replace(memory, said_number=front.said_number, notice="", has_pad=False, touched_ms=now_ms)
    if code == "welcome" or is_first:
        return memory
    if code in _ON_THE_WAY:
        memory = replace(memory, result=None, result_until_ms=0)
    else:
        lasts_ms = SHORT_RESULT_MS if code in _NOT_WANTED else RESULT_MS
        memory = replace(memory, result=front.said, result_until_ms=now_ms + lasts_ms)
    if code in ("choose", "identify"):
        # A new card, or a new choice: what stood on the screen was another one's.
        memory = replace(memory, chosen=None, typed="", is_warned=False)
    if code == "choose":
        memory = replace(memory, page=0)
    return _spoken(memory, said(code, memory.item, memory.language, book), waits=code == "greeting")


def _told(memory: Memory, front: Front, now_ms: int) -> Memory:
    """Keys of a keypad are spoken as they come, those of a PIN as stars; entering nothing is to listen."""
    if front.typed != memory.keyed:
        is_more = front.typed.startswith(memory.keyed) or front.awaits_pin
        for key in front.typed[len(memory.keyed) :] if is_more else front.typed:
            clips = number(int(key), "en") if "0" <= key <= "9" else ("star",) if key == DOT else ()
            memory = _spoken(memory, clips, waits=bool(memory.keyed)) if clips else memory
        memory = replace(memory, keyed=front.typed, touched_ms=now_ms)
    if front.listen_number != memory.listen_number:
        memory = replace(memory, listen_number=front.listen_number, touched_ms=now_ms)
        memory = _spoken(memory, _all_there_is(memory, front, _step(memory, front, now_ms)))
    return memory


def _spoken(memory: Memory, clips: Clips, *, waits: bool = False) -> Memory:
    if not memory.is_voiced:
        return memory
    last = memory.spoken[-1].number if memory.spoken else 0
    utterance = Spoken(last + 1, memory.language, clips, waits)
    return replace(memory, spoken=(*memory.spoken, utterance)[-MAX_SPOKEN:])


def _placed(before: Memory, memory: Memory, front: Front, now_ms: int) -> Memory:
    """A new view when the person stands somewhere else than before."""
    place = (_step(memory, front, now_ms), memory.chosen)
    is_new_card = memory.said_number != before.said_number and front.said.code == "choose"
    if place == memory.place and not is_new_card:
        return memory
    return replace(memory, place=place, view=memory.view + 1)


def _step(memory: Memory, front: Front, now_ms: int) -> Step:
    redemption = front.redemption
    if redemption is not None and not redemption.is_recovering and redemption.state not in CLOSED:
        return Step.VENDING if redemption.state is State.VENDING else Step.ASKING
    if redemption is None and front.awaits_pin:
        return Step.PIN
    if memory.has_pad:
        return Step.PAD
    if front.choice_ends_ms is not None:
        if not front.is_identified:
            # Nothing chosen and nobody known: a number was typed that is none.
            return Step.PAD if front.choice is None else Step.IDENTIFY
        return Step.CHOOSING if memory.chosen is None else Step.CONFIRM
    if memory.result is not None and now_ms < memory.result_until_ms:
        return Step.RESULT
    return Step.CLOSED if front.why_not_selling else Step.IDLE


# What the person does.


def acted(memory: Memory, front: Front, act: str, view: int, now_ms: int) -> Turn:
    """Take a press: `digit:5`, `enter`, `escape`, or the act of a button. What has no meaning here changes nothing."""
    before = memory
    step = _step(memory, front, now_ms)
    was_warned = memory.is_warned
    memory = replace(memory, touched_ms=now_ms, is_warned=False)
    stay: tuple[AgentEvent, ...] = (Stayed(),) if front.choice_ends_ms is not None else ()
    if act in _LOOKS:
        return Turn(_looked(memory, act), stay)
    if view != memory.view:
        return Turn(replace(before, touched_ms=now_ms))
    if was_warned and act not in ("finish", "escape"):
        return Turn(memory, stay)
    read = _ACT.fullmatch(act)
    if read is None or (read[1] in _NUMBERED) is (read[2] is None):
        return Turn(memory)
    name, value = read[1], read[2] or ""
    if act == "enter":
        name, value = _entered(memory, step)
    elif act == "escape":
        name = "untype" if memory.typed else _ESCAPES.get(step, "")
    turn = _typed_pin(memory, name, value) if step is Step.PIN else _done(memory, front, step, name, value)
    events = turn.events or stay
    return Turn(_placed(before, turn.memory, front, now_ms), events)


_LOOKS: Final = frozenset({"language", "contrast", "voice"})
_ESCAPES: Final[Mapping[Step, str]] = {
    Step.CHOOSING: "finish",
    Step.CONFIRM: "back",
    Step.IDENTIFY: "finish",
    Step.PAD: "unpad",
    Step.PIN: "finish",
    Step.ASKING: "finish",
    Step.RESULT: "ok",
}


def _entered(memory: Memory, step: Step) -> tuple[str, str]:
    if step is Step.PIN:
        return "enter", ""
    if memory.typed:
        return ("choose" if len(memory.typed) <= SELECTION_DIGITS else "hand"), memory.typed
    return {Step.CONFIRM: "confirm", Step.RESULT: "ok"}.get(step, ""), ""


def _looked(memory: Memory, act: str) -> Memory:
    match act:
        case "contrast":
            return replace(memory, is_contrast=not memory.is_contrast)
        case "voice" if memory.is_voiced:
            return replace(memory, is_voiced=False)
        case "voice":
            return _spoken(replace(memory, is_voiced=True), ("voice_on",))
        case _:
            language: Language = "en" if memory.language == "zh" else "zh"
            return _spoken(replace(memory, language=language, notice=""), ("language",))


def _typed_pin(memory: Memory, name: str, value: str) -> Turn:
    """A PIN goes to the agent key by key; it is neither kept here nor spoken."""
    match name:
        case "digit" if len(value) == 1:
            return Turn(memory, (Keyed(value),))
        case "enter":
            return Turn(memory, (Keyed(ENTER),))
        case "finish":
            return Turn(memory, (Keyed(CANCEL),))
        case "listen":
            return Turn(_spoken(memory, ("enter_pin",)))
        case _:
            return Turn(memory)


def _done(memory: Memory, front: Front, step: Step, name: str, value: str) -> Turn:
    can_choose = step in (Step.IDLE, Step.CHOOSING, Step.IDENTIFY, Step.PAD, Step.RESULT, Step.CLOSED)
    match name:
        case "digit" if (can_choose or step is Step.CONFIRM) and len(value) == 1:
            typed = (memory.typed + value)[-MAX_TYPED:]
            # The first digit breaks off what is being said; the next ones wait for each other.
            waits = bool(memory.typed)
            return Turn(_spoken(replace(memory, typed=typed, notice=""), number(int(value), "en"), waits=waits))
        case "untype":
            return Turn(replace(memory, typed=""))
        case "pad" if can_choose:
            return Turn(replace(memory, has_pad=True))
        case "unpad" if step is Step.PAD:
            # The agent, too, may be waiting for a number.
            given_up = () if front.choice_ends_ms is None or front.is_identified else (CancelPressed(),)
            return Turn(replace(memory, has_pad=False), given_up)
        case "hand" if can_choose:
            return Turn(replace(memory, typed="", has_pad=False), (Keyed(value + ENTER),))
        case "choose" if can_choose or step is Step.CONFIRM:
            return _chosen(replace(memory, typed="", notice="", has_pad=False), front, int(value))
        case "confirm" if step is Step.CONFIRM and memory.chosen is not None:
            # A view of its own: a second press of the same hand finds nothing to confirm.
            return Turn(replace(memory, view=memory.view + 1), (Pressed(memory.chosen),))
        case "back" if step is Step.CONFIRM:
            return Turn(replace(memory, chosen=None))
        case "finish" if step in (Step.CHOOSING, Step.CONFIRM, Step.IDENTIFY, Step.ASKING):
            return Turn(replace(memory, view=memory.view + 1), (CancelPressed(),))
        case "ok" if step is Step.RESULT:
            return Turn(replace(memory, result=None, result_until_ms=0))
        case "page":
            return Turn(replace(memory, page=min(max(memory.page + int(value), 0), _last_page(front)), typed=""))
        case "listen":
            return Turn(_spoken(memory, _all_there_is(memory, front, step)))
        case _:
            return Turn(memory)


def _chosen(memory: Memory, front: Front, selection: int) -> Turn:
    """With a card read, ask back; else the agent says what comes next. What cannot be had is told by the agent too."""
    slot = next((one for one in front.slots if one.selection == selection), None)
    if not front.is_identified or slot is None or _is_paused(slot, front):
        return Turn(replace(memory, chosen=None), (Pressed(selection),))
    lacking = _lacking(slot, front)
    if lacking:
        memory = replace(memory, chosen=None, notice=_text("too_few", memory).format(lacking))
        return Turn(_spoken(memory, ("denied_not_enough_points",)))
    memory = replace(memory, chosen=selection, item=Item(slot.product_id, slot.points))
    return Turn(_spoken(memory, (*offer(slot, memory.language), "press_confirm")))


def _all_there_is(memory: Memory, front: Front, step: Step) -> Clips:
    """What somebody hears who cannot see the screen."""
    language = memory.language
    if step is Step.CONFIRM or step is Step.IDENTIFY:
        slot = next((one for one in front.slots if one.selection == memory.chosen), front.choice)
        ask = "press_confirm" if step is Step.CONFIRM else "please_tap"
        return (*(offer(slot, language) if slot else ()), ask)
    if step in (Step.ASKING, Step.VENDING):
        return (step.value,)
    if step is Step.PIN:
        return ("enter_pin",)
    if front.why_not_selling:
        return (front.why_not_selling,)
    had = balance(front.news, language) if front.news is not None else ()
    there = [slot for slot in front.slots if not _is_paused(slot, front) and not _lacking(slot, front)]
    offers = tuple(clip for slot in there for clip in offer(slot, language))
    return (*had, *(("can_choose", *offers) if offers else ("nothing_to_choose",)), "how_to")


# The screen.


def drawn(memory: Memory, front: Front, setting: Setting, now_ms: int) -> Screen:
    """What stands on the screen."""
    step = _step(memory, front, now_ms)
    slot = next((one for one in front.slots if one.selection == memory.chosen), front.choice)
    redemption = front.redemption
    if step in (Step.ASKING, Step.VENDING) and redemption is not None:
        slot = next((one for one in front.slots if one.selection == redemption.selection), None)
    has_goods = step in (Step.IDLE, Step.CHOOSING, Step.CLOSED)
    typed = front.typed if step is Step.PIN or not memory.typed else memory.typed
    first = min(memory.page, _last_page(front)) * GOODS_ON_A_PAGE
    page = front.slots[first : first + GOODS_ON_A_PAGE] if has_goods else ()
    is_warned = memory.is_warned and front.choice_ends_ms is not None
    telephone = _text("telephone", memory).format(setting.telephone) if setting.telephone else ""
    return Screen(
        view=memory.view,
        step=step,
        language=memory.language,
        is_contrast=memory.is_contrast,
        heading=_heading(memory, step),
        words=_words(memory, front, step, is_warned=is_warned),
        notice=_text("there", memory) if is_warned else memory.notice,
        is_warning=is_warned,
        is_good=step is Step.RESULT and _is_good(memory),
        typed=_text("typed", memory).format(typed) if typed else "",
        goods=tuple(_good(one, memory, front, setting, is_hidden=is_warned) for one in page),
        shown=None if slot is None or has_goods or step is Step.RESULT else _good(slot, memory, front, setting),
        stages=_stages(memory, step, is_good=_is_good(memory)),
        pad=tuple(Button(f"digit:{one}", one, "") for one in "1234567890") if step in (Step.PAD, Step.PIN) else (),
        buttons=_buttons(memory, step, is_warned=is_warned),
        turning=_turning(memory, front) if has_goods else (),
        bar=(
            Button("contrast", _text("contrast", memory), "+"),
            Button("voice", _text("voice_off" if memory.is_voiced else "voice", memory), "-"),
            Button("language", _text("language", memory), "/"),
        ),
        telephone=telephone or _text("no_telephone", memory),
        address=front.address if step is Step.IDLE else "",
        spoken=() if setting.is_heard_elsewhere else memory.spoken,
    )


def _text(name: str, memory: Memory) -> str:
    zh, en = TEXTS[name]
    return zh if memory.language == "zh" else en


def _is_good(memory: Memory) -> bool:
    return memory.result is not None and memory.result.code == "dispensed"


def _heading(memory: Memory, step: Step) -> str:
    if step is Step.RESULT:
        code = "" if memory.result is None else memory.result.code
        return _text(_HEADINGS.get(code, "result"), memory)
    return _text(step.value, memory)


def _words(memory: Memory, front: Front, step: Step, *, is_warned: bool) -> str:
    """The sentence under the heading: the machine's own words, never a former person's name."""
    zh = memory.language == "zh"
    match step:
        case Step.IDLE:
            return _text("how_code" if front.address else "how", memory)
        case Step.CLOSED:
            words = WORDS[front.why_not_selling]
            return words[0] if zh else words[1]
        case Step.CONFIRM | Step.CHOOSING if is_warned:
            return ""
        case Step.CONFIRM if front.said.code != "bad_card":
            return ""
        case Step.PAD if front.said.code not in ("number_wrong", "pin_form"):
            return _text("pad_hint", memory)
        case Step.IDENTIFY if front.said.code != "bad_card":
            return _text("tap_hint", memory)
        case _:
            told = memory.result if step is Step.RESULT and memory.result is not None else front.said
            who = front.news.resident_label if front.news is not None and told.code == "greeting" else ""
            return told.zh if zh else f"{who}: {told.en}" if who else told.en


def _is_paused(slot: Slot, front: Front) -> bool:
    return bool(front.why_not_selling) or not slot.is_enabled or slot.selection in front.closed


def _lacking(slot: Slot, front: Front) -> int:
    return 0 if front.news is None else max(slot.points - front.news.available_points, 0)


def _good(slot: Slot, memory: Memory, front: Front, setting: Setting, *, is_hidden: bool = False) -> Good:
    name = slot.name_zh if memory.language == "zh" else slot.name_en
    lacking = 0 if is_hidden else _lacking(slot, front)
    why_not = _text("paused", memory) if _is_paused(slot, front) else ""
    if lacking and not why_not:
        why_not = _text("lacking", memory).format(lacking)
    return Good(
        selection=slot.selection,
        name=name,
        sign=name[:1],
        points=_text("point" if slot.points == 1 else "points", memory).format(slot.points),
        why_not=why_not,
        picture=f"/picture/{slot.product_id}" if slot.product_id in setting.pictured else "",
        act="" if why_not else f"choose:{slot.selection}",
    )


def _stages(memory: Memory, step: Step, *, is_good: bool) -> tuple[Stage, ...]:
    states = {Step.ASKING: ("now", "later", "later"), Step.VENDING: ("done", "now", "later")}.get(step)
    if step is Step.RESULT and is_good:
        states = ("done", "done", "now")
    names = ("stage_points", "stage_vend", "stage_take")
    return tuple(Stage(_text(name, memory), state) for name, state in zip(names, states or (), strict=False))


def _buttons(memory: Memory, step: Step, *, is_warned: bool) -> tuple[Button, ...]:
    if is_warned:
        return (Button("stay", _text("stay", memory), "Enter", True), Button("finish", _text("finish", memory), "Esc"))
    listen, finish = Button("listen", _text("listen", memory), "*"), Button("finish", _text("finish", memory), "Esc")
    match step:
        case Step.CHOOSING:
            return (listen, finish)
        case Step.CONFIRM:
            take = Button("confirm", _text("take", memory), "Enter", True)
            return (take, Button("back", _text("back", memory), "Esc"), listen, replace(finish, key=""))
        case Step.IDENTIFY:
            return (listen, replace(finish, label=_text("cancel", memory)))
        case Step.PAD:
            enter = Button("enter", _text("enter", memory), "Enter", True)
            return (enter, Button("untype", _text("untype", memory), ""), Button("unpad", _text("back", memory), "Esc"))
        case Step.PIN:
            enter = Button("enter", _text("enter", memory), "Enter", True)
            return (enter, replace(finish, label=_text("cancel", memory)))
        case Step.ASKING:
            return (replace(finish, label=_text("cancel", memory)),)
        case Step.RESULT:
            return (Button("ok", _text("ok", memory), "Enter", True),)
        case Step.VENDING:
            return ()
        case _:
            return (listen, Button("pad", _text("digits", memory), ""))


def _last_page(front: Front) -> int:
    return max((len(front.slots) - 1) // GOODS_ON_A_PAGE, 0)


def _turning(memory: Memory, front: Front) -> tuple[Button, ...]:
    """Always both where there are more pages: a button that comes and goes would move the others."""
    if not _last_page(front):
        return ()
    return (Button("page:-1", _text("less", memory), "PgUp"), Button("page:1", _text("more", memory), "PgDn"))

"""What the machine speaks: sentences as sequences of short clips that a neighbour can record.

A clip is a phrase of the book (`voices/phrases.toml` and every sentence of `words.WORDS` that has no places), or
`goods-<product id>`, whose text is the name of the goods. Numbers are put together from a few clips. Balances are not
here: what is heard by everybody around says them only when asked (`balance`).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from jishan_agent.words import WORDS
from jishan_protocol.messages import Greeting, Slot

Language = Literal["zh", "en"]
Clips = tuple[str, ...]

GOODS: Final = "goods-"

_ITEM: Final = "{item}"
_POINTS: Final = "{points}"

SPOKEN: Final[Mapping[str, Clips]] = {
    "choose": ("card_read", "choose"),
    "greeting": ("press_listen",),
    "identify": (_ITEM, _POINTS, "please_tap"),
    "dispensed": ("take_item", _ITEM, "used", _POINTS),
    "not_dispensed": ("nothing_came", _POINTS),
    "outcome_unknown": ("kept_safe",),
    "voucher_press": (_ITEM, "voucher_good"),
    "not_sellable": (_ITEM, "not_now"),
}
"""The clips of the sentences with places, and of those that are told otherwise than they are shown."""


@dataclass(frozen=True, slots=True)
class Phrase:
    """One clip's text."""

    zh: str
    en: str

    def text(self, language: Language) -> str:
        """What is spoken in a language."""
        return self.zh if language == "zh" else self.en


@dataclass(frozen=True, slots=True)
class Item:
    """The goods that a sentence speaks of."""

    product_id: str
    points: int


def read_book(toml: str) -> dict[str, Phrase]:
    """Every phrase by its name. ValueError names a phrase that has no text in one of the languages."""
    book = {code: Phrase(*texts) for code, texts in WORDS.items() if "{" not in texts[0]}
    for table in tomllib.loads(toml).values():
        for name, texts in table.items():
            if len(texts) != 2 or not all(isinstance(text, str) and text.strip() for text in texts):
                raise ValueError(f"{name}: needs a text in Chinese and one in English")
            book[name] = Phrase(*texts)
    return book


def said(code: str, item: Item | None, language: Language, book: Mapping[str, Phrase]) -> Clips:
    """The clips of a sentence that the machine says; `item` is what it is about.

    A refusal of the server that has no phrase of its own is told as `denied`.
    """
    if code.startswith("denied:"):
        name = code.replace(":", "_")
        return (name if name in book else "denied",)
    clips: list[str] = []
    for clip in SPOKEN.get(code, (code,)):
        if clip not in (_ITEM, _POINTS):
            clips.append(clip)
        elif item is not None:
            clips += [GOODS + item.product_id] if clip == _ITEM else [*number(item.points, language), "points"]
    return tuple(clips)


def offer(slot: Slot, language: Language) -> Clips:
    """One of the goods: its place, its name, its points."""
    place = number(slot.selection, language, counts=False)
    named = (*place, "place") if language == "zh" else ("place", *place)
    return (*named, GOODS + slot.product_id, *number(slot.points, language), "points")


def balance(news: Greeting, language: Language) -> Clips:
    """What is new for a person and what they have; only for who has asked to hear it."""
    told: list[str] = []
    if news.points_changed:
        amount = number(abs(news.points_changed), language)
        told += ["gained" if news.points_changed > 0 else "lost", *amount, "points"]
    if news.unread_messages:
        told += ["you_have_messages", *number(news.unread_messages, language), "messages"]
    return (*told, "you_have", *number(news.available_points, language), "points")


def number(value: int, language: Language, *, counts: bool = True) -> Clips:
    """A whole number of at least 0; `counts` says that it counts something (Chinese then says another two)."""
    if language == "zh":
        return ("two_of",) if value == 2 and counts else _chinese(value)
    return _english(value)


def _small(value: int) -> Clips:
    """Below a hundred, both languages have the same parts."""
    if value <= 20 or value % 10 == 0:
        return (f"n{value}",)
    return (f"n{value // 10 * 10}", f"n{value % 10}")


def _chinese(value: int) -> Clips:
    for unit, name in ((10_000, "ten_thousand"), (1_000, "thousand"), (100, "hundred")):
        if value >= unit:
            whole, rest = divmod(value, unit)
            clips = (*_chinese(whole), name)
            if not rest:
                return clips
            # A place that is skipped is said; ten to nineteen after a hundred begin with one.
            gap: Clips = ("n0",) if rest < unit // 10 else ()
            one: Clips = ("n1",) if 10 <= rest < 20 else ()
            return (*clips, *gap, *one, *_chinese(rest))
    return _small(value)


def _english(value: int) -> Clips:
    for unit, name in ((1_000, "thousand"), (100, "hundred")):
        if value >= unit:
            whole, rest = divmod(value, unit)
            return (*_english(whole), name, *(_english(rest) if rest else ()))
    return _small(value)

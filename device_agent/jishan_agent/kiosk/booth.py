"""Joins the screen to the agent's loop: the loop shows it the machine, the page asks it and brings what was pressed.

Its only time is the loop's: the loop turns at least once a second.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from jishan_agent.agent import AgentEvent, Front
from jishan_agent.kiosk.phrases import GOODS, Language, Phrase
from jishan_agent.kiosk.screen import Memory, Screen, Setting, Turn, acted, drawn, followed
from jishan_agent.kiosk.voice import Player, Voices


@dataclass(frozen=True, slots=True)
class Shown:
    """A screen, and its number: a page asks for what is newer."""

    number: int
    screen: Screen


class Booth:
    """One machine's screen and voice. `put` queues an event for the agent."""

    def __init__(
        self,
        setting: Setting,
        book: Mapping[str, Phrase],
        voices: Voices,
        put: Callable[[AgentEvent], None],
        player: Player | None = None,
    ) -> None:
        self._setting = setting
        self._book = book
        self._voices = voices
        self._put = put
        self._player = player
        self._changed = threading.Condition()
        self._memory = Memory()
        self._front: Front | None = None
        self._now_ms = 0
        self._shown: Shown | None = None
        self._played = 0

    def watch(self, front: Front, now_ms: int) -> None:
        """Take the machine as it is now; called in the loop's thread."""
        with self._changed:
            self._front, self._now_ms = front, now_ms
            self._take(followed(self._memory, front, self._book, now_ms))

    def act(self, act: str, view: int) -> None:
        """Take a press; nothing happens before the loop has turned once."""
        with self._changed:
            if self._front is not None:
                self._take(acted(self._memory, self._front, act, view, self._now_ms))

    def wait(self, after: int, timeout_s: float) -> Shown | None:
        """The newest screen once its number is another than `after`, or what there is when the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._shown is not None and self._shown.number != after, timeout_s)
            return self._shown

    def name_of(self, clip: str, language: Language) -> str | None:
        """What the goods of a clip are called; None for any other clip."""
        with self._changed:
            slots = () if self._front is None else self._front.slots
        product_id = clip.removeprefix(GOODS) if clip.startswith(GOODS) else None
        slot = next((one for one in slots if one.product_id == product_id), None)
        return None if slot is None else slot.name_zh if language == "zh" else slot.name_en

    @property
    def address(self) -> str:
        """What a phone may scan now; empty when nothing."""
        with self._changed:
            return "" if self._shown is None else self._shown.screen.address

    def _take(self, turn: Turn) -> None:
        self._memory = turn.memory
        assert self._front is not None
        for event in turn.events:
            self._put(event)
        screen = drawn(self._memory, self._front, self._setting, self._now_ms)
        if self._shown is None or screen != self._shown.screen:
            self._shown = Shown(1 if self._shown is None else self._shown.number + 1, screen)
            self._changed.notify_all()
        self._speak()

    def _speak(self) -> None:
        for spoken in self._memory.spoken:
            if spoken.number > self._played and self._player is not None:
                language = spoken.language
                clips = [
                    partial(self._voices.sound, language, clip, self._name(clip, language)) for clip in spoken.clips
                ]
                self._player.play(list(clips), waits=spoken.waits)
            self._played = max(self._played, spoken.number)

    def _name(self, clip: str, language: Language) -> str | None:
        return self.name_of(clip, language) if clip.startswith(GOODS) else None

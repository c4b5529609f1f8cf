"""A machine's screen and voice before a bench: the real agent on its virtual clock, and the page where it is wanted.

Every phrase is recorded in a pack: a tone of its own, so that what is fetched can be told from silence.
"""

from __future__ import annotations

import math
import struct
import wave
from collections import deque
from pathlib import Path
from typing import Any, Final

from jishan_agent.agent import AgentEvent
from jishan_agent.kiosk import voice
from jishan_agent.kiosk.booth import Booth
from jishan_agent.kiosk.phrases import GOODS
from jishan_agent.kiosk.screen import Screen, Setting
from jishan_agent.kiosk.voice import Voices
from jishan_protocol.messages import Greeting

TURN_MS: Final = 1_000
RATE: Final = 8_000
TELEPHONE: Final = "0833-1234567"


def record(path: Path, hertz: float, *, loudness: int = 8_000, seconds: float = 0.03) -> None:
    """Write a tone as a WAV file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = [int(loudness * math.sin(2 * math.pi * hertz * index / RATE)) for index in range(int(RATE * seconds))]
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(RATE)
        sound.writeframes(struct.pack(f"<{len(samples)}h", *samples))


def record_pack(folder: Path, product_ids: tuple[str, ...]) -> None:
    """Record every phrase of the book, and the names of goods."""
    for place, name in enumerate([*voice.book(), *(GOODS + one for one in product_ids)]):
        record(folder / f"{name}.wav", 300 + 10 * place)


def news(greet: Any) -> Greeting:
    """What the scripted server answers to a first tap."""
    return Greeting(greet.greet_id, "王*华", 15, 6, 1)


class MachineFront:
    """One machine with its screen; `bench` is what it is made of."""

    def __init__(self, bench: Any, directory: Path, telephone: str = TELEPHONE, **setting: Any) -> None:
        self.bench = bench
        record_pack(directory / "voices/estate", tuple(slot.product_id for slot in bench.server.desired.slots))
        packs = voice.pack_folders(directory, "estate")
        self.voices = Voices(packs, directory / "spoken", "", voice.book())
        self.events: deque[AgentEvent] = deque()
        setting = {"telephone": telephone} | setting
        self.booth = Booth(Setting(**setting), self.voices.book, self.voices, self.events.append)
        self.look()

    def look(self) -> Screen:
        """Let the loop turn once; gives what stands on the screen."""
        while self.events:
            self.bench.agent.handle(self.events.popleft(), self.bench.now_ms)
            self.bench.flush()
        self.booth.watch(self.bench.agent.front, self.bench.now_ms)
        shown = self.booth.wait(0, 0)
        assert shown is not None
        return shown.screen

    def pass_time(self, duration_ms: int = 0) -> Screen:
        """Let the machine and its loop run for so long; a turn is at most a second."""
        end_ms = self.bench.now_ms + duration_ms
        while self.bench.now_ms < end_ms:
            self.bench.run(min(TURN_MS, end_ms - self.bench.now_ms))
            self.look()
        return self.look()

    def until(self, step: str, duration_ms: int = 60_000) -> Screen:
        """Let it run until the screen shows this step."""
        end_ms = self.bench.now_ms + duration_ms
        while self.look().step != step:
            assert self.bench.now_ms < end_ms, (step, self.look())
            self.bench.run(100)
        return self.look()

    def press(self, act: str, view: int | None = None) -> Screen:
        """Press what the screen offers, or a key."""
        self.booth.act(act, self.look().view if view is None else view)
        return self.look()

    def type(self, selection: int) -> Screen:
        """Type a number and enter it."""
        for digit in str(selection):
            self.press(f"digit:{digit}")
        return self.press("enter")

    def tap(self, uid: str = "00745A70") -> Screen:
        """Hold a card to the reader; the greeting comes at once."""
        self.bench.tap(uid)
        self.look()
        return self.pass_time(300)

    @property
    def spoken(self) -> tuple[str, ...]:
        """The clips of the newest utterance."""
        said = self.look().spoken
        return said[-1].clips if said else ()

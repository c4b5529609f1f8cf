"""Sounds: a recorded clip where somebody has recorded it, else one that a speech program makes once and that is kept.

A pack is a folder of `<phrase>.wav`, the estate's own way of speaking Chinese: `voices/<pack>/` in the machine's
directory, else in the program's. What it lacks, and English, is spoken by `speech_command` (espeak-ng, or anything that
takes `-v VOICE -w FILE TEXT`). A machine that has neither says so: `trouble`.
"""

from __future__ import annotations

import hashlib
import re
import shlex
import shutil
import struct
import subprocess
import threading
import wave
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

import structlog

from jishan_agent.kiosk.phrases import GOODS, Language, Phrase, read_book

VOICES: Final[Mapping[Language, str]] = {"zh": "cmn", "en": "en"}
"""What espeak-ng calls them."""

MAKING_S: Final = 10.0
"""espeak-ng makes a sentence in a fraction of a second on the slowest of boards."""

PLAYING_S: Final = 30.0
"""Far more than the longest clip: a player that hangs must not silence the machine for good."""

MAX_WAITING: Final = 200
"""Clips that wait to be played: many times the goods of the largest machine would be one long list."""

SILENCE: Final = 200
"""Of 32,767: samples below it are noise of a quiet room."""

CLIP: Final = re.compile(r"[0-9a-z_-]{1,60}")


def book() -> dict[str, Phrase]:
    """The phrase book that comes with the program."""
    return read_book(files("jishan_agent").joinpath("voices", "phrases.toml").read_text(encoding="utf-8"))


def pack_folders(directory: Path, pack: str) -> tuple[Path, ...]:
    """Where a pack's recordings lie, the machine's own first; nowhere without a pack."""
    own, ours = directory / "voices" / pack, Path(str(files("jishan_agent"))) / "voices" / pack
    return tuple(one for one in (own, ours) if pack and one.is_dir())


@dataclass(frozen=True, slots=True)
class Voices:
    """Where the sounds of one machine come from; `kept` is the folder of what was made."""

    packs: tuple[Path, ...]
    kept: Path
    speech_command: str
    book: Mapping[str, Phrase]

    def sound(self, language: Language, clip: str, text: str | None = None) -> Path | None:
        """The file of a clip; None where there is none and none can be made. `text` is what goods are called."""
        if CLIP.fullmatch(clip) is None:
            return None
        if language == "zh":
            recorded = next((pack / f"{clip}.wav" for pack in self.packs if (pack / f"{clip}.wav").is_file()), None)
            if recorded is not None:
                return recorded
        if text is None and not clip.startswith(GOODS) and clip in self.book:
            text = self.book[clip].text(language)
        return self._made(language, clip, text) if text else None

    def _made(self, language: Language, clip: str, text: str) -> Path | None:
        words = f"{self.speech_command}\n{text}".encode()
        path = self.kept / language / f"{clip}-{hashlib.sha256(words).hexdigest()[:12]}.wav"
        if path.is_file():
            return path
        if not self.speech_command:
            return None
        fresh = path.with_suffix(f".{threading.get_ident()}.new")
        command = [*shlex.split(self.speech_command), "-v", VOICES[language], "-w", str(fresh), text]
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(command, check=True, capture_output=True, timeout=MAKING_S)
            fresh.replace(path)
        except (OSError, subprocess.SubprocessError) as error:
            fresh.unlink(missing_ok=True)
            structlog.get_logger("jishan_agent.voice").warning("no_sound", clip=clip, error=str(error))
            return None
        return path

    def trouble(self) -> str:
        """Why this machine cannot speak, for a person; empty when it can."""
        command = shlex.split(self.speech_command)
        if command and shutil.which(command[0]):
            return ""
        missing = [name for name in sorted(self.book) if self.sound("zh", name) is None]
        if not missing:
            return ""
        return f"{self.speech_command or 'speech_command'} is not there, and {len(missing)} phrases are not recorded"


def faults(folder: Path, phrases: Mapping[str, Phrase]) -> dict[str, str]:
    """What is wrong with a pack, by phrase: missing, not a WAV file, or silent."""
    found: dict[str, str] = {}
    for name in phrases:
        path = folder / f"{name}.wav"
        if not path.is_file():
            found[name] = "missing"
        else:
            try:
                if loudest(path) < SILENCE:
                    found[name] = "silent"
            except (OSError, EOFError, ValueError, wave.Error) as error:
                found[name] = f"not a WAV file of 16 bits: {error}"
    return found


def loudest(path: Path) -> int:
    """The largest sample of a WAV file of 16 bits; ValueError for another width."""
    with wave.open(str(path), "rb") as sound:
        if sound.getsampwidth() != 2:
            raise ValueError(f"{8 * sound.getsampwidth()} bits")
        frames = sound.readframes(sound.getnframes())
    return max((abs(sample) for (sample,) in struct.iter_unpack("<h", frames[: len(frames) // 2 * 2])), default=0)


class Player:
    """Plays clips one after another by a program of the host, for a machine without a screen."""

    def __init__(self, command: str, failed: Callable[[], None]) -> None:
        self._command = shlex.split(command)
        self._failed = failed
        self._waiting: deque[Callable[[], Path | None]] = deque(maxlen=MAX_WAITING)
        self._changed = threading.Condition()
        self._playing: subprocess.Popen[bytes] | None = None
        self._utterance = 0
        self._is_stopping = False
        self._log = structlog.get_logger("jishan_agent.voice")
        self._thread = threading.Thread(target=self._run_or_fail, name="voice", daemon=True)

    def start(self) -> None:
        """Begin to play what comes."""
        self._thread.start()

    def stop(self) -> None:
        """Be silent, and end the thread."""
        with self._changed:
            self._is_stopping = True
            self._hush()
        self._thread.join(PLAYING_S)

    def play(self, clips: list[Callable[[], Path | None]], *, waits: bool) -> None:
        """Play these clips, each found or made when its turn comes; at once, unless they wait."""
        with self._changed:
            if not waits:
                self._hush()
            self._waiting.extend(clips)
            self._changed.notify()

    def _hush(self) -> None:
        self._utterance += 1
        self._waiting.clear()
        if self._playing is not None:
            self._playing.terminate()
        self._changed.notify()

    def _run_or_fail(self) -> None:
        try:
            self._run()
        except Exception:
            self._log.exception("voice_failed")
            self._failed()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._is_stopping)
                if self._is_stopping:
                    return
                clip, utterance = self._waiting.popleft(), self._utterance
            path = clip()
            if path is not None:
                self._play(path, utterance)

    def _play(self, path: Path, utterance: int) -> None:
        with self._changed:
            if utterance != self._utterance:
                # Something newer was said while this sound was looked for.
                return
            try:
                playing = self._playing = subprocess.Popen(
                    [*self._command, str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                )
            except OSError as error:
                self._log.warning("no_sound", error=str(error))
                return
        try:
            playing.wait(PLAYING_S)
        except subprocess.TimeoutExpired:
            playing.kill()
            playing.wait()
        with self._changed:
            self._playing = None

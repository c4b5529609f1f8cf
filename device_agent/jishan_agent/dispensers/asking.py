"""One question at a time, for boards that speak only when they are asked.

Their answers carry no number: an answer belongs to the question under way, if it is of the kind that was asked for. A
question may wait and be sent again. What moves a motor does neither: `tell` sends it now, once, and keeps no byte.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

M = TypeVar("M")
Then = Callable[[M | None, int], None]
"""Called with the answer and the time, or with None when none came."""


@dataclass(slots=True)
class _Question(Generic[M]):
    raw: bytes
    is_answer: Callable[[M], bool]
    then: Then[M]
    answer_ms: int
    tries: int
    sent_at_ms: int = 0


class Asking(Generic[M]):
    """The questions to one line. `M` is the codec's message."""

    def __init__(self) -> None:
        self._output = bytearray()
        self._waiting: deque[_Question[M]] = deque()
        self._asked: _Question[M] | None = None
        self._is_held = False

    @property
    def is_free(self) -> bool:
        """Nothing is asked and nothing waits."""
        return self._asked is None and not self._waiting

    def take_output(self) -> bytes:
        """Give the bytes to be written now."""
        output = bytes(self._output)
        self._output.clear()
        return output

    def ask(
        self,
        raw: bytes,
        is_answer: Callable[[M], bool],
        then: Then[M],
        *,
        answer_ms: int,
        tries: int,
        now_ms: int,
    ) -> None:
        """Ask when the line is free. Each try waits `answer_ms` for what `is_answer` accepts."""
        self._waiting.append(_Question(raw, is_answer, then, answer_ms, tries))
        self._send_next(now_ms)

    def tell(self, raw: bytes, is_answer: Callable[[M], bool], then: Then[M], *, answer_ms: int, now_ms: int) -> None:
        """Send now and once, before whatever waits. Only for the answer of the last question, or on a free line."""
        assert self._asked is None, "the line is free"
        assert not self._is_held, "nothing is said"
        self._send(_Question(raw, is_answer, then, answer_ms, 1), now_ms)

    def take(self, message: M, now_ms: int) -> None:
        """What came: the answer, or a message that nobody waits for."""
        asked = self._asked
        if asked is not None and asked.is_answer(message):
            self._asked = None
            asked.then(message, now_ms)
            self._send_next(now_ms)

    def tick(self, now_ms: int) -> None:
        """Ask again, or give up, what had no answer."""
        asked = self._asked
        if asked is None or now_ms - asked.sent_at_ms < asked.answer_ms:
            return
        self._asked = None
        if asked.tries > 0:
            self._send(asked, now_ms)
            return
        asked.then(None, now_ms)
        self._send_next(now_ms)

    def hold(self) -> None:
        """Say nothing from now on."""
        self._is_held = True

    def go_on(self, now_ms: int) -> None:
        """Speak again."""
        self._is_held = False
        self._send_next(now_ms)

    def _send_next(self, now_ms: int) -> None:
        if self._asked is None and self._waiting and not self._is_held:
            self._send(self._waiting.popleft(), now_ms)

    def _send(self, question: _Question[M], now_ms: int) -> None:
        question.tries -= 1
        question.sent_at_ms = now_ms
        self._asked = question
        self._output += question.raw

"""The cabinet speaking the lock board protocol: a grid locker, where an item leaves when its door opens.

How it behaves, after the makers' documents (`jishan_protocol.dispensers.lock_board`):
- A question is answered within 10 ms; the answer to 8A comes when the current is off, with the contact as it is then.
- With a profile that says so, a contact that changes is told with 82, at once and unasked.
- A door is a thing of the world: it stays as it is without power. Somebody shuts it after CLOSES_AFTER_MS.

What the faults mean for a locker: `jam` and `no_drop`: the bolt goes back and the door stays shut. `motor_missing`: the
lock gets no current. `slow`: the door opens late, and is left open. `status_...`: the 82 of the door that opens.
`drop_sensor` is the contact: `blind` always says shut, `stuck` always says open. `motor_runs_on` has no meaning, nor
`clock_jump_s` and `refuse_late_answers`. The cabinet's door stands for somebody with a key who holds all doors open.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from random import Random
from typing import Final

from jishan_protocol.dispensers import lock_board as codec
from jishan_protocol.dispensers.lock_board import Lock
from jishan_sim.cabinet import Cabinet, Motion, Slot, TurnEnd, TurnEnded
from jishan_sim.faces.board import ANSWER_MS, BoardFace, Vend
from jishan_sim.faults import Faults

PULSE_MS: Final = 300  # how long the lock has current
OPENS_AFTER_MS: Final = 100  # the spring pushes the door open
CLOSES_AFTER_MS: Final = 5_000  # the resident takes the item out and shuts the door
LEFT_OPEN_MS: Final = 60_000  # or leaves it open for so long


class LockBoardFace(BoardFace):
    """All boards of one line, with the cells behind them."""

    def __init__(self, cabinet: Cabinet, profile: codec.LockBoardProfile, faults: Faults, random: Random) -> None:
        self.profile = profile
        self._closing_ms: dict[Lock, int] = {}
        self._opening: tuple[int, Lock, Vend, int] | None = None
        self._started_ms = 0
        super().__init__(cabinet, faults, random, partial(codec.reader, profile), codec.SILENCE_MS, PULSE_MS)

    def is_open(self, selection: int) -> bool:
        """Whether the door of a cell is open."""
        lock = self.profile.place(selection)
        return self.cabinet.door_open or (lock is not None and lock in self._closing_ms)

    # --- what it is told ---

    def _obey(self, frame: bytes, now_ms: int) -> None:
        match codec.read_command(frame):
            case codec.Query(board, lock) if self._is_there(board):
                answer = codec.Contact(board, lock, self._is_made(Lock(board, lock)))
                self._say(codec.write(answer, self.profile), now_ms + ANSWER_MS)
            case codec.QueryAll(board) if self._is_there(board):
                made = tuple(lock.lock for lock in self._locks(board) if self._is_made(lock))
                self._say(codec.write(codec.Contacts(board, made), self.profile), now_ms + ANSWER_MS)
            case codec.Open(board, lock) if self._is_there(board):
                self._open(Lock(board, lock), now_ms)
            case codec.OpenAll(board) if self._is_there(board):
                for each in self._locks(board):
                    self._open(each, now_ms)
            case codec.OpenSeveral(board, locks) if self._is_there(board):
                for number in locks:
                    self._open(Lock(board, number), now_ms)

    def _is_there(self, board: int) -> bool:
        return board <= self.profile.boards

    def _locks(self, board: int) -> list[Lock]:
        return [Lock(board, number) for number in range(1, self.profile.locks + 1)]

    def _is_made(self, lock: Lock) -> bool:
        """The feedback contact. One that no lock is wired to is not made."""
        selection = self.profile.selection(lock)
        if self.profile.place(selection) != lock or selection not in self.cabinet.slots:
            return False
        told = {"blind": False, "stuck": True}.get(self.cabinet.drop_sensor, self.is_open(selection))
        return told == self.profile.contact_made_when_open

    # --- a door ---

    def _open(self, lock: Lock, now_ms: int) -> None:
        self._take_command(self.profile.selection(lock), now_ms)

    def _motion(self, vend: Vend, slowness: int) -> Motion | None:
        lock = self.profile.place(vend.selection)
        if lock is None or self.is_open(vend.selection):
            return None
        stays_shut = self._happens(vend.faults.jam) or self._happens(vend.faults.no_drop)
        stays_shut |= self.cabinet.slots[vend.selection].stuck
        falls = 2 if self._happens(vend.faults.double_drop) else 1
        motion = Motion(PULSE_MS * slowness, OPENS_AFTER_MS * slowness, falls, stalls=stays_shut)
        if not stays_shut:
            open_ms = CLOSES_AFTER_MS if slowness == 1 else LEFT_OPEN_MS
            self._opening = (self._started_ms + motion.drop_after_ms, lock, vend, open_ms)
        return motion

    def _start_motor(self, now_ms: int) -> None:
        self._started_ms = now_ms
        super()._start_motor(now_ms)

    def _finish(self, vend: Vend, ended: TurnEnded | None, now_ms: int) -> None:
        if ended is not None and ended.end is TurnEnd.STALLED:
            self.cabinet.add_jam(vend.selection)
        lock = self.profile.place(vend.selection)
        if lock is not None and not self._happens(vend.faults.ack_lost):
            after_ms = ANSWER_MS if ended is not None else PULSE_MS
            self._say(codec.write(codec.OpenAnswer(*lock, self._is_made(lock)), self.profile), now_ms + after_ms)

    def _happen(self, now_ms: int) -> None:
        if self._opening is not None and self._opening[0] <= now_ms:
            _, lock, vend, open_ms = self._opening
            self._opening = None
            self._closing_ms[lock] = now_ms + open_ms
            self._tell_opened(lock, vend, now_ms)
        for lock in [lock for lock, at_ms in self._closing_ms.items() if at_ms <= now_ms]:
            del self._closing_ms[lock]
            self._tell(lock, self._is_made(lock), now_ms)

    def _next_happening_ms(self) -> int | None:
        due = list(self._closing_ms.values()) + ([self._opening[0]] if self._opening is not None else [])
        return min(due, default=None)

    def _tell_opened(self, lock: Lock, vend: Vend, now_ms: int) -> None:
        faults, is_made, at_ms = vend.faults, self._is_made(lock), now_ms + vend.faults.hold_status_ms
        if not self._happens(faults.status_lost):
            self._tell(lock, is_made, at_ms)
            if self._happens(faults.status_doubled):
                self._tell(lock, is_made, at_ms)
            if self._happens(faults.wrong_status):
                self._tell(lock, not is_made, at_ms)

    def _tell(self, lock: Lock, is_made: bool, at_ms: int) -> None:
        if self.profile.reports_changes and self.cabinet.powered:
            self._say(codec.write(codec.ContactChanged(*lock, is_made), self.profile), at_ms + ANSWER_MS)

    def _forget(self) -> None:
        self._opening = None


def face_for(slots: Iterable[Slot], profile: codec.LockBoardProfile, faults: Faults, random: Random) -> LockBoardFace:
    """A face with a cabinet of its own; a board counts nothing."""
    return LockBoardFace(Cabinet(slots), profile, faults, random)

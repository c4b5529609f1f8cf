"""The rotating code of a session, and the codes of the rows on its printed sheet. Pure.

A code is six digits that hold for the window of 30 seconds in which they were shown and for the one after it: whoever
reads them on the wall has time to type, whoever gets them by a message an hour later has not. It is an HMAC-SHA256 of
the session and the window's number under a key derived from the server's secret; nothing is kept of it. The same code
checks in and out. Six digits can be guessed, so wrong ones are counted by whoever asks.
"""

import hashlib
import hmac
import unicodedata
from datetime import datetime, timedelta
from typing import Final

from jishan_server.db import from_ms, to_ms

WINDOW: Final = timedelta(seconds=30)
DIGITS: Final = 6
ROW_LETTERS: Final = "BCDFGHJKMNPQRSTVWXYZ"
"""No vowels, so that no word comes out; nothing that looks like a digit."""
ROW_LENGTH: Final = 5

_WINDOW_MS: Final = 30_000


def attendance_key(secret: bytes) -> bytes:
    """The key of all rotating codes, from the server's secret."""
    return hmac.digest(secret, b"jishan attendance", "sha256")


def code(key: bytes, session_id: str, now: datetime) -> str:
    """The six digits that a session shows now."""
    return _code(key, session_id, _window(now))


def ends_at(now: datetime) -> datetime:
    """When the next code is shown."""
    return from_ms((_window(now) + 1) * _WINDOW_MS)


def fits(key: bytes, session_id: str, typed: str, now: datetime) -> bool:
    """Whether `typed` is the code of this window or the one before it; full-width digits and spaces are forgiven."""
    digits = plain(typed).encode()
    windows = (_window(now), _window(now) - 1)
    return any(hmac.compare_digest(_code(key, session_id, window).encode(), digits) for window in windows)


def plain(typed: str) -> str:
    """What somebody typed, in upper-case ASCII where that is what it means, without spaces and hyphens."""
    return "".join(unicodedata.normalize("NFKC", typed).split()).replace("-", "").upper()


def row_code(session_id: str, resident_id: str) -> str:
    """Five letters for one person on the sheet of one session, the same whenever it is printed. It opens nothing."""
    number = int.from_bytes(hashlib.sha256(f"{session_id}\n{resident_id}".encode()).digest())
    letters = ""
    for _ in range(ROW_LENGTH):
        number, place = divmod(number, len(ROW_LETTERS))
        letters += ROW_LETTERS[place]
    return letters


def _window(now: datetime) -> int:
    return to_ms(now) // _WINDOW_MS


def _code(key: bytes, session_id: str, window: int) -> str:
    mac = hmac.digest(key, f"{session_id}\n{window}".encode(), "sha256")
    return str(int.from_bytes(mac[:8]) % 10**DIGITS).rjust(DIGITS, "0")

"""The rotating code on a machine's screen, which a phone opens: `<site>/m/<machine>/<code>`.

16 signs of RFC 4648 base32, small: four carry the second in which it was made (of the server's time, the low 20 bits),
twelve are an HMAC-SHA256 under a key derived from the machine's, over the tag of its present connection and that
second. So a machine makes one whenever it likes without asking, and without a clock of its own; the server checks one
without having kept any. Who photographs it may open it once, and within OPENED_WITHIN_S.
"""

from __future__ import annotations

import base64
import hmac
import re
from typing import Final

SHOWN_S: Final = 60
"""A machine shows another one after this."""

OPENED_WITHIN_S: Final = 120
"""It can be opened for so long after it was made: whoever raised the phone in its last second still has a minute."""

AHEAD_S: Final = 5
"""A machine's idea of the server's time is late, never early; its oscillator drifts by less than this."""

FORM: Final = re.compile(r"[a-z2-7]{16}")

_STAMP_BITS: Final = 20
_STAMP_SIGNS: Final = 4
_MAC_SIGNS: Final = 12
_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz234567"


def screen_code(machine_key: bytes, session_tag: str, made_s: int) -> str:
    """The code that a machine shows from second `made_s` of the server's time on."""
    low = made_s % 2**_STAMP_BITS
    stamp = "".join(_ALPHABET[low >> shift & 31] for shift in (15, 10, 5, 0))
    key = hmac.digest(machine_key, b"jishan screen", "sha256")
    mac = hmac.digest(key, f"{session_tag}\n{made_s}".encode(), "sha256")
    return stamp + base64.b32encode(mac).decode().lower()[:_MAC_SIGNS]


def made_at(machine_key: bytes, session_tag: str, code: str, now_s: int) -> int | None:
    """The second in which a machine of this key and session made `code`; None where it is not its code, or too old."""
    if FORM.fullmatch(code) is None:
        return None
    low = 0
    for sign in code[:_STAMP_SIGNS]:
        low = low << 5 | _ALPHABET.index(sign)
    # The newest second with these low bits that is not ahead of us.
    latest_s = now_s + AHEAD_S
    made_s = latest_s - (latest_s - low) % 2**_STAMP_BITS
    if now_s - made_s > OPENED_WITHIN_S:
        return None
    right = screen_code(machine_key, session_tag, made_s)
    return made_s if hmac.compare_digest(right.encode(), code.encode()) else None

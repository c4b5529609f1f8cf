"""Where a line of text breaks, in Chinese and English. Pure.

Chinese breaks between any two signs, but no line begins with a closing sign or ends with an opening one; other words
break at spaces, and only where a word alone is wider than the line inside of it.
Source: 中文排版需求 (W3C clreq), the rules for the start and the end of a line.
"""

import re
from collections.abc import Callable, Iterator
from typing import Final

NOT_FIRST: Final = frozenset("\uff0c\u3002\uff1a\uff1b\uff1f\uff01\u3001\uff09》」』】〕”’…％,.;:?!)]}%")
NOT_LAST: Final = frozenset("\uff08《「『【〔“‘([{")
_UNIT: Final = re.compile(r"\s+|[\u0021-\u024f]+|.", re.DOTALL)
"""Spaces, a word of Latin letters, digits and signs, or any other sign by itself."""


def broken(text: str, width_of: Callable[[str], float], width: float) -> list[str]:
    """The lines of `text`, none wider than `width` unless one sign alone is; a line break in it is one here too."""
    return [line for part in text.splitlines() or [""] for line in _broken(part, width_of, width)]


def _broken(text: str, width_of: Callable[[str], float], width: float) -> Iterator[str]:
    line = ""
    for unit in _units(text):
        if width_of((line + unit).rstrip()) <= width:
            line += unit
            continue
        if line.strip():
            yield line.rstrip()
        line = unit.lstrip()
        while width_of(line.rstrip()) > width and len(line) > 1:
            cut = next((n for n in range(len(line) - 1, 1, -1) if width_of(line[:n]) <= width), 1)
            yield line[:cut]
            line = line[cut:]
    yield line.rstrip()


def _units(text: str) -> Iterator[str]:
    """Pieces of which none is broken, if it fits a line."""
    held = ""
    for unit in _UNIT.findall(text):
        if held and unit[0] not in NOT_FIRST and held[-1] not in NOT_LAST:
            yield held
            held = ""
        held += unit
    if held:
        yield held

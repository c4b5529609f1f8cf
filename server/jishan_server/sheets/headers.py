"""Which column is what: the header row found below title rows, and its words matched to fields by their synonyms.

A person may correct the mapping; it is remembered under the `fingerprint` of the header row.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from jishan_server.errors import DomainError
from jishan_server.sheets.cells import Cell, text_of

SEARCHED_ROWS: Final = 20
"""Titles, dates and notes above a header are a few rows."""


@dataclass(frozen=True, slots=True)
class Field:
    """What a column may hold: our name for it, the word of our template, other words for it, and its example."""

    name: str
    zh: str
    en: str
    synonyms: tuple[str, ...] = ()
    is_required: bool = False
    example: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Header:
    """The header is row `row` (from 1). `names` are the columns' own words, `fields` what each means, if anything."""

    row: int
    names: tuple[str, ...]
    fields: tuple[str | None, ...]

    @property
    def fingerprint(self) -> str:
        """The same for files with the same header."""
        return hashlib.sha256("\n".join(plain(name) for name in self.names).encode()).hexdigest()

    def column_of(self, field: str) -> str:
        """The header's own word for a field; empty if no column has it."""
        return next((name for name, one in zip(self.names, self.fields, strict=True) if one == field), "")


def plain(name: str) -> str:
    """A header's word without what people put around it: *姓名（必填）： is 姓名."""
    text = re.sub(r"[\s*·:_、/\\.]", "", text_of(name)).lower()
    return re.sub(r"\((?:必填|选填|可选|可不填|必须|文本|required|optional)[^)]*\)$", "", text)


def find_header(rows: Sequence[Sequence[Cell]], fields: Sequence[Field]) -> Header:
    """The first row that names most fields, and at least two (or the only one there is).

    Refusal: header_not_found, with the words that were looked for.
    """
    words = _words(fields)
    best: tuple[int, int] | None = None
    for place, row in enumerate(rows[:SEARCHED_ROWS]):
        count = len({field for cell in row if (field := _meaning(text_of(cell), words)) is not None})
        if count >= min(2, len(fields)) and (best is None or count > best[0]):
            best = (count, place)
    if best is None:
        wanted = "、".join(field.zh for field in fields if field.is_required)
        raise DomainError("header_not_found", rows=SEARCHED_ROWS, wanted=wanted)
    names = tuple(text_of(cell) for cell in rows[best[1]])
    return Header(best[1] + 1, names, matched(names, fields))


def matched(names: Sequence[str], fields: Sequence[Field]) -> tuple[str | None, ...]:
    """What each column means; of two columns for one field the first has it."""
    words, taken = _words(fields), set[str]()
    found: list[str | None] = []
    for name in names:
        field = _meaning(name, words)
        found.append(field if field not in taken else None)
        taken |= {field} if field else set()
    return tuple(found)


def corrected(header: Header, mapping: Mapping[str, str | None], fields: Sequence[Field]) -> Header:
    """The header with a person's mapping (column's word -> field or None) over our own; refusal: mapping_invalid."""
    known = {field.name for field in fields}
    unknown = sorted({one for one in mapping.values() if one is not None} - known)
    unknown += sorted(set(mapping) - set(header.names))
    wanted = [one for one in mapping.values() if one is not None]
    if unknown or len(set(wanted)) != len(wanted):
        raise DomainError("mapping_invalid", names=", ".join(unknown or wanted))
    given = tuple(
        mapping.get(name, None if field in wanted else field)
        for name, field in zip(header.names, header.fields, strict=True)
    )
    return Header(header.row, header.names, given)


def missing(header: Header, fields: Sequence[Field]) -> list[Field]:
    """Required fields that no column has."""
    return [field for field in fields if field.is_required and field.name not in header.fields]


def letter(index: int) -> str:
    """The letters of a column by its place from 0: A, Z, AA."""
    letters, number = "", index + 1
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(65 + rest) + letters
    return letters


def _words(fields: Sequence[Field]) -> dict[str, str]:
    return {plain(word): field.name for field in fields for word in (field.name, field.zh, field.en, *field.synonyms)}


def _meaning(name: str, words: Mapping[str, str]) -> str | None:
    text = plain(name)
    # 时长(小时) is 时长: what stands in brackets is a unit or an explanation.
    return words.get(text) or words.get(re.sub(r"\(.*\)$", "", text)) if text else None

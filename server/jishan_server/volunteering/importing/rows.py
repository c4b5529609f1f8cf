"""A row of a file as a kind of import sees it: cells by their fields, every problem noted with its column.

Pure. A row with several mistakes names them all, so that they are put right at once.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple, TypeVar
from zoneinfo import ZoneInfo

from jishan_server.people.hashing import Hashing
from jishan_server.sheets.cells import Cell, CellProblem, text_of, words_of
from jishan_server.sheets.headers import Header
from jishan_server.sheets.problems import Problem
from jishan_server.volunteering.rules import CreditRules

T = TypeVar("T")
MAX_SHOWN: Final = 40
"""Signs of a cell that a problem repeats."""


class Row(NamedTuple):
    """A row by its number in the file, from 1."""

    number: int
    cells: Sequence[Cell]


@dataclass(frozen=True, slots=True)
class Job:
    """What the rows of one import share. `estates` are the estates at or below its node: id -> (name, code)."""

    id: str
    kind: str
    organization_id: str
    actor: str
    year: int
    half_day_minutes: int
    header: Header
    estates: Mapping[str, tuple[str, str | None]]
    hashing: Hashing = field(repr=False)
    rules: CreditRules
    file_name: str
    booked_by: str = ""
    note_salt: str | None = field(default=None, repr=False)

    @property
    def zone(self) -> ZoneInfo:
        """Whose days the scheme's are."""
        return self.rules.zone


State = Literal["new", "known", "bad"]


class Verdict(NamedTuple):
    """What a row is: `new` with the value to book, `known` already, or `bad` with its problems."""

    row: int
    state: State
    value: Any = None
    problems: tuple[Problem, ...] = ()


@lru_cache(maxsize=8)
def _places(fields: tuple[str | None, ...]) -> dict[str, int]:
    """The column of each field: the same for all rows of a file."""
    return {field: place for place, field in enumerate(fields) if field is not None}


class RowReader:
    """Reads the cells of one row; `problems` are what is wrong with them, in the order of reading."""

    def __init__(self, header: Header, row: Row) -> None:
        self._header = header
        self._places = _places(header.fields)
        self.row = row
        self.problems: list[Problem] = []

    def cell(self, field: str) -> Cell:
        """The cell of a field; None where there is no such column."""
        place = self._places.get(field)
        return self.row.cells[place] if place is not None and place < len(self.row.cells) else None

    def has(self, field: str) -> bool:
        """Whether something stands in the cell."""
        cell = self.cell(field)
        return cell is not None and cell != "" and bool(text_of(cell))

    def read(self, field: str, parse: Callable[[Cell], T], *, is_required: bool = False) -> T | None:
        """The value of a cell, None if it is empty or wrong; what is wrong is noted."""
        if not is_required and not self.has(field):
            return None
        try:
            return parse(self.cell(field))
        except CellProblem as problem:
            self.note(field, problem.code, problem.fields)
            return None

    def words(self, field: str, limit: int, *, is_required: bool = False) -> str | None:
        """A text of at most `limit` signs."""

        def parse(cell: Cell) -> str:
            text = words_of(cell)
            if not text:
                raise CellProblem("missing")
            if len(text) > limit:
                raise CellProblem("too_long", limit=limit)
            return text

        return self.read(field, parse, is_required=is_required)

    def one_of(self, field: str, words: Mapping[str, T]) -> T | None:
        """One of some words, in either script size."""

        def parse(cell: Cell) -> T:
            text = text_of(cell)
            if text.lower() not in words:
                raise CellProblem("not_in_list", value=text[:MAX_SHOWN], allowed="、".join(words))
            return words[text.lower()]

        return self.read(field, parse)

    def note(
        self, field: str, code: str, fields: Mapping[str, object] | None = None, subjects: Sequence[str] = ()
    ) -> None:
        """Note a problem in the column of a field (of none: in the row), and the residents it may be about."""
        shown = {
            name: value[:MAX_SHOWN] if name == "value" and isinstance(value, str) else value
            for name, value in (fields or {}).items()
        }
        self.problems.append(Problem(self.row.number, self._header.column_of(field), code, shown, tuple(subjects)))

    def verdict(self, state: State, value: Any = None) -> Verdict:
        """What the row is, unless something is wrong with it."""
        if self.problems:
            return Verdict(self.row.number, "bad", None, tuple(self.problems))
        return Verdict(self.row.number, state, value)

"""One cell as people fill it in: its text without the accidents of keyboards and spreadsheets.

Full-width digits and signs become plain ones, spaces of every kind are spaces. Names keep their characters: 𠮷 is not
吉, and no form of Unicode normalisation that would change a rare character is used.
"""

import re
from collections.abc import Mapping
from typing import Final

Cell = str | int | float | bool | None
"""What a cell holds once it is read. Days and times of a workbook are ISO text already."""

# Full-width ! to ~ are plain ! to ~; the ideographic space is a space; what has no width is nothing.
_PLAIN: Final = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {
    0x3000: 0x20,
    0xA0: 0x20,
    0x200B: None,
    0x200C: None,
    0x200D: None,
    0x2060: None,
    0xFEFF: None,
}
_SPACES: Final = re.compile(r"\s+")
_ODD: Final = re.compile(r"^ | $|  |[^\x20-\x7e\u00b7\u2018-\u201d\u3001-\u9fff\U00020000-\U0003ffff]")
_HAN: Final = "\u3007\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_BETWEEN_HAN: Final = re.compile(rf"(?<=[{_HAN}])\s+(?=[{_HAN}])")


class CellProblem(Exception):
    """A cell that cannot be understood: a key of `problems.PROBLEMS`, and what fills its words."""

    def __init__(self, code: str, /, **fields: object) -> None:
        super().__init__(code)
        self.code: Final = code
        self.fields: Final[Mapping[str, object]] = fields


def text_of(cell: Cell) -> str:
    """The cell as one line of text, plain digits and signs, trimmed; empty for an empty cell. `13800001111.0` of a
    number cell is `13800001111`.
    """
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "1" if cell else "0"
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 1e15:
        cell = int(cell)
    text = str(cell)
    # Most cells need nothing of it, and there are hundreds of thousands.
    return _SPACES.sub(" ", text.translate(_PLAIN)).strip() if _ODD.search(text) else text


def name_of(cell: Cell) -> str:
    """A person's name: full-width spaces that only fill a column between two characters (王　华) are taken out."""
    return _BETWEEN_HAN.sub("", text_of(cell))


def words_of(cell: Cell) -> str:
    """Text that people read again (a title, a place, a reason): its own signs stay, its lines become one."""
    return "" if cell is None else _SPACES.sub(" ", str(cell).replace("\ufeff", "")).strip()


def is_empty(row: list[Cell]) -> bool:
    """Whether nothing stands in a row."""
    return all(cell is None or (isinstance(cell, str) and not cell.strip()) for cell in row)


_TOTAL: Final = re.compile(
    r"(?:本页|本月|年度|全部)?(?:合计|总计|小计|共计|总和|累计)|(?:sub|grand )?total", re.IGNORECASE
)


def is_total(row: list[Cell]) -> bool:
    """Whether a row sums up others: 合计, 总计, 小计 stands first in it."""
    for cell in row[:3]:
        text = text_of(cell).replace(" ", "").rstrip(":")
        if text and (_TOTAL.fullmatch(text) or re.match(r"(?:合计|总计|小计|共计)[:\d]", text)):
            return True
    return False


def is_example(row: list[Cell]) -> bool:
    """Whether a row is the example of our own template."""
    return any(isinstance(cell, str) and cell.startswith(EXAMPLE_MARK) for cell in row)


EXAMPLE_MARK: Final = "示例"

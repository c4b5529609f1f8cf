"""A file that somebody sent, as rows of cells: CSV in whatever encoding, XLSX and XLS. Its bytes say which.

CSV is UTF-8 with or without BOM, else UTF-16 by its BOM, else GB18030, each decoded strictly; its delimiter is comma,
semicolon or tab. Row 1 is the file's first row, as a spreadsheet shows it. Days and times of workbooks become ISO text.

Nothing is unpacked on trust: a workbook's parts are inflated against a limit first, and the corners of its cells are
looked at before a table of that size is made.
"""

import csv
import io
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any, Final, Literal

from python_calamine import CalamineError, CalamineWorkbook, PasswordError

from jishan_server.errors import DomainError
from jishan_server.sheets.cells import Cell, is_empty

MAX_BYTES: Final = 20 * 1024 * 1024
"""A workbook of 100,000 people has some 10 MiB."""
MAX_ROWS: Final = 100_000
MAX_COLUMNS: Final = 200
MAX_UNPACKED_BYTES: Final = 200 * 1024 * 1024
"""The XML of a workbook of 100,000 rows has some 60 MiB."""
MAX_PARTS: Final = 1_000
LOOKED_AT_LINES: Final = 20
PIECE_BYTES: Final = 1024 * 1024
OVERLAP_BYTES: Final = 1024
"""A tag that lies across two pieces is found in the second; none of ours is longer."""

Format = Literal["csv", "xlsx", "xls"]

_TAG: Final = re.compile(rb"<(?:\w+:)?(row|c)\b([^<>]*?)(/?)>")
_PLACE: Final = re.compile(rb"""\br\s*=\s*["']\s*([A-Za-z]*)(\d*)""")


@dataclass(frozen=True, slots=True)
class Sheet:
    """One table: its rows from row 1 on, and how the file was written, so that an answer can be written likewise.

    `others` are further sheets of the workbook that are not empty and were not read.
    """

    format: Format
    rows: list[list[Cell]]
    encoding: str = "utf-8"
    delimiter: str = ","
    name: str = ""
    others: tuple[str, ...] = ()


def read(raw: bytes) -> Sheet:
    """Read a file's bytes.

    Refusals: sheet_empty, sheet_too_large, sheet_format, sheet_encoding, sheet_rows, sheet_columns, sheet_broken,
    sheet_locked.
    """
    if len(raw) > MAX_BYTES:
        raise DomainError("sheet_too_large", limit=MAX_BYTES // 2**20)
    if raw.startswith(b"PK\x03\x04"):
        _check_zip(raw)
        return _workbook(raw, "xlsx")
    if raw.startswith(b"\xd0\xcf\x11\xe0"):
        return _workbook(raw, "xls")
    return _csv(raw)


def _csv(raw: bytes) -> Sheet:
    text, encoding = _decoded(raw)
    if re.match(r"\s*<(?:!doctype|html|\?xml|table)", text[:200], re.IGNORECASE):
        # What some systems call .xls is a web page.
        raise DomainError("sheet_format")
    if named := re.match(r"sep=([,;\t])\r?\n", text):
        delimiter, text = named[1], text[named.end() :]
    else:
        delimiter = _delimiter(text)
    rows: list[list[Cell]] = [[]] if named else []
    try:
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
            rows.append([_unguarded(cell) for cell in row])
            _check_size(len(rows), len(row))
    except csv.Error as error:
        raise DomainError("sheet_broken") from error
    return _full(Sheet("csv", rows, encoding, delimiter))


def _decoded(raw: bytes) -> tuple[str, str]:
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        order: tuple[str, ...] = ("utf-16",)
    else:
        order = ("utf-8-sig" if raw.startswith(b"\xef\xbb\xbf") else "utf-8", "gb18030")
    for encoding in order:
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text, encoding
    raise DomainError("sheet_encoding")


def _delimiter(text: str) -> str:
    """The one that makes most columns of the first lines; commas where none does."""
    lines = text[:65_536].splitlines()[:LOOKED_AT_LINES]

    def columns(delimiter: str) -> int:
        try:
            return sum(len(row) - 1 for row in csv.reader(lines, delimiter=delimiter))
        except csv.Error:
            return 0

    return max(",", ";", "\t", key=columns)


def _unguarded(cell: str) -> str:
    """A CSV cell without what keeps a spreadsheet from calculating it: '=1+1 (as we write it) and ="007"."""
    if len(cell) > 1 and cell[0] == "'" and cell[1] in "=+-@\t\r":
        return cell[1:]
    if cell.startswith('="') and cell.endswith('"'):
        return cell[2:-1]
    return cell


def _check_size(rows: int, columns: int) -> None:
    if rows > MAX_ROWS:
        raise DomainError("sheet_rows", limit=MAX_ROWS)
    if columns > MAX_COLUMNS:
        raise DomainError("sheet_columns", limit=MAX_COLUMNS)


def _full(sheet: Sheet) -> Sheet:
    while sheet.rows and is_empty(sheet.rows[-1]):
        sheet.rows.pop()
    if not sheet.rows:
        raise DomainError("sheet_empty")
    return sheet


def _check_zip(raw: bytes) -> None:
    """Refuse what is no workbook, what unpacks to more than it may, and cells outside of the limits."""
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as parts:
            entries = parts.infolist()
            names = {one.filename for one in entries}
            if len(entries) > MAX_PARTS or sum(one.file_size for one in entries) > MAX_UNPACKED_BYTES:
                raise DomainError("sheet_too_large", limit=MAX_UNPACKED_BYTES // 2**20)
            if "[Content_Types].xml" not in names or not any(name.startswith("xl/") for name in names):
                raise DomainError("sheet_format")
            for entry in entries:
                # Reading to the end proves the size that the entry claims: zipfile stops there and compares its CRC.
                pieces = _pieces(parts, entry)
                if re.match(r"xl/worksheets/[^/]*$", entry.filename):
                    _check_corners(pieces)
                else:
                    for _ in pieces:
                        pass
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, OSError, ValueError) as error:
        raise DomainError("sheet_broken") from error
    except Exception as error:
        # zlib.error has no better parent than Exception.
        if type(error).__module__ in ("zlib", "_lzma"):
            raise DomainError("sheet_broken") from error
        raise


def _pieces(parts: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Iterator[bytes]:
    with parts.open(entry) as inflated:
        before = b""
        while piece := inflated.read(PIECE_BYTES):
            yield before + piece
            before = piece[-OVERLAP_BYTES:]


def _check_corners(pieces: Iterator[bytes]) -> None:
    """Follow the places of rows and cells that hold something, the way a reader of workbooks does."""
    row = column = 0
    for piece in pieces:
        for tag, attributes, closed in _TAG.findall(piece):
            place = _PLACE.search(attributes)
            if tag == b"row":
                row = int(place[2]) if place and place[2] else row + 1
                column = 0
                continue
            if place and place[1]:
                column = _column(place[1])
                row = int(place[2]) if place[2] else row
            else:
                column += 1
            if not closed:
                _check_size(row, column)


def _column(letters: bytes) -> int:
    number = 0
    for letter in letters.upper():
        number = number * 26 + letter - 64
    return number


def _workbook(raw: bytes, format: Format) -> Sheet:
    """The first sheet that is not empty."""
    try:
        with CalamineWorkbook.from_filelike(io.BytesIO(raw)) as book:
            names = [one.name for one in book.sheets_metadata if str(one.typ).endswith("WorkSheet")]
            found: Sheet | None = None
            others = []
            for name in names:
                table = book.get_sheet_by_name(name)
                if table.end is None:
                    continue
                if found is not None:
                    others.append(name)
                    continue
                _check_size(table.end[0] + 1, table.end[1] + 1)
                rows = [[_cell(cell) for cell in row] for row in table.to_python(skip_empty_area=False)]
                if not all(is_empty(row) for row in rows):
                    found = Sheet(format, rows, name=name)
    except PasswordError as error:
        raise DomainError("sheet_locked") from error
    except CalamineError as error:
        raise DomainError("sheet_broken") from error
    if found is None:
        raise DomainError("sheet_empty")
    return _full(Sheet(format, found.rows, name=found.name, others=tuple(others)))


def _cell(cell: Any) -> Cell:
    match cell:
        case str() | bool() | int():
            return cell or (None if cell == "" else cell)
        case float():
            return int(cell) if cell.is_integer() and abs(cell) < 1e15 else cell
        case datetime():
            shown = cell.isoformat(" ", "minutes")
            return shown.removesuffix(" 00:00")
        case date():
            return cell.isoformat()
        case time():
            return cell.isoformat("seconds")
        case timedelta():
            seconds = round(cell.total_seconds())
            return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return None if cell is None else str(cell)

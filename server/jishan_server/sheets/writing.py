"""Sheets that people take away: CSV (UTF-8 with BOM, so that spreadsheets see it) and XLSX.

No cell becomes a formula: in CSV a text that begins with = + - @, tab or return gets an apostrophe before it, in XLSX
every text is written as text. The same rows give the same bytes: a workbook's dates are fixed.
"""

import csv
import io
import zipfile
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, Literal

import xlsxwriter  # type: ignore[import-untyped]

from jishan_server.sheets.cells import Cell

DANGEROUS: Final = ("=", "+", "-", "@", "\t", "\r")
CREATED: Final = datetime(2000, 1, 1)  # noqa: DTZ001 (a workbook's properties have no zone)
MAX_WIDTH: Final = 40

Format = Literal["csv", "xlsx"]
MEDIA_TYPES: Final = {
    "csv": "text/csv; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}

Row = Sequence[Cell]


def write(
    format: Format, header: Sequence[str], rows: Iterable[Row], name: str = "Sheet1", *, notes: Sequence[Row] = ()
) -> bytes:
    """A table as the bytes of a file; `notes` become a second sheet, in XLSX only."""
    if format == "csv":
        return write_csv(header, rows)
    return write_xlsx(header, rows, name, notes=notes)


def write_csv(header: Sequence[str], rows: Iterable[Row], encoding: str = "utf-8-sig", delimiter: str = ",") -> bytes:
    """CSV with CR LF. What an encoding lacks is replaced: GB18030 and UTF-8 lack nothing."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\r\n")
    writer.writerow([guarded(cell) for cell in header])
    writer.writerows([guarded(cell) for cell in row] for row in rows)
    return out.getvalue().encode(encoding, errors="replace")


def guarded(cell: Cell) -> Cell:
    """A cell that no spreadsheet takes for a formula."""
    if isinstance(cell, str) and cell.lstrip(" ").startswith(DANGEROUS):
        return "'" + cell
    return cell


def write_xlsx(header: Sequence[str], rows: Iterable[Row], name: str = "Sheet1", *, notes: Sequence[Row] = ()) -> bytes:
    """A workbook with the header fixed above, and columns wide enough to be read. Row by row: memory stays small."""
    out = io.BytesIO()
    options = {"in_memory": True, "constant_memory": True}
    with xlsxwriter.Workbook(out, options) as book:
        book.set_properties({"created": CREATED, "author": "Jishan"})
        bold = book.add_format({"bold": True, "text_wrap": True, "valign": "top"})
        # Text, so that a spreadsheet in which somebody types a number goes on showing it as typed.
        text = book.add_format({"num_format": "@"})
        sheet = book.add_worksheet(name[:31])
        sheet.freeze_panes(1, 0)
        for column, title in enumerate(header):
            sheet.set_column(column, column, min(max(10, 2 * len(title) + 2), MAX_WIDTH), text)
        _fill(sheet, [header], 0, bold)
        _fill(sheet, rows, 1)
        if notes:
            second = book.add_worksheet("说明")
            second.set_column(0, 3, MAX_WIDTH)
            _fill(second, notes, 0)
    return _dated(out.getvalue())


def _fill(sheet: xlsxwriter.worksheet.Worksheet, rows: Iterable[Row], first: int, format: object = None) -> None:
    for number, row in enumerate(rows, first):
        for column, cell in enumerate(row):
            if cell is None or cell == "":
                continue
            if isinstance(cell, bool):
                sheet.write_string(number, column, "是" if cell else "否", format)
            elif isinstance(cell, int | float):
                sheet.write_number(number, column, cell, format)
            else:
                sheet.write_string(number, column, cell[:32_767], format)


def _dated(book: bytes) -> bytes:
    """The same workbook with a fixed date at each of its parts."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(book)) as parts, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as dated:
        for part in parts.infolist():
            entry = zipfile.ZipInfo(part.filename, (2000, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            dated.writestr(entry, parts.read(part))
    return out.getvalue()

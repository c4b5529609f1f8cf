"""A4 paper to write on: text, tables that go on over pages, QR codes. Millimetres from the top left corner.

The file is PDF/A-2u (fonts inside, every sign searchable, a language), and the same content of the same time is the
same bytes: dates are given, and nothing else changes from one time to the next.
The PDF library is loaded with the first document, not with the server: it takes a third of a second.
Source: ISO 19005-2; ISO/IEC 18004 (QR).
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple
from xml.sax.saxutils import escape

from jishan_server.errors import Language
from jishan_server.printing.fonts import SANS, Fonts
from jishan_server.printing.lines import broken

Align = Literal["L", "C", "R"]

MARGIN: Final = 18.0
LINE: Final = 1.45
"""Height of a line over the size of its letters."""
MM_OF_A_POINT: Final = 25.4 / 72
QUIET_MODULES: Final = 4
"""The white frame around a QR code."""
STROKE: Final = 0.009
"""Millimetres of outline for each point of size: what makes bold, as the package has one weight only."""
PADDING: Final = 1.2
FOOT: Final = 14.0
LANGUAGES: Final = {"zh": "zh-CN", "en": "en"}
_XMP: Final = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF
 xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:pdf="http://ns.adobe.com/pdf/1.3/"
 xmlns:pdfaid="http://www.aiim.org/pdfa/ns/id/"><rdf:Description rdf:about="" xmp:CreateDate="{at}"
 xmp:ModifyDate="{at}" xmp:MetadataDate="{at}" xmp:CreatorTool="Jishan" pdf:Producer="Jishan">
 <pdfaid:part>2</pdfaid:part><pdfaid:conformance>U</pdfaid:conformance>
 <dc:title><rdf:Alt><rdf:li xml:lang="x-default">{title}</rdf:li></rdf:Alt></dc:title>
 <dc:language><rdf:Bag><rdf:li>{language}</rdf:li></rdf:Bag></dc:language>
</rdf:Description></rdf:RDF></x:xmpmeta>"""


class Column(NamedTuple):
    """A column of a table: its title, its width in mm, and how its cells stand."""

    title: str
    width: float
    align: Align = "L"


class Paper:
    """A document that is being written; `y` is where the next thing goes."""

    def __init__(self, title: str, language: Language, at: datetime, *, landscape: bool = False) -> None:
        from fpdf import FPDF

        self._pdf = FPDF(orientation="L" if landscape else "P", format="A4", enforce_compliance="PDFA_2U")
        self._pdf.set_auto_page_break(False)
        self._pdf.c_margin = 0
        self._fonts = Fonts(self._pdf)
        self._widths: dict[str, float] = {}
        self._describe(self._fonts.legible(title), language, at.astimezone(UTC).replace(microsecond=0))
        self.width, self.height = self._pdf.w - 2 * MARGIN, self._pdf.h
        self.page()

    def page(self) -> None:
        """Begin a new page."""
        self._pdf.add_page()
        self.y = MARGIN

    def room(self) -> float:
        """What is left of the page."""
        return self.height - FOOT - MARGIN / 2 - self.y

    def gap(self, height: float) -> None:
        """Leave white."""
        self.y += height

    def text(
        self,
        text: str,
        size: float,
        *,
        x: float = MARGIN,
        width: float | None = None,
        align: Align = "L",
        bold: bool = False,
        most_lines: int | None = None,
    ) -> None:
        """Write a text of `size` points, broken into lines, and go below it; a new page where this one is full."""
        width = self.width + MARGIN - x if width is None else width
        lines = self.lines(text, size, width)
        if most_lines is not None and len(lines) > most_lines:
            lines = [*lines[: most_lines - 1], lines[most_lines - 1][:-1] + "…"]
        height = size * MM_OF_A_POINT * LINE
        for line in lines:
            if self.room() < height:
                self.page()
            self._write(line, size, x, self.y, width, align, bold)
            self.y += height

    def lines(self, text: str, size: float, width: float) -> list[str]:
        """The lines that a text takes in a width."""
        # A hair of slack: widths are rounded in the file.
        return broken(self._fonts.legible(text), lambda part: self.width_of(part, size), width + 0.01)

    def width_of(self, text: str, size: float) -> float:
        """How wide a text of one line is."""
        return sum(map(self._width_of_sign, text)) * size

    def qr(self, address: str, size: float, x: float, y: float) -> None:
        """A QR code of `size` millimetres, its white frame included."""
        import segno

        rows = list(segno.make(address, error="m", micro=False).matrix)
        module = size / (len(rows) + 2 * QUIET_MODULES)
        left, top = x + QUIET_MODULES * module, y + QUIET_MODULES * module
        for number, row in enumerate(rows):
            start = 0
            while start < len(row):
                end = start + 1
                while end < len(row) and row[end] == row[start]:
                    end += 1
                if row[start]:
                    # A little over the edge: no reader sees a white hair between two rows.
                    wide, tall = (end - start) * module, module * 1.02
                    self._pdf.rect(left + start * module, top + number * module, wide, tall, style="F")
                start = end

    def rule(self, thickness: float = 0.2, x: float = MARGIN, width: float | None = None) -> None:
        """A line across."""
        self._pdf.set_line_width(thickness)
        self._pdf.line(x, self.y, x + (self.width + MARGIN - x if width is None else width), self.y)

    def frame(self, x: float, y: float, width: float, height: float) -> None:
        """A thin rectangle."""
        self._pdf.set_line_width(0.1)
        self._pdf.rect(x, y, width, height)

    def table(
        self, columns: Sequence[Column], rows: Sequence[Sequence[str]], size: float, *, row_height: float = 0.0
    ) -> None:
        """Rows under a head that is repeated on each page; a cell is broken into lines."""
        titles = [column.title for column in columns]
        if rows and self.room() < sum(self._tallest(columns, row, size, row_height) for row in (titles, rows[0])):
            self.page()
        self._row(columns, titles, size, row_height, bold=True)
        for row in rows:
            if self.room() < self._tallest(columns, row, size, row_height):
                self.page()
                self._row(columns, titles, size, row_height, bold=True)
            self._row(columns, row, size, row_height)

    def rows(
        self, widths: Sequence[float], rows: Sequence[Sequence[str]], size: float, row_height: float = 0.0
    ) -> None:
        """Rows without a head."""
        columns = [Column("", width) for width in widths]
        for row in rows:
            if self.room() < self._tallest(columns, row, size, row_height):
                self.page()
            self._row(columns, row, size, row_height)

    def finished(self, foot: Callable[[int, int], str]) -> bytes:
        """The file, each page with its foot: `foot(page, pages)`."""
        pages = self._pdf.pages_count
        for page in range(1, pages + 1):
            self._pdf.page = page
            # The library believes that the font of the page written last still holds.
            self._pdf.set_font(SANS, "", 1)
            text = self._fonts.legible(foot(page, pages))
            self._write(text, 8.5, MARGIN, self.height - FOOT, self.width, "C", False)
        return bytes(self._pdf.output())

    def _describe(self, title: str, language: Language, at: datetime) -> None:
        self._pdf.set_title(title)
        self._pdf.set_creator("Jishan")
        self._pdf.set_producer("Jishan")
        self._pdf.set_lang(LANGUAGES[language])
        self._pdf.set_creation_date(at)
        said = {"at": at.isoformat(), "title": escape(title), "language": LANGUAGES[language]}
        self._pdf.set_xmp_metadata(_XMP.format_map(said))

    def _write(self, line: str, size: float, x: float, y: float, width: float, align: Align, bold: bool) -> None:
        self._pdf.set_font(SANS, "", size)
        self._pdf.set_xy(x, y)
        height = size * MM_OF_A_POINT * LINE
        if bold:
            with self._pdf.local_context(text_mode="FILL_STROKE", line_width=size * STROKE):
                self._pdf.cell(width, height, line, align=align)
        else:
            self._pdf.cell(width, height, line, align=align)

    def _width_of_sign(self, sign: str) -> float:
        """Of one point of size."""
        if sign not in self._widths:
            self._pdf.set_font(SANS, "", 100)
            self._widths[sign] = self._pdf.get_string_width(sign) / 100
        return self._widths[sign]

    def _tallest(self, columns: Sequence[Column], row: Sequence[str], size: float, least: float) -> float:
        lines = max(
            len(self.lines(cell, size, column.width - 2 * PADDING)) for column, cell in zip(columns, row, strict=True)
        )
        return max(least, lines * size * MM_OF_A_POINT * LINE + 2 * PADDING)

    def _row(
        self, columns: Sequence[Column], row: Sequence[str], size: float, row_height: float, bold: bool = False
    ) -> None:
        height = self._tallest(columns, row, size, row_height)
        line_height = size * MM_OF_A_POINT * LINE
        x = MARGIN
        for column, cell in zip(columns, row, strict=True):
            self.frame(x, self.y, column.width, height)
            lines = self.lines(cell, size, column.width - 2 * PADDING)
            top = self.y + (height - len(lines) * line_height) / 2
            for number, line in enumerate(lines):
                place = (x + PADDING, top + number * line_height)
                self._write(line, size, *place, column.width - 2 * PADDING, column.align, bold)
            x += column.width
        self.y += height

"""Papers: what stands on them, that nothing is cut off or lost, and that they are the same each time."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pdf_text import pages_of, texts_of, written_on

from jishan_server.errors import Language
from jishan_server.printing import fonts, words
from jishan_server.printing.attendance import AttendanceSheet, Expected, attendance_sheet
from jishan_server.printing.certificate import Certificate, Entry, by_category, certificate
from jishan_server.printing.explained import Case, WhyNot, why_not
from jishan_server.printing.lines import NOT_FIRST, NOT_LAST, broken
from jishan_server.printing.notices import Notice, NoticeSheet, Poster, notice_sheet, poster
from jishan_server.printing.paper import MARGIN, Paper
from jishan_server.printing.passbook import Card, Line, Passbook, cards, passbook
from jishan_server.printing.words import YEARLY_COLUMNS
from jishan_server.printing.yearly import YearlyReport, yearly_report

AT = datetime(2026, 3, 2, 4, tzinfo=UTC)
TITLE = "给独居老人送饭、陪聊，并打扫房间（第三小组）"
ENTRIES = [
    Entry("2026-03-01", "河道清理", "环境", "青衣江边", "江畔小区", 90),
    Entry("2026-03-02", TITLE, "助老", None, "江畔小区", 125),
    Entry("2026-03-03", "Street cleaning", None, "3号楼", "江畔小区", 5),
]
CERTIFICATE = Certificate(
    "202612345678903",
    "https://points.example/c/202612345678903",
    "王建华",
    "江畔小区",
    "2026-01-01",
    "2026-03-31",
    ENTRIES,
    "2026-04-01",
    AT,
)
NOTICES = [Notice("王*华", "7号楼", TITLE, "2026-03-01", 150, 3, "2026-03-05")] * 30
SHEET = NoticeSheet("江畔小区", NOTICES, True, "社区服务台", "028-37400000", "2026-03-02", AT)
SITE = "https://points.example/a/x"
POSTER = Poster("河道清理", "江畔小区", ["3月3日"], "青衣江边", "带水", "小心", "周敏", "1", SITE, AT)
PEOPLE = [Expected("王*华", f"1000{number:04}", "BCDFG") for number in range(23)]
LIST = AttendanceSheet("河道清理", "青衣江边", "3月3日", 15, "周敏", "01234567", SITE, PEOPLE, AT)
LINES = [Line("2026-03-01", "entry_redemption", -3, 97), Line("2026-02-01", "河道清理", 5, 100)]
BOOK = Passbook("王建华", "10000017", "江畔小区", 128, 6, 3, 2, (12, "2026-12-31"), LINES, "2026-03-02", AT)
WHY = WhyNot("王建华", "2026-01-01", "2026-03-31", [Case("2026-03-01", "扫雪", "还没有提交。")], True, "2026-03-02", AT)
YEAR = YearlyReport(2026, "2026-12-31", "洪雅县", list(YEARLY_COLUMNS), [["江畔小区", "小计", "", *"12345678"]], AT)

PAPERS: dict[str, tuple[Callable[[Any, Language], bytes], Any]] = {
    "certificate": (certificate, CERTIFICATE),
    "notice sheet": (notice_sheet, SHEET),
    "poster": (poster, POSTER),
    "attendance sheet": (attendance_sheet, LIST),
    "passbook": (passbook, BOOK),
    "why not": (why_not, WHY),
    "yearly report": (yearly_report, YEAR),
    "cards": (lambda people, language: cards(people, language, AT), [Card("王建华", "10000017", "江畔小区")] * 11),
}
LANGUAGES: tuple[Language, Language] = ("zh", "en")
FORBIDDEN = ("官方", "国标", "认证", "official", "national standard", "accredit")


def said(pdf: bytes) -> str:
    """Everything on the pages, without what breaks lines."""
    return "".join(texts_of(pdf)).replace(" ", "")


@pytest.mark.parametrize("name", PAPERS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_paper_is_the_same_bytes_each_time_small_and_of_its_own_date(name: str, language: Language) -> None:
    make, document = PAPERS[name]
    made = make(document, language)
    assert made == make(document, language)
    assert len(made) < 200_000
    assert made.startswith(b"%PDF-1.7")
    assert b'xmp:ModifyDate="2026-03-02T04:00:00+00:00"' in made
    assert (b"<rdf:li>zh-CN<" if language == "zh" else b"<rdf:li>en<") in made
    assert b"<pdfaid:part>2</pdfaid:part>" in made
    assert "\ufffd" not in said(made)
    assert "{" not in said(made)


def test_no_word_of_ours_claims_what_the_rules_do_not_allow() -> None:
    for key, both in words.WORDS.items():
        assert not [word for word in FORBIDDEN for text in both if word in text.lower()], key
    for make, document in PAPERS.values():
        for language in LANGUAGES:
            text = said(make(document, language)).lower()
            assert not [word for word in FORBIDDEN if word.replace(" ", "") in text]


def test_chinese_words_have_chinese_signs() -> None:
    for key, (zh, en) in words.WORDS.items():
        plain = re.sub(r"\{\w+\}", "字", zh)
        assert re.search(r"[\u4e00-\u9fff][,:;?!()]|[,:;?!()][\u4e00-\u9fff]", plain) is None, key
        assert re.search(r"[\u4e00-\u9fff\u3000-\u303f\uff00-\uffef]", en) is None, key
        assert re.findall(r"\{\w+\}", zh).sort() == re.findall(r"\{\w+\}", en).sort()


def test_a_certificate_says_who_when_how_long_what_and_by_whom() -> None:
    zh, en = (said(certificate(CERTIFICATE, language)) for language in LANGUAGES)
    for text in (zh, en):
        assert "202612345678903" in text
        assert "王建华" in text
        assert "https://points.example/c/" in text
        assert TITLE in text
        assert "江畔小区" in text
    assert "服务时长合计3.6小时" in zh
    assert "2026年1月1日至2026年3月31日" in zh
    assert "3.6hoursinall" in en
    assert "参加志愿服务3次" in zh
    assert "积分无关" in zh


def test_hours_are_rounded_down_each_by_itself_and_the_total_of_all_minutes() -> None:
    assert [words.hours(minutes) for minutes in (0, 5, 6, 59, 60, 125, 6825)] == [
        *("0.0", "0.0", "0.1", "0.9", "1.0", "2.0", "113.7")
    ]
    assert by_category(ENTRIES) == {"助老": (1, 125), "环境": (1, 90), None: (1, 5)}
    assert list(by_category(ENTRIES)) == ["助老", "环境", None]


def test_a_long_certificate_goes_on_over_pages_and_leaves_nothing_out() -> None:
    entries = [replace(ENTRIES[number % 3], title=f"第{number}次{TITLE}") for number in range(150)]
    made = certificate(replace(CERTIFICATE, entries=entries), "zh")
    text = said(made)
    assert all(f"第{number}次" in text for number in range(150))
    assert pages_of(made) > 5
    assert f"第{pages_of(made)}页\uff0c共{pages_of(made)}页" in text
    assert len(made) < 200_000


def test_rare_names_print_where_the_host_has_the_font_and_show_their_number_where_not() -> None:
    named = replace(CERTIFICATE, name="𠮷田·阿卜杜\u200d热西提😀\ufe0f")
    text = said(certificate(named, "zh"))
    has_font = any(path.is_file() for path in fonts.RARE_FONTS)
    assert ("𠮷田" if has_font else "〔U+20BB7〕田") in text
    assert "热西提〔U+1F600〕在" in text


def test_without_the_larger_font_a_rare_sign_is_its_number() -> None:
    from fpdf import FPDF

    pdf = FPDF()
    bare = fonts.Fonts(pdf, rare=())
    assert bare.legible("𠮷e\u0301\t") == "〔U+20BB7〕é"
    pdf.fonts[fonts.SANS].close()  # type: ignore[union-attr]


def test_lines_break_as_chinese_does() -> None:
    text = (
        "下列服务记录正在公示，姓名已部分隐去。对内容有异议的（包括时长），"
        "请在“截止日期”当天或之前提出 by telephone 028-37400000。"
    )
    for width in range(4, 40):
        lines = broken(text, len, width)
        assert "".join(lines).replace(" ", "") == text.replace(" ", "")
        assert all(len(line) <= width for line in lines)
        if width >= 16:
            assert not [line for line in lines if line[0] in NOT_FIRST or line[-1] in NOT_LAST]
            assert any("telephone" in line for line in lines)
    assert broken("一\n\n二", len, 5) == ["一", "", "二"]
    assert broken("", len, 5) == [""]


def test_nothing_is_written_over_the_edge_of_the_paper() -> None:
    monsters = replace(POSTER, title=TITLE * 5, place=TITLE * 4, description=TITLE * 30, risk_note=TITLE * 30)
    paper = Paper("x", "zh", AT)
    paper.finished(lambda page, pages: "")
    for language in LANGUAGES:
        for made in (
            poster(monsters, language),
            attendance_sheet(replace(LIST, title=TITLE * 4, place=TITLE * 3), language),
            certificate(replace(CERTIFICATE, name="阿" * 50, unit=TITLE * 3), language),
            cards([Card(TITLE, "10000017", TITLE * 2)], language, AT),
        ):
            for text, x, y, size in written_on(made):
                assert x >= MARGIN - 0.1
                assert x + paper.width_of(text, size) <= MARGIN + paper.width + 0.2
                assert 8 < y < 297 - MARGIN


def test_an_attendance_sheet_has_numbered_lines_and_room_for_others() -> None:
    made = attendance_sheet(LIST, "zh")
    texts = texts_of(made)
    assert all(str(number) in texts for number in range(1, 30))
    assert "表码：01234567" in texts
    assert all(one.member_number in texts for one in PEOPLE)
    assert len([text for text in texts if text == "签名"]) == pages_of(made)


def test_an_empty_notice_says_so_and_leaves_room_to_write_where_to_object() -> None:
    text = said(notice_sheet(replace(SHEET, notices=[], where=None, telephone=None), "zh"))
    assert "目前没有公示中的记录" in text
    assert "电话：____" in text


def test_nobody_waits_for_the_pdf_library_at_the_start() -> None:
    code = "import sys, jishan_server.app; sys.exit('fpdf' in sys.modules or 'fontTools' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], check=False).returncode == 0

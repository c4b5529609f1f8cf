"""The fonts of what is printed, and what happens to a sign that they do not have.

Noto Sans SC comes with a package and has nearly every Chinese sign in use. Rare names (𠮷) need the larger Noto Sans
CJK, which is taken where the host has it. What no font has is printed as its number, 〔U+20BB7〕: a person can write
it in by hand, and nothing is lost without a trace. Only the signs that a document uses are put into its file.
"""

import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from fpdf import FPDF

SANS: Final = "sans"
RARE: Final = "rare"
RARE_FONTS: Final = (
    Path("/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc"),
    Path("/usr/share/fonts/google-noto-sans-cjk-fonts/NotoSansCJK-Regular.ttc"),
    Path("/usr/share/fonts/noto-cjk/NotoSansCJK-Regular.ttc"),
)
"""Where Debian and Ubuntu, Fedora, and Arch put it."""
RARE_FONT_NUMBER: Final = 2
"""Simplified Chinese in that collection."""


class Fonts:
    """The fonts of one document; `rare` are the larger ones to look for, opened only for a sign that needs them."""

    def __init__(self, pdf: "FPDF", rare: tuple[Path, ...] = RARE_FONTS) -> None:
        from pylopdf_fonts_zh_cn import sans_path

        self._pdf = pdf
        self._rare = next((path for path in rare if path.is_file()), None)
        pdf.add_font(SANS, "", sans_path())

    def legible(self, text: str) -> str:
        """The text with nothing in it that could not be printed."""
        plain = unicodedata.normalize("NFC", text)
        if all(self._has(SANS, sign) for sign in plain):
            return plain
        return "".join(self._shown(sign) for sign in plain)

    def _shown(self, sign: str) -> str:
        # What joins or varies signs, and controls, has no form of its own.
        if sign == "\n" or self._has(SANS, sign):
            return sign
        if unicodedata.category(sign) in ("Cc", "Cf", "Mn"):
            return ""
        if self._open_rare() and self._has(RARE, sign):
            return sign
        return f"〔U+{ord(sign):04X}〕"

    def _has(self, font: str, sign: str) -> bool:
        return ord(sign) in self._pdf.fonts[font].cmap  # type: ignore[union-attr]  # every font of ours has one

    def _open_rare(self) -> bool:
        if self._rare is not None and RARE not in self._pdf.fonts:
            self._pdf.add_font(RARE, "", self._rare, collection_font_number=RARE_FONT_NUMBER)
            self._pdf.set_fallback_fonts([RARE])
        return self._rare is not None

"""What a file is by its first bytes, and a photo without what its camera wrote beside the picture.

No location trail is kept: a photo is decoded and encoded anew, so that neither EXIF with its GPS position, nor
comments, nor a second picture hidden behind the first stays. Its turning is applied first. A PDF stays as it is.
"""

import io
from typing import Final

from PIL import Image, ImageOps, UnidentifiedImageError

from jishan_server.errors import DomainError

MAX_FILE_BYTES: Final = 5 * 1024 * 1024
"""A photo of a sheet of paper, as telephones take it."""
MAX_PIXELS: Final = 60_000_000
"""More than any telephone takes: a small file that becomes a huge picture is turned away before it is decoded."""
LONGEST_EDGE: Final = 2400
"""Handwriting on a sheet A4 stays readable (some 200 dots an inch)."""
JPEG_QUALITY: Final = 85

PDF: Final = "application/pdf"
FORMATS: Final = {"image/jpeg": "JPEG", "image/png": "PNG", "image/webp": "WEBP"}


def type_of(content: bytes) -> str | None:
    """The content type that the first bytes tell; None for what is not taken."""
    if content.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    return PDF if content.startswith(b"%PDF-") else None


def cleaned(content: bytes) -> tuple[str, bytes]:
    """(content type, what is to be kept) of a file; refusals: file_empty, file_too_large, file_type, file_broken."""
    if not content:
        raise DomainError("file_empty")
    if len(content) > MAX_FILE_BYTES:
        raise DomainError("file_too_large", limit_mib=MAX_FILE_BYTES // 1024**2)
    found = type_of(content)
    if found is None:
        raise DomainError("file_type")
    return found, content if found == PDF else _redrawn(content, FORMATS[found])


def _redrawn(content: bytes, form: str) -> bytes:
    try:
        with Image.open(io.BytesIO(content), formats=[form]) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise DomainError("file_broken")
            upright = ImageOps.exif_transpose(opened)
            mode = "RGBA" if form != "JPEG" and upright.has_transparency_data else "RGB"
            picture = upright.convert(mode)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError) as error:
        raise DomainError("file_broken") from error
    picture.thumbnail((LONGEST_EDGE, LONGEST_EDGE))
    # A picture of its own: what else the file said stays behind with `picture`.
    alone = Image.new(mode, picture.size)
    alone.paste(picture)
    written = io.BytesIO()
    alone.save(written, form, quality=JPEG_QUALITY)
    return written.getvalue()

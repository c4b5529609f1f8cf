"""What a PDF of ours says: every text that is written on its pages, read back from the file by its own tables."""

from __future__ import annotations

import re
import zlib
from typing import NamedTuple

_OBJECT = re.compile(rb"(\d+) 0 obj\n(.*?)\nendobj", re.DOTALL)
_SHOWN = re.compile(
    rb"/(F\d+) ([\d.]+) Tf|([\d.-]+) ([\d.-]+) Td|\(((?:[^\\()]|\\.)*)\) ?Tj",
    re.DOTALL,
)
POINTS_OF_A_MM = 72 / 25.4
_ESCAPES = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f"}


class Written(NamedTuple):
    """A piece of text: where it begins, in millimetres from the lower left corner, and its size in points."""

    text: str
    x: float
    y: float
    size: float


def texts_of(pdf: bytes) -> list[str]:
    """Each piece of text, page by page, in the order in which it was written."""
    return [one.text for one in written_on(pdf)]


def written_on(pdf: bytes) -> list[Written]:
    """The same, with the places."""
    objects = {int(number): body for number, body in _OBJECT.findall(pdf)}
    fonts = {
        name.decode(): _signs(_stream(objects[int(re.search(rb"/ToUnicode (\d+)", objects[int(font)])[1])]))  # type: ignore[index]
        for body in objects.values()
        for name, font in re.findall(rb"/(F\d+) (\d+) 0 R", body)
    }
    return [one for body in objects.values() for one in _shown(_stream(body), fonts)]


def pages_of(pdf: bytes) -> int:
    """How many pages it has."""
    return len(re.findall(rb"/Type /Page\n", pdf))


def _shown(stream: bytes, fonts: dict[str, dict[int, str]]) -> list[Written]:
    if b"BT" not in stream:
        return []
    font, size, x, y = "", 0.0, 0.0, 0.0
    found = []
    for name, points, right, up, raw in _SHOWN.findall(stream):
        if name:
            font, size = name.decode(), float(points)
        elif right:
            x, y = float(right) / POINTS_OF_A_MM, float(up) / POINTS_OF_A_MM
        else:
            plain = re.sub(rb"\\(.)", lambda one: _ESCAPES.get(one[1], one[1]), raw, flags=re.DOTALL)
            codes = [int.from_bytes(plain[place : place + 2]) for place in range(0, len(plain), 2)]
            found.append(Written("".join(fonts[font][code] for code in codes), x, y, size))
    return found


def _signs(cmap: bytes) -> dict[int, str]:
    return {
        int(code, 16): bytes.fromhex(sign.decode()).decode("utf-16-be", "surrogatepass")
        for code, sign in re.findall(rb"<([0-9A-F]{4})> <([0-9A-F]+)>", cmap)
    }


def _stream(body: bytes) -> bytes:
    found = re.search(rb"stream\n(.*)\nendstream", body, re.DOTALL)
    if found is None:
        return b""
    return zlib.decompress(found[1]) if b"/FlateDecode" in body[: found.start()] else found[1]

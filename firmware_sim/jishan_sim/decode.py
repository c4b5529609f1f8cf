"""What passed a serial line, in words: one line of JSON for each frame. For a person in front of a machine."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import click

from jishan_protocol.dispensers import lock_board, mdb_lines, modbus_board, mqtt_board, xy
from jishan_protocol.dispensers.cutting import BadBytes, Cutter
from jishan_protocol.errors import ProtocolError

MAX_CAPTURE_BYTES: Final = 64 * 1024 * 1024


def xy_lines(data: bytes) -> Iterator[dict[str, object]]:
    """One description for each XY frame, and one for each run of bytes that are no frame."""
    parser = xy.Parser()
    for found in parser.feed(data) + parser.finish():
        if isinstance(found, xy.BadBytes):
            yield {"ok": False, "error": found.error, "detail": found.detail, "bytes": _spaced(found.raw)}
            continue
        try:
            yield {"ok": True, **xy.describe(found)}
        except ProtocolError as error:
            raw = xy.encode(found)
            yield {"ok": False, "error": error.reason, "detail": error.detail, "bytes": _spaced(raw)}


def mdb_lines_in_words(data: bytes) -> Iterator[dict[str, object]]:
    """One description for each line of an MDB adapter, and one for each that is none."""
    parser = mdb_lines.Parser()
    for found in parser.feed(data) + parser.finish():
        if isinstance(found, mdb_lines.BadLine):
            yield {"ok": False, "error": found.error, "detail": found.detail, "bytes": _spaced(found.raw)}
            continue
        try:
            yield {"ok": True, **mdb_lines.describe(found)}
        except ProtocolError as error:
            raw = found.encode("ascii")
            yield {"ok": False, "error": error.reason, "detail": error.detail, "bytes": _spaced(raw)}


def mqtt_lines(data: bytes) -> Iterator[dict[str, object]]:
    """One description for each message of a board, `TOPIC PAYLOAD` or `d JSON`, and one for each line that is none."""
    for raw in filter(None, data.splitlines()):
        try:
            yield {"ok": True, **mqtt_board.describe(raw)}
        except ProtocolError as error:
            yield {"ok": False, "error": error.reason, "detail": error.detail, "bytes": _spaced(raw)}


def lock_board_lines(data: bytes) -> Iterator[dict[str, object]]:
    """One description for each frame of a lock board of 24 locks, and one for each run of bytes that are no frame."""
    return _cut_lines(lock_board.reader(lock_board.PROFILES["default"]), lock_board.describe, data)


def modbus_board_lines(data: bytes) -> Iterator[dict[str, object]]:
    """One description for each frame of a spring board, and one for each run of bytes that are no frame."""
    return _cut_lines(modbus_board.reader(), modbus_board.describe, data)


def _cut_lines(
    reader: Cutter, describe: Callable[[bytes], dict[str, object]], data: bytes
) -> Iterator[dict[str, object]]:
    for found in reader.feed(data) + reader.finish():
        if isinstance(found, BadBytes):
            yield {"ok": False, "error": found.error, "detail": found.detail, "bytes": _spaced(found.raw)}
        else:
            yield {"ok": True, **describe(found)}


DECODERS: Final[dict[str, Callable[[bytes], Iterator[dict[str, object]]]]] = {
    "lock-board": lock_board_lines,
    "mdb": mdb_lines_in_words,
    "modbus-board": modbus_board_lines,
    "mqtt": mqtt_lines,
    "xy": xy_lines,
}
TEXTS: Final = frozenset({"mdb", "mqtt"})
"""Protocols whose bytes are text: a capture of one is taken as it stands, never as hex."""


def from_hex(text: str) -> bytes:
    """The bytes in hex digits with any white space between them. ValueError says where they are none."""
    digits = re.sub(r"\s+", "", text)
    bad = re.search(r"[^0-9A-Fa-f]", digits)
    if bad is not None:
        raise ValueError(f"{bad[0]!r} is no hex digit")
    if len(digits) % 2:
        raise ValueError(f"{len(digits)} hex digits are not whole bytes")
    return bytes.fromhex(digits)


@click.command()
@click.argument("protocol", type=click.Choice(sorted(DECODERS)))
@click.argument("capture", nargs=-1)
def decode(protocol: str, capture: tuple[str, ...]) -> None:
    """Print each frame of CAPTURE as one line of JSON, and each run of bytes that are no frame as another.

    CAPTURE is hex with any white space, or a file (of hex, or of the bytes themselves); without it, or with -, standard
    input is read. Of a protocol that is text, CAPTURE is the text itself.
    """
    try:
        data = _read_capture(" ".join(capture), is_text=protocol in TEXTS)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="CAPTURE") from None
    for line in DECODERS[protocol](data):
        click.echo(json.dumps(line, ensure_ascii=False))


def _read_capture(capture: str, *, is_text: bool) -> bytes:
    if capture in ("", "-"):
        raw = sys.stdin.buffer.read(MAX_CAPTURE_BYTES)
    elif (path := _file(capture)) is not None:
        with path.open("rb") as opened:
            raw = opened.read(MAX_CAPTURE_BYTES)
    else:
        return f"{capture}\n".encode() if is_text else from_hex(capture)
    return raw if is_text or not raw.isascii() else from_hex(raw.decode("ascii"))


def _file(name: str) -> Path | None:
    try:
        path = Path(name)
        return path if path.is_file() else None
    except OSError:  # hex too long for a name
        return None


def _spaced(raw: bytes) -> str:
    return raw.hex(" ").upper()

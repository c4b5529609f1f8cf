"""What is fuzzed: every parser that reads bytes of a line, a network, a person or a file.

A target takes bytes and fails where the parser does not keep to its word: it may refuse what is bad with the one error
that it names, and nothing else may come out of it; what it takes means the same however the stream was cut, and reads
the same when it is written again. Seeds are the vectors of `docs/vectors` and the files of `corpus/NAME`, where what
was once found stays.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Protocol

import xlsxwriter  # type: ignore[import-untyped]
from hypothesis import strategies as st

from jishan_agent.readers.scanners import SCANNERS, Scanner
from jishan_agent.readers.serial_cards import READERS, CardReader
from jishan_agent.readers.serial_keypad import keys
from jishan_protocol import cards, claim_codes, messages, personal_codes, sealing, topics, vouchers
from jishan_protocol.dispensers import lock_board, mdb_lines, modbus_board, mqtt_board, xy
from jishan_protocol.dispensers.profiles import ProfileError, chosen
from jishan_protocol.envelope import mac_of, read_members, unseal
from jishan_protocol.errors import ProtocolError
from jishan_server.errors import DomainError
from jishan_server.sheets import dates, durations, numbers, reading
from jishan_server.sheets.cells import CellProblem
from jishan_server.sheets.headers import Field, find_header
from jishan_sim.decode import DECODERS, from_hex
from jishan_sim.faults import FaultsError, from_mapping, to_mapping
from jishan_sim.record import RecordingError
from jishan_sim.record import parse as parse_recording

ROOT: Final = Path(__file__).resolve().parents[2]
CORPUS: Final = Path(__file__).with_name("corpus")
MAX_INPUT: Final = 4_096
KEY: Final = bytes(range(32))
UP: Final = "jishan/v1/s07/m1a2b3/u/outbox"


@dataclass(frozen=True, slots=True)
class Target:
    """One parser: what is tried with it, and the examples of its vectors."""

    check: Callable[[bytes], None]
    vectors: Callable[[], list[bytes]]


# --- streams -------------------------------------------------------------------------------------------------------


class Stream(Protocol):
    """A reader of a byte stream."""

    def feed(self, data: bytes, /) -> list[Any]: ...

    def finish(self) -> list[Any]: ...


def pieces(raw: bytes) -> Iterator[bytes]:
    """The stream cut at places that only depend on it."""
    place, digest = 0, hashlib.sha256(raw).digest()
    for number in range(len(raw)):
        size = 1 + digest[number % len(digest)] % 7
        yield raw[place : place + size]
        place += size
        if place >= len(raw):
            return


def both_ways(make: Callable[[], Stream], raw: bytes) -> list[Any]:
    """What a stream is read as; however it is cut, the frames are the same."""
    whole, cut = make(), make()
    found = whole.feed(raw) + whole.finish()
    again = [one for piece in pieces(raw) for one in cut.feed(piece)] + cut.finish()
    frames = [[one for one in some if not hasattr(one, "error")] for some in (found, again)]
    assert frames[0] == frames[1], "the frames depend on how the stream was cut"
    return found


def xy_frames(raw: bytes) -> None:
    found = both_ways(xy.Parser, raw)
    assert b"".join(one.raw if isinstance(one, xy.BadBytes) else xy.encode(one) for one in found) == raw
    for one in found:
        if isinstance(one, xy.Frame):
            with suppress(ProtocolError):
                message = xy.read(one)
                xy.describe(one)
                for profile in xy.PROFILES.values():
                    written = xy.Parser().feed(xy.write(message, 1, profile))
                    assert [xy.read(frame) for frame in written if isinstance(frame, xy.Frame)], message


def lock_frames(raw: bytes) -> None:
    for locks in (24, 50):
        profile = lock_board.LockBoardProfile(name="", locks=locks)
        # A frame of five bytes may also begin one of the whole board: which it is depends on what has come.
        reader = lock_board.reader(profile)
        found = reader.feed(raw) + reader.finish()
        assert b"".join(one if isinstance(one, bytes) else one.raw for one in found) == raw
        for one in found:
            if isinstance(one, bytes):
                lock_board.describe(one)
                for message in (lock_board.read_command(one), lock_board.read_answer(one)):
                    # Padding bits of a board's states may name locks that nobody can write.
                    with suppress(ValueError):
                        if message is not None:
                            assert lock_board.write(message, profile) == one


def modbus_frames(raw: bytes) -> None:
    reader = modbus_board.reader()
    found = reader.feed(raw) + reader.finish()
    assert b"".join(one if isinstance(one, bytes) else one.raw for one in found) == raw
    for one in found:
        if isinstance(one, bytes):
            message = modbus_board.read(one)
            modbus_board.describe(one)
            modbus_board.read_status(message)
            modbus_board.read_climate(message)
            with suppress(ValueError):
                assert modbus_board.read(modbus_board.write(message)) == message


def mdb_text(raw: bytes) -> None:
    for one in both_ways(mdb_lines.Parser, raw):
        if isinstance(one, str):
            with suppress(ProtocolError):
                message = mdb_lines.read(one)
                mdb_lines.describe(one)
                for profile in mdb_lines.PROFILES.values():
                    with suppress(ValueError):
                        mdb_lines.write(message, profile)


def mqtt_text(raw: bytes) -> None:
    for direction in ("d", "u"):
        whole, cut = mqtt_board.LineReader(direction), mqtt_board.LineReader(direction)
        found = whole.feed(raw)
        again = [one for piece in pieces(raw) for one in cut.feed(piece)]
        bad = mqtt_board.BadLine
        assert [one for one in found if not isinstance(one, bad)] == [one for one in again if not isinstance(one, bad)]
        for one in found:
            if not isinstance(one, bad):
                assert mqtt_board.decode(direction, mqtt_board.encode(one)) == one
    for line in raw.splitlines():
        with suppress(ProtocolError):
            mqtt_board.describe(line)


def decoded(raw: bytes) -> None:
    for decoder in DECODERS.values():
        for line in decoder(raw):
            json.dumps(line)


def cards_and_keys(raw: bytes) -> None:
    for settings in READERS.values():
        reader = CardReader(settings)
        for number, piece in enumerate(pieces(raw)):
            reader.receive(piece, number * 50)
    for scanner in SCANNERS.values():
        for text in Scanner(scanner).receive(raw, 0):
            assert text.isprintable() or text
    keys(raw)


# --- the link ------------------------------------------------------------------------------------------------------


def envelopes(raw: bytes) -> None:
    """A payload as it comes, and the same JSON rightly signed."""
    content = raw.partition(b".")[2] or raw
    for payload in (raw, mac_of(KEY, "u", UP, content).encode() + b"." + content):
        with suppress(ProtocolError):
            opened = unseal(payload, UP, {1: KEY})
            for kind in messages.MESSAGES:
                with suppress(ProtocolError):
                    message = messages.decode(kind, opened.envelope.type, opened.envelope.body)
                    assert messages.decode(kind, *messages.encode(message)) == message


def bodies(raw: bytes) -> None:
    """A body for every type of message."""
    with suppress(ProtocolError):
        body = read_members(raw)
        for kind, forms in messages.MESSAGES.items():
            for name in forms:
                with suppress(ProtocolError):
                    message = messages.decode(kind, name, body)
                    assert messages.decode(kind, *messages.encode(message)) == message


def texts(raw: bytes) -> None:
    """What is typed, scanned, or stands in a topic."""
    text = raw.decode("utf-8", "replace")
    with suppress(ProtocolError):
        topics.parse(text)
    with suppress(ProtocolError):
        code = claim_codes.read(text)
        assert claim_codes.read(claim_codes.write(code)) == code
    with suppress(ProtocolError):
        vouchers.read(text, vouchers.public_key(KEY))
        raise AssertionError("nobody has signed this")
    with suppress(ProtocolError):
        vouchers.read_digits(text)
    with suppress(ProtocolError):
        sealing.open_credential(KEY, "r1", text)
        raise AssertionError("nobody has sealed this")
    with suppress(ProtocolError):
        assert cards.normalise(cards.normalise(text)) == cards.normalise(text)
    for settings in READERS.values():
        with suppress(ProtocolError):
            cards.read_uid(text, settings.profile)
    personal_codes.read_code(text)
    personal_codes.is_member_number(text)
    with suppress(ValueError):
        assert from_hex(text).hex() == "".join(text.split()).lower()


# --- files ---------------------------------------------------------------------------------------------------------

FIELDS: Final = (
    Field("name", "姓名", "name", ("名字",), is_required=True),
    Field("phone", "电话", "phone", ("手机", "联系电话")),
    Field("day", "日期", "date", ("服务日期",)),
    Field("minutes", "时长", "duration", ("小时", "服务时长"), is_required=True),
)


def sheets(raw: bytes) -> None:
    """A file that somebody sends: refused in words, or read to its last cell."""
    with suppress(DomainError):
        sheet = reading.read(raw)
        for row in sheet.rows[:50]:
            for cell in row[:20]:
                for parse in (dates.parse_day, dates.parse_moment, dates.parse_clock, durations.parse_minutes):
                    with suppress(CellProblem):
                        parse(cell)
                with suppress(CellProblem):
                    numbers.parse_phone(cell)
                if isinstance(cell, str):
                    durations.unit_of(cell)
        with suppress(DomainError):
            header = find_header(sheet.rows, FIELDS)
            assert len(header.names) == len(header.fields)
            assert header.fingerprint


@cache
def workbook() -> bytes:
    """A small one."""
    out = io.BytesIO()
    with xlsxwriter.Workbook(out, {"in_memory": True}) as book:
        sheet = book.add_worksheet("名单")
        for number, row in enumerate((("姓名", "电话", "时长"), ("王华", 13800001111, 1.5), ("李明", "139", "2小时"))):
            sheet.write_row(number, 0, row)
    return out.getvalue()


@cache
def parts() -> dict[str, bytes]:
    """What a workbook is made of."""
    with zipfile.ZipFile(io.BytesIO(workbook())) as packed:
        return {name: packed.read(name) for name in packed.namelist()}


SHEET: Final = "xl/worksheets/sheet1.xml"


def sheet_xml(raw: bytes) -> None:
    """The sheet of a workbook whose other parts are right."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        for name, part in (parts() | {SHEET: raw}).items():
            packed.writestr(name, part)
    sheets(out.getvalue())


def settings_files(raw: bytes) -> None:
    """Faults, recordings and profiles as people write them."""
    text = raw.decode("utf-8", "replace")
    with suppress(RecordingError):
        parse_recording(text.splitlines())
    for load in (json.loads, tomllib.loads):
        # What the parsers of the standard library refuse is refused by whoever calls them.
        with suppress(ValueError, RecursionError):
            given = load(text)
            with suppress(FaultsError):
                assert to_mapping(from_mapping(to_mapping(from_mapping(given)))) == to_mapping(from_mapping(given))
            if isinstance(given, dict):
                for profiles in (xy.PROFILES, lock_board.PROFILES, mdb_lines.PROFILES):
                    with suppress(ProfileError):
                        chosen(profiles, "own", given)


# --- seeds ---------------------------------------------------------------------------------------------------------


def vectors_of(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((ROOT / f"docs/vectors/{name}.json").read_text("utf-8"))["vectors"]
    return found


def hex_vectors(name: str) -> list[bytes]:
    return [bytes.fromhex(one["bytes"]) for one in vectors_of(name)]


def payload_vectors(name: str) -> list[bytes]:
    return [one["payload"].encode() for one in vectors_of(name) if isinstance(one["payload"], str)]


def mdb_vectors() -> list[bytes]:
    return [one["text"].encode() for one in vectors_of("mdb-lines") if "text" in one]


def mqtt_vectors() -> list[bytes]:
    return [
        one["topic"].encode()[-1:] + b" " + one["payload"].partition(".")[2].encode() + b"\n"
        for one in vectors_of("mqtt-board")
    ]


def body_vectors() -> list[bytes]:
    """The bodies of the link's vectors."""
    found: list[bytes] = []
    for raw in payload_vectors("link"):
        with suppress(ValueError, KeyError, TypeError):
            found.append(json.dumps(json.loads(raw.partition(b".")[2])["body"]).encode())
    return found


def csv_vectors() -> list[bytes]:
    rows = [["志愿者名单"], ["姓名", "电话", "日期", "时长"], ["王华", "138 0000 1111", "2026年3月5日", "1小时30分"]]
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return [text.getvalue().encode(encoding) for encoding in ("utf-8", "gb18030", "utf-16")] + [workbook()]


def text_vectors() -> list[bytes]:
    typed = ["7186A61E", "71:86:A6:1E", "1905698334", "012,34567", UP, "0123456789012345", "12345678", "FA FB 41 00 40"]
    code = claim_codes.ClaimCode(claim_codes.secret_of(bytes(32)), claim_codes.fingerprint_of(b"a certificate"))
    voucher = vouchers.Voucher("m1", "j" * 32, 1, 13, "soap", 2, "r1")
    sealed = sealing.seal_credential(KEY, "r2", sealing.Credential(card="7186A61E"), bytes(sealing.NONCE_BYTES))
    return [one.encode() for one in (*typed, claim_codes.write(code), vouchers.write(voucher, bytes(32)), sealed)]


def settings_vectors() -> list[bytes]:
    faults = {"vend": {"jam": 0.5}, "once": [{"selection": 1, "no_drop": 1}], "selections": {"3": {"slow": 1}}}
    recording = '{"jishan_recording": 1}\n{"at_ms": 0, "from": "host", "bytes": "FA"}\n'
    profile = 'like = "default"\nlocks = 50\ncheck_length = 4\nwithout_lift = "1-3"\n'
    return [json.dumps(faults).encode(), recording.encode(), profile.encode(), b"seed = 7\n[line]\nnoise = 0.5\n"]


def every_line() -> list[bytes]:
    return hex_vectors("xy") + hex_vectors("lock-board") + hex_vectors("modbus-board") + mdb_vectors() + mqtt_vectors()


TARGETS: Final[dict[str, Target]] = {
    "bodies": Target(bodies, body_vectors),
    "cards-and-keys": Target(cards_and_keys, lambda: [*text_vectors(), bytes.fromhex("040C022000040071 86A61E 0A 03")]),
    "decode": Target(decoded, every_line),
    "envelopes": Target(envelopes, lambda: payload_vectors("link")),
    "lock-board": Target(lock_frames, lambda: hex_vectors("lock-board")),
    "mdb": Target(mdb_text, mdb_vectors),
    "modbus-board": Target(modbus_frames, lambda: hex_vectors("modbus-board")),
    "mqtt": Target(mqtt_text, mqtt_vectors),
    "settings": Target(settings_files, settings_vectors),
    "sheet-xml": Target(sheet_xml, lambda: [parts()[SHEET]]),
    "sheets": Target(sheets, csv_vectors),
    "texts": Target(texts, text_vectors),
    "xy": Target(xy_frames, lambda: hex_vectors("xy")),
}


def kept(name: str) -> dict[str, bytes]:
    """What stands in the corpus of a target."""
    folder = CORPUS / name
    return {one.name: one.read_bytes() for one in sorted(folder.iterdir())} if folder.is_dir() else {}


@cache
def seeds(name: str) -> tuple[bytes, ...]:
    """All examples of a target."""
    return tuple(
        one[:MAX_INPUT] if name not in ("sheets", "sheet-xml") else one for one in TARGETS[name].vectors()
    ) + tuple(kept(name).values())


@st.composite
def inputs(draw: st.DrawFn, name: str) -> bytes:
    """An example with some damage, two of them in one another, or something quite different."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.one_of(st.binary(max_size=200), st.text(max_size=100).map(lambda text: text.encode())))
    raw = draw(st.sampled_from(seeds(name)))
    for _ in range(draw(st.integers(0, 6))):
        place = draw(st.integers(0, len(raw)))
        length = draw(st.integers(0, 8))
        match draw(st.sampled_from(("put", "cut", "change", "repeat", "join", "end"))):
            case "put":
                raw = raw[:place] + draw(st.binary(min_size=1, max_size=8)) + raw[place:]
            case "cut":
                raw = raw[:place] + raw[place + length :]
            case "change":
                raw = raw[:place] + draw(st.binary(min_size=1, max_size=4)) + raw[place + 1 :]
            case "repeat":
                raw = raw[:place] + raw[place : place + length] * draw(st.integers(2, 40)) + raw[place + length :]
            case "join":
                raw = raw[:place] + draw(st.sampled_from(seeds(name))) + raw[place:]
            case _:
                raw = raw[:place]
    return raw

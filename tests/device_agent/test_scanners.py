"""Barcode scanners on a serial line and as keyboards: bytes in pieces of any size, texts out."""

from __future__ import annotations

import os
import queue
from pathlib import Path
from random import Random

import pytest

from jishan_agent.loop import KeyboardPort
from jishan_agent.readers.scanners import (
    _PLAIN,
    _SHIFTED,
    EV_KEY,
    EVENT,
    GAP_MS,
    MAX_TEXT,
    REPEAT_MS,
    Scanner,
    ScannerSettings,
)

CODE = "482915036617204981"
ADDRESS = f"https://Jishan.example:8443/p/{CODE}?a=1&b_2"
PATIENCE_S = 20
KEYS = ScannerSettings("keys")
LEFT_SHIFT, ENTER = 42, 28


def event(kind: int, code: int, value: int) -> bytes:
    return EVENT.pack(1_700_000_000, 123_456, kind, code, value)


def typed(text: str) -> bytes:
    """What a scanner that types says of a text: each key down and up, with what stands between them."""
    raw = b""
    for sign in text:
        code = next((code for code, plain in _PLAIN.items() if plain == sign), None)
        shift = code is None
        if shift:
            code = next(code for code, shifted in _SHIFTED.items() if shifted == sign)
        assert code is not None
        raw += event(EV_KEY, LEFT_SHIFT, 1) if shift else b""
        raw += event(4, 4, 458_782) + event(EV_KEY, code, 1) + event(0, 0, 0)
        raw += event(EV_KEY, code, 0) + event(0, 0, 0)
        raw += event(EV_KEY, LEFT_SHIFT, 0) if shift else b""
    return raw + event(EV_KEY, ENTER, 1) + event(EV_KEY, ENTER, 0) + event(0, 0, 0)


@pytest.mark.parametrize(
    ("data", "texts"),
    [
        (CODE.encode() + b"\r\n", [CODE]),
        (CODE.encode() + b"\t", [CODE]),
        (b"]Q1" + CODE.encode() + b"\r", [CODE]),
        (b"\x02" + CODE.encode() + b"\x03\r\n", [CODE]),
        (b"1\r2\n", ["1", "2"]),
        (b"\r\n\r\n", []),
        (ADDRESS.encode() + b"\r\n", [ADDRESS]),
        ("积善\n".encode(), ["\ufffd" * 6]),
    ],
)
def test_a_line_is_a_text(data: bytes, texts: list[str]) -> None:
    assert Scanner(ScannerSettings()).receive(data, 0) == texts
    scanner = Scanner(ScannerSettings())
    assert [text for byte in data for text in scanner.receive(bytes([byte]), 0)] == texts


@pytest.mark.parametrize("text", [CODE, "10000012", ADDRESS, "JSV1:box-1:j_1:7:13:soap:2:Wang:AbC-_xYz09"])
def test_a_scanner_that_types_is_read_key_by_key(text: str) -> None:
    assert Scanner(KEYS).receive(typed(text), 0) == [text]
    scanner = Scanner(KEYS)
    assert [found for byte in typed(text) for found in scanner.receive(bytes([byte]), 0)] == [text]


def test_what_a_scanner_puts_around_a_text_is_taken_off() -> None:
    scanner = Scanner(ScannerSettings(prefix="##", suffix="%"))
    assert scanner.receive(f"##{CODE}%\r\n".encode(), 0) == [CODE]


def test_a_code_that_is_held_there_is_one_scan() -> None:
    scanner, line = Scanner(ScannerSettings()), f"{CODE}\r\n".encode()
    assert scanner.receive(line, 0) == [CODE]
    assert scanner.receive(line, 400) == []
    assert scanner.receive(line, 400 + REPEAT_MS - 1) == []
    assert scanner.receive(line, 400 + 2 * REPEAT_MS) == [CODE]


def test_half_a_text_is_forgotten_and_noise_fills_no_memory() -> None:
    scanner, random = Scanner(ScannerSettings()), Random(1)
    assert scanner.receive(b"4829", 0) == []
    assert scanner.receive(b"15\n", GAP_MS + 1) == ["15"]
    for settings in (ScannerSettings(), KEYS):
        scanner = Scanner(settings)
        for _ in range(200):
            assert all(len(one) <= MAX_TEXT for one in scanner.receive(random.randbytes(97), 0))
        assert len(scanner._text) <= MAX_TEXT
        assert len(scanner._bytes) < EVENT.size


def test_a_keyboard_device_is_read_and_opened_again(tmp_path: Path) -> None:
    pipe, heard = tmp_path / "scanner-event-kbd", queue.SimpleQueue[str]()
    scanner, failures = Scanner(KEYS), queue.SimpleQueue[None]()

    def received(data: bytes) -> None:
        for text in scanner.receive(data, 0):
            heard.put(text)

    port = KeyboardPort(str(pipe), received, lambda: failures.put(None))
    os.mkfifo(pipe)
    # Both ends are held open: a pipe without a writer is at its end.
    writer = os.open(pipe, os.O_RDWR)
    port.start()
    try:
        os.write(writer, typed(CODE))
        assert heard.get(timeout=PATIENCE_S) == CODE
        os.write(writer, typed("10000012"))
        assert heard.get(timeout=PATIENCE_S) == "10000012"
    finally:
        port.stop()
        os.close(writer)
    assert failures.empty()

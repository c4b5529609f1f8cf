"""What stands in `docs/vectors/mqtt-board.json`: payloads, good and bad, and conversations with a board.

For people who write a board in another language. Run `python tests/protocol/mqtt_board_vectors.py` to write the file
anew after a change of the contract.
"""

from __future__ import annotations

import json
import pathlib
from typing import Any

from jishan_protocol.dispensers import mqtt_board as board
from jishan_protocol.dispensers.mqtt_board import Outcome
from jishan_protocol.envelope import mac_of

PATH = pathlib.Path(__file__).parents[2] / "docs" / "vectors" / "mqtt-board.json"
KEY = bytes(range(32))
BOARD = "board-1"
STORE = 198_273_645_546_372
NONCE = 86_420_975_318_642

GOOD: tuple[board.Message, ...] = (
    board.Hello(41),
    board.Check(42, 13),
    board.Vend(STORE, 7, NONCE, 13, 19_687),
    board.Query(STORE, 7),
    board.Ack(STORE, 7),
    board.State(41, STORE, 3, 6, False, "closed", 231),
    board.State(0, STORE, 3, 7, True, "unknown", None),
    board.Ready(42, 13, STORE, 7, NONCE, True, "ready"),
    board.Ready(43, 14, STORE, 7, NONCE, False, "empty"),
    board.Result(STORE, 7, NONCE, 13, Outcome.RUNNING, "turning", False),
    board.Result(STORE, 7, NONCE, 13, Outcome.DISPENSED, "dispensed", True),
    board.Result(STORE, 7, NONCE, 13, Outcome.NOT_DISPENSED, "jammed", False),
    board.Result(STORE, 7, NONCE, 13, Outcome.UNKNOWN, "power_cut", False),
    board.Result(STORE, 7, 0, 0, Outcome.REFUSED, "fenced", False),
    board.Result(STORE, 6, 0, 0, Outcome.ACKNOWLEDGED, "acknowledged", False),
    board.Result(STORE + 1, 7, 0, 0, Outcome.OTHER_STORE, "other_store", False),
    board.Result(STORE, 9, 0, 0, Outcome.NOT_GIVEN, "not_given", False),
    board.Pressed(3, 1, 13),
    board.Pressed(3, 2, 0),
    board.Slot(13, True, "ready", 4),
)


def _payloads() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []

    def add(name: str, direction: board.Direction, payload: bytes, expect: str = "ok", why: str = "") -> None:
        topic = board.topic(BOARD, direction)
        rows.append({"name": name, "topic": topic, "payload": payload.decode(), "expect": expect, "why": why})

    def signed(content: bytes, direction: board.Direction = "d") -> bytes:
        return board.seal(content, BOARD, direction, KEY)

    for message in GOOD:
        direction: board.Direction = "d" if type(message) in board.TYPES["d"].values() else "u"
        name = type(message).__name__.lower()
        if isinstance(message, board.Result):
            name = f"{name} {message.outcome}"
        add(name, direction, signed(board.encode(message), direction))
    content = board.encode(GOOD[2])
    vend = signed(content)
    add("white space and another order", "d", signed(json.dumps(dict(reversed(json.loads(content).items()))).encode()))
    add("a MAC with one bit flipped", "d", bytes([vend[0] ^ 1]) + vend[1:], "forged")
    add("a selection changed after signing", "d", vend.replace(b'"selection":13', b'"selection":14'), "forged")
    add("sent back up", "u", vend, "forged", "direction and topic are signed too")
    other = mac_of(KEY, "d", board.topic("board-2", "d"), content).encode() + b"." + content
    add("signed for another board", "d", other, "forged")
    add("another board's key", "d", board.seal(content, BOARD, "d", bytes(32)), "forged")
    add("a MAC in capital letters", "d", vend[:64].upper() + vend[64:], "forged")
    add("no full stop", "d", vend[:64] + vend[65:], "malformed")
    add("empty", "d", b"", "malformed")
    add("without a MAC", "d", content, "malformed")
    add("more than 1024 bytes", "d", signed(content + b" " * 1024), "oversized")
    add("not JSON", "d", signed(b"{'v':1}"), "malformed")
    add("a line break", "d", signed(content.replace(b",", b",\n", 1)), "malformed", "a message is one line")
    add("a float", "d", signed(content.replace(b'"number":7', b'"number":7.0')), "malformed")
    add("an exponent", "d", signed(content.replace(b'"number":7', b'"number":7e0')), "malformed")
    add("an integer of 2^53", "d", signed(content.replace(str(STORE).encode(), str(2**53).encode())), "malformed")
    add("a member twice", "d", signed(content[:-1] + b',"number":8}'), "malformed")
    add("version 2", "d", signed(content.replace(b'"v":1', b'"v":2')), "malformed")
    add("version true", "d", signed(content.replace(b'"v":1', b'"v":true')), "malformed")
    add("a list", "d", signed(b"[1]"), "malformed")
    add("nested too deep", "d", signed(b"[" * 400 + b"]" * 400), "malformed")
    add("a type that is none", "d", signed(content.replace(b'"vend"', b'"spin"')), "unknown_type")
    add("a type of the other direction", "d", signed(board.encode(GOOD[5])), "unknown_type")
    add("a member too many", "d", signed(content[:-1] + b',"fast":true}'), "bad_body", "vend.fast")
    add("a member missing", "d", signed(content.replace(b'"number":7,', b"")), "bad_body", "vend.number")
    add("number 0", "d", signed(content.replace(b'"number":7', b'"number":0')), "bad_body", "vend.number")
    add("a number in quotes", "d", signed(content.replace(b'"number":7', b'"number":"7"')), "bad_body", "vend.number")
    add("no time to live", "d", signed(content.replace(b"19687", b"0")), "bad_body", "vend.ttl_ms")
    add("a time to live of an hour", "d", signed(content.replace(b"19687", b"3600000")), "bad_body", "vend.ttl_ms")
    add("true for a number", "d", signed(content.replace(b'"number":7', b'"number":true')), "bad_body", "vend.number")
    result = board.encode(GOOD[10])
    add("an outcome that is none", "u", signed(result.replace(b'"dispensed"', b'"done"', 1), "u"), "bad_body")
    add("1 for true", "u", signed(result.replace(b"true", b"1"), "u"), "bad_body", "result.is_verified")
    return rows


def down(type_name: str, **members: Any) -> dict[str, Any]:
    return {"down": {"v": 1, "type": type_name, **members}}


def up(type_name: str, **members: Any) -> dict[str, Any]:
    return {"up": {"v": 1, "type": type_name, **members}}


def _check(ask: int, number: str, nonce: str) -> list[dict[str, Any]]:
    return [
        down("check", ask=ask, selection=1),
        up("ready", ask=ask, selection=1, store="$store", number=number, nonce=nonce, is_sellable=True, code="ready"),
    ]


def _vend(number: str, nonce: str, ttl_ms: int = 20_000, store: str = "$store") -> dict[str, Any]:
    return down("vend", store=store, number=number, nonce=nonce, selection=1, ttl_ms=ttl_ms)


def _result(number: str, nonce: str | int, outcome: str, code: str, **members: Any) -> dict[str, Any]:
    about = {"store": "$store", "number": number, "nonce": nonce, "selection": 1 if nonce else 0}
    return up("result", **about | {"outcome": outcome, "code": code, "is_verified": outcome == "dispensed"} | members)


_ACCEPTED = _result("$a", "$m", "running", "$code1")
_DISPENSED = _result("$a", "$m", "dispensed", "$code2")
_QUERY = down("query", store="$store", number="$a")

CONVERSATIONS: dict[str, list[dict[str, Any]]] = {
    "a vend, its result, and its end": [
        *_check(1, "$a", "$m"),
        _vend("$a", "$m"),
        _ACCEPTED,
        _DISPENSED,
        down("ack", store="$store", number="$a"),
        _QUERY,
        _result("$a", 0, "acknowledged", "$code3"),
        *_check(2, "$b", "$n"),
        {"drops": 1},
    ],
    "a doubled vend turns the motor once and gets the stored result": [
        *_check(1, "$a", "$m"),
        _vend("$a", "$m"),
        _ACCEPTED,
        _vend("$a", "$m"),
        _result("$a", "$m", "running", "$code3"),
        _DISPENSED,
        _vend("$a", "$m"),
        _DISPENSED,
        {"drops": 1},
    ],
    "a query before the vend refuses it for ever": [
        *_check(1, "$a", "$m"),
        _QUERY,
        _result("$a", 0, "refused", "$code1"),
        _vend("$a", "$m"),
        _result("$a", 0, "refused", "$code2"),
        {"power_cut": True},
        _vend("$a", "$m"),
        _QUERY,
        _result("$a", 0, "refused", "$code3"),
        {"drops": 0},
    ],
    "a vend that comes too late is refused, and stays so": [
        *_check(1, "$a", "$m"),
        {"wait_ms": 5_001},
        _vend("$a", "$m", ttl_ms=5_000),
        _result("$a", 0, "refused", "expired"),
        *_check(2, "$b", "$n"),
        _vend("$a", "$n"),
        _result("$a", 0, "refused", "$code1"),
        {"drops": 0},
    ],
    "a newer nonce makes the older one worthless": [
        *_check(1, "$a", "$m"),
        *_check(2, "$a", "$n"),
        _vend("$a", "$m"),
        _result("$a", 0, "refused", "nonce"),
        {"drops": 0},
    ],
    "a doubled check gives the same nonce": [
        *_check(1, "$a", "$m"),
        *_check(1, "$a", "$m"),
        _vend("$a", "$m"),
        _ACCEPTED,
        _DISPENSED,
        {"drops": 1},
    ],
    "a nonce does not outlive the power": [
        *_check(1, "$a", "$m"),
        {"power_cut": True},
        _vend("$a", "$m"),
        _result("$a", 0, "refused", "nonce"),
        {"drops": 0},
    ],
    "a result outlives the power until it is acknowledged": [
        *_check(1, "$a", "$m"),
        _vend("$a", "$m"),
        _ACCEPTED,
        _DISPENSED,
        {"power_cut": True},
        _DISPENSED,
        down("ack", store="$store", number="$a"),
        {"power_cut": True},
        _QUERY,
        _result("$a", 0, "acknowledged", "$code3"),
        {"drops": 1},
    ],
    "another store proves nothing and changes nothing": [
        *_check(1, "$a", "$m"),
        _vend("$a", "$m", store="$other"),
        up(
            "result",
            store="$other",
            number="$a",
            nonce=0,
            selection=0,
            outcome="other_store",
            code="$c",
            is_verified=False,
        ),
        down("query", store="$other", number="$a"),
        up(
            "result",
            store="$other",
            number="$a",
            nonce=0,
            selection=0,
            outcome="other_store",
            code="$c",
            is_verified=False,
        ),
        down("ack", store="$other", number="$a"),
        _vend("$a", "$m"),
        _ACCEPTED,
        _DISPENSED,
        {"drops": 1},
    ],
    "a number that was never given is not fenced": [
        *_check(1, "$a", "$m"),
        down("query", store="$store", number="$a+1"),
        _result("$a+1", 0, "not_given", "$code3"),
        _vend("$a", "$m"),
        _ACCEPTED,
        _DISPENSED,
        {"drops": 1},
    ],
    "an acknowledgement runs not ahead of its number": [
        *_check(1, "$a", "$m"),
        down("ack", store="$store", number="$a"),
        _QUERY,
        _result("$a", 0, "refused", "$code1"),
        _QUERY,
        _result("$a", 0, "refused", "$code2"),
        {"drops": 0},
    ],
    "an acknowledgement of what is not there yet is nothing": [
        *_check(1, "$a", "$m"),
        down("ack", store="$store", number="$a"),
        _vend("$a", "$m"),
        _ACCEPTED,
        down("ack", store="$store", number="$a"),
        _DISPENSED,
        _QUERY,
        _DISPENSED,
        {"drops": 1},
    ],
}


def vectors() -> dict[str, Any]:
    """Everything that the file holds."""
    return {
        "about": "What boards and agents say over MQTT. `expect` is `ok`, or the reason why a payload is refused.",
        "key_hex": KEY.hex(),
        "board": BOARD,
        "vectors": _payloads(),
        "about_conversations": (
            "The board holds items in selection 1 and nothing is wrong with it. `down` is said to it, `up` is what it "
            "says next, besides `state`, and besides results that it says again by itself. `$x` is any number or code, "
            "the same wherever it stands in one conversation; `$a+1` is one more than `$a`; `$other` is a store that "
            "is not the board's. `power_cut`: off and on again. `drops`: how many items have left the machine."
        ),
        "conversations": [{"name": name, "steps": steps} for name, steps in CONVERSATIONS.items()],
    }


def text() -> str:
    """The file's text."""
    return json.dumps(vectors(), ensure_ascii=False, indent=1) + "\n"


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")

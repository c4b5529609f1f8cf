"""Every refusal is said in words, in Chinese and in English, with every place filled.

The codes and their fields are read from the source: from each `DomainError("code", field=...)` and `Refused(...)`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

import pytest

import jishan_server
from jishan_protocol.messages import decode, encode
from jishan_server.errors import CODES, DomainError
from jishan_server.vending.redemptions import denied

SERVER = Path(jishan_server.__file__).parent
AT_THE_MACHINE = ("vending/deciding.py", "vending/redemptions.py", "people/credentials.py")
OF_A_HOLD = ("not_enough_points", "account_frozen", "account_unknown", "points_invalid")
"""What the ledger answers to the hold of a redemption."""

CALMING = re.compile("没有扣分|积分都在|没有改动|没有变动|没有找到")
"""What a person in front of a machine wants to know first: my points are still there."""


def raised(*names: str) -> Iterator[tuple[str, frozenset[str] | None, str]]:
    """(code, names of its fields or None where only the run knows them, place) of each refusal in these files."""
    for name in names:
        for call in ast.walk(ast.parse((SERVER / name).read_text())):
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
                continue
            place = f"{name}:{call.lineno}"
            if call.func.id == "DomainError" and isinstance(call.args[0], ast.Constant):
                fields = [one.arg for one in call.keywords]
                known = frozenset(one for one in fields if one is not None)
                yield str(call.args[0].value), None if None in fields else known, place
            elif call.func.id == "Refused" and isinstance(call.args[1], ast.Constant):
                given = call.args[2] if len(call.args) > 2 else ast.Dict([], [])
                assert isinstance(given, ast.Dict), place
                yield str(call.args[1].value), frozenset(ast.literal_eval(one) for one in given.keys if one), place


EVERYWHERE = list(raised(*(str(path.relative_to(SERVER)) for path in sorted(SERVER.rglob("*.py")))))


def places(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


def test_the_source_was_read() -> None:
    assert len(EVERYWHERE) > 80
    assert {"not_enough_points", "sold_out", "pin_locked"} <= {code for code, _, _ in EVERYWHERE}


def test_every_refusal_is_given_what_its_texts_have_places_for() -> None:
    for code, fields, place in EVERYWHERE:
        assert code in CODES, place
        for text in (CODES[code].zh, CODES[code].en):
            # Fields that only the run knows are optional ones, which no text has a place for.
            assert places(text) <= (fields or set()), (place, text)


@pytest.mark.parametrize("code", CODES)
def test_a_code_has_a_chinese_and_an_english_text(code: str) -> None:
    row = CODES[code]
    assert re.fullmatch("[a-z_]+", code)
    assert 400 <= row.status < 600
    assert places(row.zh) == places(row.en)
    assert re.search("[一-龥]", row.zh)
    assert row.zh.endswith("。")
    # Chinese has its own comma, colon and brackets.
    assert not re.search("[一-龥}][,:;(!?]|[,:;)!?][一-龥{]", row.zh)
    assert row.en.isascii()
    assert row.en.endswith(".")
    assert row.en[0].isupper()


@pytest.mark.parametrize("code", sorted({code for code, _, _ in raised(*AT_THE_MACHINE)} | set(OF_A_HOLD)))
def test_every_denial_fits_into_its_message_and_says_that_no_points_are_lost(code: str) -> None:
    fields = dict.fromkeys(places(CODES[code].zh) | places(CODES[code].en), 1_000_000)
    answer = denied("a" * 32, DomainError(code, **fields))
    type_name, body = encode(answer)
    assert decode("answer", type_name, body) == answer
    for text in (answer.text_zh, answer.text_en):
        assert not set(text) & set("{}?")
    assert CALMING.search(answer.text_zh)
    assert len(answer.text_zh) <= 60, "one look at a small screen"

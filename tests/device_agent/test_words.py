"""What the machine says: every code has a Chinese and an English sentence, and every place in them is filled."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import jishan_agent
from jishan_agent import agent
from jishan_agent.words import WORDS, say

PLACES = {"name_zh": "𠮷祥肥皂", "name_en": "soap", "points": 2}


@pytest.mark.parametrize("code", WORDS)
def test_a_code_has_a_chinese_and_an_english_sentence(code: str) -> None:
    said = say(code, **PLACES)
    assert re.search("[一-龥]", said.zh)
    assert said.zh.endswith("。")
    # Chinese has its own comma, colon and brackets.
    assert not re.search("[一-龥}][,:;(!?]|[,:;)!?][一-龥{]", said.zh)
    assert said.en.isascii()
    assert said.en.endswith(".")
    assert not set(said.zh + said.en) & set("{}")


def test_every_code_that_is_said_has_its_words() -> None:
    said = {
        word.value
        for path in Path(jishan_agent.__file__).parent.rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
        if call.func.id in ("say", "_refused", "_press_again")
        for word in call.args
        if isinstance(word, ast.Constant)
    }
    assert {"welcome", "changed", "card_blocked"} <= said
    assert said <= WORDS.keys()


def test_every_reason_not_to_sell_has_its_words() -> None:
    (found,) = (
        one
        for one in ast.walk(ast.parse(Path(agent.__file__).read_text()))
        if isinstance(one, ast.FunctionDef) and one.name == "_why_not_selling"
    )
    pairs = [one for one in ast.walk(found) if isinstance(one, ast.Tuple) and len(one.elts) == 2]
    reasons = {pair.elts[0].value for pair in pairs if isinstance(pair.elts[0], ast.Constant)}
    assert {"offline", "door_open"} <= reasons
    assert reasons <= WORDS.keys()

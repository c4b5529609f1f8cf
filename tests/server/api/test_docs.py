"""The examples of docs/http-api.md, run in their order against a real server."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from office import Office

PAGE = Path(__file__).parents[3] / "docs" / "http-api.md"


def holds(said: Any, told: Any) -> bool:
    """Whether an answer holds everything that the page tells of it."""
    if isinstance(told, dict):
        return isinstance(said, dict) and all(name in said and holds(said[name], told[name]) for name in told)
    if isinstance(told, list):
        return isinstance(said, list) and len(said) >= len(told) and all(map(holds, said, told))
    return bool(said == told)


def test_every_example_answers_as_the_page_says(office: Office) -> None:
    examples = re.findall(r"```http\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(examples) > 10
    known = {"resident": office.people.residents[0].id, "last": ""}
    for example in examples:
        for name, value in known.items():
            example = example.replace(f"{{{name}}}", value)
        first, *body, last = example.strip().splitlines()
        asked = re.fullmatch(r"([A-Z]+) (\S+) as (\w+)", first)
        answer = re.fullmatch(r"(\d{3}) (.*)", last)
        assert asked is not None, first
        assert answer is not None, last
        said = office.send(asked[1], asked[2], json.loads("".join(body)) if body else None, as_=asked[3])
        assert said.status_code == int(answer[1]), (first, said.text)
        assert holds(said.get_json(), json.loads(answer[2])), (first, said.text)
        known["last"] = said.get_json().get("id", known["last"])

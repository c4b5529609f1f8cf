"""Anything at all, sent to every route by somebody who may do everything: never a 5xx, always the one body of failures.

What is sent is drawn from the API's own description (right shapes, with wrong, missing and foreign parts) and from
nowhere (any JSON, any bytes). FUZZ_EXAMPLES=n sends n to each route.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).parent.parent))

from link_world import World
from office import Office, opened

from jishan_protocol.messages import OutcomeUnknown
from jishan_server.errors import CODES

EXAMPLES: Final = int(os.environ.get("FUZZ_EXAMPLES", "12"))
"""For each of some 220 routes; about 10 ms each."""

WORDS: Final = (
    "",
    " ",
    "x",
    "王建华",
    "𠮷🌸",
    "\x00",
    "a\nb",
    "\ud800",
    "é̂",
    "'; DROP TABLE transfers; --",
    "=1+1",
    "%s{0}{names}",
    "../../etc/passwd",
    "9" * 30,
    "x" * 3000,
)
GOOD_WORDS: Final = ("x", "扫雪", "𠮷🌸", "é̂", "=1+1", "'; DROP TABLE transfers; --", "%s{0}{names}")
NUMBERS: Final = (0, 1, -1, 13, 2**31, 2**53, 2**63 - 1, 2**63, -(2**63) - 1, 10**400, 0.5, -0.0, 1e308, True, None)
FORM: Final = frozenset({"json_invalid", "json_too_deep", "fields_invalid", "not_found", "bad_request"})
"""Refusals before any use case has looked."""

HARDLY: Final = frozenset(
    {
        # This server has no authority.
        "GET /api/v1/ca.pem",
        # Whose bodies have so many parts that few examples have all of them right.
        "POST /api/v1/activities",
        "POST /api/v1/activities/<id:activity_id>/sessions",
        "POST /api/v1/consent-texts",
        "POST /api/v1/residents/<id:resident_id>/memberships",
        "POST /api/v1/rules",
        "POST /api/v1/staff",
        "PUT /api/v1/memberships/<id:membership_id>",
        "PUT /api/v1/sessions/<id:session_id>",
        # Those of a resident's own, which the administrator who asks is not.
        "GET /api/v1/me/statement/month",
        "GET /api/v1/me/statement/month.csv",
    }
)
"""Routes that may come no further than the form of what is sent."""

KEYS: Final = count(1)
ARGUMENT: Final = re.compile(r"<(?:\w+:)?(\w+)>")
"""An argument in the path of a rule."""

Fields = Mapping[str, Any]


@pytest.fixture(scope="module")
def office(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """A server where something of everything exists: a machine, a redemption in doubt, an alert, a waiting credit."""
    with opened(sqlite_template, tmp_path_factory.mktemp("office")) as made:
        made.credit(0, 100)
        world = World(made.parts.engine)
        world.now = made.now
        box = world.machine()
        box.dispense(box.vend())
        box.say(OutcomeUnknown(box.vend(), "restarted"))
        world.close()
        body = {"resident_id": made.people.residents[0].id, "points": 5, "activity": "扫雪", "reason": "参加"}
        made.ok("POST", "/credits", body)
        yield made


@pytest.fixture(scope="module")
def known(office: Office) -> dict[str, list[Any]]:
    """Values that exist, by the name of the field or path argument that takes them."""
    resident = office.people.residents[0]
    cards = office.ok("GET", f"/residents/{resident.id}", as_="admin")["cards"]
    return {
        "estate_id": ["jiangpan"],
        "organization_id": ["jiangpan", "hongya"],
        "parent_id": ["qingyijiang"],
        "resident_id": [one.id for one in office.people.residents],
        "card_id": [card["id"] for card in cards],
        "uid": ["00745A70", "0A0B0C0D"],
        "pin": ["123456"],
        "login": ["admin", "new.person"],
        "password": ["a long password"],
        "machine_id": ["box-1", "box-2"],
        "product_id": ["soap"],
        "selection": [13, 14, 9999],
        "credit_id": [one["id"] for one in office.ok("GET", "/credits", as_="admin")["items"]],
        "redemption_id": [one["id"] for one in office.ok("GET", "/redemptions", as_="admin")["items"]],
        "number": [one["number"] for one in office.ok("GET", "/alerts", as_="admin")["items"]],
        "subject_type": ["resident", "session", "organization"],
        "subject_id": [resident.id, "jiangpan", "nobody"],
        "skill": ["电工"],
        "first_day": ["2026-02-01"],
        "month": ["2026-02"],
        "from_day": ["2026-03-09"],
        "starts_at": ["2026-03-09T01:00:00Z"],
        "ends_at": ["2026-03-09T03:00:00Z"],
        "day": ["2026-02-01", "2026-08-01"],
        "attachment_ids": [["nobody"]],
        "due_day": ["2026-04-01"],
        "last_day": ["2026-12-31"],
        "known_on": ["2026-12-31"],
        "year": [2026],
        "import_kind": ["people", "hours"],
        "what": ["people", "credits"],
        "format": ["csv", "xlsx"],
        "valid_on": ["2026-02-01"],
        "before": ["2026-03-02T04:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"],
    }


def any_json() -> st.SearchStrategy[Any]:
    leaves = st.one_of(st.sampled_from(WORDS), st.sampled_from(NUMBERS), st.text(max_size=20), st.integers())
    return st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    )


def shaped(schema: Fields, schemas: Fields, known: Fields, name: str = "") -> st.SearchStrategy[Any]:
    """Values of a schema of the API's description; one in some is of no such shape."""
    if "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    kind = schema.get("type")
    fitting: st.SearchStrategy[Any]
    if name in known:
        fitting = st.sampled_from(known[name])
    elif "enum" in schema:
        fitting = st.sampled_from(schema["enum"])
    elif kind == "object" or "properties" in schema:
        members = {
            member: shaped(of, schemas, known, member) for member, of in sorted(schema.get("properties", {}).items())
        }
        needed = {member: members.pop(member) for member in schema.get("required", ())}
        fitting = st.fixed_dictionaries(needed, optional=members)
    elif kind == "array":
        fitting = st.lists(shaped(schema["items"], schemas, known), max_size=3)
    elif kind == "integer":
        fitting = st.integers(-2, 2000)
    elif kind == "boolean":
        fitting = st.booleans()
    else:
        fitting = st.sampled_from(GOOD_WORDS)
    # Rarely wrong, or hardly any whole body would be right enough to reach its use case.
    return st.integers(0, 15).flatmap(lambda chance: any_json() if chance == 15 else fitting)


def bodies(route: Fields, schemas: Fields, known: Fields) -> st.SearchStrategy[bytes]:
    """Bytes for a route: mostly JSON of its shape; with a foreign member; any JSON; broken JSON; anything."""
    content = route.get("requestBody", {}).get("content", {}).get("application/json", {})
    right = shaped(content.get("schema", {"type": "object"}), schemas, known)
    foreign = st.tuples(right, st.dictionaries(st.sampled_from(WORDS), any_json(), max_size=2)).map(
        lambda both: both[0] | both[1] if isinstance(both[0], dict) else both[0]
    )
    whole = st.one_of(right, right, right, foreign, any_json()).map(lambda value: json.dumps(value).encode())
    broken = st.tuples(whole, st.integers(0, 200), st.binary(max_size=3)).map(
        lambda parts: parts[0][: parts[1]] + parts[2] + parts[0][parts[1] + 1 :]
    )
    return st.one_of(whole, whole, whole, broken, st.binary(max_size=40))


def paths(rule: str, known: Fields) -> st.SearchStrategy[str]:
    """The paths of a rule: with ids that exist, that do not, and numbers too large for any database."""
    strange = st.sampled_from(["nobody", "0", "-", "x" * 40])
    large = st.sampled_from([0, 2**31, 2**63, 10**30])
    parts: list[st.SearchStrategy[str]] = []
    for place, text in enumerate(ARGUMENT.split(rule)):
        if place % 2 == 0:
            parts.append(st.just(text))
        else:
            other = large if text in ("number", "selection") else strange
            there = st.sampled_from(known[text]) if known.get(text) else strange
            parts.append(st.one_of(there, there, other).map(str))
    return st.tuples(*parts).map("".join)


def queries(route: Fields, schemas: Fields, known: Fields) -> st.SearchStrategy[dict[str, str]]:
    wanted = {
        one["name"]: shaped(one["schema"], schemas, known, one["name"]).map(str)
        for one in route.get("parameters", ())
        if one["in"] == "query"
    }
    needed = {
        one["name"]: wanted.pop(one["name"])
        for one in route.get("parameters", ())
        if one.get("required") and one["in"] == "query"
    }
    right = st.fixed_dictionaries(needed, optional=wanted)
    return st.one_of(
        right, right, st.fixed_dictionaries({}, optional=needed | wanted | {"foreign": st.text(max_size=5)})
    )


def routes(office: Office) -> list[tuple[str, str]]:
    """(method, path) of every route of the API; not DELETE, which would log out."""
    return [
        (method, rule.rule)
        for rule in office.client.application.url_map.iter_rules()
        for method in sorted(rule.methods or ())
        if method in ("GET", "POST", "PUT") and rule.rule.startswith("/api/v1/")
        # The documentation is no part of what it documents.
        if not rule.endpoint.startswith(("docs.", "api-docs."))
    ]


def test_whatever_is_sent_to_any_route_is_done_or_refused_in_the_one_form(
    office: Office, known: dict[str, list[Any]]
) -> None:
    described = office.client.get("/api/v1/openapi.json").get_json()
    schemas = described["components"]["schemas"]
    headers = {"Authorization": f"Bearer {office.token('admin')}"}
    codes: dict[str, set[str]] = {}

    def send(method: str, name: str, path: str, query: dict[str, str], body: bytes | None) -> None:
        key = {"Idempotency-Key": f"fuzz-key-{next(KEYS)}"} if method == "POST" else {}
        answer = office.client.open(
            path,
            method=method,
            query_string={key: value.encode(errors="replace").decode() for key, value in query.items()},
            data=body,
            content_type="application/json" if body else None,
            headers=headers | key,
        )
        assert answer.status_code < 500, answer.text
        codes.setdefault(name, set()).add("done" if answer.status_code < 300 else answer.get_json()["code"])
        if answer.status_code >= 300:
            said = answer.get_json()
            assert said.keys() == {"code", "message", "message_zh", "message_en", "fields", "request_id"}
            assert CODES[said["code"]].status == answer.status_code
            assert all(said[text].strip() for text in ("message", "message_zh", "message_en"))

    for method, path in routes(office):
        name = f"{method} {path}"
        about = described["paths"][ARGUMENT.sub(r"{\1}", path)]
        about = {"parameters": [], **about[method.lower()]}
        query = queries(about, schemas, known)
        body = st.none() if method == "GET" else bodies(about, schemas, known)
        settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize="FUZZ_EXAMPLES" not in os.environ,
            suppress_health_check=list(HealthCheck),
        )(given(st.just(method), st.just(name), paths(path, known), query, body)(send))()
    # What comes no further than this was judged by its form alone.
    unreached = {name for name, found in codes.items() if found <= FORM}
    assert unreached <= HARDLY, sorted(unreached - HARDLY)

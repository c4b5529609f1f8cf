"""What the API's own description says, asked of the API: no 5xx, and no answer that the description does not know.

Schemathesis draws right and wrong requests from the OpenAPI document, and holds each answer against it: its status, its
type, its shape. FUZZ_EXAMPLES=n draws n for each operation.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import CHECKS

sys.path.append(str(Path(__file__).parent.parent))

from office import Office, opened

EXAMPLES: Final = int(os.environ.get("FUZZ_EXAMPLES", "6"))
ASKED: Final = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)
KEYS: Final = count(1)


@pytest.fixture(scope="module")
def office(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    with opened(sqlite_template, tmp_path_factory.mktemp("office")) as made:
        made.credit(0, 100)
        body = {"resident_id": made.people.residents[0].id, "points": 5, "activity": "扫雪", "reason": "参加"}
        made.ok("POST", "/credits", body)
        yield made


@pytest.fixture(scope="module")
def there(office: Office) -> dict[str, str]:
    """Something that exists for an argument of a path: what follows the form alone would never reach it."""
    return {
        "resident_id": office.people.residents[0].id,
        "estate_id": office.people.estate_id,
        "credit_id": office.ok("GET", "/credits", as_="admin")["items"][-1]["id"],
        "staff_id": office.people.staff[1].id,
    }


def test_every_answer_is_one_that_the_description_knows(office: Office, there: dict[str, str]) -> None:
    described = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", office.client.application)
    checks = [check for check in CHECKS.get_all() if check.__name__ in ASKED]
    assert len(checks) == len(ASKED)
    token = office.token("admin")
    numbers: dict[str, int] = {}

    def ask(case: Any) -> None:
        number = numbers[case.operation.label] = numbers.get(case.operation.label, 0) + 1
        if number % 2:
            case.path_parameters = {
                name: there.get(name, value) for name, value in (case.path_parameters or {}).items()
            }
        # Never a token of its own making: ending it would end the test.
        given_headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": f"described-{next(KEYS):08}"}
        case.headers = {**(case.headers or {}), **given_headers}
        case.validate_response(case.call(), checks=checks)

    for found in described.get_all_operations():
        operation = found.ok()
        if (operation.method, operation.path) == ("delete", "/api/v1/auth/token"):
            continue
        settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize="FUZZ_EXAMPLES" not in os.environ,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
        )(given(operation.as_strategy())(ask))()
    assert len(numbers) > 50

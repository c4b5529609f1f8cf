"""The scheme's rules as dated versions: which hold for work of a day, and how new ones are made.

A version is for work from its `from_day` on, until a later one begins; the newest of one day holds. What was worked
before keeps the version of its day, whenever it is recorded: so a version begins tomorrow at the earliest. The first
one is made from the settings, and holds for all days before too. Presets are documents in `presets/`, never code.
"""

import json
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from importlib import resources
from typing import Any, Final

from sqlalchemy import Connection, func, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from jishan_server import audit
from jishan_server.errors import DomainError
from jishan_server.instants import iso
from jishan_server.organizations.calendar import parse_day
from jishan_server.organizations.roles import SYSTEM, Permission, permit_everywhere, scope
from jishan_server.volunteering.credit_tables import rule_versions
from jishan_server.volunteering.rules import CreditRules, RuleSet, read
from jishan_server.writer import Operation

FIRST: Final = 1
FIRST_NOTE: Final = "settings"


@dataclass(frozen=True, slots=True)
class MakeRules:
    """`document` is the JSON text of what `rules.read` reads; `from_day` is YYYY-MM-DD, `note` says why."""

    actor: str
    document: str
    from_day: str
    note: str


def ensure_first(connection: Connection, settings: CreditRules, now: datetime) -> None:
    """Make the first version from the settings, unless there is one: later settings change nothing."""
    if connection.scalar(select(rule_versions.c.version).limit(1)) is not None:
        return
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    row = {
        "version": FIRST,
        "from_day": now.astimezone(settings.zone).date().isoformat(),
        "document": json.dumps(settings.document(), sort_keys=True),
        "made_by": SYSTEM,
        "made_at": now,
        "note": FIRST_NOTE,
    }
    connection.execute(dialect.insert(rule_versions).values(row).on_conflict_do_nothing(index_elements=["version"]))


class Versions:
    """Every version of the scheme, read once: `on` gives the rules of a day, `of` those of a version."""

    def __init__(self, connection: Connection) -> None:
        v = rule_versions.c
        rows = connection.execute(select(v.version, v.from_day, v.document).order_by(v.from_day, v.version)).all()
        # Before its first use a server that only reads goes by the default settings.
        known = [(row.from_day, _parsed(row.document, row.version)) for row in rows]
        self._known = known or [("", read(CreditRules().document(), FIRST))]

    def on(self, day: date) -> RuleSet:
        """The rules of work of a local day."""
        begun = [rules for from_day, rules in self._known if from_day <= day.isoformat()]
        return begun[-1] if begun else self._known[0][1]

    def of(self, label: str) -> RuleSet:
        """The rules that a credit names; the first for one from before there were versions."""
        return next((rules for _, rules in self._known if rules.label == label), self._known[0][1])


@lru_cache(maxsize=200)
def _parsed(document: str, version: int) -> RuleSet:
    return read(json.loads(document), version)


def rules_on(connection: Connection, day: date) -> RuleSet:
    """The rules of work of a local day."""
    return Versions(connection).on(day)


def make_rules(connection: Connection, operation: Operation, now: datetime, settings: CreditRules) -> dict[str, Any]:
    """Add a version that begins tomorrow or later. Refusals: forbidden, rules_invalid, day_invalid, rules_day_past."""
    body: MakeRules = operation.body
    permit_everywhere(connection, body.actor, Permission.RULES_WRITE)
    from_day = parse_day(body.from_day)
    today = now.astimezone(settings.zone).date()
    ensure_first(connection, settings, now)
    version = connection.execute(select(func.max(rule_versions.c.version))).scalar_one() + 1
    document = json.loads(body.document)
    read(document, version)
    if from_day <= today:
        raise DomainError("rules_day_past", day=body.from_day)
    connection.execute(
        insert(rule_versions).values(
            version=version,
            from_day=body.from_day,
            document=json.dumps(document, sort_keys=True, ensure_ascii=False),
            made_by=body.actor,
            made_at=now,
            note=body.note,
        )
    )
    audit.record(
        connection,
        now,
        actor=body.actor,
        action="rules_made",
        subject=("rules", str(version)),
        operation_id=operation.id,
        details={"from_day": body.from_day},
    )
    return view(connection, version)


def versions(connection: Connection, actor: str) -> list[dict[str, Any]]:
    """Every version, newest first; refusal: forbidden."""
    scope(connection, actor, Permission.RULES_READ)
    rows = connection.execute(select(rule_versions).order_by(rule_versions.c.version.desc())).mappings()
    return [_view(dict(row)) for row in rows]


def on_day(connection: Connection, actor: str, day: str) -> dict[str, Any]:
    """The version that holds for work of a day; refusals: forbidden, day_invalid, rules_unknown."""
    scope(connection, actor, Permission.RULES_READ)
    return view(connection, rules_on(connection, parse_day(day)).version)


def view(connection: Connection, version: int) -> dict[str, Any]:
    """One version; refusal: rules_unknown."""
    row = connection.execute(select(rule_versions).where(rule_versions.c.version == version)).mappings().one_or_none()
    if row is None:
        raise DomainError("rules_unknown", version=version)
    return _view(dict(row))


def presets(connection: Connection, actor: str) -> list[dict[str, Any]]:
    """`preset_documents` for `actor`; refusal: forbidden."""
    scope(connection, actor, Permission.RULES_READ)
    return preset_documents()


def preset_documents() -> list[dict[str, Any]]:
    """The documents that come with the product: name, title in zh and en, document."""
    folder = resources.files("jishan_server.volunteering") / "presets"
    files = sorted((one for one in folder.iterdir() if one.name.endswith(".json")), key=lambda one: one.name)
    return [{"name": one.name.removesuffix(".json"), **json.loads(one.read_text("utf-8"))} for one in files]


def _view(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"document": json.loads(row["document"]), "made_at": iso(row["made_at"])}

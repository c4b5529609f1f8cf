"""What a conformance run found: findings, the profile that fits them, and the report as JSON and as a page.

Pure. A finding says which rule was tried, whether the controller agrees, and what was seen. `settings` are what a
finding says about the profile: together they choose the built-in one that fits best, and what is left over becomes
settings of one's own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from html import escape
from typing import Any, Final, Protocol

Meanwhile = Callable[[], object]
"""Serves the line for a moment: a controller is not left without answers while a person thinks."""

Ask = Callable[[str, Meanwhile], bool | None]
"""Asks the person in front of the machine: yes, no, or None where nobody answers. Calls the other until then."""


class Verdict(StrEnum):
    """What a step came to. NOTED is something learnt where no rule says what is right."""

    AGREES = "agrees"
    DIFFERS = "differs"
    NOTED = "noted"
    NOT_TRIED = "not_tried"


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule that was tried, and what was seen."""

    step: str
    rule: str
    verdict: Verdict
    detail: str
    settings: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fitting:
    """The built-in profile that fits best, and the settings in which the controller differs even from that."""

    profile: str
    settings: Mapping[str, object]

    @property
    def toml(self) -> str:
        """As it stands in a file of profiles; empty where the built-in one is enough."""
        if not self.settings:
            return ""
        lines = [f"{name} = {json.dumps(value)}" for name, value in self.settings.items()]
        return "\n".join(["[dispenser.mine]", f'like = "{self.profile}"', *lines, ""])


@dataclass(frozen=True, slots=True)
class Report:
    """A whole run. `started_at` is in words, as the person's own clock says."""

    face: str
    port: str
    started_at: str
    findings: Sequence[Finding]
    fitting: Fitting

    def count(self, verdict: Verdict) -> int:
        """How many findings came to this."""
        return sum(one.verdict is verdict for one in self.findings)

    def json(self) -> str:
        """For programs."""
        counts = {str(verdict): self.count(verdict) for verdict in Verdict}
        findings = [{**asdict(one), "settings": dict(one.settings)} for one in self.findings]
        profile = {"name": self.fitting.profile, "settings": dict(self.fitting.settings), "toml": self.fitting.toml}
        told = {"face": self.face, "port": self.port, "started_at": self.started_at, "profile": profile}
        return json.dumps(told | {"counts": counts, "findings": findings}, ensure_ascii=False, indent=2) + "\n"

    def html(self) -> str:
        """For people: one page that needs nothing else."""
        rows = "".join(
            f'<tr class="{one.verdict}"><td>{escape(one.step)}</td><td>{escape(_WORDS[one.verdict])}</td>'
            f"<td>{escape(one.rule)}</td><td>{escape(one.detail)}</td></tr>\n"
            for one in self.findings
        )
        counts = ", ".join(f"{self.count(verdict)} {_WORDS[verdict]}" for verdict in Verdict)
        profile = f"<p>Set <code>dispenser_profile = &quot;{escape(self.fitting.profile)}&quot;</code>.</p>"
        if self.fitting.toml:
            profile = f"<p>Set this in a file of profiles:</p><pre>{escape(self.fitting.toml)}</pre>"
        return _PAGE.format(
            face=escape(self.face),
            port=escape(self.port),
            at=escape(self.started_at),
            rows=rows,
            counts=counts,
            profile=profile,
        )


_WORDS: Final = {
    Verdict.AGREES: "agrees",
    Verdict.DIFFERS: "differs",
    Verdict.NOTED: "noted",
    Verdict.NOT_TRIED: "not tried",
}
_PAGE: Final = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Conformance: {face} at {port}</title>
<style>
body {{ font-family: sans-serif; margin: 2em; max-width: 70em }}
table {{ border-collapse: collapse }}
td, th {{ border: 1px solid #999; padding: .3em .6em; text-align: left; vertical-align: top }}
.differs td:nth-child(2) {{ font-weight: bold; color: #a00 }}
.agrees td:nth-child(2) {{ color: #060 }}
</style>
</head>
<body>
<h1>{face} at {port}</h1>
<p>{at}: {counts}.</p>
{profile}
<table>
<thead><tr><th>step</th><th></th><th>rule</th><th>seen</th></tr></thead>
<tbody>
{rows}</tbody>
</table>
</body>
</html>
"""


class Wire(Protocol):
    """The line to the controller, with the only clock."""

    @property
    def now_ms(self) -> int: ...

    def write(self, data: bytes) -> None: ...

    def read(self, within_ms: int) -> bytes:
        """What comes next; empty where nothing comes in time."""


class Findings:
    """Collects what the steps of a run come to. A pack sets `meanwhile` where its line wants to be served."""

    def __init__(self, wire: Wire, ask: Ask, may_move: Ask, *, is_whole: bool = False) -> None:
        self.wire = wire
        self._ask = ask
        self._may_move = may_move
        self.meanwhile: Meanwhile = lambda: None
        self.is_whole = is_whole
        self.selection: int | None = None
        self.found: list[Finding] = []

    def ask(self, question: str) -> bool | None:
        """What the person has seen, or done."""
        return self._ask(question, self.meanwhile)

    def may_move(self, question: str) -> bool:
        """Whether the person agrees that something moves."""
        return bool(self._may_move(question, self.meanwhile))

    def rule(self, step: str, rule: str, holds: bool, detail: str, **settings: object) -> bool:
        """A rule that was tried."""
        verdict = Verdict.AGREES if holds else Verdict.DIFFERS
        self.found.append(Finding(step, rule, verdict, detail, settings))
        return holds

    def note(self, step: str, rule: str, detail: str, **settings: object) -> None:
        """Something learnt."""
        self.found.append(Finding(step, rule, Verdict.NOTED, detail, settings))

    def skip(self, step: str, rule: str, why: str) -> None:
        """A rule that was not tried."""
        self.found.append(Finding(step, rule, Verdict.NOT_TRIED, why))


def fitting(profiles: Mapping[str, Any], findings: Sequence[Finding]) -> Fitting:
    """The profile with the fewest settings unlike what was found; among equals the one most like `default`."""
    found: dict[str, object] = {}
    for one in findings:
        found |= one.settings

    def distance(name: str) -> tuple[int, int]:
        others = [one.name for one in fields(profiles[name]) if one.name != "name" and one.name not in found]
        unlike = sum(getattr(profiles[name], one) != getattr(profiles["default"], one) for one in others)
        return len(left_over(name)), unlike

    def left_over(name: str) -> dict[str, object]:
        return {setting: value for setting, value in found.items() if getattr(profiles[name], setting) != value}

    best = min(profiles, key=distance)
    return Fitting(best, left_over(best))

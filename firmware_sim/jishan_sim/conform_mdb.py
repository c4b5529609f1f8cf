"""The conformance pack of MDB machines behind a line adapter: the lines of docs/protocols/mdb-lines.md, rule by rule.

Nothing is ever approved, so nothing moves: a request of the machine's is denied. Pressing is the person's part.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from jishan_sim.conform_report import Findings

ANSWER_MS: Final = 2_000
ENABLED_MS: Final = 30_000
PRESS_MS: Final = 30_000
SETTINGS: Final = (
    ("mdb-addr", "0x10"),
    ("mdb-currency-code", "0x1156"),
    ("mdb-decimal-places", "0"),
    ("mdb-scale-factor", "1"),
    ("mdb-always-idle", "1"),
    ("mdb-timeout-vend", "180"),
)


class Lines:
    """Says a line, and gives the lines that come."""

    def __init__(self, findings: Findings) -> None:
        self.wire = findings.wire
        self.heard: list[str] = []
        self._rest = b""

    def listen(self, for_ms: int, until: Callable[[list[str]], bool]) -> list[str]:
        """The lines from now on, until they hold something, or the time is over."""
        end_ms, came = self.wire.now_ms + for_ms, list[str]()
        while not until(came) and (left_ms := end_ms - self.wire.now_ms) > 0:
            *whole, self._rest = (self._rest + self.wire.read(left_ms)).replace(b"\r", b"\n").split(b"\n")
            came += [line.decode("ascii", "replace") for line in whole if line]
        self.heard += came
        return came

    def ask(self, line: str, *starts: str, within_ms: int = ANSWER_MS) -> str | None:
        """The first line that begins with one of these; None where none does."""
        self.wire.write(line.encode("ascii") + b"\n")
        came = self.listen(within_ms, lambda lines: any(one.startswith(starts) for one in lines))
        return next((one for one in came if one.startswith(starts)), None)


def run_mdb(findings: Findings) -> None:
    """All steps."""
    lines = Lines(findings)

    def rule(step: str, words: str, said: str | None, **settings: object) -> bool:
        return findings.rule(step, words, said is not None, said or "no such line", **settings)

    if not rule("version", "V is answered by v with the software and an id", lines.ask("V", "v,")):
        return
    off = lines.ask("C,0", "c,0", "c,STATUS,OFFLINE", 'c,ERR,"cashless is off"')
    rule("off", "C,0 switches the cashless device off", off)
    if off is not None and "OFFLINE" in off:
        findings.note("off", "How it says so", "an adapter of older firmware; the driver reads both")
    refused = [name for name, value in SETTINGS if lines.ask(f"C,SETCONF,{name}={value}", "c,SET,OK") is None]
    findings.rule(
        "settings", "C,SETCONF is answered by c,SET,OK", not refused, f"refused: {refused}" if refused else "all"
    )
    rule("on", "C,1 switches it on", lines.ask("C,1", "c,STATUS,INACTIVE", "c,STATUS,ONLINE", "c,1"))
    came = lines.listen(ENABLED_MS, lambda heard: "c,STATUS,ENABLED" in heard)
    findings.rule("enabled", "The machine enables us within 30 s", "c,STATUS,ENABLED" in came, ", ".join(came[-5:]))
    rule(
        "asked", "C,1 once more says that it is on", lines.ask("C,1", 'c,ERR,"cashless is on"', "c,ERR,cashless is on")
    )
    words = "A press is told with its price, in whole points, and ends with C,STOP"
    if not findings.ask("Press any selection on the machine now. Have you?"):
        findings.skip("press", words, "nobody pressed")
        return
    came = lines.listen(PRESS_MS, lambda heard: any(one.startswith("c,STATUS,VEND") for one in heard))
    asked = next((one for one in came if one.startswith("c,STATUS,VEND")), None)
    if not rule("press", "A press becomes c,STATUS,VEND", asked):
        return
    assert asked is not None
    amount = asked.split(",")[3] if asked.count(",") > 2 else ""
    whole = amount.partition(".")[0].isdecimal() and not amount.partition(".")[2].strip("0") and amount != "0"
    findings.rule("price", "The price is a whole number of points", whole, asked)
    denied = lines.ask("C,STOP", "c,STATUS,IDLE", "c,STATUS,ENABLED")
    rule("denied", "C,STOP denies it, and the session ends", denied, deny_by="stop")

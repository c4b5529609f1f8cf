"""The story of `jishan-sim demo --once`: from a credit to an item that falls, and what happens when it does not."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from jishan_sim.demo_stage import (
    COUNTING,
    MACHINE,
    DemoFailed,
    MachineOnStage,
    Refused,
    Stage,
    add_machine,
    program,
    until,
)

UNKNOWN_CARD: Final = "DEADBEEF"


@dataclass(frozen=True, slots=True)
class Told:
    """One step of the story, as it went."""

    name: str
    ok: bool
    detail: str


def tell(stage: Stage, told: Callable[[Told], None]) -> bool:
    """Play every step; a step that fails does not keep the others from being played."""
    story = Story(stage)
    all_held = True
    for name, play in story.steps():
        began_s = time.monotonic()
        try:
            detail, ok = play(), True
        except DemoFailed as error:
            detail, ok = str(error), False
        stage.say(f"  {'ok' if ok else 'NO'}  {name} ({time.monotonic() - began_s:.1f} s): {detail}")
        told(Told(name, ok, detail))
        all_held = all_held and ok
    return all_held


class Story:
    """The steps, in order. Each gives what it saw, or raises DemoFailed."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.wang, self.liu, self.chen = stage.people["residents"][:3]
        self.proved = self.doubtful = ""

    def steps(self) -> list[tuple[str, Callable[[], str]]]:
        """Names and actions."""
        return [
            ("server, broker, machines and agents run", self.everything_runs),
            ("a credit is recorded", self.credit_is_recorded),
            ("the recorder may not approve it; another person does", self.another_approves),
            ("card, vend, capture", self.vend_is_captured),
            ("a jam gives the points back", self.jam_gives_back),
            ("too few points: refused with the reason", self.too_few_points),
            ("an unknown card is refused", self.unknown_card),
            ("kill -9 of two agents between motor and report", self.agents_are_killed),
            ("what the dispenser can prove is captured once", self.killed_and_proved),
            ("no proof: in doubt, points held, a person is told", self.killed_and_in_doubt),
            ("a person decides what is in doubt", self.person_decides),
            ("broker killed and started again in mid-vend", self.broker_restarts),
            ("ledger verify", self.ledger_is_clean),
        ]

    @property
    def machine(self) -> MachineOnStage:
        return self.stage.machines[MACHINE]

    def everything_runs(self) -> str:
        add_machine(self.stage, MACHINE, "demo")
        add_machine(self.stage, COUNTING, "demo-counting")
        for machine in self.stage.machines.values():
            until(f"{machine.id} sells", machine.is_selling)
        return self.stage.where["http"]

    def credit_is_recorded(self) -> str:
        body = {"resident_id": self.wang["id"], "minutes": 1200, "activity": "河道清洁", "reason": "三月每周六上午"}
        made = self.stage.as_staff("coordinator").ask("POST", "/credits", body, key="story-credit-1")
        self.credit_id = made["id"]
        _expect(made["state"] == "recorded" and self.stage.balance(self.wang)["posted_points"] == 0, made)
        return f"{made['minutes']} minutes are {made['points']} points, not yet posted"

    def another_approves(self) -> str:
        path = f"/credits/{self.credit_id}/approve"
        try:
            self.stage.as_staff("coordinator").ask("POST", path, {}, key="story-own-approval")
        except Refused as error:
            refusal = error.code
        else:
            raise DemoFailed("the recorder could approve the credit")
        self.stage.as_staff("approver").ask("POST", path, {}, key="story-approval-1")
        points = self.stage.balance(self.wang)["available_points"]
        _expect(points == 20, points)
        return f"refused ({refusal}), then approved: {points} points"

    def vend_is_captured(self) -> str:
        dropped = self.machine.dropped()
        row = self._redeem(self.machine, self.wang, 1)
        _expect(row["state"] == "captured", row)
        _expect(self.machine.dropped() == dropped + 1, "the item fell")
        return self._points(self.wang, 18, 0)

    def jam_gives_back(self) -> str:
        self.machine.front.ask("PUT", "/faults", {"once": [{"selection": 2, "jam": 1}]})
        dropped = self.machine.dropped()
        row = self._redeem(self.machine, self.wang, 2)
        _expect(row["state"] == "voided", row)
        _expect(self.machine.dropped() == dropped, "nothing fell")
        return self._points(self.wang, 18, 0)

    def too_few_points(self) -> str:
        self.stage.credit(self.liu, 1, "楼道清扫", "story-credit-2")
        row = self._redeem(self.machine, self.liu, 3)
        _expect((row["state"], row["reason"]) == ("denied", "not_enough_points"), row)
        words = self.machine.status()["said"]
        return f"{words['zh']} / {words['en']}"

    def unknown_card(self) -> str:
        turns = self.machine.front.ask("GET", "/state")["turns"]
        self.machine.choose(UNKNOWN_CARD, 1)
        until("the refusal is shown", lambda: self.machine.said() == "denied:card_unknown")
        _expect(self.machine.front.ask("GET", "/state")["turns"] == turns, "no motor turned")
        words = self.machine.status()["said"]
        return f"{words['zh']} / {words['en']}"

    def agents_are_killed(self) -> str:
        self.stage.credit(self.chen, 10, "助老送餐", "story-credit-3")
        counting = self.stage.machines[COUNTING]
        self.proved = self._killed_in_mid_vend(counting, self.wang, 1)
        self.doubtful = self._killed_in_mid_vend(self.machine, self.chen, 4)
        return "both items fell, nobody has told the server; both agents start again"

    def killed_and_proved(self) -> str:
        ends, _ = self.stage.part.after_kill
        self._state(self.wang, self.proved, {ends})
        _expect(self.stage.machines[COUNTING].dropped() == 1, "one item fell")
        held = 2 if ends == "in_doubt" else 0
        return f"{ends}, because {self.stage.part.why}; {self._points(self.wang, 16, held)}"

    def killed_and_in_doubt(self) -> str:
        _, ends = self.stage.part.after_kill
        self._state(self.chen, self.doubtful, {ends})
        _expect(self.machine.dropped() == 2, "one item fell, after that of the first vend")
        if ends != "in_doubt":
            return f"{ends}, because {self.stage.part.why}; {self._points(self.chen, 8, 0)}"
        alerts = self.stage.as_staff("secretary").ask("GET", "/alerts")["items"]
        _expect(any(alert["redemption_id"] == self.doubtful for alert in alerts), "an alert tells a person")
        return self._points(self.chen, 8, 2)

    def person_decides(self) -> str:
        doubts = [
            (number, resident, id)
            for number, (resident, id, ends) in enumerate(
                zip((self.wang, self.chen), (self.proved, self.doubtful), self.stage.part.after_kill, strict=True)
            )
            if ends == "in_doubt"
        ]
        for number, resident, id in doubts:
            body = {"verdict": "dispensed", "reason": "居民确认已取到货", "evidence": "货道少一件"}
            path = f"/redemptions/{id}/resolve"
            self.stage.as_staff("secretary").ask("POST", path, body, key=f"story-decision-{number}")
            self._state(resident, id, {"captured"})
        self._points(self.wang, 16, 0)
        return f"{len(doubts)} decided; {self._points(self.chen, 8, 0)}"

    def broker_restarts(self) -> str:
        machine, broker = self.stage.machines[COUNTING], self.stage.broker
        dropped = machine.dropped()
        machine.front.ask("PUT", "/faults", {"once": [{"hold_status_ms": 2000}]})
        known = {row["id"] for row in self.stage.redemptions(self.wang)}
        machine.choose(self.wang["card"], 2)
        row = self._new(self.wang, known, {"vending"})
        broker.stop(signal.SIGKILL)
        address = broker.start(says_ready=True, JISHAN_MQTT_PORT=self.stage.mqtt_port)["mqtt"]
        self._state(self.wang, row["id"], {"captured"})
        _expect(machine.dropped() == dropped + 1, "one item fell")
        return f"{self._points(self.wang, 13, 0)}; broker again at {address}"

    def ledger_is_clean(self) -> str:
        done = subprocess.run(
            [program("jishan-server"), "ledger", "verify", "--json"],
            env=self.stage.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        _expect(done.returncode == 0, done.stdout[-300:] + done.stderr[-300:])
        report = json.loads(done.stdout)
        return "clean: " + ", ".join(f"{count} {rule}" for rule, count in list(report["checked"].items())[:3])

    def _redeem(self, machine: MachineOnStage, resident: Mapping[str, Any], selection: int) -> dict[str, Any]:
        known = {row["id"] for row in self.stage.redemptions(resident)}
        machine.choose(resident["card"], selection)
        row = self._new(resident, known, {"captured", "voided", "denied", "in_doubt"})
        until("the machine is ready again", lambda: machine.status().get("state") == "idle")
        return row

    def _killed_in_mid_vend(self, machine: MachineOnStage, resident: Mapping[str, Any], selection: int) -> str:
        """Let the agent die when the result has arrived and is not yet on its disk; gives the redemption's id."""
        machine.agent.stop()
        machine.start_agent(JISHAN_AGENT_STOP_AT="result_received")
        known = {row["id"] for row in self.stage.redemptions(resident)}
        machine.choose(resident["card"], selection)
        row = self._new(resident, known, {"vending"})
        until("the agent is dead", machine.agent.has_ended)
        # The controller says its result five times, a poll apart; nobody hears it.
        now_ms = machine.front.ask("GET", "/state")["now_ms"]
        until("the controller has given up", lambda: machine.front.ask("GET", "/state")["now_ms"] > now_ms + 1500)
        machine.start_agent()
        return str(row["id"])

    def _new(self, resident: Mapping[str, Any], known: set[str], states: set[str]) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            rows = [row for row in self.stage.redemptions(resident) if row["id"] not in known]
            return rows[0] if rows and rows[0]["state"] in states else None

        found: dict[str, Any] = until(f"a redemption is {' or '.join(sorted(states))}", look)
        return found

    def _state(self, resident: Mapping[str, Any], id: str, states: set[str]) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            rows = {row["id"]: row for row in self.stage.redemptions(resident)}
            return rows[id] if rows[id]["state"] in states else None

        found: dict[str, Any] = until(f"the redemption is {' or '.join(sorted(states))}", look)
        return found

    def _points(self, resident: Mapping[str, Any], available: int, held: int) -> str:
        balance = self.stage.balance(resident)
        _expect((balance["available_points"], balance["held_points"]) == (available, held), balance)
        return f"{available} points available, {held} held"


def _expect(holds: bool, seen: object) -> None:
    if not holds:
        raise DemoFailed(f"it did not hold; seen: {seen}")

"""What an agent sees of a simulated board: the conversations of the vectors, and under each fault."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from click.testing import CliRunner

from jishan_protocol.dispensers import mqtt_board as board
from jishan_protocol.dispensers.mqtt_board import Outcome
from jishan_sim.__main__ import main
from jishan_sim.cabinet import Slot
from jishan_sim.faces.mqtt_board import BOOT_MS, RESULT_SENDS, STATE_EVERY_MS, MqttBoardFace, face_for
from jishan_sim.faults import START_DELAY_MS, from_mapping

FILE = json.loads((Path(__file__).parents[2] / "docs/vectors/mqtt-board.json").read_text("utf-8"))
VEND_MS = 10_000  # longer than any vend without a hold
ITEMS = 5


class Bench:
    """A board, and an agent's end of its link, on a virtual clock. `heard` is everything but State."""

    def __init__(self, profile: str = "default", faults: dict[str, object] | None = None, seed: int = 1) -> None:
        slots = [Slot(selection, ITEMS, ITEMS) for selection in (1, 2)]
        self.face: MqttBoardFace = face_for(slots, board.PROFILES[profile], from_mapping(faults or {}), Random(seed))
        self.now_ms = 0
        self.reader = board.LineReader("u")
        self.heard: list[Any] = []
        self.states: list[Any] = []
        self.bad: list[board.BadLine] = []
        self.asks = 0
        self.face.power_on(0)
        self.run(BOOT_MS + 100)

    @property
    def cabinet(self) -> Any:
        return self.face.cabinet

    def say(self, message: board.Down) -> None:
        self.face.receive(board.line(message), self.now_ms)
        self._listen()

    def run(self, for_ms: int) -> None:
        end_ms = self.now_ms + for_ms
        while (due_ms := self.face.next_wakeup_ms) is not None and due_ms <= end_ms:
            self.now_ms = max(self.now_ms, due_ms)
            self.face.tick(self.now_ms)
            self._listen()
        self.now_ms = end_ms
        self.face.tick(end_ms)
        self._listen()

    def _listen(self) -> None:
        for one in self.reader.feed(self.face.take_output()):
            if isinstance(one, board.BadLine):
                self.bad.append(one)
            else:
                (self.states if isinstance(one, board.State) else self.heard).append(one)

    def checked(self, selection: int = 1) -> board.Ready:
        self.asks += 1
        self.say(board.Check(self.asks, selection))
        self.run(10)
        found: board.Ready = next(one for one in reversed(self.heard) if isinstance(one, board.Ready))
        assert found.ask == self.asks
        return found

    def vend(self, selection: int = 1, ttl_ms: int = 20_000) -> board.Ready:
        """Check and vend; whatever is said of it comes into `heard`."""
        ready = self.checked(selection)
        self.heard.clear()
        self.say(board.Vend(ready.store, ready.number, ready.nonce, selection, ttl_ms))
        return ready

    def asked(self, ready: board.Ready) -> board.Result:
        """What a Query says."""
        self.heard.clear()
        self.say(board.Query(ready.store, ready.number))
        self.run(10)
        found: board.Result = next(one for one in self.heard if isinstance(one, board.Result))
        return found

    def outcomes(self) -> list[Outcome]:
        return [one.outcome for one in self.heard if isinstance(one, board.Result)]

    def cycle_power(self, off_ms: int = 1_000) -> None:
        self.face.power_cut(self.now_ms)
        self.run(off_ms)
        self.face.power_on(self.now_ms)
        self.run(BOOT_MS + 100)


# --- the contract, as the vectors tell it ----------------------------------------------------------------------------


def matched(template: dict[str, Any], bound: dict[str, Any], said: dict[str, Any]) -> dict[str, Any] | None:
    """What stands for any value, bound to what was said in its place; None if something else was said."""
    bound = dict(bound)
    for key, wanted in template.items():
        if isinstance(wanted, str) and wanted.startswith("$"):
            name, _, more = wanted.partition("+")
            wanted = bound[name] + int(more) if more else bound.setdefault(name, said.get(key))
        if said.get(key) != wanted:
            return None
    return bound if template.keys() == said.keys() else None


def filled(template: dict[str, Any], bound: dict[str, Any]) -> dict[str, Any]:
    def one(value: object) -> object:
        if not isinstance(value, str) or not value.startswith("$"):
            return value
        name, _, more = value.partition("+")
        return bound[name] + int(more or 0)

    return {key: one(value) for key, value in template.items()}


@pytest.mark.parametrize("conversation", FILE["conversations"], ids=lambda one: one["name"])
def test_a_conversation_goes_as_the_vectors_say(conversation: dict[str, Any]) -> None:
    bench = Bench()
    bound: dict[str, Any] = {"$other": 4_711}
    last: dict[str, Any] | None = None
    for step in conversation["steps"]:
        (kind, wanted) = next(iter(step.items()))
        if kind == "down":
            content = json.dumps(filled(wanted, bound)).encode()
            bench.face.receive(board.line_of("d", content), bench.now_ms)
            bench._listen()
        elif kind == "up":
            while True:
                while not bench.heard:
                    bench.run(100)
                    assert bench.now_ms < 100_000, wanted
                said = json.loads(board.encode(bench.heard.pop(0)))
                found = matched(wanted, bound, said)
                if found is not None:
                    bound, last = found, said
                    break
                assert said == last, f"{wanted} was to come, {said} came"
        elif kind == "wait_ms":
            bench.run(wanted)
        elif kind == "power_cut":
            bench.heard.clear()
            bench.cycle_power()
        else:
            bench.run(VEND_MS)
            assert bench.cabinet.items_dropped() == wanted
            assert bench.cabinet.turns <= wanted


def test_every_vector_is_told_in_words() -> None:
    capture = "".join(f"{one['topic']} {one['payload']}\n" for one in FILE["vectors"] if "\n" not in one["payload"])
    told = CliRunner().invoke(main, ["decode", "mqtt", "-"], input=capture).stdout.splitlines()
    lines = [json.loads(line) for line in told]
    good = [one for one in FILE["vectors"] if one["expect"] == "ok"]
    assert [line["name"] for line in lines[: len(good)]] == [json.loads(one["payload"][65:])["type"] for one in good]
    assert all(line["ok"] and line["mac"] == one["payload"][:64] for line, one in zip(lines, good, strict=False))
    # Without a key a wrong MAC is not seen; everything else is.
    wrong = {one["expect"] for one in FILE["vectors"]} - {"ok", "forged", "oversized"}
    assert {line["error"] for line in lines if not line["ok"]} >= wrong


def test_a_log_is_a_capture() -> None:
    bench = Bench()
    bench.vend()
    bench.run(VEND_MS)
    capture = b"".join(one.raw for one in bench.face.log)
    told = CliRunner().invoke(main, ["decode", "mqtt", "-"], input=capture).stdout.splitlines()
    names = [json.loads(line)["name"] for line in told]
    assert [name for name in names if name != "state"][:4] == ["check", "ready", "vend", "result"]


# --- the store, in mid-vend ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("profile", "after_ms", "outcome", "dropped"),
    [
        ("default", -100, Outcome.NOT_DISPENSED, 0),
        ("default", 800, Outcome.UNKNOWN, 0),
        ("default", 1_700, Outcome.DISPENSED, 1),
        ("late-store", 1_700, Outcome.UNKNOWN, 1),
        ("no-drop-sensor", 1_700, Outcome.UNKNOWN, 1),
    ],
)
@pytest.mark.parametrize("off_ms", [0, 2_000])
def test_after_a_power_cut_a_board_says_what_its_store_knows(
    profile: str, after_ms: int, outcome: Outcome, dropped: int, off_ms: int
) -> None:
    bench = Bench(profile, {"vend": {"power_cut": 1, "power_cut_ms": after_ms, "power_off_ms": off_ms}})
    ready = bench.vend()
    bench.run(VEND_MS)
    assert bench.cabinet.items_dropped() == dropped
    assert bench.outcomes()[0] is Outcome.RUNNING
    assert set(bench.outcomes()[1:]) == {outcome}
    result = bench.asked(ready)
    assert (result.outcome, result.code) == (outcome, "power_cut")
    assert (result.nonce, result.selection) == (ready.nonce, 1)


def test_a_lost_store_comes_back_as_another_one() -> None:
    bench = Bench(faults={"vend": {"power_cut": 1, "power_cut_ms": 1_700, "store_lost": 1}})
    ready = bench.vend()
    bench.run(VEND_MS)
    assert bench.cabinet.items_dropped() == 1
    result = bench.asked(ready)
    assert (result.store, result.outcome) == (ready.store, Outcome.OTHER_STORE)
    after = bench.checked(2)
    assert (after.store == ready.store, after.number) == (False, 1)
    assert bench.states[-1].boot == 1


def test_a_power_cut_at_any_moment_never_leaves_a_false_result() -> None:
    for at_ms in range(-START_DELAY_MS, 2_700, 50):
        bench = Bench(faults={"once": [{"power_cut": 1, "power_cut_ms": at_ms}]})
        ready = bench.vend()
        bench.run(VEND_MS)
        outcome = bench.asked(ready).outcome
        dropped = bench.cabinet.items_dropped()
        assert (outcome, dropped) in {
            (Outcome.NOT_DISPENSED, 0),
            (Outcome.UNKNOWN, 0),
            (Outcome.DISPENSED, 1),
        }, at_ms
        bench.say(board.Vend(ready.store, ready.number, ready.nonce, 1, 20_000))
        bench.run(VEND_MS)
        assert bench.cabinet.items_dropped() == dropped, "never vended again"


def test_whatever_is_said_of_a_number_is_in_the_store_before() -> None:
    """Each change of the store is a revision; the process saves then, before a byte leaves."""
    bench = Bench()
    ready = bench.checked()
    before = bench.cabinet.revision
    bench.say(board.Query(ready.store, ready.number))
    assert bench.cabinet.revision == before + 1
    assert bench.cabinet.memory.firmware["last"] == ready.number
    assert bench.heard[-1].outcome is Outcome.REFUSED
    bench.say(board.Query(ready.store, ready.number))
    assert bench.cabinet.revision == before + 1, "the same again writes nothing"


def test_what_survives_is_json_and_is_all_that_is_needed() -> None:
    bench = Bench()
    ready = bench.vend()
    bench.run(VEND_MS)
    kept = json.loads(json.dumps(bench.cabinet.snapshot()))
    other = Bench(seed=2)
    other.face.power_cut(other.now_ms)
    other.cabinet.restore(kept)
    other.face.power_on(other.now_ms)
    other.run(BOOT_MS + 100)
    assert other.asked(ready).outcome is Outcome.DISPENSED


def test_a_store_that_cannot_be_read_is_lost() -> None:
    bench = Bench()
    store = bench.states[-1].store
    bench.face.power_cut(bench.now_ms)
    bench.cabinet.keep({"id": store})
    bench.face.power_on(bench.now_ms)
    bench.run(BOOT_MS + 100)
    assert bench.states[-1].store != store


def test_a_full_store_takes_no_vend_until_something_is_acknowledged() -> None:
    bench = Bench()
    for _ in range(board.RECORDS):
        bench.cabinet.refill(1)
        ready = bench.vend()
        bench.run(VEND_MS)
    full = bench.checked()
    assert (full.is_sellable, full.code) == (False, "store_full")
    bench.say(board.Vend(full.store, full.number, full.nonce, 1, 20_000))
    bench.run(VEND_MS)
    assert bench.cabinet.turns == board.RECORDS
    assert bench.asked(full).outcome is Outcome.REFUSED
    assert bench.asked(ready).outcome is Outcome.DISPENSED
    bench.say(board.Ack(ready.store, ready.number))
    assert bench.checked().is_sellable


# --- what is said by itself ------------------------------------------------------------------------------------------


def test_a_result_is_said_again_until_it_is_acknowledged() -> None:
    bench = Bench()
    ready = bench.vend()
    bench.run(200_000)
    assert bench.outcomes() == [Outcome.RUNNING] + [Outcome.DISPENSED] * RESULT_SENDS
    bench.cycle_power()
    bench.heard.clear()
    bench.run(20_000)
    assert Outcome.DISPENSED in bench.outcomes()
    bench.say(board.Ack(ready.store, ready.number))
    bench.heard.clear()
    bench.run(20_000)
    assert bench.outcomes() == []


def test_a_state_comes_by_itself_and_when_something_changes() -> None:
    bench = Bench()
    bench.states.clear()
    bench.run(3 * STATE_EVERY_MS)
    assert [state.ask for state in bench.states] == [0, 0, 0]
    bench.cabinet.open_door(True)
    bench.face.tick(bench.now_ms)
    bench.run(10)
    assert bench.states[-1].door == "open"
    bench.cabinet.set_temperature(-3)
    bench.say(board.Hello(99))
    bench.run(10)
    assert (bench.states[-1].ask, bench.states[-1].temperature_tenths_c) == (99, -30)


def test_keys_count_their_presses_and_a_board_without_keys_has_none() -> None:
    bench = Bench("keys")
    for selection in (1, 2, 0):
        bench.face.press(selection, bench.now_ms)
    bench.run(10)
    assert bench.heard == [board.Pressed(1, 1, 1), board.Pressed(1, 2, 2), board.Pressed(1, 3, 0)]
    without = Bench()
    without.face.press(1, without.now_ms)
    without.run(10)
    assert without.heard == []


def test_a_refilled_slot_is_told_and_its_jam_forgotten() -> None:
    bench = Bench(faults={"once": [{"jam": 1}]})
    bench.vend()
    bench.run(VEND_MS)
    assert bench.checked().code == "jammed"
    bench.cabinet.refill(1)
    bench.face.report(1, bench.now_ms)
    bench.run(10)
    assert bench.heard[-1] == board.Slot(1, True, "ready", 10)
    assert bench.checked().is_sellable


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "faults", "before"),
    [
        ("door_open", {}, lambda bench: bench.cabinet.open_door(True)),
        ("drop_sensor", {"drop_sensor": "stuck"}, lambda bench: None),
        ("empty", {}, lambda bench: bench.cabinet.refill(1, 0)),
    ],
)
def test_a_check_says_why_it_cannot_be_sold(code: str, faults: dict[str, object], before: Any) -> None:
    bench = Bench(faults=faults)
    before(bench)
    ready = bench.checked()
    assert (ready.is_sellable, ready.code) == (False, code)
    bench.say(board.Vend(ready.store, ready.number, ready.nonce, 1, 20_000))
    bench.run(VEND_MS)
    if code != "empty":  # the item that a count has forgotten is still given
        assert bench.cabinet.turns == 0
        assert bench.asked(ready).outcome is Outcome.REFUSED
    assert bench.checked(3).code == "no_such_selection"


def test_a_vend_that_comes_while_one_runs_is_refused_for_ever() -> None:
    bench = Bench()
    first = bench.vend()
    bench.run(300)
    second = bench.checked(2)
    assert second.code == "busy"
    bench.say(board.Vend(second.store, second.number, second.nonce, 2, 20_000))
    bench.run(VEND_MS)
    assert bench.cabinet.items_dropped() == 1
    assert bench.asked(second).outcome is Outcome.REFUSED
    assert bench.asked(first).outcome is Outcome.DISPENSED


# --- faults ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "outcome", "code", "dropped"),
    [
        ("jam", Outcome.NOT_DISPENSED, "jammed", 0),
        ("no_drop", Outcome.NOT_DISPENSED, "no_drop", 0),
        ("double_drop", Outcome.DISPENSED, "dispensed", 2),
        ("motor_missing", Outcome.NOT_DISPENSED, "motor_missing", 0),
        ("motor_runs_on", Outcome.NOT_DISPENSED, "motor_ran_on", 0),
        ("slow", Outcome.DISPENSED, "dispensed", 1),
    ],
)
def test_the_end_of_a_vend_has_its_code(fault: str, outcome: Outcome, code: str, dropped: int) -> None:
    bench = Bench(faults={"vend": {fault: 1}})
    ready = bench.vend()
    bench.run(VEND_MS)
    result = bench.asked(ready)
    assert (result.outcome, result.code, result.is_verified) == (outcome, code, outcome is Outcome.DISPENSED)
    assert bench.cabinet.items_dropped() == dropped


def test_what_is_not_pushed_can_still_be_asked_for() -> None:
    bench = Bench(faults={"vend": {"ack_lost": 1, "status_lost": 1}})
    ready = bench.vend()
    bench.run(60_000)
    assert bench.outcomes() == []
    assert bench.asked(ready).outcome is Outcome.DISPENSED


def test_a_lying_board_contradicts_itself_once() -> None:
    bench = Bench(faults={"vend": {"wrong_status": 1}})
    ready = bench.vend()
    bench.run(VEND_MS)
    assert bench.outcomes()[:3] == [Outcome.RUNNING, Outcome.DISPENSED, Outcome.NOT_DISPENSED]
    assert bench.asked(ready).outcome is Outcome.DISPENSED


def test_a_result_that_is_held_is_running_until_then() -> None:
    bench = Bench(faults={"vend": {"hold_status_ms": 10_000}})
    ready = bench.vend()
    bench.run(VEND_MS)
    assert bench.asked(ready).outcome is Outcome.RUNNING
    bench.run(VEND_MS)
    assert bench.asked(ready).outcome is Outcome.DISPENSED


@pytest.mark.parametrize("fault", ["frame_loss", "frame_double", "frame_reorder", "bad_checksum", "cut_frame", "noise"])
def test_messages_fare_badly_both_ways_and_no_item_falls_twice(fault: str) -> None:
    for seed in range(10):
        bench = Bench(seed=seed)
        bench.face.set_faults(from_mapping({"line": {fault: 0.5, "delay_ms": 300}}))
        readies = []
        for _ in range(5):
            bench.asks += 1
            bench.say(board.Check(bench.asks, 1))
            bench.run(3_000)
            for ready in [one for one in bench.heard if isinstance(one, board.Ready)][-1:]:
                readies.append(ready)
                for _ in range(3):
                    bench.say(board.Vend(ready.store, ready.number, ready.nonce, 1, 20_000))
            bench.run(VEND_MS)
        bench.face.set_faults(from_mapping({}))
        bench.run(VEND_MS)
        numbers = {ready.number: ready for ready in readies}
        done = [one for one in numbers.values() if bench.asked(one).outcome is Outcome.DISPENSED]
        assert bench.cabinet.items_dropped() == len(done)


def test_messages_overtake_each_other() -> None:
    bench = Bench(faults={"line": {"frame_reorder": 0.5}})
    for ask in range(1, 30):
        bench.say(board.Hello(ask))
    bench.run(5_000)
    asks = [state.ask for state in bench.states if state.ask]
    assert sorted(asks) == list(range(1, 30))
    assert asks != sorted(asks)


def test_what_is_unplugged_says_and_hears_nothing() -> None:
    bench = Bench(faults={"unplugged": True})
    bench.say(board.Check(1, 1))
    bench.run(60_000)
    assert bench.heard == bench.states == []


@pytest.mark.parametrize("seed", range(3))
def test_anything_at_all_on_its_line_turns_nothing(seed: int) -> None:
    random = Random(seed)
    bench = Bench()
    for _ in range(300):
        bench.face.receive(random.randbytes(random.randint(0, 60)), bench.now_ms)
        bench.run(random.randint(0, 100))
    bench.face.receive(b"\n", bench.now_ms)
    assert bench.cabinet.turns == 0
    assert bench.face.bad_bytes > 0
    assert bench.checked().is_sellable

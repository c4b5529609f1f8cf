"""The conformance pack of network-connected boards: the agent's side of docs/protocols/mqtt-board.md, rule by rule.

The board is spoken to in lines, `d JSON` down and `u JSON` up, as everywhere; who owns the connection seals them. What
could turn a motor, also what a right board refuses, is only said when the person has agreed.
"""

from __future__ import annotations

from typing import Final, Protocol, TypeVar, runtime_checkable

from jishan_protocol.dispensers import mqtt_board as board
from jishan_protocol.dispensers.mqtt_board import Outcome
from jishan_protocol.errors import ProtocolError
from jishan_sim.conform_report import Findings, Wire

ANSWER_MS: Final = 3_000
FIRST_MS: Final = 30_000  # a board that looks for its network, or waits before it tries its broker again
SILENCE_MS: Final = 1_500  # how long nothing has to come before it counts as no answer
VEND_MS: Final = 60_000
RESTART_MS: Final = 180_000
TTL_MS: Final = 20_000
TOO_LATE_MS: Final = 300
OTHER_STORE: Final = 4_242_424_242
NO_SELECTION: Final = 65_000
M = TypeVar("M", bound=board.Up)


@runtime_checkable
class Signing(Protocol):
    """A wire that signs, and so can sign wrongly."""

    def write_forged(self, content: bytes) -> None:
        """Send a message whose MAC is another's."""


class Agent:
    """Asks a board, and gives what it says."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.bad: list[str] = []
        self.asks = wire.now_ms
        self._rest = b""

    def say(self, message: board.Down) -> None:
        self.wire.write(board.line_of("d", board.encode(message)))

    def answer(self, kind: type[M], within_ms: int = ANSWER_MS, **having: object) -> M | None:
        """The next message of a kind with these members; None where none comes."""
        end_ms = self.wire.now_ms + within_ms
        while (left_ms := end_ms - self.wire.now_ms) > 0:
            *lines, self._rest = (self._rest + self.wire.read(left_ms)).split(b"\n")
            found: M | None = None
            for line in lines:
                try:
                    message = board.decode("u", line.removeprefix(b"u "))
                except ProtocolError as error:
                    self.bad.append(f"{error.detail}: {line[:80]!r}")
                    continue
                if isinstance(message, kind) and all(getattr(message, name) == one for name, one in having.items()):
                    found = found or message
            if found is not None:
                return found
        return None

    def hello(self, within_ms: int = ANSWER_MS) -> board.State | None:
        """What the board is."""
        self.asks += 1
        self.say(board.Hello(self.asks))
        return self.answer(board.State, within_ms, ask=self.asks)

    def check(self, selection: int) -> board.Ready | None:
        """Whether a selection can be sold, with a number and a nonce."""
        self.asks += 1
        self.say(board.Check(self.asks, selection))
        return self.answer(board.Ready, ask=self.asks, selection=selection)

    def query(self, store: int, number: int) -> board.Result | None:
        """What became of a number."""
        self.say(board.Query(store, number))
        return self.answer(board.Result, number=number)

    def end_of(self, number: int) -> board.Result | None:
        """The result of a vend that is under way, once it is final."""
        end_ms = self.wire.now_ms + VEND_MS
        while (left_ms := end_ms - self.wire.now_ms) > 0:
            said = self.answer(board.Result, left_ms, number=number)
            if said is not None and said.outcome is not Outcome.RUNNING:
                return said
        return None


def run_mqtt(findings: Findings) -> None:
    """All steps."""
    agent = Agent(findings.wire)
    state, end_ms = None, findings.wire.now_ms + FIRST_MS
    while state is None and findings.wire.now_ms < end_ms:
        state = agent.hello()
    if not findings.rule("hello", "A hello is answered by a state with its ask", state is not None, str(state)):
        return
    assert state is not None
    selection = findings.selection or 1
    _asks(findings, agent, state, selection)
    _hears_nothing(findings, agent)
    _moves(findings, agent, selection)
    findings.rule(
        "messages", "Every message has exactly its members", not agent.bad, agent.bad[0] if agent.bad else "all"
    )


def _asks(findings: Findings, agent: Agent, state: board.State, selection: int) -> None:
    ready = agent.check(selection)
    findings.rule("check", "A check is answered by ready", ready is not None, str(ready))
    if ready is None:
        return
    agent.say(board.Check(ready.ask, selection))
    again = agent.answer(board.Ready, ask=ready.ask)
    findings.rule("check", "The same ask gets the same nonce", again == ready, str(again))
    other = agent.check(selection)
    fresh = other is not None and other.nonce not in (0, ready.nonce)
    findings.rule("check", "Another ask gets another nonce", fresh, str(other))
    findings.rule(
        "check", "The number is the next one", ready.number == state.last + 1, f"{ready.number} after {state.last}"
    )
    none = agent.check(NO_SELECTION)
    findings.rule(
        "check", "A selection that is none is not sellable", none is not None and not none.is_sellable, str(none)
    )
    for step, rule, store, number, outcome in (
        ("store", "A query about another store says other_store", OTHER_STORE, 1, Outcome.OTHER_STORE),
        ("number", "A number beyond the next says not_given", state.store, state.last + 5, Outcome.NOT_GIVEN),
    ):
        said = agent.query(store, number)
        findings.rule(step, rule, said is not None and said.outcome is outcome, str(said))
    after = agent.hello()
    findings.rule("number", "Neither takes a number", after is not None and after.last == state.last, str(after))


def _hears_nothing(findings: Findings, agent: Agent) -> None:
    """What is to be dropped without a word."""
    agent.asks += 1
    question = board.encode(board.Hello(agent.asks))
    unknown = question.replace(b'"hello"', b'"hallo"')
    for rule, content in (
        ("A message of an unknown type is not answered", unknown),
        ("A member too many: not answered", question.replace(b"}", b',"more":1}')),
        ("What is no JSON is not answered", question[:-1]),
    ):
        findings.wire.write(board.line_of("d", content))
        said = agent.answer(board.State, SILENCE_MS, ask=agent.asks)
        findings.rule("form", rule, said is None, str(said))
    rule = "A message with a wrong MAC is not answered"
    if not isinstance(findings.wire, Signing):
        findings.skip("mac", rule, "this line carries no MAC")
        return
    findings.wire.write_forged(question)
    said = agent.answer(board.State, SILENCE_MS, ask=agent.asks)
    findings.rule("mac", rule, said is None, str(said))


def _moves(findings: Findings, agent: Agent, selection: int) -> None:
    rule = "A vend turns the motor once, whatever is said twice"
    if not findings.may_move(f"Selection {selection} is going to turn; one item falls. Go on?"):
        findings.skip("vend", rule, "nothing was to move")
        return
    _refusals(findings, agent, selection)
    ready = agent.check(selection)
    if ready is None or not ready.is_sellable:
        findings.rule("vend", rule, False, f"cannot be sold: {ready}")
        return
    vend = board.Vend(ready.store, ready.number, ready.nonce, selection, TTL_MS)
    agent.say(vend)
    agent.say(vend)
    said = agent.end_of(ready.number)
    findings.rule("vend", rule, said is not None and said.outcome is Outcome.DISPENSED, str(said))
    agent.say(vend)
    late = agent.answer(board.Result, number=ready.number)
    findings.rule("double", "The vend once more gets the stored result", late == said, str(late))
    asked = agent.query(ready.store, ready.number)
    findings.rule("query", "So does a query", asked == said, str(asked))
    if said is not None:
        findings.note("vend", "The drop sensor saw it", str(said.is_verified), drop_sensor=said.is_verified)
    agent.say(board.Ack(ready.store, ready.number))
    gone = agent.query(ready.store, ready.number)
    acked = gone is not None and gone.outcome is Outcome.ACKNOWLEDGED
    findings.rule("ack", "After an ack the number is acknowledged", acked, str(gone))
    fell = findings.ask("Did exactly one item fall?")
    if fell is not None:
        findings.rule("vend", "What the board says is what fell", fell, "yes" if fell else "the person says no")
    if findings.is_whole:
        _power(findings, agent, selection, sees_drops=said is not None and said.is_verified)


def _refusals(findings: Findings, agent: Agent, selection: int) -> None:
    """Vends that a right board refuses for ever."""
    for step, rule, nonce_off, late in (
        ("nonce", "A vend with another nonce is refused", 1, False),
        ("expired", "A vend past its time to live is refused", 0, True),
    ):
        ready = agent.check(selection)
        if ready is None:
            findings.rule(step, rule, False, "no answer to the check")
            continue
        if late:
            agent.answer(board.Slot, TOO_LATE_MS)
        nonce = ready.nonce - nonce_off or ready.nonce + 1
        agent.say(board.Vend(ready.store, ready.number, nonce, selection, 1 if late else TTL_MS))
        said = agent.answer(board.Result, number=ready.number)
        holds = said is not None and said.outcome is Outcome.REFUSED and said.code == step
        findings.rule(step, rule, holds, str(said))
    ready = agent.check(selection)
    if ready is None:
        return
    said = agent.query(ready.store, ready.number)
    fenced = said is not None and said.outcome is Outcome.REFUSED
    agent.say(board.Vend(ready.store, ready.number, ready.nonce, selection, TTL_MS))
    after = agent.answer(board.Result, number=ready.number)
    holds = fenced and after is not None and after.outcome is Outcome.REFUSED
    findings.rule("fence", "A vend that comes after the query about it never runs", holds, f"{said}, then {after}")


def _power(findings: Findings, agent: Agent, selection: int, *, sees_drops: bool) -> None:
    rule = "After a power cut the board says what it can know"
    before, ready = agent.hello(), agent.check(selection)
    question = f"Selection {selection} is going to turn: cut the power in mid-turn, and give it back."
    if before is None or ready is None or not ready.is_sellable or not findings.may_move(question):
        findings.skip("power", rule, "nothing was to move, or could")
        return
    agent.say(board.Vend(ready.store, ready.number, ready.nonce, selection, TTL_MS))
    fell = findings.ask("When the power is back: did an item fall?")
    if fell is None:
        findings.skip("power", rule, "nobody cut the power")
        return
    end_ms, state = findings.wire.now_ms + RESTART_MS, None
    while findings.wire.now_ms < end_ms and (state is None or state.boot == before.boot):
        state = agent.hello()
    counted = state is not None and (state.boot, state.store) == (before.boot + 1, before.store)
    findings.rule("power", "The store is the same, and its boot one more", counted, str(state))
    said = agent.query(ready.store, ready.number)
    outcome = None if said is None else said.outcome
    right = Outcome.DISPENSED if fell else Outcome.NOT_DISPENSED
    holds = outcome in (right, Outcome.UNKNOWN)
    findings.rule("power", rule, holds, f"{said}; fallen: {fell}")
    if fell and sees_drops and outcome in (Outcome.DISPENSED, Outcome.UNKNOWN):
        at_once = outcome is Outcome.DISPENSED
        findings.note("power", "A drop is stored the moment it is seen", str(at_once), stores_drop_at_once=at_once)

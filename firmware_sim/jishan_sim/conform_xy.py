"""The conformance pack of XY controllers: the host's side of docs/protocols/xy-vmc.md, rule by rule.

Nothing moves before the person has agreed. The controller is the master of the line: every POLL is answered, with a
command where there is one to say, and every frame of data is acknowledged, but where leaving that out is what is tried.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Final, TypeVar

from jishan_protocol.dispensers import xy
from jishan_protocol.errors import ProtocolError
from jishan_sim.conform_report import Findings, Wire

FIRST_POLL_MS: Final = 5_000  # a controller that boots takes some seconds
WATCH_MS: Final = 3_000
ANSWER_MS: Final = (
    3_000  # an answer comes with the next free poll; at two seconds between polls that is the next but one
)
REPORTS_MS: Final = 6_000
ACK_MS: Final = 600
RESENDS_MS: Final = 12_000  # five sends at the longest interval
VEND_MS: Final = 90_000
LATE_MS: Final = 180
RESTART_MS: Final = 120_000
NO_SELECTION: Final = 998
SYNCHRONISE: Final = 0x31
M = TypeVar("M")


@dataclass(frozen=True, slots=True)
class Heard:
    """A frame of data, and when it came."""

    at_ms: int
    frame: xy.Frame
    message: xy.Message


class XyHost:
    """A host that can be made to misbehave."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.heard: list[Heard] = []
        self.polls_ms: list[int] = []
        self.bad: list[str] = []
        self.acks = 0
        self.acknowledges = True
        self.answers_after_ms = 0
        self.to_say: deque[bytes] = deque()
        self._parser = xy.Parser()
        self._heard_ms = wire.now_ms
        self.pack_no = 100

    def listen(self, for_ms: int, until: Callable[[], bool] = lambda: False) -> bool:
        """Be the host until something holds; False when the time is over."""
        end_ms = self.wire.now_ms + for_ms
        while not until():
            left_ms = end_ms - self.wire.now_ms
            if left_ms <= 0:
                return False
            raw = self.wire.read(min(left_ms, xy.SILENCE_MS))
            found = self._parser.feed(raw)
            if raw:
                self._heard_ms = self.wire.now_ms
            elif self._parser.waiting and self.wire.now_ms - self._heard_ms >= xy.SILENCE_MS:
                found += self._parser.finish()
            for one in found:
                self._take(one)
        return True

    def _take(self, one: xy.Frame | xy.BadBytes) -> None:
        now_ms = self.wire.now_ms
        if isinstance(one, xy.BadBytes):
            self.bad.append(f"{one.error}: {one.raw.hex(' ').upper()}")
        elif one.cmd == xy.ACK:
            self.acks += 1
        elif one.cmd == xy.POLL:
            self.polls_ms.append(now_ms)
            if self.answers_after_ms:
                self._wait(self.answers_after_ms)
            self.wire.write(self.to_say.popleft() if self.to_say else xy.ACK_FRAME)
        else:
            try:
                self.heard.append(Heard(now_ms, one, xy.read(one)))
            except ProtocolError as error:
                self.bad.append(f"{error.detail}: {xy.encode(one).hex(' ').upper()}")
            if self.acknowledges:
                self.wire.write(xy.ACK_FRAME)

    def _wait(self, for_ms: int) -> None:
        """Let time pass without a word; what comes meanwhile is read later."""
        end_ms = self.wire.now_ms + for_ms
        while (left_ms := end_ms - self.wire.now_ms) > 0:
            for one in self._parser.feed(self.wire.read(left_ms)):
                if isinstance(one, xy.Frame) and one.cmd == xy.POLL:
                    self.polls_ms.append(self.wire.now_ms)

    def raw(self, message: xy.Message, profile: str = "default") -> bytes:
        """The bytes of a command, under a number of its own."""
        self.pack_no = xy.next_pack_no(self.pack_no)
        return xy.write(message, self.pack_no, xy.PROFILES[profile])

    def send(self, raw: bytes, times: int = xy.MAX_SENDS) -> bool:
        """Say a command in answer to a POLL, again until it is acknowledged; whether it was."""
        for _ in range(times):
            before = self.acks
            self.to_say.append(raw)
            if not self.listen(2 * xy.LONGEST_POLL_INTERVAL_MS, lambda: not self.to_say):
                self.to_say.clear()
                return False
            if self.listen(ACK_MS, lambda before=before: self.acks > before):  # type: ignore[misc]
                return True
        return False

    def ask(self, message: xy.Message, kind: type[M], profile: str = "default") -> M | None:
        """The answer to a command; None where there is none."""
        return self.answer(self.raw(message, profile), kind)

    def answer(self, raw: bytes, kind: type[M], times: int = xy.MAX_SENDS) -> M | None:
        """The answer to these bytes; None where they are not acknowledged, or not answered."""
        since = len(self.heard)
        if not self.send(raw, times):
            return None
        self.listen(ANSWER_MS, lambda: self._first(since, kind) is not None)
        return self._first(since, kind)

    def _first(self, since: int, kind: type[M]) -> M | None:
        return next((one.message for one in self.heard[since:] if isinstance(one.message, kind)), None)


def run(findings: Findings) -> None:
    """All steps, in an order in which each can stand on those before it."""
    host = XyHost(findings.wire)
    findings.meanwhile = lambda: host.listen(xy.POLL_INTERVAL_MS)
    if not host.listen(FIRST_POLL_MS, lambda: bool(host.polls_ms)):
        seen = f"nothing but bytes that are no frame: {host.bad[-1]}" if host.bad else "nothing"
        findings.rule("poll", "The controller polls, or says 31", bool(host.heard), seen)
        if not host.heard:
            return
    _watch(findings, host)
    reports = _synchronise(findings, host)
    usable = [one.selection for one in reports if one.status == 0 and one.stock] or [one.selection for one in reports]
    selection = findings.selection or (usable[0] if usable else 1)
    profile = _check(findings, host, selection)
    _queries(findings, host, selection)
    _resends(findings, host)
    _refuses(findings, host)
    _moves(findings, host, selection, profile, reports)
    _numbers(findings, host)
    findings.rule(
        "frames", "Every byte of the controller's is part of a frame", not host.bad, host.bad[0] if host.bad else "all"
    )


def _watch(findings: Findings, host: XyHost) -> None:
    host.polls_ms.clear()
    host.listen(WATCH_MS)
    gaps = [after - before for before, after in zip(host.polls_ms, host.polls_ms[1:], strict=False)]
    usual_ms = median(gaps) if gaps else 0
    near = 0.7 * xy.POLL_INTERVAL_MS <= usual_ms <= 1.4 * xy.POLL_INTERVAL_MS
    findings.rule(
        "poll", "A POLL comes every 200 ms", near, f"{len(gaps) + 1} polls in {WATCH_MS} ms, {usual_ms:.0f} ms apart"
    )


def _synchronise(findings: Findings, host: XyHost) -> list[xy.SelectionReport]:
    since = len(host.heard)
    acked = host.send(host.raw(xy.Synchronise()))

    def reports() -> list[xy.SelectionReport]:
        return [one.message for one in host.heard[since:] if isinstance(one.message, xy.SelectionReport)]

    host.listen(REPORTS_MS, lambda: bool(reports()))
    # Reports follow each other at once; two polls without one are their end.
    while host.listen(2 * xy.LONGEST_POLL_INTERVAL_MS // 4, _grows(host.heard)):
        pass
    told = f"acknowledged, {len(reports())} selections" if acked else "not acknowledged"
    findings.rule("synchronise", "31 is acknowledged, and every selection is reported with 11", bool(reports()), told)
    return reports()


def _grows(heard: list[Heard]) -> Callable[[], bool]:
    before = len(heard)
    return lambda: len(heard) > before


def _check(findings: Findings, host: XyHost, selection: int) -> str:
    """The name of the profile whose form of 01 is taken."""
    rule = "01 with LEN 3 is answered by 02"
    if (said := host.ask(xy.Check(selection), xy.CheckResult)) is not None:
        findings.rule(
            "check", rule, said.selection == selection, f"selection {said.selection}, status {said.status:02X}"
        )
        form = "default"
    elif (said := host.ask(xy.Check(selection), xy.CheckResult, "paper")) is not None:
        findings.rule("check", rule, False, "only with LEN 4", check_length=4)
        form = "paper"
    else:
        findings.rule("check", rule, False, "answered in neither form")
        return "default"
    none = host.ask(xy.Check(NO_SELECTION), xy.CheckResult, form)
    told = "no answer" if none is None else f"status {none.status:02X}"
    findings.rule(
        "check", "A selection that is none is not sellable", none is not None and none.status != xy.CHECK_NORMAL, told
    )
    return form


QUERIES: Final[tuple[tuple[str, str, Callable[[int], xy.Message], type[xy.Message]], ...]] = (
    ("state", "51 is answered by 52", lambda _: xy.MachineStateQuery(), xy.MachineState),
    ("clock", "70/09 reads the clock", lambda _: xy.ReadClock(), xy.Clock),
    ("jam list", "70/32 reads the jam list", lambda _: xy.ReadJamList(), xy.JamList),
    ("sales", "70/47 reads the sales of a selection", xy.ReadSales, xy.Sales),
)


def _queries(findings: Findings, host: XyHost, selection: int) -> None:
    for step, rule, question, kind in QUERIES:
        said = host.ask(question(selection), kind)
        findings.rule(step, rule, said is not None, "no answer" if said is None else str(xy.in_words(said)))


def _resends(findings: Findings, host: XyHost) -> None:
    """Data that is not acknowledged, and a command that is said twice."""
    since = len(host.heard)
    host.acknowledges = False
    host.send(host.raw(xy.MachineStateQuery()))

    def sends() -> list[Heard]:
        return [one for one in host.heard[since:] if isinstance(one.message, xy.MachineState)]

    polls = len(host.polls_ms)
    host.listen(RESENDS_MS, lambda: bool(sends()) and len(host.polls_ms) > polls + 1)
    host.acknowledges = True
    host.listen(ACK_MS)
    numbers = {one.frame.pack_no for one in sends()}
    holds = 2 <= len(sends()) <= xy.MAX_SENDS and len(numbers) == 1
    told = f"sent {len(sends())} times under {len(numbers)} numbers"
    findings.rule("resend", "Data without ACK is sent again with the same PackNO, five times at most", holds, told)
    raw = host.raw(xy.MachineStateQuery())
    first, second = host.send(raw), host.send(raw)
    told = f"first {'acknowledged' if first else 'not'}, second {'acknowledged' if second else 'not'}"
    findings.rule("repeat", "A command that comes again is acknowledged again", first and second, told)
    host.listen(ANSWER_MS // 2)


def _refuses(findings: Findings, host: XyHost) -> None:
    raw = host.raw(xy.MachineStateQuery())
    since = len(host.heard)
    acked = host.send(raw[:-1] + bytes([raw[-1] ^ 0x55]), times=1)
    host.listen(ACK_MS)
    answered = any(isinstance(one.message, xy.MachineState) for one in host.heard[since:])
    told = "acknowledged" if acked else "answered" if answered else "no word"
    findings.rule(
        "checksum", "A frame with a wrong XOR is neither acknowledged nor obeyed", not (acked or answered), told
    )
    host.answers_after_ms = LATE_MS
    said = host.answer(host.raw(xy.MachineStateQuery()), xy.MachineState, times=1)
    host.answers_after_ms = 0
    host.listen(ACK_MS)
    told = "not taken" if said is None else "taken all the same"
    findings.note("late", f"A command {LATE_MS} ms after its POLL ({xy.ANSWER_WITHIN_MS} ms are allowed)", told)


def _moves(findings: Findings, host: XyHost, selection: int, form: str, reports: list[xy.SelectionReport]) -> None:
    rule = "06 turns the motor once, 04 says 02 when the item has fallen"
    question = f"Selection {selection} is going to turn, twice at most; an item falls each time. Go on?"
    if not findings.may_move(question):
        findings.skip("vend", rule, "nothing was to move")
        return
    sales = host.ask(xy.ReadSales(selection), xy.Sales)
    since = len(host.heard)
    drive = host.raw(xy.Drive(drop_sensor=True, lift=False, selection=selection), form)
    if not host.send(drive, times=1):
        findings.rule("vend", rule, False, "06 is not acknowledged")
        return
    # The very same frame again, at once: what a host must never do, and what happens if a wire does it.
    host.send(drive, times=1)

    def statuses() -> list[Heard]:
        return [one for one in host.heard[since:] if isinstance(one.message, xy.DispensingStatus)]

    def finals() -> list[int]:
        said = [one.message for one in statuses()]
        return [one.status for one in said if isinstance(one, xy.DispensingStatus) and _is_end(one.status)]

    host.listen(VEND_MS, lambda: bool(finals()))
    begun = sum(isinstance(one.message, xy.DispensingStatus) and one.message.status == 1 for one in statuses())
    host.listen(ANSWER_MS)
    if begun < 2:
        begun = sum(isinstance(one.message, xy.DispensingStatus) and one.message.status == 1 for one in statuses())
    if begun > len(finals()):
        host.listen(VEND_MS, lambda: len(finals()) >= begun)
    findings.rule("vend", rule, bool(finals()) and finals()[0] == 2, f"04 said {[f'{one:02X}' for one in finals()]}")
    lengths = {len(one.frame.text) + 1 for one in statuses()}
    if lengths:
        findings.rule("vend", "04 has LEN 4", lengths == {4}, f"LEN {sorted(lengths)}", status_length=max(lengths))
    turns = max(begun, len(finals()))
    findings.note("vend", "The same 06 said twice", f"{turns} vends were begun", ignores_repeated_drive=turns == 1)
    done = finals().count(2)
    after = host.ask(xy.ReadSales(selection), xy.Sales)
    if sales is not None and after is not None and done:
        counted = after.count - sales.count
        told = f"{counted} more after {done}"
        findings.note("sales", "Menu 47 counts vends by 06", told, sales_count_host_vends=counted == done)
    stock = {one.selection: one.stock for one in reports}.get(selection)
    now = {one.selection: one.stock for one in _reported(host)}.get(selection)
    if stock is not None and now is not None and done:
        told = f"{stock} before, {now} after {done}"
        findings.note("stock", "The stock of 11 counts vends by 06", told, stock_counts_host_vends=stock - now == done)
    fell = findings.ask(f"Did exactly {done} fall?")
    if fell is not None:
        findings.rule("vend", "What 04 says is what fell", fell, "yes" if fell else "the person says no")
    if findings.is_whole:
        _power(findings, host, selection, form)


def _power(findings: Findings, host: XyHost, selection: int, form: str) -> None:
    rule = "After a power cut the controller says 31, and never a result of the vend"
    if not findings.may_move(
        f"Selection {selection} is going to turn: pull the plug in mid-turn, and put it in again."
    ):
        findings.skip("power", rule, "nothing was to move")
        return
    sales = host.ask(xy.ReadSales(selection), xy.Sales)
    since = len(host.heard)
    host.send(host.raw(xy.Drive(drop_sensor=True, lift=False, selection=selection), form), times=1)
    fell = findings.ask("When the power is back: did an item fall?")
    if fell is None:
        findings.skip("power", rule, "nobody cut the power")
        return

    def is_back() -> bool:
        return any(isinstance(one.message, xy.Synchronise) for one in host.heard[since:])

    host.listen(RESTART_MS, is_back)
    host.listen(REPORTS_MS)
    results = [
        one.message.status
        for one in host.heard[since:]
        if isinstance(one.message, xy.DispensingStatus) and _is_end(one.message.status)
    ]
    told = f"{'31' if is_back() else 'no 31'}, results {[f'{one:02X}' for one in results]}"
    findings.rule("power", rule, is_back() and not results, told)
    after = host.ask(xy.ReadSales(selection), xy.Sales)
    if fell and sales is not None and after is not None:
        counted = after.count - sales.count
        words = "Menu 47 counts an item that fell before the power went"
        findings.note("power", words, f"{counted} more", counter_survives_power_cut=counted == 1)


def _reported(host: XyHost) -> list[xy.SelectionReport]:
    since = len(host.heard)
    host.send(host.raw(xy.Synchronise()))
    host.listen(ANSWER_MS)
    return [one.message for one in host.heard[since:] if isinstance(one.message, xy.SelectionReport)]


def _is_end(status: int) -> bool:
    return xy.outcome_of(status) is not xy.Outcome.PROGRESS


def _numbers(findings: Findings, host: XyHost) -> None:
    """Over everything that was said: one counter, up by one with each exchange."""
    told, last = "in order", None
    for one in (one.frame for one in host.heard):
        if (
            last is not None
            and one != last
            and one.cmd != SYNCHRONISE
            and one.pack_no != xy.next_pack_no(last.pack_no or 0)
        ):
            told = f"{last.pack_no} and then {one.pack_no}"
            break
        last = one
    findings.rule(
        "numbers", "The controller's PackNO goes up by one from exchange to exchange", told == "in order", told
    )

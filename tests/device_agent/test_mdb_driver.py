"""The MDB driver line by line: what it approves, what it denies, and what it takes for a result."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jishan_agent.agent import Agent, Identity
from jishan_agent.dispensers import base
from jishan_agent.dispensers.mdb_lines import (
    ANSWER_MS,
    ENABLE_MS,
    END_GRACE_MS,
    MAX_SENDS,
    MAX_UNANSWERED,
    PING_MS,
    REQUEST_MS,
    SESSION_LINGERS_MS,
    START_EVERY_MS,
    START_FOR_MS,
    MdbDispenser,
)
from jishan_protocol.dispensers import mdb_lines as mdb
from jishan_protocol.errors import ProtocolError
from jishan_sim.cabinet import Slot
from jishan_sim.faces.mdb_lines import face_for
from jishan_sim.faults import Faults, from_mapping

SET_UP = [
    ("V", "v,4.0.2.0,1"),
    ("C,0", "c,0"),
    ("C,SETCONF,mdb-addr=0x10", "c,SET,OK"),
    ("C,SETCONF,mdb-currency-code=0x1156", "c,SET,OK"),
    ("C,SETCONF,mdb-decimal-places=0", "c,SET,OK"),
    ("C,SETCONF,mdb-scale-factor=1", "c,SET,OK"),
    ("C,SETCONF,mdb-always-idle=1", "c,SET,OK"),
    ("C,SETCONF,mdb-timeout-vend=180", "c,SET,OK"),
    ("C,1", "c,STATUS,INACTIVE\nc,1"),
]
ON_THE_BUS = "c,STATUS,INACTIVE\nr,ACK\nc,STATUS,DISABLED\nr,ACK\nc,STATUS,ENABLED"
STILL_ON = {"V": "v,4.0.2.0,1", "C,1": 'c,ERR,"cashless is on"'}
END = "c,STATUS,IDLE\nc,STATUS,ENABLED\nr,ACK"
LONGEST_MS = mdb.PROFILES["default"].longest_vend_ms


class Line:
    """A hand-driven adapter: each call is one moment on the wire. By itself it answers what `answers` knows."""

    def __init__(self, profile: str = "default", *, ready: bool = True) -> None:
        self.driver = MdbDispenser(mdb.PROFILES[profile])
        self.now_ms = 1_000
        self.events: list[base.DispenserEvent] = []
        self.said: list[str] = []
        self.answers: dict[str, str] = {}
        if ready:
            self.pass_ms(100)
            self.set_up()
            self.hear(ON_THE_BUS)
            self.forget()
            self.answers = STILL_ON

    def set_up(self) -> None:
        """An adapter that answers every step of the set-up."""
        answers = dict(SET_UP)
        for _ in SET_UP:
            self.hear(answers.get(self.said[-1], "c,SET,OK"))
            if self.said[-1] == "C,1":
                break
        self.hear(answers["C,1"])

    def _collect(self) -> list[str]:
        self.events += self.driver.take_events()
        said = self.driver.take_output().decode("ascii").splitlines()
        self.said += said
        return said

    def pass_ms(self, duration_ms: int, step_ms: int = 100) -> list[str]:
        """Let time pass; what the driver says in it."""
        said, end_ms = [], self.now_ms + duration_ms
        while self.now_ms < end_ms:
            self.now_ms = min(end_ms, self.now_ms + step_ms)
            self.driver.tick(self.now_ms)
            heard = self._collect()
            said += heard
            while (answer := self.answers.get(heard[-1]) if heard else None) is not None:
                heard = self.hear(answer)
                said += heard
        return said

    def hear(self, lines: str) -> list[str]:
        """Lines of the adapter; what the driver says to them."""
        self.driver.receive(lines.encode("latin-1") + b"\n", self.now_ms)
        return self._collect()

    def forget(self) -> None:
        self.events.clear()
        self.said.clear()

    def vend(self, selection: int = 5, amount: str = "2.00") -> list[str]:
        """Pressed, approved: what the driver says then."""
        self.hear(f"c,STATUS,VEND,{amount},{selection}")
        self.driver.check(selection, self.now_ms)
        self.driver.vend(selection, self.now_ms + 30_000, self.now_ms)
        return self.pass_ms(100)

    def found(self, *kinds: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kinds)]

    @property
    def results(self) -> list[Any]:
        return self.found(base.VendSucceeded, base.VendFailed, base.VendUnknown, base.StrayResult)


# --- the start -----------------------------------------------------------------------------------------------------


def test_the_adapter_is_switched_off_set_up_and_switched_on() -> None:
    line = Line(ready=False)
    line.pass_ms(100)
    for place, (said, answer) in enumerate(SET_UP):
        assert line.said[place:] == [said]
        line.hear(answer)
    assert line.events == []
    line.hear(ON_THE_BUS)
    assert line.events == [base.OnlineChanged(True)]
    assert line.driver.name == "mdb:default"


@pytest.mark.parametrize(("off", "on"), [("c,STATUS,OFFLINE", "c,STATUS,ONLINE"), ('c,ERR,"cashless is off"', "c,1")])
def test_older_words_for_on_and_off_are_understood(off: str, on: str) -> None:
    line = Line(ready=False)
    line.pass_ms(100)
    line.hear("v,1,1")
    line.hear(off)
    for _ in range(6):
        line.hear("c,SET,OK")
    line.hear(on)
    line.hear(ON_THE_BUS)
    assert line.events == [base.OnlineChanged(True)]


def test_a_machine_that_wants_credit_first_is_told_so_by_the_set_up() -> None:
    line = Line("credit-first", ready=False)
    line.pass_ms(100)
    line.set_up()
    assert "C,SETCONF,mdb-always-idle=0" in line.said


def test_a_step_whose_answer_was_lost_is_said_again_and_then_all_begins_anew() -> None:
    line = Line(ready=False)
    line.pass_ms(100)
    line.hear("v,1,1")
    line.hear("c,0")
    line.hear("c,SE?,OK")
    line.pass_ms(ANSWER_MS * MAX_SENDS)
    assert line.said[2:] == ["C,SETCONF,mdb-addr=0x10"] * MAX_SENDS
    line.forget()
    line.pass_ms(5_000)
    assert line.said[0] == "V"


def test_an_adapter_that_refuses_a_setting_is_not_sold_with() -> None:
    line = Line(ready=False)
    line.pass_ms(100)
    line.hear("v,1,1")
    line.hear("c,0")
    for _ in range(MAX_SENDS):
        line.hear("c,ERR,-2")
    line.hear(ON_THE_BUS)
    assert "C,1" not in line.said
    assert line.found(base.OnlineChanged) == []


def test_a_silent_adapter_is_asked_whether_it_is_still_on() -> None:
    line = Line()
    line.answers = {}
    assert line.pass_ms(PING_MS) == ["C,1"]
    line.hear('c,ERR,"cashless is on"')
    assert line.pass_ms(PING_MS) == ["C,1"]
    line.hear("c,ERR,cashless is on")
    assert line.events == []


@pytest.mark.parametrize("answer", ["c,STATUS,INACTIVE\nc,1", "c,1", "c,STATUS,ONLINE"])
def test_an_adapter_that_was_off_when_asked_is_set_up_again(answer: str) -> None:
    line = Line()
    line.answers = {}
    line.pass_ms(PING_MS)
    line.hear(answer)
    assert line.events == [base.OnlineChanged(False)]
    line.pass_ms(100)
    assert line.said[-1] == "V"
    line.set_up()
    line.hear(ON_THE_BUS)
    assert line.events[-1] == base.OnlineChanged(True)


def test_an_adapter_that_says_nothing_any_more_is_gone() -> None:
    line = Line()
    line.answers = {}
    line.pass_ms((PING_MS + ANSWER_MS) * MAX_UNANSWERED + 1_000)
    assert line.events == [base.OnlineChanged(False)]


@pytest.mark.parametrize("state", ["DISABLED", "INACTIVE"])
def test_a_machine_that_disables_us_does_not_sell(state: str) -> None:
    line = Line()
    line.hear(f"c,STATUS,{state}")
    assert base.OnlineChanged(False) in line.events
    assert (base.Restarted() in line.events) == (state == "INACTIVE")
    line.hear("c,STATUS,DISABLED\nc,STATUS,ENABLED")
    assert line.events[-1] == base.OnlineChanged(True)


def test_a_lost_line_that_enabled_us_is_made_good() -> None:
    line = Line(ready=False)
    line.pass_ms(100)
    line.set_up()
    line.hear("c,STATUS,INACTIVE\nc,STATUS,DISABLED\nc,STATUS,ENA")
    line.forget()
    line.answers = STILL_ON
    line.pass_ms(ENABLE_MS - 1_000)
    assert set(line.said) == {"C,1"}
    line.answers = dict(SET_UP)
    line.pass_ms(1_000)
    assert line.said[-1] == "C,1"
    assert "C,0" in line.said
    line.hear(ON_THE_BUS)
    assert line.events[-1:] == [base.OnlineChanged(True)]


# --- pressed, approved, denied -------------------------------------------------------------------------------------


def test_a_request_is_a_press_with_its_price_and_the_approval_repeats_it() -> None:
    line = Line()
    assert line.vend(5, "2.00") == ["C,VEND,2.00"]
    assert line.events == [base.Pressed(5, 2), base.Checked(5, True, "ready"), base.DriveSent(5)]
    line.hear("r,ACK\nr,ACK\nc,VEND,SUCCESS\n" + END)
    assert line.events[3:] == [base.VendSucceeded(5, True, "mdb_success")]
    line.driver.release(line.now_ms)
    assert line.vend(5) == ["C,VEND,2.00"]


def test_the_item_is_repeated_where_the_profile_says_so() -> None:
    assert Line("deny-by-vend").vend(5, "2") == ["C,VEND,2,5"]


def test_a_row_and_a_column_are_a_selection() -> None:
    line = Line("row-column")
    line.hear("c,STATUS,VEND,3.00,259")
    line.hear("c,STATUS,ENABLED")
    line.hear("c,STATUS,VEND,3.00,65535")
    assert line.found(base.Pressed) == [base.Pressed(13, 3), base.Pressed(mdb.NO_SELECTION, 3)]


@pytest.mark.parametrize("amount", ["2.50", "0", "0.00", "65535"])
def test_a_price_that_is_no_number_of_points_is_told_as_one_that_nothing_has(amount: str) -> None:
    line = Line()
    line.hear(f"c,STATUS,VEND,{amount},5")
    assert line.events == [base.Pressed(5, 0)]


@pytest.mark.parametrize(("profile", "word"), [("default", "C,STOP"), ("deny-by-vend", "C,VEND,-1")])
def test_a_choice_that_comes_to_nothing_is_denied(profile: str, word: str) -> None:
    line = Line(profile)
    line.hear("c,STATUS,VEND,2.00,5")
    line.driver.cancel(line.now_ms)
    assert line.pass_ms(100) == [word]
    line.driver.cancel(line.now_ms)
    line.hear("r,ACK\n" + END)
    assert line.pass_ms(SESSION_LINGERS_MS + 500) == []
    assert line.events == [base.Pressed(5, 2)]


def test_a_denial_that_was_lost_is_said_again() -> None:
    line = Line()
    line.hear("c,STATUS,VEND,2.00,5")
    line.driver.cancel(line.now_ms)
    assert line.pass_ms(SESSION_LINGERS_MS + 500).count("C,STOP") == 2


def test_nothing_open_is_nothing_to_deny() -> None:
    line = Line()
    line.driver.cancel(line.now_ms)
    line.driver.begin(20, line.now_ms)
    assert line.pass_ms(2_000) == []


@pytest.mark.parametrize(
    "ending", ["c,ERR,VEND 1", "c,ERR,VEND 5", "c,ERR,VEND 3", END, "c,STATUS,INACTIVE", "c,STATUS,DISABLED", "c,0"]
)
def test_a_request_that_the_machine_takes_back_is_a_choice_given_up(ending: str) -> None:
    line = Line()
    line.hear("c,STATUS,VEND,2.00,5")
    line.hear(ending)
    assert line.found(base.CancelPressed) == [base.CancelPressed()]
    assert line.results == []
    line.driver.check(5, line.now_ms)
    line.driver.vend(5, line.now_ms + 30_000, line.now_ms)
    line.driver.take_output()
    assert "C,VEND,2.00" not in line.pass_ms(500)
    assert line.found(base.Checked) == [base.Checked(5, False, "not_requested")]
    assert line.results == [base.VendFailed(5, "never_sent", "selection")]


def test_a_check_of_another_selection_than_the_one_asked_for_fails() -> None:
    line = Line()
    line.hear("c,STATUS,VEND,2.00,5")
    line.driver.check(6, line.now_ms)
    line.pass_ms(100)
    assert line.events[-1] == base.Checked(6, False, "wrong_request")


def test_the_same_request_twice_is_one() -> None:
    line = Line()
    line.hear("c,STATUS,VEND,2.00,5\nc,STATUS,VEND,2.00,5")
    assert line.events == [base.Pressed(5, 2)]


def test_another_request_without_the_end_of_the_first_is_denied_and_pressed_again() -> None:
    line = Line()
    line.hear("c,STATUS,VEND,2.00,5")
    assert line.hear("c,STATUS,VEND,3.00,6") == ["C,STOP"]
    assert line.events == [base.Pressed(5, 2), base.CancelPressed()]


def test_a_request_that_nobody_ends_is_denied_at_last() -> None:
    line = Line()
    line.hear("c,STATUS,VEND,2.00,5")
    assert "C,STOP" in line.pass_ms(REQUEST_MS, 1_000)
    assert base.CancelPressed() in line.events


# --- the approval leaves once, in time -----------------------------------------------------------------------------


def test_the_deadline_is_looked_at_when_the_bytes_leave() -> None:
    line = Line()
    line.hear("c,STATUS,VEND,2.00,5")
    line.driver.vend(5, line.now_ms + 1_000, line.now_ms)
    assert line.driver.take_output() == b""
    line.now_ms += 1_000
    line.driver.tick(line.now_ms)
    assert line.driver.take_output() == b""
    assert line.driver.take_events()[-1] == base.VendFailed(5, "never_sent", "selection")


def test_the_approval_leaves_once_whatever_is_heard() -> None:
    line = Line()
    line.vend()
    said = line.pass_ms(2_000)
    for words in ("c,STATUS,VEND,2.00,5", "r,ACK", 'c,ERR,"START -3"', "c,STATUS,DISABLED", "rubbish"):
        said += line.hear(words) + line.pass_ms(2_000)
    assert not [one for one in said if one.startswith("C,VEND") or one == "C,STOP"]


def test_a_request_that_ends_in_the_same_read_as_the_time_is_not_approved() -> None:
    line = Line()
    line.hear("c,STATUS,VEND,2.00,5")
    line.driver.vend(5, line.now_ms + 1_000, line.now_ms)
    assert line.hear("c,ERR,VEND 1\n" + END) == []
    assert base.VendFailed(5, "never_sent", "selection") in line.events


# --- results -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", ["c,ERR,VEND 3", 'c,ERR,"VEND 3"'])
def test_vend_3_is_not_dispensed_and_nothing_is_switched_off(words: str) -> None:
    line = Line()
    line.vend()
    assert line.hear(f"r,ACK\n{words}\n{END}") == []
    assert line.results == [base.VendFailed(5, "mdb_vend_3", "selection")]
    line.driver.release(line.now_ms)
    assert not {"C,0", "C,STOP"} & set(line.pass_ms(20_000))
    assert line.found(base.OnlineChanged) == []


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("c,ERR,VEND 1", "mdb_vend_1"),
        ('c,ERR,"VEND 5"', "mdb_vend_5"),
        ("c,ERR,VEND 7", "mdb_vend_7"),
        ("c,ERR,-3", "mdb_-3"),
        ('c,ERR,"cashless is off"', "mdb_refused"),
        ('c,UNKNOWN,"C,VEND"', "mdb_not_understood"),
        ("c,STATUS,INACTIVE", "machine_reset"),
        ("c,0", "adapter_off"),
        ("c,STATUS,OFFLINE", "adapter_off"),
    ],
)
def test_what_ends_a_vend_without_its_result_leaves_it_unknown(words: str, reason: str) -> None:
    line = Line()
    line.vend()
    line.hear(words)
    assert line.results == [base.VendUnknown(5, reason)]
    line.hear(words)
    assert len(line.results) == 1


@pytest.mark.parametrize(("words", "closes"), [("VEND -3", "selection"), ("VEND -2", "machine")])
def test_an_approval_that_the_adapter_did_not_take_dispensed_nothing(words: str, closes: base.Closes) -> None:
    line = Line()
    line.vend()
    said = line.hear(f'c,ERR,"{words}"')
    code = f"mdb_{words.lower().replace(' ', '_')}"
    assert line.results == [base.VendFailed(5, code, closes)]
    assert said == (["C,STOP"] if words == "VEND -2" else [])


def test_an_error_about_the_approval_after_the_machine_has_gone_on_is_not_believed() -> None:
    line = Line()
    line.vend()
    line.hear("c,STATUS,ENABLED")
    line.hear('c,ERR,"VEND -3"')
    assert line.results == [base.VendUnknown(5, "mdb_vend_-3")]


def test_the_end_of_the_session_without_a_result_is_unknown_after_a_moment() -> None:
    line = Line()
    line.vend()
    line.hear("r,ACK\n" + END)
    line.pass_ms(END_GRACE_MS - 200)
    assert line.results == []
    line.pass_ms(400)
    assert line.results == [base.VendUnknown(5, "no_result")]


def test_a_result_right_after_the_end_of_the_session_still_counts() -> None:
    line = Line()
    line.vend()
    line.hear(END)
    line.pass_ms(500)
    line.hear("c,VEND,SUCCESS")
    line.pass_ms(10_000)
    assert line.results == [base.VendSucceeded(5, True, "mdb_success")]


def test_silence_for_the_longest_time_of_a_vend_is_unknown_and_nothing_but_presence_is_asked() -> None:
    line = Line()
    line.vend()
    line.said.clear()
    line.pass_ms(LONGEST_MS - 1_000)
    assert line.results == []
    line.pass_ms(1_000)
    assert line.results == [base.VendUnknown(5, "no_result")]
    assert set(line.said) == {"V"}


def test_an_adapter_that_is_pulled_out_in_a_vend_leaves_it_unknown() -> None:
    line = Line()
    line.vend()
    line.answers = {}
    line.pass_ms((PING_MS + ANSWER_MS) * MAX_UNANSWERED + 1_000)
    assert line.results == [base.VendUnknown(5, "adapter_gone")]


@pytest.mark.parametrize("profile", ["default", "no-drop-sensor"])
def test_a_success_is_verified_only_by_a_drop_sensor(profile: str) -> None:
    line = Line(profile)
    line.vend()
    line.hear("c,VEND,SUCCESS")
    assert line.results == [base.VendSucceeded(5, profile == "default", "mdb_success")]


def test_a_doubled_result_says_nothing_and_a_contradicting_one_is_a_stray() -> None:
    line = Line()
    line.vend()
    line.hear("c,VEND,SUCCESS\nc,VEND,SUCCESS\n" + END)
    line.driver.release(line.now_ms)
    line.hear("c,VEND,SUCCESS")
    assert len(line.results) == 1
    line.hear("c,ERR,VEND 3")
    assert line.results[1:] == [base.StrayResult(5, "mdb_vend_3")]


def test_a_result_without_any_vend_is_a_stray() -> None:
    line = Line()
    line.hear("c,VEND,SUCCESS")
    assert line.events == [base.StrayResult(mdb.NO_SELECTION, "mdb_success")]


@pytest.mark.parametrize("words", ["c,ERR,VEND 3", 'c,ERR,"STOP -3"', "c,ERR,-3", 'c,UNKNOWN,"C"', "c,ERR,VEND 1"])
def test_an_error_with_nothing_under_way_changes_nothing_and_the_next_vend_is_as_good(words: str) -> None:
    line = Line()
    line.hear(words)
    assert line.vend() == ["C,VEND,2.00"]
    line.hear("c,VEND,SUCCESS\n" + END)
    assert line.results[-1] == base.VendSucceeded(5, True, "mdb_success")


# --- to rest -------------------------------------------------------------------------------------------------------


def test_after_an_unknown_vend_the_adapter_is_switched_off_and_on_when_the_longest_vend_is_over() -> None:
    line = Line()
    line.vend()
    line.hear("c,ERR,VEND 5\nc,STATUS,INACTIVE\nc,STATUS,DISABLED\nc,STATUS,ENABLED")
    line.driver.recover(5, None, line.now_ms)
    line.said.clear()
    line.pass_ms(LONGEST_MS - 1_000)
    assert set(line.said) <= {"V"}
    line.answers = dict(SET_UP)
    line.pass_ms(1_000)
    assert line.said[-1] == "C,1"
    assert line.found(base.AtRest) == []
    line.hear(ON_THE_BUS)
    assert line.found(base.AtRest) == [base.AtRest()]
    assert line.vend() == ["C,VEND,2.00"]


def test_a_late_result_belongs_to_the_unknown_vend() -> None:
    line = Line()
    line.vend()
    line.hear(END)
    line.pass_ms(END_GRACE_MS)
    line.driver.recover(5, None, line.now_ms)
    line.pass_ms(1_000)
    line.hear("c,ERR,VEND 3")
    assert line.results == [base.VendUnknown(5, "no_result"), base.VendFailed(5, "mdb_vend_3", "selection")]
    line.driver.release(line.now_ms)
    line.hear("c,VEND,SUCCESS")
    assert line.results[2:] == [base.StrayResult(5, "mdb_success")]


def test_what_is_pressed_before_rest_is_denied_at_once_and_not_told() -> None:
    line = Line()
    line.vend()
    line.hear("c,ERR,VEND 1\n" + END)
    line.driver.recover(5, None, line.now_ms)
    line.forget()
    assert line.hear("c,STATUS,VEND,2.00,6") == ["C,STOP"]
    assert line.events == []


def test_a_new_run_does_not_disturb_a_vend_that_may_be_under_way() -> None:
    line = Line(ready=False)
    line.driver.recover(5, None, line.now_ms)
    line.pass_ms(100)
    line.hear("v,1,1")
    assert set(line.pass_ms(10_000)) <= {"V"}
    line.hear("c,VEND,SUCCESS\n" + END)
    assert line.results == [base.VendSucceeded(5, True, "mdb_success")]
    line.driver.release(line.now_ms)
    line.answers = dict(SET_UP)
    line.pass_ms(LONGEST_MS)
    line.hear(ON_THE_BUS)
    assert line.found(base.AtRest) == [base.AtRest()]


# --- whatever is heard ---------------------------------------------------------------------------------------------

HEARD = [
    "c,STATUS,VEND,2.00,5",
    "c,STATUS,VEND,3.00,6",
    "c,STATUS,IDLE",
    "c,STATUS,IDLE,20.00",
    "c,STATUS,ENABLED",
    "c,STATUS,DISABLED",
    "c,STATUS,INACTIVE",
    "c,VEND,SUCCESS",
    "c,ERR,VEND 3",
    "c,ERR,VEND 1",
    "c,ERR,VEND 5",
    'c,ERR,"VEND -2"',
    'c,ERR,"VEND -3"',
    "c,ERR,-3",
    "c,SET,OK",
    "c,0",
    "c,1",
    "v,1,1",
    'c,ERR,"cashless is on"',
    'c,ERR,"cashless is off"',
    'c,UNKNOWN,"C"',
    "\xff",
]
DONE = ["begin", "cancel", "vend 5", "vend 6", "too late 5", "pass 100", "pass 3000", "pass 70000"]


@pytest.mark.parametrize("profile", ["default", "old-credit-first", "display"])
@given(story=st.lists(st.sampled_from(HEARD + DONE * 3), max_size=60))
def test_no_story_lets_two_approvals_leave_for_one_vend_or_one_without_a_request(
    profile: str, story: list[str]
) -> None:
    """A host that keeps the agent's rules, and an adapter that keeps none."""
    line = Line(profile)
    line.answers = dict(SET_UP)
    vending: int | None = None
    is_resting = False
    vends = approvals = 0
    for what in story:
        before = len(line.events)
        said: list[str] = []
        if what in HEARD:
            said = line.hear(what)
        elif what == "begin":
            line.driver.begin(20, line.now_ms)
        elif what == "cancel" and vending is None:
            line.driver.cancel(line.now_ms)
        elif what[-1] in "56" and vending is None and not is_resting:
            line.driver.check(int(what[-1]), line.now_ms)
            (checked,) = line.driver.take_events()
            if isinstance(checked, base.Checked) and checked.is_sellable:
                vending, vends = checked.selection, vends + 1
                line.driver.vend(vending, line.now_ms + (1_000 if what.startswith("vend") else 0), line.now_ms)
        elif what.startswith("pass"):
            said = line.pass_ms(int(what[5:]), 500)
        said += line.driver.take_output().decode("ascii").splitlines()
        line.events += line.driver.take_events()
        approved = [one for one in said if one.startswith("C,VEND,") and one != "C,VEND,-1"]
        approvals += len(approved)
        assert not approved or vending is not None
        assert all(one in ("C,VEND,2.00", "C,VEND,3.00") for one in approved)
        assert approvals <= vends
        for event in line.events[before:]:
            match event:
                case base.VendSucceeded() | base.VendFailed():
                    assert event.selection == vending or is_resting
                    line.driver.release(line.now_ms)
                    vending = None
                case base.VendUnknown():
                    assert event.selection == vending
                    line.driver.recover(event.selection, None, line.now_ms)
                    vending, is_resting = None, True
                case base.AtRest():
                    assert is_resting
                    is_resting = False


# --- credit first --------------------------------------------------------------------------------------------------


def test_whoever_identifies_first_gives_the_machine_credit() -> None:
    line = Line("credit-first")
    line.driver.begin(20, line.now_ms)
    assert line.pass_ms(200) == ["C,START,20"]
    line.hear("c,STATUS,IDLE,20.00\nr,ACK")
    assert line.pass_ms(START_EVERY_MS * 3) == []
    assert line.vend() == ["C,VEND,2.00"]


def test_credit_that_is_not_taken_yet_is_offered_again_for_a_while() -> None:
    line = Line("credit-first")
    line.driver.begin(20, line.now_ms)
    line.pass_ms(200)
    line.hear('c,ERR,"START -3"')
    said = line.pass_ms(START_FOR_MS + 5_000)
    offers = said.count("C,START,20")
    assert 0.7 * START_FOR_MS / START_EVERY_MS <= offers <= START_FOR_MS / START_EVERY_MS


def test_a_session_that_comes_to_nothing_is_ended() -> None:
    line = Line("credit-first")
    line.driver.begin(20, line.now_ms)
    line.pass_ms(200)
    line.hear("c,STATUS,IDLE,20.00\nr,ACK")
    line.driver.cancel(line.now_ms)
    assert line.pass_ms(200) == ["C,STOP"]
    line.hear("r,ACK\n" + END)
    assert line.pass_ms(4_000) == []
    assert line.found(base.CancelPressed) == []


def test_a_session_that_the_machine_ends_is_given_up() -> None:
    line = Line("credit-first")
    line.driver.begin(20, line.now_ms)
    line.pass_ms(200)
    line.hear("c,STATUS,IDLE,20.00\nr,ACK")
    line.hear("c,STATUS,ENABLED")
    assert line.events == [base.CancelPressed()]


def test_credit_left_in_a_session_after_its_vend_is_taken_back() -> None:
    line = Line("credit-first")
    line.driver.begin(20, line.now_ms)
    line.pass_ms(200)
    line.hear("c,STATUS,IDLE,20.00")
    line.vend()
    line.hear("c,VEND,SUCCESS\nc,STATUS,IDLE,18.00")
    line.driver.release(line.now_ms)
    assert "C,STOP" in line.pass_ms(SESSION_LINGERS_MS + 200)


def test_whoever_presses_another_after_one_that_is_not_sold_keeps_the_session() -> None:
    line = Line("old-credit-first")
    line.driver.begin(20, line.now_ms)
    line.pass_ms(200)
    line.hear("c,STATUS,IDLE,20.00")
    line.hear("c,STATUS,VEND,2.00,5")
    line.driver.cancel(line.now_ms)
    line.driver.begin(20, line.now_ms)
    assert line.pass_ms(200) == ["C,VEND,-1", "C,START,20"]
    line.hear("r,ACK\n" + END + '\nc,ERR,"START -3"')
    assert line.pass_ms(START_EVERY_MS) == ["C,START,20"]
    line.hear("c,STATUS,IDLE,20.00")
    assert line.vend(6) == ["C,VEND,2.00"]


# --- the display ---------------------------------------------------------------------------------------------------


def test_the_machines_display_is_silent_by_default_and_speaks_only_while_it_can() -> None:
    for profile in ("default", "display"):
        line = Line(profile)
        line.driver.begin(20, line.now_ms)
        line.pass_ms(100)
        line.vend()
        line.hear("c,VEND,SUCCESS")
        line.pass_ms(100)
        line.hear(END)
        line.driver.release(line.now_ms)
        line.pass_ms(100)
        line.hear("c,STATUS,VEND,2.00,6")
        line.driver.cancel(line.now_ms)
        line.hear("r,ACK\n" + END)
        line.pass_ms(100)
        shown = [said.removeprefix("C,DISPLAY,") for said in line.said if said.startswith("C,DISPLAY,")]
        assert shown == (["CHOOSE A PRODUCT", "TAKE IT - THANK YOU", "NO SALE"] if profile == "display" else [])


# --- with the machine and the whole agent --------------------------------------------------------------------------


class End:
    """The simulated machine on the bench's wire."""

    def __init__(self, profile: str, prices: dict[int, int], faults: Faults) -> None:
        slots = [Slot(selection, 5, 5, price=price) for selection, price in prices.items()]
        self.face = face_for(slots, mdb.PROFILES[profile], faults, Random(1))
        self.face.power_on(0)

    def output(self, now_ms: int) -> bytes:
        self.face.tick(now_ms)
        return self.face.take_output()

    def receive(self, data: bytes, now_ms: int) -> bytes:
        self.face.receive(data, now_ms)
        return self.face.take_output()


def on_mdb(make_bench: Callable[..., Any], profile: str = "default", **faults: Any) -> Any:
    """The bench with an MDB machine in place of its controller; 13 costs 2 points there, 14 one point too many."""
    bench = make_bench()
    bench.dispenser = MdbDispenser(mdb.PROFILES[profile])
    bench.vmc = End(profile, {13: 2, 14: 21}, from_mapping(faults))
    identity = Identity("m1", 7, 1, {1: bytes(range(32))}, bytes(range(32, 64)))
    bench.agent = Agent(identity, bench.journal, bench.dispenser, bench.publish, Random(1))
    bench.agent.start(bench.now_ms)
    bench.ready()
    return bench


@pytest.mark.parametrize("profile", ["default", "old", "deny-by-vend", "display", "no-drop-sensor"])
def test_a_resident_presses_on_the_machine_taps_and_gets_the_item(make_bench: Callable[..., Any], profile: str) -> None:
    bench = on_mdb(make_bench, profile)
    bench.vmc.face.press(13, bench.now_ms)
    bench.run(1_000)
    assert bench.said == "identify"
    bench.tap()
    bench.until("Dispensed")
    assert bench.server.names() == ["VendStarted", "Dispensed"]
    assert bench.vmc.face.cabinet.items_dropped(13) == 1


@pytest.mark.parametrize("profile", ["credit-first", "old-credit-first"])
def test_a_resident_taps_presses_on_the_machine_and_gets_the_item(make_bench: Callable[..., Any], profile: str) -> None:
    bench = on_mdb(make_bench, profile)
    bench.vmc.face.press(13, bench.now_ms)
    bench.run(1_000)
    assert bench.said != "identify", "the machine asks for nothing without credit"
    bench.tap()
    bench.run(1_000)
    bench.vmc.face.press(13, bench.now_ms)
    bench.until("Dispensed")
    assert bench.vmc.face.cabinet.items_dropped(13) == 1


def test_a_price_on_the_machine_that_is_not_the_servers_is_denied(make_bench: Callable[..., Any]) -> None:
    bench = on_mdb(make_bench)
    bench.vmc.face.press(14, bench.now_ms)
    bench.run(1_000)
    assert bench.said == "changed"
    bench.tap()
    bench.run(5_000)
    assert bench.server.asks == []
    assert bench.vmc.face.cabinet.turns == 0
    bench.vmc.face.press(13, bench.now_ms)
    bench.until("Dispensed")


def test_what_the_server_denies_the_machine_is_denied(make_bench: Callable[..., Any]) -> None:
    bench = on_mdb(make_bench)
    bench.deny()
    bench.tap()
    bench.vmc.face.press(13, bench.now_ms)
    bench.run(5_000)
    assert bench.said == "denied:not_enough_points"
    assert bench.vmc.face.cabinet.turns == 0
    assert mdb.Stop() in [read(one.raw) for one in bench.vmc.face.log if one.sender == "host"]


def test_whoever_takes_the_choice_back_at_the_machine_spends_nothing(make_bench: Callable[..., Any]) -> None:
    bench = on_mdb(make_bench)
    bench.server.answer = lambda ask: None
    bench.tap()
    bench.vmc.face.press(13, bench.now_ms)
    bench.run(1_000)
    bench.vmc.face.press(0, bench.now_ms)
    bench.until("NotStarted")
    assert bench.vmc.face.cabinet.turns == 0


def test_a_jam_gives_the_points_back_and_a_power_cut_keeps_them_held(make_bench: Callable[..., Any]) -> None:
    bench = on_mdb(make_bench, once=[{"jam": 1}, {"power_cut": 1, "power_cut_ms": 1_700}])
    bench.tap()
    bench.vmc.face.press(13, bench.now_ms)
    bench.until("NotDispensed")
    bench.vmc.face.cabinet.refill(13)
    bench.vmc.face.report(13, bench.now_ms)
    bench.reopen()
    bench.tap()
    bench.vmc.face.press(13, bench.now_ms)
    bench.until("OutcomeUnknown")
    bench.run(120_000)
    assert bench.agent.status.is_selling
    assert [name for name in bench.server.names() if name != "Fault"] == [
        "VendStarted",
        "NotDispensed",
        "VendStarted",
        "OutcomeUnknown",
    ]
    assert bench.vmc.face.cabinet.items_dropped(13) == 1


def read(raw: bytes) -> mdb.Message | None:
    try:
        return mdb.read(raw.decode("ascii").strip())
    except (ProtocolError, UnicodeDecodeError):
        return None

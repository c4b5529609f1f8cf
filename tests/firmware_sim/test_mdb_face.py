"""What a host hears of a simulated MDB machine and its adapter: when nothing is wrong, and under each fault."""

from __future__ import annotations

import json
import shlex
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any

import pytest
from click.testing import CliRunner

from jishan_protocol.dispensers import mdb_lines as mdb
from jishan_sim.__main__ import main
from jishan_sim.cabinet import Slot
from jishan_sim.control import create_app
from jishan_sim.faces import FACES
from jishan_sim.faces.card_reader import READERS
from jishan_sim.faces.mdb_lines import BOOT_MS, BUS_SILENT_MS, MACHINE_WAITS_MS, MdbFace, face_for
from jishan_sim.faults import from_mapping
from jishan_sim.machine import Machine
from jishan_sim.ports import open_port

PRICE = 2
VEND_MS = 12_000  # longer than any vend without a hold
SUCCESS = ["c,VEND,SUCCESS", "c,STATUS,IDLE", "c,STATUS,ENABLED", "r,ACK"]
FAILURE = ["c,ERR,VEND 3", "c,STATUS,IDLE", "c,STATUS,ENABLED", "r,ACK"]
TAKEN_BACK = ["c,ERR,VEND 1", "c,STATUS,IDLE", "c,STATUS,ENABLED"]
RESET = ["c,STATUS,INACTIVE", "r,ACK", "c,STATUS,DISABLED", "r,ACK", "c,STATUS,ENABLED"]


class Bench:
    """A machine, its adapter, and a terminal on the adapter's plug."""

    def __init__(self, profile: str = "default", faults: dict[str, Any] | None = None, seed: int = 1) -> None:
        slots = [Slot(selection, 5, 5, price=PRICE) for selection in (1, 2, 13)]
        self.face: MdbFace = face_for(slots, mdb.PROFILES[profile], from_mapping(faults or {}), Random(seed))
        self.cabinet = self.face.cabinet
        self.now_ms = 0

    def started(self) -> Bench:
        """Power, an adapter that is set up and switched on, and a machine that has enabled it."""
        self.face.power_on(0)
        always_idle = int(self.face.profile.always_idle)
        self.type("C,0", f"C,SETCONF,mdb-always-idle={always_idle}", "C,1")
        self.run(3_000)
        return self

    def heard(self) -> list[str]:
        return self.face.take_output().decode("latin-1").splitlines()

    def type(self, *lines: str) -> list[str]:
        """Type lines; what comes at once."""
        for line in lines:
            self.face.receive(line.encode("latin-1") + b"\n", self.now_ms)
        return self.heard()

    def run(self, for_ms: int) -> list[str]:
        """What comes while time passes."""
        end_ms, heard = self.now_ms + for_ms, []
        while self.now_ms < end_ms:
            due_ms = self.face.next_wakeup_ms
            self.now_ms = min(end_ms, end_ms if due_ms is None else max(due_ms, self.now_ms))
            self.face.tick(self.now_ms)
            heard += self.heard()
        return heard

    def press(self, selection: int) -> list[str]:
        self.face.press(selection, self.now_ms)
        return self.heard()

    def cause(self, **faults: Any) -> None:
        self.face.set_faults(from_mapping(faults))

    def vend(self, selection: int = 1, **vend: Any) -> list[str]:
        """Press, approve, and wait."""
        self.cause(vend=vend)
        assert self.press(selection) == [f"c,STATUS,VEND,2.00,{selection}"]
        return self.type("C,VEND,2.00") + self.run(VEND_MS)


# --- nothing is wrong ----------------------------------------------------------------------------------------------


def test_a_whole_vend_goes_as_the_documents_tell_it() -> None:
    bench = Bench()
    bench.face.power_on(0)
    bench.run(2_000)
    assert bench.type("V") == ["v,4.0.2.0,JISHANSIM1"]
    assert bench.type("C,0") == ["c,0"]
    assert bench.type("C,SETCONF,mdb-always-idle=1") == ["c,SET,OK"]
    assert bench.type("C,1") == ["c,STATUS,INACTIVE", "c,1"]
    assert bench.run(1_000) == RESET
    assert bench.press(1) == ["c,STATUS,VEND,2.00,1"]
    assert bench.type("C,VEND,2,1") == ["r,ACK"]
    assert bench.run(VEND_MS) == SUCCESS
    assert (bench.cabinet.turns, bench.cabinet.items_dropped(1)) == (1, 1)


def test_older_firmware_has_other_words_and_quotes() -> None:
    bench = Bench("old")
    bench.face.power_on(0)
    assert bench.type("C,0", "C,1", "C,1") == [
        "c,STATUS,OFFLINE",
        "c,STATUS,INACTIVE",
        "c,STATUS,ONLINE",
        'c,ERR,"cashless is on"',
    ]
    assert bench.type("C,0", "C,SETCONF,mdb-always-idle=1", "C,1")
    bench.run(3_000)
    assert bench.vend(jam=1)[1] == 'c,ERR,"VEND 3"'


def test_a_row_and_a_column_are_one_item_number() -> None:
    assert Bench("row-column").started().press(13) == ["c,STATUS,VEND,2.00,259"]


def test_a_slot_that_has_no_item_number_is_refused_at_the_start() -> None:
    with pytest.raises(ValueError, match="2560"):
        FACES["mdb"].make("row-column", [Slot(2_560, 5, 5)], from_mapping({}), Random(1))


@pytest.mark.parametrize("word", ["C,STOP", "C,VEND,-1"])
def test_a_denied_request_turns_nothing_and_the_next_is_taken(word: str) -> None:
    bench = Bench().started()
    bench.press(1)
    assert bench.type(word) == ["r,ACK", "c,STATUS,IDLE", "c,STATUS,ENABLED"]
    assert bench.run(VEND_MS) == []
    assert bench.cabinet.turns == 0
    assert bench.vend()[1:] == SUCCESS


def test_a_machine_that_wants_credit_first_takes_no_press_without_it() -> None:
    bench = Bench("credit-first").started()
    assert bench.press(1) == []
    assert bench.type("C,START,1") == ["c,STATUS,IDLE,1.00", "r,ACK"]
    assert bench.press(1) == [], "the credit is too small"
    assert bench.type("C,START,5") == ['c,ERR,"START -3"']
    assert bench.type("C,STOP") == ["r,ACK", "c,STATUS,IDLE", "c,STATUS,ENABLED"]
    assert bench.type("C,START,5") == ["c,STATUS,IDLE,5.00", "r,ACK"]
    assert bench.press(1) == ["c,STATUS,VEND,2.00,1"]
    assert bench.type("C,VEND,2.00") + bench.run(VEND_MS) == ["r,ACK", *SUCCESS]
    assert bench.press(1) == []


def test_a_machine_that_asks_first_begins_no_session() -> None:
    assert Bench().started().type("C,START,5") == ['c,ERR,"START -3"']


def test_without_the_setting_an_adapter_lets_nobody_press_first() -> None:
    bench = Bench()
    bench.face.power_on(0)
    bench.type("C,1")
    bench.run(3_000)
    assert bench.press(1) == []


@pytest.mark.parametrize("taken_back_by", ["key", "time", "door"])
def test_a_request_that_the_machine_takes_back_is_over(taken_back_by: str) -> None:
    bench = Bench().started()
    bench.press(1)
    if taken_back_by == "key":
        heard = bench.press(0)
    elif taken_back_by == "time":
        heard = bench.run(MACHINE_WAITS_MS)
    else:
        bench.cabinet.open_door(True)
        bench.face.tick(bench.now_ms)
        heard = bench.heard()
    assert heard[:3] == TAKEN_BACK
    assert bench.type("C,VEND,2.00") == ['c,ERR,"VEND -3"']
    bench.run(VEND_MS)
    assert bench.cabinet.turns == 0


def test_a_session_in_which_nobody_presses_ends() -> None:
    bench = Bench("credit-first").started()
    bench.type("C,START,5")
    assert bench.run(MACHINE_WAITS_MS) == ["c,STATUS,IDLE", "c,STATUS,ENABLED"]


def test_an_open_door_disables_the_reader_until_it_is_closed() -> None:
    bench = Bench().started()
    bench.cabinet.open_door(True)
    bench.face.tick(bench.now_ms)
    assert bench.heard() == ["c,STATUS,DISABLED"]
    assert bench.press(1) == []
    assert bench.run(5_000) == []
    bench.cabinet.open_door(False)
    assert bench.run(1_000) == ["c,STATUS,ENABLED"]
    assert bench.vend()[1:] == SUCCESS


def test_keys_do_nothing_while_a_request_waits_or_a_motor_turns() -> None:
    bench = Bench().started()
    bench.press(1)
    assert bench.press(2) == []
    bench.type("C,VEND,2.00")
    bench.run(1_000)
    assert bench.press(2) == []
    bench.run(VEND_MS)
    assert bench.press(2) == ["c,STATUS,VEND,2.00,2"]


@pytest.mark.parametrize("why", ["sold_out", "paused", "no_such"])
def test_what_the_machine_does_not_sell_is_not_asked_for(why: str) -> None:
    bench = Bench().started()
    slot = bench.cabinet.slots[1]
    slot.stock, slot.paused = (0 if why == "sold_out" else 5), why == "paused"
    assert bench.press(99 if why == "no_such" else 1) == []


def test_a_price_is_what_a_person_has_set() -> None:
    bench = Bench().started()
    bench.cabinet.set_price(1, 7)
    assert bench.press(1) == ["c,STATUS,VEND,7.00,1"]


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("C,VEND,2.00", 'c,ERR,"VEND -3"'),
        ("C,VEND,-1", 'c,ERR,"VEND -3"'),
        ("C,VEND,two", 'c,ERR,"VEND -2"'),
        ("C,VEND,1e9", 'c,ERR,"VEND -2"'),
        ("C,STOP", 'c,ERR,"STOP -3"'),
        ("C,1", 'c,ERR,"cashless is on"'),
        ("C,SETCONF,mdb-scale-factor=1", 'c,ERR,"cashless is on"'),
        ("C,JUMP", 'c,UNKNOWN,"C,JUMP"'),
        ("C", 'c,UNKNOWN,"C"'),
        ('"C"', 'c,UNKNOWN,"C"'),
        ("C,VEND,2.00,65536", 'c,UNKNOWN,"C,VEND,2.00,65536"'),
        ("C,DISPLAY,HELLO", "r,ACK"),
        ("\x00C,1", 'c,UNKNOWN,""'),
    ],
)
def test_what_cannot_be_done_is_refused_in_the_adapters_words(line: str, answer: str) -> None:
    bench = Bench().started()
    assert bench.type(line) == [answer]
    assert bench.vend()[1:] == SUCCESS


@pytest.mark.parametrize("line", ["C,VEND,2.00", "C,VEND,-1", "C,STOP", "C,START,5", "C,DISPLAY,HELLO"])
def test_an_adapter_that_is_off_passes_nothing_on(line: str) -> None:
    bench = Bench()
    bench.face.power_on(0)
    assert bench.type(line) == ['c,ERR,"cashless is off"']
    assert bench.run(5_000) == []


def test_a_setting_that_is_none_is_refused() -> None:
    for setting in ("mdb-nonsense=1", "mdb-always-idle=11", "mdb-decimal-places=4", "mdb-addr=0x11"):
        assert Bench().type("C,0", f"C,SETCONF,{setting}") == ["c,0", "c,ERR,-2"]


def test_the_display_shows_what_the_host_says_between_vends_only() -> None:
    bench = Bench().started()
    bench.type("C,DISPLAY,HELLO")
    bench.press(1)
    assert bench.type("C,DISPLAY,HURRY") == ["c,ERR,-3"]
    assert bench.face.displayed == "HELLO"


# --- faults --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("vend", "heard", "dropped"),
    [
        ({"jam": 1}, FAILURE, 0),
        ({"no_drop": 1}, FAILURE, 0),
        ({"motor_missing": 1}, FAILURE, 0),
        ({"motor_runs_on": 1}, FAILURE, 0),
        ({"slow": 1}, SUCCESS, 1),
        ({"double_drop": 1}, SUCCESS, 2),
        ({"status_lost": 1}, SUCCESS[1:], 1),
        ({"status_doubled": 1}, SUCCESS[:1] + SUCCESS, 1),
        ({"wrong_status": 1}, SUCCESS[:1] + FAILURE, 1),
    ],
)
def test_a_fault_of_the_vend_is_told_as_the_machine_would(vend: dict[str, Any], heard: list[str], dropped: int) -> None:
    bench = Bench().started()
    assert bench.vend(**vend) == ["r,ACK", *heard]
    assert bench.cabinet.items_dropped(1) == dropped


def test_a_lost_bus_acknowledgement_changes_nothing_else() -> None:
    assert Bench().started().vend(ack_lost=1) == SUCCESS


def test_a_result_that_is_held_comes_later() -> None:
    bench = Bench().started()
    assert bench.vend(hold_status_ms=30_000) == ["r,ACK"]
    assert bench.press(2) == [], "the machine is not done"
    assert bench.run(30_000) == SUCCESS


def test_a_jam_stays_jammed_until_a_service_person_has_been_there() -> None:
    bench = Bench().started()
    bench.vend(jam=1)
    assert bench.press(1) == []
    bench.cabinet.refill(1)
    bench.face.report(1, bench.now_ms)
    assert bench.vend()[1:] == SUCCESS


def test_without_a_drop_sensor_a_turn_that_drops_nothing_is_a_success() -> None:
    bench = Bench("no-drop-sensor").started()
    assert bench.vend(no_drop=1)[1:] == SUCCESS
    assert bench.cabinet.items_dropped(1) == 0


def test_a_blind_sensor_lies_and_a_stuck_one_turns_no_motor() -> None:
    for sensor, turns in (("blind", 1), ("stuck", 0)):
        bench = Bench().started()
        bench.cause(drop_sensor=sensor)
        bench.press(1)
        assert bench.type("C,VEND,2.00") + bench.run(VEND_MS) == ["r,ACK", *FAILURE]
        assert (bench.cabinet.turns, bench.cabinet.items_dropped(1)) == (turns, turns)


@pytest.mark.parametrize(("power_cut_ms", "dropped"), [(-100, 0), (1_000, 0), (1_700, 1)])
def test_a_power_cut_in_the_vend_is_a_reset_when_the_machine_is_back(power_cut_ms: int, dropped: int) -> None:
    bench = Bench().started()
    heard = bench.vend(power_cut=1, power_cut_ms=power_cut_ms)
    assert heard == ["r,ACK", "c,ERR,VEND 5", *RESET]
    assert bench.cabinet.items_dropped(1) == dropped
    assert bench.vend(2)[1:] == SUCCESS


def test_a_machine_that_stays_without_power_is_given_up_by_its_adapter() -> None:
    bench = Bench().started()
    bench.press(1)
    bench.type("C,VEND,2.00")
    bench.face.power_cut(bench.now_ms)
    assert bench.run(BUS_SILENT_MS) == ["c,STATUS,INACTIVE"]
    assert bench.type("C,VEND,2.00") == ['c,ERR,"VEND -3"']
    bench.face.power_on(bench.now_ms)
    assert bench.run(BOOT_MS + 1_000) == RESET
    assert bench.vend(2)[1:] == SUCCESS


def test_a_machine_without_power_leaves_its_adapter_alone_for_a_moment() -> None:
    bench = Bench().started()
    bench.press(1)
    bench.face.power_cut(bench.now_ms)
    assert bench.press(2) == []
    assert bench.type("V") == ["v,4.0.2.0,JISHANSIM1"]
    assert bench.type("C,VEND,2.00") == []
    bench.face.power_on(bench.now_ms)
    assert bench.run(BOOT_MS + 1_000) == ["c,ERR,VEND 5", *RESET]
    assert bench.cabinet.turns == 0


def test_an_adapter_that_is_pulled_out_forgets_all_and_the_machine_goes_on() -> None:
    bench = Bench().started()
    bench.press(1)
    bench.type("C,VEND,2.00")
    bench.run(1_000)
    bench.cause(unplugged=True)
    assert bench.type("V") + bench.run(1_000) == []
    bench.cause()
    assert bench.run(VEND_MS) == []
    assert bench.cabinet.items_dropped(1) == 1
    assert bench.type("C,STOP", "C,1") == ['c,ERR,"cashless is off"', "c,STATUS,INACTIVE", "c,1"]


def test_a_result_of_before_the_reset_is_never_told_about_a_later_vend() -> None:
    bench = Bench().started()
    bench.vend(1, hold_status_ms=20_000, jam=1)
    bench.type("C,0", "C,1")
    assert bench.run(1_000) == RESET
    bench.cause()
    bench.press(2)
    heard = bench.type("C,VEND,2.00") + bench.run(30_000)
    assert heard == ["r,ACK", *SUCCESS]


def test_an_adapter_that_is_set_up_again_is_enabled_only_when_nothing_turns() -> None:
    bench = Bench().started()
    bench.cause(vend={"slow": 1})
    bench.press(1)
    bench.type("C,VEND,2.00")
    bench.run(500)
    bench.type("C,0", "C,1")
    assert bench.run(3_000) == RESET[:-1]
    assert bench.run(VEND_MS) == RESET[-1:]
    assert bench.cabinet.turning is None


def test_a_silent_adapter_hears_and_obeys() -> None:
    bench = Bench().started()
    bench.press(1)
    bench.cause(silent=True)
    assert bench.type("C,VEND,2.00") + bench.run(VEND_MS) == []
    assert bench.cabinet.items_dropped(1) == 1


@pytest.mark.parametrize(
    ("line", "heard"),
    [
        ({"frame_loss": 1}, []),
        ({"frame_double": 1}, ["c,STATUS,VEND,2.00,1"] * 2),
    ],
)
def test_lines_of_the_adapter_are_lost_and_doubled(line: dict[str, Any], heard: list[str]) -> None:
    bench = Bench().started()
    bench.cause(line=line)
    assert bench.press(1) == heard


@pytest.mark.parametrize("fault", ["bad_checksum", "cut_frame", "noise", "byte_flip", "byte_loss"])
def test_a_bad_line_is_not_what_was_said(fault: str) -> None:
    bench = Bench().started()
    bench.cause(line={fault: 1})
    assert "c,STATUS,VEND,2.00,1" not in bench.press(1)


def test_the_same_seed_tells_the_same_story() -> None:
    faults = {"vend": {"jam": 0.3, "power_cut": 0.3}, "line": {"byte_flip": 0.01, "delay_ms": 40}}

    def story() -> list[tuple[int, str, bytes]]:
        bench = Bench(faults=faults, seed=7).started()
        for _ in range(5):
            bench.press(1)
            bench.type("C,VEND,2.00")
            bench.run(VEND_MS)
        return list(bench.face.log)

    assert story() == story()


# --- at the control port -------------------------------------------------------------------------------------------


def test_a_person_sets_a_price_presses_and_reads_the_lines_in_words() -> None:
    with ExitStack() as open_things:
        ports = [open_port("tcp:127.0.0.1:0", 0) for _ in range(2)]
        for port in ports:
            open_things.callback(port.close)
        bench = Bench()
        machine = Machine("mdb", bench.face, ports[0], ports[1], READERS["line-hex"], None)
        open_things.callback(machine.close)
        web = create_app(machine).test_client()
        for body in ({"selection": 9, "points": 1}, {"selection": 1, "points": -1}, {"selection": 1}):
            assert web.post("/price", json=body).status_code == 400
        assert web.post("/price", json={"selection": 1, "points": 7}).json == {"ok": True}
        state = web.get("/state").get_json()
        assert (state["face"], state["slots"][0]["price"]) == ("mdb", 7)
        with machine.at_work() as (face, now_ms):
            face.receive(b"V\n", now_ms)
        frames = web.get("/log").get_json()["frames"]
        assert [(frame["sender"], frame["name"]) for frame in frames] == [("host", "identify"), ("adapter", "version")]


# --- in words ------------------------------------------------------------------------------------------------------


def test_the_decode_example_prints_what_the_page_shows() -> None:
    page = (Path(__file__).parents[2] / "docs/protocols/mdb-lines.md").read_text("utf-8")
    command, *lines = page.partition("```console\n")[2].partition("```")[0].splitlines()
    _, *arguments = shlex.split(command.removeprefix("$ "))
    assert CliRunner().invoke(main, arguments).stdout.splitlines() == lines


def test_a_capture_of_text_is_never_taken_for_hex(tmp_path: Path) -> None:
    capture = tmp_path / "capture.txt"
    capture.write_bytes(b"c,1\r\nC,0\ncafe\n\xff\nc,STATUS,VEND,2.00,65536\nc,V")
    for arguments, given in (([str(capture)], b""), ([], capture.read_bytes())):
        told = CliRunner().invoke(main, ["decode", "mdb", *arguments], input=given).stdout.splitlines()
        lines = [json.loads(one) for one in told]
        assert [line.get("name", line.get("error")) for line in lines] == [
            "went_on",
            "switch_off",
            "unknown",
            "not_text",
            "item",
            "incomplete",
        ]

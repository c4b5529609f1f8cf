"""The conformance packs of lock boards (8A) and spring boards (Modbus): the host asks, the board answers.

The host is the master of these lines. Nothing that opens a lock or turns a motor is sent before the person has agreed.
"""

from __future__ import annotations

from typing import Final

from jishan_protocol.dispensers import lock_board, modbus_board
from jishan_protocol.dispensers.cutting import BadBytes, Cutter
from jishan_sim.conform_report import Findings, Wire

FIRST_TRIES: Final = 4  # a board that has just got its power hears nothing for a second or two
ANSWER_MS: Final = 500  # ten times what an answer takes
PAUSE_MS: Final = 15  # between two parts of one frame: less than any board takes for the end of it
DOOR_MS: Final = 10_000
VEND_MS: Final = 60_000
LOOK_MS: Final = 200
LOCK_SIZES: Final = (24, 50)


class Questioner:
    """Says frames, and gives what comes back as whole frames."""

    def __init__(self, wire: Wire, cutter: Cutter) -> None:
        self.wire = wire
        self.bad: list[str] = []
        self._cutter = cutter

    def say(self, raw: bytes, *, within_ms: int = ANSWER_MS, in_parts: bool = False) -> list[bytes]:
        """The frames that come in answer; nothing more is read once one has come and the line is silent."""
        if in_parts:
            self.wire.write(raw[:2])
            self.listen(PAUSE_MS)
            raw = raw[2:]
        self.wire.write(raw)
        return self.listen(within_ms)

    def listen(self, for_ms: int) -> list[bytes]:
        """Whole frames that come in this time; ends early when one has come and nothing follows."""
        end_ms, frames = self.wire.now_ms + for_ms, list[bytes]()
        while (left_ms := end_ms - self.wire.now_ms) > 0:
            came = self.wire.read(min(left_ms, lock_board.SILENCE_MS))
            for one in self._cutter.feed(came) if came else self._cutter.finish() if frames else []:
                if isinstance(one, BadBytes):
                    self.bad.append(f"{one.error}: {one.raw.hex(' ').upper()}")
                else:
                    frames.append(one)
            if frames and not came:
                break
        return frames


def _spoilt(raw: bytes) -> bytes:
    return raw[:-1] + bytes([raw[-1] ^ 0x55])


def _spaced(frames: list[bytes]) -> str:
    return "; ".join(frame.hex(" ").upper() for frame in frames) or "no answer"


# --- lock boards ---------------------------------------------------------------------------------------------------


def run_lock_board(findings: Findings) -> None:
    """All steps. Every door is to be shut when it begins."""
    boards, contacts = 0, lock_board.Contacts(1, ())
    for locks in LOCK_SIZES * FIRST_TRIES:
        profile = lock_board.LockBoardProfile(name="", locks=locks)
        host = Questioner(findings.wire, lock_board.reader(profile))
        told = [lock_board.read_answer(one) for one in host.say(lock_board.write(lock_board.QueryAll(1), profile))]
        found = [one for one in told if isinstance(one, lock_board.Contacts)]
        if found:
            contacts, boards = found[0], 1
            break
    rule = "80 for lock 0 is answered with the contacts of the whole board"
    findings.rule("contacts", rule, bool(boards), f"{locks} locks" if boards else "no answer of 24 or 50 locks")
    if not boards:
        return
    if locks != lock_board.PROFILES["default"].locks:
        findings.note("contacts", "How many locks a board has", f"{locks} have a place in its states", locks=locks)
    while boards < lock_board.MAX_BOARD and host.say(lock_board.write(lock_board.QueryAll(boards + 1), profile)):
        boards += 1
    findings.note("boards", "How many boards stand on the line", f"{boards} answer", boards=boards)
    one = lock_board.write(lock_board.Query(1, 1), profile)
    said = [lock_board.read_answer(frame) for frame in host.say(one)]
    right = lock_board.Contact(1, 1, 1 in contacts.made)
    findings.rule("contact", "80 for one lock agrees with 80 for all", right in said, str(said))
    findings.rule("cut", "A question in two parts is one", bool(host.say(one, in_parts=True)), "15 ms between them")
    said_nothing = host.say(_spoilt(one))
    findings.rule("checksum", "A frame with a wrong XOR is not answered", not said_nothing, _spaced(said_nothing))
    shut = findings.ask("Are all doors shut, and all locks wired?")
    if shut:
        made = len(contacts.made) > locks // 2
        told_made = f"{len(contacts.made)} of {locks} contacts are made with every door shut"
        findings.note("wiring", "What a made contact says", told_made, contact_made_when_open=not made)
    else:
        findings.skip("wiring", "What a made contact says", "nobody said that all doors are shut")
    _open(findings, host, profile)
    findings.rule(
        "frames", "Every byte of the board's is part of a frame", not host.bad, host.bad[0] if host.bad else "all"
    )


def _open(findings: Findings, host: Questioner, profile: lock_board.LockBoardProfile) -> None:
    lock = findings.selection or 1
    rule = "8A opens the lock, and its contact changes"
    if not findings.may_move(f"Lock {lock} of board 1 is going to open. Go on?"):
        findings.skip("open", rule, "nothing was to move")
        return
    query = lock_board.write(lock_board.Query(1, lock), profile)
    before = [lock_board.read_answer(frame) for frame in host.say(query)]
    came = host.say(lock_board.write(lock_board.Open(1, lock), profile), within_ms=2_000)
    changed = [lock_board.read_answer(frame) for frame in came]
    end_ms = findings.wire.now_ms + DOOR_MS
    after = before
    while after == before and findings.wire.now_ms < end_ms:
        changed += [lock_board.read_answer(frame) for frame in host.listen(LOOK_MS)]
        said = [lock_board.read_answer(frame) for frame in host.say(query)]
        changed += [one for one in said if not isinstance(one, lock_board.Contact)]
        after = [one for one in said if isinstance(one, lock_board.Contact)]
    told = f"answer {_spaced(came)}; the contact {'changed' if after != before else 'stayed'}"
    findings.rule("open", rule, bool(came) and after != before, told)
    reports = any(isinstance(one, lock_board.ContactChanged) for one in changed)
    findings.note(
        "open", "82 comes by itself when a contact changes", "yes" if reports else "no", reports_changes=reports
    )


# --- spring boards -------------------------------------------------------------------------------------------------


def run_modbus_board(findings: Findings) -> None:
    """All steps. Reading a state clears it: no other host may be at work."""
    host = Questioner(findings.wire, modbus_board.reader())
    status = modbus_board.write(modbus_board.ReadRegisters(1, modbus_board.STATUS_REGISTER, 1))
    said = None
    for _ in range(FIRST_TRIES):
        said = said or _status(host, status)
    idle = said is not None and said.state == modbus_board.State.IDLE
    if (
        not findings.rule("status", "Register 0003 of a board that does nothing is idle", idle, str(said))
        and said is None
    ):
        return
    units = 1
    while units < modbus_board.MAX_UNIT and host.say(
        modbus_board.write(modbus_board.ReadRegisters(units + 1, modbus_board.STATUS_REGISTER, 1))
    ):
        units += 1
    findings.note("units", "How many boards stand on the line", f"{units} answer", units=units)
    frames = host.say(modbus_board.write(modbus_board.ReadRegisters(1, modbus_board.CLIMATE_REGISTER, 2)))
    climate = [modbus_board.read_climate(modbus_board.read(frame)) for frame in frames]
    findings.rule("climate", "Registers 0004 and 0005 hold the climate", any(climate), str(climate))
    frames = host.say(modbus_board.write(modbus_board.ReadRegisters(1, 0x7000, 1)))
    refused = any(isinstance(modbus_board.read(frame), modbus_board.Refusal) for frame in frames)
    findings.rule("refusal", "A register that is none is refused", refused, _spaced(frames))
    findings.rule("cut", "A question in two parts is one", bool(host.say(status, in_parts=True)), "15 ms between them")
    frames = host.say(_spoilt(status))
    findings.rule("checksum", "A frame with a wrong CRC is not answered", not frames, _spaced(frames))
    _turn(findings, host, status)
    findings.rule(
        "frames", "Every byte of the board's is part of a frame", not host.bad, host.bad[0] if host.bad else "all"
    )


def _status(host: Questioner, question: bytes) -> modbus_board.Status | None:
    for frame in host.say(question):
        if (said := modbus_board.read_status(modbus_board.read(frame))) is not None:
            return said
    return None


def _turn(findings: Findings, host: Questioner, status: bytes) -> None:
    selection = findings.selection or 1
    rule = "A write at 2001 is echoed, the state runs, ends, and is idle when it is read again"
    if not findings.may_move(f"Lane {selection - 1} of unit 1 is going to turn; an item falls. Go on?"):
        findings.skip("vend", rule, "nothing was to move")
        return
    told = modbus_board.Start(selection - 1, 1, drop_sensor=True, lift=False)
    command = modbus_board.start(1, told)
    began_ms = findings.wire.now_ms
    echoed = any(
        isinstance(modbus_board.read(frame), modbus_board.Written) for frame in host.say(modbus_board.write(command))
    )
    states: list[int] = []
    ran_ms = None
    while findings.wire.now_ms - began_ms < VEND_MS and not {2, 3} & set(states):
        said = _status(host, status)
        if said is not None and said.state != (states[-1] if states else None):
            states.append(said.state)
            ran_ms = findings.wire.now_ms - began_ms if said.state and ran_ms is None else ran_ms
        host.listen(LOOK_MS)
    last = _status(host, status)
    states.append(-1 if last is None else last.state)
    ended = states[-2:] in ([2, 0], [3, 0])
    seen = f"echoed: {echoed}, states {states}, no longer idle after {ran_ms} ms"
    findings.rule("vend", rule, echoed and ended, seen)
    within_ms = modbus_board.PROFILES["default"].starts_within_ms
    if ran_ms is not None and ran_ms > within_ms:
        findings.rule("vend", f"It is no longer idle {within_ms} ms after the command", False, f"{ran_ms} ms")
    fell = findings.ask("Did exactly one item fall?")
    if fell is not None:
        findings.rule("vend", "What the state says is what fell", fell == (2 in states), "yes" if fell else "no")

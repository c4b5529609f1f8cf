"""What must hold at the end of every run, judged from the rows and the cabinets, not by the code under test.

The points of a redemption are taken if and only if its item left. Where the machine itself lied (a drop sensor that
sees nothing, a coil that turns unwatched), the difference is a stock difference and not the ledger's; those vends are
known from the cabinet and left out of that one comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from simulated_machine import SimulatedMachine
from simulated_server import CREDITED_POINTS, ESTATE, PRICES, SimulatedServer
from sqlalchemy import Connection, text

from jishan_protocol.redemption import CLOSED, Event, Party, State, Verdict, advance
from jishan_server.ledger.verify import verify
from jishan_server.people.credentials import account_of, owed_account_of
from jishan_server.vending.checks import CHECKS


@dataclass(frozen=True, slots=True)
class Row:
    """A redemption as the database has it."""

    id: str
    machine_id: str
    account_id: str | None
    selection: int | None
    points: int | None
    state: State
    said_left: bool
    decided: bool


def problems(server: SimulatedServer, machines: Sequence[SimulatedMachine]) -> list[str]:
    """Everything that does not hold; empty if all is well."""
    rows = _rows(server.connection)
    found = _ledger(server, rows)
    found += _histories(server.connection)
    found += _open_ones(server.connection, rows)
    for machine in machines:
        found += _drops(machine, rows)
        found += _outbox(server, machine)
    found += _stock(server.connection, rows)
    return found


def _rows(connection: Connection) -> dict[str, Row]:
    left = {"dispensed", "proved_dispensed"}
    said: dict[str, set[str]] = {}
    for redemption_id, event in connection.execute(
        text("SELECT redemption_id, event FROM redemption_events WHERE verdict = 'moved'")
    ):
        said.setdefault(redemption_id, set()).add(event)
    return {
        row[0]: Row(
            row[0],
            row[1],
            row[2],
            row[3],
            row[4],
            State(row[5]),
            bool(said.get(row[0], set()) & left),
            any(event.startswith("resolved_") for event in said.get(row[0], set())),
        )
        for row in connection.execute(
            text("SELECT id, machine_id, account_id, selection, points, state FROM redemptions")
        )
    }


def _ledger(server: SimulatedServer, rows: dict[str, Row]) -> list[str]:
    report = verify(server.connection, CHECKS)
    found = [] if report.ok else [f"verify: {report.first_break}"]
    expired = 0
    for residents in _people(server):
        credited = sum(CREDITED_POINTS[server.scheme.residents.index(one)] for one in residents)
        # After a restore from a backup an item may have to be owed: the points were spent again meanwhile.
        accounts = [of(one) for one in residents for of in (account_of, owed_account_of)]
        mine = [row for row in rows.values() if row.account_id in accounts]
        left = credited - sum(row.points or 0 for row in mine if row.state is State.CAPTURED)
        is_open = any(row.state not in CLOSED and (row.account_id or "").startswith("res:") for row in mine)
        posted = {id: _standing(server.connection, id) for id in accounts}
        for id, (own, held) in posted.items():
            expected = sum(row.points or 0 for row in mine if row.account_id == id and row.state not in CLOSED)
            if held != expected:
                found.append(f"{id}: held {held}; expected {expected}")
            if id == account_of(residents[-1]) and own - held < 0:
                found.append(f"{id}: below zero")
            # Only the last record has more than its open holds, and owes.
            if id not in (account_of(residents[-1]), owed_account_of(residents[-1])):
                rest = held if id.startswith("res:") else 0
                if own != rest:
                    found.append(f"{id}: merged, and has {own} of {rest}")
        is_gone = _is_closed(server.connection, residents[-1]) and not is_open
        expired += left if is_gone else 0
        total = sum(own for own, _ in posted.values())
        if total != (0 if is_gone else left):
            found.append(f"{residents}: {total} points; expected {0 if is_gone else left}")
        if len(residents) == 1 and not _is_closed(server.connection, residents[0]):
            owed = sum(row.points or 0 for row in mine if row.account_id == accounts[1] and row.state is State.CAPTURED)
            if posted[accounts[1]][0] != -owed:
                found.append(f"{accounts[1]}: {posted[accounts[1]][0]}; expected {-owed}")
    booked = _sum_of(server.connection, f"sys:expired:{ESTATE}")
    if booked != expired:
        found.append(f"closed accounts gave {booked} points; expected {expired}")
    return found


def _people(server: SimulatedServer) -> list[tuple[str, ...]]:
    """The residents of the beginning, those who were found to be one person together; who survived is the last."""
    into = dict(server.connection.execute(text("SELECT id, merged_into FROM residents")).all())
    together: dict[str, list[str]] = {}
    for one in server.scheme.residents:
        last = one
        while into[last] is not None:
            last = into[last]
        together.setdefault(last, []).append(one)
    return [(*(one for one in records if one != last), last) for last, records in together.items()]


def _is_closed(connection: Connection, resident_id: str) -> bool:
    query = text("SELECT closed_at FROM residents WHERE id = :id")
    return connection.execute(query, {"id": resident_id}).scalar_one() is not None


def _standing(connection: Connection, account_id: str) -> tuple[int, int]:
    query = text("SELECT posted, held FROM balances JOIN accounts USING (number) WHERE accounts.id = :id")
    posted, held = connection.execute(query, {"id": account_id}).one()
    return posted, held


def _sum_of(connection: Connection, account_id: str) -> int:
    """What an account without a cached balance has, from its rows."""
    query = text(
        "SELECT coalesce(sum(CASE WHEN t.credit = a.number THEN t.points ELSE -t.points END), 0) FROM accounts a "
        "LEFT JOIN transfers t ON a.number IN (t.credit, t.debit) AND t.kind IN ('post', 'capture', 'reversal') "
        "WHERE a.id = :id"
    )
    return int(connection.execute(query, {"id": account_id}).scalar_one())


def _histories(connection: Connection) -> list[str]:
    """Every history walks the table from its first state, and ends where the redemption stands."""
    found = []
    states: dict[str, State] = {}
    query = text("SELECT redemption_id, event, party, verdict, state FROM redemption_events ORDER BY number")
    for redemption_id, event, party, verdict, state in connection.execute(query):
        before = states.get(redemption_id, State.REQUESTED)
        after = advance(before, Event(event), Party(party))
        if (after.state, after.verdict) != (State(state), Verdict(verdict)):
            found.append(f"{redemption_id}: {event} in {before} was booked as {verdict} to {state}")
        states[redemption_id] = State(state)
    for redemption_id, state in connection.execute(text("SELECT id, state FROM redemptions")):
        if states.get(redemption_id) != state:
            found.append(f"{redemption_id}: stands at {state}, its history at {states.get(redemption_id)}")
    return found


def _open_ones(connection: Connection, rows: dict[str, Row]) -> list[str]:
    alerted = set(
        connection.execute(
            text("SELECT redemption_id FROM alerts WHERE kind = 'redemption_open' AND resolved_at IS NULL")
        ).scalars()
    )
    found = []
    for row in rows.values():
        if row.state in CLOSED:
            continue
        if row.state is not State.IN_DOUBT:
            found.append(f"{row.id}: left open at {row.state}")
        elif row.id not in alerted:
            found.append(f"{row.id}: in doubt, and nobody was told")
    return found


def _drops(machine: SimulatedMachine, rows: dict[str, Row]) -> list[str]:
    """Compare what fell with what the ledger did, vend by vend."""
    found = []
    mine = {row.id for row in rows.values() if row.machine_id == machine.identity.machine_id}
    began = machine.began
    for index, vend in enumerate(began):
        end_ms = began[index + 1].at_ms if index + 1 < len(began) else machine.scheduler.now_ms + 1
        drops = [drop for drop in machine.cabinet.dropped if vend.at_ms <= drop.at_ms < end_ms]
        row = rows.get(vend.redemption_id)
        if row is None:
            found.append(f"{vend.redemption_id}: began at the machine, unknown to the server")
            continue
        name = f"{row.id} {row.state} ({machine.identity.machine_id}, {row.selection})"
        if len(drops) > 1:
            found.append(f"{name}: {len(drops)} drops for one vend")
        if any(drop.selection != row.selection for drop in drops):
            found.append(f"{name}: another selection dropped")
        lied = any(not drop.seen for drop in drops) or not machine.has_drop_sensor
        if row.state is State.CAPTURED and row.said_left and not drops and not lied:
            found.append(f"{name}: captured by the machine's word, and nothing fell")
        if row.state is State.VOIDED and not row.decided and drops and not lied:
            found.append(f"{name}: given back, and an item fell")
    vended = {vend.redemption_id for vend in began}
    for row in rows.values():
        if row.id in mine and row.id not in vended and row.state in (State.CAPTURED, State.VENDING):
            found.append(f"{row.id}: {row.state}, and the machine never began it")
    first_ms = began[0].at_ms if began else machine.scheduler.now_ms
    if any(drop.at_ms < first_ms for drop in machine.cabinet.dropped):
        found.append(f"{machine.identity.machine_id}: an item fell before any vend")
    return found


def _outbox(server: SimulatedServer, machine: SimulatedMachine) -> list[str]:
    last_seq = server.connection.execute(
        text("SELECT last_seq FROM machines WHERE id = :id"), {"id": machine.identity.machine_id}
    ).scalar_one()
    kept = machine.last_seq()
    if last_seq != kept:
        return [f"{machine.identity.machine_id}: the server has {last_seq} of {kept} messages"]
    rejected = server.connection.execute(
        text("SELECT type, reason, detail FROM rejected_messages WHERE machine_id = :id"),
        {"id": machine.identity.machine_id},
    ).all()
    return [f"{machine.identity.machine_id}: rejected {row}" for row in rejected]


def _stock(connection: Connection, rows: dict[str, Row]) -> list[str]:
    found = []
    for machine_id, selection, stock, reserved in connection.execute(
        text("SELECT machine_id, selection, stock, reserved FROM slots")
    ):
        here = [row for row in rows.values() if (row.machine_id, row.selection) == (machine_id, selection)]
        captured = sum(row.state is State.CAPTURED for row in here)
        is_open = sum(row.state not in CLOSED for row in here)
        if (stock, reserved) != (_STOCK - captured, is_open):
            found.append(
                f"{machine_id} {selection}: stock {stock}, reserved {reserved}; expected {_STOCK - captured}, {is_open}"
            )
        assert selection in PRICES
    return found


_STOCK = 6

"""The server's end of the link, without a socket and without a clock: messages in, one transaction, answers out.

Rules (decisions, "The link"):
1. A MAC is checked before anything is parsed, and before the database is asked: a forged message costs no query.
2. Outbox messages of a machine are taken in the order of their sequence and nothing else; what comes too early is
   dropped (the agent sends it again), what comes twice is acknowledged again.
3. A rightly signed message that is next in order always moves the sequence: what cannot be applied is kept whole in
   `rejected_messages`, acknowledged as rejected, and shown to a person.
4. Two programs that speak for one machine show as one sequence number with two contents, a journal that was never
   enrolled, or two live sessions: the machine is closed until it enrols anew.
5. Whatever is refused changes nothing, and is counted by its reason.

Answers are given to the caller, who publishes them after the commit and not before.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from sqlalchemy import Connection, bindparam, insert, select, tuple_, update

from jishan_protocol import topics
from jishan_protocol.envelope import Envelope, Session, seal, unseal
from jishan_protocol.errors import ProtocolError
from jishan_protocol.messages import (
    Ack,
    Authorize,
    Declined,
    Greet,
    Greeting,
    Heartbeat,
    Message,
    OutboxMessage,
    decode,
    encode,
)
from jishan_protocol.sealing import open_credential
from jishan_server.db import is_the_worlds, to_ms
from jishan_server.people.credentials import Prepared, unverified
from jishan_server.people.greetings import MAX_GREETS_PER_MINUTE, greet
from jishan_server.vending import machine_claims, tables, voucher_books
from jishan_server.vending.changes import Changes, bump_desired, settle_alerts, write
from jishan_server.vending.machines import RESTORE_STEP, desired_documents, fork
from jishan_server.vending.model import Machine, ledger_id, lock_machines
from jishan_server.vending.redemptions import Question, Rejection, Report, Vending, apply_reports, authorize
from jishan_server.writer import Kind, Kinds, Operation, Outcome, drain

LINK: Final = "link"
"""The writer's kind of operation that one message from a machine is."""

MAX_QUEUED: Final = 20_000
"""Messages that wait for the writer: some 20 batches. More are dropped; agents send again what was not acknowledged."""

MAX_REJECTED_IN_ACK: Final = 100
"""More rejected messages than this are told in the next acknowledgements."""

CLOCK_SLACK: Final = timedelta(seconds=5)
"""A machine's oscillator drifts between two acknowledgements, by far less than this."""

SESSION_SLACK: Final = timedelta(seconds=60)
"""A message that an old session made this long after the new one appeared was made by a second program."""

_CONTENT: Final = json.JSONEncoder(sort_keys=True, ensure_ascii=False)

log = structlog.get_logger(__name__)

Payload = tuple[str, bytes]


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message whose MAC was right and whose envelope was well formed."""

    address: topics.Address
    envelope: Envelope
    # None where the body of an outbox message could not be read: `problem` says why.
    message: Message | None
    problem: Rejection | None
    # Of the bytes as sent, and, for an outbox message, of what its sequence number stands for.
    sha256_hex: str
    content_hash: str
    # For an `authorize` or `greet`: the opened credential, its PIN verified or not yet.
    prepared: Prepared | None


@dataclass(frozen=True, slots=True)
class Answered:
    """What became of one message: payloads to publish after the commit, and why it was refused, if it was."""

    payloads: tuple[Payload, ...] = ()
    refused: str | None = None


class Gateway:
    """Reads messages, queues them, and runs batches of them in a transaction that the caller commits."""

    def __init__(self, vending: Vending) -> None:
        self.vending = vending
        self.refused: Counter[str] = Counter()
        self.kinds: Kinds = {LINK: Kind(run_batch=self.run_batch)}
        self._queue: deque[Operation] = deque()
        self._greets: dict[str, deque[datetime]] = {}

    def read(self, topic: str, payload: bytes) -> Incoming | None:
        """Check and open one message; None, and counted, if it is refused. Needs no database."""
        try:
            return _open(topic, payload, self.vending)
        except ProtocolError as error:
            self._refuse(error.reason, topic, error.detail)
            return None

    def receive(self, topic: str, payload: bytes, now: datetime) -> None:
        """Queue one message for the next `drain`."""
        incoming = self.read(topic, payload)
        if incoming is not None and len(self._queue) >= MAX_QUEUED:
            self._refuse("queue_full", topic, "")
        elif incoming is not None:
            self._queue.append(operation_of(incoming))

    def drain(self, connection: Connection, now: datetime) -> list[Payload]:
        """Run what is queued as one transaction's body; publish the answers after having committed it."""
        operations = list(self._queue)
        self._queue.clear()
        payloads: list[Payload] = []
        for operation, outcome in zip(operations, drain(operations, connection, self.kinds, now), strict=True):
            payloads += self.told(operation, outcome)
        return payloads

    def told(self, operation: Operation, outcome: Outcome) -> tuple[Payload, ...]:
        """Count what one committed operation was refused for, and give what is to be published for it."""
        if not isinstance(outcome.value, Answered):
            self._refuse("failed", operation.body.address.machine_id, repr(outcome.error))
            return ()
        if outcome.value.refused is not None:
            self._refuse(outcome.value.refused, operation.body.address.machine_id, operation.body.envelope.type)
        return outcome.value.payloads

    def run_batch(self, connection: Connection, operations: Sequence[Operation], now: datetime) -> list[Outcome]:
        """Run a batch of messages: the writer's mass kind `link`. Each outcome's value is an `Answered`."""
        incoming = [operation.body for operation in operations]
        answered = _Batch(connection, incoming, self.vending, now, self._may_greet).run()
        return [Outcome(one, None, replayed=False) for one in answered]

    def offers(self, connection: Connection, shards: Collection[int], now: datetime) -> list[Payload]:
        """What to publish now to machines in front of which somebody has chosen on a phone. Only reads."""
        return machine_claims.offers(connection, self.vending.keys, shards, now)

    def _may_greet(self, machine_id: str, now: datetime) -> bool:
        """Whether a machine may ask for one more greeting in this minute; counts it if so."""
        lately = self._greets.setdefault(machine_id, deque(maxlen=MAX_GREETS_PER_MINUTE))
        if len(lately) == MAX_GREETS_PER_MINUTE and now - lately[0] < timedelta(minutes=1):
            return False
        lately.append(now)
        return True

    def _refuse(self, reason: str, about: str, detail: str) -> None:
        self.refused[reason] += 1
        log.info("message_refused", reason=reason, about=about, detail=detail)


def operation_of(incoming: Incoming) -> Operation:
    """The writer's operation for one message."""
    return Operation(incoming.sha256_hex[:32], LINK, incoming)


def _open(topic: str, payload: bytes, vending: Vending) -> Incoming:
    address = topics.parse(topic)
    if address.direction != "u":
        raise ProtocolError("foreign_topic", "a machine speaks on u topics")
    opened = unseal(payload, topic, vending.keys.machine_keys(address.machine_id))
    envelope = opened.envelope
    problem, message, prepared = None, None, None
    try:
        message = decode(address.kind, envelope.type, envelope.body)
    except ProtocolError as error:
        if address.kind != "outbox":
            raise
        problem = Rejection(error.reason, error.detail)
    if isinstance(message, Authorize | Greet):
        key = vending.keys.machine_key(address.machine_id, envelope.key_id)
        bound_to = message.redemption_id if isinstance(message, Authorize) else message.greet_id
        credential = open_credential(key, bound_to, message.credential)
        if isinstance(message, Greet) and (credential.card is None or credential.pin is not None):
            raise ProtocolError("bad_credential", "a greeting takes a card alone")
        prepared = unverified(credential, vending.hashing)
    content_hash = _content_hash(envelope) if address.kind == "outbox" else ""
    return Incoming(address, envelope, message, problem, opened.sha256_hex, content_hash, prepared)


def _content_hash(envelope: Envelope) -> str:
    """What a sequence number stands for: the session is left out, a message is sealed anew when it is sent again."""
    content = _CONTENT.encode([envelope.id, envelope.type, envelope.body])
    return hashlib.sha256(content.encode()).hexdigest()


@dataclass(slots=True)
class _Lane:
    """One machine within a batch."""

    machine: Machine
    last_seq: int
    session: Session | None
    session_since_at: datetime | None
    beat_number: int | None
    caught_up_with: str | None
    beat: Heartbeat | None = None
    accepted: list[int] = field(default_factory=list)
    rejected: list[int] = field(default_factory=list)
    # The last message that an acknowledgement answers.
    acknowledge: int | None = None

    def is_as_it_was(self) -> bool:
        """Whether the machine's row needs no change."""
        machine, tag = self.machine, self.session.tag if self.session else None
        return (self.last_seq, tag, self.beat_number, self.caught_up_with) == (
            machine.last_seq,
            machine.session_tag,
            machine.beat_number,
            machine.caught_up_with,
        )


class _Batch:
    """One batch in one transaction. `run` is the order of things; the rest is one step each."""

    def __init__(
        self,
        connection: Connection,
        incoming: Sequence[Incoming],
        vending: Vending,
        now: datetime,
        may_greet: Callable[[str, datetime], bool],
    ) -> None:
        self.may_greet = may_greet
        self.connection = connection
        self.incoming = incoming
        self.vending = vending
        self.now = now
        self.refused: dict[int, str] = {}
        self.payloads: dict[int, list[Payload]] = {}
        self.lanes: dict[str, _Lane] = {}
        self.machines: dict[str, Machine] = {}

    def run(self) -> list[Answered]:
        self.machines = lock_machines(self.connection, [one.address.machine_id for one in self.incoming])
        self.lanes = {id: _lane(machine) for id, machine in self.machines.items()}
        self._refuse_strangers()
        seen = self._seen_before()
        self._close_forked(seen)
        self._note_sessions()
        reports = self._take_outbox(seen)
        self._apply(reports)
        asked = [index for index in self._left("ask") if self._is_timely(index)]
        self._decline([index for index in asked if isinstance(self.incoming[index].message, Declined)])
        self._ask([index for index in asked if isinstance(self.incoming[index].message, Authorize)])
        self._greet([index for index in asked if isinstance(self.incoming[index].message, Greet)])
        self._beat([index for index in self._left("beat") if self._is_timely(index)])
        self._write_machines()
        self._acknowledge()
        return [
            Answered(tuple(self.payloads.get(index, ())), self.refused.get(index))
            for index in range(len(self.incoming))
        ]

    def _left(self, kind: str) -> list[int]:
        """The messages of one topic kind that are not refused, in order of arrival."""
        return [
            index for index, one in enumerate(self.incoming) if one.address.kind == kind and index not in self.refused
        ]

    def _refuse_strangers(self) -> None:
        for index, one in enumerate(self.incoming):
            machine = self.machines.get(one.address.machine_id)
            if machine is None:
                self.refused[index] = "machine_unknown"
            elif one.address.shard != machine.shard:
                self.refused[index] = "foreign_topic"
            elif one.envelope.key_id != machine.key_id:
                self.refused[index] = "old_key"
            elif machine.state not in ("enrolled", "closed"):
                self.refused[index] = f"machine_{machine.state}"
            elif (one.envelope.seq is None) != (one.address.kind != "outbox"):
                self.refused[index] = "bad_sequence"

    def _seen_before(self) -> dict[tuple[str, int], tuple[str, bool]]:
        """(machine, sequence) -> (content hash, was it rejected), of the outbox messages that came before."""
        wanted = set()
        for index in self._left("outbox"):
            envelope, machine = self.incoming[index].envelope, self.machines[self.incoming[index].address.machine_id]
            if envelope.seq is not None and envelope.seq <= machine.last_seq:
                wanted.add((machine.id, machine.journal_id, envelope.seq))
        if not wanted:
            return {}
        received = tables.received_messages.c
        query = select(received.machine_id, received.seq, received.message_hash, received.is_rejected).where(
            tuple_(received.machine_id, received.journal_id, received.seq).in_(sorted(wanted))
        )
        return {(row[0], row[1]): (row[2], row[3]) for row in self.connection.execute(query)}

    def _close_forked(self, seen: Mapping[tuple[str, int], tuple[str, bool]]) -> None:
        forked: dict[str, str] = {}
        contents = {place: content_hash for place, (content_hash, _) in seen.items()}
        sessions: dict[str, list[tuple[Session, Incoming]]] = {}
        for index, one in enumerate(self.incoming):
            if index in self.refused:
                continue
            machine = self.machines[one.address.machine_id]
            if one.envelope.journal_id != machine.journal_id:
                forked[machine.id] = "journal"
            elif one.envelope.seq is not None:
                place = (machine.id, one.envelope.seq)
                if contents.setdefault(place, one.content_hash) != one.content_hash:
                    forked[machine.id] = "sequence"
            sessions.setdefault(machine.id, []).append((one.envelope.session, one))
        for id, said in sessions.items():
            if _are_two_sessions_live(self.lanes[id], said, self.now):
                forked.setdefault(id, "session")
        fork(self.connection, forked, self.machines, self.now, self.vending.rules)
        for index, one in enumerate(self.incoming):
            if one.address.machine_id in forked:
                self.refused.setdefault(index, "machine_forked")
        for id in forked:
            del self.lanes[id]

    def _note_sessions(self) -> None:
        """Take up the newest session of each machine; an older one is of a connection that has ended."""
        for index, one in enumerate(self.incoming):
            lane = self.lanes.get(one.address.machine_id)
            # An outbox message keeps the session in which it was signed, perhaps long ago.
            if lane is None or index in self.refused or one.address.kind == "outbox":
                continue
            if lane.session is None or _place(one.envelope.session) > _place(lane.session):
                lane.session, lane.session_since_at, lane.beat_number = one.envelope.session, self.now, None

    def _take_outbox(self, seen: Mapping[tuple[str, int], tuple[str, bool]]) -> list[int]:
        """The outbox messages that are next in order; doubles and early ones are acknowledged as far as we are."""
        taken: list[int] = []
        by_sequence = sorted(self._left("outbox"), key=lambda index: self.incoming[index].envelope.seq or 0)
        for index in by_sequence:
            one = self.incoming[index]
            lane, seq = self.lanes[one.address.machine_id], one.envelope.seq
            assert seq is not None
            lane.acknowledge = index if lane.acknowledge is None else max(lane.acknowledge, index)
            if seq == lane.last_seq + 1:
                lane.last_seq = seq
                lane.accepted.append(index)
                taken.append(index)
            elif seq > lane.last_seq:
                self.refused[index] = "too_early"
            else:
                self.refused[index] = "seen_before"
                if seen.get((lane.machine.id, seq), ("", False))[1]:
                    lane.rejected.append(seq)
        return taken

    def _apply(self, taken: Sequence[int]) -> None:
        """Apply reports in order; if the batch fails, one by one, and only the one that fails alone is rejected.

        What the world does (the database is away) is no message's fault: the whole transaction fails then.
        """
        rejections = {index: problem for index in taken if (problem := self.incoming[index].problem) is not None}
        readable = [index for index in taken if index not in rejections]
        try:
            with self.connection.begin_nested():
                rejections |= self._apply_together(readable)
        except Exception as failure:
            if is_the_worlds(failure):
                raise
            for index in readable:
                try:
                    with self.connection.begin_nested():
                        rejections |= self._apply_together([index])
                except Exception as error:
                    if is_the_worlds(error):
                        raise
                    log.exception("report_cannot_be_applied", machine_id=self._machine_of(index).id)
                    rejections[index] = Rejection("cannot_apply", type(error).__name__)
        self._keep(taken, rejections)

    def _apply_together(self, taken: Sequence[int]) -> dict[int, Rejection]:
        reports = [self._report(index) for index in taken]
        if not reports:
            return {}
        answers = apply_reports(self.connection, reports, self.machines, self.vending, self.now)
        return {index: answer for index, answer in zip(taken, answers, strict=True) if answer is not None}

    def _report(self, index: int) -> Report:
        one = self.incoming[index]
        message: Any = one.message
        assert isinstance(message, OutboxMessage)
        return Report(one.address.machine_id, one.envelope.id, message)

    def _machine_of(self, index: int) -> Machine:
        return self.machines[self.incoming[index].address.machine_id]

    def _keep(self, taken: Sequence[int], rejections: Mapping[int, Rejection]) -> None:
        """Remember that these came, and keep what was rejected whole."""
        if not taken:
            return
        self.connection.execute(
            insert(tables.received_messages),
            [
                {
                    "machine_id": self.incoming[index].address.machine_id,
                    "journal_id": self.incoming[index].envelope.journal_id,
                    "seq": self.incoming[index].envelope.seq,
                    "message_hash": self.incoming[index].content_hash,
                    "is_rejected": index in rejections,
                    "recorded_at": self.now,
                }
                for index in taken
            ],
        )
        if not rejections:
            return
        changes, rows = Changes(self.now, self.vending.rules.zone), []
        for index, rejection in sorted(rejections.items()):
            envelope, machine = self.incoming[index].envelope, self._machine_of(index)
            assert envelope.seq is not None
            self.lanes[machine.id].rejected.append(envelope.seq)
            self.refused[index] = rejection.reason
            rows.append(
                {
                    "machine_id": machine.id,
                    "journal_id": envelope.journal_id,
                    "seq": envelope.seq,
                    "message_id": envelope.id,
                    "type": envelope.type,
                    "body": json.dumps(envelope.body, ensure_ascii=False, sort_keys=True),
                    "reason": rejection.reason,
                    "detail": rejection.detail,
                    "recorded_at": self.now,
                }
            )
            detail = {"reason": rejection.reason, "seq": envelope.seq, "type": envelope.type}
            subject = f"{machine.id}:{rejection.reason}"
            changes.alert("urgent", "rejected_message", subject, machine.estate_id, detail, machine_id=machine.id)
        self.connection.execute(insert(tables.rejected_messages), rows)
        write(self.connection, changes)

    def _is_timely(self, index: int) -> bool:
        """Whether an ask or a beat is of the machine's newest session and of now; refuses it otherwise."""
        one = self.incoming[index]
        reason = _untimely(one, self.lanes[one.address.machine_id], self.vending.rules.longest_ask, self.now)
        if reason is not None:
            self.refused[index] = reason
        return reason is None

    def _ask(self, asked: Sequence[int]) -> None:
        if not asked:
            return
        if any(lane.accepted for lane in self.lanes.values()):
            # A report in this batch may have closed its machine.
            self.machines |= lock_machines(self.connection, self.lanes)
        questions = []
        for index in asked:
            one = self.incoming[index]
            assert isinstance(one.message, Authorize)
            assert one.prepared is not None
            questions.append(Question(one.address.machine_id, one.message, one.prepared))
        answers = authorize(self.connection, questions, self.machines, self.vending, self.now)
        for index, answer in zip(asked, answers, strict=True):
            self._say(index, "answer", answer)

    def _decline(self, asked: Sequence[int]) -> None:
        """Note what machines do not begin of what waits on phones."""
        said = []
        for index in asked:
            message = self.incoming[index].message
            assert isinstance(message, Declined)
            said.append((self.incoming[index].address.machine_id, message.claim_id, message.code))
        if said:
            machine_claims.decline(self.connection, said, self.now)

    def _greet(self, asked: Sequence[int]) -> None:
        """Answer greetings, after whatever redeems. None of them fails anything else: at worst there is no answer."""
        asked = [index for index in asked if self._may_be_greeted(index)]
        prepared = [one for index in asked if (one := self.incoming[index].prepared) is not None]
        if not prepared:
            return
        try:
            with self.connection.begin_nested():
                greeted = greet(self.connection, prepared, self.now)
        except Exception as error:
            if is_the_worlds(error):
                raise
            log.exception("cannot_greet")
            return
        for index, told in zip(asked, greeted, strict=True):
            message = self.incoming[index].message
            if told is not None and isinstance(message, Greet):
                self._say(index, "answer", Greeting(message.greet_id, *told))

    def _may_be_greeted(self, index: int) -> bool:
        is_permitted = self.may_greet(self.incoming[index].address.machine_id, self.now)
        if not is_permitted:
            self.refused[index] = "too_many_greets"
        return is_permitted

    def _beat(self, beats: Sequence[int]) -> None:
        newest: dict[str, int] = {}
        for index in beats:
            one = self.incoming[index]
            lane, beat = self.lanes[one.address.machine_id], one.message
            assert isinstance(beat, Heartbeat)
            if lane.beat_number is not None and beat.number <= lane.beat_number:
                self.refused[index] = "old_beat"
                continue
            lane.beat_number, lane.beat = beat.number, beat
            lane.acknowledge = index if lane.acknowledge is None else max(lane.acknowledge, index)
            newest[lane.machine.id] = index
        if not newest:
            return
        ledger_now = ledger_id(self.connection)
        forgetful = {id for id in newest if _judge_catching_up(self.lanes[id], ledger_now)}
        bump_desired(self.connection, forgetful, RESTORE_STEP)
        back = [id for id in newest if self.machines[id].is_offline]
        settle_alerts(self.connection, "offline", back, "system", self.now)
        current = lock_machines(self.connection, newest)
        behind = [id for id, machine in current.items() if machine.reported_version != machine.desired_version]
        for id, document in (desired_documents(self.connection, behind, self.vending.rules) if behind else {}).items():
            self._say(newest[id], "desired", document)
        for id, closing in voucher_books.to_close(self.connection, current, self.vending.keys).items():
            self._say(newest[id], "desired", closing)

    def _write_machines(self) -> None:
        rows = []
        for lane in self.lanes.values():
            session = lane.session
            if lane.is_as_it_was():
                continue
            rows.append(
                {
                    "key": lane.machine.id,
                    "last_seq": lane.last_seq,
                    "caught_up_with": lane.caught_up_with,
                    "session_boot": session.boot if session else None,
                    "session_connection": session.connection if session else None,
                    "session_tag": session.tag if session else None,
                    "session_since_at": lane.session_since_at,
                    "beat_number": lane.beat_number,
                }
            )
        if rows:
            self.connection.execute(_UPDATE_MACHINE, rows)
        beats = [
            {
                "key": lane.machine.id,
                "last_heartbeat_at": self.now,
                "reported": json.dumps(encode(lane.beat)[1], ensure_ascii=False, sort_keys=True),
            }
            for lane in self.lanes.values()
            if lane.beat is not None
        ]
        if beats:
            self.connection.execute(_UPDATE_BEAT, beats)

    def _acknowledge(self) -> None:
        for lane in self.lanes.values():
            if lane.acknowledge is None:
                continue
            session = lane.session or self.incoming[lane.acknowledge].envelope.session
            is_behind = lane.beat is not None and lane.caught_up_with is None
            ack = Ack(
                upto=lane.last_seq,
                rejected=tuple(sorted(set(lane.rejected))[:MAX_REJECTED_IN_ACK]),
                session=session.tag,
                server_at_ms=to_ms(self.now),
                catch_up_from=lane.last_seq + 1 if is_behind else None,
            )
            self._say(lane.acknowledge, "ack", ack)

    def _say(self, index: int, kind: str, message: Message) -> None:
        """Seal an answer to the machine that sent message `index`."""
        one = self.incoming[index]
        lane = self.lanes[one.address.machine_id]
        type_name, body = encode(message)
        topic = topics.down(lane.machine.shard, lane.machine.id, kind)
        envelope = Envelope(
            id=hashlib.sha256(f"{kind}\n{one.sha256_hex}\n{to_ms(self.now)}".encode()).hexdigest()[:32],
            type=type_name,
            body=body,
            journal_id=one.envelope.journal_id,
            session=lane.session or one.envelope.session,
            key_id=lane.machine.key_id,
            issued_at_ms=to_ms(self.now),
        )
        key = self.vending.keys.machine_key(lane.machine.id, lane.machine.key_id)
        self.payloads.setdefault(index, []).append((topic, seal(envelope, topic, key)))


_UPDATE_MACHINE: Final = (
    update(tables.machines)
    .where(tables.machines.c.id == bindparam("key"))
    .values(
        {
            name: bindparam(name)
            for name in (
                "last_seq",
                "caught_up_with",
                "session_boot",
                "session_connection",
                "session_tag",
                "session_since_at",
                "beat_number",
            )
        }
    )
)
_UPDATE_BEAT: Final = (
    update(tables.machines)
    .where(tables.machines.c.id == bindparam("key"))
    .values(last_heartbeat_at=bindparam("last_heartbeat_at"), reported=bindparam("reported"), is_offline=False)
)


def _lane(machine: Machine) -> _Lane:
    session = None
    if machine.session_tag is not None and machine.session_boot is not None and machine.session_connection is not None:
        session = Session(machine.session_boot, machine.session_connection, machine.session_tag)
    return _Lane(
        machine, machine.last_seq, session, machine.session_since_at, machine.beat_number, machine.caught_up_with
    )


def _place(session: Session) -> tuple[int, int]:
    return session.boot, session.connection


def _are_two_sessions_live(lane: _Lane, said: Iterable[tuple[Session, Incoming]], now: datetime) -> bool:
    """Whether the sessions of one machine's messages can only be of two programs.

    One program never has two tags for one connection, and never speaks in a session after it has begun a newer one.
    The times compared are both the server's: a machine's `issued` echoes the server's clock and is never ahead of it.
    """
    tags = {} if lane.session is None else {_place(lane.session): lane.session.tag}
    for session, one in said:
        if tags.setdefault(_place(session), session.tag) != session.tag:
            return True
        issued, since = one.envelope.issued_at_ms, lane.session_since_at
        if lane.session is None or since is None or issued is None or one.address.kind == "outbox":
            continue
        if _place(session) < _place(lane.session) and issued > to_ms(since + SESSION_SLACK):
            return True
    return False


def _untimely(one: Incoming, lane: _Lane, longest: timedelta, now: datetime) -> str | None:
    """Why an ask or a beat is not of now, or None. Only the server's own clock counts, as the machine echoes it."""
    if one.envelope.session != lane.session:
        return "old_session"
    issued, expires = one.envelope.issued_at_ms, one.envelope.expires_at_ms
    if issued is None or expires is None:
        # Before the first answer of the server a machine knows no time; it may only say that it is there.
        return None if one.address.kind == "beat" and issued is None and expires is None else "no_expiry"
    if expires < to_ms(now):
        return "expired"
    if issued > to_ms(now + CLOCK_SLACK):
        return "from_the_future"
    if expires - issued > longest // timedelta(milliseconds=1):
        return "expires_too_late"
    return None


def _judge_catching_up(lane: _Lane, ledger_now: str) -> bool:
    """Note whether this database knows all that the machine has ever had acknowledged.

    After a restore the ledger's name has changed, or the machine's acknowledged messages are missing here; it has
    caught up when its newest message is ours too. Gives whether it has just shown that this database has forgotten.
    """
    beat = lane.beat
    assert beat is not None
    has_forgotten = beat.last_seq - beat.outbox_length > lane.last_seq
    if has_forgotten or lane.caught_up_with != ledger_now:
        lane.caught_up_with = ledger_now if beat.last_seq <= lane.last_seq else None
    return has_forgotten and lane.machine.caught_up_with is not None

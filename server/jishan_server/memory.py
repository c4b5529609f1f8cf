"""What a mass kind of operation remembers of what it did, as the writer does for the others.

The same id and body is answered as the first time, the same id with another body is refused; ids never expire.
"""

import json
from collections.abc import Callable, Sequence
from datetime import datetime

from sqlalchemy import Connection, insert, select

from jishan_server.errors import DomainError
from jishan_server.writer import Operation, Outcome, operations, request_hash


def once(
    connection: Connection,
    asked: Sequence[Operation],
    now: datetime,
    run: Callable[[Sequence[Operation]], list[Outcome]],
) -> list[Outcome]:
    """Have `run` do those operations that were never done, each id once, and answer the others from memory.

    `run` gives an outcome for each, in order, and leaves nothing behind for one that it refuses.
    """
    hashes = [request_hash(operation) for operation in asked]
    o = operations.c
    rows = connection.execute(
        select(o.id, o.request_hash, o.response_json).where(o.id.in_({operation.id for operation in asked}))
    )
    known = {id: (hash, _outcome(response)) for id, hash, response in rows}
    fresh: dict[str, int] = {}
    for place, operation in enumerate(asked):
        if operation.id not in known:
            fresh.setdefault(operation.id, place)
    outcomes = dict(zip(fresh, run([asked[place] for place in fresh.values()]), strict=True))
    if fresh:
        connection.execute(
            insert(operations),
            [
                {
                    "id": id,
                    "kind": asked[place].kind,
                    "request_hash": hashes[place],
                    "response_json": _response(outcomes[id]),
                    "recorded_at": now,
                }
                for id, place in fresh.items()
            ],
        )
    answers = []
    for place, operation in enumerate(asked):
        first = fresh.get(operation.id)
        if first == place:
            answers.append(outcomes[operation.id])
            continue
        hash, outcome = known[operation.id] if first is None else (hashes[first], outcomes[operation.id])
        same = hash == hashes[place]
        answers.append(
            Outcome(outcome.value, outcome.error, replayed=True)
            if same
            else Outcome(error=DomainError("idempotency_conflict"))
        )
    return answers


def _response(outcome: Outcome) -> str:
    error = outcome.error
    response = {"value": outcome.value} if error is None else {"code": error.code, "fields": dict(error.fields)}
    return json.dumps(response, ensure_ascii=False)


def _outcome(response_json: str) -> Outcome:
    response = json.loads(response_json)
    if "code" in response:
        return Outcome(error=DomainError(response["code"], **response["fields"]))
    return Outcome(response["value"])

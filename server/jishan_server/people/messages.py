"""The inbox: what a resident is told, in the transaction of what it is about.

A message is a kind and its fields; the words of each kind stand in `message_texts`, so that a person reads them in
their own language, and a text that was corrected is right in old messages too.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, insert

from jishan_server.people.message_tables import messages
from jishan_server.people.message_texts import TEXTS


class Message(NamedTuple):
    """One message to one resident; `fields` fill the text of its kind."""

    resident_id: str
    kind: str
    fields: Mapping[str, object]


def tell(connection: Connection, now: datetime, told: Sequence[Message]) -> None:
    """Put messages into inboxes, all in one statement."""
    if not told:
        return
    assert all(one.kind in TEXTS for one in told), "a message without words"
    connection.execute(
        insert(messages),
        [
            {
                "resident_id": one.resident_id,
                "kind": one.kind,
                "fields": json.dumps(dict(one.fields), ensure_ascii=False, sort_keys=True),
                "recorded_at": now,
            }
            for one in told
        ],
    )

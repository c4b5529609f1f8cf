"""Refusals for want of a permission, on their way to the audit log: the answer waits for nothing and fails for nothing.

Of one person `PER_ACTOR` an hour are written, of all together `PER_HOUR`, in each process; what is beyond is counted
and told with the person's next one, so that nobody fills the disk by being refused.
"""

import threading
from datetime import datetime, timedelta
from typing import Final

import structlog
from flask import current_app, g, request

from jishan_server.api.asking import caller, parts
from jishan_server.db import EPOCH, DatabaseUnavailable
from jishan_server.errors import DomainError
from jishan_server.people.auditing import NoteRefusal
from jishan_server.writer import Operation

PER_ACTOR: Final = 20
"""Enough to see what somebody tried."""
PER_HOUR: Final = 1_000
"""Some 5 MB a day at most."""
HOUR: Final = timedelta(hours=1)
NOTED: Final = frozenset({"forbidden", "grant_not_held"})

log = structlog.get_logger(__name__)


class Allowance:
    """How many refusals may still be written in this hour."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hour = -1
        self._written = 0
        self._by_actor: dict[str, int] = {}
        self._skipped: dict[str, int] = {}

    def take(self, actor: str, now: datetime) -> int | None:
        """How many of this actor were skipped before this one is written; None: it is skipped too."""
        hour = (now - EPOCH) // HOUR
        with self._lock:
            if hour != self._hour:
                self._hour, self._written, self._by_actor = hour, 0, {}
            taken = self._by_actor.get(actor, 0)
            if taken >= PER_ACTOR or self._written >= PER_HOUR:
                self._skipped[actor] = self._skipped.get(actor, 0) + 1
                return None
            self._by_actor[actor] = taken + 1
            self._written += 1
            return self._skipped.pop(actor, 0)


def note(error: DomainError) -> None:
    """Have a refusal written, if it is one for want of a permission."""
    if error.code not in NOTED:
        return
    try:
        actor = caller().id
        allowance: Allowance = current_app.extensions.setdefault("jishan.refusals", Allowance())
        skipped = allowance.take(actor, parts().clock())
        if skipped is None:
            return
        node = error.fields.get("organization_id")
        body = NoteRefusal(
            actor,
            str(error.fields.get("permission", "-")),
            request.method,
            request.url_rule.rule if request.url_rule else "-",
            None if node is None else str(node),
            skipped,
        )
        parts().writer.enqueue(Operation(g.request_id, "note_refusal", body), lambda _: None)
    except (DomainError, DatabaseUnavailable) as failure:
        log.warning("refusal_not_noted", error=str(failure))

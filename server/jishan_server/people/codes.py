"""The personal code that a resident's phone shows to a machine's scanner, and a new one every 30 seconds.

Rules: random, kept as a hash, spent by the first machine that asks with it, whatever becomes of the asking. It is good
for longer than it is shown, so that whoever is scanned in its last second may still choose. It is as good as a PIN:
the phone was logged in with one. Spending it is `credentials.identify`'s.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, delete, insert

from jishan_server.instants import iso
from jishan_server.organizations.roles import resident_actor
from jishan_server.people.code_tables import personal_codes
from jishan_server.writer import Operation

SHOWN: Final = timedelta(seconds=30)
LIVES: Final = timedelta(seconds=75)
"""Shown for 30 s, then a choice of at most 30 s, and the way to the server."""
KEPT: Final = timedelta(minutes=15)
"""For so long the refusal still says that it was used, or came too late."""


@dataclass(frozen=True, slots=True)
class IssueCode:
    resident_id: str
    code_hash: str = field(metadata={"secret": True})

    @property
    def actor(self) -> str:
        """Whoever asks for a code is the one it is for."""
        return resident_actor(self.resident_id)


def issue(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Keep a code's hash, and forget those of the same person that are of no use any more."""
    body: IssueCode = operation.body
    codes = personal_codes.c
    connection.execute(
        delete(personal_codes).where(codes.resident_id == body.resident_id, codes.expires_at < now - KEPT)
    )
    connection.execute(
        insert(personal_codes).values(
            hash=body.code_hash, resident_id=body.resident_id, issued_at=now, expires_at=now + LIVES
        )
    )
    return {"valid_s": SHOWN // timedelta(seconds=1), "expires_at": iso(now + LIVES)}

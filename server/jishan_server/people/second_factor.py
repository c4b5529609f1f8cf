"""The second factor of staff: six digits that a telephone shows for 30 seconds (TOTP).

The secret is not stored: it is drawn from the server's key and the id of the enrolment, so that the database alone
gives no codes. A code is good once, and for one step of 30 seconds before and after its own. Nobody is asked for codes
before they have shown one: a telephone that was set up wrong locks nobody out.
Source: RFC 6238, with its defaults (SHA-1, 30 s, 6 digits), which every authenticator knows.
"""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import pyotp
from sqlalchemy import Connection, select, update

from jishan_server import audit
from jishan_server.errors import DomainError
from jishan_server.ids import derived_id
from jishan_server.instants import iso
from jishan_server.people.hashing import Hashing
from jishan_server.people.staff import count_wrong, locked, manage
from jishan_server.people.tables import staff
from jishan_server.writer import Operation, Outcome

STEP_S: Final = 30
SECRET_BYTES: Final = 20
"""160 bits, as RFC 4226 recommends."""
DRIFT: Final = (0, -1, 1)
"""Steps beside the present one that are taken: telephones' clocks differ."""
CODE_FORM: Final = re.compile(r"[0-9]{6}", re.ASCII)


@dataclass(frozen=True, slots=True)
class BeginSecondFactor:
    """Draw a secret for oneself; it counts once a code of it was shown."""

    actor: str


@dataclass(frozen=True, slots=True)
class ConfirmSecondFactor:
    """`step` is that of the code that was typed, None for a code that is not of this secret."""

    actor: str
    totp_id: str
    step: int | None = field(metadata={"secret": True})


@dataclass(frozen=True, slots=True)
class EndSecondFactor:
    """One's own, with a code; another person's, who has lost the telephone, without."""

    actor: str
    staff_id: str
    step: int | None = field(default=None, metadata={"secret": True})


def secret_of(hashing: Hashing, totp_id: str) -> str:
    """The secret of an enrolment, in base32, as authenticators take it."""
    return base64.b32encode(hashing.drawn("totp", totp_id)[:SECRET_BYTES]).decode()


def address_of(secret: str, login: str, scheme: str) -> str:
    """The `otpauth:` address that an authenticator reads from a QR code."""
    return str(pyotp.TOTP(secret).provisioning_uri(name=login, issuer_name=scheme))


def step_of(secret: str, code: str, now: datetime) -> int | None:
    """The step whose code this is, near `now`; None for none."""
    if CODE_FORM.fullmatch(code) is None:
        return None
    present = int(now.timestamp()) // STEP_S
    totp = pyotp.TOTP(secret)
    return next((present + drift for drift in DRIFT if totp.generate_otp(present + drift) == code), None)


def typed(
    connection: Connection, hashing: Hashing, staff_id: str, code: str, now: datetime
) -> tuple[str | None, int | None]:
    """(the enrolment that an account has, confirmed or not; the step of the code that was typed)."""
    totp_id = connection.scalar(select(staff.c.totp_id).where(staff.c.id == staff_id))
    return totp_id, None if totp_id is None else step_of(secret_of(hashing, totp_id), code.replace(" ", ""), now)


def state(connection: Connection, staff_id: str) -> dict[str, Any]:
    """Whether an account has a second factor, and since when."""
    since = connection.scalar(select(staff.c.totp_since_at).where(staff.c.id == staff_id))
    return {"has_second_factor": since is not None, "second_factor_since_at": iso(since)}


def begin(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """Draw a new secret for oneself; refusal: second_factor_there."""
    body: BeginSecondFactor = operation.body
    row = connection.execute(select(staff.c.totp_since_at).where(staff.c.id == body.actor).with_for_update()).one()
    if row.totp_since_at is not None:
        raise DomainError("second_factor_there")
    totp_id = derived_id(operation.id, "totp")
    connection.execute(update(staff).where(staff.c.id == body.actor).values(totp_id=totp_id, totp_step=None))
    return {"totp_id": totp_id}


def confirm(connection: Connection, operation: Operation, now: datetime) -> dict[str, Any]:
    """From now on codes are asked for; refusals: second_factor_there, code_wrong."""
    body: ConfirmSecondFactor = operation.body
    row = connection.execute(select(staff).where(staff.c.id == body.actor).with_for_update()).one()
    if row.totp_since_at is not None:
        raise DomainError("second_factor_there")
    if body.step is None or row.totp_id != body.totp_id:
        raise DomainError("code_wrong")
    connection.execute(update(staff).where(staff.c.id == row.id).values(totp_since_at=now, totp_step=body.step))
    _note(connection, operation, now, "second_factor_begun", row.id)
    return state(connection, row.id)


def end(connection: Connection, operations: Sequence[Operation], now: datetime) -> list[Outcome]:
    """Ask for no codes any more, one after the other; a wrong code counts as a wrong password does.

    Refusals: staff_unknown, forbidden, grant_not_held, second_factor_missing, login_locked, code_wrong.
    """
    return [_end(connection, operation, now) for operation in operations]


def _end(connection: Connection, operation: Operation, now: datetime) -> Outcome:
    body: EndSecondFactor = operation.body
    is_own = body.actor == body.staff_id
    if not is_own:
        try:
            manage(connection, body.actor, body.staff_id)
        except DomainError as error:
            return Outcome(error=error)
    row = connection.execute(select(staff).where(staff.c.id == body.staff_id).with_for_update()).one()
    if row.totp_since_at is None:
        return Outcome(error=DomainError("second_factor_missing"))
    if is_own:
        if row.locked_until_at is not None and now < row.locked_until_at:
            return Outcome(error=locked())
        if body.step is None or body.step <= (row.totp_step or 0):
            is_locked = count_wrong(connection, row, now)
            return Outcome(error=locked() if is_locked else DomainError("code_wrong"))
    changed = {"totp_id": None, "totp_since_at": None, "totp_step": None}
    connection.execute(update(staff).where(staff.c.id == row.id).values(changed))
    _note(connection, operation, now, "second_factor_ended", row.id)
    return Outcome(state(connection, row.id))


def _note(connection: Connection, operation: Operation, now: datetime, action: str, id: str) -> None:
    audit.record(
        connection,
        now,
        actor=operation.body.actor,
        action=action,
        subject=("staff", id),
        operation_id=operation.id,
        details={},
    )

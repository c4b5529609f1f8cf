"""Logging in and out, and who one is."""

import secrets
from datetime import timedelta
from typing import Any

from flask import request
from marshmallow import Schema, fields, validate

from jishan_server.api import schemas
from jishan_server.api.asking import actor, caller, change, me, member, operation_id, parts
from jishan_server.api.blueprints import Blueprint
from jishan_server.api.paging import page
from jishan_server.api.schemas import page_of
from jishan_server.people import second_factor, sessions, staff
from jishan_server.people.hashing import token_hash
from jishan_server.reading import reading


class Code(schemas.Strict):
    code = fields.String(required=True, validate=validate.Length(max=10), metadata={"description": schemas.SIX_DIGITS})


class SecondFactorSecret(Schema):
    id = fields.String()
    secret = fields.String(metadata={"description": "Base32, to be typed into an authenticator."})
    address = fields.String(metadata={"description": "The same as an otpauth: address, for a QR code."})


class SecondFactor(Schema):
    has_second_factor = fields.Boolean()
    second_factor_since_at = schemas.an_instant()


class StaffSession(Schema):
    id = fields.String()
    began_at = schemas.an_instant()
    expires_at = schemas.an_instant()
    device = fields.String(metadata={"description": "What the browser calls itself."})
    is_this = fields.Boolean()


auth = Blueprint("auth", "Tokens of staff and residents")


@auth.post("/auth/token")
@auth.takes(schemas.Login)
@auth.answers(201, schemas.Token)
@auth.public
def create_token(body: dict[str, str]) -> dict[str, Any]:
    """Log in with login and password; the token goes into `Authorization: Bearer`."""
    token = secrets.token_urlsafe(32)
    attempt = staff_attempt(body["login"], body["password"], body["code"] or "", token)
    return change("log_in", attempt, id=secrets.token_hex(16)) | {"token": token}


def staff_attempt(login: str, password: str, code: str, token: str) -> staff.LogIn:
    """A try to log in, with all that is slow or needs the clock done: what the writer judges."""
    staff_id, fits = staff.prepare_login(reading(), parts().hashing, login, password)
    now = parts().clock()
    totp_id, step = (
        (None, None) if staff_id is None else second_factor.typed(reading(), parts().hashing, staff_id, code, now)
    )
    expires_at = now + timedelta(hours=parts().config.token_hours)
    device = request.headers.get("User-Agent", "")
    return staff.LogIn(staff_id, fits, token_hash(token), expires_at, totp_id, step, bool(code), device)


@auth.post("/auth/second-factor")
@auth.answers(201, SecondFactorSecret)
def begin_second_factor() -> dict[str, Any]:
    """Draw a secret for one's authenticator; codes are asked for once one was shown."""
    asking = member()
    id = change("begin_second_factor", second_factor.BeginSecondFactor(asking.id))["totp_id"]
    secret = second_factor.secret_of(parts().hashing, id)
    return {"id": id, "secret": secret, "address": second_factor.address_of(secret, asking.login, "Jishan")}


@auth.put("/auth/second-factor")
@auth.takes(Code)
@auth.answers(200, SecondFactor)
def confirm_second_factor(body: dict[str, str]) -> dict[str, Any]:
    """Show a first code: from now on they are asked for at every login."""
    totp_id, step = _typed(body["code"])
    return change("confirm_second_factor", second_factor.ConfirmSecondFactor(actor(), totp_id or "", step))


@auth.delete("/auth/second-factor")
@auth.takes(Code)
@auth.answers(200, SecondFactor)
def end_second_factor(body: dict[str, str]) -> dict[str, Any]:
    """Ask for codes no more; it takes one."""
    asking = member()
    return change("end_second_factor", second_factor.EndSecondFactor(asking.id, asking.id, _typed(body["code"])[1]))


def _typed(code: str) -> tuple[str | None, int | None]:
    return second_factor.typed(reading(), parts().hashing, member().id, code, parts().clock())


@auth.get("/auth/sessions")
@auth.answers(200, page_of(StaffSession))
def list_sessions() -> dict[str, Any]:
    """Where one's account is logged in."""
    asking = member()
    return page(staff.open_sessions(reading(), asking.id, asking.token_hash, parts().clock()))


@auth.delete("/auth/sessions/<session_id>")
@auth.answers(204)
def end_session(session_id: str) -> None:
    """Log out elsewhere."""
    change("end_session", staff.EndSession(member().id, session_id))


@auth.delete("/auth/token")
@auth.answers(204)
def delete_token() -> None:
    """Log out: the token of this request ends at once."""
    change("log_out", staff.LogOut(actor(), member().token_hash))


@auth.post("/auth/resident-token")
@auth.takes(schemas.ResidentLogin)
@auth.answers(201, schemas.ResidentToken)
@auth.public
def create_resident_token(body: dict[str, str]) -> dict[str, Any]:
    """A resident logs in with member number and PIN; the token opens what begins with /me."""
    resident_id, pin_hash, fits = sessions.prepare_login(reading(), parts().hashing, body["member_number"], body["pin"])
    token = sessions.RESIDENT_PREFIX + secrets.token_urlsafe(32)
    expires_at = parts().clock() + timedelta(days=parts().config.resident_token_days)
    attempt = sessions.ResidentLogIn(resident_id, fits, token_hash(token), expires_at, pin_hash)
    return change("resident_log_in", attempt, id=secrets.token_hex(16)) | {"token": token}


@auth.delete("/auth/resident-token")
@auth.answers(204)
def delete_resident_token() -> None:
    """Log out: the token of this request ends at once."""
    me()
    change("resident_log_out", sessions.ResidentLogOut(actor(), caller().token_hash))


@auth.put("/auth/password")
@auth.takes(schemas.PasswordChange)
@auth.answers(204)
def change_password(body: dict[str, str]) -> None:
    """Change one's own password; one's other tokens end."""
    asking = member()
    fits, stored = staff.prepare_password(reading(), parts().hashing, asking.id, body["old_password"])
    id = operation_id()
    hash = staff.hashed_password(parts().hashing, body["password"], id)
    change("change_password", staff.ChangePassword(asking.id, fits, hash, asking.token_hash, stored), id=id)

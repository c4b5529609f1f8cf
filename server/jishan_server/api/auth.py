"""Logging in and out, and who one is."""

import secrets
from datetime import timedelta
from typing import Any

from jishan_server.api import schemas
from jishan_server.api.asking import actor, caller, change, me, member, operation_id, parts
from jishan_server.api.blueprints import Blueprint
from jishan_server.people import sessions, staff
from jishan_server.people.hashing import token_hash
from jishan_server.reading import reading

auth = Blueprint("auth", "Tokens of staff and residents")


@auth.post("/auth/token")
@auth.takes(schemas.Login)
@auth.answers(201, schemas.Token)
@auth.public
def create_token(body: dict[str, str]) -> dict[str, Any]:
    """Log in with login and password; the token goes into `Authorization: Bearer`."""
    staff_id, fits = staff.prepare_login(reading(), parts().hashing, body["login"], body["password"])
    token = secrets.token_urlsafe(32)
    expires_at = parts().clock() + timedelta(hours=parts().config.token_hours)
    attempt = staff.LogIn(staff_id, fits, token_hash(token), expires_at)
    return change("log_in", attempt, id=secrets.token_hex(16)) | {"token": token}


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

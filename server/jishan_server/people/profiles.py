"""What is kept of a person beside name and account, as Order 67 lists it, and who of the staff sees how much of it.

Nothing here is required: no phone, no ID number, no birth date. Those who register people see and change all of it;
everybody else who may look sees a masked one. Edits leave the names of the fields in the audit log, never a value.
Source: 志愿服务记录与证明出具办法 art. 5; 个人信息保护法 art. 6 (collect the least).
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime, tzinfo
from typing import Any, Final

from sqlalchemy import Connection, delete, insert, select

from jishan_server.errors import DomainError
from jishan_server.people.consents import of_age_at
from jishan_server.people.hashing import Hashing
from jishan_server.people.id_numbers import normalised
from jishan_server.people.tables import skills

PHONE_FORM: Final = re.compile(r"\+?[0-9][0-9 -]{3,18}", re.ASCII)
EMAIL_FORM: Final = re.compile(r"[^@\s]{1,64}@[^@\s]+\.[^@\s]+")
FIRST_BIRTH_YEAR: Final = 1900

PROFILE: Final = ("sex", "birth_day", "building", "unit", "room", "email", "category", "language")
"""The fields of a profile that are columns of `residents` as they are."""
EDITABLE: Final = ("name", "phone", *PROFILE, "skills", "id_number")
OWN: Final = ("phone", "email", "language")
"""What a resident changes without the desk."""


@dataclass(frozen=True, slots=True)
class Skill:
    """What somebody is good at, with the licence that says so and the last day it holds, as 2026-12-31."""

    name: str
    licence: str | None = None
    expires_on: str | None = None


@dataclass(frozen=True, slots=True)
class IdNumber:
    """What is kept of an ID number."""

    hash: str
    ending: str


def kept_of(hashing: Hashing, id_number: str | None) -> IdNumber | None:
    """What may be kept of an ID number as typed; refusal: id_number_invalid."""
    if id_number is None:
        return None
    number = normalised(id_number)
    if number is None:
        raise DomainError("id_number_invalid")
    return IdNumber(hashing.id_number(number), number[-4:])


def columns(
    values: Mapping[str, Any], id_number: IdNumber | None, now: datetime, zone: tzinfo
) -> dict[str, str | datetime | None]:
    """The columns of `residents` for those fields that `values` has; refusals: phone_invalid, email_invalid,
    birth_day_invalid."""
    found = {name: values[name] for name in ("name", "phone", *PROFILE) if name in values}
    if found.get("phone") is not None and PHONE_FORM.fullmatch(found["phone"]) is None:
        raise DomainError("phone_invalid")
    if found.get("email") is not None and EMAIL_FORM.fullmatch(found["email"]) is None:
        raise DomainError("email_invalid")
    if "birth_day" in found:
        born = found["birth_day"]
        if born is not None:
            day = date.fromisoformat(born)
            if day.year < FIRST_BIRTH_YEAR or day > now.astimezone(zone).date():
                raise DomainError("birth_day_invalid")
        found["of_age_at"] = of_age_at(born, zone)
    if "id_number" in values:
        found["id_number_hash"] = id_number.hash if id_number else None
        found["id_number_ending"] = id_number.ending if id_number else None
    return found


def put_skills(connection: Connection, resident_id: str, shown: Collection[Skill], *, is_new: bool) -> None:
    """Have a resident have these skills and no others."""
    if not is_new:
        connection.execute(delete(skills).where(skills.c.resident_id == resident_id))
    if shown:
        connection.execute(
            insert(skills),
            [
                {
                    "resident_id": resident_id,
                    "position": position,
                    "name": skill.name,
                    "licence": skill.licence,
                    "expires_on": skill.expires_on,
                }
                for position, skill in enumerate(shown)
            ],
        )


def skills_of(connection: Connection, resident_ids: Collection[str]) -> dict[str, list[dict[str, Any]]]:
    """The skills of each resident, in the order in which they were given."""
    found: dict[str, list[dict[str, Any]]] = {}
    s = skills.c
    rows = connection.execute(
        select(s.resident_id, s.name, s.licence, s.expires_on)
        .where(s.resident_id.in_(resident_ids))
        .order_by(s.resident_id, s.position)
    )
    for id, name, licence, expires_on in rows:
        found.setdefault(id, []).append({"name": name, "licence": licence, "expires_on": expires_on})
    return found


def masked_phone(phone: str | None) -> str | None:
    """138****0000; of a short one nothing but stars."""
    if phone is None:
        return None
    return phone[:3] + "****" + phone[-4:] if len(phone) > len("138****") else "****"


def masked_view(view: Mapping[str, Any]) -> dict[str, Any]:
    """A resident for those who need not reach them: no birth date, no address but the building, the phone masked."""
    hidden = dict.fromkeys(("birth_day", "unit", "room", "email", "pin_locked_until_at"))
    return {
        **view,
        **hidden,
        "phone": masked_phone(view["phone"]),
        "skills": [{**skill, "licence": None} for skill in view["skills"]],
        "is_masked": True,
    }

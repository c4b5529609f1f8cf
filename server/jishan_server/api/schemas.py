"""The shapes of the API's JSON. Unknown fields are refused and named; integers are integers, text is clean text."""

import re
import unicodedata
from collections.abc import Mapping
from datetime import UTC, date
from functools import cache
from typing import Any, Final

from marshmallow import RAISE, Schema, ValidationError, fields, validate

from jishan_protocol.redemption import State
from jishan_server.organizations.roles import Role
from jishan_server.volunteering.rules import MAX_POINTS

DAY_FORM: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
MAX_NAME: Final = 100
MAX_TEXT: Final = 500
MAX_PAGE: Final = 200


class Strict(Schema):
    """A shape that refuses what it does not know."""

    class Meta:
        unknown = RAISE


class WholeNumber(fields.Integer):
    """A JSON integer: no 1.0, no "1", no true."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> int:
        if type(value) is not int:
            raise self.make_error("invalid", input=value)
        return value


class Text(fields.String):
    """One line of text for people: trimmed, any script and emoji, no control characters or lone surrogates."""

    def __init__(self, most: int, least: int = 1, **kwargs: Any) -> None:
        super().__init__(validate=validate.Length(min=least, max=most), **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs) or ""
        if any(unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp") for sign in text):
            raise ValidationError("Control characters and lone surrogates are not text.")
        return text.strip()


class Secret(fields.String):
    """A password or PIN: taken as it is, never shown in an answer or an example."""

    def __init__(self) -> None:
        super().__init__(required=True, load_only=True, validate=validate.Length(max=200))


class Day(fields.String):
    """A day of the scheme's calendar: YYYY-MM-DD."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(metadata={"format": "date"}, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs) or ""
        try:
            if DAY_FORM.fullmatch(text) is None:
                raise ValueError
            date.fromisoformat(text)
        except ValueError:
            raise ValidationError("Not a day: YYYY-MM-DD.") from None
        return text


def an_id(**kwargs: Any) -> fields.String:
    """An id of ours."""
    return fields.String(validate=validate.Regexp(re.compile(r"[0-9a-z_-]{1,40}\Z")), **kwargs)


def an_instant() -> fields.String:
    """An instant in an answer: RFC 3339, UTC."""
    return fields.String(allow_none=True, metadata={"format": "date-time"})


class Failure(Schema):
    """Every failure has this body; `code` is stable."""

    code = fields.String()
    message = fields.String(metadata={"description": "In the language of Accept-Language."})
    message_zh = fields.String()
    message_en = fields.String()
    fields_ = fields.Dict(data_key="fields")
    request_id = fields.String()


class Paging(Strict):
    """Where a page starts and how long it is."""

    cursor = fields.String(load_default=None, validate=validate.Length(max=200))
    limit = fields.Integer(load_default=50, validate=validate.Range(1, MAX_PAGE))


SIX_DIGITS: Final = "The six digits that the authenticator shows, where the account has a second factor."


class Login(Strict):
    login = fields.String(required=True, validate=validate.Length(max=40))
    password = Secret()
    code = fields.String(load_default=None, validate=validate.Length(max=10), metadata={"description": SIX_DIGITS})


class Token(Schema):
    token = fields.String()
    expires_at = an_instant()
    staff_id = fields.String()


class ResidentLogin(Strict):
    member_number = fields.String(required=True, validate=validate.Length(max=10))
    pin = Secret()


class ResidentToken(Schema):
    token = fields.String()
    expires_at = an_instant()
    resident_id = fields.String()


class PasswordChange(Strict):
    old_password = Secret()
    password = Secret()


class RoleGrant(Strict):
    role = fields.String(
        required=True, validate=validate.OneOf([role.value for role in Role if role is not Role.RESIDENT])
    )
    organization_id = an_id(required=True)


class NewStaff(Strict):
    login = fields.String(required=True, validate=validate.Length(max=40))
    name = Text(MAX_NAME, required=True)
    password = Secret()
    roles = fields.List(fields.Nested(RoleGrant), required=True, validate=validate.Length(1, 20))
    resident_id = an_id(load_default=None, allow_none=True)


class Staff(Schema):
    id = fields.String()
    login = fields.String()
    name = fields.String()
    resident_id = fields.String(allow_none=True)
    is_active = fields.Boolean()
    has_second_factor = fields.Boolean()
    roles = fields.List(fields.Nested(RoleGrant))
    permissions = fields.List(fields.String())
    created_at = an_instant()


class NewEstate(Strict):
    id = an_id(load_default=None, allow_none=True)
    parent_id = an_id(required=True)
    name = Text(MAX_NAME, required=True)
    level = Text(40, load_default="estate")


class Estate(Schema):
    id = fields.String()
    parent_id = fields.String(allow_none=True)
    level = fields.String()
    name = fields.String()
    created_at = an_instant()


class Skill(Strict):
    name = Text(MAX_NAME, required=True)
    licence = Text(MAX_NAME, load_default=None, allow_none=True)
    expires_on = Day(load_default=None, allow_none=True)


class ProfileFields(Strict):
    """What may be kept of a person; nothing of it is required."""

    phone = Text(20, allow_none=True)
    sex = fields.String(validate=validate.OneOf(["f", "m"]), allow_none=True)
    birth_day = Day(allow_none=True)
    id_number = fields.String(
        load_only=True,
        allow_none=True,
        validate=validate.Length(max=40),
        metadata={"description": "Never kept: only a keyed hash of it and its last four signs are."},
    )
    building = Text(40, allow_none=True)
    unit = Text(40, allow_none=True)
    room = Text(40, allow_none=True)
    email = Text(100, allow_none=True)
    category = Text(40, allow_none=True)
    language = fields.String(validate=validate.OneOf(["zh", "en"]))
    skills = fields.List(fields.Nested(Skill), validate=validate.Length(max=20))


class Guardian(Strict):
    """A resident, or a name and phone."""

    resident_id = an_id(load_default=None, allow_none=True)
    name = Text(MAX_NAME, load_default=None, allow_none=True)
    phone = Text(20, load_default=None, allow_none=True)


class ConsentGiven(Strict):
    how = fields.String(load_default="desk", validate=validate.OneOf(["desk", "paper"]))
    form_number = Text(40, load_default=None, allow_none=True)
    form_day = Day(load_default=None, allow_none=True)
    guardian = fields.Nested(Guardian, load_default=None, allow_none=True)


class ConsentWithdrawn(Strict):
    how = fields.String(load_default="desk", validate=validate.OneOf(["desk", "paper"]))


class OwnConsent(Strict):
    text_version = WholeNumber(required=True, metadata={"description": "The version that was shown and read."})


class ConsentSaid(Schema):
    """One thing that was said about keeping records; `is_given` false: withdrawn."""

    resident_id = fields.String()
    text_version = fields.Integer()
    is_given = fields.Boolean()
    how = fields.String()
    written_by = fields.String()
    form_number = fields.String(allow_none=True)
    form_day = fields.String(allow_none=True)
    guardian_id = fields.String(allow_none=True)
    guardian_name = fields.String(allow_none=True)
    machine_id = fields.String(allow_none=True)
    recorded_at = an_instant()


class ConsentText(Schema):
    version = fields.Integer()
    zh = fields.String()
    en = fields.String()
    from_at = an_instant()


class NewConsentText(Strict):
    zh = fields.String(required=True, validate=validate.Length(50, 5000))
    en = fields.String(required=True, validate=validate.Length(50, 10_000))
    from_day = Day(required=True)


class OwnConsents(Schema):
    state = fields.String()
    text = fields.Nested(ConsentText)
    history = fields.List(fields.Nested(ConsentSaid))


class PersonalAccess(Schema):
    actor = fields.String()
    staff_name = fields.String(allow_none=True)
    what = fields.String()
    recorded_at = an_instant()


class PersonalExport(Schema):
    """Everything that is kept of a person. `records` has the rows of every table, by its name."""

    made_at = an_instant()
    profile = fields.Dict()
    consents = fields.List(fields.Nested(ConsentSaid))
    points = fields.Dict()
    entries = fields.List(fields.Dict())
    records = fields.Dict()


class Erasure(Strict):
    """It cannot be undone; the body says that whoever asks for it knows."""

    reason = fields.String(required=True, validate=validate.OneOf(["asked", "left", "died", "no_longer_needed"]))
    cannot_be_undone = fields.Boolean(required=True, truthy={True}, falsy=set(), validate=validate.Equal(True))


class LikelySame(Schema):
    id = fields.String()
    estate_id = fields.String()
    name = fields.String()
    member_number = fields.String()
    phone = fields.String(allow_none=True)
    building = fields.String(allow_none=True)


class DuplicatePair(Schema):
    """Two residents who may be one person. What follows if they are is a merge."""

    first = fields.Nested(LikelySame)
    second = fields.Nested(LikelySame)
    evidence = fields.List(fields.String())


class DuplicatesWanted(Strict):
    estate_id = an_id(load_default=None)


class NotDuplicates(Strict):
    first_id = an_id(required=True)
    second_id = an_id(required=True)


class NewResident(ProfileFields):
    estate_id = an_id(required=True)
    name = Text(MAX_NAME, required=True)
    consent = fields.Nested(
        ConsentGiven,
        allow_none=True,
        metadata={"description": "Left out: given at the desk. null: not asked yet."},
    )


class ResidentChanges(ProfileFields):
    """Only what is in the body changes."""

    name = Text(MAX_NAME)


class OwnChanges(Strict):
    """Only what is in the body changes."""

    phone = Text(20, allow_none=True)
    email = Text(100, allow_none=True)
    language = fields.String(validate=validate.OneOf(["zh", "en"]))


class Card(Schema):
    id = fields.String()
    resident_id = fields.String()
    state = fields.String()
    ending = fields.String(metadata={"description": "The last four digits of the card's identity."})
    blocked_reason = fields.String(allow_none=True)
    bound_at = an_instant()
    blocked_at = an_instant()


class Resident(Schema):
    id = fields.String()
    estate_id = fields.String()
    name = fields.String()
    phone = fields.String(allow_none=True)
    member_number = fields.String()
    state = fields.String(metadata={"description": "active, frozen, merged or closed"})
    merged_into = fields.String(allow_none=True, metadata={"description": "The record that survived."})
    sex = fields.String(allow_none=True)
    birth_day = fields.String(allow_none=True)
    building = fields.String(allow_none=True)
    unit = fields.String(allow_none=True)
    room = fields.String(allow_none=True)
    email = fields.String(allow_none=True)
    category = fields.String(allow_none=True)
    language = fields.String()
    skills = fields.List(fields.Nested(Skill))
    has_id_number = fields.Boolean()
    is_masked = fields.Boolean(metadata={"description": "Parts of it are hidden from your role."})
    consent_state = fields.String(metadata={"description": "awaiting, given or withdrawn"})
    has_pin = fields.Boolean()
    pin_locked_until_at = an_instant()
    cards = fields.List(fields.Nested(Card))
    created_at = an_instant()
    erased_at = an_instant()
    closed_at = an_instant()


class ResidentsWanted(Paging):
    estate_id = an_id(load_default=None)
    name = Text(MAX_NAME, load_default=None, metadata={"description": "A part of the name."})
    member_number = fields.String(load_default=None, validate=validate.Length(max=10))
    phone_ending = fields.String(load_default=None, validate=validate.Regexp(re.compile(r"[0-9]{4,11}\Z")))
    card_ending = fields.String(load_default=None, validate=validate.Regexp(re.compile(r"[0-9A-Fa-f]{4}\Z")))
    building = Text(40, load_default=None)
    awaiting_consent = fields.Boolean(load_default=False)


class Why(Strict):
    reason = Text(MAX_TEXT, required=True)


class Merger(Why):
    into_id = an_id(required=True, metadata={"description": "The record that survives."})


class WhyCard(Strict):
    reason = fields.String(load_default="lost", validate=validate.OneOf(["lost", "broken", "stolen", "returned"]))


class NewCard(Strict):
    uid = fields.String(
        required=True,
        validate=validate.Length(max=40),
        metadata={"description": "Hex of the UID bytes, most significant first", "example": "00745A70"},
    )


class CardReplacement(NewCard, WhyCard):
    """The new card, and why the old one is replaced."""


class NewPin(Strict):
    pin = Secret()


class Balance(Schema):
    resident_id = fields.String()
    posted_points = fields.Integer()
    held_points = fields.Integer()
    available_points = fields.Integer()
    owed_points = fields.Integer()
    pending_points = fields.Integer(metadata={"description": "Approved, but still in the public notice or waiting."})
    next_expiry_at = an_instant()
    next_expiry_points = fields.Integer(allow_none=True)


class Month(Strict):
    month = fields.String(
        required=True,
        validate=validate.Regexp(re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])\Z")),
        metadata={"example": "2026-03"},
    )


class StatementEntry(Schema):
    """One movement of a resident's points, and how the account stood after it. A hold changes `held_points` only."""

    sequence = fields.Integer()
    transfer_id = fields.String()
    kind = fields.String()
    posted_change_points = fields.Integer()
    held_change_points = fields.Integer()
    posted_points = fields.Integer()
    held_points = fields.Integer()
    available_points = fields.Integer()
    cause_type = fields.String()
    cause_id = fields.String()
    reason = fields.String()
    activity = fields.String(allow_none=True)
    approved_by = fields.String(allow_none=True)
    rule_version = fields.String(allow_none=True)
    expires_at = an_instant()
    recorded_at = an_instant()


class NewMachine(Strict):
    machine_id = fields.String(required=True, validate=validate.Regexp(re.compile(r"[0-9a-z_-]{1,32}\Z")))
    estate_id = an_id(required=True)
    name = Text(MAX_NAME, required=True)


class Machine(Schema):
    id = fields.String()
    estate_id = fields.String()
    name = fields.String()
    state = fields.String()
    closed_reason = fields.String(allow_none=True)
    is_online = fields.Boolean()
    last_heartbeat_at = an_instant()
    planogram_version = fields.Integer()
    reported = fields.Dict(allow_none=True)
    last_seq = fields.Integer()
    enrolled_at = an_instant()


class ClaimCode(Schema):
    machine_id = fields.String()
    claim_code = fields.String(metadata={"description": "Shown this once; works once."})
    expires_at = an_instant()


class Enrolment(Strict):
    """What a machine shows: its claim code, and the id of the journal that it keeps."""

    claim_code = fields.String(required=True, load_only=True, validate=validate.Length(max=60))
    journal_id = an_id(required=True)


class Enrolled(Schema):
    machine_id = fields.String()
    shard = fields.Integer()
    key_id = fields.Integer()
    key = fields.String()
    card_key = fields.String()
    mqtt_username = fields.String()
    mqtt_password = fields.String()
    mqtt_url = fields.String()
    site_url = fields.String(metadata={"description": "What the address on the machine's screen begins with."})


class NewProduct(Strict):
    product_id = an_id(required=True)
    estate_id = an_id(required=True)
    name_zh = Text(MAX_NAME, required=True)
    name_en = Text(MAX_NAME, required=True)


class Product(Schema):
    id = fields.String()
    estate_id = fields.String()
    name_zh = fields.String()
    name_en = fields.String()


class SlotPlan(Strict):
    selection = WholeNumber(required=True, validate=validate.Range(0, 9999))
    product_id = an_id(required=True)
    points = WholeNumber(required=True, validate=validate.Range(1, MAX_POINTS))
    capacity = WholeNumber(required=True, validate=validate.Range(0, 1000))
    is_enabled = fields.Boolean(load_default=True, truthy={True}, falsy={False})


class NewPlanogram(Strict):
    replaces = WholeNumber(
        required=True,
        validate=validate.Range(min=0),
        metadata={"description": "The version you saw; another one in force by now is a conflict."},
    )
    slots = fields.List(fields.Nested(SlotPlan), required=True, validate=validate.Length(max=1000))


class Slot(Schema):
    selection = fields.Integer()
    product_id = fields.String()
    points = fields.Integer()
    capacity = fields.Integer()
    is_enabled = fields.Boolean()
    stock = fields.Integer()
    reserved = fields.Integer()
    closed_reason = fields.String(allow_none=True)


class Planogram(Schema):
    machine_id = fields.String()
    version = fields.Integer()
    slots = fields.List(fields.Nested(Slot))


class StockCount(Strict):
    selection = WholeNumber(required=True, validate=validate.Range(0, 9999))
    stock = WholeNumber(required=True, validate=validate.Range(0, 1000))


class NewStock(Strict):
    counts = fields.List(fields.Nested(StockCount), required=True, validate=validate.Length(1, 1000))


class OpenOrClose(Strict):
    is_open = fields.Boolean(required=True, truthy={True}, falsy={False})
    reason = Text(MAX_TEXT, required=True)


class RedemptionsWanted(Strict):
    state = fields.String(load_default=None, validate=validate.OneOf([state.value for state in State]))
    machine_id = an_id(load_default=None)
    resident_id = an_id(load_default=None)
    before = fields.AwareDateTime(load_default=None, default_timezone=UTC, metadata={"description": "Recorded before."})
    limit = fields.Integer(load_default=50, validate=validate.Range(1, MAX_PAGE))


class Redemption(Schema):
    id = fields.String()
    machine_id = fields.String()
    estate_id = fields.String()
    resident_id = fields.String(allow_none=True)
    selection = fields.Integer(allow_none=True)
    product_id = fields.String(allow_none=True)
    points = fields.Integer(allow_none=True)
    state = fields.String()
    reason = fields.String(allow_none=True)
    is_being_checked = fields.Boolean()
    in_doubt_at = an_instant()
    answer_by = fields.String(
        allow_none=True, metadata={"format": "date", "description": "The day by which a doubt is answered."}
    )
    recorded_at = an_instant()
    changed_at = an_instant()


class RedemptionEvent(Schema):
    event = fields.String()
    party = fields.String()
    actor = fields.String()
    verdict = fields.String()
    state = fields.String()
    evidence = fields.Raw()
    recorded_at = an_instant()


class Decision(Schema):
    verdict = fields.String()
    state = fields.String()
    decided_by = fields.String()
    seconded_by = fields.String(allow_none=True)
    reason = fields.String()
    recorded_at = an_instant()


class RedemptionStory(Redemption):
    ticket = fields.Integer(allow_none=True)
    told_zh = fields.String(allow_none=True, metadata={"description": "What the resident reads while it is in doubt."})
    told_en = fields.String(allow_none=True)
    history = fields.List(fields.Nested(RedemptionEvent))
    decisions = fields.List(fields.Nested(Decision))


class Resolution(Strict):
    verdict = fields.String(required=True, validate=validate.OneOf(["dispensed", "not_dispensed"]))
    reason = Text(MAX_TEXT, required=True)
    evidence = Text(MAX_TEXT, least=0, load_default="")


class OpenListWanted(Strict):
    day = fields.String(
        load_default=None,
        validate=validate.Regexp(re.compile(r"\d{4}-\d\d-\d\d\Z", re.ASCII)),
        metadata={"format": "date", "description": "The list of that morning; without it, what is open now."},
    )


class OpenRedemption(Schema):
    redemption_id = fields.String()
    estate_id = fields.String()
    machine_id = fields.String()
    state = fields.String(metadata={"description": "When it was listed."})
    state_now = fields.String()
    points = fields.Integer(allow_none=True)
    ticket = fields.Integer(allow_none=True)
    grade = fields.String()
    since_at = an_instant()
    answer_by = fields.String(allow_none=True, metadata={"format": "date"})
    is_overdue = fields.Boolean()


class AlertsWanted(Strict):
    open = fields.Boolean(load_default=True)


class Alert(Schema):
    number = fields.Integer()
    grade = fields.String()
    kind = fields.String()
    subject = fields.String()
    estate_id = fields.String()
    machine_id = fields.String(allow_none=True)
    redemption_id = fields.String(allow_none=True)
    detail = fields.Raw()
    opened_at = an_instant()
    acknowledged_at = an_instant()
    acknowledged_by = fields.String(allow_none=True)
    resolved_at = an_instant()
    resolved_by = fields.String(allow_none=True)


class Contradiction(Schema):
    number = fields.Integer()
    redemption_id = fields.String()
    machine_id = fields.String()
    state = fields.String()
    event = fields.String()
    evidence = fields.Raw()
    recorded_at = an_instant()


class RejectedMessage(Schema):
    number = fields.Integer()
    machine_id = fields.String()
    journal_id = fields.String()
    seq = fields.Integer()
    message_id = fields.String()
    type = fields.String()
    body = fields.Raw()
    reason = fields.String()
    detail = fields.String()
    recorded_at = an_instant()


@cache
def page_of(shape: type[Schema]) -> type[Schema]:
    """A page: `items`, and the cursor of the next page (null on the last)."""
    return Schema.from_dict(
        {"items": fields.List(fields.Nested(shape)), "next_cursor": fields.String(allow_none=True)},
        name=f"{shape.__name__}Page",
    )

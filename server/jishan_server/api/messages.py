"""The inbox: what residents are told, "this is not me" and the staff's answer; on which channels messages leave."""

from typing import Any

from marshmallow import Schema, fields, validate

from jishan_server.api.asking import actor, change, me, note_access, parts
from jishan_server.api.blueprints import Blueprint
from jishan_server.api.paging import page, read_cursor
from jishan_server.api.schemas import MAX_TEXT, Paging, Strict, Text, an_instant, page_of
from jishan_server.organizations.roles import Permission, scope
from jishan_server.people import messages as inbox
from jishan_server.people import outbox
from jishan_server.people import preferences as choosing
from jishan_server.people.message_tables import CHANNELS
from jishan_server.reading import reading

messages = Blueprint("messages", "What residents are told")


class Message(Schema):
    number = fields.Integer()
    resident_id = fields.String()
    kind = fields.String()
    language = fields.String()
    text = fields.String(metadata={"description": "In the person's own language."})
    # `fields` is a name of marshmallow's own.
    fields_ = fields.Dict(data_key="fields", attribute="fields")
    recorded_at = an_instant()
    read_at = an_instant()
    disputed_at = an_instant()
    answered_at = an_instant()
    dispute_words = fields.String(allow_none=True)
    answered_by = fields.String(allow_none=True)
    answer_words = fields.String(allow_none=True)


class Inbox(page_of(Message)):  # type: ignore[misc]
    unread = fields.Integer()


class DisputedMessage(Message):
    estate_id = fields.String()
    name = fields.String()
    member_number = fields.String()


class DisputesWanted(Paging):
    is_answered = fields.Boolean(load_default=False)


class Dispute(Strict):
    words = Text(MAX_TEXT, least=0, load_default="")


class DisputeAnswer(Strict):
    words = Text(MAX_TEXT, required=True)


class Preferences(Schema):
    resident_id = fields.String()
    language = fields.String()
    channels = fields.List(fields.String(), metadata={"description": "Beside the inbox, where everything stands."})
    available = fields.List(fields.String(), metadata={"description": "What this server can send on."})
    without_address = fields.List(fields.String(), metadata={"description": "These need an address first."})


class Choice(Strict):
    channels = fields.List(
        fields.String(validate=validate.OneOf(CHANNELS)), required=True, validate=validate.Length(max=len(CHANNELS))
    )
    language = fields.String(validate=validate.OneOf(("zh", "en")), load_default=None)
    wechat_openid = fields.String(validate=validate.Regexp(r"\A[0-9A-Za-z_-]{1,100}\Z"), load_default=None)


class Sending(Schema):
    number = fields.Integer()
    message_number = fields.Integer()
    channel = fields.String()
    kind = fields.String()
    resident_id = fields.String()
    estate_id = fields.String()
    name = fields.String()
    member_number = fields.String()
    state = fields.String()
    tries = fields.Integer()
    problem = fields.String(allow_none=True, metadata={"description": "Why the last try failed: a code."})
    due_at = an_instant()
    ended_at = an_instant()


@messages.get("/me/messages")
@messages.takes(Paging, location="query")
@messages.answers(200, Inbox)
def list_my_messages(wanted: dict[str, Any]) -> dict[str, Any]:
    """What I was told, newest first, and how many I have not read."""
    return _inbox(me(), wanted)


@messages.post("/me/messages/<int:number>/read")
@messages.answers(200, Message)
def read_my_message(number: int) -> dict[str, Any]:
    """I have read it."""
    return change("read_message", inbox.ReadMessage(actor(), me(), number))


@messages.post("/me/messages/<int:number>/dispute")
@messages.takes(Dispute)
@messages.answers(200, Message)
def dispute_my_message(body: dict[str, str], number: int) -> dict[str, Any]:
    """This is not me: the staff of my estate look into it and answer."""
    return change("dispute_message", inbox.DisputeMessage(actor(), me(), number, **body))


@messages.get("/residents/<id:resident_id>/messages")
@messages.takes(Paging, location="query")
@messages.answers(200, Inbox)
def list_messages(wanted: dict[str, Any], resident_id: str) -> dict[str, Any]:
    """What a resident was told, for somebody who asks at the desk. Looking marks nothing as read."""
    found = _inbox(resident_id, wanted)
    note_access("messages", resident_id)
    return found


@messages.get("/messages/disputed")
@messages.takes(DisputesWanted, location="query")
@messages.answers(200, page_of(DisputedMessage))
def list_disputed_messages(wanted: dict[str, Any]) -> dict[str, Any]:
    """Messages of which somebody says that it was not them, in one's scope, oldest first."""
    estates = scope(reading(), actor(), Permission.MESSAGE_READ)
    after = read_cursor(wanted["cursor"])
    found, further = inbox.disputed(reading(), estates, wanted["is_answered"], after, wanted["limit"])
    note_access("disputes", people=len({one["resident_id"] for one in found}))
    return page(found, further)


@messages.post("/messages/<int:number>/answer")
@messages.takes(DisputeAnswer)
@messages.answers(200, Message)
def answer_dispute(body: dict[str, str], number: int) -> dict[str, Any]:
    """Answer who said that it was not them; the answer is a message to them."""
    return change("answer_dispute", inbox.AnswerDispute(actor(), number, **body), key_required=True)


@messages.get("/me/messages/preferences")
@messages.answers(200, Preferences)
def get_my_preferences() -> dict[str, Any]:
    """On which channels I am told, and in which language."""
    return choosing.preferences(reading(), actor(), me(), parts().config.channels)


@messages.put("/me/messages/preferences")
@messages.takes(Choice)
@messages.answers(200, Preferences)
def put_my_preferences(body: dict[str, Any]) -> dict[str, Any]:
    """Be told on these channels too. None: in the inbox only."""
    return _choose(me(), body)


@messages.get("/residents/<id:resident_id>/messages/preferences")
@messages.answers(200, Preferences)
def get_preferences(resident_id: str) -> dict[str, Any]:
    """On which channels a resident is told."""
    found = choosing.preferences(reading(), actor(), resident_id, parts().config.channels)
    note_access("preferences", resident_id)
    return found


@messages.put("/residents/<id:resident_id>/messages/preferences")
@messages.takes(Choice)
@messages.answers(200, Preferences)
def put_preferences(body: dict[str, Any], resident_id: str) -> dict[str, Any]:
    """Choose for somebody who stands at the desk."""
    return _choose(resident_id, body)


@messages.get("/messages/failed")
@messages.takes(Paging, location="query")
@messages.answers(200, page_of(Sending))
def list_failed_messages(wanted: dict[str, Any]) -> dict[str, Any]:
    """Messages that could not be sent on a channel, in one's scope, oldest first. All are in the inbox."""
    estates = scope(reading(), actor(), Permission.MESSAGE_READ)
    found, further = outbox.failed(reading(), estates, read_cursor(wanted["cursor"]), wanted["limit"])
    note_access("failed_messages", people=len({one["resident_id"] for one in found}))
    return page(found, further)


@messages.post("/messages/sendings/<int:number>/resend")
@messages.answers(200, Sending)
def resend_message(number: int) -> dict[str, Any]:
    """Send once more what has failed, after whatever was wrong was put right."""
    return change("resend_message", outbox.Resend(actor(), number), key_required=True)


def _choose(resident_id: str, body: dict[str, Any]) -> dict[str, Any]:
    chosen = tuple(sorted(set(body["channels"])))
    wanted = choosing.ChooseChannels(actor(), resident_id, chosen, body["language"], body["wechat_openid"])
    return change("choose_channels", wanted)


def _inbox(resident_id: str, wanted: dict[str, Any]) -> dict[str, Any]:
    before = read_cursor(wanted["cursor"])
    found, further = inbox.inbox(reading(), actor(), resident_id, before, wanted["limit"])
    return page(found, further) | {"unread": inbox.unread(reading(), resident_id)}

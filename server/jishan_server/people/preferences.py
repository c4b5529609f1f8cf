"""How a person wants to be told: on which channels beside the inbox, which is always there, and in which language.

Nobody is put on a channel without having agreed to records about them, nor on one that this server does not have, nor
without an address there. An address is kept where it belongs (e-mail and phone with the resident); a WeChat openid
stands with the choice, and is never shown again.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, delete, insert, select, update

from jishan_server import audit
from jishan_server.errors import DomainError
from jishan_server.organizations.roles import Permission, permit, resident_of_actor
from jishan_server.people.message_tables import CHANNELS, message_channels
from jishan_server.people.residents import estate_of
from jishan_server.people.tables import residents
from jishan_server.writer import Operation

_c, _r = message_channels.c, residents.c


@dataclass(frozen=True, slots=True)
class ChooseChannels:
    """Be told on these channels and no others; None leaves the language, or the openid, as it is."""

    actor: str
    resident_id: str
    channels: tuple[str, ...]
    language: str | None = None
    wechat_openid: str | None = field(default=None, repr=False, metadata={"secret": True})


def preferences(connection: Connection, actor: str, resident_id: str, available: Collection[str]) -> dict[str, Any]:
    """What a person chose, and what there is to choose. Refusals: resident_unknown, forbidden."""
    permit(connection, actor, Permission.MESSAGE_READ, estate_of(connection, resident_id), about=resident_id)
    return _view(connection, resident_id, available)


def choose_channels(
    connection: Connection, operation: Operation, now: datetime, available: Collection[str]
) -> dict[str, Any]:
    """Choose. Residents do so themselves, staff for them at the desk.

    Refusals: resident_unknown, forbidden, channel_consent, channel_off, channel_address.
    """
    body: ChooseChannels = operation.body
    estate_id = estate_of(connection, body.resident_id)
    if resident_of_actor(body.actor) != body.resident_id:
        permit(connection, body.actor, Permission.RESIDENT_WRITE, estate_id)
    person = connection.execute(select(residents).where(_r.id == body.resident_id)).mappings().one()
    if body.channels and person["consent_state"] != "given":
        raise DomainError("channel_consent")
    query = select(_c.channel, _c.address).where(_c.resident_id == body.resident_id)
    had: dict[str, str | None] = {row.channel: row.address for row in connection.execute(query)}
    openid = body.wechat_openid or had.get("wechat")
    addresses = {"email": person["email"], "sms": person["phone"], "wechat": openid, "webhook": person["id"]}
    for channel in body.channels:
        if channel not in available:
            raise DomainError("channel_off", channel=channel)
        if addresses[channel] is None:
            raise DomainError("channel_address", channel=channel)
    gone = had.keys() - set(body.channels)
    if gone:
        connection.execute(
            delete(message_channels).where(_c.resident_id == body.resident_id, _c.channel.in_(sorted(gone)))
        )
    new = sorted(set(body.channels) - had.keys())
    if new:
        connection.execute(
            insert(message_channels),
            [{"resident_id": body.resident_id, "channel": one, "address": None, "since_at": now} for one in new],
        )
    if "wechat" in body.channels:
        mine = (_c.resident_id == body.resident_id) & (_c.channel == "wechat")
        connection.execute(update(message_channels).where(mine).values(address=openid))
    if body.language is not None:
        connection.execute(update(residents).where(_r.id == body.resident_id).values(language=body.language))
    audit.record(
        connection,
        now,
        actor=body.actor,
        action="channels_chosen",
        subject=("resident", body.resident_id),
        operation_id=operation.id,
        details={"channels": sorted(set(body.channels))},
    )
    return _view(connection, body.resident_id, available)


_KEPT_IN: Final = {"email": _r.email, "sms": _r.phone}


def _view(connection: Connection, resident_id: str, available: Collection[str]) -> dict[str, Any]:
    chosen = connection.scalars(select(_c.channel).where(_c.resident_id == resident_id).order_by(_c.channel)).all()
    row = connection.execute(select(_r.language, *_KEPT_IN.values()).where(_r.id == resident_id)).one()
    without = [name for name, column in _KEPT_IN.items() if getattr(row, column.name) is None]
    return {
        "resident_id": resident_id,
        "language": row.language,
        "channels": list(chosen),
        "available": [channel for channel in CHANNELS if channel in available],
        "without_address": without,
    }

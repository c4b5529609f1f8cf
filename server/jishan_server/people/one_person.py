"""Which records are one person's: that of a resident, and all that were merged into it.

What never changes (credits, service records, redemptions, consents, messages) stays with the record that it was made
for. So whoever shows a person's history reads it of all their records (`records_of`), whoever asks whether something is
one's own asks `is_same_person`, and whoever lets residents act on a row asks `whose`.
"""

from collections.abc import Collection

from sqlalchemy import Connection, select

from jishan_server.organizations.roles import resident_of_actor
from jishan_server.people.tables import residents

_r = residents.c


def persons(connection: Connection, resident_ids: Collection[str]) -> dict[str, str]:
    """These residents, and all whose records were merged into theirs: each with the one of `resident_ids`."""
    found = {id: id for id in resident_ids}
    newest = set(found)
    while newest:
        rows = connection.execute(select(_r.id, _r.merged_into).where(_r.merged_into.in_(newest))).all()
        newest = {id for id, _ in rows} - found.keys()
        found |= {id: found[into] for id, into in rows if id in newest}
    return found


def records_of(connection: Connection, resident_id: str) -> list[str]:
    """The ids of a resident's record and of all that were merged into it."""
    return list(persons(connection, [resident_id]))


def survivor_of(connection: Connection, resident_id: str) -> str:
    """The record that a resident's was merged into at last; the same if it was not."""
    while (into := connection.scalar(select(_r.merged_into).where(_r.id == resident_id))) is not None:
        resident_id = into
    return resident_id


def survivors(connection: Connection, resident_ids: Collection[str]) -> dict[str, str]:
    """`survivor_of` for many, in a handful of statements."""
    found = {id: id for id in resident_ids}
    while True:
        query = select(_r.id, _r.merged_into).where(_r.id.in_(set(found.values())), _r.merged_into.is_not(None))
        merged: dict[str, str] = dict(connection.execute(query).all())
        if not merged:
            return found
        found = {id: merged.get(one, one) for id, one in found.items()}


def is_same_person(connection: Connection, one: str | None, other: str | None) -> bool:
    """Whether two records are one person's: the same one, or merged. Nobody is the same as None."""
    if one is None or other is None:
        return False
    return one == other or survivor_of(connection, one) == survivor_of(connection, other)


def whose(connection: Connection, actor: str, resident_id: str) -> str:
    """The resident whom a row is about, for `roles.permit`: for a resident whose own it is, themselves."""
    own = resident_of_actor(actor)
    return own if own is not None and is_same_person(connection, own, resident_id) else resident_id

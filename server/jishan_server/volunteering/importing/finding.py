"""Whose row is it: by member number, else card, else ID number, else phone, else name and building.

A name alone never says who it is. What is given beside the deciding clue must not contradict it: another name, or a
number that belongs to somebody else, refuses the row. Several who fit refuse it too, and are listed masked. People of
other estates are never shown.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeVar

from sqlalchemy import ColumnElement, Connection, func, select

from jishan_protocol.cards import normalise
from jishan_protocol.errors import ProtocolError
from jishan_server.people.credentials import masked
from jishan_server.people.hashing import Hashing
from jishan_server.people.id_numbers import normalised
from jishan_server.people.member_numbers import is_member_number
from jishan_server.people.profiles import IdNumber
from jishan_server.people.tables import cards, residents
from jishan_server.sheets import numbers
from jishan_server.sheets.cells import Cell, CellProblem, name_of, text_of
from jishan_server.sheets.headers import Field
from jishan_server.volunteering.importing.rows import RowReader

T = TypeVar("T")
MAX_NAME: Final = 100
MAX_IDS: Final = 1_000
SHOWN_CANDIDATES: Final = 5
NEW: Final = frozenset({"新", "新增", "new"})
"""What stands in the column of member numbers for somebody who is certainly not registered yet."""

MEMBER_NUMBER: Final = Field("member_number", "会员号", "member number", ("会员编号", "志愿者编号", "会员卡号"))
CARD: Final = Field("card", "卡号", "card", ("芯片号", "ic卡号", "卡片号", "uid"))
ID_NUMBER: Final = Field(
    "id_number", "身份证号", "ID number", ("身份证", "身份证号码", "证件号", "证件号码", "居民身份证号", "公民身份号码")
)
PHONE: Final = Field(
    "phone", "电话", "phone", ("手机", "手机号", "手机号码", "联系电话", "联系方式", "电话号码", "移动电话")
)
NAME: Final = Field("name", "姓名", "name", ("名字", "志愿者姓名", "居民姓名", "志愿者", "人员", "人员姓名"))
BUILDING: Final = Field("building", "楼栋", "building", ("楼号", "栋", "栋号", "幢", "楼", "楼幢", "住址楼栋"))
CLUES: Final = (MEMBER_NUMBER, CARD, ID_NUMBER, PHONE, NAME, BUILDING)


@dataclass(frozen=True, slots=True)
class Clues:
    """What a row says about who it is."""

    name: str | None = None
    member_number: str | None = None
    is_new: bool = False
    card: tuple[str, str] | None = field(default=None, repr=False)
    id_number: IdNumber | None = field(default=None, repr=False)
    phone: str | None = None
    building: str | None = None


class Person(NamedTuple):
    """Somebody who is registered."""

    id: str
    estate_id: str
    name: str
    member_number: str
    phone: str | None
    id_number_hash: str | None
    building: str | None
    birth_day: str | None


class World(NamedTuple):
    """Everybody whom the clues of some rows may mean."""

    by_member: Mapping[str, Person]
    by_card: Mapping[str, Person]
    by_id: Mapping[str, list[Person]]
    by_phone: Mapping[str, list[Person]]
    by_name: Mapping[str, list[Person]]


class Unclear(NamedTuple):
    """Why nobody can be told: the field it is about, a problem's code and fields, and who it may be."""

    field: str
    code: str
    fields: Mapping[str, object]
    subjects: tuple[str, ...] = ()


def read_person(reader: RowReader, hashing: Hashing) -> Clues | None:
    """What a row of work says about whose it is; None if one of those cells is wrong: no weaker clue stands in."""
    clues = read_clues(reader, hashing)
    return None if reader.problems else clues


def read_clues(reader: RowReader, hashing: Hashing, *, needs_name: bool = False) -> Clues:
    """What a row says about who it is; what is wrong with its cells is noted."""
    number = reader.cell("member_number")
    is_new = text_of(number).lower() in NEW
    digits = reader.read("id_number", lambda cell: numbers.parse_id_number(cell, normalised))
    return Clues(
        name=reader.read("name", _name, is_required=needs_name),
        member_number=None if is_new else reader.read("member_number", _member_number),
        is_new=is_new,
        card=reader.read("card", lambda cell: _card(cell, hashing)),
        id_number=IdNumber(hashing.id_number(digits), digits[-4:]) if digits else None,
        phone=reader.read("phone", numbers.parse_phone),
        building=reader.words("building", 40),
    )


def load(connection: Connection, clues: Sequence[Clues], estate_ids: Collection[str]) -> World:
    """Everybody whom these clues may mean, in a handful of statements. Names are looked for in `estate_ids` only."""
    r, c = residents.c, cards.c
    columns = (r.id, r.estate_id, r.name, r.member_number, r.phone, r.id_number_hash, r.building, r.birth_day)

    def found(key: ColumnElement[Any], wanted: Iterable[Any], *, is_of_card: bool = False) -> list[tuple[str, Person]]:
        rows: list[tuple[str, Person]] = []
        keys = sorted({one for one in wanted if one is not None})
        query = select(key, *columns).where(r.erased_at.is_(None), r.state.in_(("active", "frozen")))
        if is_of_card:
            query = query.join(cards, c.resident_id == r.id)
        for start in range(0, len(keys), MAX_IDS):
            part = query.where(key.in_(keys[start : start + MAX_IDS])).order_by(r.member_serial)
            rows += [(one, Person(*person)) for one, *person in connection.execute(part)]
        return rows

    return World(
        dict(found(r.member_number, (one.member_number for one in clues))),
        dict(found(c.hash, (one.card[0] for one in clues if one.card), is_of_card=True)),
        _grouped(found(r.id_number_hash, (one.id_number.hash for one in clues if one.id_number))),
        # Phones may stand there with spaces and hyphens, as they were typed at the desk.
        _grouped(found(func.replace(func.replace(r.phone, " ", ""), "-", ""), (one.phone for one in clues))),
        _grouped(
            (name, one) for name, one in found(r.name, (one.name for one in clues)) if one.estate_id in estate_ids
        ),
    )


def whose(clues: Clues, world: World, estate_ids: Collection[str]) -> Person | Unclear:
    """The one person that a row of work is about, or why nobody is."""
    decided: list[tuple[str, Person]] = []
    if clues.member_number is not None:
        person = world.by_member.get(clues.member_number)
        if person is None:
            return Unclear("member_number", "person_unknown", {})
        decided.append(("member_number", person))
    if clues.card is not None:
        person = world.by_card.get(clues.card[0])
        if person is None and not decided:
            return Unclear("card", "person_unknown", {})
        decided += [("card", person)] if person else []
    if clues.id_number is not None:
        known = world.by_id.get(clues.id_number.hash, [])
        if len(known) > 1 and not decided:
            return _several("id_number", known, estate_ids)
        decided += [("id_number", known[0])] if len(known) == 1 else []
    if decided:
        by, person = decided[0]
        for other, also in decided[1:]:
            if also.id != person.id:
                both = (person, also)
                fields = {"by": WORDS[by], "other": WORDS[other], "candidates": listed(both, estate_ids)}
                return Unclear(other, "person_contradicts", fields, tuple(one.id for one in both))
        return _checked(by, person, clues, estate_ids)
    if clues.phone is not None and (of_phone := world.by_phone.get(clues.phone)):
        fitting = [one for one in of_phone if may_be(clues, one) and clues.name in (None, one.name)]
        if len(fitting) > 1:
            return _several("phone", fitting, estate_ids)
        if fitting:
            return _checked("phone", fitting[0], clues, estate_ids)
        return _differs("phone", of_phone, estate_ids)
    return _by_name(clues, world, estate_ids)


def _by_name(clues: Clues, world: World, estate_ids: Collection[str]) -> Person | Unclear:
    """Somebody of this name in this building, where nothing that is known of them differs."""
    namesakes = [one for one in world.by_name.get(clues.name or "", []) if may_be(clues, one)]
    if clues.building is None:
        code = "person_name_only" if namesakes or not (clues.phone or clues.id_number) else "person_unknown"
        return Unclear("name", code, {}, tuple(one.id for one in namesakes))
    at_home = [one for one in namesakes if same_building(one.building, clues.building)]
    if not at_home:
        return Unclear("name", "person_unknown", {}, tuple(one.id for one in namesakes))
    return at_home[0] if len(at_home) == 1 else _several("name", at_home, estate_ids)


def may_be(clues: Clues, person: Person) -> bool:
    """Whether nothing that the row says differs from what is known of a person."""
    if clues.id_number is not None and person.id_number_hash not in (None, clues.id_number.hash):
        return False
    return clues.phone is None or person.phone is None or _digits(person.phone) == clues.phone


def _digits(phone: str) -> str:
    return re.sub(r"[\s-]", "", phone)


def _checked(by: str, person: Person, clues: Clues, estate_ids: Collection[str]) -> Person | Unclear:
    if person.estate_id not in estate_ids:
        return Unclear(by, "person_elsewhere", {})
    if clues.name is not None and clues.name != person.name:
        return _differs(by, [person], estate_ids)
    return person


def _differs(by: str, people: Sequence[Person], estate_ids: Collection[str]) -> Unclear:
    fields = {"by": WORDS[by], "candidates": listed(people, estate_ids)}
    return Unclear(by, "person_differs", fields, tuple(one.id for one in people))


def _several(field: str, people: Sequence[Person], estate_ids: Collection[str]) -> Unclear:
    return Unclear(field, "person_several", {"candidates": listed(people, estate_ids)}, tuple(one.id for one in people))


def listed(people: Sequence[Person], estate_ids: Collection[str]) -> str:
    """People as a problem names them: masked, with what tells them apart. Those of other estates are not shown."""
    own = [one for one in people if one.estate_id in estate_ids]
    shown = [
        f"{masked(one.name)}（会员号{one.member_number}{f'，{one.building}' if one.building else ''}）"
        for one in own[:SHOWN_CANDIDATES]
    ]
    return "、".join(shown) + (" …" if len(own) > SHOWN_CANDIDATES else "") if shown else "别的小区的居民"


WORDS: Final = {one.name: one.zh for one in CLUES}


def same_building(one: str | None, other: str | None) -> bool:
    """Whether two ways of writing a building mean the same, as 3栋 and 03 号楼."""
    return one is not None and other is not None and building_key(one) == building_key(other)


def building_key(text: str | None) -> str:
    """A building without the word for building, and without leading zeros."""
    plain = re.sub(r"[\s#]|号楼|栋|幢|座|楼|号", "", text_of(text)).lower()
    return plain.lstrip("0") or plain


def _grouped(rows: Iterable[tuple[str, Person]]) -> dict[str, list[Person]]:
    grouped: dict[str, list[Person]] = {}
    for key, person in rows:
        grouped.setdefault(key, []).append(person)
    return grouped


def _name(cell: Cell) -> str:
    name = name_of(cell)
    if not name:
        raise CellProblem("missing")
    if len(name) > MAX_NAME:
        raise CellProblem("too_long", limit=MAX_NAME)
    if re.search(r"[0-9@#$%^&*=+<>/\\|]", name):
        raise CellProblem("name_odd")
    return name


def _member_number(cell: Cell) -> str:
    text = text_of(cell)
    if numbers.is_scientific(text):
        raise CellProblem("member_spoiled", value=text)
    number = numbers.plain(cell)
    if not is_member_number(number):
        raise CellProblem("member_check")
    return number


def _card(cell: Cell, hashing: Hashing) -> tuple[str, str]:
    try:
        identity = normalise(text_of(cell))
    except ProtocolError:
        raise CellProblem("card_unreadable") from None
    return hashing.card(identity), identity[-4:]

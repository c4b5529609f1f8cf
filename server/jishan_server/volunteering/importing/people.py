"""Importing people. Somebody who is registered already is left as they are: an import never changes a person.

A row is somebody who is there already if its member number, card, ID number, or phone and name say so; if only name and
building agree and nothing differs, it is the same person where the row brings nothing new, and asked about where it
does. Two namesakes in one building are two people as soon as a phone, an ID number or a birth date tells them apart.
"""

import re
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import Connection

from jishan_server.people import consents, enrolling
from jishan_server.people.consents import Guardian, NewConsent, of_age_at
from jishan_server.people.enrolling import NewResident
from jishan_server.people.id_numbers import normalised
from jishan_server.people.profiles import EMAIL_FORM, FIRST_BIRTH_YEAR
from jishan_server.sheets import dates, numbers
from jishan_server.sheets.cells import Cell, CellProblem, text_of
from jishan_server.sheets.headers import Field
from jishan_server.sheets.problems import Problem
from jishan_server.volunteering.importing import finding
from jishan_server.volunteering.importing.finding import Clues, Person, World
from jishan_server.volunteering.importing.rows import Job, Row, RowReader, Verdict
from jishan_server.writer import Operation

SEXES: Final = {"男": "m", "女": "f", "男性": "m", "女性": "f", "m": "m", "f": "f", "male": "m", "female": "f"}
LANGUAGES: Final = {"zh": "zh", "中文": "zh", "en": "en", "英文": "en"}
MAX_SKILLS: Final = 20

FIELDS: Final = (
    Field("name", "姓名", "name", finding.NAME.synonyms, True, "示例：王建华"),
    Field("phone", "电话", "phone", finding.PHONE.synonyms, False, "13800001111", "11 位手机号，可不填"),
    Field(
        "id_number",
        "身份证号",
        "ID number",
        finding.ID_NUMBER.synonyms,
        False,
        "",
        "可不填；只保存加密摘要和后四位",
    ),
    Field("sex", "性别", "sex", (), False, "男", "男或女"),
    Field("birth_day", "出生日期", "birth date", ("生日", "出生年月日", "出生"), False, "1958-06-01"),
    Field("estate", "小区", "estate", ("小区名称", "所属小区", "居住小区"), False, "", "导入到单个小区时可不填"),
    Field("building", "楼栋", "building", finding.BUILDING.synonyms, False, "3栋"),
    Field("unit", "单元", "unit", ("单元号",), False, "2"),
    Field("room", "房号", "room", ("房间号", "门牌号", "室", "户号"), False, "501"),
    Field("email", "邮箱", "e-mail", ("电子邮箱", "电子邮件"), False, ""),
    Field("category", "类别", "category", ("服务类别", "志愿服务类别", "志愿者类别"), False, ""),
    Field("skills", "特长", "skills", ("技能", "专长", "服务特长"), False, "理发、电工", "几项之间用顿号分开"),
    Field("language", "语言", "language", (), False, "中文"),
    Field("card", "卡号", "card", finding.CARD.synonyms, False, "", "芯片号的十六进制，例如 00745A70"),
    Field(
        "member_number",
        "会员号",
        "member number",
        finding.MEMBER_NUMBER.synonyms,
        False,
        "",
        "已登记的人才填；确定没有登记过的写“新”",
    ),
    Field(
        "consent_form",
        "同意书编号",
        "consent form",
        ("纸质同意书编号", "同意书", "知情同意书编号"),
        False,
        "T-0001",
        "没有签字的留空，导入后等待本人同意",
    ),
    Field("consent_day", "签字日期", "signed on", ("同意日期", "签署日期", "同意书日期"), False, "2026-03-01"),
    Field("guardian_name", "监护人姓名", "guardian", ("监护人",), False, "", "未满 14 岁时填写"),
    Field("guardian_phone", "监护人电话", "guardian's phone", (), False, ""),
)


def judge(connection: Connection, job: Job, rows: Sequence[Row], seen: dict[Any, Any], now: datetime) -> list[Verdict]:
    """Say of each row whether it is a new person, a known one, or wrong. `seen` goes from piece to piece of a file."""
    read = [_read(job, row, now) for row in rows]
    world = finding.load(connection, [clues for _, clues, _ in read], job.estates)
    return [_verdict(job, reader, clues, new, world, seen) for reader, clues, new in read]


def book(
    connection: Connection, operation: Operation, now: datetime, job: Job, verdicts: Sequence[Verdict]
) -> list[str | Problem]:
    """Register the new people of a piece; their ids."""
    rows = [verdict.value for verdict in verdicts]
    return list(enrolling.create_many(connection, job.actor, operation.id, rows, now, job.zone))


def undo(
    connection: Connection, operation: Operation, now: datetime, job: Job, booked: Sequence[tuple[int, str]]
) -> dict[str, str]:
    """Take registrations back; those that must stay, each with what refers to it."""
    return enrolling.take_back(connection, operation.body.actor, operation.id, [id for _, id in booked], now)


def _read(job: Job, row: Row, now: datetime) -> tuple[RowReader, Clues, NewResident | None]:
    """The row's cells as a person; None if some of them are wrong."""
    reader = RowReader(job.header, row)
    clues = finding.read_clues(reader, job.hashing, needs_name=True)
    today = now.astimezone(job.zone).date()
    number = normalised(text_of(reader.cell("id_number"))) if clues.id_number else None
    born = reader.read("birth_day", dates.parse_day)
    if born is not None and not (born.year >= FIRST_BIRTH_YEAR and born <= today):
        reader.note("birth_day", "day_impossible", {"value": born.isoformat()})
    if number is not None:
        in_number = date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
        if born is not None and born != in_number:
            reader.note("id_number", "id_birth")
        born = in_number
    sex = reader.one_of("sex", SEXES)
    if sex is None and number is not None:
        sex = "m" if int(number[16]) % 2 else "f"
    estate_id = _estate(job, reader)
    consent = _consent(job, reader, born, now)
    new = NewResident(
        estate_id=estate_id or "",
        name=clues.name or "",
        phone=clues.phone,
        sex=sex,
        birth_day=born.isoformat() if born else None,
        building=clues.building,
        unit=reader.words("unit", 40),
        room=reader.words("room", 40),
        email=reader.read("email", _email),
        category=reader.words("category", 40),
        language=reader.one_of("language", LANGUAGES) or "zh",
        skills=reader.read("skills", _skills) or (),
        id_number=clues.id_number,
        card=clues.card,
        consent=consent,
    )
    return reader, clues, None if reader.problems else new


def _estate(job: Job, reader: RowReader) -> str | None:
    """The estate that the row names by name, code or id; without one, the only one there is."""
    written = text_of(reader.cell("estate"))
    if not written:
        if len(job.estates) == 1:
            return next(iter(job.estates))
        reader.note("estate", "estate_missing")
        return None
    fitting = [id for id, (name, code) in job.estates.items() if written in (id, code, text_of(name))]
    if len(fitting) != 1:
        reader.note("estate", "estate_unknown", {"value": written})
        return None
    return fitting[0]


def _consent(job: Job, reader: RowReader, born: date | None, now: datetime) -> NewConsent | None:
    """The consent on paper, None if nothing was signed yet: the person then awaits it."""
    form = reader.words("consent_form", 40)
    day = reader.read("consent_day", lambda cell: dates.parse_day(cell, job.year))
    if not reader.has("consent_form") and not reader.has("consent_day"):
        return None
    if reader.has("consent_form") != reader.has("consent_day"):
        reader.note("consent_form" if reader.has("consent_day") else "consent_day", "consent_incomplete")
    if day is not None and day > now.astimezone(job.zone).date():
        reader.note("consent_day", "day_future", {"value": day.isoformat()})
    name = reader.words("guardian_name", finding.MAX_NAME)
    guardian = Guardian(None, name, reader.read("guardian_phone", numbers.parse_phone)) if name else None
    of_age = of_age_at(born.isoformat() if born else None, job.zone)
    if of_age is not None and now < of_age and guardian is None:
        reader.note("guardian_name", "guardian_missing", {"years": consents.GUARDIAN_UNDER_YEARS})
    return NewConsent("paper", form, day.isoformat() if day else None, guardian)


def _verdict(
    job: Job, reader: RowReader, clues: Clues, new: NewResident | None, world: World, seen: dict[Any, Any]
) -> Verdict:
    if new is None:
        return reader.verdict("bad")
    known = _known(job, reader, clues, new, world)
    if known or reader.problems:
        return reader.verdict("known")
    earlier = _earlier(clues, new, seen, reader.row.number)
    if earlier is None:
        return reader.verdict("new", new)
    number, other = earlier
    if other == new:
        return reader.verdict("known")
    is_sure = _sure_keys(clues) & _sure_keys(_clues_of(other))
    reader.note("", "same_as_row" if is_sure else "maybe_row", {"other": number})
    return reader.verdict("bad")


def _known(job: Job, reader: RowReader, clues: Clues, new: NewResident, world: World) -> bool:
    """Whether the row is somebody who is registered; what speaks against it is noted."""
    if clues.member_number is not None:
        found = finding.whose(clues, world, job.estates)
        if not isinstance(found, Person):
            reader.note(found.field, found.code, found.fields, found.subjects)
            return False
        return True
    if clues.card is not None and (holder := world.by_card.get(clues.card[0])) is not None:
        if holder.name == new.name and finding.may_be(clues, holder):
            return True
        reader.note("card", "card_taken", {"candidates": finding.listed([holder], job.estates)}, [holder.id])
        return False
    if clues.id_number is not None and (of_number := world.by_id.get(clues.id_number.hash)):
        if any(one.name == new.name for one in of_number):
            return True
        fields = {"by": finding.WORDS["id_number"], "candidates": finding.listed(of_number, job.estates)}
        reader.note("id_number", "person_differs", fields, [one.id for one in of_number])
        return False
    of_phone = world.by_phone.get(clues.phone or "", [])
    if any(one.name == new.name and one.estate_id in job.estates and _may_be(clues, new, one) for one in of_phone):
        return True
    return not clues.is_new and _known_by_name(job, reader, clues, new, world)


def _known_by_name(job: Job, reader: RowReader, clues: Clues, new: NewResident, world: World) -> bool:
    """The same for name and building alone."""
    at_home = [
        one
        for one in world.by_name.get(new.name, [])
        if one.estate_id == new.estate_id
        and _may_be(clues, new, one)
        and (finding.same_building(one.building, new.building) or None in (one.building, new.building))
    ]
    if not at_home:
        return False
    brings_more = any(
        (new.phone and not one.phone)
        or (new.id_number and not one.id_number_hash)
        or (new.building and not one.building)
        for one in at_home
    )
    if len(at_home) == 1 and not brings_more and new.building is not None:
        return True
    code = "person_maybe_known" if len(at_home) == 1 else "person_several"
    reader.note("name", code, {"candidates": finding.listed(at_home, job.estates)}, [one.id for one in at_home])
    return False


def _may_be(clues: Clues, new: NewResident, person: Person) -> bool:
    return finding.may_be(clues, person) and (
        new.birth_day is None or person.birth_day is None or new.birth_day == person.birth_day
    )


def _earlier(clues: Clues, new: NewResident, seen: dict[Any, Any], number: int) -> tuple[int, NewResident] | None:
    """An earlier row of the same file that is, or may be, the same person; notes this row for those after it."""
    keys = _sure_keys(clues)
    home = ("home", new.estate_id, new.name, finding.building_key(new.building))
    found: tuple[int, NewResident] | None = next((seen[key] for key in keys if key in seen), None)
    if found is None and not clues.is_new:
        found = next((one for one in seen.get(home, []) if _may_be_one(new, one[1])), None)
    if found is None:
        mine = (number, new)
        seen.update(dict.fromkeys(keys, mine))
        seen.setdefault(home, []).append(mine)
    return found


def _may_be_one(one: NewResident, other: NewResident) -> bool:
    """Whether two rows of one name at one address say nothing that tells two people apart."""
    pairs = ((one.phone, other.phone), (one.id_number, other.id_number), (one.birth_day, other.birth_day))
    return all(None in pair or pair[0] == pair[1] for pair in pairs)


def _sure_keys(clues: Clues) -> set[tuple[str, ...]]:
    keys: set[tuple[str, ...]] = set()
    if clues.id_number is not None:
        keys.add(("id", clues.id_number.hash))
    if clues.card is not None:
        keys.add(("card", clues.card[0]))
    if clues.phone is not None and clues.name is not None:
        keys.add(("phone", clues.phone, clues.name))
    return keys


def _clues_of(new: NewResident) -> Clues:
    return Clues(new.name, card=new.card, id_number=new.id_number, phone=new.phone, building=new.building)


def _email(cell: Cell) -> str:
    text = text_of(cell)
    if EMAIL_FORM.fullmatch(text) is None or len(text) > 100:
        raise CellProblem("email_unreadable")
    return text


def _skills(cell: Cell) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(one.strip() for one in re.split(r"[、,;，；/\n]", str(cell)) if one.strip()))
    if len(found) > MAX_SKILLS or any(len(one) > 100 for one in found):
        raise CellProblem("too_long", limit=100)
    return found

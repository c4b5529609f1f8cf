"""A whole county to show and to measure with: its tree, its people, and what they did in a year. Pure, from a seed.

89 estates in the streets and towns of a county, 2,518 people with plausible invented names, and activities with who
came and for how long. `jishan-server demo-data` books it. The places are Hongya's; the people are nobody.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta, tzinfo
from random import Random
from typing import Final

ESTATES: Final = 89
PEOPLE: Final = 2_518

TOWNS: Final = (
    "洪川镇",
    "止戈镇",
    "三宝镇",
    "余坪镇",
    "中保镇",
    "槽渔滩镇",
    "东岳镇",
    "柳江镇",
    "高庙镇",
    "瓦屋山镇",
    "七里坪镇",
    "中山镇",
)
_ESTATE_FIRST: Final = (
    "江畔",
    "青衣",
    "雅女湖",
    "瓦屋",
    "柳江",
    "洪州",
    "修文",
    "广场",
    "滨河",
    "学府",
    "康乐",
    "翠屏",
    "槐香",
    "竹海",
    "福田",
)
_ESTATE_LAST: Final = ("家园", "花园", "小区", "苑", "里", "新村", "雅居", "名都")
_FAMILY: Final = (
    ("王", 72),
    ("李", 70),
    ("张", 68),
    ("刘", 54),
    ("陈", 46),
    ("杨", 40),
    ("黄", 26),
    ("周", 25),
    ("吴", 21),
    ("徐", 17),
    ("赵", 22),
    ("何", 19),
    ("罗", 19),
    ("郑", 11),
    ("唐", 14),
    ("宋", 10),
    ("邓", 13),
    ("谢", 11),
    ("冯", 8),
    ("曾", 9),
    ("彭", 9),
    ("蒋", 8),
    ("余", 8),
    ("潘", 5),
    ("袁", 6),
    ("田", 5),
    ("魏", 5),
    ("欧阳", 1),
    ("𠮷", 1),
    ("宿", 1),
)
_WOMEN: Final = "芳秀英兰玉梅桂珍丽娟敏静淑霞燕琼蓉莲惠琴雪萍红艳洁颖琳"
_MEN: Final = "伟强军勇建国华明志刚平辉涛超杰波斌鹏飞宇浩然文武德福林"
_SKILLS: Final = ("理发", "水电维修", "心理疏导", "书法", "太极拳", "急救", "家电维修", "缝补", "英语", "手机使用指导")
_WORK: Final = (
    ("env", "河道清洁", "{estate}河边", 120),
    ("env", "垃圾分类劝导", "{estate}投放点", 90),
    ("elder", "陪老人看病", "县人民医院", 180),
    ("elder", "独居老人探访", "{estate}", 90),
    ("order", "夜间巡逻", "{estate}", 120),
    ("order", "文明交通劝导", "{estate}路口", 120),
    ("culture", "社区故事会", "{estate}活动室", 60),
    ("teach", "手机课堂", "{estate}活动室", 90),
    ("repair", "便民维修日", "{estate}广场", 240),
)
TYPES: Final = (
    ("env", "环境清洁", "Cleaning"),
    ("elder", "助老服务", "Helping elders"),
    ("order", "秩序维护", "Keeping order"),
    ("culture", "文化活动", "Culture"),
    ("teach", "科普课堂", "Teaching"),
    ("repair", "便民维修", "Repairs"),
)
"""Code, and name in Chinese and English, of what people did."""

ADULT_YEARS: Final = (18, 86)
NAMESAKE_EVERY: Final = 90
"""So often somebody has the name and the building of another: as in life, and numbers tell them apart."""
BUSY: Final = 0.35
"""The share of people who come often; the others come now and then."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the region tree; `parent` is a code, None for the county itself."""

    code: str
    name: str
    level: str
    parent: str | None


@dataclass(frozen=True, slots=True)
class Person:
    """`estate`: a code. Two people of one building may have one name: numbers tell them apart, names do not."""

    estate: str
    name: str
    sex: str
    birth_day: date
    building: str
    phone: str | None
    skill: str | None
    has_agreed: bool


@dataclass(frozen=True, slots=True)
class Came:
    """`person` is the place in `County.people`; `minutes` what counts."""

    person: int
    minutes: int


@dataclass(frozen=True, slots=True)
class Sitting:
    """One session of an activity, and who came."""

    estate: str
    type: str
    title: str
    place: str
    starts_at: datetime
    minutes: int
    came: tuple[Came, ...]


@dataclass(frozen=True, slots=True)
class County:
    nodes: tuple[Node, ...]
    people: tuple[Person, ...]
    sittings: tuple[Sitting, ...]


def county(
    seed: int, today: date, zone: tzinfo, estates: int = ESTATES, people: int = PEOPLE, days: int = 365
) -> County:
    """The county as of the morning of `today`, with what was done in the `days` before; sittings oldest first."""
    random = Random(seed)
    nodes = _nodes(random, estates)
    homes = [node for node in nodes if node.level == "estate"]
    persons: list[Person] = []
    for number in range(people):
        made = _person(random, homes[number % len(homes)].code, today)
        if number % NAMESAKE_EVERY == NAMESAKE_EVERY - 1 and number >= len(homes):
            other = persons[number - len(homes)]
            made = replace(made, name=other.name, sex=other.sex, building=other.building)
        persons.append(made)
    sittings = [sitting for home in homes for sitting in _sittings(random, home, persons, today, zone, days)]
    return County(nodes, tuple(persons), tuple(sorted(sittings, key=lambda one: (one.starts_at, one.estate))))


def _nodes(random: Random, estates: int) -> tuple[Node, ...]:
    nodes = [Node("hongya", "洪雅县", "county", None)]
    names = [first + last for last in _ESTATE_LAST for first in _ESTATE_FIRST]
    random.shuffle(names)
    for number in range(estates):
        town = number % len(TOWNS)
        if number < len(TOWNS):
            nodes.append(Node(f"t{town:02}", TOWNS[town], "street", "hongya"))
        nodes.append(Node(f"e{number:03}", names[number], "estate", f"t{town:02}"))
    return tuple(nodes)


def _person(random: Random, estate: str, today: date) -> Person:
    sex = random.choice("fm")
    (family,) = random.choices([name for name, _ in _FAMILY], [weight for _, weight in _FAMILY])
    given = "".join(random.choices(_WOMEN if sex == "f" else _MEN, k=random.choice((1, 2, 2, 2))))
    years = random.randint(*ADULT_YEARS)
    return Person(
        estate,
        family + given,
        sex,
        today - timedelta(days=years * 365 + random.randrange(365)),
        f"{random.randint(1, 12)}栋",
        # Numbers of a block that no network gives out, and none for every fifth person.
        f"10{random.randrange(10**9):09}" if random.random() < 0.8 else None,
        random.choice(_SKILLS) if random.random() < 0.25 else None,
        random.random() < 0.95,
    )


def _sittings(
    random: Random, home: Node, people: Sequence[Person], today: date, zone: tzinfo, days: int
) -> list[Sitting]:
    of_here = [number for number, person in enumerate(people) if person.estate == home.code]
    busy = of_here[: max(1, int(len(of_here) * BUSY))] if of_here else []
    sittings = []
    day = today - timedelta(days=days - random.randrange(14))
    while day < today and of_here:
        type, title, place, minutes = random.choice(_WORK)
        starts_at = datetime.combine(day, time(random.choice((8, 9, 14, 15, 19))), zone)
        crowd = random.sample(busy, min(len(busy), random.randint(3, 8)))
        crowd += [one for one in random.sample(of_here, min(len(of_here), 3)) if one not in crowd]
        came = tuple(Came(one, minutes - random.choice((0, 0, 0, 30))) for one in sorted(crowd))
        sittings.append(Sitting(home.code, type, title, place.format(estate=home.name), starts_at, minutes, came))
        day += timedelta(days=random.randint(9, 19))
    return sittings

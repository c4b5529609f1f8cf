"""A small scheme to show and to test with: one estate, six residents, five members of staff. Made from a seed.

The people are invented. The same seed gives the same ids, cards, PINs and passwords.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from jishan_server.organizations.roles import SYSTEM, Role
from jishan_server.organizations.tree import CreateOrganization
from jishan_server.people.hashing import Hashing
from jishan_server.people.residents import BindCard, CreateResident, SetPin, hashed_card, hashed_pin
from jishan_server.people.staff import CreateStaff, Grant, hashed_password
from jishan_server.writer import Operation

COUNTY: Final = "hongya"
STREET: Final = "qingyijiang"
ESTATE: Final = "jiangpan"

_NODES: Final = (
    (COUNTY, None, "county", "洪雅县"),
    (STREET, COUNTY, "community", "青衣江社区"),
    (ESTATE, STREET, "estate", "江畔家园"),
)
_STAFF: Final = (
    ("admin", "县级管理员", Role.COUNTY_ADMIN, COUNTY),
    ("coordinator", "周敏", Role.COORDINATOR, ESTATE),
    ("approver", "李国强", Role.APPROVER, ESTATE),
    ("operator", "设备运维", Role.OPERATOR, STREET),
    ("secretary", "张书记", Role.APPROVER, STREET),
)
# The first card is the one of the reader examples: 0007625328 = 116,23152 = 00745A70.
_RESIDENTS: Final = (
    ("王建华", "00745A70"),
    ("刘桂芳", "1EA68671"),
    ("陈志远", None),
    ("𠮷田小美", None),
    ("赵丽🌸", None),
    ("孙德福", None),
)


@dataclass(frozen=True, slots=True)
class DemoResident:
    id: str
    name: str
    card: str
    member_number: str
    pin: str


@dataclass(frozen=True, slots=True)
class DemoStaff:
    id: str
    login: str
    password: str
    role: Role


@dataclass(frozen=True, slots=True)
class DemoData:
    """Who is there, with what they would carry in their pockets and heads."""

    estate_id: str
    residents: tuple[DemoResident, ...]
    staff: tuple[DemoStaff, ...]


def fill(call: Callable[[Operation], Any], hashing: Hashing, seed: int = 1) -> DemoData:
    """Make the demo's people through `call` (the writer's); a second time changes nothing and answers the same."""
    random = Random(seed)

    def do(name: str, kind: str, body: object) -> dict[str, Any]:
        answer: dict[str, Any] = call(Operation(_id(seed, name), kind, body))
        return answer

    for id, parent, level, name in _NODES:
        do(id, "create_organization", CreateOrganization(SYSTEM, parent, level, name, id))
    staff = []
    for login, name, role, node in _STAFF:
        password = f"demo-{login}-{random.randrange(10**6):06}"
        hash = hashed_password(hashing, password, _id(seed, login))
        made = do(login, "create_staff", CreateStaff(SYSTEM, login, name, hash, (Grant(role, node),)))
        staff.append(DemoStaff(made["id"], login, password, role))
    residents = []
    for index, (name, known_card) in enumerate(_RESIDENTS):
        card = known_card or random.randbytes(4).hex().upper()
        pin = f"{random.randrange(10**6):06}"
        made = do(f"resident{index}", "create_resident", CreateResident(SYSTEM, ESTATE, name))
        do(f"card{index}", "bind_card", BindCard(SYSTEM, made["id"], *hashed_card(hashing, card)))
        hash = hashed_pin(hashing, pin, _id(seed, f"pin{index}"))
        do(f"pin{index}", "set_pin", SetPin(SYSTEM, made["id"], hash))
        residents.append(DemoResident(made["id"], name, card, made["member_number"], pin))
    return DemoData(ESTATE, tuple(residents), tuple(staff))


def _id(seed: int, name: str) -> str:
    return hashlib.sha256(f"demo {seed} {name}".encode()).hexdigest()[:32]

"""What the numbers of a resident's points are made of: each is a sum of parts, exactly, and each part says where it is
from, in words of both languages.

available: what is left of each credit, with the sentence of the rules that made it, and when it ends.
held: open redemptions. pending: approved credits that are not booked yet. owed: taken back, but spent before.
spent, returned, expired: what became of the rest. `account` adds all movements up to what is posted.
Which credit a debit consumed is the fold's to say (`ledger.lots`); the numbers are those of `statements.balance`.
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, RowMapping, select

from jishan_server.db import from_ms, to_ms
from jishan_server.instants import iso
from jishan_server.ledger import history, tables
from jishan_server.ledger.lots import Lot, Lots, Part, lots
from jishan_server.ledger.model import Kind, changes
from jishan_server.organizations.roles import Permission, is_permitted, permit, resident_of_actor
from jishan_server.people.credentials import account_of, owed_account_of
from jishan_server.people.one_person import records_of
from jishan_server.people.residents import estate_of
from jishan_server.people.tables import residents
from jishan_server.vending.tables import machines, products, redemptions
from jishan_server.volunteering.credit_states import State
from jishan_server.volunteering.credit_tables import adjustments
from jishan_server.volunteering.rule_versions import Versions
from jishan_server.volunteering.rule_words import Words, Work, sentence
from jishan_server.volunteering.rules import Step
from jishan_server.volunteering.statements import PENDING
from jishan_server.volunteering.tables import credits

MAX_PARTS: Final = 200
"""Of one number: what a person reads. The others are one part at the end, so that the sum stays whole."""
MAX_IDS: Final = 10_000
"""Ids in one statement: far below what both databases take."""

FIGURES: Final[Mapping[str, Words]] = {
    "available": Words("可用{points}分", "{points} points can be spent"),
    "held": Words("预留{points}分", "{points} points are held"),
    "pending": Words("待生效{points}分", "{points} points are pending"),
    "owed": Words("欠{points}分", "{points} points are owed"),
    "spent": Words("已兑换{points}分", "{points} points were spent"),
    "returned": Words("退回过{points}分", "{points} points were given back"),
    "expired": Words("已到期{points}分", "{points} points ended"),
}

MOVEMENTS: Final[Mapping[str, Words]] = {
    "credited": Words("服务记分", "credits of work"),
    "adjusted": Words("人工调整", "adjustments by hand"),
    "moved": Words("档案合并或注销转入转出", "moved when records were merged or closed"),
    "lent": Words("先记为欠分", "written down as owed"),
    "repaid": Words("偿还欠分", "paid of what was owed"),
    "spent": Words("兑换", "spent"),
    "returned": Words("兑换退回", "given back"),
    "taken_back": Words("更正收回", "taken back"),
    "expired": Words("到期", "ended"),
    "other": Words("其他", "other"),
}

_HOLD_STATES: Final[Mapping[str, Words]] = {
    "in_doubt": Words(
        "能不能确认出货，正在核实，{answer_by}前答复，没有出货就全部退回",
        "whether it came out is being checked, answered by {answer_by}; all goes back if it did not",
    ),
}
_HOLD_OPEN: Final = Words("正在兑换，没有出货就全部退回", "under way; all goes back if nothing comes out")

_PENDING_STATES: Final[Mapping[str, Words]] = {
    "approved": Words("公示到{last_day}", "in its public notice until {last_day}"),
    "objected": Words("有人提出异议，正在核实", "somebody objected, it is being looked into"),
    "waiting_consent": Words("等本人同意服务记录", "waits for the person's consent"),
}


@dataclass(frozen=True, slots=True)
class _Account:
    """A limited account with every row of it by sequence, oldest first, and their fold."""

    number: int
    rows: dict[int, RowMapping]
    folded: Lots


@dataclass(frozen=True, slots=True)
class _Known:
    """What stands behind the rows of an account, by id, and how days are said."""

    credits: Mapping[str, RowMapping]
    adjustments: Mapping[str, RowMapping]
    redemptions: Mapping[str, RowMapping]
    # The cause of the row that a moved lot came from at first, by the id of the row it was moved from.
    origins: Mapping[str, tuple[str, str]]
    versions: Versions
    zone: ZoneInfo
    now: datetime
    is_whole: bool

    def day(self, at: datetime) -> str:
        return at.astimezone(self.zone).date().isoformat()


def explain(connection: Connection, actor: str, resident_id: str, now: datetime, zone: ZoneInfo) -> dict[str, Any]:
    """Every number of a resident's points as its parts. Refusals: resident_unknown, forbidden.

    Goods, and the words of an adjustment, are for the resident and for staff who may read redemptions, for nobody else.
    """
    estate_id = estate_of(connection, resident_id)
    permit(connection, actor, Permission.RESIDENT_READ, estate_id, about=resident_id)
    own = _account(connection, account_of(resident_id))
    owed = _account(connection, owed_account_of(resident_id))
    pending = _pending_credits(connection, resident_id)
    is_whole = resident_of_actor(actor) == resident_id
    is_whole = is_whole or is_permitted(connection, actor, Permission.REDEMPTION_READ, estate_id)
    known = _known(connection, own, owed, now, zone, is_whole)
    parts: dict[str, list[dict[str, Any]]] = {
        "available": [_of_lot(known, own, lot, lot.left) for lot in own.folded.available()],
        "held": [_held(known, own, own.rows[hold]) for hold in sorted(own.folded.open_holds)],
        "pending": [_pending(known, row) for row in pending],
        "owed": _owed(known, owed),
        "spent": _spent(known, own),
        "returned": _returned(known, own),
        "expired": _expired(known, own),
    }
    merged_into = connection.scalar(select(residents.c.merged_into).where(residents.c.id == resident_id))
    return {
        "resident_id": resident_id,
        "as_of": iso(now),
        "merged_into": merged_into,
        "figures": [_figure(name, parts[name]) for name in FIGURES],
        "account": _movements(own),
        "ends": _ends(known, own),
    }


def _account(connection: Connection, account_id: str) -> _Account:
    a, b = tables.accounts.c, tables.balances.c
    query = select(a.number, b.last_sequence).where(a.id == account_id, b.number == a.number)
    number, last = connection.execute(query).one()
    rows = {row["sequence"]: row for row in reversed(history.walk(connection, number, last))}
    is_owed = account_id.startswith("owed:")
    # A debt has no lots: nothing is taken from it but what was not there.
    return _Account(number, rows, Lots() if is_owed else lots(history.entries(connection, number, last)))


def _pending_credits(connection: Connection, resident_id: str) -> Sequence[RowMapping]:
    c = credits.c
    ids = records_of(connection, resident_id)
    query = select(credits).where(c.resident_id.in_(ids), c.state.in_(PENDING), c.points > 0)
    return connection.execute(query.order_by(c.day, c.id)).mappings().all()


def _known(
    connection: Connection, own: _Account, owed: _Account, now: datetime, zone: ZoneInfo, is_whole: bool
) -> _Known:
    """Read what stands behind the rows, a statement for each kind of it."""
    rows = [*own.rows.values(), *owed.rows.values()]
    origins = _origins(connection, {row["cause_id"] for row in rows if row["cause_type"] in ("merge", "owed")})
    causes = {(row["cause_type"], row["cause_id"]) for row in rows} | set(origins.values())

    def ids(kind: str) -> list[str]:
        return sorted(id for type, id in causes if type == kind)

    r = redemptions
    vended = (
        select(r.c.id, r.c.state, r.c.answer_by, r.c.machine_id, products.c.name_zh, products.c.name_en)
        .add_columns(machines.c.name.label("machine"))
        .outerjoin(products, products.c.id == r.c.product_id)
        .outerjoin(machines, machines.c.id == r.c.machine_id)
    )
    return _Known(
        _by_id(connection, ids("credit"), lambda some: select(credits).where(credits.c.id.in_(some))),
        _by_id(connection, ids("adjustment"), lambda some: select(adjustments).where(adjustments.c.id.in_(some))),
        _by_id(connection, ids("redemption"), lambda some: vended.where(r.c.id.in_(some))),
        origins,
        Versions(connection),
        zone,
        now,
        is_whole,
    )


def _by_id(connection: Connection, ids: Sequence[str], query: Callable[[Sequence[str]], Any]) -> dict[str, RowMapping]:
    found: dict[str, RowMapping] = {}
    for start in range(0, len(ids), MAX_IDS):
        found |= {row["id"]: row for row in connection.execute(query(ids[start : start + MAX_IDS])).mappings()}
    return found


def _origins(connection: Connection, transfer_ids: Collection[str]) -> dict[str, tuple[str, str]]:
    """The first cause behind each of these transfers, along the mergers that their points came through."""
    t = tables.transfers.c
    causes: dict[str, tuple[str, str]] = {}
    asked = set(transfer_ids)
    while asked:
        query = select(t.id, t.cause_type, t.cause_id).where(t.id.in_(asked))
        found = {row.id: (row.cause_type, row.cause_id) for row in connection.execute(query)}
        causes |= found
        asked = {id for type, id in found.values() if type == "merge"} - causes.keys()

    def first(cause: tuple[str, str]) -> tuple[str, str]:
        # A debt that moved is its own cause.
        while cause[0] == "merge" and causes.get(cause[1], cause) != cause:
            cause = causes[cause[1]]
        return cause

    return {id: first(cause) for id, cause in causes.items()}


def _figure(name: str, parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    points = sum(part["points"] for part in parts)
    shown, others = list(parts[:MAX_PARTS]), parts[MAX_PARTS:]
    if others:
        rest = sum(part["points"] for part in others)
        words = Words(f"另有{len(others)}笔，共{rest}分。", f"{len(others)} more, {rest} points together.")
        shown.append(_part(rest, "others", words))
    zh, en = (said.format(points=points) for said in FIGURES[name])
    return {"name": name, "points": points, "zh": zh, "en": en, "parts": shown}


def _part(points: int, kind: str, words: Words, **more: Any) -> dict[str, Any]:
    names = ("subject_type", "subject_id", "day", "activity", "minutes", "of_points", "rule_version", "rule_zh")
    empty = dict.fromkeys((*names, "rule_en", "expires_at"))
    return {"points": points, "kind": kind, "zh": words.zh, "en": words.en, "taken_from": []} | empty | more


def _of_lot(known: _Known, account: _Account, lot: Lot, points: int) -> dict[str, Any]:
    """So many points of a lot: what it came from, and when it ends."""
    row = account.rows[lot.source]
    given = None if row["expires_at"] is None else to_ms(row["expires_at"])
    end = _end_words(known, lot, is_returned=given != lot.expires_ms)
    fields = _origin(known, row)
    left = Words(f"还剩{points}分", f"{points} points are left")
    said = Words(
        f"{fields.pop('zh')}，记{row['points']}分，{left.zh}，{end.zh}。",
        f"{fields.pop('en')}: {row['points']} points, {left.en}, {end.en}.",
    )
    kind = fields.pop("kind")
    ends_at = None if lot.expires_ms is None else iso(from_ms(lot.expires_ms))
    return _part(points, kind, said, of_points=row["points"], expires_at=ends_at, **fields)


def _end_words(known: _Known, lot: Lot, is_returned: bool) -> Words:
    if lot.expires_ms is None:
        return Words("不会到期", "they never end")
    day = known.day(from_ms(lot.expires_ms))
    if lot.expires_ms <= to_ms(known.now):
        return Words(f"已于{day}到期，还没有转出", f"they ended on {day} and are still to be booked away")
    if is_returned:
        return Words(f"退回后延长到{day}", f"given back after their end, and good until {day}")
    return Words(f"{day}到期", f"they end on {day}")


def _origin(known: _Known, row: RowMapping) -> dict[str, Any]:
    """What a row that brought points was for: kind, words without a full stop, and the fields of a part."""
    type, id = row["cause_type"], row["cause_id"]
    moved = Words("", "")
    if type == "merge":
        type, id = known.origins.get(id, (type, id))
        moved = Words("从合并的档案转来：", "moved from a merged record: ")
    day = known.day(row["recorded_at"])
    if type == "credit" and (credit := known.credits.get(id)) is not None:
        rules = known.versions.of(credit["rule_version"])
        steps = [Step(*step) for step in json.loads(credit["worth_steps"] or "[]")]
        work = Work(credit["activity_type"] or "", credit["minutes"], steps, credit["points"], credit["booked_points"])
        rule = sentence(rules, work)
        minutes = "" if credit["minutes"] is None else f"{credit['minutes']}分钟"
        minutes_en = "" if credit["minutes"] is None else f", {credit['minutes']} minutes"
        return {
            "kind": "credit",
            "subject_type": "credit",
            "subject_id": id,
            "day": credit["day"],
            "activity": credit["activity"],
            "minutes": credit["minutes"],
            "rule_version": credit["rule_version"],
            "rule_zh": rule.zh,
            "rule_en": rule.en,
            "zh": f"{moved.zh}{credit['day']}“{credit['activity']}”{minutes}",
            "en": f"{moved.en}{credit['day']} “{credit['activity']}”{minutes_en}",
        }
    if type == "adjustment":
        reason = known.adjustments[id]["reason"] if known.is_whole and id in known.adjustments else None
        words = Words("人工调整", "an adjustment by hand")
        said = Words(f"“{reason}”", f" “{reason}”") if reason else Words("", "")
        return _plain("adjustment", type, id, day, moved, Words(words.zh + said.zh, words.en + said.en))
    return _plain("other", type, id, day, moved, Words("其他记入", "another entry"))


def _plain(kind: str, type: str, id: str, day: str, moved: Words, words: Words) -> dict[str, Any]:
    return {
        "kind": kind,
        "subject_type": type,
        "subject_id": id,
        "day": day,
        "zh": f"{moved.zh}{day}{words.zh}",
        "en": f"{moved.en}{day} {words.en}",
    }


def _taken_from(known: _Known, account: _Account, parts: Iterable[Part]) -> list[dict[str, Any]]:
    """Of which credits a debit took how many points."""
    found = []
    for part in parts:
        fields = _origin(known, account.rows[part.lot.source])
        names = ("subject_type", "subject_id", "day")
        found.append(
            {"points": part.points, "activity": fields.get("activity")} | {name: fields[name] for name in names}
        )
    return found


def _goods(known: _Known, row: RowMapping) -> Words:
    """What a redemption is of, and where."""
    found = known.redemptions.get(row["cause_id"])
    if found is None or not known.is_whole:
        return Words("兑换", "a redemption")
    zh, en = found["name_zh"] or "商品", found["name_en"] or "an item"
    machine = found["machine"] or found["machine_id"]
    return Words(f"在“{machine}”兑换“{zh}”", f"“{en}” at “{machine}”")


def _held(known: _Known, account: _Account, row: RowMapping) -> dict[str, Any]:
    found = known.redemptions.get(row["cause_id"])
    words = _HOLD_OPEN if found is None else _HOLD_STATES.get(found["state"], _HOLD_OPEN)
    answer_by = "—" if found is None else found["answer_by"] or "—"
    goods, day = _goods(known, row), known.day(row["recorded_at"])
    said = Words(
        f"{day}{goods.zh}，预留{row['points']}分，{words.zh.format(answer_by=answer_by)}。",
        f"{day} {goods.en}: {row['points']} points held, {words.en.format(answer_by=answer_by)}.",
    )
    taken = _taken_from(known, account, account.folded.taken[row["sequence"]])
    return _part(
        row["points"],
        "redemption",
        said,
        subject_type=row["cause_type"],
        subject_id=row["cause_id"],
        day=day,
        taken_from=taken,
    )


def _pending(known: _Known, row: RowMapping) -> dict[str, Any]:
    last = ""
    if row["state"] == State.APPROVED:
        last = known.day(row["notice_ends_at"] - timedelta(milliseconds=1))
    zh, en = (said.format(last_day=last) for said in _PENDING_STATES[row["state"]])
    rules = known.versions.of(row["rule_version"])
    steps = [Step(*step) for step in json.loads(row["worth_steps"] or "[]")]
    rule = sentence(rules, Work(row["activity_type"] or "", row["minutes"], steps, row["points"], None))
    said = Words(
        f"{row['day']}“{row['activity']}”{row['points']}分，{zh}。",
        f"{row['day']} “{row['activity']}”: {row['points']} points, {en}.",
    )
    return _part(
        row["points"],
        "credit",
        said,
        subject_type="credit",
        subject_id=row["id"],
        day=row["day"],
        activity=row["activity"],
        minutes=row["minutes"],
        of_points=row["points"],
        rule_version=row["rule_version"],
        rule_zh=rule.zh,
        rule_en=rule.en,
    )


def _owed(known: _Known, account: _Account) -> list[dict[str, Any]]:
    """What is left of each debt, the oldest paid first."""
    debts: list[tuple[RowMapping, int]] = []
    for row in account.rows.values():
        posted, _ = changes(Kind(row["kind"]), row["credit"] == account.number, row["points"])
        if posted < 0:
            debts.append((row, -posted))
        while posted > 0:
            debt, left = debts[0]
            paid = min(left, posted)
            posted -= paid
            debts[0] = (debt, left - paid)
            if left == paid:
                debts.pop(0)
    return [_debt(known, row, left) for row, left in debts]


def _debt(known: _Known, row: RowMapping, left: int) -> dict[str, Any]:
    day = known.day(row["recorded_at"])
    type, id = known.origins.get(row["cause_id"], (row["cause_type"], row["cause_id"]))
    credit = known.credits.get(id) if type == "credit" else None
    of = Words(f"“{credit['activity']}”", f" of “{credit['activity']}”") if credit is not None else Words("", "")
    said = Words(
        f"{day}收回{of.zh}的积分时，已经用掉{row['points']}分，还欠{left}分，以后记分时先抵。",
        f"On {day} points{of.en} were taken back of which {row['points']} were spent already; {left} are still owed, "
        "and later credits pay them first.",
    )
    return _part(left, "debt", said, subject_type=type, subject_id=id, day=day, of_points=row["points"])


def _spent(known: _Known, account: _Account) -> list[dict[str, Any]]:
    """Captures that were not given back, newest first."""
    given_back = {row["reverses"] for row in account.rows.values() if row["reverses"] is not None}
    parts = []
    for row in reversed(account.rows.values()):
        if _movement(account, row) == "spent" and row["sequence"] not in given_back:
            goods, day = _goods(known, row), known.day(row["recorded_at"])
            said = Words(f"{day}{goods.zh}，用{row['points']}分。", f"{day} {goods.en}: {row['points']} points.")
            parts.append(
                _part(
                    row["points"],
                    "redemption",
                    said,
                    subject_type=row["cause_type"],
                    subject_id=row["cause_id"],
                    day=day,
                    taken_from=_taken_from(known, account, account.folded.taken.get(row["sequence"], [])),
                )
            )
    return parts


def _returned(known: _Known, account: _Account) -> list[dict[str, Any]]:
    """What came back: freed before it was taken, or given back after; newest first."""
    words = {
        Kind.VOID: Words("没有出货，预留退回", "nothing came out; the hold was freed"),
        Kind.REVERSAL: Words("扣分后退回", "given back after it was taken"),
    }
    parts = []
    for row in reversed(account.rows.values()):
        kind = Kind(row["kind"])
        if kind is Kind.VOID or (kind is Kind.REVERSAL and row["credit"] == account.number):
            goods, day = _goods(known, row), known.day(row["recorded_at"])
            said = Words(
                f"{day}{goods.zh}，{words[kind].zh}{row['points']}分。",
                f"{day} {goods.en}, {words[kind].en}: {row['points']} points.",
            )
            about = {"subject_type": row["cause_type"], "subject_id": row["cause_id"], "day": day}
            parts.append(_part(row["points"], "redemption", said, **about))
    return parts


def _expired(known: _Known, account: _Account) -> list[dict[str, Any]]:
    """What ended, newest first, and of which credits it was left."""
    parts = []
    for row in reversed(account.rows.values()):
        if _movement(account, row) == "expired":
            day = known.day(row["recorded_at"])
            said = Words(f"{day}到期{row['points']}分。", f"{row['points']} points ended on {day}.")
            taken = _taken_from(known, account, account.folded.taken.get(row["sequence"], []))
            parts.append(
                _part(
                    row["points"],
                    "expiry",
                    said,
                    subject_type="expiry",
                    subject_id=str(row["sequence"]),
                    day=day,
                    taken_from=taken,
                )
            )
    return parts


def _movement(account: _Account, row: RowMapping) -> str:
    """Which of MOVEMENTS a row is; empty where it moves nothing that is posted."""
    is_credit = row["credit"] == account.number
    match Kind(row["kind"]):
        case Kind.HOLD | Kind.VOID:
            return ""
        case Kind.CAPTURE:
            return "other" if is_credit else "spent"
        case Kind.REVERSAL:
            return "returned" if is_credit else "taken_back"
        case Kind.POST:
            types = {"credit": "credited", "adjustment": "adjusted", "merge": "moved", "close": "moved"}
            if row["id"].startswith("expiry."):
                return "expired"
            return types.get(row["cause_type"]) or {"owed": "lent", "repaid": "repaid"}.get(row["cause_type"], "other")


def _movements(account: _Account) -> list[dict[str, Any]]:
    """What each kind of movement came to; together they are what is posted: available and held."""
    sums = dict.fromkeys(MOVEMENTS, 0)
    for row in account.rows.values():
        if what := _movement(account, row):
            sums[what] += changes(Kind(row["kind"]), row["credit"] == account.number, row["points"])[0]
    return [
        {"what": what, "points": points, "zh": MOVEMENTS[what].zh, "en": MOVEMENTS[what].en}
        for what, points in sums.items()
        if points
    ]


def _ends(known: _Known, account: _Account) -> list[dict[str, Any]]:
    """Available points by the local day on which they end, soonest first; those that never end are not in it."""
    sums: dict[str, int] = {}
    for lot in account.folded.available():
        if lot.expires_ms is not None:
            day = known.day(from_ms(lot.expires_ms))
            sums[day] = sums.get(day, 0) + lot.left
    return [{"day": day, "points": points} for day, points in sums.items()]


def lines(found: Mapping[str, Any], language: str) -> list[str]:
    """The same to print: each number, and below it what it is made of."""
    said = [f"{found['resident_id']}  {found['as_of']}", ""]
    for figure in found["figures"]:
        said.append(figure[language])
        for part in figure["parts"]:
            said.append(f"  {part['points']:>6}  {part[language]}")
            if part[f"rule_{language}"]:
                said.append(f"          {part[f'rule_{language}']}")
        said.append("")
    return said

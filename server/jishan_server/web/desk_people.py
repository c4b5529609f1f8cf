"""People: finding them, a person's page, registering somebody without a phone, cards, PIN, consent, merging, freezing.

A name is found by a part of it, by the first letters of its pinyin, by the end of the member number or of the phone.
"""

import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from typing import Any, Final, Literal

from flask import render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from pypinyin import Style, pinyin

from jishan_server.api.asking import actor, change, fresh_salt, note_access, operation_id, parts
from jishan_server.api.schemas import MAX_NAME
from jishan_server.errors import DomainError
from jishan_server.explaining import points as explaining
from jishan_server.organizations import tree
from jishan_server.organizations.roles import Permission, held, scope
from jishan_server.people import consents, duplicates, merging, messages, profiles
from jishan_server.people import residents as keeping
from jishan_server.reading import reading
from jishan_server.vending import reports
from jishan_server.volunteering import adjustments, certificates, statements, why_not
from jishan_server.volunteering.rules import MAX_POINTS
from jishan_server.web.desk_ground import can, day, desk, in_words, nodes, people, said, typed, whole, words
from jishan_server.web.desk_todo import adjustment_reasons, kinds_of_reports, machine_name, vend_words
from jishan_server.web.ground import done, for_staff, today, zone

MOST_KNOWN: Final = 10_000
"""People among whom initials are looked for at once: a large estate, or a small street."""
MOST_FOUND: Final = 50
LEAST_DIGITS: Final = 3
NEWEST: Final = 10
ASKED_BACK: Final = timedelta(days=90)
"""Who asks why there are no points asks about lately."""


@dataclass(frozen=True, slots=True)
class Known:
    """Somebody to be found. `initials`: the letters that each sign of the name may begin with, the usual first."""

    id: str
    name: str
    member_number: str
    building: str
    phone_ending: str
    initials: tuple[str, ...]


def known_people(estate_ids: Collection[str]) -> list[Known]:
    """The people of these estates whom the one who looks may see, by member number; at most MOST_KNOWN."""
    visible = scope(reading(), actor(), Permission.RESIDENT_READ) & frozenset(estate_ids)
    try:
        whole_in = scope(reading(), actor(), Permission.RESIDENT_WRITE)
    except DomainError:
        whole_in = frozenset()
    found, _further = keeping.page(reading(), visible, 0, MOST_KNOWN, whole_in=whole_in)
    return [
        Known(
            one["id"],
            one["name"],
            one["member_number"],
            " ".join(str(one[part]) for part in ("building", "unit", "room") if one[part]),
            (one["phone"] or "")[-4:],
            initials(one["name"]),
        )
        for one in found
        if one["merged_into"] is None and one["closed_at"] is None and one["erased_at"] is None
    ]


def estates_of(organization_id: str) -> frozenset[str]:
    """The estates whose people come to what a node organises: those below it, or the one it is in."""
    inside = tree.estate_of_node(reading(), organization_id)
    return tree.below(reading(), organization_id) | ({inside} if inside else frozenset())


def found_people(text: str, organization_id: str) -> list[dict[str, Any]]:
    """Whom a text may mean among the people of a node, the likeliest first; as id, name, number and building."""
    found = [(rank(one, text), one) for one in known_people(estates_of(organization_id))]
    ranked = sorted(
        ((how, one) for how, one in found if how is not None), key=lambda pair: (pair[0], pair[1].member_number)
    )
    best = [one for how, one in ranked if how == ranked[0][0]] if ranked else []
    # A whole name or number means nobody else; a part of one may.
    chosen = best if ranked and ranked[0][0] == 0 else [one for _how, one in ranked]
    return [
        {"id": one.id, "name": one.name, "member_number": one.member_number, "building": one.building}
        for one in chosen[:MOST_FOUND]
    ]


def rank(one: Known, text: str) -> int | None:
    """How well a text means somebody: 0 for all of a name or number, more for less of it, None for not at all."""
    text = "".join(unicodedata.normalize("NFKC", text).split()).lower()
    if not text:
        return None
    if text.isdecimal():
        if text == one.member_number:
            return 0
        if len(text) < LEAST_DIGITS:
            return None
        if one.member_number.endswith(text):
            return 1
        return 2 if len(text) <= len(one.phone_ending) and one.phone_ending.endswith(text) else None
    if text.isascii() and text.isalpha():
        if len(text) > len(one.initials):
            return None
        pairs = list(zip(text, one.initials, strict=False))
        if not all(letter in letters for letter, letters in pairs):
            return None
        is_usual = all(letters.startswith(letter) for letter, letters in pairs)
        return (1 if is_usual else 2) + (0 if len(text) == len(one.initials) else 2)
    name = one.name.lower()
    if text == name:
        return 0
    return 1 if text in name else None


def initials(name: str) -> tuple[str, ...]:
    """For each sign of a name the letters that its pinyin may begin with, the usual first; other signs are left out."""
    return tuple(letters for sign in name if (letters := _letters(sign)))


@lru_cache(maxsize=20_000)
def _letters(sign: str) -> str:
    found = pinyin(sign, style=Style.FIRST_LETTER, heteronym=True, errors="default")[0]
    return "".join(dict.fromkeys(one.lower() for one in found if one.isascii() and one.isalpha()))


@desk.get("/people")
@for_staff
def residents() -> ResponseReturnValue:
    """Find somebody; or those who have not agreed yet, or who may be there twice."""
    scope(reading(), actor(), Permission.RESIDENT_READ)
    text = request.args.get("q", "").strip()
    estates = nodes()
    wanted = request.args.get("estate")
    chosen = [one["id"] for one in estates if wanted in (None, "", one["id"])]
    found: list[dict[str, Any]] = []
    if text:
        everybody = known_people(chosen)
        ranked = sorted(
            ((how, one.member_number, one) for one in everybody if (how := rank(one, text)) is not None),
            key=lambda row: row[:2],
        )
        found = [
            {"id": one.id, "name": one.name, "member_number": one.member_number, "building": one.building}
            for _how, _number, one in ranked[:MOST_FOUND]
        ]
        note_access("search", people=len(found))
        is_whole = len(everybody) < MOST_KNOWN
    else:
        is_whole = True
    pairs = []
    if request.args.get("list") == "twice" and can(Permission.RESIDENT_WRITE):
        pairs = duplicates.pairs(reading(), scope(reading(), actor(), Permission.RESIDENT_WRITE))[:MOST_FOUND]
        note_access("duplicates", people=2 * len(pairs))
    return render_template(
        "desk/people.html",
        found=found,
        pairs=pairs,
        text=text,
        estates=[(one["id"], one["name"]) for one in estates],
        estate=wanted or "",
        is_whole=is_whole,
        evidence={
            "phone": _("同一个电话"),
            "id_number": _("同一个证件"),
            "name_and_building": _("同名同楼"),
            "name_and_birth_day": _("同名同生日"),
        },
    )


@desk.post("/people/twice")
@for_staff
def not_twice() -> ResponseReturnValue:
    """These two are not one person."""
    body = duplicates.DismissDuplicate(actor(), request.form.get("first_id", ""), request.form.get("second_id", ""))
    change("dismiss_duplicate", body)
    return done(_("已记下：不是同一个人。"), ".residents", list="twice")


@desk.get("/people/new")
@for_staff
def new_resident() -> ResponseReturnValue:
    """Register somebody; no phone is needed."""
    return _new()


@desk.post("/people/new")
@for_staff
def register() -> ResponseReturnValue:
    """Register: the person, how they agreed, and in the same go a card and a PIN."""
    form = request.form
    try:
        id_number = profiles.kept_of(parts().hashing, form.get("id_number") or None)
        body = keeping.CreateResident(
            actor(),
            form.get("estate_id", ""),
            words("name", _("姓名"), most=MAX_NAME),
            phone=words("phone", _("电话"), most=20, least=0) or None,
            sex=_sex(),
            birth_day=day("birth_day", _("生日")),
            building=words("building", _("楼栋"), most=40, least=0) or None,
            unit=words("unit", _("单元"), most=40, least=0) or None,
            room=words("room", _("房号"), most=40, least=0) or None,
            id_number=id_number,
            consent=_consent(),
        )
        made = change("create_resident", body)
    except DomainError as error:
        return _new(error)
    told = _(
        "已登记%(name)s，会员号%(number)s。下面可以发卡、请本人设密码。",
        name=made["name"],
        number=made["member_number"],
    )
    return done(told, ".person", resident_id=made["id"])


def _sex() -> Literal["f", "m"] | None:
    match request.form.get("sex"):
        case "f":
            return "f"
        case "m":
            return "m"
        case _:
            return None


def _consent() -> consents.NewConsent | None:
    """How the person agreed; None: not yet."""
    how = request.form.get("how")
    if how not in ("desk", "paper"):
        return None
    guardian = words("guardian", _("监护人"), most=MAX_NAME, least=0)
    return consents.NewConsent(
        "paper" if how == "paper" else "desk",
        words("form_number", _("同意书编号"), most=40, least=0) or None,
        day("form_day", _("签字日期")),
        consents.Guardian(name=guardian, phone=words("guardian_phone", _("监护人电话"), most=20, least=0) or None)
        if guardian
        else None,
    )


def _new(error: DomainError | None = None) -> tuple[str, int]:
    shown = render_template(
        "desk/person_new.html",
        estates=[(one["id"], one["name"]) for one in nodes()],
        typed=typed(),
        today=today().isoformat(),
        error=error and said(error),
    )
    return shown, error.status if error else 200


@desk.get("/people/<id:resident_id>")
@for_staff
def person(resident_id: str) -> ResponseReturnValue:
    """Everything about a person that one may see, and everything that one may do for them."""
    return _person(resident_id)


@desk.post("/people/<id:resident_id>/<id:what>")
@for_staff
def change_person(resident_id: str, what: str) -> ResponseReturnValue:
    """Do one of the things of a person's page."""
    if what not in _CHANGES:
        raise DomainError("not_found")
    try:
        told, where = _CHANGES[what](resident_id)
    except DomainError as error:
        return _person(resident_id, error, what)
    return done(told, ".person", resident_id=where)


def _bind(resident_id: str) -> tuple[str, str]:
    change("bind_card", keeping.BindCard(actor(), resident_id, *keeping.hashed_card(parts().hashing, _uid())))
    return _("卡已绑定。"), resident_id


def _replace(resident_id: str) -> tuple[str, str]:
    """The old card is blocked and the new one bound in one step; without a new one the old one is blocked."""
    card_id, reason = request.form.get("card_id", ""), request.form.get("why", "lost")
    if reason not in ("lost", "broken", "stolen", "returned"):
        reason = "lost"
    if not _uid():
        change("block_card", keeping.BlockCard(actor(), card_id, reason))
        return _("旧卡已挂失，积分都在。"), resident_id
    body = keeping.ReplaceCard(actor(), card_id, *keeping.hashed_card(parts().hashing, _uid()), reason)
    change("replace_card", body)
    return _("旧卡已停用，新卡已绑定，积分都在。"), resident_id


def _uid() -> str:
    return words("uid", _("卡号"), most=40, least=0)


def _set_pin(resident_id: str) -> tuple[str, str]:
    pin = request.form.get("pin", "")
    if pin != request.form.get("pin_again", ""):
        raise DomainError("fields_invalid", names=_("两次输入的密码不一样"))
    id = operation_id()
    change("set_pin", keeping.SetPin(actor(), resident_id, keeping.hashed_pin(parts().hashing, pin, id)), id=id)
    return _("密码已设好。"), resident_id


def _agree(resident_id: str) -> tuple[str, str]:
    new = _consent()
    if new is None:
        raise DomainError("fields_invalid", names=_("怎么同意的"))
    body = consents.GiveConsent(actor(), resident_id, new.how, new.form_number, new.form_day, new.guardian)
    change("give_consent", body)
    return _("已登记本人同意。"), resident_id


def _withdraw(resident_id: str) -> tuple[str, str]:
    change("withdraw_consent", consents.WithdrawConsent(actor(), resident_id, "desk"))
    return _("已登记撤回同意，已有的积分还可以用。"), resident_id


def _freeze(resident_id: str) -> tuple[str, str]:
    state: Literal["active", "frozen"] = "active" if request.form.get("state") == "active" else "frozen"
    change("freeze_resident", keeping.FreezeResident(actor(), resident_id, state, words("reason", _("原因"))))
    return (_("已冻结，积分还在，暂时不能兑换。") if state == "frozen" else _("已解冻。")), resident_id


def _merge(resident_id: str) -> tuple[str, str]:
    number = words("number", _("保留的会员号"), most=20)
    visible = scope(reading(), actor(), Permission.RESIDENT_MERGE)
    found, _further = keeping.page(reading(), visible, 0, 2, keeping.Wanted(member_number=number))
    if not found:
        raise DomainError("resident_unknown", id=number)
    body = merging.MergeResidents(actor(), resident_id, found[0]["id"], words("reason", _("原因")), fresh_salt())
    return _("已合并，积分和卡都到这里了。"), str(change("merge_residents", body, key_required=True)["id"])


def _close(resident_id: str) -> tuple[str, str]:
    body = merging.CloseResident(actor(), resident_id, words("reason", _("原因")), fresh_salt())
    change("close_resident", body, key_required=True)
    return _("已注销。"), resident_id


def _edit(resident_id: str) -> tuple[str, str]:
    changes: dict[str, Any] = {
        name: words(name, label, most=most, least=0) or None
        for name, label, most in (
            ("phone", _("电话"), 20),
            ("building", _("楼栋"), 40),
            ("unit", _("单元"), 40),
            ("room", _("房号"), 40),
        )
    }
    changes["name"] = words("name", _("姓名"), most=MAX_NAME)
    change("edit_resident", keeping.EditResident(actor(), resident_id, changes))
    return _("已保存。"), resident_id


def _adjust(resident_id: str) -> tuple[str, str]:
    points = whole("points", _("积分"), -MAX_POINTS, MAX_POINTS)
    if not points:
        raise DomainError("fields_invalid", names=_("积分"))
    code = request.form.get("reason_code", "")
    if code not in adjustments.REASONS:
        raise DomainError("fields_invalid", names=_("原因"))
    body = adjustments.ProposeAdjustment(actor(), resident_id, points, code, words("reason", _("说明")))
    change("propose_adjustment", body, key_required=True)
    return _("已提出，等另一个人确认后积分才变。"), resident_id


def _report(resident_id: str) -> tuple[str, str]:
    kind = request.form.get("kind", "")
    if kind not in reports.KINDS:
        raise DomainError("fields_invalid", names=_("什么问题"))
    body = reports.MakeReport(
        actor(), resident_id, kind, words("words", _("说明"), least=0), request.form.get("redemption_id") or None
    )
    made = change("make_report", body)
    return _("已登记，票号%(ticket)s。", ticket=made["ticket"]), resident_id


def _certify(resident_id: str) -> tuple[str, str]:
    body = certificates.IssueCertificate(actor(), resident_id, day("first_day", _("开始")), day("last_day", _("结束")))
    made = change("issue_certificate", body, key_required=True)
    return _("证书已开，编号%(number)s，可以打印了。", number=made["number"]), resident_id


_CHANGES: Final = {
    "card": _bind,
    "card-replace": _replace,
    "pin": _set_pin,
    "consent": _agree,
    "withdraw": _withdraw,
    "freeze": _freeze,
    "merge": _merge,
    "close": _close,
    "edit": _edit,
    "adjust": _adjust,
    "report": _report,
    "certificate": _certify,
}


def _person(resident_id: str, error: DomainError | None = None, part: str = "") -> tuple[str, int]:
    found = keeping.resident(reading(), actor(), resident_id)
    note_access("record", resident_id)
    here = held(reading(), actor(), found["estate_id"])
    entries, _further = statements.statement(reading(), actor(), resident_id, None, NEWEST)
    last = today()
    first = _day_of("first_day") or last - ASKED_BACK
    last = _day_of("last_day") or last
    shown = render_template(
        "desk/person.html",
        can=lambda permission: permission in here,
        person=found,
        balance=statements.balance(reading(), actor(), resident_id),
        entries=entries,
        explained=explaining.explain(reading(), actor(), resident_id, parts().clock(), zone())
        if request.args.get("show") == "explain"
        else None,
        why_not=why_not.why_not(reading(), actor(), resident_id, first, last, parts().clock(), zone())
        if request.args.get("show") == "why-not"
        else None,
        first_day=first.isoformat(),
        last_day=last.isoformat(),
        redemptions=reports.candidates(reading(), actor(), resident_id)[:NEWEST]
        if Permission.REPORT_WRITE in here
        else [],
        consents=consents.history(reading(), resident_id),
        certificates=certificates.of_resident(reading(), actor(), resident_id)
        if Permission.RECORD_READ in here
        else [],
        told=messages.inbox(reading(), actor(), resident_id, None, NEWEST)[0]
        if Permission.MESSAGE_READ in here
        else [],
        kinds=list(kinds_of_reports().items()),
        reasons=list(adjustment_reasons().items()),
        in_words=in_words,
        machine_name=machine_name,
        vend_words=vend_words,
        part=part,
        typed=typed(),
        today=today().isoformat(),
        other=people([found["merged_into"]]).get(found["merged_into"] or ""),
        error=error and said(error),
    )
    return shown, error.status if error else 200


def _day_of(name: str) -> date | None:
    try:
        return date.fromisoformat(request.args[name])
    except (KeyError, ValueError):
        return None

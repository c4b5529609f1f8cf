"""What the machine says to the person in front of it: a stable code, and a sentence in zh and en.

Each sentence says what happened to the points. Places in braces are filled by `say`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

WORDS: Final[dict[str, tuple[str, str]]] = {
    # What to do next.
    "welcome": ("请刷卡或选择商品。", "Please tap your card or choose an item."),
    "choose": ("请选择商品。", "Please choose an item."),
    "identify": ("{name_zh}，{points}分。请刷卡。", "{name_en}, {points} points. Please tap your card."),
    "asking": ("正在核对积分，请稍候。", "Checking your points, please wait."),
    "vending": ("正在出货，请稍候。", "Your item is on its way."),
    "enter_pin": ("请输入密码，再按井号键。", "Please type your PIN, then the hash key."),
    "busy": ("上一位还没有完成，请稍候。", "Please wait until the current exchange is finished."),
    # How it ended.
    "dispensed": ("请取走{name_zh}。已扣{points}分。", "Please take your {name_en}. {points} points were used."),
    "not_dispensed": ("没有出货，您的{points}分已退回。", "Nothing came out. Your {points} points are back."),
    "outcome_unknown": (
        "这次还不能确认有没有出货，您的{points}分先留着，不会丢，工作人员会核对后答复您。",
        "We cannot tell yet whether the item came out. Your {points} points are kept safe; staff will answer you.",
    ),
    "lapsed": ("等待超时，没有扣分，请再试一次。", "It took too long. No points were used; please try again."),
    "cancelled": ("已取消，没有扣分。", "Cancelled. No points were used."),
    "timed_out": ("操作超时，没有扣分。", "Nothing was chosen in time. No points were used."),
    "not_sellable": ("{name_zh}暂时不能出货，没有扣分。", "{name_en} cannot be sold right now. No points were used."),
    # Why not.
    "no_such_selection": ("没有这个货道号，请重新选择。", "There is no such selection. Please choose another."),
    "selection_disabled": ("这个商品暂停兑换，请选别的。", "This item is not available. Please choose another."),
    "changed": (
        "商品或积分刚刚更新，没有扣分。请重新选择。",
        "The item or its price has just changed. No points were used; please choose again.",
    ),
    "card_blocked": (
        "这张卡已停用，积分都在。请到小区服务点补卡。",
        "This card is blocked. Your points are safe; please ask at the estate's desk.",
    ),
    "bad_card": ("没有读到卡，请再刷一次。", "The card could not be read. Please tap again."),
    # Vouchers: every refusal says that the points stay where they are.
    "voucher_not_here": (
        "这台机器现在还不能用兑换凭证，凭证仍然有效。",
        "This machine cannot take vouchers yet. Your voucher stays valid.",
    ),
    "voucher_unreadable": (
        "凭证没有读对，请再试一次，凭证仍然有效。",
        "The voucher could not be read. Please try again; it stays valid.",
    ),
    "voucher_wrong": (
        "这不是本机的有效凭证，或者商品、积分已经更改，没有扣分。请到服务点查询。",
        "No valid voucher here, or the item or its price has changed. No points were used; please ask the desk.",
    ),
    "voucher_elsewhere": (
        "这张凭证是另一台机器的，请到那台机器使用，凭证仍然有效。",
        "This voucher is for another machine, where it stays valid.",
    ),
    "voucher_used": (
        "这张凭证已经用过，这次没有扣分。",
        "This voucher has been used. No points were used now.",
    ),
    "voucher_ended": (
        "这张凭证已经到期或退回，没有扣分。请查看您的积分。",
        "This voucher has ended or was given back. No points were used; please look at your points.",
    ),
    "voucher_later": (
        "这个商品现在不能出货，没有扣分，凭证仍然有效，可以以后再来或退回。",
        "The item cannot be given now. No points were used; the voucher stays valid, come again or give it back.",
    ),
    "voucher_changed": (
        "这个货道的商品或积分已经更改，没有扣分，凭证仍然有效，请退回后重新预留。",
        "This selection's item or price has changed. No points were used; please give the voucher back for a new one.",
    ),
    "voucher_press": (
        "凭证有效，请在机器上按{name_zh}的货道号。",
        "The voucher is good. Please press the selection of {name_en} on the machine.",
    ),
    "voucher_kept": (
        "没有出货，没有扣分，凭证仍然有效。",
        "Nothing came out, no points were used. The voucher stays valid.",
    ),
    "voucher_digits_closed": (
        "凭证号码输错次数太多，请15分钟后再输，或者扫二维码。凭证仍然有效。",
        "Too many wrong numbers. Please type again in 15 minutes, or scan the code; the voucher stays valid.",
    ),
    "bad_code": (
        "这个码不能用，没有扣分。请打开手机上的个人码再扫。",
        "This code is of no use here. No points were used; please open your personal code on your phone.",
    ),
    "number_wrong": (
        "会员号不对，请核对八位号码，再输一次。",
        "This is not a member number. Please check its eight digits and type it again.",
    ),
    "pin_form": ("密码是四到八位数字，请重新开始。", "A PIN has four to eight digits. Please begin again."),
    # Why the machine does not sell.
    "not_configured": ("机器还没有设置好，暂停兑换。", "The machine is not set up yet."),
    "offline": ("网络中断，暂停兑换，没有扣分。", "The network is down. No points were used; please try later."),
    "closed": ("机器暂停服务。", "The machine is closed for now."),
    "machine_fault": ("机器故障，等待维修，暂停兑换。", "The machine is waiting for repair."),
    "dispenser_offline": ("出货装置没有响应，暂停兑换。", "The dispenser does not answer."),
    "recovering": ("机器正在自检，请稍后再来。", "The machine is checking itself; please come back in a moment."),
    "door_open": ("柜门开着，暂停兑换。", "The cabinet door is open."),
    "disk_full": ("机器存储已满，暂停兑换。", "The machine's disk is full."),
    "journal_behind": (
        "机器记录对不上，暂停兑换，等待工作人员处理。",
        "The machine's records do not match; it is waiting for staff.",
    ),
    "outbox_full": (
        "机器还有记录没有传完，暂停兑换，请稍后再来。",
        "Too many records wait to be sent; please try later.",
    ),
}


@dataclass(frozen=True, slots=True)
class Say:
    """A sentence for the person in front of the machine."""

    code: str
    zh: str
    en: str


def say(code: str, **places: str | int) -> Say:
    """Fill the sentence of `code`; an unknown code or a missing place is our own mistake and raises KeyError."""
    zh, en = WORDS[code]
    return Say(code, zh.format(**places), en.format(**places))


def greeting(label: str, available: int, changed: int | None, unread: int) -> Say:
    """What is new for the person whose card was tapped, in one sentence; `changed` is None the first time."""
    news = [
        ("上次之后多了{}分", "points since last time: +{}", changed if changed and changed > 0 else 0),
        ("上次之后少了{}分", "points since last time: -{}", -changed if changed and changed < 0 else 0),
        ("有{}条消息", "messages: {}", unread),
    ]
    told = [(zh.format(number), en.format(number)) for zh, en, number in news if number]
    told.append((f"现有{available}分", f"points now: {available}"))
    zh, en = "，".join(one[0] for one in told), ", ".join(one[1] for one in told)
    return Say("greeting", f"{label}，{zh}。请选择商品。", f"{en[0].upper()}{en[1:]}. Please choose an item.")

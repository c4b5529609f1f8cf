"""The words of each kind of message, in Chinese and English; `{name}` is filled from the message's fields."""

from typing import Final, NamedTuple


class Words(NamedTuple):
    zh: str
    en: str


TEXTS: Final[dict[str, Words]] = {
    "credit_booked": Words(
        "您参加“{activity}”得了{points}分，现在可用。不是您本人参加的，请告诉我们。",
        'You earned {points} points for "{activity}"; they can be used now. If this was not you, please tell us.',
    ),
}

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
    "session_cancelled": Words(
        "您报名的“{activity}”（{starts}）已取消，不用来了。",
        'The session of "{activity}" on {starts} that you signed up for was cancelled; you need not come.',
    ),
    "session_changed": Words(
        "您报名的“{activity}”改到{starts}。不能来请取消报名。",
        'The session of "{activity}" that you signed up for is now on {starts}. If you cannot come, please cancel.',
    ),
    "sign_up_moved_up": Words(
        "“{activity}”（{starts}）有人退出，您已从候补转为报名成功。",
        'A place in "{activity}" on {starts} became free: you are signed up and no longer waiting.',
    ),
}

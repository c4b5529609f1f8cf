"""The page that printed certificates lead to: type or scan a number, see whether it holds. No login, no script."""

from typing import Final, NamedTuple

from flask import Blueprint, render_template_string, request
from flask.typing import ResponseReturnValue

from jishan_server.api import asking
from jishan_server.errors import DomainError, Language
from jishan_server.printing.words import day, say
from jishan_server.reading import reading
from jishan_server.volunteering.certificates import PATH, check

certificate_page = Blueprint("certificate_page", __name__)


class Words(NamedTuple):
    zh: str
    en: str


WORDS: Final[dict[str, Words]] = {
    "title": Words("志愿服务记录证明核对", "Check a record of volunteer service"),
    "type": Words("证明编号（15位数字）", "Number of the certificate (15 digits)"),
    "check": Words("核对", "Check"),
    "number": Words("编号", "Number"),
    "period": Words("服务时段", "Period"),
    "hours": Words("服务时长（小时）", "Hours"),
    "unit": Words("记录单位", "Recorded by"),
    "state": Words("状态", "State"),
    "compare": Words(
        "请与纸面逐项核对。本页不显示姓名。", "Compare each line with the paper. Names are not shown here."
    ),
    "other": Words("English", "中文"),
}
STATES: Final[dict[str, Words]] = {
    "valid": Words("有效", "Valid"),
    "outdated": Words("需要重新出具：上面有记录已更正", "To be issued again: a record on it was corrected since"),
    "replaced": Words("已由新的证明代替", "Replaced by a newer one"),
    "revoked": Words("已作废", "Revoked"),
}
SIGNS: Final = {"valid": "✓"}
"""Colour is never the only signal."""
LONGEST: Final = 60
"""Of a number that was typed with spaces."""

_PAGE: Final = """<!doctype html>
<html lang="{{ 'en' if language == 'en' else 'zh-CN' }}">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex"><title>{{ words.title }}</title>
<style>
body{font:1.25rem/1.6 system-ui,sans-serif;max-width:34rem;margin:0 auto;padding:1rem;color:#111;background:#fff}
h1{font-size:1.6rem}dt{color:#444}dd{margin:0 0 .8rem;font-size:1.4rem;overflow-wrap:anywhere}
.state{font-weight:700;border:3px solid;padding:.4rem .8rem;color:#8a1c00}.valid{color:#0a5c1f}
input,button{font:inherit;min-height:3.75rem;padding:0 1rem;box-sizing:border-box;width:100%;margin:.3rem 0}
a{color:#003e8a;display:inline-block;min-height:3.75rem;line-height:3.75rem}
</style></head>
<body>
<h1>{{ words.title }}</h1>
{% if problem %}<p class="state" role="alert">✗ {{ problem }}</p>{% endif %}
{% if found %}
<p class="state {{ found.state }}">{{ sign }} {{ state }}</p>
<dl><dt>{{ words.number }}</dt><dd>{{ found.number }}</dd>
<dt>{{ words.period }}</dt><dd>{{ period }}</dd>
<dt>{{ words.hours }}</dt><dd>{{ found.hours }}</dd>
<dt>{{ words.unit }}</dt><dd>{{ found.unit_name }}</dd></dl>
<p>{{ words.compare }}</p>
{% endif %}
<form action="/{{ path }}" method="get">
<label>{{ words.type }}<input name="number" inputmode="numeric" autocomplete="off" maxlength="60" required
value="{{ typed }}"></label><input type="hidden" name="lang" value="{{ language }}">
<button>{{ words.check }}</button></form>
<p><a href="/{{ path }}{{ '/' if typed }}{{ typed|urlencode }}?lang={{ other }}">{{ words.other }}</a></p>
</body></html>
"""


@certificate_page.get(f"/{PATH}", defaults={"number": None})
@certificate_page.get(f"/{PATH}/<string(maxlength=60):number>")
def show_certificate(number: str | None) -> ResponseReturnValue:
    """What anybody may know of a number, or a field to type one."""
    asked = request.args.get("lang")
    language: Language = "en" if asked == "en" else "zh" if asked == "zh" else asking.language()
    typed = (request.args.get("number", "") if number is None else number)[:LONGEST].strip()
    found, problem, status = None, "", 200
    if typed:
        try:
            found = check(reading(), typed)
        except DomainError as error:
            problem, status = error.text(language), error.status
    spoken = {key: words.en if language == "en" else words.zh for key, words in WORDS.items()}
    shown: dict[str, str] = {}
    if found is not None:
        first, last = (day(language, found[name]) for name in ("first_day", "last_day"))
        state = STATES[found["state"]]
        shown = {
            "period": say(language, "span", first=first, last=last),
            "state": state.en if language == "en" else state.zh,
            "sign": SIGNS.get(found["state"], "✗"),
        }
    other = "zh" if language == "en" else "en"
    html = render_template_string(
        _PAGE,
        language=language,
        words=spoken,
        found=found,
        problem=problem,
        typed=typed,
        path=PATH,
        other=other,
        **shown,
    )
    return html, status

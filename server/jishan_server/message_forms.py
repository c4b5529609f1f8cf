"""What is posted to a provider of text messages or WeChat templates: a TOML file, filled for each letter. Pure.

    url = "https://sms.example.cn/send"
    content = "json"                      # or "form": name=value&...
    [headers]
    Authorization = "Bearer {secret}"
    [body]
    phone = "{to}"
    template_id = "SMS_1001"
    params = { text = "{text}" }
    out_id = "{id}"
    [accepted]                            # besides HTTP 2xx: a member of the JSON answer, and its value
    member = "code"
    equals = "OK"

Places are `{id}` (the same for each try), `{to}`, `{text}`, `{kind}`, `{language}` and `{secret}`, which is read from a
file of its own for each letter, so that a token may be renewed while the server runs. No place is read from the filled
text again, what is filled into the address is quoted, and no header takes `{text}` or `{to}`: words of people change
neither address nor headers.
"""

import json
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import quote, urlencode, urlsplit

PLACES: Final = ("id", "kind", "language", "secret", "text", "to")
_PLACE: Final = re.compile(r"\{([^{}]*)\}")
_HEADER: Final = re.compile(r"[A-Za-z0-9-]+", re.ASCII)
_MEMBERS: Final = frozenset({"url", "content", "headers", "body", "accepted"})


@dataclass(frozen=True, slots=True)
class Form:
    """A form as its file says; `accepted` is (member, value) of the answer, None where the HTTP status says enough."""

    url: str
    content: Literal["json", "form"]
    headers: Mapping[str, str] = field(repr=False)
    body: Mapping[str, Any] = field(repr=False)
    accepted: tuple[str, str] | None


@dataclass(frozen=True, slots=True)
class Filled:
    """What is posted."""

    url: str
    headers: Mapping[str, str]
    body: bytes

    def __repr__(self) -> str:
        """Secrets and words stay out of logs."""
        return "Filled()"


def parse_form(text: str) -> Form:
    """Read a form; raises ValueError, which names what is wrong."""
    found = tomllib.loads(text)
    unknown = found.keys() - _MEMBERS
    if unknown:
        raise ValueError(f"{min(unknown)}: there is no such member")
    url, headers, body = found.get("url"), found.get("headers", {}), found.get("body")
    if not isinstance(url, str) or urlsplit(url).scheme not in ("http", "https") or "{" in urlsplit(url).netloc:
        raise ValueError("url: neither http nor https, or a place in its host")
    content = found.get("content", "json")
    if content not in ("json", "form"):
        raise ValueError("content: neither json nor form")
    if not isinstance(body, dict) or not body:
        raise ValueError("body: missing")
    if content == "form" and not all(isinstance(value, str) for value in body.values()):
        raise ValueError("body: a form has texts only")
    if not isinstance(headers, dict) or not all(
        _HEADER.fullmatch(name) and isinstance(value, str) and value.isprintable() and value.isascii()
        for name, value in headers.items()
    ):
        raise ValueError("headers: names of letters, digits and -, values of visible ASCII")
    for words in (url, headers, body):
        _walk(words, _known)
    if any(place in ("text", "to") for value in headers.values() for place in _PLACE.findall(value)):
        raise ValueError("headers: no place for words of people")
    if "to" not in (match for words in (url, body) for match in _PLACE.findall(json.dumps(words))):
        raise ValueError("body: nothing says {to} whom it goes")
    return Form(url, content, headers, body, _accepted(found.get("accepted")))


def fill(form: Form, places: Mapping[str, str]) -> Filled:
    """The form with its places filled; raises ValueError for what no header can hold."""
    assert set(places) == set(PLACES)
    headers = {name: _filled(value, places) for name, value in form.headers.items()}
    if not all(value.isascii() and value.isprintable() for value in headers.values()):
        raise ValueError("a header with other than visible ASCII")
    body = _walk(form.body, lambda words: _filled(words, places))
    if form.content == "json":
        content, kind = json.dumps(body, ensure_ascii=False).encode(), "application/json; charset=utf-8"
    else:
        content, kind = urlencode(body).encode(), "application/x-www-form-urlencoded"
    url = _filled(form.url, {name: quote(value, safe="") for name, value in places.items()})
    return Filled(url, {"Content-Type": kind} | headers, content)


def is_accepted(form: Form, answer: bytes) -> bool:
    """Whether the answer, of HTTP 2xx, says that the letter was taken."""
    if form.accepted is None:
        return True
    try:
        said = json.loads(answer)
    except ValueError:
        return False
    member, value = form.accepted
    return isinstance(said, dict) and member in said and str(said[member]) == value


def _accepted(found: object) -> tuple[str, str] | None:
    if found is None:
        return None
    if not isinstance(found, dict) or found.keys() != {"member", "equals"}:
        raise ValueError("accepted: member and equals belong in it, nothing else")
    return str(found["member"]), str(found["equals"])


def _walk(words: Any, see: Callable[[str], str]) -> Any:
    """Every text in a value, seen and put back."""
    if isinstance(words, str):
        return see(words)
    if isinstance(words, Mapping):
        return {name: _walk(value, see) for name, value in words.items()}
    if isinstance(words, list):
        return [_walk(value, see) for value in words]
    return words


def _known(words: str) -> str:
    for place in _PLACE.findall(words):
        if place not in PLACES:
            raise ValueError(f"{{{place}}}: there is no such place, only {', '.join(PLACES)}")
    return words


def _filled(words: str, places: Mapping[str, str]) -> str:
    return _PLACE.sub(lambda match: places[match[1]], words)

"""The signed webhook and the forms, against a real HTTP server on a free port."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from letters import LETTER, NOW, letter
from receivers import Receiver

from jishan_server.message_forms import PLACES, fill, is_accepted, parse_form
from jishan_server.messaging.posts import FormAdapter, WebhookAdapter
from jishan_server.messaging.signing import SIGNATURE, TIMESTAMP, body_of, headers_of, is_signed, signature
from jishan_server.people.delivery import Outcome

SECRET = "a secret of some length"
EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"
VECTORS = Path(__file__).parents[3] / "docs" / "vectors" / "webhook.json"
FORM = """
url = "URL?key={secret}&to={to}"
[headers]
Authorization = "Bearer {secret}"
[body]
phone = "{to}"
out_id = "{id}"
list = ["{text}", 1, { kind = "{kind}" }]
[accepted]
member = "code"
equals = "OK"
"""


def test_a_webhook_is_signed_over_time_and_body(receiver: Receiver) -> None:
    assert WebhookAdapter(receiver.url, SECRET).send(LETTER, NOW).outcome is Outcome.SENT
    (got,) = receiver.got
    assert got.json["text"] == LETTER.text
    assert got.json["fields"] == {"activity": "扫雪", "points": 5}
    assert got.json["id"] == got.headers["Jishan-Message-Id"] == LETTER.id
    assert is_signed(SECRET, got.headers, got.body, NOW)
    assert not is_signed("another secret of length", got.headers, got.body, NOW)
    assert not is_signed(SECRET, got.headers, got.body + b" ", NOW)
    assert not is_signed(SECRET, got.headers, got.body, NOW + timedelta(minutes=6))
    assert not is_signed(SECRET, got.headers | {TIMESTAMP: "x"}, got.body, NOW)
    assert not is_signed(SECRET, got.headers | {SIGNATURE: ""}, got.body, NOW)


def test_a_letter_that_is_sent_again_has_the_same_id_and_body(receiver: Receiver) -> None:
    for tries, now in ((1, NOW), (2, NOW + timedelta(hours=1))):
        WebhookAdapter(receiver.url, SECRET).send(letter(tries=tries), now)
    first, second = receiver.got
    assert (first.body, first.json["id"]) == (second.body, second.json["id"])
    assert first.headers[SIGNATURE] != second.headers[SIGNATURE]


def test_the_vectors_are_what_the_code_makes() -> None:
    vectors = json.loads(VECTORS.read_text("utf-8"))
    for one in vectors["vectors"]:
        made = signature(vectors["secret"], one["timestamp"], one["body"].encode())
        assert (made == one["signature"]) is one["is_right"], one["name"]
    first = vectors["vectors"][0]
    assert body_of(LETTER).decode() == first["body"]
    assert headers_of(LETTER, vectors["secret"], body_of(LETTER), NOW)[SIGNATURE] == first["signature"]


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (204, Outcome.SENT),
        (302, Outcome.REFUSED),
        (400, Outcome.REFUSED),
        (401, Outcome.AGAIN),
        (404, Outcome.AGAIN),
        (410, Outcome.REFUSED),
        (429, Outcome.AGAIN),
        (500, Outcome.AGAIN),
        (503, Outcome.AGAIN),
    ],
)
def test_what_an_answer_means(receiver: Receiver, status: int, outcome: Outcome) -> None:
    receiver.status = status
    report = WebhookAdapter(receiver.url, SECRET).send(LETTER, NOW)
    assert (report.outcome, report.is_down) == (outcome, False)


def test_no_redirect_is_followed(receiver: Receiver) -> None:
    with Receiver() as other:
        receiver.status, receiver.location = 307, other.url
        assert WebhookAdapter(receiver.url, SECRET).send(LETTER, NOW).outcome is Outcome.REFUSED
        assert other.got == []


def test_a_receiver_that_is_away_is_tried_again() -> None:
    with Receiver() as server:
        url = server.url
    assert WebhookAdapter(url, SECRET).send(LETTER, NOW).problem == "unreachable"


def test_a_form_is_filled_and_its_answer_read(receiver: Receiver, tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("t&1\n")
    adapter = FormAdapter(parse_form(FORM.replace("URL", receiver.url)), secret)
    receiver.answer = b'{"code": "OK"}'
    sms = letter(channel="sms", to="138 0000{id}")
    assert adapter.send(sms, NOW).outcome is Outcome.SENT
    (got,) = receiver.got
    assert parse_qs(urlsplit(got.path).query) == {"key": ["t&1"], "to": ["138 0000{id}"]}
    assert got.headers["Authorization"] == "Bearer t&1"
    assert got.json == {"phone": "138 0000{id}", "out_id": sms.id, "list": [sms.text, 1, {"kind": sms.kind}]}
    receiver.answer = b'{"code": "isv.AMOUNT_NOT_ENOUGH"}'
    assert adapter.send(sms, NOW).problem == "not_accepted"
    secret.write_text("renewed")
    adapter.send(sms, NOW)
    assert receiver.got[-1].headers["Authorization"] == "Bearer renewed"
    secret.unlink()
    assert adapter.send(sms, NOW).problem == "secret_unreadable"


def test_a_form_may_be_posted_as_name_and_value(receiver: Receiver) -> None:
    form = parse_form(f'url = "{receiver.url}"\ncontent = "form"\n[body]\nmobile = "{{to}}"\ntext = "{{text}}"')
    assert FormAdapter(form, None).send(letter(to="138&x=1"), NOW).outcome is Outcome.SENT
    assert parse_qs(receiver.got[0].body.decode()) == {"mobile": ["138&x=1"], "text": [LETTER.text]}


@pytest.mark.parametrize(
    ("form", "why"),
    [
        ('url = "ftp://x"\n[body]\na = "{to}"', "url"),
        ('url = "https://{to}/"\n[body]\na = "{to}"', "url"),
        ('url = "https://x"', "body"),
        ('url = "https://x"\n[body]\na = "1"', "body"),
        ('url = "https://x"\n[body]\na = "{to}{name}"', "name"),
        ('url = "https://x"\ncontent = "xml"\n[body]\na = "{to}"', "content"),
        ('url = "https://x"\ncontent = "form"\n[body]\na = ["{to}"]', "body"),
        ('url = "https://x"\n[headers]\n"A b" = "1"\n[body]\na = "{to}"', "headers"),
        ('url = "https://x"\n[headers]\nA = "{text}"\n[body]\na = "{to}"', "headers"),
        ('url = "https://x"\n[body]\na = "{to}"\n[accepted]\nmember = "x"', "accepted"),
        ('url = "https://x"\nmethod = "GET"\n[body]\na = "{to}"', "method"),
        ("url =", "Invalid value"),
    ],
)
def test_a_form_that_cannot_work_names_what_is_wrong(form: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_form(form)


def test_a_secret_that_no_header_can_hold_fills_no_form() -> None:
    places = dict.fromkeys(("id", "kind", "language", "text", "to"), "x")
    with pytest.raises(ValueError, match="header"):
        fill(parse_form(FORM.replace("URL", "https://x")), places | {"secret": "x\r\nHost: y"})


@pytest.mark.parametrize("answer", [b"", b"[]", b"not json", b'{"errcode": 40001}', b"\xff"])
def test_an_answer_that_does_not_say_yes_is_no(answer: bytes) -> None:
    form = parse_form('url = "https://x"\n[body]\na = "{to}"\n[accepted]\nmember = "errcode"\nequals = 0')
    assert not is_accepted(form, answer)
    assert is_accepted(form, b'{"errcode": 0, "errmsg": "ok"}')


@pytest.mark.parametrize("name", ["sms", "wechat"])
def test_the_example_of_the_docs_is_a_form_that_can_be_filled(name: str) -> None:
    form = parse_form((EXAMPLES / f"{name}.toml").read_text("utf-8"))
    filled = fill(form, {one: f"<{one}>" for one in PLACES})
    assert "<to>" in filled.body.decode()
    assert "<text>" in filled.body.decode()
    assert "<id>" in filled.body.decode()
    assert "{" not in filled.url

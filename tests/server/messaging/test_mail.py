"""E-mail, against a real mail server on a free port."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from letters import LETTER, NOW, letter
from receivers import MailServer

from jishan_server.gateway import pki
from jishan_server.messaging.mail import MailAdapter, is_address, mail
from jishan_server.people.delivery import Outcome


def adapter(server: MailServer, url: str = "smtp://{}", context: ssl.SSLContext | None = None) -> MailAdapter:
    host = f"localhost:{server.port}"
    return MailAdapter(url.format(host), "no-reply@jishan.example", "积善", "https://jishan.example", context)


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A mail server's TLS, and that of somebody who trusts its authority."""
    folder: Path = tmp_path_factory.mktemp("pki")
    pki.make(folder, ("localhost",), NOW)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "server.crt", folder / "server.key")
    return server, ssl.create_default_context(cafile=folder / "ca.crt")


@pytest.mark.parametrize(("language", "subject"), [("zh", "您的志愿服务积分有新消息"), ("en", "News about your")])
def test_a_mail_arrives_in_the_persons_language(mail_server: MailServer, language: str, subject: str) -> None:
    sending = adapter(mail_server)
    assert sending.send(letter(language=language), NOW).outcome is Outcome.SENT
    sending.close()
    (got,) = mail_server.got
    assert got["Subject"].startswith(subject)
    assert got["To"] == "wang@example.cn"
    assert got["From"] == "积善 <no-reply@jishan.example>"
    assert got["Message-ID"] == "<m7-1772424000000-email@jishan.example>"
    assert got["Auto-Submitted"] == "auto-generated"
    assert got["Date"].datetime == NOW
    assert got.get_content().startswith(LETTER.text + "\r\n\r\n")
    assert "https://jishan.example" in got.get_content()
    assert mail_server.raw[0].isascii()


def test_letters_that_leave_together_take_one_connection(mail_server: MailServer) -> None:
    sending = adapter(mail_server)
    for to in ("a@example.cn", "nobody@example.cn", "b@example.cn"):
        sending.send(letter(to=to), NOW)
    sending.close()
    assert [got["To"] for got in mail_server.got] == ["a@example.cn", "b@example.cn"]
    assert mail_server.connections == 1


def test_what_a_mail_server_refuses_for_good_is_not_tried_again(mail_server: MailServer) -> None:
    sending = adapter(mail_server)
    refused, later = (sending.send(letter(to=f"{who}@example.cn"), NOW) for who in ("nobody", "busy"))
    sending.close()
    assert (refused.outcome, refused.problem, refused.is_down) == (Outcome.REFUSED, "smtp_550", False)
    assert (later.outcome, later.problem) == (Outcome.AGAIN, "smtp_450")


def test_a_mail_server_that_is_away_is_tried_again() -> None:
    with MailServer() as server:
        sending = adapter(server)
    report = sending.send(LETTER, NOW)
    assert (report.outcome, report.problem, report.is_down) == (Outcome.AGAIN, "unreachable", True)


def test_starttls_is_used_and_the_password_only_goes_through_it(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    ours, theirs = contexts
    with MailServer(ours, login="post:p@ss/word") as server:
        sending = adapter(server, "smtp://post:p%40ss%2Fword@{}", theirs)
        assert sending.send(LETTER, NOW).outcome is Outcome.SENT
        sending.close()
        assert adapter(server, "smtp://post:wrong@{}", theirs).send(LETTER, NOW).problem == "login_refused"
        # The authority of the machine's own trust store has not signed it.
        assert adapter(server, "smtp://post:p%40ss%2Fword@{}").send(LETTER, NOW).problem == "tls_failed"
        assert len(server.got) == 1


def test_tls_from_the_first_byte(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    ours, theirs = contexts
    with MailServer(ours, is_tls=True) as server:
        sending = adapter(server, "smtps://{}", theirs)
        assert sending.send(LETTER, NOW).outcome is Outcome.SENT
        sending.close()
        assert len(server.got) == 1


@pytest.mark.parametrize(
    "to",
    [
        "a@example.cn\nBcc: b@example.cn",
        "a@example.cn\r\nSubject: x",
        "a@example.cn, b@example.cn",
        "<a@example.cn>",
        "a b@example.cn",
        "王@example.cn",
        "a@localhost",
        "@example.cn",
        "a@" + "b" * 260 + ".cn",
        "",
    ],
)
def test_an_address_that_could_say_more_than_whom_is_refused(mail_server: MailServer, to: str) -> None:
    assert not is_address(to)
    report = adapter(mail_server).send(letter(to=to), NOW)
    assert (report.outcome, report.problem) == (Outcome.REFUSED, "address_invalid")
    assert mail_server.connections == 0


def test_words_of_people_reach_no_header() -> None:
    text = "您补报的“\r\nBcc: all@example.cn\r\n\r\n.\r\nQUIT”没有通过"
    made = mail(letter(text=text), "x@example.cn", "积善", "https://example.cn", NOW)
    assert set(made.keys()) == {
        "From",
        "To",
        "Subject",
        "Date",
        "Message-ID",
        "Auto-Submitted",
        "Content-Language",
        "Content-Type",
        "Content-Transfer-Encoding",
        "MIME-Version",
    }
    assert b"Bcc" not in made.as_bytes()


def test_neither_address_nor_words_stand_in_what_is_logged() -> None:
    assert "wang" not in repr(LETTER)
    assert "扫雪" not in repr(LETTER)

"""E-mail by SMTP: STARTTLS on `smtp://`, TLS from the first byte on `smtps://`, plain on loopback only.

Subject and frame are ours and fixed; only the body repeats the message, so that no word of a person reaches a header.
One connection serves all letters that leave together. A refusal of the 5xx kind about one letter is for good; whatever
else goes wrong is tried again.
"""

import re
import smtplib
import ssl
from collections.abc import Mapping
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

from jishan_server.config import is_loopback
from jishan_server.messaging.letters import Report
from jishan_server.people.delivery import Outcome
from jishan_server.people.outbox import Letter

PATIENCE_S: Final = 10.0
"""For each answer of the mail server: a slow one must not keep the letters behind it past their lease."""
MAX_ADDRESS: Final = 254
"""Source: RFC 5321, 4.5.3.1.3, as its erratum reads it."""
_ADDRESS: Final = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+", re.ASCII)


class Frame(NamedTuple):
    """Subject and last lines of a mail, `{site}` is the address of the scheme's pages."""

    subject: str
    end: str


FRAMES: Final[Mapping[str, Frame]] = {
    "zh": Frame(
        "您的志愿服务积分有新消息",
        "不是您本人的，请登录后在消息里点“不是本人”，或者告诉小区工作人员。\n{site}\n\n这封邮件由系统自动发出，请不要回复。",
    ),
    "en": Frame(
        "News about your volunteer points",
        'If this was not you, log in and answer the message with "this is not me", or tell the estate\'s staff.\n'
        "{site}\n\nThis mail was sent by a program; please do not reply.",
    ),
}


def is_address(text: str) -> bool:
    """Whether it can stand in a header as it is: one plain address, nothing that a mail server could read otherwise."""
    return len(text) <= MAX_ADDRESS and _ADDRESS.fullmatch(text) is not None


def mail(letter: Letter, sender: str, sender_name: str, site: str, now: datetime) -> EmailMessage:
    """The mail for a letter; raises ValueError if its address is none."""
    if not is_address(letter.to):
        raise ValueError("no address")
    frame = FRAMES[letter.language]
    made = EmailMessage(policy=SMTP)
    made["From"] = Address(sender_name, addr_spec=sender)
    made["To"] = Address(addr_spec=letter.to)
    made["Subject"] = frame.subject
    made["Date"] = now
    made["Message-ID"] = f"<{letter.id}@{sender.rpartition('@')[2]}>"
    made["Auto-Submitted"] = "auto-generated"
    made.set_content(f"{letter.text}\n\n{frame.end.format(site=site)}\n", charset="utf-8", cte="base64")
    made["Content-Language"] = letter.language
    return made


class MailAdapter:
    """Sends by the mail server of `url`, `smtp[s]://[user:password@]host[:port]`; the password is percent-encoded."""

    def __init__(
        self, url: str, sender: str, sender_name: str, site: str, context: ssl.SSLContext | None = None
    ) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._is_tls = parts.scheme == "smtps"
        self._port = parts.port or (465 if self._is_tls else 587)
        self._user, self._password = unquote(parts.username or ""), unquote(parts.password or "")
        self._sender, self._sender_name, self._site = sender, sender_name, site
        self._context = context or ssl.create_default_context()
        self._open: smtplib.SMTP | None = None

    def send(self, letter: Letter, now: datetime) -> Report:
        """Hand one letter to the mail server."""
        try:
            made = mail(letter, self._sender, self._sender_name, self._site, now)
        except ValueError:
            return Report(Outcome.REFUSED, "address_invalid")
        try:
            self._connected().send_message(made, self._sender, [letter.to])
        except smtplib.SMTPRecipientsRefused as error:
            return self._refused(error.recipients[letter.to][0])
        except (smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as error:
            return self._refused(error.smtp_code)
        except smtplib.SMTPAuthenticationError:
            self._drop()
            return Report(Outcome.AGAIN, "login_refused", is_down=True)
        except smtplib.SMTPNotSupportedError:
            self._drop()
            return Report(Outcome.AGAIN, "no_starttls", is_down=True)
        except ssl.SSLError:
            self._drop()
            return Report(Outcome.AGAIN, "tls_failed", is_down=True)
        except (OSError, smtplib.SMTPException):
            self._drop()
            return Report(Outcome.AGAIN, "unreachable", is_down=True)
        return Report(Outcome.SENT)

    def close(self) -> None:
        """End the connection politely."""
        live, self._open = self._open, None
        if live is not None:
            try:
                live.quit()
            except (OSError, smtplib.SMTPException):
                live.close()

    def _connected(self) -> smtplib.SMTP:
        if self._open is None:
            if self._is_tls:
                live: smtplib.SMTP = smtplib.SMTP_SSL(self._host, self._port, timeout=PATIENCE_S, context=self._context)
            else:
                live = smtplib.SMTP(self._host, self._port, timeout=PATIENCE_S)
            self._open = live
            live.ehlo_or_helo_if_needed()
            if not self._is_tls and (live.has_extn("starttls") or not is_loopback(self._host)):
                live.starttls(context=self._context)
            if self._user:
                live.login(self._user, self._password)
        return self._open

    def _drop(self) -> None:
        live, self._open = self._open, None
        if live is not None:
            live.close()

    def _refused(self, code: int) -> Report:
        # smtplib has reset the conversation; the connection is as good as before.
        if 500 <= code < 600:
            return Report(Outcome.REFUSED, f"smtp_{code}")
        return Report(Outcome.AGAIN, f"smtp_{code}")

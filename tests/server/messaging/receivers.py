"""A mail server and an HTTP receiver, as small as they can be and real: sockets, bytes, TLS."""

from __future__ import annotations

import base64
import json
import ssl
import threading
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any, NamedTuple, Self


class _Serving:
    """A server that runs in a thread while the block lasts."""

    server: Any

    def __enter__(self) -> Self:
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    @property
    def port(self) -> int:
        found: int = self.server.server_address[1]
        return found


class MailServer(_Serving):
    """Takes mail. `nobody@` is refused for good, `busy@` for now. With `tls`: STARTTLS; `is_tls`: at once."""

    def __init__(self, tls: ssl.SSLContext | None = None, *, is_tls: bool = False, login: str = "") -> None:
        self.got: list[EmailMessage] = []
        self.raw: list[bytes] = []
        self.connections = 0
        outer = self

        class Talk(StreamRequestHandler):
            def handle(self) -> None:
                outer.connections += 1
                is_secret = is_tls
                if is_tls and tls is not None:
                    self._wrap()
                self._say("220 mail")
                while line := self.rfile.readline():
                    verb, _, rest = line.decode().strip().partition(" ")
                    match verb.upper():
                        case "EHLO":
                            more = [] if tls is None or is_secret else ["STARTTLS"]
                            self._list(["mail", *more, *(["AUTH PLAIN"] if login else [])])
                        case "STARTTLS":
                            self._say("220 go")
                            self._wrap()
                            is_secret = True
                        case "AUTH":
                            known = base64.b64encode(f"\0{login.replace(':', chr(0))}".encode()).decode()
                            self._say("235 in" if rest == f"PLAIN {known}" else "535 no")
                        case "RCPT":
                            self._say("550 no" if "nobody@" in rest else "450 later" if "busy@" in rest else "250 ok")
                        case "DATA":
                            self._say("354 go")
                            outer._take(self.rfile)
                            self._say("250 taken")
                        case "QUIT":
                            self._say("221 bye")
                            return
                        case _:
                            self._say("250 ok")

            def finish(self) -> None:
                super().finish()
                self.connection.close()

            def _wrap(self) -> None:
                assert tls is not None
                self.rfile.close()
                self.wfile.close()
                self.connection = tls.wrap_socket(self.connection, server_side=True)
                self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", 0)

            def _say(self, line: str) -> None:
                self.wfile.write(f"{line}\r\n".encode())

            def _list(self, lines: list[str]) -> None:
                for place, line in enumerate(lines):
                    self._say(f"250{' ' if place == len(lines) - 1 else '-'}{line}")

        self.server = ThreadingTCPServer(("127.0.0.1", 0), Talk)

    def _take(self, lines: Any) -> None:
        content = b""
        while (line := lines.readline()) not in (b".\r\n", b""):
            content += line
        self.raw.append(content)
        self.got.append(message_from_bytes(content, EmailMessage, policy=SMTP))


class Posted(NamedTuple):
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Receiver(_Serving):
    """Takes what is posted; `status`, `answer` and `location` are what it answers with."""

    def __init__(self) -> None:
        self.got: list[Posted] = []
        self.status, self.answer, self.location = 200, b"{}", ""
        outer = self

        class Talk(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.got.append(Posted(self.path, dict(self.headers), body))
                self.send_response(outer.status)
                if outer.location:
                    self.send_header("Location", outer.location)
                self.send_header("Content-Length", str(len(outer.answer)))
                self.end_headers()
                self.wfile.write(outer.answer)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Talk)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

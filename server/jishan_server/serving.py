"""The web application on its production server (waitress), with TLS where the address is not loopback.

waitress speaks no TLS, so a small front in the same process ends it: an asyncio server that passes bytes on to waitress
on loopback. The front notes which of its own ports stands for which client, so that logs and rate limits see the
client's address, and no header has to be believed.
"""

import asyncio
import contextlib
import signal
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import structlog
from waitress.server import create_server

from jishan_server.app import create_app
from jishan_server.assembly import assembled
from jishan_server.config import Config
from jishan_server.volunteering.importing import jobs

MAX_BODY_BYTES: Final = 8 * 1024 * 1024
"""waitress reads a body before the app sees it; the app's own limit is far smaller and answers in the API's words."""
CHUNK_BYTES: Final = 64 * 1024
HANDSHAKE_S: Final = 10
"""Who has not finished its handshake by then is let go."""

TURN_S: Final = 0.5
"""How long waitress sleeps with nothing to do; the end of serving waits no longer than this."""
DRAIN_S: Final = 5
"""How long answers under way may still take at the end."""

Wsgi = Callable[[dict[str, Any], Any], Iterable[bytes]]

log = structlog.get_logger(__name__)


@contextlib.contextmanager
def served(app: Wsgi, config: Config) -> Iterator[int]:
    """Serve `app` at the settings' address until the block ends; gives the port (the drawn one for port 0)."""
    with contextlib.ExitStack() as closing:
        if not config.http_tls:
            yield closing.enter_context(_waitress(app, config, config.http_host, config.http_port))
            return
        front = _Front(app, config)
        inner = closing.enter_context(_waitress(front.app, config, "127.0.0.1", 0))
        yield closing.enter_context(front.listening(inner))


def run(config: Config) -> None:
    """`jishan-server web`: serve until SIGTERM or SIGINT."""
    stopping = stop_signals()
    with assembled(config) as parts, served(create_app(parts), config) as port:
        jobs.resume(parts.engine, parts.writer)
        log.info("serving", host=config.http_host, port=port, tls=config.http_tls)
        stopping.wait()


def stop_signals() -> threading.Event:
    """An event that SIGTERM and SIGINT set; called in the main thread."""
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    return stopping


@contextlib.contextmanager
def _waitress(app: Wsgi, config: Config, host: str, port: int) -> Iterator[int]:
    proxy: dict[str, Any] = {}
    if config.http_trusted_proxy and not config.http_tls:
        proxy = {
            "trusted_proxy": config.http_trusted_proxy,
            "trusted_proxy_headers": "x-forwarded-for x-forwarded-proto x-forwarded-host",
            "clear_untrusted_proxy_headers": True,
        }
    sockets: dict[int, Any] = {}
    server = create_server(
        app,
        map=sockets,
        host=host,
        port=port,
        threads=config.http_threads,
        ident=None,
        max_request_body_size=MAX_BODY_BYTES,
        **proxy,
    )
    # A name such as localhost has several addresses, and a listener for each.
    listeners = [(server.effective_host, server.effective_port)] if hasattr(server, "effective_port") else []
    listeners = listeners or server.effective_listen
    stopping = threading.Event()

    def turn() -> None:
        server.asyncore.loop(timeout=TURN_S, map=sockets, use_poll=True, count=1)

    def work() -> None:
        while not stopping.is_set():
            turn()
        # What is being answered is answered; idle connections are not waited for.
        until_s = time.monotonic() + DRAIN_S
        while time.monotonic() < until_s and any(_is_busy(one) for one in sockets.values()):
            turn()
        server.task_dispatcher.shutdown()
        server.asyncore.close_all(sockets)

    thread = threading.Thread(target=work, name="http")
    thread.start()
    try:
        yield int(listeners[0][1])
    finally:
        stopping.set()
        thread.join()


def _is_busy(one: Any) -> bool:
    """Whether a socket of waitress is a connection with a request or an answer under way."""
    return bool(getattr(one, "requests", None) or getattr(one, "total_outbufs_len", 0))


class _Front:
    """Ends TLS, and tells the app who is at the other end of it."""

    def __init__(self, app: Wsgi, config: Config) -> None:
        self._app = app
        self._config = config
        self._clients: dict[str, str] = {}

    def app(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """The app, told the client's address instead of ours."""
        environ["wsgi.url_scheme"] = "https"
        environ["REMOTE_ADDR"] = self._clients.get(environ.get("REMOTE_PORT", ""), environ["REMOTE_ADDR"])
        return self._app(environ, start_response)

    @contextlib.contextmanager
    def listening(self, inner_port: int) -> Iterator[int]:
        """Listen until the block ends; gives the port."""
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, name="tls")
        thread.start()
        try:
            server = asyncio.run_coroutine_threadsafe(self._listen(inner_port), loop).result()
            try:
                yield server.sockets[0].getsockname()[1]
            finally:
                asyncio.run_coroutine_threadsafe(_end(server), loop).result()
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    async def _listen(self, inner_port: int) -> asyncio.Server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self._config.certificate_path, self._config.key_path)

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._pass_on(reader, writer, inner_port)

        return await asyncio.start_server(
            accept,
            self._config.http_host,
            self._config.http_port,
            ssl=context,
            ssl_handshake_timeout=HANDSHAKE_S,
        )

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, inner_port: int) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", inner_port)
        own_port = str(inner_writer.get_extra_info("sockname")[1])
        self._clients[own_port] = writer.get_extra_info("peername")[0]
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_copy(reader, inner_writer))
                both.create_task(_copy(inner_reader, writer))
        except* OSError:
            # One side went away in mid-word; so does the other.
            pass
        finally:
            del self._clients[own_port]
            writer.close()
            inner_writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(CHUNK_BYTES):
        writer.write(chunk)
        await writer.drain()
    # TLS knows no half-closed connection: the end of one direction ends both.
    writer.close()


async def _end(server: asyncio.Server) -> None:
    server.close()
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await server.wait_closed()

"""The screen as a page, for a browser on the machine itself: what is shown, what is pressed, sounds and pictures.

Nothing else may use it: the address is on this host, and a request that names another host is refused, because a page
on the Internet can have its own name lead here. Imported only where `kiosk_address` is set.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Set
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import segno
import structlog
from flask import Flask, Response, abort, jsonify, request, send_file
from flask.typing import ResponseReturnValue
from waitress.server import create_server

from jishan_agent.kiosk.booth import Booth
from jishan_agent.kiosk.voice import Voices

NEWS_S: Final = 10.0
"""How long a question for something newer waits: soon enough for a page to see that the agent is gone."""

THREADS: Final = 8
"""One browser asks for a screen, a press and the sounds of a sentence at once."""

MAX_BODY_BYTES: Final = 1_000
PICTURES: Final = (".png", ".jpg", ".jpeg", ".webp", ".svg")
POLICY: Final = "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"


def pictured(directory: Path) -> dict[str, Path]:
    """The pictures of goods, by product id: `pictures/<product id>.png` (or .jpg, .webp, .svg)."""
    folder = directory / "pictures"
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return {path.stem: path for path in found if path.suffix.lower() in PICTURES and path.is_file()}


def make_app(booth: Booth, voices: Voices, pictures: dict[str, Path], hosts: Set[str]) -> Flask:
    """The page's app; `hosts` are the names it answers to, with their port."""
    app = Flask("jishan_agent.kiosk", static_folder=str(Path(__file__).parent / "static"))
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES

    @app.before_request
    def only_from_here() -> None:
        if request.host not in hosts:
            abort(403)

    @app.after_request
    def guarded(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        return response

    @app.get("/")
    def page() -> ResponseReturnValue:
        return app.send_static_file("kiosk.html")

    @app.get("/screen")
    def screen() -> ResponseReturnValue:
        shown = booth.wait(request.args.get("after", 0, type=int), NEWS_S)
        response = jsonify(None if shown is None else dataclasses.asdict(shown))
        response.headers["Cache-Control"] = "no-store"
        return response

    @app.post("/act")
    def act() -> ResponseReturnValue:
        # JSON only: another page cannot send it here without this one's leave.
        body: Any = request.get_json()
        act, view = (body.get("act"), body.get("view")) if isinstance(body, dict) else (None, None)
        if not isinstance(act, str) or type(view) is not int:
            abort(400)
        booth.act(act, view)
        return "", 204

    @app.get("/sound/<any(zh, en):language>/<clip>.wav")
    def sound(language: Any, clip: str) -> ResponseReturnValue:
        path = voices.sound(language, clip, booth.name_of(clip, language))
        return abort(404) if path is None else send_file(path.resolve(), mimetype="audio/wav", max_age=0)

    @app.get("/code.svg")
    def code() -> ResponseReturnValue:
        address = booth.address
        if not address:
            abort(404)
        drawing = BytesIO()
        segno.make(address, error="m", micro=False).save(drawing, kind="svg", scale=8, border=4, light="white")
        response = Response(drawing.getvalue(), mimetype="image/svg+xml")
        response.headers["Cache-Control"] = "no-store"
        return response

    @app.get("/picture/<product_id>")
    def picture(product_id: str) -> ResponseReturnValue:
        path = pictures.get(product_id)
        return abort(404) if path is None else send_file(path.resolve(), max_age=0)

    return app


class Pages:
    """The page's server, on a thread of its own; a dead one does not stop the machine's vends."""

    def __init__(self, booth: Booth, voices: Voices, pictures: dict[str, Path], host: str, port: int) -> None:
        self._sockets: dict[int, Any] = {}
        names = (f"[{host}]" if ":" in host else host, "localhost", "127.0.0.1")
        hosts: set[str] = set()
        self._server = create_server(
            make_app(booth, voices, pictures, hosts),
            map=self._sockets,
            host=host,
            port=port,
            threads=THREADS,
            ident="",
        )
        self.port = int(self._server.effective_port)
        # The port is known once it is bound; nobody is answered before that.
        hosts.update(f"{name}:{self.port}" for name in names)
        self._stopping = threading.Event()
        self._log = structlog.get_logger("jishan_agent.kiosk")
        self._thread = threading.Thread(target=self._run, name="kiosk", daemon=True)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def stop(self) -> None:
        """End the server and its threads."""
        self._stopping.set()
        self._thread.join(NEWS_S)

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._server.asyncore.loop(timeout=0.2, map=self._sockets, use_poll=True, count=1)
        except Exception:
            self._log.exception("kiosk_failed")
        finally:
            self._server.task_dispatcher.shutdown(timeout=1)
            self._server.asyncore.close_all(self._sockets)

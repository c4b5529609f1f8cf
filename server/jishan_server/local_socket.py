"""How a command on the same host has the running process do an operation, and how it writes when none runs.

SQLite takes one writing process. Whoever writes holds an exclusive lock on a file beside the database; a command that
does not get it asks the holder over a UNIX socket, mode 0600 in a directory of mode 0700. One operation for each
connection, one JSON line each way:

    {"id": "...", "kind": "create_staff", "body": {...}}
    {"value": {...}}  or  {"error": {"code": "...", "fields": {...}}}

The body is the operation's dataclass as JSON. Who may open the socket may do everything, as on the database file.
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import socket
import threading
import typing
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Any, Final

import structlog

from jishan_server.errors import DomainError
from jishan_server.writer import Operation

MAX_LINE_BYTES: Final = 1024 * 1024
PATIENCE_S: Final = 30
"""Longer than any commit takes; a peer that says nothing is left alone."""

log = structlog.get_logger(__name__)

Call = Callable[[Operation], Any]


class Busy(Exception):
    """Another process holds the lock."""


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file; raises Busy at once if another process does. The kernel frees it when the process ends."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(path, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Busy(f"{path} is locked by another process") from error
        yield


@contextlib.contextmanager
def serving(path: Path, call: Call, bodies: Mapping[str, type]) -> Iterator[None]:
    """Serve operations at `path` from a thread until the block ends. The caller holds the lock."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    listener.listen()
    thread = threading.Thread(target=_accept, args=(listener, call, bodies), name="local-socket", daemon=True)
    thread.start()
    try:
        yield
    finally:
        # A shut listener ends accept(); closing alone would leave the thread waiting.
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(PATIENCE_S)
        path.unlink(missing_ok=True)


def ask(path: Path, operation: Operation) -> Any:
    """Have the process behind `path` do `operation`; raises its DomainError, or OSError when nobody answers."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        peer.settimeout(PATIENCE_S)
        peer.connect(str(path))
        body = dataclasses.asdict(operation.body)
        peer.sendall(json.dumps({"id": operation.id, "kind": operation.kind, "body": body}).encode() + b"\n")
        answer = json.loads(_line(peer))
    if "error" in answer:
        raise DomainError(answer["error"]["code"], **answer["error"]["fields"])
    return answer["value"]


def _accept(listener: socket.socket, call: Call, bodies: Mapping[str, type]) -> None:
    while True:
        try:
            peer, _ = listener.accept()
        except OSError:
            return
        with peer:
            peer.settimeout(PATIENCE_S)
            try:
                peer.sendall(json.dumps(_answer(_line(peer), call, bodies)).encode() + b"\n")
            except OSError as error:
                log.warning("local_peer_left", error=str(error))


def _answer(line: bytes, call: Call, bodies: Mapping[str, type]) -> dict[str, Any]:
    try:
        asked = json.loads(line)
        kind = asked["kind"]
        return {"value": call(Operation(asked["id"], kind, built(bodies[kind], asked["body"])))}
    except DomainError as error:
        return {"error": {"code": error.code, "fields": dict(error.fields)}}
    except (ValueError, KeyError, TypeError) as error:
        log.warning("local_request_malformed", error=repr(error))
        return {"error": {"code": "bad_request", "fields": {}}}


def _line(peer: socket.socket) -> bytes:
    received = bytearray()
    while not received.endswith(b"\n"):
        chunk = peer.recv(65536)
        if not chunk or len(received) > MAX_LINE_BYTES:
            raise ConnectionError("the other side left in mid-line")
        received += chunk
    return bytes(received)


def built(kind: Any, value: Any) -> Any:
    """The dataclass (with enums, tuples and optional parts) that `dataclasses.asdict` and JSON made flat."""
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        types = typing.get_type_hints(kind)
        return kind(**{name: built(types[name], inner) for name, inner in value.items()})
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(value)
    if typing.get_origin(kind) is tuple:
        arguments = typing.get_args(kind)
        inner = [arguments[0]] * len(value) if arguments[-1] is ... else arguments
        return tuple(built(one, part) for one, part in zip(inner, value, strict=True))
    if isinstance(kind, UnionType) and value is not None:
        return built(next(one for one in typing.get_args(kind) if one is not type(None)), value)
    return value

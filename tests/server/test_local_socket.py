"""Commands beside a running server: one of them writes, the other asks."""

from __future__ import annotations

import socket
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))

from office import Office, opened

from jishan_server import local_socket
from jishan_server.errors import DomainError
from jishan_server.organizations.roles import SYSTEM, Role
from jishan_server.people.residents import CreateResident
from jishan_server.people.staff import CreateStaff, Grant
from jishan_server.writer import Operation


@pytest.fixture
def office(sqlite_template: Path, tmp_path: Path) -> Iterator[Office]:
    with opened(sqlite_template, tmp_path) as made:
        yield made


def test_a_command_asks_the_running_process(office: Office) -> None:
    path = office.parts.config.socket_path
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    operation = Operation("op-1", "create_resident", CreateResident(SYSTEM, "jiangpan", "𠮷🌸"))
    made = local_socket.ask(path, operation)
    assert made["name"] == "𠮷🌸"
    assert local_socket.ask(path, operation) == made
    staff = CreateStaff(SYSTEM, "by.socket", "x", "hash", (Grant(Role.APPROVER, "jiangpan"),))
    assert local_socket.ask(path, Operation("op-2", "create_staff", staff))["roles"] == [
        {"role": "approver", "organization_id": "jiangpan"}
    ]


def test_a_refusal_comes_back_as_the_same_refusal(office: Office) -> None:
    path = office.parts.config.socket_path
    with pytest.raises(DomainError) as caught:
        local_socket.ask(path, Operation("op-1", "create_resident", CreateResident(SYSTEM, "nowhere", "x")))
    assert caught.value == DomainError("estate_unknown", id="nowhere")


@pytest.mark.parametrize("line", [b"\n", b"nonsense\n", b"[]\n", b'{"id": "x", "kind": "nothing", "body": {}}\n'])
def test_nonsense_is_refused_and_the_next_command_served(office: Office, line: bytes) -> None:
    path = office.parts.config.socket_path
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(str(path))
        peer.sendall(line)
        assert b"bad_request" in peer.recv(1000)
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(str(path))
    local_socket.ask(path, Operation("op-1", "create_resident", CreateResident(SYSTEM, "jiangpan", "x")))


def test_a_second_writing_process_is_refused(office: Office) -> None:
    lock = office.parts.config.lock_path
    with pytest.raises(local_socket.Busy), local_socket.exclusive(lock):
        pass


def test_the_socket_is_gone_after_the_end(sqlite_template: Path, tmp_path: Path) -> None:
    with opened(sqlite_template, tmp_path) as office:
        path = office.parts.config.socket_path
    assert not path.exists()
    with local_socket.exclusive(office.parts.config.lock_path):
        pass

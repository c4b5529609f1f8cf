"""Who may say and hear what at the broker: the same rules for the embedded broker and for Mosquitto.

A machine is a user of its own name; it may publish on its own `u` topics, and hear its own `d` topics. The gateway is a
user of its own. The broker is trusted for nothing all the same: this only keeps strangers from wasting its time.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, select

from jishan_protocol import topics
from jishan_server.vending import tables
from jishan_server.vending.keys import Keys

GATEWAY_USER: Final = "JishanGateway"
"""Never a machine's id: those have no capitals."""

MOSQUITTO_ROUNDS: Final = 101
"""Rounds of PBKDF2 in Mosquitto's password file: its default; the passwords are 256 random bits."""


def passwords(connection: Connection, keys: Keys) -> dict[str, str]:
    """Every enrolled machine's broker password, by user name."""
    machines = tables.machines.c
    query = select(machines.id, machines.key_id).where(machines.key_id > 0).order_by(machines.id)
    return {id: keys.mqtt_password(id, key_id) for id, key_id in connection.execute(query)}


def may(user: str, topic: str, is_publishing: bool) -> bool:
    """Whether a user may publish on a topic, or subscribe to a filter."""
    if user == GATEWAY_USER:
        return True
    parts = topic.split("/")
    if len(parts) != 6 or parts[:2] != ["jishan", "v1"] or parts[3] != user:
        return False
    return (parts[4], parts[5]) in _MAY_SAY if is_publishing else parts[4] == "d"


_MAY_SAY: Final = frozenset(("u", kind) for kind in topics.UP_KINDS)


def write_mosquitto_files(directory: Path, connection: Connection, keys: Keys) -> None:
    """Write `passwords` and `acl` for Mosquitto into a directory, mode 0600; run again after a machine has enrolled."""
    users = {GATEWAY_USER: keys.mqtt_password(GATEWAY_USER, 0)} | passwords(connection, keys)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, content in (
        ("passwords", mosquitto_password_file(users.items(), keys.secret)),
        ("acl", mosquitto_acl()),
    ):
        # Mosquitto, told to reload, must never see half a file.
        new = directory / f"{name}.new"
        with open(new, "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(content)
        new.replace(directory / name)


def mosquitto_acl() -> str:
    """Mosquitto's access list."""
    return (
        f"user {GATEWAY_USER}\n"
        "topic read jishan/v1/+/+/u/+\n"
        "topic write jishan/v1/+/+/d/+\n"
        "\n"
        "pattern write jishan/v1/+/%u/u/+\n"
        "pattern read jishan/v1/+/%u/d/+\n"
    )


def mosquitto_password_file(users: Iterable[tuple[str, str]], salt_of: bytes) -> str:
    """Mosquitto's password file (`$7$`, PBKDF2 with SHA-512); derived salts: the same users give the same file."""
    lines = []
    for user, password in users:
        salt = hmac.digest(salt_of, user.encode(), "sha256")[:12]
        digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, MOSQUITTO_ROUNDS)
        encoded = (base64.b64encode(salt).decode(), base64.b64encode(digest).decode())
        lines.append(f"{user}:$7${MOSQUITTO_ROUNDS}${encoded[0]}${encoded[1]}\n")
    return "".join(lines)

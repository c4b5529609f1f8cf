"""What makes a change of the ledger's past seen: a chain of batch digests for each writer, and a tree for each day.

A batch's digest is SHA-256 over its header line, the digest before it (32 zero bytes for the first) and the hashes of
its rows in order. A closed day's root is the Merkle tree over the row hashes of its batches in the order (writer,
number, position): a leaf is SHA-256(00 ‖ row hash), a node SHA-256(01 ‖ left ‖ right), and a node without a sibling
moves up as it is. Pure.
Source: decisions, "The ledger".
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

FIRST: Final = bytes(32)
SCHEME_ZONE: Final = ZoneInfo("Asia/Shanghai")


@dataclass(frozen=True, slots=True)
class Head:
    """The newest batch of a writer's chain; the newest instant that the ledger goes by (0 before the first batch) and
    whether the clock is doubted since (`ledger.clock`); and the newest closed day ("" before the first).
    """

    number: int = 0
    digest: bytes = FIRST
    known_ms: int = 0
    is_doubted: bool = False
    closed_day: str = ""


def day_of(now: datetime, zone: tzinfo = SCHEME_ZONE) -> str:
    """The scheme's local date, as 2026-01-31."""
    return now.astimezone(zone).date().isoformat()


def seal(
    writer: int, number: int, serial: int, day: str, recorded_ms: int, previous: bytes, row_hashes: Sequence[bytes]
) -> bytes:
    """The digest of a batch."""
    header = f"batch {writer} {number} {serial} {day} {recorded_ms} {len(row_hashes)}\n".encode()
    return hashlib.sha256(b"".join((header, previous, *row_hashes))).digest()


def merkle_root(row_hashes: Iterable[bytes]) -> bytes:
    """The root over the rows of a day; SHA-256 of nothing for an empty day."""
    level = [hashlib.sha256(b"\x00" + row_hash).digest() for row_hash in row_hashes]
    if not level:
        return hashlib.sha256().digest()
    while len(level) > 1:
        level = _above(level)
    return level[0]


def merkle_proof(row_hashes: Sequence[bytes], position: int) -> list[tuple[str, bytes]]:
    """The siblings from a row's leaf up to the root, each with its side: what a receipt needs beside its row."""
    level = [hashlib.sha256(b"\x00" + row_hash).digest() for row_hash in row_hashes]
    proof: list[tuple[str, bytes]] = []
    while len(level) > 1:
        sibling = position ^ 1
        if sibling < len(level):
            proof.append(("left" if sibling < position else "right", level[sibling]))
        level, position = _above(level), position // 2
    return proof


def root_from(row_hash: bytes, proof: Sequence[tuple[str, bytes]]) -> bytes:
    """The root that a row and its proof lead to."""
    node = hashlib.sha256(b"\x00" + row_hash).digest()
    for side, sibling in proof:
        node = hashlib.sha256(b"\x01" + (sibling + node if side == "left" else node + sibling)).digest()
    return node


def _above(level: Sequence[bytes]) -> list[bytes]:
    pairs = [
        hashlib.sha256(b"\x01" + left + right).digest() for left, right in zip(level[::2], level[1::2], strict=False)
    ]
    return pairs + list(level[len(pairs) * 2 :])

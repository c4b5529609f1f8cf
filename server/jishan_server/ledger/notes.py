"""The words that people write about movements of points, kept apart from the rows.

Rows hold codes and ids; a row that belongs to words holds the hash of their note, and is hashed with it. The hash is
salted, so that nobody finds short words by trying: when words and salt are forgotten, what is left says nothing about
anybody, and every row is still what it was. A note is written once, in the transaction of its row, and never changed.
Source: decisions, "The ledger".
"""

import hashlib
from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from sqlalchemy import Connection, insert, select, update

from jishan_server.ledger import tables

# As hex digits: 128 bits, which nobody tries out.
MIN_SALT: Final = 32
MAX_HASHES: Final = 500


class Note(NamedTuple):
    """Words about a resident, with their salt: random hex digits."""

    id: str
    resident_id: str
    words: str
    salt: str


def hash_of(words: str, salt: str) -> str:
    """64 hex digits: SHA-256 over the salt, U+001F and the words."""
    return hashlib.sha256(f"{salt}\x1f{words}".encode()).hexdigest()


def write(connection: Connection, id: str, resident_id: str, words: str, salt: str) -> str:
    """Keep words about a resident, and give the hash for the row that they belong to. `salt`: random hex digits."""
    (hash,) = write_all(connection, [Note(id, resident_id, words, salt)])
    return hash


def write_all(connection: Connection, written: Sequence[Note]) -> list[str]:
    """Keep many notes in one statement; the hash of each, in order."""
    assert all(len(one.salt) >= MIN_SALT for one in written), "a salt that can be guessed protects nobody"
    rows = [one._asdict() | {"hash": hash_of(one.words, one.salt)} for one in written]
    if rows:
        connection.execute(insert(tables.notes), rows)
    return [row["hash"] for row in rows]


def salt_for(salt: str, id: str) -> str:
    """The salt of one of many notes that one operation writes: what it gives away of `salt` or of the others is
    nothing, and `salt` itself is not kept.
    """
    return hash_of(id, salt)[:MIN_SALT]


def read(connection: Connection, hashes: Collection[str]) -> dict[str, str]:
    """The words behind hashes; those that are forgotten are left out."""
    n = tables.notes.c
    asked = sorted(set(hashes))
    found: dict[str, str] = {}
    for start in range(0, len(asked), MAX_HASHES):
        query = select(n.hash, n.words).where(n.hash.in_(asked[start : start + MAX_HASHES]), n.words.is_not(None))
        found |= dict(connection.execute(query).all())
    return found


def forget(connection: Connection, resident_id: str) -> None:
    """Forget all words about a resident, and their salts, for good."""
    n = tables.notes
    connection.execute(update(n).where(n.c.resident_id == resident_id).values(words=None, salt=None))

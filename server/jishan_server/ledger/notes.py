"""The words that people write about movements of points, kept apart from the rows.

Rows hold codes and ids; a row that belongs to words holds the hash of their note, and is hashed with it. The hash is
salted, so that nobody finds short words by trying: when words and salt are forgotten, what is left says nothing about
anybody, and every row is still what it was. A note is written once, in the transaction of its row, and never changed.
Source: decisions, "The ledger".
"""

import hashlib
from collections.abc import Collection
from typing import Final

from sqlalchemy import Connection, insert, select, update

from jishan_server.ledger import tables

# As hex digits: 128 bits, which nobody tries out.
MIN_SALT: Final = 32
MAX_HASHES: Final = 500


def hash_of(words: str, salt: str) -> str:
    """64 hex digits: SHA-256 over the salt, U+001F and the words."""
    return hashlib.sha256(f"{salt}\x1f{words}".encode()).hexdigest()


def write(connection: Connection, id: str, resident_id: str, words: str, salt: str) -> str:
    """Keep words about a resident, and give the hash for the row that they belong to. `salt`: random hex digits."""
    assert len(salt) >= MIN_SALT, "a salt that can be guessed protects nobody"
    hash = hash_of(words, salt)
    connection.execute(insert(tables.notes).values(id=id, resident_id=resident_id, salt=salt, words=words, hash=hash))
    return hash


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

"""The rows of a file as they are kept until they are booked: in pieces, packed, and sealed under the server's key.

Cells hold names, phones and ID numbers; the database alone does not give them away. Each import has a key of its own
and each piece its number as nonce; a piece is sealed once and never changed.
"""

import json
import zlib
from collections.abc import Sequence
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from jishan_server.people.hashing import Hashing
from jishan_server.volunteering.importing.rows import Row

NONCE_BYTES: Final = 12
PACKING: Final = 6


def seal(hashing: Hashing, import_id: str, number: int, rows: Sequence[Row]) -> bytes:
    """A piece of a file, sealed."""
    plain = json.dumps([[row.number, list(row.cells)] for row in rows], ensure_ascii=False).encode(errors="replace")
    return _cipher(hashing, import_id).encrypt(number.to_bytes(NONCE_BYTES), zlib.compress(plain, PACKING), None)


def unseal(hashing: Hashing, import_id: str, number: int, sealed: bytes) -> list[Row]:
    """The rows of a piece."""
    packed = _cipher(hashing, import_id).decrypt(number.to_bytes(NONCE_BYTES), sealed, None)
    return [Row(row, cells) for row, cells in json.loads(zlib.decompress(packed))]


def _cipher(hashing: Hashing, import_id: str) -> ChaCha20Poly1305:
    return ChaCha20Poly1305(hashing.drawn("import", import_id))

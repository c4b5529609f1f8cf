"""Backups: everything that a server is, in one file, taken while it runs; and a server made from it again.

The file is a gzipped tar of one `tables/<name>.jsonl` for each table (first its columns, then a line for each row), of
the secret and certificates in `files/`, and of `manifest.json`. All rows are of one moment: the snapshot of a reading
transaction (PostgreSQL: REPEATABLE READ). Rows are JSON, bytes in base64, so that a backup of SQLite may be restored
into PostgreSQL and the other way round. The manifest has the SHA-256 and the number of rows of each member, and the
revision of the schema: rows are put in at that revision, and the schema is brought up afterwards.
A restored server's ledger has a new name, so machines catch up before they get approvals (decisions, "The link").
"""

import base64
import gzip
import hashlib
import io
import itertools
import json
import os
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final

from sqlalchemy import Connection, Engine, LargeBinary, MetaData, Table, func, insert, select

from jishan_server.config import Config
from jishan_server.db import UnknownRevision, connect_for_writing, upgrade
from jishan_server.instants import iso
from jishan_server.ledger.tables import batch_serial
from jishan_server.vending import machines

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
REVISIONS: Final = "alembic_version"
ROWS_AT_ONCE: Final = 1_000
"""Rows that are read or written by one statement: neither the file nor a table is ever whole in memory."""
LAST: Final = ("days",)
"""A closed day takes no more batches, so the days come after what they close."""


class BackupError(Exception):
    """A backup cannot be taken from or restored into what was named; nothing was changed."""


def back_up(engine: Engine, config: Config, path: Path, now: datetime) -> dict[str, Any]:
    """Write a backup to `path`, readable by its owner only, and give its manifest. Raises BackupError if it exists."""
    if path.exists():
        raise BackupError(f"{path} exists already")
    members: dict[str, dict[str, Any]] = {}
    # Beside its place, and moved there when it is whole.
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".backup-") as folder:
        made = Path(folder) / "backup"
        with open(made, "xb", opener=_owner_only) as file:
            with (
                gzip.GzipFile(fileobj=file, mode="wb", mtime=0) as packed,
                tarfile.open(fileobj=packed, mode="w") as tar,
            ):
                with engine.connect() as connection:
                    if connection.dialect.name == "postgresql":
                        connection = connection.execution_options(isolation_level="REPEATABLE READ")
                    tables = _tables(connection)
                    revision = connection.execute(select(tables[REVISIONS])).scalar_one()
                    for table in _in_order(tables):
                        rows = Path(folder) / "rows"
                        count = _write_rows(connection, table, rows)
                        members[f"tables/{table.name}.jsonl"] = {"rows": count} | _add(
                            tar, f"tables/{table.name}.jsonl", rows
                        )
                for kept in _files(config):
                    name = f"files/{kept.relative_to(config.data_dir).as_posix()}"
                    members[name] = _add(tar, name, kept)
                manifest = {"format": FORMAT, "made_at": iso(now), "revision": revision, "members": members}
                words = json.dumps(manifest, indent=1).encode()
                head = tarfile.TarInfo(MANIFEST)
                head.size = len(words)
                tar.addfile(head, io.BytesIO(words))
            file.flush()
            os.fsync(file.fileno())
        made.rename(path)
    return manifest


def restore(path: Path, engine: Engine, config: Config, ledger_id: str, now: datetime) -> dict[str, Any]:
    """Make a server from a backup, in an empty database and a data directory without a secret; gives the manifest.

    `ledger_id` names the new ledger. Raises BackupError before anything is changed if the file is damaged or newer than
    this program, or the place is taken.
    """
    with tempfile.TemporaryDirectory(dir=config.data_dir, prefix=".restore-") as folder:
        manifest = _unpack(path, Path(folder))
        for name in manifest["members"]:
            if name.startswith("files/") and (config.data_dir / name.removeprefix("files/")).exists():
                raise BackupError(f"{config.data_dir / name.removeprefix('files/')} exists already")
        with engine.connect() as connection:
            if _tables(connection):
                raise BackupError("the database is not empty")
        try:
            upgrade(engine, manifest["revision"])
        except UnknownRevision as error:
            raise BackupError(f"{path} was made by a newer program: {error}") from error
        with connect_for_writing(engine) as connection, connection.begin():
            tables = _tables(connection)
            for table in _in_order(tables):
                _read_rows(connection, table, Path(folder) / "tables" / f"{table.name}.jsonl")
            _continue_numbers(connection, tables)
        upgrade(engine)
        with connect_for_writing(engine) as connection, connection.begin():
            machines.set_identity(connection, ledger_id, now)
        # Last, because nothing starts without them.
        for kept in sorted((Path(folder) / "files").rglob("*")):
            place = config.data_dir / kept.relative_to(Path(folder) / "files")
            if kept.is_dir():
                place.mkdir(mode=0o700, exist_ok=True)
            else:
                kept.rename(place)
    return manifest


def _owner_only(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _files(config: Config) -> list[Path]:
    """The secret and the certificates: without them machines must enrol anew, and no card is known."""
    return [config.secret_path, *sorted(one for one in config.pki_dir.rglob("*") if one.is_file())]


def _tables(connection: Connection) -> Mapping[str, Table]:
    """The tables as the database has them, whatever its revision."""
    found = MetaData()
    found.reflect(connection)
    return found.tables


def _in_order(tables: Mapping[str, Table]) -> list[Table]:
    """What is referred to before what refers to it."""
    metadata = next(iter(tables.values())).metadata
    return sorted(
        (one for one in metadata.sorted_tables if one.name != REVISIONS), key=lambda table: table.name in LAST
    )


def _write_rows(connection: Connection, table: Table, path: Path) -> int:
    binary = [isinstance(column.type, LargeBinary) for column in table.columns]
    count = 0
    with open(path, "w", encoding="utf-8") as file:
        file.write(json.dumps([column.name for column in table.columns]) + "\n")
        query = select(table).order_by(*table.primary_key).execution_options(yield_per=ROWS_AT_ONCE)
        for row in connection.execute(query):
            values = [
                base64.b64encode(value).decode() if is_binary and value is not None else value
                for value, is_binary in zip(row, binary, strict=True)
            ]
            file.write(json.dumps(values, ensure_ascii=False) + "\n")
            count += 1
    return count


def _read_rows(connection: Connection, table: Table, path: Path) -> None:
    if not path.exists():
        return
    binary = {column.name for column in table.columns if isinstance(column.type, LargeBinary)}
    own = [(key.parent.name, key.column.name) for key in table.foreign_keys if key.column.table is table]
    with open(path, encoding="utf-8") as file:
        names = json.loads(file.readline())
        rows: Iterator[dict[str, Any]] = (
            {
                name: base64.b64decode(value) if name in binary and value is not None else value
                for name, value in zip(names, json.loads(line), strict=True)
            }
            for line in file
        )
        if own:
            rows = _parents_first(list(rows), own)
        while batch := list(itertools.islice(rows, ROWS_AT_ONCE)):
            connection.execute(insert(table), batch)


def _parents_first(rows: list[dict[str, Any]], own: Sequence[tuple[str, str]]) -> Iterator[dict[str, Any]]:
    """Rows of a table that refers to itself by `own` (column, column referred to): what is referred to comes first."""
    there: set[tuple[str, Any]] = set()
    while rows:
        waiting = []
        for row in rows:
            if all(row[name] is None or row[name] == row[other] or (other, row[name]) in there for name, other in own):
                there.update((other, row[other]) for _, other in own)
                yield row
            else:
                waiting.append(row)
        if len(waiting) == len(rows):
            raise BackupError("rows of the backup refer to rows that are not in it")
        rows = waiting


def _continue_numbers(connection: Connection, tables: Mapping[str, Table]) -> None:
    """PostgreSQL's sequences go on after the rows that were put in; SQLite looks at the rows itself."""
    if connection.dialect.name != "postgresql":
        return
    for table in tables.values():
        for column in table.primary_key:
            owned = func.pg_get_serial_sequence(table.name, column.name)
            last = select(func.max(column)).scalar_subquery()
            if connection.scalar(select(owned)) is not None:
                connection.execute(select(func.setval(owned, func.coalesce(last, 1), last.is_not(None))))
    newest = connection.scalar(select(func.max(tables["batches"].c.serial)))
    if newest:
        connection.execute(select(func.setval(batch_serial.name, newest)))


def _add(tar: tarfile.TarFile, name: str, path: Path) -> dict[str, Any]:
    head = tarfile.TarInfo(name)
    head.size = path.stat().st_size
    head.mode = 0o600
    with open(path, "rb") as file:
        tar.addfile(head, file)
    return {"sha256": _sha256(path)}


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unpack(path: Path, folder: Path) -> dict[str, Any]:
    """Lay a backup's members below `folder`, each proved; raises BackupError."""
    try:
        with tarfile.open(path, mode="r:gz") as tar:
            for member in _plain_files(tar):
                place = folder / member.name
                place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                source = tar.extractfile(member)
                assert source is not None
                with open(place, "xb", opener=_owner_only) as file:
                    _copy(source, file)
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_bytes())
        if manifest["format"] != FORMAT:
            raise BackupError(f"{path} has format {manifest['format']}; this program reads {FORMAT}")
        for name, said in manifest["members"].items():
            if _sha256(folder / name) != said["sha256"]:
                raise BackupError(f"{path} is damaged: {name} is not as it was written")
    except (OSError, EOFError, tarfile.TarError, ValueError, KeyError) as error:
        raise BackupError(f"{path} is no backup, or is damaged: {error}") from error
    return manifest


def _plain_files(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    for member in tar:
        name = PurePosixPath(member.name)
        if not member.isfile() or name.is_absolute() or ".." in name.parts:
            raise ValueError(f"{member.name} has no place in a backup")
        yield member


def _copy(source: IO[bytes], target: IO[bytes]) -> None:
    while chunk := source.read(1 << 20):
        target.write(chunk)

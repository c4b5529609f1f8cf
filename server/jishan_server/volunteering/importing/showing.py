"""Imports as people look at them: the preview, what is wrong with which row, the file that comes back, a template."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import Connection, and_, or_, select

from jishan_server.db import from_ms, to_ms
from jishan_server.instants import iso
from jishan_server.organizations.roles import Permission, scope
from jishan_server.people.hashing import Hashing
from jishan_server.sheets import writing
from jishan_server.sheets.headers import letter
from jishan_server.sheets.problems import Language, Problem
from jishan_server.volunteering.import_tables import (
    import_candidates,
    import_refusals,
    imports,
)
from jishan_server.volunteering.importing.keeping import (
    header_of,
    import_of,
    kind_of,
    permit_looking,
    pieces_of,
    problems_of,
)


def view(connection: Connection, actor: str, import_id: str) -> dict[str, Any]:
    """One import for `actor`; refusals: import_unknown, forbidden."""
    found = import_of(connection, import_id)
    permit_looking(connection, actor, found)
    earlier = connection.scalar(
        select(imports.c.id)
        .where(
            imports.c.file_hash == found["file_hash"],
            imports.c.kind == found["kind"],
            imports.c.organization_id == found["organization_id"],
            imports.c.id != import_id,
            imports.c.state.in_(("booking", "booked")),
        )
        .limit(1)
    )
    return _view(found) | {"same_file_as": earlier}


def page(
    connection: Connection, actor: str, after: tuple[int, str] | None, limit: int
) -> tuple[list[dict[str, Any]], tuple[int, str] | None]:
    """Imports in one's scope, newest first, and where the next page starts; refusal: forbidden."""
    c = imports.c
    query = select(imports).where(c.organization_id.in_(scope(connection, actor, Permission.IMPORT)))
    if after is not None:
        at, id = from_ms(after[0]), after[1]
        query = query.where(or_(c.sent_at < at, and_(c.sent_at == at, c.id < id)))
    rows = connection.execute(query.order_by(c.sent_at.desc(), c.id.desc()).limit(limit + 1)).mappings().all()
    shown = [dict(row) for row in rows[:limit]]
    last = (to_ms(shown[-1]["sent_at"]), shown[-1]["id"]) if len(rows) > limit else None
    return [_view(row) | {"same_file_as": None} for row in shown], last


def problems(
    connection: Connection, actor: str, import_id: str, after: int, limit: int
) -> tuple[list[dict[str, Any]], int | None]:
    """What is wrong with rows of an import, in the order of rows, and where the next page starts."""
    found = import_of(connection, import_id)
    permit_looking(connection, actor, found)
    noted = problems_of(connection, import_id)
    shown = noted[after : after + limit]
    header = header_of(found["header"])
    letters = {name: letter(place) for place, name in reversed(list(enumerate(header.names)))}
    views = [
        {
            "row": one.row,
            "column": one.column,
            "letter": letters.get(one.column, ""),
            "code": one.code,
            "fields": {name: str(value) for name, value in one.fields.items()},
            "reason_zh": one.reason("zh"),
            "reason_en": one.reason("en"),
            "instead_zh": one.instead("zh"),
            "instead_en": one.instead("en"),
        }
        for one in shown
    ]
    return views, after + limit if len(noted) > after + limit else None


def about(connection: Connection, resident_id: str) -> list[dict[str, Any]]:
    """Refused rows that may have been about a resident, newest file first: what answers "why did I get nothing?".

    The caller has permitted it.
    """
    a, r = import_candidates.c, import_refusals.c
    rows = connection.execute(
        select(imports.c.id, imports.c.kind, imports.c.file_name, r.row, r.column_name, r.code, r.fields, r.recorded_at)
        .join(import_refusals, (r.import_id == a.import_id) & (r.row == a.row))
        .join(imports, imports.c.id == a.import_id)
        .where(a.resident_id == resident_id)
        .order_by(r.number.desc())
    )
    found = []
    for id, kind, file_name, row, column, code, fields, recorded_at in rows:
        problem = Problem(row, column, code, json.loads(fields))
        found.append(
            {"import_id": id, "kind": kind, "file_name": file_name, "row": row, "column": column, "code": code}
            | {"reason_zh": problem.reason("zh"), "reason_en": problem.reason("en")}
            | {"recorded_at": iso(recorded_at)}
        )
    return found


def error_file(
    connection: Connection, actor: str, import_id: str, hashing: Hashing, language: Language
) -> tuple[str, writing.Format, bytes]:
    """The refused rows as they were sent, with reason and remedy behind each: (name, format, bytes).

    Refusals: import_unknown, forbidden, import_forgotten.
    """
    found = import_of(connection, import_id)
    permit_looking(connection, actor, found)
    by_row: dict[int, list[Problem]] = {}
    for problem in problems_of(connection, import_id):
        by_row.setdefault(problem.row, []).append(problem)
    header = header_of(found["header"])
    more = ("错误原因", "修改建议") if language == "zh" else ("What is wrong", "What to write instead")
    width = len(header.names)

    def rows() -> Iterator[writing.Row]:
        for _, piece in pieces_of(connection, found, hashing):
            for row in piece:
                if of_row := by_row.get(row.number):
                    cells = [*row.cells, *[None] * (width - len(row.cells))][:width]
                    yield [
                        *cells,
                        " ".join(_named(one, language) for one in of_row),
                        " ".join(dict.fromkeys(one.instead(language) for one in of_row)),
                    ]

    written = json.loads(found["written"])
    name = found["file_name"].rpartition(".")[0] or found["file_name"]
    titles = [*header.names, *more]
    if written["format"] == "csv":
        encoding = "utf-8-sig" if written["encoding"] == "utf-8" else written["encoding"]
        return f"{name}-errors.csv", "csv", writing.write_csv(titles, rows(), encoding, written["delimiter"])
    return f"{name}-errors.xlsx", "xlsx", writing.write_xlsx(titles, rows(), written["sheet"] or "Sheet1")


def _named(problem: Problem, language: Language) -> str:
    colon = "\uff1a" if language == "zh" else ": "
    return (problem.column and problem.column + colon) + problem.reason(language)


def template(kind_name: str, format: writing.Format) -> bytes:
    """An empty file of a kind: its header, an example row that is left out when it is imported, and notes."""
    kind = kind_of(kind_name)
    header = [one.zh for one in kind.fields]
    notes: list[writing.Row] = [["列", "必填", "说明", "也可以写成"]]
    notes += [[one.zh, "是" if one.is_required else "", one.note, "、".join(one.synonyms)] for one in kind.fields]
    return writing.write(format, header, [[one.example for one in kind.fields]], kind.title, notes=notes)


def _view(found: Mapping[str, Any]) -> dict[str, Any]:
    header = header_of(found["header"])
    written = json.loads(found["written"])
    shown = (
        "id",
        "kind",
        "organization_id",
        "file_name",
        "year",
        "half_day_minutes",
        "state",
        "row_count",
        "new_count",
        "known_count",
        "bad_count",
        "booked_count",
        "kept_count",
        "sent_by",
        "booked_by",
        "undone_by",
        "undo_reason",
    )
    done = found["next_chunk"] if found["state"] in ("booking", "undoing") else found["chunk_count"]
    return {name: found[name] for name in shown} | {
        "header_row": header.row,
        "columns": [
            {"letter": letter(place), "name": name, "field": field}
            for place, (name, field) in enumerate(zip(header.names, header.fields, strict=True))
        ],
        "format": written["format"],
        "encoding": written["encoding"],
        "sheet": written["sheet"],
        "other_sheets": written["other_sheets"],
        "left_out": [{"row": row, "why": why} for row, why in json.loads(found["left_out"])],
        "pieces": found["chunk_count"],
        "pieces_done": done if found["state"] in ("booking", "booked", "undoing", "undone") else 0,
        "sent_at": iso(found["sent_at"]),
        "booked_at": iso(found["booked_at"]),
        "undone_at": iso(found["undone_at"]) if found["state"] == "undone" else None,
        "forgotten_at": iso(found["forgotten_at"]),
    }

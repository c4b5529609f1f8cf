"""Files as proof: what is taken, what of a photo is kept, and who sees it."""

from __future__ import annotations

import hashlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

sys.path.append(str(Path(__file__).parent))

from office import Office, opened

from jishan_server.pictures import MAX_FILE_BYTES

ORIENTATION, GPS = 0x0112, 0x8825


@pytest.fixture(params=["sqlite", "postgresql"])
def office(request: pytest.FixtureRequest, sqlite_template: Path, tmp_path: Path) -> Iterator[Office]:
    """A running server with the demo's people, on each kind of database."""
    settings = {}
    if request.param == "postgresql":
        engine = request.getfixturevalue("postgresql_database")
        settings["database_url"] = engine.url.render_as_string(hide_password=False)
    with opened(sqlite_template, tmp_path, **settings) as made:
        yield made


def photo(form: str = "JPEG", size: tuple[int, int] = (60, 40)) -> bytes:
    """A photo with a GPS position, which lies on its side."""
    picture = Image.new("RGB", size, (10, 200, 30))
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    exif.get_ifd(GPS)[2] = (29.0, 54.0, 12.0)
    written = io.BytesIO()
    picture.save(written, form, exif=exif)
    return written.getvalue()


def put(office: Office, content: bytes, status: int = 201, **more: Any) -> Any:
    path = f"/attachments?subject_type=resident&subject_id={office.people.residents[0].id}"
    answer = office.send("POST", path, data=content, content_type="application/octet-stream", **more)
    assert answer.status_code == status, answer.text
    return answer.get_json()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_a_photo_is_kept_upright_and_without_its_place(office: Office, form: str) -> None:
    assert Image.open(io.BytesIO(photo(form))).getexif().get_ifd(GPS)
    made = put(office, photo(form))
    got = office.send("GET", f"/attachments/{made['id']}")
    assert got.headers["Content-Type"] == f"image/{form.lower()}" == made["content_type"]
    assert got.headers["X-Content-Type-Options"] == "nosniff"
    assert hashlib.sha256(got.data).hexdigest() == made["sha256"]
    assert len(got.data) == made["size_bytes"]
    kept = Image.open(io.BytesIO(got.data))
    assert not kept.getexif()
    assert not {"exif", "comment", "icc_profile"} & kept.info.keys()
    assert kept.size == (40, 60)


def test_a_pdf_and_a_form_with_a_file_are_taken(office: Office) -> None:
    made = put(office, b"%PDF-1.7 sheet")
    got = office.send("GET", f"/attachments/{made['id']}")
    assert got.data == b"%PDF-1.7 sheet"
    assert got.headers["Content-Disposition"].startswith("attachment")
    path = f"/attachments?subject_type=organization&subject_id={office.people.estate_id}"
    sent = {"file": (io.BytesIO(photo()), "IMG_0001.JPG")}
    answer = office.send("POST", path, data=sent, content_type="multipart/form-data")
    assert answer.status_code == 201, answer.text
    listed = office.ok("GET", f"/attachments?subject_type=organization&subject_id={office.people.estate_id}")
    assert [one["id"] for one in listed["items"]] == [answer.get_json()["id"]]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "file_empty"),
        (b"MZ\x90\x00 a program", "file_type"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "file_type"),
        (photo()[:200], "file_broken"),
        (b"\xff\xd8\xff" + bytes(100), "file_broken"),
        (b"%PDF-" + bytes(MAX_FILE_BYTES), "file_too_large"),
    ],
)
def test_what_is_no_such_file_is_refused(sqlite_template: Path, tmp_path: Path, content: bytes, code: str) -> None:
    with opened(sqlite_template, tmp_path) as office:
        assert put(office, content, 422)["code"] == code
        assert not office.ok("GET", f"/attachments?subject_type=resident&subject_id={office.people.residents[0].id}")[
            "items"
        ]


def test_a_huge_body_is_turned_away_and_other_routes_keep_their_limit(sqlite_template: Path, tmp_path: Path) -> None:
    with opened(sqlite_template, tmp_path) as office:
        assert put(office, bytes(7 * 1024 * 1024), 413)["fields"] == {"limit": 6 * 1024 * 1024}
        office.refused(413, "body_too_large", "POST", "/credits", {"activity": "x" * 100_000})


def test_an_operator_sees_no_proof_of_a_resident(sqlite_template: Path, tmp_path: Path) -> None:
    with opened(sqlite_template, tmp_path) as office:
        made = put(office, photo())
        office.refused(403, "forbidden", "GET", f"/attachments/{made['id']}", as_="operator")
        office.refused(404, "attachment_unknown", "GET", "/attachments/nothing")

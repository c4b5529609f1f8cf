"""Bring the English catalogue of the pages up to date: `python tools/words.py` writes, `--check` only says, and
`--fill FILE` takes English from a JSON object {Chinese: English}; a list of two for what has a plural.

Every text of the pages stands in Chinese where it is used; this collects them into `web/translations/en.po`, keeps the
English that is there, drops what is used no more, and names what has no English yet.
"""

from __future__ import annotations

import json
import sys
from io import BytesIO
from pathlib import Path

from babel.messages import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po, write_po

SERVER = Path(__file__).resolve().parent.parent / "server" / "jishan_server"
PAGES = SERVER / "web"
ENGLISH = PAGES / "translations" / "en.po"
METHODS = [("**.py", "python"), ("templates/**.html", "jinja2")]
KEYWORDS = {"_": None, "gettext": None, "ngettext": (1, 2), "_n": (1, 2), "lazy_gettext": None, "_l": None}


def collected() -> Catalog:
    """Every text that the pages use, with the English that is there."""
    known = read_po(BytesIO(ENGLISH.read_bytes() if ENGLISH.exists() else b""), locale="en")
    found = Catalog(locale="en", project="Jishan", charset="utf-8", fuzzy=False)
    options = {"templates/**.html": {"trimmed": "true"}}
    for name, _line, message, comments, context in extract_from_dir(
        str(PAGES), METHODS, options, keywords=KEYWORDS, strip_comment_tags=True
    ):
        before = known.get(message[0] if isinstance(message, tuple) else message, context)
        # No line numbers: they would change with every edit above them.
        found.add(message, before.string if before else None, [(name, None)], context=context, auto_comments=comments)
    return found


def main() -> int:
    """Write the catalogue, or look; the exit code is 1 while a text has no English, or the file is not up to date."""
    catalogue = collected()
    if "--fill" in sys.argv:
        for id, english in json.loads(Path(sys.argv[-1]).read_text(encoding="utf-8")).items():
            if (found := catalogue.get(id)) is not None:
                found.string = tuple(english) if isinstance(english, list) else english
    out = BytesIO()
    # The header's dates would differ with every run.
    write_po(out, catalogue, width=120, sort_output=True, omit_header=True)
    body = HEADER + out.getvalue().lstrip(b"\n")
    is_same = ENGLISH.exists() and ENGLISH.read_bytes() == body
    missing = [one.id for one in catalogue if one.id and not (all(one.string) if one.pluralizable else one.string)]
    if "--check" not in sys.argv:
        ENGLISH.write_bytes(body)
    elif not is_same:
        print("the catalogue is not what the pages use: run tools/words.py")
    for id in missing:
        print(f"no English: {id}")
    return 1 if missing or ("--check" in sys.argv and not is_same) else 0


HEADER = b"""# The English of the pages; the Chinese stands where it is used.
msgid ""
msgstr ""
"Content-Type: text/plain; charset=utf-8\\n"
"Content-Transfer-Encoding: 8bit\\n"
"Plural-Forms: nplurals=2; plural=(n != 1);\\n"
"Language: en\\n"

"""

if __name__ == "__main__":
    sys.exit(main())

"""The documents tell the truth: what they name exists, what they link to is there, what they tell people to type works.

Looked at are the pages in `docs/` and those in the root folder. What stands in code quotes is taken at its word:

- a path, or the end of one: some file or folder of the tree ends so;
- `module.function`, `Class.method`, `package.module`: some module of ours has it;
- `test_...`: there is a test of that name;
- a table row that begins with a Python file: everything its second cell quotes is defined in that very file;
- a command of ours, and `make`: it exists with its options;
- `JISHAN_...`: some program reads it.
"""

from __future__ import annotations

import ast
import builtins
import os
import re
import shlex
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Final, NamedTuple

import click
import pytest

from jishan_agent.config import Config as AgentConfig
from jishan_server.config import Config as ServerConfig

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = sorted([*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md")])
DECISIONS: Final = sorted((ROOT / "docs/adr").glob("[0-9]*.md"))

PROGRAMS: Final = {
    "jishan-server": "jishan_server.cli",
    "jishan-agent": "jishan_agent.__main__",
    "jishan-sim": "jishan_sim.__main__",
}

MADE_WHERE_IT_RUNS: Final = frozenset(
    {
        # Files that programs make on a host.
        "agent.toml",
        "profiles.toml",
        "status.json",
        "journal.sqlite",
        "jishan.db",
        "copy.db",
        "secret.key",
        "pki/",
        "build/",
        "build/demo/",
        "build/bench.json",
        "ca.pem",
        "pictures/",
        "spoken/",
        "voices/estate/",
    }
)
"""Paths that a page may name although the tree does not hold them."""

NOT_OURS: Final = frozenset({"build", "dist", "__pycache__"})

FILE: Final = re.compile(r"[\w./-]*\w\.(?:py|md|json|toml|sqlite|db|key|pem|txt)|[\w.-]+/(?:[\w.-]+/)*|\.ci/run")
NAME: Final = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+)(?:\(.*\))?")
TEST: Final = re.compile(r"test_\w+")
PRIVATE: Final = re.compile(r"(_[a-z]\w+)(?:\(.*\))?")
CLASS: Final = re.compile(r"_?(?:[A-Z][a-z0-9]+){2,}")
UNITS: Final = frozenset({"_s", "_ms", "_at", "_points", "_minutes"})


class Quote(NamedTuple):
    """Words in code quotes, and where they stand."""

    page: Path
    line: int
    words: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}: {self.words}"


def prose(page: Path) -> str:
    """The page without its fenced blocks, line for line."""
    return re.sub(r"^```.*?^```", lambda block: "\n" * block[0].count("\n"), page.read_text("utf-8"), flags=re.M | re.S)


def quotes(page: Path) -> Iterator[Quote]:
    """What the page's prose has in code quotes."""
    text = prose(page)
    for found in re.finditer(r"`([^`]+)`", text):
        yield Quote(page, text.count("\n", 0, found.start()) + 1, " ".join(found[1].split()))


def blocks(page: Path) -> Iterator[Quote]:
    """The commands in the page's shell blocks, each on one line."""
    text = page.read_text("utf-8")
    for found in re.finditer(r"^```(?:sh|console|)\n(.*?)^```", text, re.M | re.S):
        line = text.count("\n", 0, found.start()) + 2
        for command in found[1].replace("\\\n", " ").splitlines():
            yield Quote(page, line, command.removeprefix("$ ").strip())


QUOTES: Final = [quote for page in PAGES for quote in quotes(page)]
COMMANDS: Final = [quote for page in PAGES for quote in blocks(page)] + QUOTES


@cache
def tree() -> frozenset[str]:
    """Every file of the tree, and every folder with a slash at its end; nothing that was made by running it."""
    found: set[str] = set()
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [one for one in folders if one not in NOT_OURS and (one[0] != "." or one == ".ci")]
        here = Path(folder).relative_to(ROOT)
        found |= {(here / one).as_posix() for one in files}
        found |= {f"{(here / one).as_posix()}/" for one in folders}
    return frozenset(found)


def is_there(path: str) -> bool:
    """Whether something in the tree is called so, or ends so."""
    return any(f"/{one}".endswith(f"/{path.removeprefix('./')}") for one in tree())


@cache
def definitions(path: Path) -> frozenset[str]:
    """What a module defines: names, Class.member, fields too; functions inside functions by their own name."""
    found: set[str] = set()

    def walk(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            match node:
                case ast.FunctionDef() | ast.AsyncFunctionDef():
                    found.add(prefix + node.name)
                    walk(node.body, "")
                    found.update(assigned_to_self(node, prefix))
                case ast.ClassDef():
                    found.add(prefix + node.name)
                    walk(node.body, f"{node.name}.")
                case ast.Assign():
                    found.update(prefix + target.id for target in node.targets if isinstance(target, ast.Name))
                case ast.AnnAssign(target=ast.Name(id=name)):
                    found.add(prefix + name)
                case ast.If() | ast.With() | ast.Try():
                    walk(node.body, prefix)
                case _:
                    pass

    walk(ast.parse(path.read_text("utf-8")).body, "")
    return frozenset(found)


def assigned_to_self(function: ast.FunctionDef | ast.AsyncFunctionDef, prefix: str) -> Iterator[str]:
    """Attributes that a method sets."""
    for node in ast.walk(function):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and isinstance(node.value, ast.Name)
            and node.value.id == "self"
        ):
            yield prefix + node.attr


@cache
def modules() -> dict[str, Path]:
    """Every Python module of the tree by its dotted name, as Python or its own test folder imports it."""
    found = {}
    for name in tree():
        if name.endswith(".py"):
            path = Path(name)
            is_ours = path.parts[0] in ("protocol", "server", "device_agent", "firmware_sim")
            parts = (path.parts[1:] if is_ours else path.parts)[:-1]
            stem = () if path.stem == "__init__" else (path.stem,)
            found[".".join((*parts, *stem))] = ROOT / path
    return found


def is_defined(name: str) -> bool:
    """Whether `a.b` is a module of ours or the end of one, something in one, a member of a class, or Python's own."""
    words = name.split(".")
    for cut in range(len(words), 0, -1):
        module, rest = ".".join(words[:cut]), ".".join(words[cut:])
        for known, path in modules().items():
            if f".{known}".endswith(f".{module}") and (not rest or rest in definitions(path)):
                return True
    if words[0] in sys.stdlib_module_names:
        return hasattr(import_module(words[0]), words[1])
    return any(name in definitions(path) for path in modules().values())


@cache
def plain_names() -> frozenset[str]:
    """Everything that is defined anywhere, without its class, and what Python itself brings."""
    ours = {one.rpartition(".")[2] for path in modules().values() for one in definitions(path)}
    return frozenset(ours | set(dir(builtins)))


def unknown(found: list[Quote]) -> str:
    return "\n".join(map(str, found))


def test_every_path_is_there() -> None:
    missing = []
    for quote in QUOTES:
        words = quote.words.split("::")[0]
        if FILE.fullmatch(words) and words[0] != "/" and words not in MADE_WHERE_IT_RUNS and not is_there(words):
            missing.append(quote)
    assert not missing, unknown(missing)


def test_every_name_is_defined() -> None:
    missing = []
    for quote in QUOTES:
        words = quote.words
        if FILE.fullmatch(words) or words in UNITS:
            continue
        if (dotted := NAME.fullmatch(words)) is not None:
            is_known = is_defined(dotted[1])
        elif (private := PRIVATE.fullmatch(words)) is not None:
            is_known = private[1] in plain_names()
        else:
            is_known = CLASS.fullmatch(words) is None or words in plain_names()
        if not is_known:
            missing.append(quote)
    assert not missing, unknown(missing)


def test_every_test_named_is_there() -> None:
    known = plain_names() | {path.stem for path in modules().values()}
    missing = [quote for quote in QUOTES for name in TEST.findall(quote.words) if name not in known]
    assert not missing, unknown(missing)


def test_every_test_stands_in_the_file_it_is_named_with() -> None:
    wrong = []
    for quote in QUOTES:
        path, separator, name = quote.words.partition("::")
        if separator:
            files = [ROOT / one for one in tree() if f"/{one}".endswith(f"/{path}")]
            if not any(name in definitions(file) for file in files):
                wrong.append(quote)
    assert not wrong, unknown(wrong)


def test_what_a_row_says_of_a_file_stands_in_that_file() -> None:
    wrong = []
    for page in PAGES:
        for number, row in enumerate(prose(page).splitlines(), start=1):
            cells = [cell.strip() for cell in row.strip().strip("|").split("|")]
            first = re.fullmatch(r"`([\w./]+\.py)`", cells[0]) if row.startswith("|") and len(cells) > 2 else None
            if first is None:
                continue
            files = [ROOT / one for one in tree() if f"/{one}".endswith(f"/{first[1]}")]
            for name in re.findall(r"`([^`]+)`", cells[1]):
                if len(files) != 1 or name not in definitions(files[0]):
                    wrong.append(Quote(page, number, f"{first[1]} {name}"))
    assert not wrong, unknown(wrong)


def slug(heading: str) -> str:
    """A heading's anchor, as the usual renderers make it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def test_every_link_leads_somewhere() -> None:
    broken = []
    for page in PAGES:
        for number, line in enumerate(prose(page).splitlines(), start=1):
            for target in re.findall(r"\]\(([^)\s]+)\)", line):
                if target.startswith(("https://", "http://", "mailto:")):
                    continue
                path, _, anchor = target.partition("#")
                there = (page.parent / path).resolve() if path else page
                headings = re.findall(r"^#+ (.*)$", prose(there), re.M) if anchor and there.suffix == ".md" else []
                if not there.exists() or (anchor and anchor not in map(slug, headings)):
                    broken.append(Quote(page, number, target))
    assert not broken, unknown(broken)


def test_every_decision_is_listed_under_its_own_title() -> None:
    listed = re.findall(r"^- \[(\d{4})\]\((\S+)\) (.*)$", (ROOT / "docs/adr/README.md").read_text("utf-8"), re.M)
    titled = []
    for page in DECISIONS:
        heading = page.read_text("utf-8").splitlines()[0]
        number, _, title = heading.removeprefix("# ").partition(": ")
        titled.append((number, page.name, title))
    assert listed == titled


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.stem[:4])
def test_a_decision_says_what_why_and_what_it_costs(page: Path) -> None:
    assert re.findall(r"^## (.*)$", page.read_text("utf-8"), re.M) == ["Decision", "Why", "What it costs"]


def test_decisions_are_numbered_without_a_gap() -> None:
    assert [int(page.name[:4]) for page in DECISIONS] == list(range(1, len(DECISIONS) + 1))


def words_of(line: str) -> list[str]:
    """A shell line in words, up to its comment, its pipe or its end."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError:
        return []
    ends = [index for index, word in enumerate(words) if word in ("|", "&&", ";", ">", "<", "&")]
    return words[: ends[0]] if ends else words


def wrong_in(words: list[str]) -> str | None:
    """What is wrong with a command of ours, if anything."""
    command: click.Command = import_module(PROGRAMS[words[0]]).main
    known = {"--help"}
    for word in words[1:]:
        known |= {option for parameter in command.params for option in parameter.opts}
        if word.startswith("-"):
            if word.partition("=")[0] not in known:
                return f"{command.name} has no {word}"
        elif isinstance(command, click.Group) and re.fullmatch(r"[a-z-]+", word):
            found = command.get_command(click.Context(command), word)
            if found is None:
                return f"{command.name} has no command {word}"
            command = found
    return None


def ours() -> Iterator[tuple[Quote, list[str]]]:
    """Every command of ours that a page shows."""
    for quote in COMMANDS:
        words = words_of(quote.words)
        while words and re.fullmatch(r"[A-Z_]+=\S*|\.?/?\S*/|sudo", words[0]):
            words = words[1:]
        if words:
            words = [words[0].rpartition("/")[2], *words[1:]]
        if words and words[0] in PROGRAMS:
            yield quote, words


def test_every_command_shown_exists_with_its_options() -> None:
    shown = list(ours())
    assert len(shown) > 10
    wrong = [f"{quote}: {said}" for quote, words in shown if (said := wrong_in(words)) is not None]
    assert not wrong, "\n".join(wrong)


def test_every_make_target_and_its_variables_exist() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.M))
    wrong = []
    for quote in COMMANDS:
        words = words_of(quote.words)
        if not words or words[0] != "make":
            continue
        for word in words[1:]:
            variable, equals, _ = word.partition("=")
            if (variable not in targets) if not equals else (f"$({variable})" not in makefile):
                wrong.append(quote)
    assert not wrong, unknown(wrong)


def test_every_module_that_is_run_exists() -> None:
    wrong = []
    for quote in COMMANDS:
        found = re.search(r"python[\d.]* -m (\S+)", quote.words)
        if found and found[1].partition(".")[0] in {name.partition(".")[0] for name in modules()}:
            known = modules()
            if found[1] not in known and f"{found[1]}.__main__" not in known:
                wrong.append(quote)
    assert not wrong, unknown(wrong)


def test_every_environment_variable_is_read() -> None:
    known = {f"JISHAN_{name.upper()}" for name in ServerConfig.__dataclass_fields__}
    known |= {f"JISHAN_AGENT_{name.upper()}" for name in AgentConfig.__dataclass_fields__}
    for path in modules().values():
        known |= set(re.findall(r"JISHAN_[A-Z_]*[A-Z]", path.read_text("utf-8")))
    wrong = [
        quote for quote in COMMANDS for name in re.findall(r"JISHAN_[A-Z_]*[A-Z]\b", quote.words) if name not in known
    ]
    assert not wrong, unknown(wrong)

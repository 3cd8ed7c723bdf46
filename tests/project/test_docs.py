"""The documentation says what the code does."""

from __future__ import annotations

import ast
import functools
import inspect
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from holdfast.cli.app import app
from holdfast.coordination import keys as redis_keys
from holdfast.coordination import scripts
from holdfast.digests import Digest
from holdfast.storage import keys as store_keys
from holdfast.storage.holds import Hold
from holdfast.storage.records import Record
from holdfast.transport.counts import Refusal
from tests.project import pages
from tests.project.repository import ROOT

PAGES = pages.pages()
PAGE_NAMES = [str(path.relative_to(ROOT)) for path in PAGES]
COMMAND_LINE = re.compile(r"(?:^(?:\$ )?|\| )holdfast ([^|#&<\n]+)", re.MULTILINE)


def sources(pattern: str) -> str:
    return "\n".join(path.read_text("utf-8") for path in sorted(ROOT.glob(pattern)))


@pytest.mark.parametrize("name", PAGE_NAMES)
def test_links_lead_somewhere(name: str) -> None:
    """Every relative link names a file that is there, and a heading that it has."""
    broken = []
    for path, anchor in pages.links(pages.text(name)):
        target = (ROOT / name).parent / path if path else ROOT / name
        if not target.exists() or (
            anchor and anchor not in pages.anchors(target.read_text("utf-8"))
        ):
            broken.append(f"{path}#{anchor}")
    assert broken == []


@pytest.mark.parametrize("name", PAGE_NAMES)
def test_tables_are_tables(name: str) -> None:
    """The line below a table's head stands alone, with as many cells as the head has."""
    lines = pages.text(name).splitlines()
    ruled = [(lines[at - 1], line) for at, line in enumerate(lines) if "| ---" in line]
    broken = [
        line
        for head, line in ruled
        if not re.fullmatch(r" *\|( :?-+:? \|)+", line) or head.count("|") != line.count("|")
    ]
    assert broken == []


def test_every_page_can_be_found() -> None:
    """From README.md one comes to every page, by links."""
    seen, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        targets = (page.parent / path for path, _ in pages.links(page.read_text("utf-8")) if path)
        waiting += [target.resolve() for target in targets]
    assert set(PAGES) <= seen


@pytest.mark.parametrize("name", PAGE_NAMES)
def test_files_that_are_named_are_there(name: str) -> None:
    """What a page names as a file of the project is one."""
    folders = "holdfast|storage|coordination|transport|service|protos|tests|scripts|helm"
    named = [
        span
        for span in pages.spans(pages.text(name))
        if re.fullmatch(rf"({folders})/[\w./*-]*", span)
    ]
    missing = [
        span
        for span in named
        if not (list(ROOT.glob(span)) if "*" in span else (ROOT / span).exists())
    ]
    assert missing == []


def command_lines(page: str) -> Iterator[list[str]]:
    """The words after `holdfast` wherever a page shows it being run."""
    code = [*pages.blocks(page, "sh"), *pages.blocks(page, "console"), *pages.spans(page)]
    for piece in code:
        for line in COMMAND_LINE.findall(piece):
            yield shlex.split(line.replace("…", "x"))


def wrong_words(words: list[str]) -> list[str]:
    """Commands and options of a line that the command line doesn't have."""
    group: Any = typer.main.get_command(app)
    context = group.make_context("holdfast", ["--version"], resilient_parsing=True)
    takes_value = {o: not p.is_flag for p in group.params for o in p.opts}
    rest = list(words)
    while rest and rest[0].startswith("-"):
        option = rest.pop(0)
        if option == "--help":
            return []
        if option not in takes_value:
            return [option]
        if takes_value[option]:
            rest.pop(0)
    if not rest or rest[0].isupper():
        return []
    command = group.get_command(context, rest[0])
    if command is None:
        return [rest[0]]
    while hasattr(command, "commands") and len(rest) > 1 and not rest[1].startswith("-"):
        rest.pop(0)
        if rest[0] not in command.commands:
            return [rest[0]]
        command = command.commands[rest[0]]
    params = command.params
    known = {"--help", *(o for param in params for o in [*param.opts, *param.secondary_opts])}
    options = [word.partition("=")[0] for word in rest[1:] if re.match(r"-{1,2}[a-z]", word)]
    return [option for option in options if option not in known]


@pytest.mark.parametrize("name", PAGE_NAMES)
def test_commands_and_options_exist(name: str) -> None:
    """Every command that a page shows, and each of its options, is the command line's."""
    wrong = [bad for words in command_lines(pages.text(name)) for bad in wrong_words(words)]
    assert wrong == []


def test_a_wrong_command_would_be_noticed() -> None:
    """The check above tells commands and options that exist from those that don't."""
    assert wrong_words(["frobnicate"]) == ["frobnicate"]
    assert wrong_words(["--tenant", "b", "push", "f", "--frob"]) == ["--frob"]
    assert wrong_words(["tenants", "frobnicate"]) == ["frobnicate"]
    assert wrong_words(["tenants", "expire", "--frob"]) == ["--frob"]
    assert wrong_words(["--tenant", "b", "push", "f", "--label", "a=b"]) == []


def test_python_in_the_readme_can_be_read() -> None:
    """The README's Python is Python, and takes from the package what it has."""
    (snippet,) = pages.blocks(pages.text("README.md"), "python")
    ast.parse(snippet)
    assert "from holdfast import ContentStore" in snippet


def test_refusals_of_the_transport() -> None:
    """The table of refusals has each kind that the transport counts, and no other."""
    rows = pages.table(pages.text("docs/transport.md"), "Metrics")[1:]
    kinds = [kind for row in rows for kind in re.findall(r"`(\w+)`", row[0])]
    assert sorted(kinds) == sorted(Refusal)


def texts() -> Iterator[str]:
    """All texts in the code; what a text is given is `…`."""
    for package in ("coordination", "holdfast", "service", "storage", "transport"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    parts = (getattr(part, "value", "") for part in node.values)
                    yield "".join(part if isinstance(part, str) else "…" for part in parts)
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value


def test_error_texts() -> None:
    """What an operator is told to look for is in an error's text."""
    rows = pages.table(pages.text("docs/operations.md"), "What to do when")[1:]
    quoted = [text for row in rows for text in re.findall(r'"([^"]+)"', row[0])]
    assert len(quoted) > 10
    known = list(texts())
    assert [quote for quote in quoted if not any(quote in text for text in known)] == []


@functools.cache
def functions(path: Path) -> frozenset[str]:
    """The names of a test file's functions; each file is parsed once, not once for each page."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(
        node.name
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, kinds)
    )


@pytest.mark.parametrize(
    ("name", "section"),
    [("docs/guarantees.md", "What is promised"), ("docs/security.md", "Who gets what")],
)
def test_guarantees_are_tested(name: str, section: str) -> None:
    """Each test that shows a guarantee, or what stops an attack, is there, and each has one."""
    page = pages.text(name)
    named = [
        span.split("::") for span in pages.spans(page) if re.fullmatch(r"[\w/]+\.py::\w+", span)
    ]
    assert named
    gone = [
        f"{file}::{test}"
        for file, test in named
        if not (ROOT / "tests" / file).is_file() or test not in functions(ROOT / "tests" / file)
    ]
    assert gone == []
    promised = page.partition(f"## {section}")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (?!promise|who |---)(.+)$", promised, re.MULTILINE)
    assert rows
    assert [row for row in rows if "::test_" not in row] == []


@pytest.mark.parametrize("name", PAGE_NAMES)
def test_tests_that_are_named_are_there(name: str) -> None:
    """A page that names a test names one that exists."""
    known = {test for path in ROOT.glob("tests/**/test_*.py") for test in functions(path)}
    named = [span for span in pages.spans(pages.text(name)) if re.fullmatch(r"test_\w+", span)]
    assert [test for test in named if test not in known] == []


def kinds_of_keys() -> set[str]:
    """The keys of coordination.keys with what varies in brackets, and its constants."""
    keys: Any = redis_keys.Keys("<tenant>")
    found = {value for value in vars(redis_keys).values() if str(value).startswith("holdfast:")}
    for function in vars(redis_keys).values():
        if inspect.isfunction(function) and function.__module__ == redis_keys.__name__:
            (parameter,) = inspect.signature(function).parameters
            found.add(function(f"<{parameter}>"))
    for name, member in vars(redis_keys.Keys).items():
        if isinstance(member, property):
            found.add(getattr(keys, name))
        elif inspect.isfunction(member) and not name.startswith("_"):
            (parameter,) = list(inspect.signature(member).parameters)[1:]
            found.add(member(keys, f"<{parameter}>"))
    return found


def test_redis_keys() -> None:
    """The table of keys has each kind that there is in Redis, and no other."""
    table = pages.first_cells(pages.text("docs/coordination.md"), "Keys")
    assert {cell for cell in table if cell.startswith("holdfast:")} == kinds_of_keys()


def test_scripts() -> None:
    """The table of scripts has each of them, and no other."""
    table = pages.first_cells(pages.text("docs/coordination.md"), "Scripts")
    listed = [name for cell in table[1:] for name in cell.split(", ") if re.fullmatch(r"\w+", name)]
    assert sorted(listed) == sorted(scripts.NAMES)


def test_stored_examples() -> None:
    """The examples of records and holds are read by the code that reads real ones."""
    examples = pages.blocks(pages.text("docs/storage-format.md"), "json")
    states = []
    for body in examples:
        document = json.loads(body)
        digest = Digest.parse(document["digest"])
        if "state" in document:
            states.append(Record.decode(store_keys.record_key(digest), body.strip().encode()).state)
        else:
            key = store_keys.hold_prefix("a", digest) + "name"
            assert Hold.decode(key, body.strip().encode()).encode() == body.strip().encode()
    assert states == ["live", "live"]


def test_stored_keys() -> None:
    """The table of keys in the store names each prefix that there is."""
    page = pages.text("docs/storage-format.md")
    prefixes = [
        value
        for name, value in vars(store_keys).items()
        if name.isupper() and isinstance(value, str)
    ]
    assert prefixes
    assert [prefix for prefix in prefixes if prefix not in page] == []

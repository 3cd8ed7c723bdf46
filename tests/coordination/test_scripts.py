"""The Lua scripts: their headers, that all are known, and how they are run."""

from __future__ import annotations

import re
from importlib import resources

import pytest
from redis.exceptions import NoScriptError

from holdfast.coordination.scripts import NAMES, pairs, source
from tests.coordination.fleet import Frontend

HEADER = re.compile(
    r"(-- [A-Z].*\n(-- .*\n)*?)-- KEYS: .*\n(-- {3,}.*\n)*"
    r"-- ARGV: .*\n(-- {3,}.*\n)*-- Returns: .+\n(-- .*\n)*?-- Run twice: .+\n(-- .*\n)*(?!--)"
)


def test_all_are_known() -> None:
    """Every script beside the module is one that it can run, and the other way round."""
    files = [path.name for path in (resources.files("holdfast.coordination") / "lua").iterdir()]
    assert sorted(files) == [f"{name}.lua" for name in NAMES]


@pytest.mark.parametrize("name", NAMES)
def test_headers(name: str) -> None:
    """A script says what it is for, its KEYS, ARGV and reply, and what a second run does."""
    assert HEADER.match(source(name)), source(name)[:300]


@pytest.mark.parametrize("name", NAMES)
def test_keys_and_arguments(name: str) -> None:
    """A header names exactly the keys that the script uses, and no script makes up keys."""
    text = source(name)
    keys = re.search(r"-- KEYS: (.*)", text)
    assert keys
    code = text[text.rindex("-- Run twice") :]
    if name in {"find", "hold_look_up"}:
        return  # of as many refs or digests as there are
    used = {int(number) for number in re.findall(r"KEYS\[(\d+)\]", code)}
    assert used == set(range(1, len(keys[1].split(", ")) + 1))
    assert not re.search(r"redis\.p?call\('\w+', *['\"]holdfast", code)


async def test_a_server_that_lost_the_scripts(one: Frontend) -> None:
    """A server without the scripts, a new one or a promoted one, is given them."""
    await one.client.script_flush()
    with pytest.raises(NoScriptError):
        await one.client.evalsha("0" * 40, 1, one.keys.index)
    await one.open("ref", "n", "a")
    assert await one.ingests.release(one.tenant, "ref", "n")


def test_pairs() -> None:
    """A flat reply becomes a mapping."""
    assert pairs([b"a", b"1", b"\xc3\xa9", b""]) == {"a": "1", "é": ""}

"""Rules that are read again: what replaces them, and what doesn't."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from holdfast.errors import ConfigurationError, Unavailable
from holdfast.service.trust import keys as keys_module
from holdfast.service.trust.rulebook import Rulebook
from holdfast.service.trust.rules_in_force import REMOTE_AGE, FileRules, UrlRules
from holdfast.service.trust.token_issuers import TokenIssuer
from tests.trust.issuing import Clock, Signer, issuer, jwks

RULE = '[[rules]]\nname = "{}"\ncn = "(.+)"\n'
TOKENS = (
    '[issuers.i]\nissuer = "i"\naudience = "a"\nkeys = "{}"\n'
    '[[rules]]\nname = "t"\ntoken = "(.+)"\nissuer = "i"\nclaim = ["sub"]\n'
)


def loaded(path: Path, text: str, clock: Clock | None = None) -> FileRules:
    """The rules of a file, which is written first."""
    path.write_text(text)
    rules = FileRules(path, clock or Clock(), Clock())
    rules.load()
    return rules


def names(rules: FileRules) -> list[str]:
    """The rules in force."""
    return [rule.name for rule in rules.in_force.rules]


async def test_a_changed_file_is_used(tmp_path: Path) -> None:
    """The rules of a file that has changed replace the others; those of one that hasn't stay."""
    rules = loaded(tmp_path / "r", RULE.format("a"))
    before = rules.in_force
    await rules.attend()
    assert rules.in_force is before
    (tmp_path / "r").write_text(RULE.format("longer"))
    await rules.attend()
    assert names(rules) == ["longer"]


async def test_a_link_that_leads_elsewhere_is_noticed(tmp_path: Path) -> None:
    """Kubernetes points a link to another folder, and leaves the files alone."""
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "rules").write_text(RULE.format(name))
    link = tmp_path / "..data"
    link.symlink_to("x")
    rules = FileRules(link / "rules", Clock(), Clock())
    rules.load()
    (tmp_path / "new").symlink_to("y")
    (tmp_path / "new").rename(link)
    await rules.attend()
    assert names(rules) == ["y"]


@pytest.mark.parametrize("broken", ["rules = 1", TOKENS.format("/missing"), None])
async def test_a_file_that_cannot_be_used_replaces_nothing(
    tmp_path: Path, broken: str | None
) -> None:
    """While the file is wrong or gone, the last good rules stay, and that is logged once."""
    path = tmp_path / "r"
    rules = loaded(path, RULE.format("good"))
    with capture_logs() as logs:
        path.unlink()
        if broken is not None:
            path.write_text(broken)
        await rules.attend()
        assert not rules.current
        await rules.attend()
        assert names(rules) == ["good"]
        path.write_text(RULE.format("better"))
        await rules.attend()
    assert rules.current
    assert names(rules) == ["better"]
    assert [entry["event"] for entry in logs] == [
        "identities not reloaded; the last good ones stay in force",
        "identities reloaded",
    ]


@pytest.mark.parametrize("text", ["rules = 1", TOKENS.format("/missing")])
def test_a_wrong_file_is_refused_at_the_start(tmp_path: Path, text: str) -> None:
    """A frontend doesn't start with rules, or keys in files, that it can't use."""
    with pytest.raises(ConfigurationError):
        loaded(tmp_path / "r", text)
    with pytest.raises(ConfigurationError, match="identities"):
        FileRules(tmp_path / "missing", Clock(), Clock()).load()


async def test_verified_tokens_outlive_a_change_of_rules(tmp_path: Path) -> None:
    """An issuer that stays the same keeps its keys when other rules change."""
    (tmp_path / "k").write_bytes(jwks(Signer()))
    text = TOKENS.format(tmp_path / "k")
    rules = loaded(tmp_path / "r", text)
    tokens = rules.in_force.tokens
    assert tokens is not None
    (tmp_path / "r").write_text(text + RULE.format("more"))
    await rules.attend()
    assert rules.in_force.tokens is not None
    assert rules.in_force.tokens.issuers["i"] is tokens.issuers["i"]


async def test_keys_in_a_file_are_read_again(tmp_path: Path) -> None:
    """Keys that were added to a file are known at the next look."""
    path = tmp_path / "k"
    path.write_bytes(jwks(Signer()))
    rules = UrlRules(Rulebook(issuers=(issuer(str(path)),)), Clock(), Clock())
    rules.load()
    assert rules.in_force.tokens is not None
    [keys] = rules.in_force.tokens.issuers.values()
    path.write_bytes(jwks(Signer(), Signer("k2")))
    await rules.attend()
    assert len(keys) == 2


async def test_keys_of_a_url_may_come_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A frontend starts while an issuer is away, and asks it again from time to time."""
    asked, clock = [], Clock()

    def fetch(one: TokenIssuer) -> bytes:
        asked.append(one.name)
        if len(asked) == 1:
            raise Unavailable("no route")
        return jwks(Signer())

    monkeypatch.setattr(keys_module, "contents", fetch)
    rules = UrlRules(Rulebook(issuers=(issuer("https://i.example/jwks"),)), clock, Clock())
    with capture_logs() as logs:
        rules.load()
    assert [entry["event"] for entry in logs] == ["token keys not read; they will be read later"]
    await rules.attend()
    assert asked == ["test"]
    clock.now += REMOTE_AGE
    await rules.attend()
    assert asked == ["test", "test"]
    assert rules.in_force.tokens is not None
    assert len(rules.in_force.tokens.issuers["https://issuer.example"]) == 1


async def test_a_file_that_is_replaced_in_place_is_noticed(tmp_path: Path) -> None:
    """A file of the same size and time, but another one, is read."""
    path = tmp_path / "r"
    rules = loaded(path, RULE.format("a"))
    times = path.stat()
    (tmp_path / "new").write_text(RULE.format("b"))
    os.utime(tmp_path / "new", ns=(times.st_atime_ns, times.st_mtime_ns))
    (tmp_path / "new").rename(path)
    await rules.attend()
    assert names(rules) == ["b"]

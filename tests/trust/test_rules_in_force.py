"""Rules that are read again: what replaces them, and what doesn't."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from structlog.testing import capture_logs

from holdfast.errors import ConfigurationError, Unavailable
from holdfast.service.trust import keys as keys_module
from holdfast.service.trust import rules_in_force as rules_module
from holdfast.service.trust.identity_rules import Presented, first_match
from holdfast.service.trust.recognizers import Recognizers
from holdfast.service.trust.rulebook import Rulebook, rulebook
from holdfast.service.trust.rules_in_force import REMOTE_AGE, FileRules, UrlRules, refresh_keys
from holdfast.service.trust.token_issuers import TokenIssuer
from holdfast.service.trust.url_identity import UrlIdentity
from holdfast.transport import Certificate
from tests.servers.authority import Authority
from tests.service.fleet import DEADLINE, eventually
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


async def settled(rules: FileRules) -> None:
    """Looks at the file until it counts as written: once when it has changed, and once more."""
    await rules.attend()
    await rules.attend()


def names(rules: FileRules) -> list[str]:
    """The rules in force."""
    return [rule.name for rule in rules.in_force.rules]


async def test_a_changed_file_is_used(tmp_path: Path) -> None:
    """The rules of a file that has changed replace the others; those of one that hasn't stay."""
    rules = loaded(tmp_path / "r", RULE.format("a"))
    before = rules.in_force
    await settled(rules)
    assert rules.in_force is before
    (tmp_path / "r").write_text(RULE.format("longer"))
    await settled(rules)
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
    await settled(rules)
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
        await settled(rules)
        assert not rules.current
        await settled(rules)
        assert names(rules) == ["good"]
        path.write_text(RULE.format("better"))
        await settled(rules)
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
    await settled(rules)
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
    await refresh_keys(rules.in_force)
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
    await refresh_keys(rules.in_force)
    assert asked == ["test"]
    assert not rules.current
    clock.now += REMOTE_AGE
    await refresh_keys(rules.in_force)
    await eventually(lambda: rules.current)
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
    await settled(rules)
    assert names(rules) == ["b"]


@pytest.mark.parametrize("written", ["", RULE.format("readers")])
async def test_a_half_written_file_does_not_count(tmp_path: Path, written: str) -> None:
    """A file that is still being written is used when it is whole: a rule may lack its role."""
    path, reader = tmp_path / "r", RULE.format("readers") + 'role = "reader"\n'
    rules = loaded(path, reader)
    before = rules.in_force
    path.write_text(written)
    await rules.attend()
    path.write_text(reader + RULE.format("more"))
    await rules.attend()
    assert rules.in_force is before
    await rules.attend()
    assert names(rules) == ["readers", "more"]


async def test_a_file_that_changes_while_it_is_read_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read of a file that was changed meanwhile is left alone, and read again."""
    path = tmp_path / "r"
    rules = loaded(path, RULE.format("old"))

    def parse(text: bytes) -> Rulebook:
        path.write_text(RULE.format("newest"))
        return rulebook(text)

    path.write_text(RULE.format("new"))
    with monkeypatch.context() as patch:
        patch.setattr(rules_module, "rulebook", parse)
        await settled(rules)
    assert names(rules) == ["old"]
    await settled(rules)
    assert names(rules) == ["newest"]


@pytest.mark.parametrize("text", ["", "# nothing yet\n"])
async def test_a_file_without_rules_is_refused(tmp_path: Path, text: str) -> None:
    """An empty file locks nobody out: the last good rules stay, and no frontend starts with it."""
    path = tmp_path / "r"
    rules = loaded(path, RULE.format("good"))
    path.write_text(text)
    await settled(rules)
    assert names(rules) == ["good"]
    assert not rules.current
    with pytest.raises(ConfigurationError, match="it has no rules"):
        loaded(tmp_path / "other", text)


async def test_a_file_that_is_back_as_it_was_is_current(tmp_path: Path) -> None:
    """If the file that is in force returns, its rules are those that are written."""
    path = tmp_path / "r"
    rules = loaded(path, RULE.format("good"))
    path.rename(tmp_path / "away")
    await settled(rules)
    assert not rules.current
    (tmp_path / "away").rename(path)
    await rules.attend()
    assert rules.current


@pytest.mark.parametrize("url", ["https://[::1/jwks", "https://issuer.example/"])
async def test_no_file_ends_the_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    """A URL that can't be parsed, or any other error, is reported, and the next file is used."""
    path = tmp_path / "r"
    rules = loaded(path, RULE.format("good"))
    with monkeypatch.context() as patch:
        if "[" not in url:
            patch.setattr(rules_module, "rulebook", lambda _: 1 / 0)
        path.write_text(TOKENS.format(url))
        await settled(rules)
    assert not rules.current
    path.write_text(RULE.format("better"))
    await settled(rules)
    assert rules.current
    assert names(rules) == ["better"]


async def test_watching_survives_any_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an error that nobody has thought of, files are read again, and meanwhile it shows."""
    path = tmp_path / "r"
    path.write_text(RULE.format("good"))
    recognizers = Recognizers(str(path), Clock(), Clock(), period=0.001)
    rules = recognizers.source(UrlIdentity(from_file=True))
    assert isinstance(rules, FileRules)
    with monkeypatch.context() as patch:
        patch.setattr(FileRules, "attend", lambda _: 1 / 0)
        watching = asyncio.create_task(recognizers.keep())
        with capture_logs() as logs:
            await eventually(lambda: not recognizers.current or watching.done())
            await asyncio.sleep(0)
        assert not watching.done()
    assert [entry["event"] for entry in logs] == [
        "identities not read; the last ones stay in force"
    ]
    path.write_text(RULE.format("better"))
    await eventually(lambda: names(rules) == ["better"] and recognizers.current)
    watching.cancel()


async def test_a_slow_issuer_delays_no_rules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While keys are fetched from a server that doesn't answer, rules that revoke take effect."""
    asked, answers = threading.Event(), threading.Event()

    def fetch(one: TokenIssuer) -> bytes:
        if one.issuer == "quick":
            raise Unavailable("no route")
        asked.set()
        answers.wait()
        return jwks(Signer())

    monkeypatch.setattr(keys_module, "contents", fetch)
    path = tmp_path / "r"
    text = TOKENS.format("https://i.example/jwks")
    path.write_text(text.replace('issuer = "i"\naudience', 'issuer = "quick"\naudience'))
    clock = Clock()
    recognizers = Recognizers(str(path), clock, Clock())
    rules = recognizers.source(UrlIdentity(from_file=True))
    assert isinstance(rules, FileRules)
    try:
        async with asyncio.timeout(DEADLINE):
            path.write_text(text)  # an issuer whose keys are yet to be fetched
            await recognizers.attend()
            await recognizers.attend()
            await asyncio.to_thread(asked.wait)
            clock.now += REMOTE_AGE
            path.write_text(text + RULE.format("more"))
            await recognizers.attend()
            await recognizers.attend()
            assert names(rules) == ["t", "more"]
    finally:
        answers.set()
    await eventually(lambda: recognizers.current)


async def test_keys_that_cannot_be_read_show(tmp_path: Path) -> None:
    """While an issuer's file of keys is damaged, what is in force isn't what is written."""
    path, good = tmp_path / "k", jwks(Signer())
    path.write_bytes(good)
    rules = loaded(tmp_path / "r", TOKENS.format(path))
    assert rules.current
    path.write_bytes(b"{")
    await refresh_keys(rules.in_force)
    assert not rules.current
    path.write_bytes(good)
    await refresh_keys(rules.in_force)
    assert rules.current


def vouched(rules: FileRules, authority: Authority) -> bool:
    """Whether the rules in force recognize a client of an authority."""
    der = authority.client("a").parsed().public_bytes(Encoding.DER)
    shown = Presented(certificate=Certificate(der, common_name="a"))
    return first_match(rules.in_force.rules, shown) is not None


async def test_authorities_of_rules_are_read_again(tmp_path: Path) -> None:
    """A rule's authorities count as their file says; one that can't be used replaces nothing."""
    old, new, file = Authority(), Authority(), tmp_path / "ca"
    file.write_bytes(old.pem)
    rules = loaded(tmp_path / "r", f'{RULE.format("a")}ca = "{file}"\n')
    assert (vouched(rules, old), vouched(rules, new)) == (True, False)
    file.write_bytes(old.pem + new.pem)
    await rules.attend()
    assert not vouched(rules, new), "it may be half written"
    await rules.attend()
    assert (vouched(rules, old), vouched(rules, new)) == (True, True)
    file.unlink()
    await settled(rules)
    assert not rules.current
    assert vouched(rules, old)
    file.write_bytes(new.pem)
    await settled(rules)
    assert (rules.current, vouched(rules, old), vouched(rules, new)) == (True, False, True)


async def test_rules_that_name_other_authorities(tmp_path: Path) -> None:
    """Rules are used together with the authorities that they name, and watched with them."""
    one, two = Authority(), Authority()
    rules = loaded(tmp_path / "r", RULE.format("a"))
    (tmp_path / "ca").write_bytes(one.pem)
    (tmp_path / "r").write_text(f'{RULE.format("a")}ca = "{tmp_path / "ca"}"\n')
    await settled(rules)
    assert (vouched(rules, one), vouched(rules, two)) == (True, False)
    (tmp_path / "ca").write_bytes(two.pem)
    await settled(rules)
    assert (vouched(rules, one), vouched(rules, two)) == (False, True)
    with pytest.raises(ConfigurationError, match="ca /none"):
        loaded(tmp_path / "other", f'{RULE.format("a")}ca = "/none"\n')

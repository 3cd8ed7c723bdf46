"""`holdfast doctor` about who asks: are the rules good, and which of them matches whom."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.servers.authority import Authority
from tests.servers.process import free_port
from tests.service.processes import run
from tests.trust.issuing import AUDIENCE, ISSUER, Signer, jwks

RULES = """
[issuers.test]
issuer = "{issuer}"
audience = "{audience}"
keys = "{keys}"
algorithms = ["ES256"]

[[rules]]
name = "nodes"
cn = 'system:node:(.+)'

[[rules]]
name = "late"
cn = 'system:node:a'
tenant = "b"

[[rules]]
name = "pods"
token = 'node:(.+)'
issuer = "test"
claim = ["sub"]
role = "reader"

[[rules]]
name = "root"
uid = 0
tenant = "local"
"""

BY_NODE = """
[issuers.test]
issuer = "i"
audience = "a"
keys = "https://127.0.0.1:1/keys"

[[rules]]
name = "pods"
token = "(.+)"
issuer = "test"
claim = ["node"]
"""


@pytest.fixture
def signer() -> Signer:
    """The issuer's key."""
    return Signer()


@pytest.fixture
def settings(tmp_path: Path, signer: Signer) -> dict[str, Any]:
    """A frontend whose rules are in a file."""
    (tmp_path / "keys").write_bytes(jwks(signer))
    text = RULES.format(issuer=ISSUER, audience=AUDIENCE, keys=tmp_path / "keys")
    (tmp_path / "rules").write_text(text)
    return {
        "data_dir": tmp_path,
        "identities": tmp_path / "rules",
        "listen": f"unix://{tmp_path}/s?identities=1",
    }


def said(settings: dict[str, Any], source: str) -> dict[str, str]:
    """What each rule says; the rule that decides has a star."""
    done = run("doctor", "--json", "--identity-of", source, **settings)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return {
        ("*" if one["ok"] else "") + one["name"].rpartition(": ")[2]: one["found"] for one in found
    }


def test_a_certificate_s_rule_is_named(settings: dict[str, Any], tmp_path: Path) -> None:
    """The rule that matches is named with tenant and role, and each other one with its reason."""
    cert, _ = Authority().client("system:node:a").write(tmp_path)
    found = said(settings, str(cert))
    assert found["*nodes"] == "it matches 'system:node:a': tenant a, role node"
    assert found["late"].endswith("tenant b, role node; an earlier rule decides")
    assert found["pods"] == "it doesn't match: there is no token"
    assert found["root"] == "it doesn't match: the client isn't a unix socket's"


def test_a_certificate_that_matches_nothing(settings: dict[str, Any], tmp_path: Path) -> None:
    """Who matches no rule is told why of each, and that a frontend would refuse it."""
    cert, _ = Authority().client("kubelet").write(tmp_path)
    found = said(settings, str(cert))
    assert found["nodes"] == "it doesn't match: 'kubelet' doesn't match system:node:(.+)"
    assert any("no rule matches a certificate of 'kubelet'" in text for text in found.values())
    assert not any(name.startswith("*") for name in found)


def test_a_certificate_that_is_refused(settings: dict[str, Any], tmp_path: Path) -> None:
    """A match that is no tenant, and an expired certificate, are said to be refused."""
    cert, _ = Authority().client("system:node:A").write(tmp_path)
    assert "the client is refused: tenant 'A'" in said(settings, str(cert))["nodes"]
    cert, _ = Authority().client("system:node:a", begins=-99.0, ends=-9.0).write(tmp_path)
    assert any("has expired" in text for text in said(settings, str(cert)).values())


def test_a_token_s_rule_is_named(settings: dict[str, Any], tmp_path: Path, signer: Signer) -> None:
    """A token is verified as a frontend does it, and it isn't shown."""
    token = signer.token(sub="node:a", exp=time.time() + 600, iat=time.time())
    (tmp_path / "token").write_text(f"Bearer {token}\n")
    done = run("doctor", "--identity-of", str(tmp_path / "token"), **settings)
    assert "role reader" in done.stdout
    assert token not in done.stdout + done.stderr
    assert said(settings, str(tmp_path / "token"))["*pods"].startswith("it matches 'node:a'")
    (tmp_path / "token").write_text(signer.token(sub="node:a", exp=1, iat=1))
    assert any("ended" in text for text in said(settings, str(tmp_path / "token")).values())


def test_a_user_s_rule_is_named(settings: dict[str, Any]) -> None:
    """A user of a unix socket is named by its number."""
    assert said(settings, "uid:0")["*root"] == "it matches 'uid:0': tenant local, role node"
    assert said(settings, "uid:7")["root"] == "it doesn't match: user 7 isn't one of 0"


def test_a_listener_without_rules_says_who_asks(settings: dict[str, Any], tmp_path: Path) -> None:
    """A listener with a tenant doesn't look at what a client presents."""
    found = said({**settings, "listen": f"unix://{tmp_path}/s?tenant=x"}, "uid:0")
    assert list(found.values()) == ["tenant x, role node, whatever a client presents"]


@pytest.mark.parametrize("text", ["", "a", "a.b", "uid:root", "-----BEGIN CERTIFICATE-----\nAA"])
def test_what_is_no_client_is_refused(settings: dict[str, Any], tmp_path: Path, text: str) -> None:
    """Something that is no certificate, token or user is wrong usage."""
    (tmp_path / "text").write_text(text)
    assert run("doctor", "--identity-of", str(tmp_path / "text"), **settings).returncode == 2
    assert run("doctor", "--identity-of", str(tmp_path / "missing"), **settings).returncode != 0


def test_doctor_checks_the_rules(settings: dict[str, Any], tmp_path: Path) -> None:
    """Rules by which two subjects may be one tenant are noted, and wrong ones fail."""
    port = free_port()
    settings["listen"] = f"tcp://127.0.0.1:{port}?identities=1"
    name = f"who asks at tcp://127.0.0.1:{port}"

    def found() -> tuple[int, list[dict[str, Any]]]:
        done = run("doctor", "--json", **settings)
        return done.returncode, [one for one in json.loads(done.stdout) if one["name"] == name]

    code, checks = found()
    assert code == 0
    assert [one["ok"] for one in checks] == [True, False]
    assert "nodes, pods: each may name any tenant" in checks[1]["found"]
    (tmp_path / "rules").write_text(BY_NODE)
    assert "a token that says node is that tenant" in found()[1][1]["found"]
    (tmp_path / "rules").write_text(f'{BY_NODE}require = {{ sub = "agent" }}\n')
    assert [one["ok"] for one in found()[1]] == [True]
    (tmp_path / "rules").write_text('[[rules]]\nname = "r"\ndns = "(.+).example"\n')
    assert "two subjects may be one tenant" in found()[1][1]["found"]
    (tmp_path / "rules").write_text('[[rules]]\nname = "r"\ndns = "(.+"\n')
    code, [check] = found()
    assert (code, check["ok"], check["essential"]) == (1, False, True)
    assert "rule 1 'r'" in check["found"]

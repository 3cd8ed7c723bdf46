"""What a generation consists of, and by what it is told from another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from holdfast.errors import InvalidArgument
from holdfast.node import unit
from holdfast.node.rollout import hooks
from holdfast.node.rollout.generation import Certificate, Plan, drop_in
from holdfast.node.rollout.layout import Containerd, Layout
from holdfast.service.agent.agent import check
from holdfast.service.settings import load
from tests.rollout.model import plan

CERTIFICATE = Certificate("/tls/node.pem", "/tls/node.key", "ISSUERS\n")


def lines(text: str, name: str) -> list[str]:
    """The values of a name in a unit."""
    return [line.partition("=")[2] for line in text.splitlines() if line.startswith(f"{name}=")]


def test_the_unit_is_the_guides(tmp_path: Path) -> None:
    """The agent's unit is the one of the guide, but for its program, settings and certificate."""
    ours = replace(plan(tmp_path, "1"), certificate=CERTIFICATE).files(Layout())["holdfast.service"]
    guide = unit()
    different = set(ours.splitlines()) ^ set(guide.splitlines())
    assert {line.partition("=")[0] for line in different} == {
        "ExecStart",
        "EnvironmentFile",
        "LoadCredential",
    }
    assert lines(ours, "ExecStart") == ["/opt/holdfast/current/holdfast agent"]
    assert lines(ours, "EnvironmentFile") == ["/opt/holdfast/current/node.env"]
    assert lines(ours, "LoadCredential") == [
        "tls.crt:/tls/node.pem",
        "tls.key:/tls/node.key",
        "ca.crt:/opt/holdfast/current/ca.crt",
    ]


def test_without_a_certificate(tmp_path: Path) -> None:
    """Without a certificate the unit loads none, and its agent is told of none."""
    files = plan(tmp_path, "1").files(Layout())
    assert "LoadCredential" not in files["holdfast.service"]
    assert "AGENT_TLS" not in files["holdfast.service"]
    assert "HOLDFAST_DISK_CACHE_BUDGET" in files["holdfast.service"]
    assert "holdfast-renewed.path" not in files


def test_another_unit_of_containerd(tmp_path: Path) -> None:
    """Where another unit starts containerd, all of ours are ordered by that one."""
    layout = Layout(containerd=Containerd(unit="k3s.service"))
    files = replace(plan(tmp_path, "1"), certificate=CERTIFICATE).files(layout)
    assert "containerd.service" not in "".join(files.values())
    assert lines(files["holdfast.service"], "Before") == ["k3s.service"]
    assert lines(files["holdfast-images.service"], "WantedBy") == ["k3s.service"]
    assert layout.drop_in == Path("/etc/systemd/system/k3s.service.d/50-holdfast.conf")


def test_the_hook_never_keeps_containerd_from_starting() -> None:
    """A hook that fails is ignored, and it is run by a program that has served."""
    [command] = lines(drop_in(Layout()), "ExecStartPre")
    assert command == "-/opt/holdfast/verified/holdfast node prepare-containerd"
    # systemd would try a start that takes too long again and again, and never start containerd.
    [seconds] = lines(drop_in(Layout()), "TimeoutStartSec")
    assert float(seconds) * 0.75 >= hooks.DEADLINE


def test_the_settings_are_an_agents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the environment that the unit has, an agent accepts to start."""
    made = plan(tmp_path, "1", HOLDFAST_AGENT_TENANT_HEADER="x-tenant")
    for line in made.environment(Layout()).splitlines():
        name, _, value = line.partition("=")
        monkeypatch.setenv(name, value)
    settings = load()
    check(settings)
    assert settings.listen == ["unix:///run/holdfast/node.sock?tenant=node-a"]


def test_other_bytes_have_another_name(tmp_path: Path) -> None:
    """Another program, other settings or another attempt make another generation."""
    first = plan(tmp_path, "1")
    before = first.generation(Layout())
    assert before == plan(tmp_path, "1").generation(Layout())
    others = [
        replace(first, attempt=1),
        replace(first, settings={**first.settings, "HOLDFAST_HTTP": "127.0.0.1:9090"}),
        replace(first, certificate=CERTIFICATE),
        replace(first, node="node-b"),
    ]
    names = {one.generation(Layout()) for one in others}
    (first.bundle / "holdfast").write_text("other bytes")
    assert len(names | {before, first.generation(Layout())}) == 6


@pytest.mark.parametrize(
    "changed",
    [
        {"node": "a b"},
        {"node": ""},
        {"settings": {"HOLDFAST_LISTEN": "unix:///x"}},
        {"settings": {"lower": "1"}},
        {"settings": {"HOLDFAST_A": "two\nlines"}},
        {"settings": {"HOLDFAST_A": '"'}},
    ],
)
def test_what_no_unit_can_hold(tmp_path: Path, changed: dict[str, object]) -> None:
    """A name or a value that would mean something else in a file of systemd is refused."""
    with pytest.raises(InvalidArgument):
        replace(plan(tmp_path, "1"), **changed)  # type: ignore[arg-type]


def test_a_plan_of_nothing(tmp_path: Path) -> None:
    """A plan can be made before its bundle is looked at."""
    assert Plan(tmp_path, "1", "node-a", {}).environment(Layout()).count("\n") == 1

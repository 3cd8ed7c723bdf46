"""What a node's unit would give its program, where there is no systemd to run it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.service.processes import run

FOLDER = "/etc/holdfast/tls"
"""Where docs/containerd.md has a node's certificate."""
CACHE = "/var/cache/holdfast"


def settings_of_unit(node: Path, certificate: Mapping[str, Path]) -> dict[str, object]:
    """The settings that the agent's unit sets, whose credentials have been copied.

    Args:
        node: the folder of a node, for what the unit would keep elsewhere.
        certificate: what takes the place of the files in `FOLDER`, by their names.
    """
    printed = run("node-config", "--format", "systemd")
    assert printed.returncode == 0, printed.stderr
    lines = [line.partition("=") for line in printed.stdout.splitlines()]
    credentials = node / "credentials"
    credentials.mkdir()
    for key, _, value in lines:
        if key == "LoadCredential":
            name, _, source = value.partition(":")
            assert source == f"{FOLDER}/{name}"
            (credentials / name).write_bytes(certificate[name].read_bytes())
    found: dict[str, object] = {}
    for key, _, value in lines:
        if key == "Environment":
            name, _, text = value.removeprefix("HOLDFAST_").partition("=")
            text = text.replace("%d", str(credentials)).replace(CACHE, str(node / "blocks"))
            found[name.lower()] = text
    (command,) = (value.split()[-1] for key, _, value in lines if key == "ExecStart")
    return {**found, "command": command}

"""An agent's HTTP port: probes and figures for all, the rest for operators alone."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.service.processes import Served, serving

PAGES = ("connections", "streams", "budget", "calls", "frontends", "stacks", "tasks", "loop")


def agent_of(folder: Path, http: str = "127.0.0.1:0") -> AbstractContextManager[Served]:
    """An agent whose only frontend isn't there."""
    settings: dict[str, Any] = {"agent_frontends": "127.0.0.1:1", "data_dir": folder, "http": http}
    return serving(folder / "log", command="agent", **settings)


def test_on_loopback(tmp_path: Path) -> None:
    """On loopback, whoever is on the machine sees all pages, unless another site has it ask."""
    with agent_of(tmp_path) as agent:
        assert agent.http("/livez") == agent.http("/readyz") == (200, "ok\n")
        assert "holdfast_build_info" in agent.http("/metrics")[1]
        assert {f"/debug/{page}" for page in PAGES} <= set(agent.http("/debug")[1].split())
        for page in PAGES:
            assert agent.http(f"/debug/{page}")[0] == 200, page
        (frontend,) = json.loads(agent.http("/debug/frontends")[1])
        assert frontend["frontend"] == "127.0.0.1:1"
        event = agent.event("listening for probes and metrics")
        assert event is not None
        url = f"http://127.0.0.1:{event['port']}/debug/frontends"
        asked = urllib.request.Request(url, headers={"Host": "evil.example"})
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(asked)  # noqa: S310 -- our own
        assert refused.value.code == 403
        assert agent.terminate() == 0


def test_where_others_reach_it(tmp_path: Path) -> None:
    """Where the port can't tell operators from others, it has no pages for them."""
    with agent_of(tmp_path, "0.0.0.0:0") as agent:
        assert agent.http("/readyz") == (200, "ok\n")
        for path in ("/debug", "/debug/frontends", "/debug/stacks", "/"):
            assert agent.http(path)[0] == 404, path

"""A real Prometheus that scrapes what a test runs, with the chart's rules at another speed."""

from __future__ import annotations

import json
import re
import shutil
import urllib.parse
import urllib.request
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import yaml

from tests.servers.process import free_port, started

PERIOD: Final = "500ms"
"""Between two scrapes, and two evaluations of the rules."""
SHORTEST: Final = 4.0
"""Seconds of a range: it must have several scrapes."""
DURATION: Final = re.compile(r"\b(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?\b")
SECONDS: Final = (86400, 3600, 60, 1)


def seconds(duration: str) -> float:
    """Returns Prometheus's duration in seconds."""
    found = DURATION.fullmatch(duration)
    assert found, duration
    return float(sum(int(n or 0) * unit for n, unit in zip(found.groups(), SECONDS, strict=True)))


def hastened(rules: Mapping[str, Any], factor: float) -> dict[str, Any]:
    """Returns rules whose ranges and waits are shorter by a factor; thresholds stay as they are."""

    def short(duration: str) -> str:
        return f"{int(max(SHORTEST, seconds(duration) / factor) * 1000)}ms"

    def rule_of(rule: Mapping[str, Any]) -> dict[str, Any]:
        expr = re.sub(r"\[(\w+)\]", lambda found: f"[{short(found[1])}]", rule["expr"])
        expr = re.sub(r"\boffset (\w+)", lambda found: f"offset {short(found[1])}", expr)
        waits = {key: short(rule[key]) for key in ("for", "keep_firing_for") if key in rule}
        return {**rule, **waits, "expr": expr}

    return {
        "groups": [
            {"name": group["name"], "rules": [rule_of(rule) for rule in group["rules"]]}
            for group in rules["groups"]
        ]
    }


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A running one."""

    port: int

    def ask(self, path: str, **parameters: str) -> Any:
        """Returns the data of an answer."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]

    def value(self, expr: str) -> list[float]:
        """Returns the values of an expression now."""
        return [float(one["value"][1]) for one in self.ask("query", query=expr)["result"]]

    def firing(self) -> set[str]:
        """Returns the names of alerts that fire."""
        return self._alerts({"firing"})

    def active(self) -> set[str]:
        """Returns the names of alerts that fire, or will if their reason lasts."""
        return self._alerts({"firing", "pending"})

    def _alerts(self, states: Collection[str]) -> set[str]:
        found = self.ask("alerts")["alerts"]
        return {one["labels"]["alertname"] for one in found if one["state"] in states}


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=10) as answer:
            return bool(answer.status == HTTPStatus.OK)
    except OSError:
        return False


@contextmanager
def prometheus(
    folder: Path, targets: Mapping[str, Sequence[int]], rules: Mapping[str, Any]
) -> Iterator[Prometheus]:
    """Scrapes ports of this machine, by job, until the block ends."""
    program = shutil.which("prometheus")
    assert program is not None, "prometheus isn't installed"
    port = free_port()
    (folder / "rules.yaml").write_text(yaml.safe_dump(dict(rules)), "utf-8")
    config = {
        "global": dict.fromkeys(
            ("scrape_interval", "evaluation_interval", "scrape_timeout"), PERIOD
        ),
        "rule_files": [str(folder / "rules.yaml")],
        "scrape_configs": [
            {
                "job_name": job,
                "static_configs": [{"targets": [f"127.0.0.1:{one}" for one in ports]}],
            }
            for job, ports in targets.items()
        ],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config), "utf-8")
    command = [
        program,
        f"--config.file={folder / 'prometheus.yaml'}",
        f"--storage.tsdb.path={folder / 'series'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=error",
    ]
    with started(command, folder / "prometheus.log", lambda: _is_ready(port)):
        yield Prometheus(port)

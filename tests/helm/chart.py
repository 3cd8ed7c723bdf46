"""Rendering the chart, and finding one's way in what comes out."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parent.parent.parent / "helm" / "holdfast"
KUBERNETES = "1.34.0"
NEEDED: dict[str, Any] = {
    "image": {"repository": "example.invalid/holdfast"},
    "s3": {"bucket": "content"},
    "redis": {"existingSecret": {"name": "holdfast-redis"}},
}
"""The values without which there are no frontends."""

COMPONENT = "app.kubernetes.io/component"
Values = Mapping[str, Any]
Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's, where there is one: it takes a tenth of the time."""


def helm_binary() -> str | None:
    """Where helm is: HOLDFAST_TEST_BIN, PATH, or the cache that `make tools` fills."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "holdfast" / "bin"
    folders = [os.environ.get("HOLDFAST_TEST_BIN", ""), os.environ.get("PATH", ""), str(cache)]
    return shutil.which("helm", path=os.pathsep.join(folder for folder in folders if folder))


def merged(base: Values, over: Values) -> dict[str, Any]:
    """Values laid over others, as helm does it: mappings are merged, all else replaced."""
    result = dict(base)
    for name, value in over.items():
        old = result.get(name)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            value = merged(old, value)  # noqa: PLW2901 -- the mapping that takes its place
        result[name] = value
    return result


@dataclass(frozen=True)
class Helm:
    """The program, with a home of its own."""

    program: str
    home: Path
    rendered: dict[str, str] = field(default_factory=dict)
    """What helm rendered, by the values: tests ask for the same ones again and again."""

    def run(
        self, *arguments: str, values: Values | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs a helm command, with values on its standard input."""
        return subprocess.run(
            [self.program, *arguments, "--values", "-"],
            input=json.dumps(values or {}),
            env={"PATH": os.environ["PATH"], "HOME": str(self.home)},
            check=False,
            capture_output=True,
            text=True,
        )

    def render(self, **values: Any) -> Rendered:
        """Renders the chart with what frontends need and these values over it."""
        return self.render_only(merged(NEEDED, values))

    def render_only(self, values: Values) -> Rendered:
        """Renders the chart with these values and nothing else."""
        key = json.dumps(values, sort_keys=True)
        if key not in self.rendered:
            done = self._template(values)
            assert done.returncode == 0, done.stderr
            self.rendered[key] = done.stdout
        return Rendered.parsed(self.rendered[key])

    def refusal(self, **values: Any) -> str:
        """What helm says when it refuses to render."""
        done = self._template(merged(NEEDED, values))
        assert done.returncode != 0, "it was rendered"
        return done.stderr

    def notes(self, **values: Any) -> str:
        """What helm prints after an installation; it shows that only to a cluster's owner.

        So a copy of the chart renders its notes as an object.
        """
        copy = Path(tempfile.mkdtemp(dir=self.home)) / "holdfast"
        shutil.copytree(CHART, copy)
        shutil.move(copy / "templates" / "NOTES.txt", copy / "notes.txt")
        wrapped = 'kind: Notes\ntext: |\n{{ tpl (.Files.Get "notes.txt") . | indent 2 }}\n'
        (copy / "templates" / "notes.yaml").write_text(wrapped)
        done = self._template(merged(NEEDED, values), copy)
        assert done.returncode == 0, done.stderr
        [notes] = [item for item in yaml.safe_load_all(done.stdout) if item["kind"] == "Notes"]
        return str(notes["text"])

    def _template(self, values: Values, chart: Path = CHART) -> subprocess.CompletedProcess[str]:
        return self.run(
            "template", "store", str(chart), "--namespace", "content",
            "--kube-version", KUBERNETES, values=values,
        )  # fmt: skip


def component_of(item: Mapping[str, Any]) -> str:
    """The component that an object's or a template's labels name."""
    name: str = item["metadata"]["labels"][COMPONENT]
    return name


def _templates(item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    spec = item.get("spec", {})
    if "containers" in spec:
        yield item
    for name in {"jobTemplate", "template"} & spec.keys():
        yield from _templates(spec[name])


@dataclass(frozen=True)
class Rendered:
    """The objects of one rendering."""

    objects: list[dict[str, Any]]

    @classmethod
    def parsed(cls, text: str) -> Rendered:
        """The objects that helm printed."""
        return cls([item for item in yaml.load_all(text, Loader) if item])

    def all_of(self, kind: str) -> list[dict[str, Any]]:
        """The objects of a kind."""
        return [item for item in self.objects if item["kind"] == kind]

    def one(self, kind: str) -> dict[str, Any]:
        """The only object of a kind."""
        [item] = self.all_of(kind)
        return item

    def cronjob(self, name: str) -> dict[str, Any]:
        """The spec of the CronJob whose name ends so."""
        [job] = [
            job for job in self.all_of("CronJob") if job["metadata"]["name"].endswith(f"-{name}")
        ]
        spec: dict[str, Any] = job["spec"]
        return spec

    def every_pod(self) -> list[dict[str, Any]]:
        """All pod templates, metadata and spec, of whatever kind of object."""
        return [pod for item in self.objects for pod in _templates(item)]

    def pods(self) -> dict[str, dict[str, Any]]:
        """One pod template of each component."""
        return {component_of(pod): pod for pod in self.every_pod()}

    def policy(self, component: str) -> dict[str, Any]:
        """The spec of a component's own NetworkPolicy, which is always there."""
        [spec] = [
            item["spec"]
            for item in self.all_of("NetworkPolicy")
            if component_of(item) == component
            and item["spec"]["podSelector"]["matchLabels"][COMPONENT] == component
            and "annotations" not in item["metadata"]
        ]
        found: dict[str, Any] = spec
        return found

    @property
    def pod(self) -> dict[str, Any]:
        """The Deployment's pod spec."""
        spec: dict[str, Any] = self.one("Deployment")["spec"]["template"]["spec"]
        return spec

    @property
    def frontend(self) -> dict[str, Any]:
        """The frontend's container."""
        [found] = [item for item in self.pod["containers"] if item["name"] == "frontend"]
        container: dict[str, Any] = found
        return container

    @property
    def settings(self) -> dict[str, str]:
        """The frontend's variables whose values the chart says."""
        env = self.frontend["env"]
        return {item["name"]: item["value"] for item in env if "value" in item}

    def environment(self, secrets: Mapping[str, str]) -> dict[str, str]:
        """What the frontend finds in its environment.

        Args:
            secrets: the values of the Secrets' keys, by "name/key".
        """
        found: dict[str, str] = {}
        for item in self.frontend["env"]:
            if "value" in item:
                found[item["name"]] = item["value"]
            else:
                source = item["valueFrom"]["secretKeyRef"]
                found[item["name"]] = secrets[f"{source['name']}/{source['key']}"]
        return found

"""A node as a model: a folder of files, and a systemd, a containerd and an agent that follow them.

It models no more than what the rollout relies on; what the real programs do is shown by tests with
a real systemd and a real containerd.
"""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from holdfast.errors import FailedPrecondition, HoldfastError, NotFound, Unavailable
from holdfast.node.rollout import hooks
from holdfast.node.rollout.disk import NEW, Disk, leads
from holdfast.node.rollout.generation import Plan
from holdfast.node.rollout.journal import load
from holdfast.node.rollout.layout import AGENT_UNIT, GUARD_UNIT, Layout
from holdfast.node.rollout.ports import AnyTime, Host, KnownImage, Turn
from holdfast.node.rollout.runtime import MANIFEST

PAUSE = "registry.example/pause:1"
CONFIG = 'version = 2\n[plugins."io.containerd.grpc.v1.cri"]\nsandbox_image = "pause"\n'
OWN, OURS = "content", "holdfast"


class Killed(BaseException):
    """The rollout's process ended here."""


class Budget:
    """Steps that the rollout may take until it is killed."""

    def __init__(self) -> None:
        self.left: int | None = None
        self.taken = 0

    def __call__(self) -> None:
        """Takes a step.

        Raises:
            Killed: the process ends instead.
        """
        if self.left is not None and self.taken >= self.left:
            raise Killed
        self.taken += 1


class CountedDisk(Disk):
    """Files whose changes are counted, and fail while something is wrong with the disk."""

    def __init__(self, step: Callable[[], None], refuses: Callable[[Path], int]) -> None:
        self._step = step
        self._refuses = refuses

    def sync(self, path: Path) -> None:
        """No power fails here."""

    def step(self) -> None:
        """Counts."""
        self._step()

    def _tried(self, path: Path) -> None:
        if number := self._refuses(path):
            raise OSError(number, os.strerror(number), str(path))

    def write(self, path: Path, text: str, mode: int = 0o644) -> bool:
        """Writes, if that is possible."""
        if not path.is_file() or path.read_text() != text:
            self._tried(path)
        return super().write(path, text, mode)

    def folder(self, path: Path) -> None:
        """Makes a folder, if that is possible."""
        if not path.is_dir():
            self._tried(path)
        super().folder(path)

    def link(self, path: Path, target: str) -> None:
        """Makes a link, if that is possible."""
        staged = leads(path.with_name(f"{NEW}back-{path.name}"), target)
        if not (staged or leads(path, target)):
            self._tried(path)
        super().link(path, target)

    def stage(self, path: Path, target: str) -> None:
        """Makes a link, if that is possible."""
        self._tried(path)
        super().stage(path, target)

    def adopt(self, source: Path, target: Path, also: Mapping[str, str]) -> None:
        """Copies, if that is possible."""
        if not target.is_dir():
            self._tried(target)
        super().adopt(source, target, also)


def blob(text: str) -> tuple[str, bytes]:
    """Some content and its digest."""
    body = text.encode()
    return f"sha256:{hashlib.sha256(body).hexdigest()}", body


def image(name: str) -> dict[str, bytes]:
    """An image of a manifest, which comes first, a configuration and a layer."""
    layer, config = blob(f"layer of {name}"), blob(f'{{"config of": "{name}"}}')
    manifest = blob(json.dumps({"config": {"digest": config[0]}, "layers": [{"digest": layer[0]}]}))
    return dict([manifest, config, layer])


@dataclass
class Model:
    """A node.

    Attributes:
        root: its files.
        fleet: what Holdfast has for it.
        images: what containerd knows, by names.
        restarts: how often containerd was restarted.
        frontends: whether frontends answer.
        loses: a digest that Holdfast takes, and doesn't list then.
        withheld: a digest that Holdfast lists, and can't read.
        garbled: a digest that the agent reads, and containerd can't read from Holdfast.
        frail: generations whose agent doesn't start.
        mute: generations whose agent starts, and can't list.
        blind: generations whose agent lists, and can't read.
        release: the version of the containerd that is installed.
        hook_steps: how many steps containerd's hook takes until its time is up; None: all.
        meanwhile: what happens in the next wait that has to wait.
        flaky: how many of containerd's next starts miss all images, as without its content.
        running: whether containerd runs.
        serving: the generation whose agent runs.
        guarded: whether an upgrade is watched.
        refuses: the number of the error with which its disk refuses to be written to; 0: none.
        refused: the folder in which it does.
        refuses_from: after how many of the rollout's steps; None: it always does.
        turn: its turn among others.
    """

    root: Path
    fleet: dict[str, bytes] = field(default_factory=dict)
    images: dict[str, dict[str, bytes]] = field(default_factory=dict)
    restarts: int = 0
    frontends: bool = True
    loses: str = ""
    withheld: str = ""
    garbled: str = ""
    frail: set[str] = field(default_factory=set)
    mute: set[str] = field(default_factory=set)
    blind: set[str] = field(default_factory=set)
    release: str = "1.6.20"
    hook_steps: int | None = None
    meanwhile: Callable[[], None] | None = None
    flaky: int = 0
    guarded: bool = False
    running: bool = False
    serving: str = ""
    budget: Budget = field(default_factory=Budget)
    turn: Turn = field(default_factory=AnyTime)
    said: list[str] = field(default_factory=list)
    refuses: int = 0
    refused: str = "/"
    refuses_from: int | None = None
    _store: str = OWN
    _listed: set[str] = field(default_factory=set)
    _units: dict[str, str] = field(default_factory=dict)
    _enabled: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.layout = Layout(host=self.root)
        self.layout.config.parent.mkdir(parents=True)
        self.layout.config.write_text(CONFIG)
        self.layout.blobs.mkdir(parents=True)
        self.layout.seen(self.layout.units).mkdir(parents=True)
        self.boot()
        self.pull(PAUSE)
        self.pull("app:1")

    # -- its life

    def boot(self) -> None:
        """The machine starts, or starts again, with nothing but its files."""
        self.running, self.serving, self.guarded = False, "", False
        self._load_units()
        if AGENT_UNIT in self._enabled:
            self._start_agent()
        self._start_containerd()

    def wait(self) -> None:
        """Time passes, in which the host helps itself."""
        if self.guarded:
            # systemd starts it again if it fails.
            with suppress(FailedPrecondition):
                hooks.guard(self.host(Budget()))
                self.guarded = False

    def crash_containerd(self) -> None:
        """It ends, and systemd starts it again."""
        self.running = False
        self._start_containerd()

    def _load_units(self) -> None:
        folder = self.layout.seen(self.layout.units)
        found = [path for path in folder.rglob("*") if path.is_file()]
        self._units = {str(path.relative_to(folder)): path.read_text() for path in found}

    def _start_agent(self) -> bool:
        """Starts what the link leads to."""
        self.serving = ""
        link = self.layout.seen(self.layout.current)
        if AGENT_UNIT not in self._units or not link.exists():
            return False
        if link.readlink().name in self.frail:
            return False
        self.serving = link.readlink().name
        return True

    def _start_containerd(self) -> None:
        drop_in = self._units.get("containerd.service.d/50-holdfast.conf", "")
        if "prepare-containerd" in drop_in and self.layout.seen(self.layout.verified).exists():
            journal = load(self.layout)
            if journal is not None:
                budget = Budget()
                budget.left = self.hook_steps
                try:
                    hooks.prepare_containerd(self.host(budget), journal)
                except (HoldfastError, OSError, Killed) as error:  # systemd ignores how it ends
                    self.said.append(f"hook: {error!r}")
        self._store = self._configured()
        self.running = True
        self._listed = {name for name in self.images if self.startable(name)}
        if self.flaky and self._store == OURS:
            self.flaky -= 1
            self._listed = set()

    def _configured(self) -> str:
        """Which store containerd's files give it, as containerd merges them."""
        if not self.layout.config.exists():
            return OWN
        read = [tomllib.loads(self.layout.config.read_text())]
        for pattern in read[0].get("imports", []):
            folder = self.layout.seen(str(Path(pattern).parent))
            names = sorted(folder.iterdir()) if folder.is_dir() else []
            read += [
                tomllib.loads(path.read_text())
                for path in names
                if fnmatch(path.name, Path(pattern).name)
            ]
        disabled = any(
            "io.containerd.content.v1.content" in r.get("disabled_plugins", []) for r in read
        )
        proxied = any("holdfast" in r.get("proxy_plugins", {}) for r in read)
        assert disabled == proxied, "two stores, or none: containerd doesn't start"
        return OURS if proxied else OWN

    # -- what it is for

    def pull(self, name: str, content: dict[str, bytes] | None = None) -> None:
        """A kubelet pulls an image, of a layer by itself."""
        assert self.running
        self.images[name] = content or image(name)
        for digest, body in self.images[name].items():
            if self._store == OWN:
                (self.layout.blobs / digest.removeprefix("sha256:")).write_bytes(body)
            else:
                assert self.serving, "containerd has no store"
                self.fleet[digest] = body
        self._listed.add(name)

    def reads(self, digest: str) -> bytes | None:
        """Bytes from containerd's store."""
        if self._store == OWN:
            path = self.layout.blobs / digest.removeprefix("sha256:")
            return path.read_bytes() if path.exists() else None
        return None if digest == self.garbled else self.served(digest)

    def served(self, digest: str) -> bytes | None:
        """Bytes from the agent."""
        there = self.serving and self.serving not in self.blind | self.mute and self.frontends
        return self.fleet.get(digest) if there and digest != self.withheld else None

    def startable(self, name: str) -> bool:
        """Whether all of an image can be read."""
        return all(self.reads(digest) == body for digest, body in self.images[name].items())

    def starts(self) -> list[str]:
        """The images of which the kubelet can't start a container."""
        if not self.running:
            return sorted(self.images)
        return [n for n in self.images if n not in self._listed or not self.startable(n)]

    @property
    def store(self) -> str:
        """The content store that containerd uses."""
        return self._store

    def host(self, step: Callable[[], None] | None = None) -> Host:
        """The node as the rollout reaches it."""
        step = step or self.budget
        return Host(
            self.layout, CountedDisk(step, self._refused), FakeServices(self, step),
            FakeRuntime(self), FakeAgent(self, step), self.said.append, lambda _program: None,
            self._waits, self.turn,
        )  # fmt: skip

    def _waits(self, condition: Callable[[], bool], _seconds: float) -> bool:
        if not condition() and self.meanwhile is not None:
            what, self.meanwhile = self.meanwhile, None
            what()
        return condition()

    def _refused(self, path: Path) -> int:
        inside = f"/{path.relative_to(self.root)}"
        late = self.refuses_from is None or self.budget.taken >= self.refuses_from
        return self.refuses if late and inside.startswith(self.refused) else 0

    def leftovers(self) -> list[str]:
        """Files that weren't there before the rollout, and aren't content."""
        found = [str(p.relative_to(self.root)) for p in self.root.rglob("*") if p.is_file()]
        return [n for n in found if "/blobs/" not in n and n != "etc/containerd/config.toml"]


class FakeServices:
    """systemd."""

    def __init__(self, model: Model, step: Callable[[], None]) -> None:
        self._model, self._step = model, step

    def check(self) -> None:
        """It is there."""

    def reload(self) -> None:
        """Reads units."""
        self._step()
        self._model._load_units()

    def enable(self, *units: str) -> None:
        """Enables units that were loaded."""
        self._step()
        assert set(units) <= set(self._model._units)
        self._model._enabled |= set(units)

    def disable(self, *units: str) -> None:
        """Disables and stops them."""
        self._step()
        self._model._enabled -= set(units)
        if AGENT_UNIT in units:
            self._model.serving = ""

    def restart(self, unit: str) -> None:
        """One job: once it was asked for, it is finished even if whoever asked is killed."""
        self._step()
        if unit == AGENT_UNIT:
            if not self._model._start_agent():
                raise FailedPrecondition(f"{unit} doesn't start")
        elif unit == "containerd.service":
            self._model.restarts += 1
            self._model.crash_containerd()
        self._step()

    def begin(self, unit: str) -> None:
        """Only the guard is started in this way."""
        self._step()
        assert unit == GUARD_UNIT
        assert unit in self._model._units
        self._model.guarded = True

    def active(self, unit: str) -> bool:
        """Whether it runs; of the others nothing depends on that."""
        return bool(self._model.serving) if unit == AGENT_UNIT else True

    def release(self, unit: str) -> str:
        """The one that is installed."""
        assert unit == "containerd.service"
        return self._model.release


class FakeRuntime:
    """containerd."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def version(self) -> str:
        """The one that is installed."""
        return self._model.release

    def stores(self) -> frozenset[str]:
        """The one that it uses."""
        return frozenset({self._model.store})

    def images(self) -> list[KnownImage]:
        """All of them, in the kubelet's namespace."""
        return [KnownImage("k8s.io", name, next(iter(b))) for name, b in self._model.images.items()]

    def content(self) -> set[str]:
        """What the database knows."""
        return {digest for blobs in self._model.images.values() for digest in blobs}

    def read(self, namespace: str, digest: str) -> bytes:
        """From the store that it uses."""
        assert namespace == "k8s.io"
        body = self._model.reads(digest)
        if body is None:
            raise NotFound(digest)
        if len(body) > MANIFEST:
            raise ValueError(digest)
        return body

    def listed(self) -> set[str]:
        """What the kubelet finds."""
        return set(self._model._listed)


class FakeAgent:
    """The agent."""

    def __init__(self, model: Model, step: Callable[[], None]) -> None:
        self._model, self._step = model, step

    def held(self) -> dict[str, int]:
        """What the fleet has, if it runs, and frontends do."""
        model = self._model
        if not model.serving or model.serving in model.mute or not model.frontends:
            raise Unavailable("no agent")
        # A copy: other threads push meanwhile.
        return {digest: len(body) for digest, body in self._model.fleet.copy().items()}

    def read(self, digest: str) -> bytes:
        """From the fleet."""
        if digest not in self.held():
            raise NotFound(digest)
        body = self._model.served(digest)
        if body is None:
            raise Unavailable(f"{digest} can't be read")
        return body

    def push(self, path: Path, digest: str) -> None:
        """Takes a file's bytes."""
        self._step()
        self.held()
        if digest != self._model.loses:
            self._model.fleet[digest] = path.read_bytes()

    def fetch(self, digest: str, path: Path) -> None:
        """Writes bytes into a file."""
        self._step()
        self.held()
        if number := self._model._refused(path):
            raise OSError(number, os.strerror(number), str(path))
        path.write_bytes(self.read(digest))


def plan(folder: Path, version: str, **settings: str) -> Plan:
    """A plan with a program of its own."""
    bundle = folder / f"bundle-{version}"
    if not bundle.is_dir():
        bundle.mkdir()
        (bundle / "holdfast").write_text(version)
    return Plan(bundle, version, "node-a", {"HOLDFAST_AGENT_FRONTENDS": "f:1", **settings})

"""ghz against a frontend, one profile for every RPC: `bench/ghz/*.json`.

Against a frontend of its own, or, with an address, against a cluster's. It puts one
blob and one ingest there, under names of its own, and takes them away again.
"""

from __future__ import annotations

import json
import secrets
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.compare.peers import Peers, answer, tool
from bench.cpu import Cpu
from holdfast import ContentStore

PROFILES = Path(__file__).parent / "ghz"
BLOB = 2**20


@dataclass(frozen=True)
class Load:
    """What one profile found: calls per second, latencies in ms, codes and how often, CPU."""

    profile: str
    rate: float
    p50: float
    p99: float
    codes: dict[str, int]
    cpu: Mapping[str, Cpu] = field(default_factory=dict)
    errors: Mapping[str, int] = field(default_factory=dict)
    """Texts of the errors that calls ended with, and how often."""

    @property
    def answered(self) -> bool:
        """Whether every call was."""
        return set(self.codes) <= {"OK", "NotFound"}


@dataclass(frozen=True)
class Result:
    """All profiles of one run."""

    loads: Sequence[Load]

    @property
    def within_limits(self) -> bool:
        """Whether every call was answered: how fast is for the reader to judge."""
        return all(load.answered for load in self.loads)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {load.profile: vars_of(load) for load in self.loads}

    def text(self) -> str:
        """For people."""
        lines = [f"{'profile':16}{'calls/s':>10}{'p50 ms':>10}{'p99 ms':>10}  codes"]
        lines += [
            f"{load.profile:16}{load.rate:10.0f}{load.p50:10.2f}{load.p99:10.2f}  {load.codes}"
            for load in self.loads
        ]
        return "\n".join(lines)


def vars_of(load: Load) -> dict[str, Any]:
    """A profile's figures for JSON."""
    return {"rate": load.rate, "p50_ms": load.p50, "p99_ms": load.p99, "codes": load.codes}


def profiles() -> list[str]:
    """The names of all profiles."""
    return sorted(path.stem for path in PROFILES.glob("*.json"))


def run(names: Sequence[str], address: str, tenant: str) -> Result:
    """Runs profiles against `address`, or against a frontend of its own if that is empty."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hf-load-")))
        if not address:
            address = stack.enter_context(Peers(folder)).frontend().address
        store = stack.enter_context(ContentStore(address, tenant=tenant))
        ref = f"load-{secrets.token_hex(8)}"
        with store.writer(f"{ref}-blob") as writer:
            writer.write(secrets.token_bytes(BLOB))
            digest = writer.commit().digest
        stack.callback(store.delete, digest)
        open_ingest = stack.enter_context(store.writer(ref, total=BLOB))
        open_ingest.write(b"load")
        open_ingest.flush()
        stack.callback(store.abort, ref)
        filled = {"@DIGEST@": str(digest), "@REF@": ref, "@TENANT@": tenant}
        return Result([ghz(name, address, filled) for name in names or profiles()])


def ghz(name: str, address: str, filled: Mapping[str, str], **changes: object) -> Load:
    """Runs one profile.

    Args:
        name: of the profile.
        address: of the server.
        filled: what stands for `@DIGEST@` and the other placeholders.
        changes: options of ghz that are other than the profile's; None takes one out.
    """
    text = (PROFILES / f"{name}.json").read_text("utf-8")
    for placeholder, value in filled.items():
        text = text.replace(placeholder, value)
    options = {**json.loads(text), "host": address, **changes}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as profile:
        json.dump({key: value for key, value in options.items() if value is not None}, profile)
        profile.flush()
        found = answer([tool("ghz"), "--config", profile.name, "--format", "json"])
    latencies = {
        point["percentage"]: point["latency"] / 1e6
        for point in found.get("latencyDistribution") or []
    }
    return Load(
        profile=name,
        rate=found["rps"],
        p50=latencies.get(50, 0.0),
        p99=latencies.get(99, 0.0),
        codes=dict(found["statusCodeDistribution"]),
        cpu=found["cpu"],
        errors=dict(found.get("errorDistribution") or {}),
    )

"""Images that aren't as most are, and a containerd that lacks what most have."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from holdfast.errors import FailedPrecondition
from holdfast.node.rollout.runtime import MANIFEST, ContainerdRuntime
from tests.rollout.model import OURS, blob
from tests.rollout.test_killed import install, node

LONG = "x" * (MANIFEST + 1)


def odd() -> dict[str, dict[str, bytes]]:
    """Images whose first piece is no manifest, or whose configuration is none."""
    config = blob(LONG)
    manifest = blob(json.dumps({"config": {"digest": config[0]}, "layers": []}))
    return {
        "of the first schema": dict([blob('{"schemaVersion": 1, "fsLayers": []}')]),
        "no JSON": dict([blob("\0")]),
        "no object": dict([blob("[]")]),
        "too deep": dict([blob("[" * 100_000)]),
        "too long": dict([config]),
        "a long configuration": dict([manifest, config]),
        "a configuration that isn't named": dict([blob('{"config": {}, "layers": [3]}')]),
    }


@pytest.mark.parametrize("name", odd())
def test_a_node_with_an_odd_image(name: str) -> None:
    """What isn't a manifest is compared by its digest, or is only listed; the node moves over."""
    with node() as model:
        model.pull(name, odd()[name])
        install(model)
        assert model.store == OURS


@pytest.mark.parametrize("name", odd())
def test_an_odd_image_that_is_lost(name: str) -> None:
    """If Holdfast has lost what an odd image needs, the node gets its own store back."""
    with node() as model:
        model.pull(name, odd()[name])
        model.loses = next(iter(odd()[name]))
        with pytest.raises(FailedPrecondition):
            install(model)
        assert model.store != OURS


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Path]:
    """The socket of a server that has no service."""
    socket = tmp_path / "bare.sock"
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_insecure_port(f"unix:{socket}")
    server.start()
    yield socket
    server.stop(None).wait()


def test_a_containerd_without_a_service(bare: Path) -> None:
    """Without Kubernetes's service there is no list of its own; any other is needed, and named."""
    runtime = ContainerdRuntime(bare)
    assert runtime.listed() is None
    with pytest.raises(FailedPrecondition, match=r"bare\.sock lacks a service"):
        runtime.images()

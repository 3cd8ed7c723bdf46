"""What a node has lost by moving over is noticed, and nothing else is taken for lost."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from holdfast.node.rollout.verifying import lost
from tests.rollout.model import Model, image
from tests.rollout.test_killed import install, node


@pytest.fixture
def moved() -> Iterator[Model]:
    """A node that has moved over, and still has its own store's files."""
    with node() as model:
        install(model)
        yield model


def test_nothing_is_lost(moved: Model) -> None:
    """After a move all is there."""
    assert lost(moved.host()) == []


@pytest.mark.parametrize("piece", [0, 1, 2])
def test_what_has_gone_since(moved: Model, piece: int) -> None:
    """A manifest, a configuration or a layer that Holdfast doesn't list any more is lost."""
    digest = list(moved.images["app:1"])[piece]
    del moved.fleet[digest]
    assert lost(moved.host()) == [digest]


@pytest.mark.parametrize("piece", [0, 1])
def test_other_bytes(moved: Model, piece: int) -> None:
    """A manifest or a configuration that comes with other bytes is lost."""
    digest = list(moved.images["app:1"])[piece]
    moved.fleet[digest] = moved.fleet[digest].replace(b"app", b"App") + b" "
    assert lost(moved.host()) == [digest]


def test_what_was_never_there(moved: Model) -> None:
    """What containerd's database knows, and its own store lacked too, isn't lost by the move."""
    moved.images["half:1"] = image("half:1")
    assert lost(moved.host()) == []

"""Whatever a host's disk refuses, the node starts containers, and the next try finishes."""

from __future__ import annotations

import errno
from contextlib import suppress

import pytest

from holdfast.errors import FailedPrecondition, HoldfastError
from holdfast.node.rollout import carrying, hooks
from holdfast.node.rollout.disk import NEW
from holdfast.node.rollout.journal import Phase, load
from holdfast.node.rollout.removal import remove
from tests.rollout.model import OURS, OWN, Budget, Killed, Model
from tests.rollout.test_killed import (
    AFTER,
    CHANGES,
    break_the_next,
    happen,
    install,
    installed,
    killed_at,
    name,
    node,
    steps,
    unstarted,
    upgrade,
)

FAULTS = {
    "a full disk": (errno.ENOSPC, "/"),
    "a folder /etc that can't be written to": (errno.EROFS, "/etc"),
    "units that a policy protects": (errno.EACCES, "/etc/systemd"),
    "programs that a policy protects": (errno.EACCES, "/opt"),
    "a folder of containerd's that can't be written to": (errno.EROFS, "/var/lib/containerd"),
}
"""Which error, and where."""


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("change", ["install", "upgrade", "remove"])
def test_a_disk_that_refuses(change: str, fault: str) -> None:
    """From whichever step on a disk can't be written to, the node works; later tries finish."""
    prepare, do, store, _ = CHANGES[change]
    for step in range(steps(prepare, do)):
        with node() as model:
            prepare(model)
            model.refuses, model.refused = FAULTS[fault]
            model.refuses_from = model.budget.taken + step
            # Whether it fails depends on what it has left to write.
            with suppress(HoldfastError, OSError):
                do(model)
            model.refuses_from = None
            assert unstarted(model) == [], (step, model.said)
            model.wait()
            happen(model, AFTER[step % len(AFTER)])
            assert unstarted(model) == [], (step, model.said)
            model.refuses = 0
            model.pull("meanwhile:1")
            found = load(model.layout)
            if change != "remove" and found is not None and found.failed:
                with pytest.raises(FailedPrecondition, match="given up"):
                    do(model)
                install(model, "3")
            else:
                do(model)
            assert (model.starts(), model.store) == ([], store), (step, model.said)


@pytest.mark.parametrize("fault", ["a full disk", "units that a policy protects"])
def test_a_bad_upgrade_of_a_disk_that_refuses(fault: str) -> None:
    """If a bad upgrade meets a disk that can't be written to, the earlier agent serves."""
    # The link back to it is made before it is needed.
    for step in range(steps(break_the_next, attempt)):
        with node() as model:
            break_the_next(model)
            model.refuses, model.refused = FAULTS[fault]
            model.refuses_from = model.budget.taken + step
            attempt(model)
            assert model.starts() == [], (step, model.said)
            model.refuses_from = None
            model.wait()
            model.boot()
            assert model.starts() == [], (step, model.said)
            model.refuses = 0
            install(model, "3")
            assert (model.starts(), model.store) == ([], OURS)
            assert not [path for path in model.leftovers() if NEW in path]


def attempt(model: Model) -> None:
    """An upgrade that fails."""
    with pytest.raises((HoldfastError, OSError)):
        upgrade(model)


def test_no_room_to_go_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without room for what containerd has fetched, a removal fails, and changes nothing."""
    with node() as model:
        installed(model)
        before = load(model.layout)
        with monkeypatch.context() as patch:
            patch.setattr(carrying, "SPARE", 2**62)
            with pytest.raises(FailedPrecondition, match="make room"):
                remove(model.host())
        assert (model.starts(), model.store, load(model.layout)) == ([], OURS, before)
        remove(model.host())
        assert (model.starts(), model.store) == ([], OWN)


@pytest.mark.parametrize("change", ["install", "remove"])
def test_pulled_between_the_last_copy_and_the_restart(change: str) -> None:
    """What containerd pulls after it was decided that it moves is copied by its start itself."""
    prepare, do, store, _ = CHANGES[change]
    phase = Phase.MOVING if change == "install" else Phase.RETURNING
    tried = 0
    for step in range(steps(prepare, do)):
        with node() as model:
            prepare(model)
            before = model.store
            killed_at(model, step, do)
            found = load(model.layout)
            if found is None or found.phase is not phase or model.store != before:
                continue
            tried += 1
            model.pull("late:1")
            model.boot()
            assert (model.starts(), model.store) == ([], store), (step, model.said)
    assert tried


def test_a_boot_before_the_guard() -> None:
    """A machine that starts again in a bad upgrade has the earlier agent serve by itself."""
    for step in range(steps(break_the_next, attempt)):
        with node() as model:
            break_the_next(model)
            model.budget.left = model.budget.taken + step
            with pytest.raises(Killed):
                upgrade(model)
            model.budget.left = None
            model.boot()
            assert model.starts() == [], (step, model.said)


@pytest.mark.parametrize("restarted", [0, hooks.MENDING - 1, hooks.MENDING])
def test_images_are_mended(restarted: int) -> None:
    """A containerd that lacks images is restarted, so often between two boots and no more."""
    with node() as model:
        installed(model)
        assert not hooks.mend_images(model.host(Budget()), restarted)
        model.flaky = 1
        model.crash_containerd()
        assert model.starts() != []
        assert hooks.mend_images(model.host(Budget()), restarted) == (restarted < hooks.MENDING)
        assert (model.starts() == []) == (restarted < hooks.MENDING)


def test_an_agent_that_was_stopped() -> None:
    """A try finds an agent that doesn't run, and starts it."""
    with node() as model:
        installed(model)
        model.serving = ""
        install(model)
        assert model.serving == name(model, "1")

"""What happens to a host while a rollout works on it, and after it has ended half-way."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from functools import partial

import pytest

from holdfast.errors import FailedPrecondition, HoldfastError, Unavailable
from holdfast.node.rollout import hooks, serving
from holdfast.node.rollout.disk import Disk
from holdfast.node.rollout.journal import Journal, Phase, load
from holdfast.node.rollout.layout import AGENT_UNIT
from holdfast.node.rollout.removal import remove
from holdfast.node.rollout.rollout import AGAIN, Rollout
from tests.rollout.model import OURS, OWN, PAUSE, Budget, Killed, Model, plan
from tests.rollout.test_killed import (
    break_the_next,
    expect_failure,
    garble_a_manifest,
    install,
    installed,
    killed_at,
    mute_the_next,
    name,
    node,
    steps,
    unstarted,
    upgrade,
)


def known(model: Model) -> Journal:
    """The journal, which is there."""
    found = load(model.layout)
    assert found is not None
    return found


def serves(model: Model) -> None:
    """Passes if the link leads to what the journal says, and the machine starts with it."""
    link = model.layout.seen(model.layout.current)
    assert (link.readlink().name, link.exists()) == (known(model).current, True)
    model.boot()
    assert (model.starts(), model.serving) == ([], known(model).current)


# -- while a rollout waits for its agent


def guarded(model: Model) -> None:
    """The guard's time is up."""
    with pytest.raises(FailedPrecondition, match="locked"):
        hooks.guard(model.host(Budget()))


@pytest.mark.parametrize("what", [Model.crash_containerd, guarded])
def test_while_the_rollout_waits(what: Callable[[Model], None]) -> None:
    """While a rollout lives, neither containerd's start nor the guard puts an agent back."""
    with node() as model:
        mute_the_next(model)
        model.meanwhile = lambda: what(model)
        with pytest.raises(Unavailable):
            upgrade(model)
        assert known(model).current == name(model, "1")
        serves(model)


def test_the_hook_of_an_earlier_release() -> None:
    """If something that locks nothing puts the earlier agent back, the upgrade has failed."""
    with node() as model:
        mute_the_next(model)

        def put_back() -> None:
            link = model.layout.seen(model.layout.current)
            Disk().link(link, name(model, "1"))
            model.host(Budget()).services.restart(AGENT_UNIT)

        model.meanwhile = put_back
        with pytest.raises(Unavailable, match="led elsewhere"):
            upgrade(model)
        serves(model)


def test_the_guard_of_two_tries() -> None:
    """A guard whose time is up while a second try is under way guards that one, too."""
    with node() as model:
        mute_the_next(model)
        killed_at(model, steps(mute_the_next, expect_failure(upgrade)) // 2, upgrade)

        def end() -> None:
            model.wait()
            raise Killed

        model.meanwhile = end
        with pytest.raises(Killed):
            upgrade(model)
        assert model.starts() != []
        model.wait()
        assert model.starts() == []
        serves(model)


def test_an_upgrade_that_ends_while_the_hook_waits() -> None:
    """A containerd's start that finds an upgrade ended leaves its agent as it is."""
    tried = 0
    for step in range(steps(mute_the_next, expect_failure(upgrade))):
        with node() as model:
            mute_the_next(model)
            killed_at(model, step, upgrade)
            if model.serving != name(model, "2"):
                continue
            tried += 1
            model.meanwhile = partial(end_well, model)
            model.crash_containerd()
            model.frontends = True
            assert model.serving == known(model).current == name(model, "2")
            serves(model)
    assert tried


def end_well(model: Model) -> None:
    """The agent is mended, an upgrade to it ends, and then no frontend answers any more."""
    model.mute.clear()
    upgrade(model)
    model.frontends = False


def test_what_links_lead_to_stays() -> None:
    """A generation that a link leads to isn't removed, whatever is to be kept."""
    with node() as model:
        installed(model)
        serving.tidy(model.host(), "another")
        serves(model)


def test_back_to_the_agent_that_served() -> None:
    """After an upgrade that was killed, an install of the earlier version has its agent run."""
    for step in range(steps(installed, upgrade)):
        with node() as model:
            installed(model)
            killed_at(model, step, upgrade)
            install(model)
            assert model.serving == known(model).current == name(model, "1"), step
            serves(model)


# -- without frontends, or with some that fail


def lose_frontends(model: Model) -> None:
    """No frontend answers any more."""
    model.frontends = False


def lose_the_pause_image(model: Model) -> None:
    """A piece of the pause image is listed, and can't be read any more."""
    model.withheld = next(iter(model.images[PAUSE]))


@pytest.mark.parametrize("lose", [lose_frontends, lose_the_pause_image])
def test_a_boot_before_holdfast_was_verified(lose: Callable[[Model], None]) -> None:
    """Until containerd was seen to work with Holdfast, it starts without it if need be."""
    for step in range(steps(lambda _model: None, install)):
        with node() as model:
            killed_at(model, step, install)
            lose(model)
            found = load(model.layout)
            if found is not None and found.phase is Phase.HOLDFAST:
                continue
            model.boot()
            assert (model.starts(), model.store) == ([], OWN), (step, model.said)
            model.frontends, model.withheld = True, ""
            install(model)
            assert (model.starts(), model.store) == ([], OURS), (step, model.said)


@pytest.mark.parametrize("prepare", [lambda _model: None, installed])
def test_frontends_that_were_away(prepare: Callable[[Model], None]) -> None:
    """A version whose agent finds no frontend, like the earlier one, is tried again later."""
    with node() as model:
        prepare(model)
        model.frontends = False
        with pytest.raises(Unavailable):
            upgrade(model)
        assert known(model).failed == ""
        model.frontends = True
        assert model.starts() == []
        upgrade(model)
        serves(model)
        assert model.serving == name(model, "2")


def test_an_agent_that_does_not_start_without_frontends() -> None:
    """An agent that systemd can't start is given up, whether frontends answer or not."""
    with node() as model:
        break_the_next(model)
        model.frontends = False
        with pytest.raises(FailedPrecondition):
            upgrade(model)
        assert known(model).failed == name(model, "2")


def test_nothing_to_read() -> None:
    """On a node without any image nothing is read, and it is installed and upgraded."""
    with node() as model:
        model.images.clear()
        shutil.rmtree(model.layout.blobs)
        install(model)
        upgrade(model)
        assert (model.fleet, model.store) == ({}, OURS)


# -- while containerd starts


def again(model: Model) -> None:
    """An install, even if it was given up."""
    Rollout(model.host(), plan(model.root.parent, "1"))(again=True)


@pytest.mark.parametrize(
    ("prepare", "do", "store"),
    [
        (lambda _model: None, again, OURS),
        (installed, lambda model: remove(model.host()), OWN),
        (garble_a_manifest, expect_failure(again), OWN),
    ],
    ids=["install", "remove", "roll back"],
)
def test_a_hook_whose_time_is_up(
    prepare: Callable[[Model], None], do: Callable[[Model], None], store: str
) -> None:
    """Wherever the time of containerd's hook is up, containerd starts, and can be used."""
    for step in range(30):
        with node() as model:
            prepare(model)
            model.hook_steps = step
            try:
                do(model)
            except HoldfastError:
                assert unstarted(model) == [], (step, model.said)
            model.hook_steps = None
            do(model)
            assert (model.starts(), model.store) == ([], store), (step, model.said)


def test_a_roll_back_whose_hook_has_no_time() -> None:
    """A roll-back ends with containerd's own store, even if nothing can be copied in time."""
    tried = 0
    for step in range(steps(garble_a_manifest, expect_failure(install))):
        with node() as model:
            garble_a_manifest(model)
            killed_at(model, step, install)
            found = load(model.layout)
            if found is None or found.phase is not Phase.ROLLBACK or model.store == OWN:
                continue
            tried += 1
            model.pull("later:1")
            for model.hook_steps in (4, 6):
                model.boot()
                assert (model.starts(), model.store) == (["later:1"], OWN)
            model.hook_steps = None
            expect_failure(install)(model)
            model.boot()
            assert (model.starts(), model.store) == ([], OWN)
    assert tried


def test_another_containerd() -> None:
    """After an upgrade of containerd its start configures the version that is installed."""
    with node() as model:
        installed(model)
        model.layout.config.write_text("version = 3\n")
        model.release = "2.1.3"
        model.boot()
        assert (model.store, model.starts()) == (OURS, []), model.said
        install(model)
        assert known(model).release == "2.1.3"


# -- after something else has changed the host


def forget(model: Model) -> None:
    """Something removes the hook and the import, and starts containerd, which then pulls."""
    model.layout.drop_in.unlink()
    model.layout.config.write_text("version = 2\n")
    model._load_units()
    model.crash_containerd()
    model.pull("own:1")


def heal(model: Model) -> None:
    """What the pod that watches does."""
    Rollout(model.host(), None)()


def test_a_node_that_has_lost_its_store() -> None:
    """A node that something has taken Holdfast from gets it again, without another install."""

    def lost(model: Model) -> None:
        installed(model)
        forget(model)

    for step in range(steps(lost, heal)):
        with node() as model:
            lost(model)
            killed_at(model, step, heal)
            model.wait()
            # What was fetched into Holdfast comes back with it.
            assert set(model.starts()) <= {"later:1"}, (step, model.said)
            heal(model)
            assert (model.starts(), model.store) == ([], OURS), (step, model.said)
            serves(model)
            assert model.restarts <= 2


def test_whoever_takes_the_store_away_again_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What takes Holdfast from a node again and again costs a restart of containerd an hour."""
    now = 1e9
    monkeypatch.setattr(time, "time", lambda: now)
    with node() as model:
        installed(model)
        forget(model)
        heal(model)
        forget(model)
        restarts = model.restarts
        now += AGAIN - 1
        with pytest.raises(FailedPrecondition, match="find what takes it away"):
            heal(model)
        assert (model.store, model.restarts) == (OWN, restarts)
        now += 1
        heal(model)
        assert model.store == OURS


def test_a_node_that_never_had_it() -> None:
    """What has never served on a node can't serve again."""
    with node() as model, pytest.raises(FailedPrecondition, match="no agent has served"):
        heal(model)

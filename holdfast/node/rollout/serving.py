"""Which generation serves the node."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from holdfast.errors import FailedPrecondition, HoldfastError, Unavailable
from holdfast.node.rollout.disk import NEW
from holdfast.node.rollout.layout import (
    AGENT_UNIT,
    GUARD_UNIT,
    IMAGES_UNIT,
    RENEWED_PATH,
    RENEWED_UNIT,
)
from holdfast.node.rollout.ports import Host

PATIENCE: Final = 60.0
"""Seconds in which an agent that was started must answer."""
UNITS: Final = (AGENT_UNIT, GUARD_UNIT, IMAGES_UNIT, RENEWED_UNIT, RENEWED_PATH)
_ENABLED: Final = (AGENT_UNIT, IMAGES_UNIT, RENEWED_PATH)


def watch(host: Host, generation: str) -> None:
    """Has the host itself see to it that some generation serves."""
    layout = host.layout
    made = layout.seen(f"{layout.programs}/{generation}/{GUARD_UNIT}")
    host.disk.write(layout.seen(f"{layout.units}/{GUARD_UNIT}"), made.read_text("utf-8"))
    host.services.reload()
    host.services.begin(GUARD_UNIT)


def serve(host: Host, generation: str, *, anew: bool) -> None:
    """Has a generation serve the node, and waits until it does.

    Args:
        host: the host.
        generation: one that is there.
        anew: whether the agent is restarted even if nothing about it has changed.

    Raises:
        FailedPrecondition: systemd can't start it.
        Unavailable: it doesn't answer.
    """
    layout = host.layout
    host.disk.link(layout.seen(layout.current), generation)
    anew = _units(host, generation) or anew
    # Even if nothing has changed: an earlier try may have been ended before it came to this.
    host.services.reload()
    enabled = [unit for unit in _ENABLED if layout.seen(f"{layout.units}/{unit}").exists()]
    host.services.enable(*enabled)
    if anew or not host.services.active(AGENT_UNIT):
        host.services.restart(AGENT_UNIT)
    if RENEWED_PATH in enabled and not host.services.active(RENEWED_PATH):
        host.services.restart(RENEWED_PATH)
    if not host.waits(host.agent.answers, PATIENCE):
        raise Unavailable(
            f"the agent runs, but can't list what the node holds after {PATIENCE:g} s; "
            f"`journalctl -u {AGENT_UNIT}` on the node says why"
        )


def _units(host: Host, generation: str) -> bool:
    """Writes a generation's units; returns whether any of them has changed."""
    layout, changed = host.layout, False
    folder = layout.seen(f"{layout.programs}/{generation}")
    for name in UNITS:
        path = layout.seen(f"{layout.units}/{name}")
        made = folder / name
        if made.is_file():
            changed = host.disk.write(path, made.read_text("utf-8")) or changed
        else:
            changed = host.disk.remove(path) or changed
    return changed


def fall_back(host: Host, generation: str) -> None:
    """Has an earlier generation serve again, as far as possible."""
    try:
        serve(host, generation, anew=True)
    except HoldfastError as error:
        host.say(f"the earlier agent, {generation}, doesn't serve either: {error!r}")
    except OSError as error:
        # Its program with the later one's units is better than none.
        host.say(f"the units of the earlier agent, {generation}, can't be written: {error!r}")
        with suppress(HoldfastError):
            host.services.restart(AGENT_UNIT)


def withdraw(host: Host) -> None:
    """Ends and removes the agent's units."""
    layout = host.layout
    host.services.disable(*UNITS)
    for name in UNITS:
        host.disk.remove(layout.seen(f"{layout.units}/{name}"))
    host.services.reload()


def tidy(host: Host, *kept: str) -> None:
    """Removes generations other than these, and what broken-off copies have left."""
    folder = host.layout.seen(host.layout.programs)
    for path in sorted(folder.iterdir()):
        whole = (path / AGENT_UNIT).is_file() and not path.is_symlink()
        if path.name in kept or not (whole or path.name.startswith(NEW)):
            continue
        if path.is_symlink():
            host.disk.remove(path)
        else:
            host.disk.remove_tree(path)


def there(host: Host, generation: str) -> None:
    """Passes if a generation is on the host and can run there.

    Raises:
        FailedPrecondition: it isn't, or can't.
    """
    program = f"{host.layout.programs}/{generation}/holdfast"
    if not host.layout.seen(program).exists():
        raise FailedPrecondition(f"{program} is gone")
    host.runs(program)

"""Which generation serves the node."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from holdfast.errors import FailedPrecondition, HoldfastError, Unavailable, because
from holdfast.node.rollout import carrying
from holdfast.node.rollout.disk import NEW, leads
from holdfast.node.rollout.layout import (
    AGENT_UNIT,
    GUARD_UNIT,
    IMAGES_UNIT,
    RENEWED_PATH,
    RENEWED_UNIT,
)
from holdfast.node.rollout.ports import Host

PATIENCE: Final = 60.0
"""Seconds in which an agent that was started must serve."""
PROOFS: Final = 3
"""Blobs of which it must read one. A single one may be lost without any fault of the agent's."""
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
        Unavailable: it doesn't serve, or something else has started another one meanwhile.
    """
    layout = host.layout
    current = layout.seen(layout.current)
    host.disk.link(current, generation)
    anew = _units(host, generation) or anew
    # Even if nothing has changed: an earlier try may have been ended before it came to this.
    host.services.reload()
    enabled = [unit for unit in _ENABLED if layout.seen(f"{layout.units}/{unit}").exists()]
    host.services.enable(*enabled)
    if anew or not host.services.active(AGENT_UNIT):
        host.services.restart(AGENT_UNIT)
    if RENEWED_PATH in enabled and not host.services.active(RENEWED_PATH):
        host.services.restart(RENEWED_PATH)
    if not host.waits(lambda: works(host), PATIENCE):
        raise Unavailable(
            f"the agent runs, but doesn't serve what the node holds after {PATIENCE:g} s: "
            f"{_why(host)}; `journalctl -u {AGENT_UNIT}` on the node says more"
        )
    # The hook of a release that locks nothing may have put the earlier one back.
    if not leads(current, generation):
        raise Unavailable(f"{current} was led elsewhere while {generation} was awaited")


def prove(host: Host) -> None:
    """Passes if the agent lists what the node holds, and can read some of it.

    If the node holds nothing small, nothing is read.

    Raises:
        Unavailable: it lists blobs, and can't read any of those that were tried.
        HoldfastError: as the agent says.
    """
    held = host.agent.held()
    small = sorted((size, digest) for digest, size in held.items() if 0 < size <= carrying.SMALL)
    failed: HoldfastError | None = None
    for _, digest in small[-PROOFS:]:
        try:
            host.agent.read(digest)
        except HoldfastError as error:
            failed = error
        else:
            return
    if failed is not None:
        raise Unavailable(f"it can't read what it lists: {because(failed)}") from failed


def works(host: Host) -> bool:
    """Whether the agent passes that proof. It never raises."""
    return not _why(host)


def _why(host: Host) -> str:
    """Why it doesn't; "" if it does."""
    try:
        prove(host)
    except (HoldfastError, OSError) as error:
        return because(error)
    return ""


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


def fall_back(host: Host, generation: str) -> bool:
    """Has an earlier generation serve again, as far as possible; returns whether it does."""
    try:
        serve(host, generation, anew=True)
    except HoldfastError as error:
        host.say(f"the earlier agent, {generation}, doesn't serve either: {error!r}")
    except OSError as error:
        # Its program with the later one's units is better than none.
        host.say(f"the units of the earlier agent, {generation}, can't be written: {error!r}")
        with suppress(HoldfastError):
            host.services.restart(AGENT_UNIT)
    else:
        return True
    return False


def withdraw(host: Host) -> None:
    """Ends and removes the agent's units."""
    layout = host.layout
    host.services.disable(*UNITS)
    for name in UNITS:
        host.disk.remove(layout.seen(f"{layout.units}/{name}"))
    host.services.reload()


def tidy(host: Host, *kept: str) -> None:
    """Removes generations other than these, and what broken-off copies have left.

    What a link leads to stays in any case.
    """
    layout = host.layout
    folder = layout.seen(layout.programs)
    links = (layout.seen(layout.current), layout.seen(layout.verified))
    kept = (*kept, *(link.readlink().name for link in links if link.is_symlink()))
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

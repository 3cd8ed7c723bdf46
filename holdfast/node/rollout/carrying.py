"""Content between containerd's own store and Holdfast, as far as the other side lacks it.

Neither direction removes anything, so each can be repeated or broken off at any point.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final

from holdfast.errors import FailedPrecondition, HoldfastError, because
from holdfast.node.rollout.ports import Host

JOBS: Final = 4
"""Blobs at once."""
SPARE: Final = 2**30
"""Bytes that stay free on containerd's disk."""
SMALL: Final = 64 * 2**10
"""Bytes of the largest blob that is read as a proof. Manifests and configurations are smaller."""
_HEX: Final = re.compile(r"[0-9a-f]{64}")


def own(host: Host) -> dict[str, Path]:
    """What containerd's own store has, by digests."""
    try:
        found = list(host.layout.blobs.iterdir())
    except FileNotFoundError:
        return {}
    return {f"sha256:{path.name}": path for path in found if _HEX.fullmatch(path.name)}


def to_holdfast(host: Host, jobs: int = JOBS) -> set[str]:
    """Has the node hold what containerd's own store has; returns the digests that it lacked.

    Raises:
        Unavailable: the agent doesn't answer.
        HoldfastError: as the agent says.
    """
    held = host.agent.held()
    lacking = {digest: path for digest, path in own(host).items() if digest not in held}

    def push(digest: str) -> None:
        # Otherwise containerd has collected it meanwhile.
        with suppress(FileNotFoundError):
            host.agent.push(lacking[digest], digest)

    _each(push, sorted(lacking), jobs)
    return set(lacking)


def proven(host: Host, jobs: int = JOBS) -> None:
    """Passes if the agent can read the small blobs that containerd's own store has, too.

    Raises:
        FailedPrecondition: it lists one that it can't read.
        HoldfastError: as the agent says.
    """
    held = host.agent.held()
    small = [digest for digest, path in own(host).items() if digest in held and _small(path)]

    def read(digest: str) -> None:
        try:
            host.agent.read(digest)
        except HoldfastError as error:
            raise FailedPrecondition(
                f"Holdfast lists {digest}, and can't read it: {because(error)}"
            ) from error

    _each(read, small, jobs)


def _small(path: Path) -> bool:
    try:
        return path.stat().st_size <= SMALL
    except FileNotFoundError:
        return False  # containerd has collected it meanwhile


def back(host: Host) -> None:
    """Writes into containerd's own store what can be read of what the node holds."""
    try:
        to_own(host)
    except (HoldfastError, OSError) as error:
        host.say(f"not all content could be copied back: {because(error)}")


def to_own(host: Host, jobs: int = JOBS) -> int:
    """Writes what the node holds into containerd's own store; returns how many blobs it lacked.

    Raises:
        Unavailable: the agent doesn't answer.
        FailedPrecondition: the disk has no room for it.
        HoldfastError: as the agent says.
    """
    held, there, layout = host.agent.held(), own(host), host.layout
    lacking = {
        digest: size
        for digest, size in held.items()
        if digest not in there and _HEX.fullmatch(digest.removeprefix("sha256:"))
    }
    if not lacking:
        return 0
    # Next to the blobs: to be moved there, it must be on the same file system.
    folder = layout.own_content / "holdfast"
    host.disk.folder(layout.blobs)
    host.disk.folder(folder)
    found = shutil.disk_usage(folder)
    if sum(lacking.values()) + SPARE > found.free:
        raise FailedPrecondition(
            f"{layout.containerd.root} has {found.free:,} bytes free, and needs {SPARE:,} and "
            f"{sum(lacking.values()):,} for what containerd has fetched into Holdfast: make room, "
            "for example with `crictl rmi --prune`"
        )

    def fetch(digest: str) -> None:
        name = digest.removeprefix("sha256:")
        host.disk.step()
        host.agent.fetch(digest, folder / name)
        (folder / name).chmod(0o444)
        host.disk.step()
        (folder / name).replace(layout.blobs / name)

    _each(fetch, sorted(lacking), jobs)
    host.disk.sync(layout.blobs)
    host.disk.remove_tree(folder)
    return len(lacking)


def _each(action: Callable[[str], None], digests: Iterable[str], jobs: int) -> None:
    """Does something for each digest, several at once; the first failure ends it."""
    if jobs == 1:
        for digest in digests:
            action(digest)
        return
    with ThreadPoolExecutor(jobs, "carry") as pool:
        futures = [pool.submit(action, digest) for digest in digests]
        try:
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise

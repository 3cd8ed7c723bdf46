"""What an agent remembers of blobs, per tenant: how they are described, and what is held.

| what happens | what is remembered afterwards |
| --- | --- |
| a frontend describes a blob | its description: bytes never change, so it is valid for ever |
| a frontend answers an Info | that answer |
| a frontend answers an Update | that answer; the description, but no answer, if another change was under way at any time since the Update was made |
| this node's Delete begins, and ends, however it ends | nothing of that digest |
| a frontend answers NOT_FOUND, DATA_LOSS or PERMISSION_DENIED | nothing of that digest |
| an Update begins, or ends without an answer | the description, but no answer |
| too much is remembered | nothing of what was used longest ago |

An answer to a call that was made before a change of the same digest ended isn't remembered. A
description is used whenever bytes are read. An answer to Info is used only if no frontend answers,
or one that can't reach its store or its Redis.
"""  # noqa: E501 -- a table's rows

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final, Protocol

from holdfast.digests import Digest
from holdfast.service.agent.described import DescribedBlob
from holdfast.service.agent.sizes import Sizes

BUDGET: Final = 16 * 2**20
"""Bytes remembered: a description has 4 bytes for every 4 MiB of its blob, or an inline blob."""
OVERHEAD: Final = 1024
CHANGES: Final = 4096
"""Changes that are remembered in order to distrust answers to earlier calls."""

Key = tuple[str, Digest]


@dataclass(frozen=True, slots=True)
class Remembered:
    """What is remembered of one digest; None is what isn't.

    Attributes:
        described: how a frontend described the blob.
        info: the last answer to Info, encoded.
    """

    described: DescribedBlob | None = None
    info: bytes | None = None

    @property
    def weight(self) -> int:
        """Bytes that it counts for."""
        described = self.described
        size = len(described.block_sums) + len(described.inline or b"") if described else 0
        return OVERHEAD + size + len(self.info or b"")


NOTHING: Final = Remembered()


class Notes(Protocol):
    """Where entries outlive the process."""

    def write(self, tenant: str, digest: Digest, entry: Remembered) -> None:
        """Begins to note an entry."""
        ...

    def remove(self, tenant: str, digest: Digest) -> None:
        """Removes what was noted of a digest."""
        ...


class NodeMemory:
    """Entries in memory, and what is noted of them elsewhere.

    Attributes:
        sizes: what clients were told of sizes.
    """

    def __init__(self, notes: Notes | None = None, budget: int = BUDGET) -> None:
        """Begins with nothing; `restore` adds what was noted before.

        Args:
            notes: outlive the process; None: nothing does.
            budget: bytes in memory.
        """
        self.sizes = Sizes()
        self._notes = notes
        self._budget = budget
        self._entries: OrderedDict[Key, Remembered] = OrderedDict()
        self._size = 0
        self._now = 0
        self._changes: OrderedDict[Key, int] = OrderedDict()
        self._forgotten_changes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def now(self) -> int:
        """A number that grows with each change; calls are made at one."""
        return self._now

    def recall(self, tenant: str, digest: Digest) -> Remembered:
        """Returns what is remembered of a digest."""
        key = tenant, digest
        found = self._entries.get(key)
        if found is None:
            return NOTHING
        self._entries.move_to_end(key)
        return found

    def restore(self, tenant: str, digest: Digest, entry: Remembered) -> None:
        """Remembers what was noted before this process began."""
        self._keep((tenant, digest), entry)

    def describe(self, tenant: str, digest: Digest, described: DescribedBlob, since: int) -> None:
        """Remembers a description that was asked for at `since`."""
        self._note(tenant, digest, replace(self.recall(tenant, digest), described=described), since)

    def answer(self, tenant: str, digest: Digest, info: bytes, since: int) -> None:
        """Remembers an answer to an Info that was asked for at `since`."""
        known = self.recall(tenant, digest)
        if known.info != info:
            self._note(tenant, digest, replace(known, info=info), since)

    def tell(self, tenant: str, digest: Digest, size: int) -> None:
        """Forgets a description that doesn't have the size which a client is told.

        Raises:
            DataLoss: clients were told another one before.
        """
        described = self.recall(tenant, digest).described
        if described is not None and described.size != size:
            self._drop((tenant, digest))
        self.sizes.tell(digest, size)

    @contextmanager
    def update(self, tenant: str, digest: Digest) -> Iterator[Callable[[bytes], None]]:
        """Forgets the answer to Info before an Update and after it, however it ends.

        What it yields is called with the Update's own answer, as one to Info, if there is any.
        """
        key = tenant, digest
        since, answers = self._changed(key), list[bytes]()
        self._set(key, replace(self.recall(tenant, digest), info=None))
        try:
            yield answers.append
        finally:
            alone = self._last_change(key) == since
            self._changed(key)
            info = answers[0] if answers and alone else None
            self._set(key, replace(self.recall(tenant, digest), info=info))

    def forget(self, tenant: str, digest: Digest) -> None:
        """Forgets a digest; answers to calls that were made before aren't remembered."""
        key = tenant, digest
        self._changed(key)
        self._drop(key)

    def _changed(self, key: Key) -> int:
        """Has answers to calls that were made before not be remembered; returns what `now` is."""
        self._now += 1
        self._changes[key] = self._now
        self._changes.move_to_end(key)
        if len(self._changes) > CHANGES:
            _, self._forgotten_changes = self._changes.popitem(last=False)
        return self._now

    def _last_change(self, key: Key) -> int:
        return max(self._changes.get(key, 0), self._forgotten_changes)

    @contextmanager
    def change(self, tenant: str, digest: Digest) -> Iterator[None]:
        """Forgets a digest before a Delete and after it, however it ends."""
        self.forget(tenant, digest)
        try:
            yield
        finally:
            self.forget(tenant, digest)

    def _note(self, tenant: str, digest: Digest, entry: Remembered, since: int) -> None:
        key = tenant, digest
        if self._last_change(key) <= since:
            self._set(key, entry)

    def _set(self, key: Key, entry: Remembered) -> None:
        if entry == NOTHING:
            self._drop(key)
            return
        self._keep(key, entry)
        if self._notes is not None:
            self._notes.write(*key, entry)

    def _keep(self, key: Key, entry: Remembered) -> None:
        before = self._entries.pop(key, NOTHING)
        self._entries[key] = entry
        self._size += entry.weight - (before.weight if before is not NOTHING else 0)
        while self._size > self._budget:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: Key) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._size -= entry.weight
        if self._notes is not None:
            self._notes.remove(*key)

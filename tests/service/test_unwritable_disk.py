"""A folder's disk that takes no more files, or no writes: reads go on, and all else comes back."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from grpc import StatusCode
from grpc.aio import AioRpcError

from holdfast.protos import content_pb2 as pb
from holdfast.storage.folder import FolderStore
from tests.servers.disk import small_disk
from tests.servers.process import wait_until
from tests.service.conftest import Fill
from tests.service.fleet import Fleet, Tenant, eventually, refused, sha256

MIB = 2**20
INODES = 3_000
"""Of the disk: some hundreds are used by the store's own locks and folders."""
HELLO = sha256(b"hello")


@dataclass(frozen=True)
class Mount:
    """A file system of the test's own."""

    folder: Path

    def remount(self, how: str) -> None:
        """Makes it `ro` or `rw`; a file that is being written keeps it as it is."""
        command = ["mount", "-o", f"remount,{how}", str(self.folder)]
        wait_until(lambda: not subprocess.run(command, check=False).returncode, "a remount")

    def use_up(self) -> None:
        """Leaves no inode."""
        filler = self.folder / "filler"
        filler.mkdir()
        with suppress(OSError):
            for number in range(INODES):
                (filler / str(number)).touch()

    def free(self) -> None:
        """Gives them back."""
        shutil.rmtree(self.folder / "filler")


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Such a file system, writable."""
    with small_disk(tmp_path / "disk", "size=96m", f"nr_inodes={INODES}") as folder:
        yield Mount(folder)


@pytest.fixture
async def client(
    mount: Mount, redis_url: str, tenant: str, tmp_path: Path
) -> AsyncIterator[Tenant]:
    """A tenant of a frontend whose store is on that disk."""
    store = FolderStore(mount.folder / "store")
    store.check_access()
    fleet = Fleet(store, redis_url, {"data_dir": tmp_path, "suspend_grace": 5.0})
    async with fleet.stack:
        client = (await fleet.frontend()).tenant(tenant)
        await client.commit("held", b"hello", labels={"k": "v"})
        yield client


Change = Callable[[Mount], None]
CASES: dict[str, tuple[Change, Change, StatusCode, str]] = {
    "read-only": (
        lambda mount: mount.remount("ro"),
        lambda mount: mount.remount("rw"),
        StatusCode.PERMISSION_DENIED,
        "Read-only file system; read the system's log",
    ),
    "no inodes": (
        Mount.use_up,
        Mount.free,
        StatusCode.RESOURCE_EXHAUSTED,
        "No space left on device; free some space on the disk of the data folder, or inodes",
    ),
}


@pytest.mark.parametrize(("spoil", "mend", "code", "text"), CASES.values(), ids=CASES)
async def test_commits_are_refused(
    mount: Mount,
    client: Tenant,
    fill: Fill,
    spoil: Change,
    mend: Change,
    code: StatusCode,
    text: str,
) -> None:
    """Commits, whole or begun, say why; reads go on; nothing half-done stays; then all goes on."""
    large = fill(9 * MIB)
    begun = client.write("begun")
    await begun.send(pb.STAT, total=len(large))
    await begun.write_all(large)

    async def stored() -> bool:
        return (await client.status("begun")).offset >= 8 * MIB

    await eventually(stored)  # nothing is being written that would give an inode back
    spoil(mount)
    assert text in await refused(code, client.commit("new", b"new"))
    assert text in await refused(code, begun.send(pb.COMMIT))
    assert await client.read(HELLO) == b"hello"
    assert dict((await client.info(HELLO)).labels) == {"k": "v"}
    assert [info.digest for info in await client.list()] == [HELLO]
    assert text in await refused(code, client.update(HELLO, {"k": "w"}))
    await refused(StatusCode.NOT_FOUND, client.info(sha256(b"new")))
    assert not list((mount.folder / "store" / "tmp").iterdir())
    mend(mount)
    await client.update(HELLO, {"k": "w"})
    await again(client, "new", b"new")
    await again(client, "begun", large)
    await client.delete(HELLO)
    assert {info.digest for info in await client.list()} == {sha256(b"new"), sha256(large)}
    assert await client.read(sha256(large)) == large
    assert not list((mount.folder / "store" / "tmp").iterdir())


async def again(client: Tenant, ref: str, data: bytes) -> None:
    """Commits what was refused; the refused commit, which is known, may be carried out first."""
    try:
        await client.commit(ref, data)
    except AioRpcError as error:
        assert error.code() is StatusCode.ALREADY_EXISTS  # noqa: PT017 -- or OK

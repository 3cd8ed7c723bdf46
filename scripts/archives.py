"""Archives whose bytes depend on nothing but what is in them."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path
from typing import Final

EXECUTABLE: Final = 0o111


def normalise(archive: Path, moment: int) -> None:
    """Writes a .tar.gz again: in order, with one time, and owned by nobody in particular.

    Args:
        archive: a tar archive that gzip has packed.
        moment: seconds since 1970, for each file and for the archive.
    """
    packed = io.BytesIO()
    with (
        tarfile.open(archive) as source,
        gzip.GzipFile("", "wb", compresslevel=9, fileobj=packed, mtime=moment) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.PAX_FORMAT) as target,
    ):
        for member in sorted(source.getmembers(), key=lambda member: member.name):
            content = source.extractfile(member) if member.isfile() else None
            target.addfile(plain(member, moment), content)
    archive.write_bytes(packed.getvalue())


def plain(member: tarfile.TarInfo, moment: int) -> tarfile.TarInfo:
    """An entry without what differs from one machine to the next; for `tarfile`'s filters, too."""
    mode = 0o755 if member.isdir() or member.mode & EXECUTABLE else 0o644
    entry = member.replace(mtime=moment, mode=mode, uid=0, gid=0, uname="", gname="", deep=False)
    # They would override what is set here: a time with its fraction, for one.
    entry.pax_headers = {}
    return entry

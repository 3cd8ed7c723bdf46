"""Where things are on the host."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from holdfast.node.containerd import DEFAULT_SOCKET, OWN_STORE

STATE: Final = "/var/lib/holdfast"
"""The journal's folder. It is fixed, because programs on the host find all else through it."""
AGENT_UNIT: Final = "holdfast.service"
IMAGES_UNIT: Final = "holdfast-images.service"
GUARD_UNIT: Final = "holdfast-guard.service"
RENEWED_UNIT: Final = "holdfast-renewed.service"
RENEWED_PATH: Final = "holdfast-renewed.path"


PROGRAMS: Final = "/opt/holdfast"
UNIT: Final = "containerd.service"
CONFIG: Final = "/etc/containerd/config.toml"
ROOT: Final = "/var/lib/containerd"
SOCKET: Final = "/run/containerd/containerd.sock"


@dataclass(frozen=True, slots=True)
class Containerd:
    """The host's containerd.

    Attributes:
        unit: the unit that starts it.
        config: the file that it reads first.
        root: where it keeps what outlives it.
        socket: where it is served.
        part: a file that is imported already, if Holdfast's part is to be there: then `config`
            isn't changed.
    """

    unit: str = UNIT
    config: str = CONFIG
    root: str = ROOT
    socket: str = SOCKET
    part: str = ""


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths as the host has them, and where they are seen from here.

    Attributes:
        host: the host's root folder; "/" on the host itself.
        programs: the folder of programs with their settings.
        units: the folder of the administrator's units.
        socket: the agent's.
        containerd: the host's containerd.
    """

    host: Path = Path("/")
    programs: str = PROGRAMS
    units: str = "/etc/systemd/system"
    socket: str = DEFAULT_SOCKET
    containerd: Containerd = field(default_factory=Containerd)

    def seen(self, path: str) -> Path:
        """Where a path of the host is from here."""
        return self.host / path.lstrip("/")

    @property
    def journal(self) -> Path:
        """The journal."""
        return self.seen(f"{STATE}/node.json")

    @property
    def lock(self) -> Path:
        """What whoever changes this host has locked."""
        return self.journal.with_name("lock")

    @property
    def current(self) -> str:
        """A link to the program that serves."""
        return f"{self.programs}/current"

    @property
    def verified(self) -> str:
        """A link to the last program that has served; what containerd starts by itself uses it."""
        return f"{self.programs}/verified"

    @property
    def own_content(self) -> Path:
        """The folder of containerd's own content store."""
        return self.seen(f"{self.containerd.root}/{OWN_STORE}")

    @property
    def blobs(self) -> Path:
        """The blobs of containerd's own store, each called by its digest's hexadecimal digits."""
        return self.own_content / "blobs" / "sha256"

    @property
    def drop_in(self) -> Path:
        """What containerd's unit has in addition."""
        return self.seen(f"{self.units}/{self.containerd.unit}.d/50-holdfast.conf")

    @property
    def config(self) -> Path:
        """The file that containerd reads first."""
        return self.seen(self.containerd.config)

    @property
    def imported(self) -> str:
        """The pattern by which that file imports ours: unlike a file, it may match nothing."""
        return f"{Path(self.containerd.config).parent}/holdfast.d/*.toml"

    @property
    def part(self) -> Path:
        """Our part of containerd's configuration."""
        given = self.containerd.part
        return self.seen(given) if given else self.seen(self.imported).with_name("holdfast.toml")

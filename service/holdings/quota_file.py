"""The file that `QUOTAS` names: bounds of single tenants, and of the fleet, in TOML.

    [fleet]
    bytes = "80 TiB"

    [tenants."node-7"]
    bytes = "500 GiB"
    holds = 20000

    [tenants."ci-*"]
    ingests = 0

What a table doesn't set is as in the settings; 0 sets no bound. Nothing else may be in the file.
"""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import structlog
from pydantic import BaseModel, ByteSize, ConfigDict, Field, ValidationError

from holdfast.errors import ConfigurationError, because, shorten
from holdfast.service.holdings.quotas import Quota, Quotas
from holdfast.service.settings import Settings

log = structlog.get_logger(__name__)

ROUND: Final = 5.0
"""Seconds between two looks whether the file has changed."""
LARGEST: Final = 16 * 2**20
"""Bytes of the largest file that is read: a hundred thousand tenants."""

Count = Annotated[int, Field(ge=0, strict=True)]
Stamp = tuple[int, int, int]
"""What changes with a file: its inode, its time in ns, its size."""


class _Tenant(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    bytes: Annotated[ByteSize, Field(ge=0)] | None = None
    holds: Count | None = None
    ingests: Count | None = None
    ingest_bytes: Annotated[ByteSize, Field(ge=0)] | None = None
    write_rate: Annotated[ByteSize, Field(ge=0)] | None = None
    call_rate: Count | None = None


class _Fleet(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    bytes: Annotated[ByteSize, Field(ge=0)] | None = None


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    fleet: _Fleet = _Fleet()
    tenants: dict[str, _Tenant] = {}


@dataclass(frozen=True, slots=True)
class QuotasRead:
    """What the file says.

    Attributes:
        tenants: bounds by tenant or pattern.
        fleet: bytes that the fleet may hold; None sets no bound.
    """

    tenants: Mapping[str, Quota]
    fleet: int | None = None


def quotas_in_force(settings: Settings) -> Quotas:
    """Returns the bounds that the settings set, and the file that they name.

    Raises:
        ConfigurationError: the file can't be used.
    """
    default = Quota(
        settings.tenant_bytes or None,
        settings.tenant_holds or None,
        settings.tenant_ingests or None,
        settings.tenant_ingest_bytes or None,
        settings.tenant_write_rate or None,
        settings.tenant_call_rate or None,
    )
    fleet = settings.fleet_bytes or None
    if not settings.quotas:
        return Quotas(default, fleet=fleet)
    found = read(Path(settings.quotas), default, fleet)
    return Quotas(default, found.tenants, fleet=found.fleet)


def read(path: Path, default: Quota, fleet: int | None = None) -> QuotasRead:
    """Returns the bounds in a file.

    Args:
        path: of the file.
        default: is used for what a tenant's table doesn't set.
        fleet: bytes that the fleet may hold if the file doesn't say it.

    Raises:
        ConfigurationError: it can't be read, or anything in it is wrong.
    """
    try:
        with path.open("rb") as file:
            body = file.read(LARGEST + 1)
        if len(body) > LARGEST:
            raise ConfigurationError(f"HOLDFAST_QUOTAS {path} is larger than {LARGEST} bytes")
        found = _File.model_validate(tomllib.loads(body.decode()))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"HOLDFAST_QUOTAS {path}: {_complaint(error)}") from error
    named = {name: _quota(tenant, default) for name, tenant in found.tenants.items()}
    return QuotasRead(named, _chosen(found.fleet.bytes, fleet))


def _quota(tenant: _Tenant, default: Quota) -> Quota:
    return Quota(
        _chosen(tenant.bytes, default.bytes),
        _chosen(tenant.holds, default.holds),
        _chosen(tenant.ingests, default.ingests),
        _chosen(tenant.ingest_bytes, default.ingest_bytes),
        _chosen(tenant.write_rate, default.write_rate),
        _chosen(tenant.call_rate, default.call_rate),
    )


def _chosen(own: int | None, other: int | None) -> int | None:
    return other if own is None else own or None


def _complaint(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        return f"{shorten(where)}: {first['msg']}"
    return because(error)


class QuotaFile:
    """Watches the file, and puts into force what it says.

    Attributes:
        refused: whether the file has changed into something that can't be used: then the bounds
            that were in force stay so.
    """

    def __init__(self, path: Path, quotas: Quotas, fleet: int | None = None) -> None:
        """Reads nothing yet.

        Args:
            path: of the file.
            quotas: those that are in force, which were read from it.
            fleet: bytes that the fleet may hold if the file doesn't say it.
        """
        self.refused = False
        self._path = path
        self._quotas = quotas
        self._fleet = fleet
        self._stamp: Stamp | None = None
        self._looked = False

    async def keep(self) -> None:
        """Watches the file until it is cancelled."""
        while True:
            await asyncio.sleep(ROUND)
            self.look()

    def look(self) -> None:
        """Reads the file again if it has changed; if it can't be used, nothing changes."""
        stamp = _stamp(self._path)
        if self._looked and stamp == self._stamp:
            return
        self._looked, self._stamp = True, stamp
        try:
            found = read(self._path, self._quotas.default, self._fleet)
        except ConfigurationError as error:
            self.refused = True
            log.warning("quotas not reloaded; they stay as they were", reason=because(error))
            return
        self.refused = False
        if (found.tenants, found.fleet) != (self._quotas.named, self._quotas.fleet):
            self._quotas.set(found.tenants, found.fleet)
            log.info("quotas reloaded", named=len(found.tenants))


def _stamp(path: Path) -> Stamp | None:
    try:
        found = path.stat()  # through symbolic links: Kubernetes swaps them
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size

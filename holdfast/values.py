"""What the store reports about its content and its ingests."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from holdfast.digests import Digest
from holdfast.errors import InvalidArgument, shorten

MAX_REF_BYTES = 1024
"""The longest ref, in UTF-8 bytes."""

MAX_LABEL_BYTES = 4096
"""The longest label in bytes, key and value together; containerd's own limit."""

MAX_LABELS = 1024
"""The most labels on one hold."""

_TENANT = re.compile(r"[a-z0-9._-]{1,63}", re.ASCII)


def _moment(ns: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(ns // 10**9, dt.UTC).replace(microsecond=ns % 10**9 // 1000)


class Labels(dict[str, str]):
    """Labels that never change: a `dict` that refuses changes, so that values can be hashed.

    Copies, pickles and `dataclasses.asdict` work as with any `dict`; `dict(labels)` returns
    a copy that can be changed.
    """

    __slots__ = ()

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:  # noqa: ANN401 -- whatever dict takes
        raise TypeError("labels can't be changed; use dict(labels), or ContentStore.update")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __hash__(self) -> int:  # type: ignore[override]
        """Equal labels have equal hashes, in whatever order they were given."""
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[type[Labels], tuple[dict[str, str]]]:
        """Supports copies and pickles: `dict`'s own way would set items one by one."""
        return Labels, (dict(self),)


def no_labels() -> Mapping[str, str]:
    """An empty, immutable set of labels."""
    return Labels()


@dataclass(frozen=True, slots=True)
class Info:
    """One tenant's view of a blob: sizes in bytes, times in ns since 1970 (UTC)."""

    digest: Digest
    size: int
    created_at_ns: int
    updated_at_ns: int
    labels: Mapping[str, str] = field(default_factory=no_labels)

    @property
    def created_at(self) -> dt.datetime:
        """When this tenant first held the blob, to the microsecond."""
        return _moment(self.created_at_ns)

    @property
    def updated_at(self) -> dt.datetime:
        """When the labels last changed, to the microsecond."""
        return _moment(self.updated_at_ns)


@dataclass(frozen=True, slots=True)
class Status:
    """How far an ingest has got: sizes in bytes, times in ns since 1970 (UTC)."""

    ref: str
    offset: int
    total: int
    expected: str
    started_at_ns: int
    updated_at_ns: int

    @property
    def started_at(self) -> dt.datetime:
        """When the ingest was first opened, to the microsecond."""
        return _moment(self.started_at_ns)

    @property
    def updated_at(self) -> dt.datetime:
        """When the ingest last progressed, to the microsecond."""
        return _moment(self.updated_at_ns)


@dataclass(frozen=True, slots=True)
class Flight:
    """A digest that is being written, and for which other tenants may wait.

    Attributes:
        digest: of the blob.
        leader: the tenant that is furthest.
        offset: how far it is, in bytes.
        total: of how many bytes; 0 if unknown.
        waiting: how many tenants wait for it.
        waiters: some of these tenants.
    """

    digest: Digest
    leader: str
    offset: int
    total: int
    waiting: int
    waiters: tuple[str, ...]


def check_ref(ref: str) -> str:
    """Returns `ref` if it can name an ingest.

    Raises:
        InvalidArgument: it is empty, longer than 1 KiB, or has a NUL.
    """
    if not ref:
        raise InvalidArgument("ref is empty: an ingest needs a reference")
    size = len(ref.encode())
    if size > MAX_REF_BYTES:
        raise InvalidArgument(
            f"ref {shorten(ref)} has {size} bytes; at most {MAX_REF_BYTES} are allowed"
        )
    if "\0" in ref:
        raise InvalidArgument(f"ref {shorten(ref)} contains a NUL character")
    return ref


def check_tenant(name: str) -> str:
    """Returns `name` if it can name a tenant.

    Raises:
        InvalidArgument: it isn't `[a-z0-9._-]{1,63}`, or is `.` or `..`.
    """
    if not _TENANT.fullmatch(name) or name in {".", ".."}:
        raise InvalidArgument(
            f"tenant {shorten(name)} is not a valid name: use 1 to 63 of a-z 0-9 . _ -, "
            "other than '.' and '..'"
        )
    return name


def check_labels(labels: Mapping[str, str]) -> Mapping[str, str]:
    """Returns `labels` if a hold can carry them.

    Raises:
        InvalidArgument: there are too many, or one has an empty key or is longer than 4096 bytes.
    """
    if len(labels) > MAX_LABELS:
        raise InvalidArgument(f"{len(labels)} labels given; at most {MAX_LABELS} are allowed")
    for key, value in labels.items():
        if not key:
            raise InvalidArgument(f"a label has an empty key (its value is {shorten(value)})")
        size = len(key.encode()) + len(value.encode())
        if size > MAX_LABEL_BYTES:
            raise InvalidArgument(
                f"label {shorten(key)} has {size} bytes of key and value; "
                f"at most {MAX_LABEL_BYTES} are allowed"
            )
    return labels

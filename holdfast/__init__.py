"""Holdfast: a content store for a fleet, and its client.

    from holdfast import ContentStore

    with ContentStore("127.0.0.1:9000", tenant="a") as store:
        pushed = store.push("layer.tar")
        with store.open(pushed.digest) as blob:
            head = blob.read(512)

For details, see docs/client.md. All errors are in one tree, `holdfast.errors`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from holdfast.digests import Digest
from holdfast.errors import (
    Aborted,
    AlreadyExists,
    BeingWritten,
    Busy,
    ConfigurationError,
    DataLoss,
    FailedPrecondition,
    HoldfastError,
    InvalidArgument,
    LeaseExpired,
    Locked,
    NotFound,
    OutcomeUnknown,
    OutOfRange,
    Overloaded,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
    UnsupportedFormat,
)
from holdfast.values import Flight, Info, Labels, Status

if TYPE_CHECKING:
    from holdfast.client import (
        Blob,
        BytesGone,
        ClientOptions,
        Committed,
        ContentNotFound,
        ContentStore,
        Tls,
        Writer,
    )

    __version__: str

__all__ = [
    "Aborted",
    "AlreadyExists",
    "BeingWritten",
    "Blob",
    "Busy",
    "BytesGone",
    "ClientOptions",
    "Committed",
    "ConfigurationError",
    "ContentNotFound",
    "ContentStore",
    "DataLoss",
    "Digest",
    "FailedPrecondition",
    "Flight",
    "HoldfastError",
    "Info",
    "InvalidArgument",
    "Labels",
    "LeaseExpired",
    "Locked",
    "NotFound",
    "OutOfRange",
    "OutcomeUnknown",
    "Overloaded",
    "PermissionDenied",
    "ResourceExhausted",
    "Status",
    "Tls",
    "Unavailable",
    "UnsupportedFormat",
    "Writer",
    "__version__",
]

if not TYPE_CHECKING:  # for a type checker, only the names above exist

    def __getattr__(name: str) -> object:
        """Loads the client on first use: a frontend needs only the values."""
        if name == "__version__":
            return import_module("importlib.metadata").version("holdfast")
        if name in __all__:
            return getattr(import_module("holdfast.client"), name)
        raise AttributeError(f"module 'holdfast' has no attribute {name!r}")

    def __dir__() -> list[str]:
        """The module's names, including the client's before they are loaded."""
        return sorted({*globals(), *__all__})

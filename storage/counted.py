"""Counts the calls to a store that sends no requests: a folder's."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, Final, ParamSpec, Protocol, TypeVar

from holdfast.clocks import uptime
from holdfast.errors import HoldfastError, PermissionDenied, ResourceExhausted, Unavailable
from holdfast.request_counts import Outcome, RequestCounts
from holdfast.storage.port import ConditionFailed, InvalidPart, NoSuchKey, NoSuchUpload

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

_OUTCOMES: Final[tuple[tuple[type[HoldfastError], Outcome], ...]] = (
    (NoSuchKey, Outcome.ABSENT),
    (NoSuchUpload, Outcome.ABSENT),
    (ConditionFailed, Outcome.REFUSED),
    (InvalidPart, Outcome.REFUSED),
    (PermissionDenied, Outcome.DENIED),
    (ResourceExhausted, Outcome.FULL),
    (Unavailable, Outcome.UNANSWERED),
)


class Counted(Protocol):
    """A store with figures."""

    @property
    def request_counts(self) -> RequestCounts:
        """See `ObjectStore`."""
        ...


Store = TypeVar("Store", bound=Counted)


def counted(
    method: Callable[Concatenate[Store, Parameters], Result],
) -> Callable[Concatenate[Store, Parameters], Result]:
    """Makes a store's method count its calls, under its own name."""

    @wraps(method)
    def call(store: Store, /, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        began, outcome = uptime(), Outcome.FAILED
        try:
            result = method(store, *args, **kwargs)
            outcome = Outcome.OK
        except HoldfastError as error:
            outcome = next((found for kind, found in _OUTCOMES if isinstance(error, kind)), outcome)
            raise
        finally:
            store.request_counts.ended(method.__name__, outcome, uptime() - began)
        return result

    return call

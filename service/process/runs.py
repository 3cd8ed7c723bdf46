"""Runs of programs that tend a store, as traces: a run, its phases, and the steps of each.

    run → phase "records" → S3/GetObject, EVALSHA …
        └ phase "data"    → …

A run is an `Origin`: what is done for it, by whichever thread, is a step of the phase that it is
in. Without traces, all of this does nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, Protocol

from holdfast.origins import NOTHING, Origin, enter
from holdfast.service.process.trace_export import opened
from holdfast.service.settings import Settings
from holdfast.storage.port import ObjectStore
from holdfast.storage.traced import BUCKET, FOLDER, TracedStore

if TYPE_CHECKING:
    from holdfast.service.process.run_spans import RunSpans

Found = dict[str, str | int | float | bool]
"""What became of a run, by the names of attributes without their beginning `holdfast.run.`."""


class Phased(Origin, Protocol):
    """A run that is recorded."""

    def phase(self, name: str, attributes: Mapping[str, str]) -> AbstractContextManager[None]:
        """Surrounds a phase."""
        ...


_RUN: Final[ContextVar[Phased | None]] = ContextVar("run", default=None)


def phase(name: str, **attributes: str) -> AbstractContextManager[None]:
    """Surrounds a phase of the current run; one that raises has failed.

    Args:
        name: what is done, in a few fixed words.
        attributes: what it is done about.
    """
    run = _RUN.get()
    return NOTHING if run is None else run.phase(name, attributes)


class Runs:
    """The runs of one program."""

    def __init__(self, settings: Settings, spans: RunSpans | None) -> None:
        """Begins without a run; `spans` is None if nothing is recorded."""
        self._settings = settings
        self._spans = spans

    def seen(self, store: ObjectStore) -> ObjectStore:
        """Returns a store whose operations are steps of the current run."""
        if self._spans is None:
            return store
        return TracedStore(store, BUCKET if self._settings.s3_bucket else FOLDER)

    @contextmanager
    def run(self) -> Iterator[Found]:
        """Surrounds a run; yields what is to say of it at its end."""
        found: Found = {}
        if self._spans is None:
            yield found
            return
        with self._spans.run(found) as recorded:
            token = _RUN.set(recorded)
            enter(recorded)
            try:
                yield found
            finally:
                enter(None)
                _RUN.reset(token)


@contextmanager
def traced_runs(settings: Settings, program: str) -> Iterator[Runs]:
    """Opens what settings ask for; at the end, the last spans are sent, for 3 s at most. Blocking.

    Args:
        settings: say where spans are sent.
        program: what runs: `collector`, `scrub`, `expiry`, `tenant-drop`.

    Raises:
        ConfigurationError: the packages aren't installed.
    """
    if not settings.traces:
        yield Runs(settings, None)
        return
    with opened(settings, program) as tracer:
        from holdfast.service.process.run_spans import RunSpans  # noqa: PLC0415 -- needs the extra

        yield Runs(settings, RunSpans(tracer, program, settings.s3_bucket))

"""The results of checks of a backend: `holdfast doctor` prints these."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from holdfast.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check.

    Attributes:
        name: what was checked, in a few words.
        ok: whether it is as it must be.
        essential: whether Holdfast refuses to run without it.
        found: what was found.
        advice: what to do about it; "" if all is well.
    """

    name: str
    ok: bool
    essential: bool
    found: str
    advice: str = ""


def require(checks: Iterable[Check], what: str) -> None:
    """Refuses a backend that isn't safe to use, or can't be checked.

    Args:
        checks: what was found.
        what: the thing that was checked, for the message.

    Raises:
        ConfigurationError: an essential check has failed.
    """
    failed = [check for check in checks if check.essential and not check.ok]
    if failed:
        reasons = "; ".join(f"{c.name}: {c.found}. {c.advice}" for c in failed)
        raise ConfigurationError(f"{what} can't be used: {reasons}")

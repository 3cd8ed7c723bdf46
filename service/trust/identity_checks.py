"""What `holdfast doctor` says about who asks: are the rules good, and whom do they match?"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence

from holdfast.checks import Check
from holdfast.clocks import uptime
from holdfast.errors import ConfigurationError, because
from holdfast.service.trust.explanation import Shown, explained, overlaps
from holdfast.service.trust.recognizers import Recognizers
from holdfast.service.trust.url_identity import UrlIdentity

Named = Iterable[tuple[str, UrlIdentity]]
"""Listeners: where each is, and how it says who asks."""


def identity_checks(listeners: Named, identities: str) -> Iterator[Check]:
    """Checks the rules of listeners; it blocks.

    Args:
        listeners: the listeners.
        identities: the path of the file of rules; "" if there is none.
    """
    recognizers = Recognizers(identities, uptime, time.time)
    for name, identity in listeners:
        what = f"who asks at {name}"
        try:
            source = recognizers.source(identity)
        except ConfigurationError as error:
            todo = "correct the rules; they are described in docs/identities.md"
            yield Check(what, ok=False, essential=True, found=because(error), advice=todo)
            continue
        if source is None:
            continue
        rules = source.in_force.rules
        found = f"{len(rules)} rules: {', '.join(rule.name for rule in rules)}"
        yield Check(what, ok=True, essential=True, found=found)
        for names, why in overlaps(rules):
            yield Check(what, ok=False, essential=False, found=f"{names}: {why}")


async def identity_of(listeners: Named, identities: str, shown: Shown) -> Sequence[Check]:
    """Says of each listener's rules whether they match a client, and why.

    Args:
        listeners: the listeners.
        identities: the path of the file of rules; "" if there is none.
        shown: what the client presents.

    Raises:
        ConfigurationError: the rules can't be used.
    """
    recognizers = Recognizers(identities, uptime, time.time)
    checks = []
    for name, identity in listeners:
        source = await asyncio.to_thread(recognizers.source, identity)
        if source is None:
            who = f"tenant {identity.tenant}" if identity.tenant else f"header {identity.header}"
            found = f"{who}, role {identity.role}, whatever a client presents"
            checks.append(Check(name, ok=True, essential=True, found=found))
            continue
        for verdict in await explained(source.in_force, shown, time.time()):
            what = f"{name}: {verdict.rule}" if verdict.rule else name
            checks.append(Check(what, ok=verdict.matched, essential=False, found=verdict.said))
    return checks

"""The name under which a store knows a Redis."""

from __future__ import annotations

import pytest

from holdfast.coordination.identity import Identity
from tests.coordination.fleet import Frontend


@pytest.fixture
def identity(alone: Frontend) -> Identity:
    """The names that a Redis has."""
    return Identity(alone.client, alone.scripts)


async def test_a_name_is_given_once(identity: Identity, unique: str) -> None:
    """A name stays: a later one gets to know it."""
    assert await identity.ask(unique) == ""
    assert await identity.claim(unique, "one") == "one"
    assert await identity.claim(unique, "two") == "one"
    assert await identity.claim(unique, "two", instead="three") == "one"
    assert await identity.ask(unique) == "one"


async def test_a_name_that_came_too_late(identity: Identity, unique: str) -> None:
    """A name that a newer one replaces by name makes way for it, and isn't set again after it."""
    await identity.claim(unique, "late")
    for _ in range(2):  # as if a reply was lost
        assert await identity.claim(unique, "new", instead="late") == "new"
    assert await identity.claim(unique, "late", instead="older") == "new"
    assert await identity.ask(unique) == "new"


async def test_asking_sets_nothing(identity: Identity, unique: str) -> None:
    """Asking for a name leaves it as it is, whatever it is."""
    await identity.claim(unique, "one")
    assert await identity.claim(unique, "", instead="one") == "one"
    assert await identity.ask(unique) == "one"

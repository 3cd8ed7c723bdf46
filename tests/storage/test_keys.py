"""Names in the store: what they look like, and that they sort and never repeat."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.digests import Digest
from holdfast.errors import DataLoss
from holdfast.storage import keys

DIGEST = Digest.of(b"x", "sha512")


@given(st.integers(0, 2**48 - 1))
def test_uuid7(moment: int) -> None:
    """Names are UUIDs of version 7 whose first 48 bits are the time in ms."""
    name = keys.uuid7(moment)
    parsed = uuid.UUID(name)
    assert (str(parsed), parsed.version, parsed.variant) == (name, 7, uuid.RFC_4122)
    assert parsed.int >> 80 == moment


def test_names_sort_by_time() -> None:
    """A later name sorts after an earlier one, and no two are the same."""
    names = [keys.uuid7(moment) for moment in (0, 1, 255, 2**20, 2**40, 2**48 - 1)]
    assert names == sorted(names)
    assert len({keys.uuid7() for _ in range(1000)}) == 1000


def test_layout() -> None:
    """Keys are those of the design: data, blobs, holds and tails."""
    assert keys.data_key("n") == "data/n"
    assert keys.tail_key("n") == "tails/n"
    assert keys.record_key(DIGEST) == f"blobs/sha512/{DIGEST.hex}"
    assert keys.hold_prefix("t", DIGEST) == f"holds/t/sha512/{DIGEST.hex}/"
    assert keys.hold_prefix("t", DIGEST).startswith(keys.tenant_prefix("t"))


@pytest.mark.parametrize("name", ["n", "n" + keys.DELETING])
def test_digest_of_a_hold(name: str) -> None:
    """A hold's key, and its mark's, names the digest."""
    assert keys.hold_digest(keys.hold_prefix("t", DIGEST) + name) == DIGEST


@pytest.mark.parametrize(
    "key", ["", "holds/t", "holds/t/sha256/00/n", "holds/t/md5/00/n", "holds/t/sha256/0/n/more"]
)
def test_what_isnt_a_hold(key: str) -> None:
    """A key that isn't a hold's is DataLoss that names it."""
    with pytest.raises(DataLoss, match="name that no hold has"):
        keys.hold_digest(key)

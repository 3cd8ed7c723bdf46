"""Digests, refs, tenants, labels: what is well-formed and what isn't."""

from __future__ import annotations

import copy
import dataclasses
import datetime as dt
import json
import pickle
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import BytesGone
from holdfast.digests import HEX_LENGTHS, Digest
from holdfast.errors import HoldfastError, InvalidArgument, shorten
from holdfast.values import (
    MAX_LABEL_BYTES,
    MAX_LABELS,
    MAX_REF_BYTES,
    Info,
    Labels,
    Status,
    check_labels,
    check_ref,
    check_tenant,
)


@pytest.mark.parametrize("algorithm", HEX_LENGTHS)
def test_a_digest_is_read_as_it_is_written(algorithm: str) -> None:
    """Every algorithm's digest survives being written and read."""
    digest = Digest.of(b"abc", algorithm)
    assert Digest.parse(str(digest)) == digest
    assert len(digest.hex) == HEX_LENGTHS[algorithm]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256",
        "sha256:",
        "sha256:" + "a" * 63,
        "sha256:" + "a" * 65,
        "sha256:" + "A" * 64,
        "sha256:" + "g" * 64,
        "sha256:" + "a" * 63 + "\n",
        "sha256:" + "\N{FULLWIDTH DIGIT ONE}" * 64,
        "md5:" + "a" * 32,
        "SHA256:" + "a" * 64,
        " sha256:" + "a" * 64,
    ],
)
def test_a_malformed_digest_is_refused(text: str) -> None:
    """Another algorithm, length or case isn't a digest."""
    with pytest.raises(InvalidArgument, match="digest"):
        Digest.parse(text)


def test_a_ref_has_a_length_in_bytes() -> None:
    """1 KiB of UTF-8 is allowed, and one byte more isn't."""
    assert check_ref("é" * (MAX_REF_BYTES // 2))
    with pytest.raises(InvalidArgument, match="1025 bytes"):
        check_ref("é" * (MAX_REF_BYTES // 2) + "x")


@pytest.mark.parametrize("tenant", ["a", "node-1.example_x", "0" * 63, "..."])
def test_a_tenant_has_a_plain_name(tenant: str) -> None:
    """Letters, digits, points, lines and dashes name a tenant."""
    assert check_tenant(tenant) == tenant


@pytest.mark.parametrize("tenant", ["", ".", "..", "A", "a/b", "a" * 64, "a\n", "é"])
def test_a_name_that_could_be_a_path_is_no_tenant(tenant: str) -> None:
    """What isn't a plain name, or has a meaning in paths, is refused."""
    with pytest.raises(InvalidArgument, match="tenant"):
        check_tenant(tenant)


def test_labels_are_bounded() -> None:
    """Number and size of labels have limits, and a key must be there."""
    assert check_labels({"k": "v" * (MAX_LABEL_BYTES - 1)})
    with pytest.raises(InvalidArgument, match="4097 bytes"):
        check_labels({"k": "v" * MAX_LABEL_BYTES})
    with pytest.raises(InvalidArgument, match="empty key"):
        check_labels({"": "v"})
    many = {str(n): "" for n in range(MAX_LABELS + 1)}
    with pytest.raises(InvalidArgument, match="1025 labels"):
        check_labels(many)


def test_times_are_utc() -> None:
    """Nanoseconds become moments to the microsecond."""
    moment = dt.datetime(2026, 1, 2, 3, 4, 5, 678901, dt.UTC)
    ns = int(moment.timestamp()) * 10**9 + 678_901_999
    info = Info(Digest.of(b""), 0, ns, ns)
    status = Status("r", 0, 0, "", ns, ns)
    for found in (info.created_at, info.updated_at, status.started_at, status.updated_at):
        assert found == moment
    assert dict(info.labels) == {}


@given(st.text(max_size=5000))
def test_what_a_peer_sent_is_quoted_short_and_printable(text: str) -> None:
    """Whatever is quoted in a message stays readable, on one line and within the limit."""
    quoted = shorten(text)
    assert quoted.isprintable()
    assert len(quoted) <= 96 + len("…(5000 characters)")


def test_values_are_plain_values() -> None:
    """An Info is copied, pickled, hashed, compared and made a dict, as any frozen dataclass."""
    info = Info(Digest.of(b""), 0, 1, 2, Labels(b="2", a="1"))
    same = Info(Digest.of(b""), 0, 1, 2, Labels(a="1", b="2"))
    pickled = pickle.loads(pickle.dumps(info))  # noqa: S301 -- our own
    for made in (copy.copy(info), copy.deepcopy(info), pickled, same):
        assert made == info
        assert len({made, info}) == 1
    assert dataclasses.asdict(info)["labels"] == {"a": "1", "b": "2"}
    assert json.loads(json.dumps(info.labels)) == {"a": "1", "b": "2"}


def test_errors_are_plain_values() -> None:
    """Each error is copied and pickled with its text and all that it says, for other processes."""
    errors = [*_errors(HoldfastError), BytesGone]
    for error in errors:
        made = error("text", 7) if error is BytesGone else error("text")
        for same in (copy.copy(made), copy.deepcopy(made), pickle.loads(pickle.dumps(made))):  # noqa: S301 -- our own
            assert (type(same), str(same), vars(same)) == (type(made), str(made), vars(made))


def _errors(above: type[HoldfastError]) -> Iterator[type[HoldfastError]]:
    """The errors below one that the package has for all, and those below them."""
    for error in above.__subclasses__():
        if error.__module__ == "holdfast.errors":
            yield error
            yield from _errors(error)


@pytest.mark.parametrize(
    "change",
    [
        lambda labels: labels.update(a="2"),
        lambda labels: labels.pop("a"),
        lambda labels: labels.clear(),
        lambda labels: labels.setdefault("b", ""),
        lambda labels: labels.popitem(),
        lambda labels: labels.__setitem__("a", "2"),
        lambda labels: labels.__delitem__("a"),
        lambda labels: labels.__ior__({"a": "2"}),
    ],
)
def test_labels_never_change(change: Callable[[Labels], object]) -> None:
    """Every way to change a dict is refused, and says what to do instead."""
    labels = Labels(a="1")
    with pytest.raises(TypeError, match="labels can't be changed"):
        change(labels)
    assert labels == {"a": "1"}

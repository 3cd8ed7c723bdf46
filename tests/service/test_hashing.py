"""Hashes that can be saved: at any cut they go on as if nothing had happened."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.digests import Digest
from holdfast.errors import DataLoss
from holdfast.service.ingest import hashing
from holdfast.service.ingest.hashing import load_hash, new_hash

ALGORITHMS = ["sha256", "sha384", "sha512"]
algorithms = st.sampled_from(ALGORITHMS)


@pytest.fixture
def no_libcrypto(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine without a libcrypto."""
    monkeypatch.setattr(hashing, "_names", list)
    hashing._library.cache_clear()
    yield
    monkeypatch.undo()
    hashing._library.cache_clear()


@given(algorithms, st.binary(max_size=700), st.lists(st.integers(0, 700), max_size=5))
def test_saved_at_any_cut(algorithm: str, data: bytes, cuts: list[int]) -> None:
    """A hash that is saved and loaded at any cuts gives what hashlib gives."""
    running, at = new_hash(algorithm), 0
    for cut in sorted(min(cut, len(data)) for cut in cuts):
        running.update(data, at, cut)
        assert str(running.digest()) == str(Digest.of(data[:cut], algorithm))
        loaded = load_hash(running.save())
        assert loaded is not None
        running, at = loaded, cut
    running.update(data, at, len(data))
    assert running.digest() == Digest.of(data, algorithm)
    assert running.algorithm == algorithm


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_saved_form_is_canonical(algorithm: str) -> None:
    """Equal bytes have equal states, however they were cut, and their length is in clear."""
    text = bytes(range(250))
    whole, pieces = new_hash(algorithm), new_hash(algorithm)
    whole.update(text, 0, 250)
    for start in range(0, 250, 50):
        pieces.update(text, start, start + 50)
    assert whole.save() == pieces.save()
    block = 64 if algorithm == "sha256" else 128
    assert whole.save().split(":")[3:] == ["250", text[250 - 250 % block :].hex()]


@pytest.mark.parametrize("length", [2**29 - 128, 2**29, 2**32, 2**40, 2**60])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_long_blobs(algorithm: str, length: int) -> None:
    """The length is counted past 512 MiB, where the lower half of the bit count runs over."""
    state = new_hash(algorithm).save().split(":")
    state[3] = str(length)
    loaded = load_hash(":".join(state))
    assert loaded is not None
    data = bytes(200)
    loaded.update(data, 0, 200)
    assert loaded.save().split(":")[3] == str(length + 200)


def test_real_long_blob() -> None:
    """A blob that passes 512 MiB after its hash was loaded gets the digest that hashlib gives."""
    piece = bytes(32 * 2**20)
    ours, theirs = new_hash("sha256"), hashlib.sha256()
    for number in range(17):
        if number == 15:
            loaded = load_hash(ours.save())
            assert loaded is not None
            ours = loaded
        ours.update(piece, 0, len(piece))
        theirs.update(piece)
    assert ours.digest().hex == theirs.hexdigest()


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: "",
        lambda _: "nonsense",
        lambda state: state + ":",
        lambda state: state.replace("sha256", "md5"),
        lambda state: "0" + state[1:],
        lambda state: state[:-2],
        lambda state: state + "00",
        lambda state: state.replace(":70:", ":71:"),
        lambda state: state.replace(":70:", ":x:"),
        lambda state: state.replace(":70:", ":-58:"),
        lambda state: state.replace(":70:", f":{2**70 + 6}:"),
        lambda state: state.replace("sha256", "sha512"),
        lambda state: state[:12] + "zz" + state[14:],
    ],
)
def test_damaged_state(damage: object) -> None:
    """A state that isn't what was saved is DATA_LOSS, never a wrong digest."""
    running = new_hash("sha256")
    running.update(bytes(70), 0, 70)
    assert callable(damage)
    with pytest.raises(DataLoss, match="hash state"):
        load_hash(damage(running.save()))


def test_a_newer_state() -> None:
    """A state that a newer version has saved isn't damage: it just can't be resumed."""
    running = new_hash("sha256")
    running.update(bytes(70), 0, 70)
    assert load_hash("2" + running.save()[1:]) is None
    assert load_hash("2:whatever it has then") is None


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (2, 1), (0, 4)])
def test_range_outside(start: int, stop: int) -> None:
    """A range that isn't inside the bytes is refused before OpenSSL sees it."""
    with pytest.raises(ValueError, match="isn't a range"):
        new_hash("sha256").update(b"abc", start, stop)


@pytest.mark.usefixtures("no_libcrypto")
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_without_libcrypto(algorithm: str) -> None:
    """Without libcrypto hashes are right, but can't be saved or taken up."""
    running = new_hash(algorithm)
    running.update(b"xhellox", 1, 6)
    assert running.digest() == Digest.of(b"hello", algorithm)
    assert running.save() == ""
    assert load_hash("1:sha256:00:0:") is None


def test_wrong_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A libcrypto with another layout fails the known-answer test and isn't used."""
    layout = hashing._LAYOUTS["sha256"]
    wrong = hashing._Layout(layout.name, "Q", 4, 64, 32, 112)
    monkeypatch.setitem(hashing._LAYOUTS, "sha256", wrong)
    hashing._library.cache_clear()
    try:
        assert hashing._library() is None
    finally:
        hashing._library.cache_clear()


def test_no_such_function(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library without the functions isn't used."""
    monkeypatch.setattr(hashing, "_names", lambda: ["libholdfast-none.so", "libc.so.6"])
    hashing._library.cache_clear()
    try:
        assert hashing._library() is None
    finally:
        hashing._library.cache_clear()

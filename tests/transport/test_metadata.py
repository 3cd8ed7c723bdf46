"""gRPC's text on the wire."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.transport.metadata import (
    decode_binary,
    encode_message,
    encode_metadata,
    shortened,
    timeout,
)


@given(st.text())
def test_messages_are_percent_encoded(message: str) -> None:
    """A status message is sent in printable ASCII, and is the same once it is decoded."""
    encoded = encode_message(message)
    assert all(" " <= letter <= "~" for letter in encoded)
    assert unquote(encoded, errors="strict") == message.encode("utf-8", "replace").decode()


@given(st.binary())
def test_binary_values_come_back(value: bytes) -> None:
    """A binary value is read as it was sent, with and without padding."""
    [(name, encoded)] = encode_metadata([("x-bin", value)])
    assert name == b"x-bin"
    text = encoded.decode()
    assert list(decode_binary(text)) == [value]
    assert list(decode_binary(text + "=" * (-len(text) % 4))) == [value]


def test_binary_values_may_be_joined() -> None:
    """Several binary values may come in one field, between commas."""
    assert list(decode_binary("AA==,AQ, ")) == [b"\0", b"\1", b""]


@pytest.mark.parametrize("value", ["*", "A", "AA A", "A\n"])
def test_what_is_not_base64_is_refused(value: str) -> None:
    """A binary value that isn't base64 is an error."""
    with pytest.raises(ValueError, match="base64"):
        list(decode_binary(value))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1H", 3600), ("2M", 120), ("3S", 3), ("4m", 0.004), ("5u", 5e-6), ("99999999n", 0.099999999)],
)
def test_timeouts_have_units(text: str, seconds: float) -> None:
    """A timeout is a number of up to eight digits and a unit."""
    assert timeout(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "1", "S", "1s", "-1S", "123456789S", "1 S", "1.5S", "\u0661S"]
)
def test_what_is_no_timeout_is_refused(text: str) -> None:
    """Anything else is no timeout."""
    with pytest.raises(ValueError, match="timeout"):
        timeout(text)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Upper", "a"),
        ("", "a"),
        ("a b", "a"),
        ("grpc-x", "a"),
        ("a", b"a"),
        ("a-bin", "a"),
        ("a", "\n"),
    ],
)
def test_metadata_that_cannot_be_sent_is_an_error(name: str, value: str | bytes) -> None:
    """A name or a value that gRPC doesn't allow is an error of the handler."""
    with pytest.raises(ValueError, match="metadata"):
        encode_metadata([(name, value)])


@pytest.mark.parametrize(
    ("name", "value"),
    [("grpc-retry-pushback-ms", "1500"), ("grpc-status-details-bin", b"\x08\x08")],
)
def test_what_a_server_says_in_grpcs_own_names(name: str, value: str | bytes) -> None:
    """When to retry, and the details of an error, are a server's to say under gRPC's own names."""
    [(encoded, _)] = encode_metadata([(name, value)])
    assert encoded == name.encode()


@given(st.text(max_size=300), st.integers(0, 400))
def test_a_message_that_is_shortened(message: str, most: int) -> None:
    """A status message that is shortened fits, and is the beginning of what it was."""
    text = shortened(message, most)
    assert len(text) <= most
    if text != encode_message(message):
        assert text == "" or text.endswith("...")
        whole = message.encode("utf-8", "replace").decode()
        assert whole.startswith(unquote(text.removesuffix("...")))

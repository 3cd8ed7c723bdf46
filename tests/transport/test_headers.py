"""Header compression, compared with the `hpack` package."""

from __future__ import annotations

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.transport.errors import ConnectionFailedError, ErrorCode
from holdfast.transport.header_decoding import HeaderDecoder, HeaderListTooLongError
from holdfast.transport.header_encoding import encode
from holdfast.transport.requests import RequestReader

LIMIT = 2**14
NAMES = st.sampled_from([b":path", b":method", b"te", b"x-a", b"user-agent", b"content-type"])
FIELDS = st.lists(st.tuples(NAMES | st.binary(min_size=1, max_size=40), st.binary(max_size=200)))
SIZES = st.none() | st.integers(0, 4096)


def text(fields: list[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in fields]


@given(st.lists(st.tuples(SIZES, st.booleans(), FIELDS), max_size=8))
def test_blocks_are_decoded_as_the_package_encodes_them(
    blocks: list[tuple[int | None, bool, list[tuple[bytes, bytes]]]],
) -> None:
    """Any blocks of one connection, with any sizes of the table, are decoded to their fields."""
    encoder, decoder = hpack.Encoder(), HeaderDecoder(2**20)
    for size, huffman, fields in blocks:
        if size is not None:
            encoder.header_table_size = size
        block = encoder.encode(fields, huffman=huffman)
        assert [(one.name, one.value) for one in decoder.decode(block)] == text(fields)


@given(FIELDS)
def test_blocks_are_encoded_as_the_package_decodes_them(fields: list[tuple[bytes, bytes]]) -> None:
    """What is encoded means the same to any client, and leaves its table empty."""
    decoder = hpack.Decoder(2**20)
    decoded = decoder.decode(encode(fields), raw=True)
    assert [tuple(one) for one in decoded] == fields
    assert not decoder.header_table.dynamic_entries


@given(st.binary(max_size=100))
def test_any_bytes_are_decoded_as_by_the_package_or_refused(block: bytes) -> None:
    """What isn't HPACK ends the connection; what is means what it means to the package."""
    try:
        expected = [(bytes(n), bytes(v)) for n, v in hpack.Decoder().decode(block, raw=True)]
    except hpack.HPACKError:
        with pytest.raises(ConnectionFailedError) as caught:
            HeaderDecoder(LIMIT).decode(block)
        assert caught.value.code is ErrorCode.COMPRESSION_ERROR
    else:
        found = HeaderDecoder(LIMIT).decode(block)
        assert [(one.name, one.value) for one in found] == text(expected)


def test_a_list_that_is_too_long_leaves_the_table_right() -> None:
    """The fields of a block that is too long are in the table all the same."""
    encoder, decoder = hpack.Encoder(), HeaderDecoder(500)
    fields = [(b"x-%d" % n, b"y" * 100) for n in range(10)]
    with pytest.raises(HeaderListTooLongError):
        decoder.decode(encoder.encode(fields))
    again = decoder.decode(encoder.encode(fields[7:9]))
    assert [(one.name, one.value) for one in again] == text(fields[7:9])


def request(timeout: str) -> list[tuple[str, str]]:
    return [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/a/B"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("grpc-timeout", timeout),
        ("x-tenant", "a"),
    ]


def test_equal_blocks_mean_what_the_table_says() -> None:
    """A block that was read before is read anew if the table has changed."""
    encoder, reader = hpack.Encoder(), RequestReader(LIMIT)
    reader.read(encoder.encode(request("1S")))
    block = encoder.encode(request("1S"))
    assert reader.read(block) is reader.read(block)
    assert reader.read(block).timeout == 1
    reader.read(encoder.encode(request("2S")))
    # The indexes of the first block are those of other fields now.
    assert reader.read(encoder.encode(request("2S"))).timeout == 2
    changed = encoder.encode([*request("2S"), ("x-b", "c")])
    assert reader.read(changed).metadata == (("x-tenant", "a"), ("x-b", "c"))

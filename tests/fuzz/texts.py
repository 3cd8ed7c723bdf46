"""Targets: what clients and operators write, and messages of the wire."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from holdfast.coordination.target import Target as RedisTarget
from holdfast.coordination.target import place
from holdfast.digests import Digest
from holdfast.errors import ConfigurationError, DataLoss, InvalidArgument
from holdfast.filters import Filter
from holdfast.protos import content_pb2 as pb
from holdfast.service import listeners
from holdfast.service.ingest.write_messages import Action
from holdfast.service.rpc import wire
from holdfast.storage.keys import hold_digest, record_digest
from holdfast.storage.port import Entry
from holdfast.storage.retained import RetentionMarker
from holdfast.values import Info, check_labels, check_ref, check_tenant
from tests.fuzz.target import Target

DIGEST: Final = Digest.of(b"hello world")
INFO: Final = Info(DIGEST, 11, 1, 2, {"containerd.io/gc.root": "2026", "ü": "\U0001f600"})
SECRET: Final = re.compile(r"\w+(\+\w+)?://[^@?#]*secret[^@?#]*@[^@]*$")
"""A URL of Redis with this password, of which no part is left out."""
LONGEST_TEXT: Final = 1024
"""Bytes of an error's text at most: it travels in trailers."""


def text_of(data: bytes) -> str:
    """Bytes as a client's text: protobuf passes on valid UTF-8 only."""
    return data.decode("utf-8", "replace")


def short(error: Exception) -> None:
    """An error's text must fit where it goes."""
    assert len(str(error).encode()) <= LONGEST_TEXT


def of_text(name: str, corpus: list[str], check: Callable[[str], object], *words: str) -> Target:
    """A target that reads text."""

    def checked(data: bytes) -> None:
        check(text_of(data))

    return Target(
        name, tuple(map(str.encode, corpus)), checked, tuple(word.encode() for word in words)
    )


def read_digest(text: str) -> None:
    """A digest is written as it was read."""
    try:
        digest = Digest.parse(text)
    except InvalidArgument:
        return
    assert str(digest) == text


def read_name(text: str) -> None:
    """Refs, tenants and labels are returned as they were, or refused."""
    for check in (check_ref, check_tenant):
        try:
            assert check(text) == text
        except InvalidArgument:
            continue
    try:
        check_labels({text: text[::-1]})
    except InvalidArgument:
        return


def read_filter(text: str) -> None:
    """A filter can be matched against anything; a syntax error is the client's."""
    try:
        parsed = Filter.parse([text])
    except InvalidArgument as error:
        short(error)
        return
    assert isinstance(parsed.matches_info(INFO), bool)
    assert parsed.matches_info(INFO) is Filter.parse([text]).matches_info(INFO)


def read_listener(text: str) -> None:
    """A listener's URL names a place and a tenant, or a header for it."""
    try:
        found = listeners.parse(text)
    except ConfigurationError:
        return
    assert found.url == text
    assert listeners.parse(found.url) == found
    assert found.address
    assert "\0" not in found.path


def read_redis_url(text: str) -> None:
    """A Redis URL is parsed, or refused, without showing the password in its place."""
    try:
        target = RedisTarget.parse(text)
        told = place(text) if target.scheme != "unix" else ""
    except ConfigurationError as error:
        told = str(error)
    # The count comes first: the pattern's time grows with each "secret" times what follows it.
    if text.count("secret") == 1 and SECRET.match(text):
        assert "secret" not in told


def read_key(text: str) -> None:
    """Keys that somebody else has put there aren't ours."""
    for read, prefix in ((record_digest, "blobs/"), (hold_digest, "holds/a/")):
        try:
            digest = read(prefix + text)
        except DataLoss:
            continue
        assert str(digest).replace(":", "/") in prefix + text
    try:
        marker = RetentionMarker.of(Entry(f"retained/{text}", 0, "", 0.0))
    except DataLoss:
        return
    assert marker.key == f"retained/{text}"


def read_write(data: bytes) -> None:
    """A message of a stream that is read by hand says what protobuf reads in it."""
    plain = wire._plain_write(bytearray(data))
    if plain is None:
        return
    parsed = pb.WriteContentRequest.FromString(data)
    assert (parsed.action, parsed.offset) == (Action.WRITE.value, plain.offset)
    assert parsed.data == bytes(plain.data)[plain.begin :]
    assert parsed == pb.WriteContentRequest(action=pb.WRITE, offset=parsed.offset, data=parsed.data)


def read_request(data: bytes) -> None:
    """Any message of a stream is read, or the client's error."""
    try:
        wire.read_write_request(bytearray(data))
    except InvalidArgument as error:
        short(error)


FILTERS: Final = [
    "",
    "labels.a==b",
    'digest~=/^sha256:[a-f0-9]{64}$/,labels."containerd.io/gc.root"',
    'labels.a!="x\\u00fc\\x41\\n",ref~=|a|b|',
    "labels.a~=(a+)+$",
]
LISTENERS: Final = [
    "unix:///run/holdfast/a.sock?tenant=a&mode=0660",
    "tcp://127.0.0.1:9000?tenant-header=x-holdfast-tenant",
    "tcp://[::1]:9000?tenant=a",
    "tcp://0.0.0.0:9000?tenant-header=x&insecure=1",
    "tls://0.0.0.0:9443?cert=/tls/tls.crt&key=/tls/tls.key&client-ca=/tls/ca.crt&tenant-header=x",
]
REDIS_URLS: Final = [
    "redis://user:secret@localhost:6379/0",
    "unix:///run/redis.sock?db=0",
    "redis+sentinel://user:secret@a:1,[::1]:2/service/3?tls=1",
    "redis+cluster://:secret@a:1,b",
]
WRITES: Final = [
    pb.WriteContentRequest(action=pb.WRITE, offset=5, data=b"data"),
    pb.WriteContentRequest(action=pb.WRITE, data=b"x" * 300),
    pb.WriteContentRequest(
        action=pb.COMMIT, ref="r", total=1, expected=str(DIGEST), labels={"a": "b"}
    ),
]
MESSAGES: Final = tuple(message.SerializeToString() for message in WRITES)
HEX: Final = f"sha256/{DIGEST.hex}"
DIGESTS: Final = [str(DIGEST), str(Digest.of(b"", "sha512"))]

TEXTS: Final = [
    of_text("digest", DIGESTS, read_digest, "sha384:", "SHA256"),
    of_text("names", ["node-7", "k8s.io/1/layer-sha256:00", "a.b_c"], read_name),
    of_text("filter", FILTERS, read_filter, "~=", "/", "|", "{1000}", "(?i)", "labels.", ","),
    of_text("listener", LISTENERS, read_listener, "tenant=", "insecure=1", "mode=", "//", "@"),
    of_text("redis-url", REDIS_URLS, read_redis_url, "redis+cluster://", "@", "tls=1"),
    of_text("key", [HEX, f"{HEX}/11", f"{HEX}/1.dropped"], read_key),
    Target("write", MESSAGES, read_write, (b"\x08\x01", b"\x28", b"\x32")),
    Target("request", MESSAGES, read_request),
]

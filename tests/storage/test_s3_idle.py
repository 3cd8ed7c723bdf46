"""Connections to S3 that are idle: both ways of asking probe them."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from holdfast import keepalive
from tests.storage.scripted import Reply, scripted

FOUND = {"ETag": '"e"', "Last-Modified": "Thu, 26 Nov 2026 04:00:00 GMT"}
NONE = b"<ListMultipartUploadsResult><IsTruncated>false</IsTruncated></ListMultipartUploadsResult>"
UPLOADS = Reply(200, NONE)


def test_every_connection_is_probed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection to S3 has TCP keepalive, whoever made it, and is probed within half a minute."""
    connect, made = socket.socket.connect, list[socket.socket]()

    def noted(one: socket.socket, address: Any) -> None:
        connect(one, address)
        made.append(one)

    monkeypatch.setattr(socket.socket, "connect", noted)
    with scripted(Reply(200, b"body", FOUND), UPLOADS) as script:
        store = script.store()
        store.get("a")
        list(store.list_uploads(""))  # by boto3, as all that is rare
        probed = [one.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) for one in made]
        quiet = [one.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) for one in made]
        store.close()
    assert probed == [1, 1]
    assert quiet == [keepalive.QUIET] * 2

"""Whether containerd can use what its database knows.

containerd's Info answers from its database alone, so it proves nothing about the store. Manifests
and configurations are read through containerd and hashed; of layers, which are large, it is enough
that the agent lists them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from typing import Any, Final

from holdfast.errors import NotFound
from holdfast.node.rollout import carrying
from holdfast.node.rollout.ports import Host, KnownImage

KUBERNETES: Final = "k8s.io"
"""The namespace whose images the kubelet finds."""
ODD: Final = (ValueError, KeyError, TypeError, RecursionError)
"""How a manifest differs from what is one: an image may have an older form, or be anything."""


def lost(host: Host) -> list[str]:
    """What containerd knows and had in its own store, but can't be read from Holdfast.

    Raises:
        Unavailable: containerd or the agent doesn't answer.
    """
    held, had = host.agent.held(), carrying.own(host)
    known = host.runtime.content()
    missing = [digest for digest in sorted(known & had.keys()) if digest not in held]
    return missing + [
        digest
        for image in host.runtime.images()
        for digest in _unread(host, image)
        if digest in had and digest not in missing
    ]


def unlisted(host: Host, there: AbstractSet[str]) -> list[str]:
    """Images that the kubelet doesn't find, although all their content is there.

    Args:
        host: the host.
        there: the digests that containerd's store has.

    Raises:
        Unavailable: containerd doesn't answer.
    """
    listed = host.runtime.listed()
    if listed is None:
        return []
    images = [image for image in host.runtime.images() if image.namespace == KUBERNETES]
    return [
        image.name for image in images if image.name not in listed and _whole(host, image, there)
    ]


def _whole(host: Host, image: KnownImage, there: AbstractSet[str]) -> bool:
    """Whether all that a node needs of an image is there: one platform is enough."""
    try:
        return any(
            all(digest in there for digest in (config, *layers))
            for config, layers in _manifests(host, image.namespace, image.digest)
        )
    except (NotFound, *ODD):
        return False


def _manifests(host: Host, namespace: str, digest: str) -> Iterator[tuple[str, list[str]]]:
    """Configuration and layers of each manifest that is there."""
    found = _parsed(host, namespace, digest)
    if "manifests" not in found:
        yield found["config"]["digest"], [layer["digest"] for layer in found.get("layers", [])]
        return
    for one in found["manifests"]:
        try:
            yield from _manifests(host, namespace, one["digest"])
        except NotFound:
            continue  # of another platform


def _parsed(host: Host, namespace: str, digest: str) -> Mapping[str, Any]:
    found = json.loads(host.runtime.read(namespace, digest))
    if not isinstance(found, dict):
        raise TypeError(digest)
    return found


def _unread(host: Host, image: KnownImage) -> Iterator[str]:
    """The manifest and the configuration that can't be read through containerd as they should.

    What an image is of is read even if it is no manifest; what is longer than any is not.
    """
    digests = [image.digest]
    with suppress(NotFound, *ODD):
        digests += [config for config, _ in _manifests(host, image.namespace, image.digest)]
    for digest in digests:
        try:
            body = host.runtime.read(image.namespace, digest)
        except NotFound:
            yield digest
            continue
        except ValueError:
            continue
        if f"sha256:{hashlib.sha256(body).hexdigest()}" != digest:
            yield digest

"""The host's containerd, over its socket.

Sources: containerd's `api/services`, and `k8s.io/cri-api`, `runtime/v1`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

import grpc
from google.protobuf import empty_pb2
from google.protobuf.message import Message

from holdfast.errors import FailedPrecondition, NotFound, Unavailable
from holdfast.node.rollout.ports import KnownImage
from holdfast.protos import content_pb2, node_pb2

CONTENT: Final = "io.containerd.content.v1"
"""The type of plugins that are content stores."""
NAMESPACE: Final = "containerd-namespace"
DEADLINE: Final = 60.0
"""Seconds for one call."""
LONGEST: Final = 64 * 2**20
"""Bytes of the longest list of images."""
MANIFEST: Final = 8 * 2**20
"""Bytes of the longest manifest or configuration."""
_T = TypeVar("_T", bound=Message)


class ServiceMissing(FailedPrecondition):
    """This containerd has no such service: it is too old, or a plugin is off."""


class ContainerdRuntime:
    """containerd; each call makes a connection of its own, since it may restart between two."""

    def __init__(self, socket: Path) -> None:
        """Connects to nothing yet."""
        self._socket = socket

    def version(self) -> str:
        """Its version, as 1.6.20."""
        return self._call(
            "containerd.services.version.v1.Version/Version",
            empty_pb2.Empty(),
            node_pb2.VersionResponse,
        ).version

    def stores(self) -> frozenset[str]:
        """The names of its content stores: its own is called `content`."""
        found = self._call(
            "containerd.services.introspection.v1.Introspection/Plugins",
            node_pb2.PluginsRequest(),
            node_pb2.PluginsResponse,
        )
        return frozenset(plugin.id for plugin in found.plugins if plugin.type == CONTENT)

    def images(self) -> list[KnownImage]:
        """All images of all namespaces."""
        return [
            KnownImage(namespace, image.name, image.target.digest)
            for namespace in self._namespaces()
            for image in self._call(
                "containerd.services.images.v1.Images/List",
                node_pb2.ListImagesRequest(),
                node_pb2.ListImagesResponse,
                namespace,
            ).images
        ]

    def content(self) -> set[str]:
        """The digests that its database has, of all namespaces."""
        found: set[str] = set()
        for namespace in self._namespaces():
            with self._channel() as channel:
                listing = channel.unary_stream(
                    "/containerd.services.content.v1.Content/List",
                    request_serializer=content_pb2.ListContentRequest.SerializeToString,
                    response_deserializer=content_pb2.ListContentResponse.FromString,
                )
                replies = listing(
                    content_pb2.ListContentRequest(),
                    metadata=((NAMESPACE, namespace),),
                    timeout=DEADLINE,
                )
                found |= {info.digest for reply in replies for info in reply.info}
        return found

    def read(self, namespace: str, digest: str) -> bytes:
        """The bytes of a manifest or a configuration.

        Raises:
            ValueError: it is too long to be one.
            NotFound: its store lacks it.
            Unavailable: it doesn't answer.
        """
        with self._channel() as channel:
            reading = channel.unary_stream(
                "/containerd.services.content.v1.Content/Read",
                request_serializer=content_pb2.ReadContentRequest.SerializeToString,
                response_deserializer=content_pb2.ReadContentResponse.FromString,
            )
            replies = reading(
                content_pb2.ReadContentRequest(digest=digest),
                metadata=((NAMESPACE, namespace),),
                timeout=DEADLINE,
            )
            body = bytearray()
            for reply in replies:
                body += reply.data
                if len(body) > MANIFEST:
                    raise ValueError(f"{digest} is longer than any manifest")
            return bytes(body)

    def listed(self) -> set[str] | None:
        """The names by which the kubelet finds images; None if Kubernetes's plugin is off."""
        try:
            found = self._call(
                "runtime.v1.ImageService/ListImages",
                node_pb2.KubernetesListImagesRequest(),
                node_pb2.KubernetesListImagesResponse,
            )
        except ServiceMissing:
            return None
        names: set[str] = set()
        for image in found.images:
            # An image's identity is a name in containerd's database, too.
            names |= {image.id, *image.repo_tags, *image.repo_digests}
        return names

    def _namespaces(self) -> list[str]:
        found = self._call(
            "containerd.services.namespaces.v1.Namespaces/List",
            node_pb2.ListNamespacesRequest(),
            node_pb2.ListNamespacesResponse,
        )
        return [one.name for one in found.namespaces]

    def _call(self, method: str, request: Message, answer: type[_T], namespace: str = "") -> _T:
        with self._channel() as channel:
            call = channel.unary_unary(
                f"/{method}",
                request_serializer=type(request).SerializeToString,
                response_deserializer=answer.FromString,
            )
            metadata = ((NAMESPACE, namespace),) if namespace else ()
            reply: _T = call(request, metadata=metadata, timeout=DEADLINE)
            return reply

    @contextmanager
    def _channel(self) -> Iterator[grpc.Channel]:
        """A connection; what fails on it is one of our errors.

        Raises:
            NotFound: what was asked for isn't there.
            ServiceMissing: this containerd has no such service.
            Unavailable: anything else.
        """
        options = [("grpc.max_receive_message_length", LONGEST)]
        with grpc.insecure_channel(f"unix:{self._socket}", options=options) as channel:
            try:
                yield channel
            except grpc.RpcError as error:
                code, details = error.code(), error.details()
                if code is grpc.StatusCode.NOT_FOUND:
                    raise NotFound(details) from None
                if code is grpc.StatusCode.UNIMPLEMENTED:
                    raise ServiceMissing(
                        f"containerd at {self._socket} lacks a service: {details}"
                    ) from None
                raise Unavailable(f"containerd at {self._socket}: {details}") from None

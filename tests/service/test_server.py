"""What every gRPC server must have: health, reflection, several listeners."""

from __future__ import annotations

import grpc
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from holdfast.protos import content_pb2_grpc
from holdfast.service.listeners import parse
from holdfast.service.rpc.content import SERVICE
from tests.service.fleet import Fleet, Tenant, refused, sha256

HELLO = sha256(b"hello")


async def test_health(folder_fleet: Fleet) -> None:
    """Health checks are answered for the server and for the service, and follow a drain."""
    frontend = await folder_fleet.frontend()
    stub = health_pb2_grpc.HealthStub(frontend.channel)
    for name in ("", SERVICE):
        reply = await stub.Check(health_pb2.HealthCheckRequest(service=name))
        assert reply.status == health_pb2.HealthCheckResponse.SERVING
    await refused(
        StatusCode.NOT_FOUND, stub.Check(health_pb2.HealthCheckRequest(service="no.such.Service"))
    )
    watch = stub.Watch(health_pb2.HealthCheckRequest(service=SERVICE))
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
    await frontend.servers.drain(0.0)
    assert frontend.running.frontend.sessions.draining


async def test_reflection(folder_fleet: Fleet) -> None:
    """Reflection lists the service and describes it, for grpcurl and ghz."""
    frontend = await folder_fleet.frontend()
    stub = reflection_pb2_grpc.ServerReflectionStub(frontend.channel)
    call = stub.ServerReflectionInfo(
        iter(
            [
                reflection_pb2.ServerReflectionRequest(list_services=""),
                reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE),
            ]
        )
    )
    listed, described = [reply async for reply in call]
    assert SERVICE in {service.name for service in listed.list_services_response.service}
    file = FileDescriptorProto.FromString(
        described.file_descriptor_response.file_descriptor_proto[0]
    )
    assert [method.name for method in file.service[0].method] == [
        "Info", "Update", "List", "Delete", "Read", "Status", "ListStatuses", "Write", "Abort",
    ]  # fmt: skip


async def test_several_listeners(folder_fleet: Fleet, tenant: str) -> None:
    """Listeners of one frontend serve one store, each with its own way to tell the tenant."""
    frontend = await folder_fleet.frontend(sharing="isolated")
    port = await frontend.servers.listen(parse(f"tcp://127.0.0.1:0?tenant={tenant}"))
    await frontend.tenant(tenant).commit("ref", b"hello")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        other = Tenant(content_pb2_grpc.ContentStub(channel), (("x-holdfast-tenant", "else"),))
        assert [info.digest for info in await other.list()] == [HELLO]
    await refused(StatusCode.NOT_FOUND, frontend.tenant(f"{tenant}-b").info(HELLO))

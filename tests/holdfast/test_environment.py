"""Which variables that begin like ours are ours."""

from __future__ import annotations

import pytest

from holdfast.environment import CLIENT, advice, misspelt_of_client, nearest, strangers

KNOWN = {"HOLDFAST_S3_BUCKET", "HOLDFAST_S3_PREFIX", "HOLDFAST_REDIS_URL"}
LINKS = {
    "HOLDFAST_SERVICE_HOST": "10.0.0.1",
    "HOLDFAST_SERVICE_PORT": "9000",
    "HOLDFAST_SERVICE_PORT_GRPC": "9000",
    "HOLDFAST_PORT": "tcp://10.0.0.1:9000",
    "HOLDFAST_PORT_9000_TCP": "tcp://10.0.0.1:9000",
    "HOLDFAST_PORT_9000_TCP_PROTO": "tcp",
    "HOLDFAST_PORT_9000_TCP_PORT": "9000",
    "HOLDFAST_PORT_9000_TCP_ADDR": "10.0.0.1",
    "HOLDFAST_METRICS_SERVICE_HOST": "10.0.0.2",
    "HOLDFAST_METRICS_PORT": "tcp://10.0.0.2:9090",
    "HOLDFAST_METRICS_PORT_9090_UDP_ADDR": "10.0.0.2",
}
"""What Kubernetes puts into pods for Services called holdfast and holdfast-metrics."""


def test_known_names_and_those_of_others_are_left_alone() -> None:
    """Settings, in any case, and variables without our prefix are no strangers."""
    environment = {"HOLDFAST_S3_BUCKET": "b", "holdfast_redis_url": "r", "HOLDFASTER": "x"}
    assert strangers(environment, KNOWN) == []


def test_service_links_of_kubernetes_are_left_alone() -> None:
    """What Kubernetes sets for a Service that is called like us stops nobody."""
    assert strangers(LINKS, KNOWN) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("HOLDFAST_S3_BUCKETS", "b"), ("HOLDFAST_PORT", "9000"), ("holdfast_s3bucket", "b")],
)
def test_strangers(name: str, value: str) -> None:
    """A name that nobody knows is found, also one that resembles a service link."""
    assert strangers({name: value, **dict.fromkeys(KNOWN, "x")}, KNOWN) == [name]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("HOLDFAST_S3_BUCKETS", "HOLDFAST_S3_BUCKET"),
        ("HOLDFAST_S3BUCKET", "HOLDFAST_S3_BUCKET"),
        ("holdfast_redis_ulr", "HOLDFAST_REDIS_URL"),
        ("HOLDFAST_BUCKET", "HOLDFAST_S3_BUCKET"),
        ("HOLDFAST_FROBNICATE", ""),
    ],
)
def test_nearest(name: str, meant: str) -> None:
    """The setting that was meant is named, if one is near enough."""
    assert nearest(name, KNOWN) == meant
    assert (meant or "unset it") in advice(name, KNOWN)


def test_misspelt_names_of_the_client() -> None:
    """The client complains of what is nearly its own, and of nothing that may be a frontend's."""
    others = ["HOLDFAST_LISTEN", "HOLDFAST_HTTP", "HOLDFAST_AGENT_TOKEN_FILE"]
    names = [*CLIENT, "HOLDFAST_TENNANT", "HOLDFAST_ADDRES", *others]
    assert list(misspelt_of_client(names)) == ["HOLDFAST_ADDRES", "HOLDFAST_TENNANT"]

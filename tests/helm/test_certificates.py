"""Certificates that cert-manager makes for the listener, and for the test."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.service.listeners import parse
from tests.helm.chart import Helm, Rendered

pytestmark = pytest.mark.helm

ON: dict[str, Any] = {"enabled": True, "issuerRef": {"name": "content", "kind": "ClusterIssuer"}}


def certificates(rendered: Rendered) -> tuple[dict[str, Any], dict[str, Any]]:
    """The specs of the listener's and of the test's certificate."""
    listener, test = rendered.all_of("Certificate")
    return listener["spec"], test["spec"]


def secret_of(pod: dict[str, Any]) -> str:
    """The Secret that a pod has in /tls."""
    [volume] = [item for item in pod["spec"]["volumes"] if item["name"] == "tls"]
    return str(volume["secret"]["secretName"])


def test_the_listener_has_what_cert_manager_makes(helm: Helm) -> None:
    """The listener speaks TLS with the Secret that the certificate is put into."""
    rendered = helm.render(certificates=ON)
    spec, _ = certificates(rendered)
    assert secret_of(rendered.pods()["frontend"]) == spec["secretName"] == "store-holdfast-tls"
    url = rendered.settings["HOLDFAST_LISTEN"]
    assert parse(url).tls is not None
    assert "client-ca=/tls/ca.crt" in url
    assert spec["issuerRef"] == {
        "name": "content",
        "kind": "ClusterIssuer",
        "group": "cert-manager.io",
    }


def test_a_name_for_the_secret(helm: Helm) -> None:
    """The Secret may have a name of its own."""
    rendered = helm.render(
        certificates=ON, listener={"tls": {"existingSecret": {"name": "frontends"}}}
    )
    spec, _ = certificates(rendered)
    assert secret_of(rendered.pods()["frontend"]) == spec["secretName"] == "frontends"


def test_clients_find_the_services_names(helm: Helm) -> None:
    """The certificate has all names by which pods reach the Services, and those that are added."""
    rendered = helm.render(certificates={**ON, "dnsNames": ["content.example.com"]})
    spec, _ = certificates(rendered)
    for service in ("store-holdfast", "store-holdfast-headless"):
        for name in ("", ".content", ".content.svc", ".content.svc.cluster.local"):
            assert f"{service}{name}" in spec["dnsNames"]
    assert "content.example.com" in spec["dnsNames"]
    lone = helm.render(certificates=ON, service={"headless": False})
    assert not any("headless" in name for name in certificates(lone)[0]["dnsNames"])


def test_the_test_shows_one(helm: Helm) -> None:
    """The test's pod has a client's certificate of the same issuer, and the frontends' issuers."""
    rendered = helm.render(certificates=ON)
    listener, client = certificates(rendered)
    pod = rendered.pods()["test"]
    assert secret_of(pod) == client["secretName"]
    assert client["issuerRef"] == listener["issuerRef"]
    assert client["usages"] == ["digital signature", "client auth"]
    assert client["commonName"] == "helm-test"


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"certificates": {"enabled": True}}, "certificates.issuerRef.name"),
        (
            {"certificates": ON, "listener": {"tls": {"existingSecret": {"certKey": "cert"}}}},
            "certificates.enabled needs the keys",
        ),
        ({"certificates": {"duration": "90d"}}, "/certificates/duration"),
        ({"certificates": {"dnsNames": ["a b"]}}, "/certificates/dnsNames/0"),
    ],
    ids=str,
)
def test_what_is_refused(helm: Helm, values: dict[str, Any], reason: str) -> None:
    """What cert-manager couldn't make, or the listener couldn't use, is refused."""
    assert reason in helm.refusal(**values)

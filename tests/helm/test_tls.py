"""A listener with TLS: the Secret gets to where the listener's URL says, and guards the port."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.service.listeners import parse
from holdfast.service.trust.tls_files import TlsFiles
from tests.helm.chart import Helm, Rendered

pytestmark = pytest.mark.helm

UNGUARDED: dict[str, Any] = {"networkPolicy": {"enabled": False}}


def with_secret(**keys: str) -> dict[str, Any]:
    """Values for a listener with a certificate."""
    return {"listener": {"tls": {"existingSecret": {"name": "frontends", **keys}}}}


def listen(rendered: Rendered) -> str:
    """The listener's URL."""
    return str(rendered.settings["HOLDFAST_LISTEN"])


def test_the_secret_is_where_the_listener_looks(helm: Helm) -> None:
    """The Secret is mounted as a folder, for this user alone, and the URL names its files."""
    rendered = helm.render(**with_secret())
    listener = parse(listen(rendered))
    assert listener.tls == TlsFiles("/tls/tls.crt", "/tls/tls.key", "/tls/ca.crt")
    pod = rendered.one("Deployment")["spec"]["template"]["spec"]
    [volume] = [one["secret"] for one in pod["volumes"] if one["name"] == "tls"]
    assert volume == {"secretName": "frontends", "defaultMode": 0o440}
    [mount] = [one for one in pod["containers"][0]["volumeMounts"] if one["name"] == "tls"]
    assert mount == {"name": "tls", "mountPath": "/tls", "readOnly": True}


def test_keys_of_ones_own(helm: Helm) -> None:
    """The Secret's keys may have any names."""
    rendered = helm.render(**with_secret(certKey="cert", keyKey="key", clientCaKey="issuers"))
    assert parse(listen(rendered)).tls == TlsFiles("/tls/cert", "/tls/key", "/tls/issuers")


def test_certificates_guard_the_port(helm: Helm) -> None:
    """A port whose clients show certificates needs no policy; one with TLS alone does."""
    assert "insecure" not in listen(helm.render(**with_secret(), **UNGUARDED))
    assert "insecure" not in listen(helm.render(**with_secret()))
    assert "could name any tenant" in helm.refusal(**with_secret(clientCaKey=""), **UNGUARDED)
    guarded = listen(helm.render(**with_secret(clientCaKey="")))
    assert "insecure=1" in guarded
    assert "client-ca" not in guarded


def test_the_service_says_what_is_spoken(helm: Helm) -> None:
    """A Service says that its port speaks HTTP/2 without TLS only where that is so."""

    def protocol(**values: Any) -> str | None:
        services = helm.render(**values).all_of("Service")
        found = {port.get("appProtocol") for one in services for port in one["spec"]["ports"]}
        return ",".join(sorted(filter(None, found))) or None

    assert protocol() == "kubernetes.io/h2c"
    assert protocol(**with_secret()) is None

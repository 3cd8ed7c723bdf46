"""The HTTP port: plain and for all, or over TLS and with pages for operators."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.service.http_listener import HttpListener, Operators, parse_http
from holdfast.service.trust.tls_files import TlsFiles
from tests.helm.chart import Helm, Rendered

pytestmark = pytest.mark.helm

RULES = '[[rule]]\nname = "ops"\nby = "cn"\npattern = "ops"\nrole = "operator"\n'


def over_tls(**operators: Any) -> dict[str, Any]:
    """Values for a port with a certificate."""
    return {"http": {"tls": {"existingSecret": {"name": "pages"}}, "operators": operators}}


def port(rendered: Rendered) -> HttpListener:
    """The port, as a frontend understands its URL."""
    return parse_http(rendered.settings["HOLDFAST_HTTP"])


def schemes(rendered: Rendered) -> set[str]:
    """How the kubelet asks."""
    [frontend] = rendered.one("Deployment")["spec"]["template"]["spec"]["containers"]
    probes = ("startupProbe", "readinessProbe", "livenessProbe")
    return {frontend[probe]["httpGet"].get("scheme", "HTTP") for probe in probes}


def test_a_plain_port_has_no_operators(helm: Helm) -> None:
    """Without values the port is plain, and only probes and metrics are there."""
    rendered = helm.render()
    assert port(rendered).listener.tls is None
    assert port(rendered).operators is Operators.NOBODY
    assert schemes(rendered) == {"HTTP"}
    mounts = rendered.one("Deployment")["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
    assert "http-tls" not in {one["name"] for one in mounts}


def test_an_operator_by_certificate(helm: Helm) -> None:
    """The Secret is where the URL says; who shows the name sees the pages, and probes need none."""
    rendered = helm.render(**over_tls(commonName="ops@site"))
    found = port(rendered)
    assert found.operators is Operators.PROVEN
    files = ("/http-tls/tls.crt", "/http-tls/tls.key", "/http-tls/ca.crt")
    assert found.listener.tls == TlsFiles(*files, optional=True)
    assert found.listener.identity.by_certificate
    assert "cn=ops@site" in found.listener.url
    assert schemes(rendered) == {"HTTPS"}
    pod = rendered.one("Deployment")["spec"]["template"]["spec"]
    [volume] = [one["secret"] for one in pod["volumes"] if one["name"] == "http-tls"]
    assert volume == {"secretName": "pages", "defaultMode": 0o440}
    [mount] = [one for one in pod["containers"][0]["volumeMounts"] if one["name"] == "http-tls"]
    assert mount == {"name": "http-tls", "mountPath": "/http-tls", "readOnly": True}


@pytest.mark.parametrize("issuers", ["ca.crt", ""])
def test_an_operator_by_rules(helm: Helm, issuers: str) -> None:
    """The rules that say who asks by gRPC say who an operator is, by certificate or token."""
    values = over_tls(identities=True)
    values["http"]["tls"]["existingSecret"]["clientCaKey"] = issuers
    found = port(helm.render(**values, identities=RULES))
    assert found.operators is Operators.PROVEN
    assert found.listener.tls is not None
    assert found.listener.tls.client_ca == (f"/http-tls/{issuers}" if issuers else "")
    assert "identities=1" in found.listener.url


def test_tls_alone_shows_nobody_more(helm: Helm) -> None:
    """A certificate without a rule encrypts probes and metrics; nobody is an operator."""
    rendered = helm.render(**over_tls())
    assert port(rendered).operators is Operators.NOBODY
    assert schemes(rendered) == {"HTTPS"}


@pytest.mark.parametrize("kind", ["PodMonitor", "ServiceMonitor"])
def test_prometheus_speaks_tls(helm: Helm, kind: str) -> None:
    """A monitor asks as the port answers, and checks the certificate as its values say."""
    section = kind[0].lower() + kind[1:]

    def endpoint(*, tls: bool, **values: Any) -> dict[str, Any]:
        monitoring = {"monitoring": {section: {"enabled": True, **values}}}
        spec = helm.render(**monitoring, **(over_tls() if tls else {})).one(kind)["spec"]
        found: dict[str, Any] = (spec.get("podMetricsEndpoints") or spec["endpoints"])[0]
        return found

    checked = {"serverName": "content", "ca": {"secret": {"name": "pages", "key": "ca.crt"}}}
    assert endpoint(tls=False, tlsConfig=checked)["scheme"] == "http"
    assert "tlsConfig" not in endpoint(tls=False, tlsConfig=checked)
    assert endpoint(tls=True)["scheme"] == "https"
    assert endpoint(tls=True)["tlsConfig"] == {"insecureSkipVerify": True}
    assert endpoint(tls=True, tlsConfig=checked)["tlsConfig"] == checked

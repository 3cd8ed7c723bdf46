"""The pod of `helm test`: it does what a client does, as the values say that clients do it."""

from __future__ import annotations

from typing import Any

import pytest
from typer.main import get_command

from holdfast.cli.app import app
from tests.helm.chart import Helm, Rendered

pytestmark = pytest.mark.helm

LISTENER: dict[str, Any] = {"tls": {"existingSecret": {"name": "frontends"}}}


def command(rendered: Rendered) -> list[str]:
    """What the test's pod runs."""
    [container] = rendered.pods()["test"]["spec"]["containers"]
    found: list[str] = container["command"]
    return found


def value(words: list[str], option: str) -> str:
    """The value of an option."""
    return words[words.index(option) + 1]


def test_the_command_is_one_of_ours(helm: Helm) -> None:
    """The pod runs a command that the program has, with options that it takes."""
    client = {"existingSecret": {"name": "client"}}
    rendered = helm.render(
        listener={**LISTENER, "tenantHeader": "x-team"},
        test={"tls": client, "tokenAudience": "holdfast"},
    )
    program, name, *arguments = command(rendered)
    assert (program, name) == ("holdfast", "check")
    group: Any = get_command(app)
    known = {opt for one in group.get_command(None, name).params for opt in one.opts}
    assert {word for word in arguments if word.startswith("--")} <= known
    assert value(arguments, "--tenant-header") == "x-team"


def test_it_goes_through_the_service(helm: Helm) -> None:
    """It connects to the Service, as a tenant, with as many bytes as the values say."""
    rendered = helm.render(service={"port": 443}, test={"tenant": "probe", "size": "2MiB"})
    words = command(rendered)
    services = [item["metadata"]["name"] for item in rendered.all_of("Service")]
    assert value(words, "--address") == f"{services[0]}.content.svc:443"
    assert value(words, "--tenant") == "probe"
    assert value(words, "--size") == str(2 * 2**20)
    assert "--ca" not in words


def test_over_tls_it_shows_a_certificate(helm: Helm) -> None:
    """Where the port speaks TLS, it trusts the Secret's issuers and shows its certificate."""
    given = {"existingSecret": {"name": "client", "caKey": "issuers.pem"}}
    rendered = helm.render(listener=LISTENER, test={"tls": given})
    words = command(rendered)
    assert value(words, "--ca") == "/tls/issuers.pem"
    assert value(words, "--cert") == "/tls/tls.crt"
    assert value(words, "--key") == "/tls/tls.key"
    [volume] = [v for v in rendered.pods()["test"]["spec"]["volumes"] if v["name"] == "tls"]
    assert volume["secret"]["secretName"] == "client"
    bare = {"existingSecret": {"name": "client", "certKey": "", "keyKey": ""}}
    assert "--cert" not in command(helm.render(listener=LISTENER, test={"tls": bare}))


def test_a_token(helm: Helm) -> None:
    """A token of the pod's own account, for the given audience, is where the command looks."""
    given = {"tls": {"existingSecret": {"name": "client"}}, "tokenAudience": "holdfast"}
    rendered = helm.render(listener=LISTENER, test=given)
    spec = rendered.pods()["test"]["spec"]
    [volume] = [item for item in spec["volumes"] if item["name"] == "token"]
    [source] = volume["projected"]["sources"]
    assert source["serviceAccountToken"]["audience"] == "holdfast"
    [mount] = [m for m in spec["containers"][0]["volumeMounts"] if m["name"] == "token"]
    path = f"{mount['mountPath']}/{source['serviceAccountToken']['path']}"
    assert value(command(rendered), "--token-file") == path
    assert spec["serviceAccountName"] == "store-holdfast-test"
    message = helm.refusal(test={"tokenAudience": "holdfast"})
    assert "test.tokenAudience needs test.tls.existingSecret.name" in message


def test_it_has_no_rights(helm: Helm) -> None:
    """It runs as the frontends do, with no keys of S3 or Redis, and no token of Kubernetes'."""
    rendered = helm.render()
    spec = rendered.pods()["test"]["spec"]
    assert spec["securityContext"] == rendered.pod["securityContext"]
    [container] = spec["containers"]
    assert container["securityContext"] == rendered.frontend["securityContext"]
    assert [item["name"] for item in container["env"]] == ["HOME"]
    assert "envFrom" not in container
    assert spec["automountServiceAccountToken"] is False
    assert spec["restartPolicy"] == "Never"


@pytest.mark.parametrize("values", [{"test": {"enabled": False}}, {"listener": LISTENER}], ids=str)
def test_without_a_test(helm: Helm, values: dict[str, Any]) -> None:
    """Without a test, or with TLS and nothing to trust, there is no pod, no account, no policy."""
    rendered = helm.render(**values)
    assert rendered.all_of("Pod") == []
    names = [item["metadata"]["name"] for item in rendered.objects]
    assert not [name for name in names if name.endswith("-test")]
    assert "helm test" not in helm.notes(**values) or "there is no" in helm.notes(**values)

"""What the chart puts into a frontend's environment is what the frontend takes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from holdfast.service.listeners import parse
from holdfast.service.settings import Settings, load
from tests.helm.cases import ACCEPTED
from tests.helm.chart import CHART, Helm
from tests.helm.test_objects import FRONTENDS

pytestmark = pytest.mark.helm

SECRETS = {
    "holdfast-redis/url": "redis://:secret-of-redis@redis:6379/0",
    "frontend-s3/access-key-id": "id-of-frontends",
    "frontend-s3/secret-access-key": "secret-of-frontends",
    "s3/access-key-id": "id-of-s3",
    "s3/secret-access-key": "secret-of-s3",
}
NAMES = {
    f"HOLDFAST_{name.upper()}"
    for name in Settings.model_fields
    if not name.startswith("agent_")  # the chart runs no agents: their place is the node's host
}


@FRONTENDS
def test_every_variable_is_a_setting(helm: Helm, name: str) -> None:
    """Each HOLDFAST_ variable that the chart sets is one that a frontend reads."""
    found = helm.render(**ACCEPTED[name]).environment(SECRETS)
    given = {variable for variable in found if variable.startswith("HOLDFAST_")}
    assert given <= NAMES
    # A setting that the chart leaves out can't be reached by its user.
    assert NAMES - given == set()


@FRONTENDS
def test_a_frontend_starts_with_it(helm: Helm, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A frontend accepts the environment as a whole: listeners, sizes, times, words."""
    for variable, value in helm.render(**ACCEPTED[name]).environment(SECRETS).items():
        monkeypatch.setenv(variable, value)
    settings = load()
    assert settings.s3_bucket == "content"
    assert settings.redis_url == SECRETS["holdfast-redis/url"]
    assert not settings.embedded
    [listener] = [parse(url) for url in settings.listen]
    assert listener.port == 9000


def test_large_and_broken_numbers_arrive_as_given(
    helm: Helm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A million seconds and two and a half arrive as such, not as 1e+06 or 2."""
    rendered = helm.render(**ACCEPTED["everything"])
    for variable, value in rendered.environment(SECRETS).items():
        monkeypatch.setenv(variable, value)
    settings = load()
    assert settings.ingest_lifetime == 1_000_000
    assert settings.suspend_grace == 2.5
    assert rendered.settings["HOLDFAST_INGEST_LIFETIME"] == "1000000"


@FRONTENDS
def test_no_secret_passes_through_the_chart(helm: Helm, name: str) -> None:
    """Credentials are references to Secrets that exist, and the chart makes no Secret."""
    rendered = helm.render(**ACCEPTED[name])
    assert rendered.all_of("Secret") == []
    variables = {item["name"]: item for item in rendered.frontend["env"]}
    for variable in {"HOLDFAST_REDIS_URL", "AWS_SECRET_ACCESS_KEY"} & variables.keys():
        assert variables[variable].keys() == {"name", "valueFrom"}
    assert "HOLDFAST_REDIS_URL" in variables


def test_the_chart_overrules_borrowed_environment(helm: Helm) -> None:
    """The chart's own settings are variables of the pod, which override borrowed sources."""
    rendered = helm.render(envFrom=[{"configMapRef": {"name": "mine"}}])
    assert rendered.frontend["envFrom"] == [{"configMapRef": {"name": "mine"}}]
    assert rendered.settings["HOLDFAST_S3_BUCKET"] == "content"
    assert "envFrom" not in helm.render().frontend


def test_values_are_bounded_like_the_settings() -> None:
    """The schema's bounds and choices are those of the settings."""
    schema = json.loads((CHART / "values.schema.json").read_text("utf-8"))
    given = schema["properties"]["settings"]["properties"]
    own = Settings.model_json_schema()["properties"]
    words = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "enum")
    for name, rules in given.items():
        snake = "".join(f"_{c.lower()}" if c.isupper() else c for c in name)
        found: dict[str, Any] = {word: rules[word] for word in words if word in rules}
        wanted = {word: own[snake][word] for word in words if word in own[snake]}
        if rules["type"] != "string" or "enum" in rules:
            assert found == wanted, name


def test_the_notes_say_what_matters(helm: Helm) -> None:
    """After an installation the notes warn of a port that nobody may use, or nobody guards."""
    peers: dict[str, Any] = {"clients": [{"podSelector": {}}]}
    assert "nobody can connect" in helm.notes()
    assert "WARNING" not in helm.notes(networkPolicy=peers)
    unguarded = helm.notes(listener={"insecure": True}, networkPolicy={"enabled": False})
    assert "no NetworkPolicy guards the port" in unguarded

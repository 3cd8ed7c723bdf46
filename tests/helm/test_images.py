"""Images come from where the values say, for clusters without a way out, too."""

from __future__ import annotations

import pytest
import yaml

from tests.helm.cases import EVERY_POD
from tests.helm.chart import CHART, Helm, Rendered, component_of, merged
from tests.project import pages

pytestmark = pytest.mark.helm


def images(rendered: Rendered) -> set[tuple[str, str]]:
    """The components, each with the images of its containers."""
    return {
        (component_of(pod), container["image"])
        for pod in rendered.every_pod()
        for container in (*pod["spec"].get("initContainers", []), *pod["spec"]["containers"])
    }


@pytest.mark.parametrize(
    ("repository", "image"),
    [
        ("docker.example/team/holdfast", "mirror.example:5000/team/holdfast:0.1.0"),
        ("localhost:5000/holdfast", "mirror.example:5000/holdfast:0.1.0"),
        ("localhost/holdfast", "mirror.example:5000/holdfast:0.1.0"),
        ("team/holdfast", "mirror.example:5000/team/holdfast:0.1.0"),
        ("holdfast", "mirror.example:5000/holdfast:0.1.0"),
    ],
)
def test_a_mirror_takes_the_registrys_place(helm: Helm, repository: str, image: str) -> None:
    """All pods pull from the mirror, under the path that the image had in its registry."""
    given = {"image": {"repository": repository}}
    values = {
        "global": {"imageRegistry": "mirror.example:5000"}, **given, "nodes": given, "load": given,
    }  # fmt: skip
    found = images(helm.render(**merged(EVERY_POD, values)))
    components = {"frontend", "gc", "scrub", "expire", "test", "nodes", "load"}
    assert found == {(component, image) for component in components}


def test_the_readme_lists_each_image() -> None:
    """The README lists all images that the values name, for whoever copies them to a mirror."""
    values = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
    sections = [name for name, of in values.items() if isinstance(of, dict) and "image" in of]
    named = {"image", *(f"{name}.image" for name in sections)}
    page = (CHART / "README.md").read_text("utf-8")
    assert named <= set(pages.first_cells(page, "Without a way out of the cluster"))
    assert named == {"image", "nodes.image", "load.image"}


def test_secrets_for_pulling_are_those_of_both(helm: Helm) -> None:
    """Every pod has the Secrets of the chart and of all charts, each once."""
    values = {
        "imagePullSecrets": [{"name": "own"}, {"name": "both"}],
        "global": {"imagePullSecrets": [{"name": "all"}, {"name": "both"}]},
    }
    for pod in helm.render(**merged(EVERY_POD, values)).every_pod():
        names = [one["name"] for one in pod["spec"]["imagePullSecrets"]]
        assert names == ["all", "both", "own"], component_of(pod)

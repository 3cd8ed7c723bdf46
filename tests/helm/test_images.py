"""Images come from where the values say, for clusters without a way out, too."""

from __future__ import annotations

import pytest

from tests.helm.chart import Helm, Rendered

pytestmark = pytest.mark.helm


def images(rendered: Rendered) -> set[str]:
    """The images of all of our own containers."""
    jobs = [job["spec"]["jobTemplate"]["spec"] for job in rendered.all_of("CronJob")]
    pods = [rendered.pod, *(job["template"]["spec"] for job in jobs)]
    return {container["image"] for pod in pods for container in pod["containers"]}


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
    rendered = helm.render(
        image={"repository": repository},
        expire={"enabled": True},
        **{"global": {"imageRegistry": "mirror.example:5000"}},
    )
    assert images(rendered) == {image}


def test_secrets_for_pulling_are_those_of_both(helm: Helm) -> None:
    """Every pod has the Secrets of the chart and of all charts, each once."""
    rendered = helm.render(
        imagePullSecrets=[{"name": "own"}, {"name": "both"}],
        **{"global": {"imagePullSecrets": [{"name": "all"}, {"name": "both"}]}},
    )
    names = [one["name"] for one in rendered.pod["imagePullSecrets"]]
    assert names == ["all", "both", "own"]
    for job in rendered.all_of("CronJob"):
        pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        assert pod["imagePullSecrets"] == rendered.pod["imagePullSecrets"]

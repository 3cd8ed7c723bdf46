"""The values on the pages: the chart takes them as they are written."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.helm.chart import CHART, KUBERNETES, NEEDED, Helm, Rendered
from tests.helm.schemas import VERSIONS, check
from tests.project import pages
from tests.project.repository import ROOT

pytestmark = pytest.mark.helm

BLOCKS = {
    f"{page.relative_to(ROOT)} {number}": block
    for page in (*pages.pages(), CHART / "README.md")
    for number, block in enumerate(pages.blocks(page.read_text("utf-8"), "yaml"), 1)
}
NO_VALUES = {"docs/identities.md 1": "part of a pod"}
VALUES = {name: block for name, block in BLOCKS.items() if name not in NO_VALUES}


def test_blocks_without_values_are_there() -> None:
    """Each block that is no set of values is on its page."""
    assert NO_VALUES.keys() < BLOCKS.keys()


@pytest.mark.parametrize("name", VALUES)
def test_values_on_the_pages(helm: Helm, tmp_path: Path, name: str) -> None:
    """A page's values render; those for frontends, with what an installation of them needs."""
    given = tmp_path / "values.yaml"
    given.write_text(VALUES[name])
    alone = yaml.safe_load(VALUES[name]).get("replicaCount") == 0
    done = helm.run(
        *("template", "store", str(CHART), "--kube-version", KUBERNETES, "--values", str(given)),
        values={} if alone else NEEDED,
    )
    assert done.returncode == 0, done.stderr
    check(Rendered.parsed(done.stdout), VERSIONS[-1])

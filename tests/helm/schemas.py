"""The objects of Kubernetes, by the schemas of all its versions that the chart is for."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import yaml
from kubernetes_validate import utils

from tests.helm.chart import CHART, Rendered

# Each check reads megabytes of schemas, which takes ten times as long as the check itself.
utils.schema_contents = lru_cache(maxsize=32)(utils.schema_contents)

_CHART: Final = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))
_OLDEST: Final = utils.major_minor(_CHART["kubeVersion"].removeprefix(">="))
_KNOWN: Final = list(dict.fromkeys(map(utils.major_minor, utils.all_versions())))
VERSIONS: Final = _KNOWN[_KNOWN.index(_OLDEST) :]
"""From the oldest that the chart installs on to the newest that the library knows."""
OTHERS: Final = ("cert-manager.io", "monitoring.coreos.com")
"""API groups of other projects' operators; tests/kubernetes/test_chart.py holds these."""


def check(rendered: Rendered, version: str) -> None:
    """Checks that each object has only fields that a version of Kubernetes knows.

    Raises:
        kubernetes_validate.ValidationError: one has others, or lacks one.
    """
    for item in rendered.objects:
        if item["apiVersion"].partition("/")[0] not in OTHERS:
            utils.validate(item, version, strict=True)

"""The file with the quotas of single nodes."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.service.holdings.quota_file import read
from holdfast.service.holdings.quotas import Quota
from tests.helm.chart import Helm
from tests.helm.test_settings import SECRETS

pytestmark = pytest.mark.helm

QUOTAS = '[tenants."ci-*"]\nbytes = "2 GiB"\n'


def test_none_by_itself(helm: Helm) -> None:
    """Without quotas there is no file, and no frontend looks for one."""
    rendered = helm.render()
    assert rendered.environment(SECRETS)["HOLDFAST_QUOTAS"] == ""
    assert rendered.all_of("ConfigMap") == []
    assert "quotas" not in {item["name"] for item in rendered.pod["volumes"]}


def test_the_file_is_where_frontends_look(helm: Helm, tmp_path: Path) -> None:
    """What the values say is mounted as a folder, so that a change reaches the pod."""
    rendered = helm.render(quotas=QUOTAS)
    path = Path(rendered.environment(SECRETS)["HOLDFAST_QUOTAS"])
    mounts = {item["mountPath"]: item for item in rendered.frontend["volumeMounts"]}
    mount = mounts[str(path.parent)]
    assert "subPath" not in mount
    [volume] = [item for item in rendered.pod["volumes"] if item["name"] == mount["name"]]
    [found] = [
        item
        for item in rendered.all_of("ConfigMap")
        if item["metadata"]["name"] == volume["configMap"]["name"]
    ]
    written = tmp_path / path.name
    written.write_text(found["data"][path.name])
    assert read(written, Quota()).tenants == {"ci-*": Quota(bytes=2 * 2**30)}

"""The file with the bounds of single tenants: strict, and read again when it changes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from holdfast.errors import ConfigurationError
from holdfast.service.holdings.quota_file import LARGEST, QuotaFile, quotas_in_force, read
from holdfast.service.holdings.quotas import Quota
from holdfast.service.settings import Settings
from tests.service.fleet import Fleet

DEFAULT = Quota(bytes=1000, holds=10, ingests=None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file is."""
    return tmp_path / "quotas.toml"


def test_what_a_table_sets(path: Path) -> None:
    """A table overrides what it names, in bytes or with a unit; 0 sets no bound."""
    path.write_text(
        '[tenants."node-7"]\nbytes = "2 GiB"\nholds = 0\n[tenants."ci-*"]\nbytes = 5\ningests = 3\n'
    )
    assert read(path, DEFAULT).tenants == {
        "node-7": Quota(bytes=2 * 2**30, holds=None, ingests=None),
        "ci-*": Quota(bytes=5, holds=10, ingests=3),
    }


def test_the_fleets_bound(path: Path) -> None:
    """The file's bound for the fleet overrides the setting; 0 sets none, and a change counts."""
    bounds = [("", 7), ("[fleet]\nbytes = 0", None), ('[fleet]\nbytes = "1 KiB"', 1024)]
    for text, most in bounds:
        path.write_text(text)
        assert quotas_in_force(Settings(quotas=str(path), fleet_bytes=7)).fleet == most
    quotas = quotas_in_force(Settings(quotas=str(path), fleet_bytes=7))
    file = QuotaFile(path, quotas, 7)
    for text, most in reversed(bounds):
        path.write_text(text)
        file.look()
        assert quotas.fleet == most


def test_which_table_counts(path: Path) -> None:
    """A tenant's own name goes before patterns, and the first pattern before the next."""
    path.write_text(
        "\n".join(f'[tenants."{name}"]\nholds = {n}' for n, name in enumerate(NAMES, 1))
    )
    quotas = quotas_in_force(Settings(quotas=str(path), tenant_holds=9))
    found = {name: quotas.of(name).holds for name in ("a-1", "a-2", "b-1", "A-2")}
    assert found == {"a-1": 3, "a-2": 1, "b-1": 9, "A-2": 9}


NAMES = ["a-*", "a-2*", "a-1"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("tenants = 3", "tenants"),
        ("[tenant.a]\nbytes = 1", "tenant"),
        ("[tenants.a]\nbyte = 1", "byte"),
        ("[tenants.a]\nbytes = -1", "bytes"),
        ('[tenants.a]\nbytes = "lots"', "bytes"),
        ("[tenants.a]\nholds = 1.5", "holds"),
        ("[tenants.a]\nholds = true", "holds"),
        ('[tenants.a]\nholds = "7"', "holds"),
        ("[tenants.a]\ningests = -2", "ingests"),
        ("[tenants.a]\nbytes = 1\n[tenants.a]\nbytes = 2", "tenants"),
        ("[fleet]\nholds = 1", "fleet.holds"),
        ("[fleet]\nbytes = -1", "fleet.bytes"),
        ("[tenants", "Expected"),
        ("\x00", "quotas.toml"),
        ("a = " + "[" * 5000, "quotas.toml"),
        ("a = " + "1" * 5000, "quotas.toml"),
        ("x" * (LARGEST + 1), "larger than"),
    ],
)
def test_what_is_refused(path: Path, text: str, says: str) -> None:
    """Whatever isn't a bound is refused, and the message says where it is."""
    path.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        read(path, DEFAULT)
    assert says in str(caught.value)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_bytes_that_are_no_text(path: Path) -> None:
    """A file that isn't UTF-8 is refused, and so is one that isn't there."""
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError):
        read(path, DEFAULT)
    with pytest.raises(ConfigurationError):
        quotas_in_force(Settings(quotas=f"{path}.other"))


def test_it_is_read_again(path: Path) -> None:
    """A changed file comes into force; one that can't be used, or is gone, changes nothing."""
    path.write_text("[tenants.a]\nholds = 1")
    quotas = quotas_in_force(Settings(quotas=str(path)))
    file = QuotaFile(path, quotas)
    file.look()
    assert quotas.of("a").holds == 1
    for wrong in ("[tenants.a]\nhold = 22", None):
        with capture_logs() as logs:
            if wrong:
                path.write_text(wrong)
            else:
                path.unlink()
            file.look()
            file.look()
        assert [entry["event"] for entry in logs] == ["quotas not reloaded; they stay as they were"]
        assert file.refused
        assert quotas.of("a").holds == 1
    path.write_text("[tenants.a]\nholds = 333")
    file.look()
    assert not file.refused
    assert quotas.of("a").holds == 333


def test_a_link_that_is_swapped(tmp_path: Path, path: Path) -> None:
    """A link that points to another file is noticed, as Kubernetes swaps a ConfigMap."""
    for number in (1, 2):
        (tmp_path / f"{number}").write_text(f"[tenants.a]\nholds = {number}")
        os.utime(tmp_path / f"{number}", (0, 0))
    path.symlink_to(tmp_path / "1")
    quotas = quotas_in_force(Settings(quotas=str(path)))
    file = QuotaFile(path, quotas)
    swapped = tmp_path / "swapped"
    swapped.symlink_to(tmp_path / "2")
    swapped.rename(path)
    file.look()
    assert quotas.of("a").holds == 2


async def test_a_frontend_watches_it(folder_fleet: Fleet, tenant: str, path: Path) -> None:
    """A frontend has the file's bounds, and a gauge that says whether the file can be used."""
    path.write_text(f'[tenants."{tenant}"]\nbytes = 1000')  # noqa: ASYNC240 -- a few bytes
    one = await folder_fleet.frontend(quotas=str(path))
    assert one.counted("holdfast_quotas_refused") == 0
    assert one.running.frontend.catalogue.charges.bounded(tenant)
    assert not one.running.frontend.catalogue.charges.bounded("another")

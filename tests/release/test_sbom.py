"""The list of what the image holds: all of it, and nothing else."""

from __future__ import annotations

import json
from email.parser import HeaderParser
from importlib.metadata import distributions
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from packaging.utils import canonicalize_name

from scripts.sbom import bill
from tests.image.archive import Image
from tests.project.repository import version

pytestmark = pytest.mark.image


@pytest.fixture(scope="module")
def text(image: Image) -> str:
    """The image's list."""
    return bill(image.archive)


@pytest.fixture(scope="module")
def said(text: str) -> dict[str, Any]:
    """What it says."""
    found: dict[str, Any] = json.loads(text)
    return found


def listed(said: dict[str, Any]) -> set[tuple[str, str, str | None]]:
    """Kind, name and version of all that it lists."""
    components = [said["metadata"]["component"], *said["components"]]
    urls = [PackageURL.from_string(component["purl"]) for component in components]
    return {(url.type, url.name, url.version) for url in urls}


def test_it_follows_the_schema(text: str) -> None:
    """CycloneDX's own schema finds nothing wrong with it."""
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None


def test_it_lists_what_is_installed(image: Image, said: dict[str, Any]) -> None:
    """Each package in the image's folders is listed with its version, and nothing else is."""
    [packages] = image.root.glob("opt/holdfast/lib/python3*/site-packages")
    python = {
        ("pypi", str(canonicalize_name(one.name)), one.version)
        for one in distributions(path=[str(packages)])
    }
    debian = set()
    for path in (image.root / "var/lib/dpkg/status.d").iterdir():
        if path.suffix != ".md5sums":
            fields = HeaderParser().parsestr(path.read_text("utf-8"))
            debian.add(("deb", fields["Package"], fields["Version"]))
    assert listed(said) == python | debian
    assert ("pypi", "holdfast", version()) in python
    assert {"libc6", "libssl3", "ca-certificates"} <= {name for _, name, _ in debian}


def test_it_says_what_needs_what(said: dict[str, Any]) -> None:
    """Whoever looks for a broken library finds who needs it."""
    needs = {
        PackageURL.from_string(one["ref"]).name: {
            PackageURL.from_string(url).name for url in one.get("dependsOn", ())
        }
        for one in said["dependencies"]
    }
    assert {"grpcio", "redis", "boto3", "cryptography"} <= needs["holdfast"]
    assert "botocore" in needs["boto3"]
    assert "libc6" in needs["libssl3"]


def test_every_wheel_states_its_licence(said: dict[str, Any]) -> None:
    """No Python package is listed without a licence; Debian's have files that tell theirs."""
    silent = [
        component["name"]
        for component in said["components"]
        if component["purl"].startswith("pkg:pypi/") and not component.get("licenses")
    ]
    assert silent == []


def test_one_image_has_one_list(image: Image, text: str) -> None:
    """Made again, it is the same to the byte."""
    assert bill(image.archive) == text

"""Lists what an image holds, as CycloneDX does: its packages of Debian and of Python.

    python -m scripts.sbom IMAGE.tar SBOM.json

It reads the image itself, not what the image should have been made of.
"""

from __future__ import annotations

import argparse
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path
from typing import Final
from uuid import UUID, uuid5

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts.oci import content, layers, manifest_digest

PROJECT: Final = "holdfast"
STATES: Final = "var/lib/dpkg/status.d/"
METADATA: Final = re.compile(r"site-packages/[^/]+\.dist-info/METADATA$")
NAMESPACE: Final = UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")
"""Of URLs, by RFC 9562: the list of one image has one number, whenever it is made."""


@dataclass(frozen=True, slots=True)
class Package:
    """What an image says of one installed package.

    Attributes:
        kind: `deb` or `pypi`, as package URLs name them.
        said: its fields.
    """

    kind: str
    said: Message

    @property
    def name(self) -> str:
        """Its name, as its kind spells it."""
        found = self.said["Package" if self.kind == "deb" else "Name"]
        return found if self.kind == "deb" else canonicalize_name(found)

    def needs(self) -> Iterator[str]:
        """The names of the packages that it asks for; some aren't there, and needn't be."""
        if self.kind == "deb":
            for one in (self.said["Depends"] or "").replace("|", ",").split(","):
                yield re.split(r"[ (:]", one.strip())[0]
        else:
            for line in self.said.get_all("Requires-Dist") or ():
                yield canonicalize_name(Requirement(line).name)


def main() -> None:
    """Writes the list of an image."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("image", type=Path, help="an OCI archive")
    parser.add_argument("sbom", type=Path)
    chosen = parser.parse_args()
    chosen.sbom.write_text(bill(chosen.image), "utf-8")


def bill(image: Path) -> str:
    """The CycloneDX document, in JSON, of an image in an OCI archive."""
    found = list(packages(image))
    components = {(one.kind, one.name): component(one) for one in found}
    bom = Bom(serial_number=uuid5(NAMESPACE, manifest_digest(image)))
    [project] = (it for (_, name), it in components.items() if name == PROJECT)
    bom.metadata.component = project
    # No time and no tool's version: the same image has the same list.
    bom.metadata.timestamp = None  # type: ignore[assignment]
    bom.components.update(it for it in components.values() if it is not project)
    for one in found:
        needed = (components.get((one.kind, name)) for name in one.needs())
        bom.register_dependency(components[one.kind, one.name], filter(None, needed))
    return JsonV1Dot6(bom).output_as_string(indent=2) + "\n"


def packages(image: Path) -> Iterator[Package]:
    """The packages whose descriptions are in an image."""
    for layer in layers(image):
        for member in layer:
            if member.name.startswith(STATES) and not member.name.endswith(".md5sums"):
                yield Package("deb", _read(layer, member))
            elif METADATA.search(member.name):
                yield Package("pypi", _read(layer, member))


def _read(layer: tarfile.TarFile, member: tarfile.TarInfo) -> Message:
    return HeaderParser().parsestr(content(layer, member).decode("utf-8"))


def component(package: Package) -> Component:
    """What the list says of a package."""
    said, version = package.said, package.said["Version"]
    url = (
        PackageURL("deb", "debian", package.name, version, {"arch": said["Architecture"]})
        if package.kind == "deb"
        else PackageURL("pypi", None, package.name, version)
    )
    stated = licence(said)
    return Component(
        type=ComponentType.APPLICATION if package.name == PROJECT else ComponentType.LIBRARY,
        bom_ref=str(url),
        name=package.name,
        version=version,
        purl=url,
        description=said["Summary"] or (said["Description"] or "").partition("\n")[0] or None,
        licenses=[LicenseFactory().make_from_string(stated)] if stated else [],
    )


def licence(said: Message) -> str:
    """The licence that a package states, or ""; Debian's are in files, in words.

    Some packages have put a licence's whole text where its name belongs.
    """
    classifiers = (line.split(" :: ") for line in said.get_all("Classifier") or ())
    classified = " AND ".join(parts[-1] for parts in classifiers if parts[0] == "License")
    named = (said["License"] or "").strip()
    return str(said["License-Expression"] or (classified if "\n" in named else named) or classified)


if __name__ == "__main__":
    main()

"""h2spec, which tries HTTP/2's rules one by one, finds nothing wrong.

Its requests are no RPCs: they are answered with an HTTP status, as gRPC's protocol says.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

from .programs import folder, run

CASES = 145
"""As many as this version of h2spec has: none may be lost."""


def test_every_section(port: int, tmp_path: Path) -> None:
    """Each case of h2spec's generic, hpack and http2 sections passes."""
    report = tmp_path / "report.xml"
    program = folder("go") / "h2spec"
    done = run(str(program), "-p", str(port), "-o", "5", "-j", str(report))
    cases = list(ET.parse(report).iter("testcase"))  # noqa: S314 -- made by h2spec
    failed = [
        f"{case.get('package')}: {case.get('classname')}: {''.join(case.itertext()).strip()}"
        for case in cases
        if len(case)
    ]
    assert failed == []
    assert len(cases) == CASES, done.stdout

"""What is unreleased joins the release that is made."""

from __future__ import annotations

import pytest

from scripts.join_unreleased import joined
from tests.project.repository import required_text, version

BEFORE = """# Changelog
Words.

<!-- start -->

## [0.1.0] - 2026-01-02

### Added

- New.

### Security

- Safe.


## [Unreleased]
This will be 0.1.0.

### Added
**A part**
- Old,
  in two lines.

### Fixed
- Mended.
"""
AFTER = """# Changelog
Words.

<!-- start -->

## [0.1.0] - 2026-01-02

### Added
**A part**
- Old,
  in two lines.

- New.

### Security
- Safe.

### Fixed
- Mended.
"""


def test_the_two_are_joined_kind_by_kind() -> None:
    """What there was comes first, and no kind has two headings."""
    assert joined(BEFORE) == AFTER


def test_once_is_enough() -> None:
    """Without anything unreleased, a changelog stays as it is; so does the one below."""
    assert joined(AFTER) == AFTER
    older = "\n## [0.0.9] - 2025-01-02\n\n### Added\n- First.\n"
    assert joined(BEFORE + older) == AFTER + older


def test_without_a_release_nothing_joins() -> None:
    """Where no release has been made yet, it isn't guessed."""
    with pytest.raises(ValueError, match="no section of a release"):
        joined("# Changelog\n\n## [Unreleased]\n\n### Added\n- Old.\n")


def test_nothing_of_the_project_s_is_lost() -> None:
    """With a first release made, each bullet of CHANGELOG.md is still there."""
    text = required_text("CHANGELOG.md")
    section = f"## [{version()}] - 2026-01-02\n\n### Added\n\n- New.\n\n\n"
    place = text.index("## [")
    after = joined(text[:place] + section + text[place:])
    wanted = [line for line in text.splitlines() if line.startswith(("- ", "  ", "**"))]
    assert [line for line in wanted if line not in after.splitlines()] == []
    assert "Unreleased" not in after

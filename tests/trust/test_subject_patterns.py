"""Patterns of subjects: what they match, and which are refused."""

from __future__ import annotations

import pytest

from holdfast.errors import InvalidArgument
from holdfast.service.trust.subject_patterns import LONGEST, LONGEST_SUBJECT, SubjectPattern


@pytest.mark.parametrize(
    ("pattern", "subject", "tenant"),
    [
        ("system:node:(.+)", "system:node:worker-1", "worker-1"),
        ("system:node:(.+)", "a system:node:worker-1", None),
        ("system:node:(a|b)", "system:node:a\n", None),
        ("system:node:(.+)", "system:node:a\0b", None),
        ("(?i)Node-(.+)", "NODE-a", "a"),
        ("spiffe://prod/node/([^/]+)", "spiffe://prod/node/a/b", None),
        ("(?:x|y)-(?P<tenant>.*)", "y-", ""),
        ("admin", "admin", ""),
        ("admin", "admins", None),
    ],
)
def test_a_pattern_matches_all_of_a_subject(pattern: str, subject: str, tenant: str | None) -> None:
    """A pattern matches a whole subject without control characters, and its group is the tenant."""
    assert SubjectPattern.parse(pattern).match(subject) == tenant


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("", "0 characters"),
        ("a" * (LONGEST + 1), "512"),
        ("(a", "RE2"),
        (r"(a)\1", "RE2"),
        ("(?=a)(b)", "RE2"),
        ("(a)(b)", "2 groups"),
        ("(((((a{100}){100}){100}))))", "RE2"),
        ("\udcff", "RE2"),
    ],
)
def test_a_pattern_that_cannot_be_used_is_refused(pattern: str, text: str) -> None:
    """A pattern that is empty, too long, too large, not RE2's or ambiguous is refused."""
    with pytest.raises(InvalidArgument, match=text):
        SubjectPattern.parse(pattern)


def test_a_pattern_that_would_backtrack_has_an_answer() -> None:
    """A pattern that stalls engines that backtrack is answered for the longest subject."""
    pattern = SubjectPattern.parse("((?:(?:a+)+)+)b")
    assert pattern.match("a" * LONGEST_SUBJECT) is None
    assert pattern.match("a" * (LONGEST_SUBJECT - 1) + "b") is not None
    assert pattern.match("a" * LONGEST_SUBJECT + "b") is None


@pytest.mark.parametrize(
    ("pattern", "loose"),
    [
        ("system:node:(.+)", False),
        (r"spiffe://prod\.example/node/([^/]+)", False),
        ("spiffe://prod.example/node/([^/]+)", True),
        ("(?:a|b):(.+)", True),
        ("x(.+)y?", True),
        ("(?P<tenant>[a-z()]+)", False),
        (r"\w:(a)", True),
        ("[(](a)", True),
        (r"\((a)\)", False),
    ],
)
def test_a_pattern_is_loose_if_something_else_varies(pattern: str, loose: bool) -> None:
    """If anything outside of the group varies, two subjects may name the same tenant."""
    assert SubjectPattern.parse(pattern).loose is loose

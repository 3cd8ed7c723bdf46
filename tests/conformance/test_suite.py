"""What the conformance tests say is read right, above all when they fail."""

from __future__ import annotations

from tests.conformance.suite import MARK, Outcome, outcomes

SAID = f"""\
{MARK}=== RUN   TestA
{MARK}=== PAUSE TestA
{MARK}=== RUN   TestB
{MARK}=== RUN   TestB/one and "two"
    b_test.go:7: --- PASS: TestC (0.00s)
{MARK}=== CONT  TestA
    a_test.go:3: of A
{MARK}=== NAME{"  "}
of none of them
{MARK}=== NAME  TestB/one and "two"
    b_test.go:8: more
{MARK}--- FAIL: TestB (0.02s)
    {MARK}--- FAIL: TestB/one and "two" (0.01s)
{MARK}--- PASS: TestA (1.50s)
"""


def test_each_test_has_its_verdict_and_output() -> None:
    """What parallel tests say is given to each, and a test's output is never a verdict."""
    assert outcomes(SAID) == [
        Outcome("TestA", "PASS", "    a_test.go:3: of A"),
        Outcome(
            'TestB/one and "two"',
            "FAIL",
            "    b_test.go:7: --- PASS: TestC (0.00s)\n    b_test.go:8: more",
        ),
    ]


def test_a_parent_that_fails_by_itself_is_kept() -> None:
    """A test that fails outside its subtests isn't hidden by those that pass."""
    text = (
        f"{MARK}=== RUN   TestA\n{MARK}=== RUN   TestA/x\n{MARK}=== NAME  TestA\n    a.go:1: bad\n"
        f"{MARK}--- FAIL: TestA (0.00s)\n    {MARK}--- PASS: TestA/x (0.00s)\n"
    )
    assert outcomes(text) == [
        Outcome("TestA", "FAIL", "    a.go:1: bad"),
        Outcome("TestA/x", "PASS", ""),
    ]


def test_a_crash_leaves_a_test_unfinished() -> None:
    """A test that was running when the program crashed counts, with what was said last."""
    [found] = outcomes(f"{MARK}=== RUN   TestA\npanic: oh\n\ngoroutine 1 [running]:\n")
    assert found == Outcome("TestA", "UNFINISHED", "panic: oh\n\ngoroutine 1 [running]:")

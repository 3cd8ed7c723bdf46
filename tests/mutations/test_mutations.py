"""Each mutation in the lists is noticed by a test; those that can't be are explained.

One of them is tried in an ordinary run, all of them in a long one. One alone:
`pytest tests/mutations -k 'leases and margin'`.
"""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import pytest

from tests.mutations.grounds import PATIENCE, Ended, Grounds
from tests.mutations.mutation import Mutation, explained, lists
from tests.project.repository import ROOT

LEAST = 150
LISTS = lists()
LISTED = list(chain.from_iterable(LISTS.values()))
EXPLAINED = explained()
SMOKE = {LISTED[0]}
TRIED = [
    pytest.param(mutation, id=mutation.name, marks=[] if mutation in SMOKE else [pytest.mark.slow])
    for mutation in LISTED
]
SELECTIONS = sorted({mutation.tests for mutation in (*LISTED, *EXPLAINED)})

patient = pytest.mark.timeout(PATIENCE + 60)


@pytest.fixture(scope="session")
def grounds(tmp_path_factory: pytest.TempPathFactory) -> Grounds:
    """A copy of the project for this worker."""
    return Grounds(tmp_path_factory.mktemp("grounds"))


@patient
@pytest.mark.parametrize("mutation", TRIED)
def test_mutation_is_noticed(grounds: Grounds, mutation: Mutation) -> None:
    """Tests fail on the code with this place broken."""
    with grounds.broken(mutation):
        ended, said = grounds.run(mutation.tests)
    assert ended is Ended.FAILED, (
        f"it survives {mutation.tests}: kill it by a test, or explain it in explained.toml; {said}"
    )


@patient
@pytest.mark.slow
@pytest.mark.parametrize("mutation", EXPLAINED, ids=lambda mutation: mutation.name)
def test_explained_mutation_survives(grounds: Grounds, mutation: Mutation) -> None:
    """What is said not to be noticeable isn't noticed: else it belongs to the others."""
    with grounds.broken(mutation):
        ended, said = grounds.run(mutation.tests)
    assert ended is Ended.PASSED, f"it is noticed after all: {said}"


@patient
@pytest.mark.slow
@pytest.mark.parametrize("tests", SELECTIONS, ids=" ".join)
def test_tests_pass_on_unbroken_code(grounds: Grounds, tests: tuple[str, ...]) -> None:
    """What a mutation is tried with passes without it, so that a failure means something."""
    ended, said = grounds.run(tests)
    assert ended is Ended.PASSED, said


@pytest.mark.parametrize("mutation", [*LISTED, *EXPLAINED], ids=lambda mutation: mutation.name)
def test_mutation_has_its_place(mutation: Mutation) -> None:
    """The place that a mutation breaks stands in its file, once, and changes."""
    text = (ROOT / mutation.path).read_text("utf-8")
    assert mutation.applied(text) != text


def test_lists_are_long_enough() -> None:
    """There are at least 150 mutations, each listed once, and each survivor has its reason."""
    everything = [*LISTED, *EXPLAINED]
    assert len(everything) >= LEAST
    assert len({mutation.name for mutation in everything}) == len(everything)
    assert not any(mutation.why for mutation in LISTED)
    assert all(mutation.why for mutation in EXPLAINED)


def test_a_place_that_is_gone_is_named() -> None:
    """A mutation whose line has changed is an error that names the file and the line."""
    gone = Mutation("storage/keys.py", "no such line", "x", ())
    with pytest.raises(ValueError, match=r"storage/keys.py has 0 places .*'no such line'"):
        gone.applied((ROOT / gone.path).read_text("utf-8"))


def test_the_tree_itself_is_never_broken(grounds: Grounds) -> None:
    """A mutation is applied to the copy alone, and is gone from there afterwards."""
    mutation = LISTED[0]
    original = (ROOT / mutation.path).read_text("utf-8")
    copied = grounds.folder / mutation.path
    with grounds.broken(mutation):
        assert (ROOT / mutation.path).read_text("utf-8") == original
        assert copied.read_text("utf-8") == mutation.applied(original)
    assert copied.read_text("utf-8") == original


def test_tests_that_can_not_be_run_kill_nothing(grounds: Grounds, tmp_path: Path) -> None:
    """A run in which pytest finds nothing to run is an error, and no mutation killed."""
    with pytest.raises(RuntimeError, match="pytest ended with"):
        grounds.run([str(tmp_path / "nothing.py")])

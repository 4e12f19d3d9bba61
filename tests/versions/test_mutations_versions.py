"""What only newer versions have is mutated there, and named by the proof."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import postgres_versions
from tests.faults.backup.bed import Bed, bed
from tests.faults.backup.mutation import Mutation
from tests.faults.backup.test_mutations import MUTATIONS, must_be_named

SYSTEM = 15
"The version that the other tests have at least."

NEWER = [each for each in MUTATIONS if each.since > SYSTEM]


@pytest.fixture(scope="module")
def newest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    """Restore a torture database on the newest version."""
    major = postgres_versions.MAJORS[-1]
    with (
        postgres_versions.server(major) as server,
        bed(
            server.superuser,
            tmp_path_factory.mktemp("backup"),
            bindir=postgres_versions.bindir(major),
        ) as made,
    ):
        yield made


def test_there_is_something_newer() -> None:
    """The table of mutations has some for each version that brought something."""
    assert {each.since for each in NEWER} >= {17, 18}


@pytest.mark.parametrize("mutation", NEWER, ids=lambda each: each.id)
def test_a_mutation_of_what_is_new_is_named(newest: Bed, mutation: Mutation) -> None:
    """The proof tells what was changed, by object and property, and nothing of anything else."""
    must_be_named(newest, mutation)

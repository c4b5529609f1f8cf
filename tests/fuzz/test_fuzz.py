"""Some seconds of fuzzing: what was ever found, and the same inputs each time. `make fuzz` goes further."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

sys.path.insert(0, str(Path(__file__).parent))
from fuzz_targets import CORPUS, TARGETS, inputs, kept, seeds

EXAMPLES = 60


@pytest.mark.parametrize("name", TARGETS)
def test_every_parser_keeps_to_its_word(name: str) -> None:
    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs(name))
    def check(raw: bytes) -> None:
        TARGETS[name].check(raw)

    check()


@pytest.mark.parametrize("name", TARGETS)
def test_vectors_and_what_was_found_once_are_right(name: str) -> None:
    assert seeds(name)
    for raw in seeds(name):
        TARGETS[name].check(raw)


def test_nothing_stands_in_the_corpus_that_no_target_reads() -> None:
    assert {folder.name for folder in CORPUS.iterdir()} <= TARGETS.keys()
    assert all(kept(name) for name in TARGETS if (CORPUS / name).is_dir())

"""Hostile networks, and hostile states and results of runs: each is refused in one line, quickly and in little memory.

`hostile_child.py` writes and reads them, all in one process, so that libraries are imported once.
"""

import pytest
from hostile import Results, check_refused, read_hostile_files

KINDS = {  # what the message says
    "checkpoint_bomb": "its parts are packed",
    "checkpoint_of_code": "is damaged and not used",
    "checkpoint_of_no_zip": "is damaged and not used",
    "network_with_a_lying_header": "header too large",
    "network_with_a_long_header": "header too large",
    "network_with_lying_offsets": "not fully covered",
    "network_with_a_long_notation": "it is too large",
    "network_of_many_layers": "more than 10,000 characters",
    "network_of_absurd_sizes": "size is [1000000000, 1000000000]",
    "network_of_large_weights": "and should be None",
    "detector_of_two_gigabytes": "larger than 1 GB",
    "detector_with_weights_outside": "keeps its weights in another file",
    "detector_of_an_absurd_input": "at most 8192 pixels",
    "detector_of_lying_weights": "cannot be loaded",
    "state_bomb": "is damaged",
    "result_nested": "result.json is damaged",
    "result_of_many_lists": "result.json is damaged",
    "run_configuration": "aliases",
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return read_hostile_files("train", tmp_path_factory.mktemp("hostile"))


def test_every_kind_is_here(results: Results) -> None:
    assert {*results} == {*KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_a_hostile_file_is_refused(results: Results, kind: str) -> None:
    check_refused(results[kind], KINDS[kind])

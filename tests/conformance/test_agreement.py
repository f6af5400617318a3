"""One program, every backend: the same results and the same errors."""

import pytest

import rsim
from tests.conformance import programs
from tests.conformance.conftest import BACKENDS


@pytest.mark.parametrize("program", programs.PROGRAMS, ids=lambda program: program.__name__)
def test_backends_agree(program, tmp_path):
    outcomes = {}
    for backend in BACKENDS:
        folder = tmp_path / backend
        folder.mkdir()
        with rsim.init(backend, num_cpus=3):
            outcomes[backend] = program(folder)
    first = outcomes[BACKENDS[0]]
    for backend in BACKENDS[1:]:
        assert outcomes[backend] == first, backend
    assert first is not None

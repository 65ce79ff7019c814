"""Which part of the crash matrix is run: all, or a sample."""

import pytest

from tests.crashes.matrix import cases, sample
from tests.crashes.requests import GIVEN


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """By step, and by route."""
    size, seed = metafunc.config.option.crash_sample, metafunc.config.option.crash_seed
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", sample(cases(), size, seed), ids=str)
    if "route" in metafunc.fixturenames:
        metafunc.parametrize("route", sample([*GIVEN], size, seed))

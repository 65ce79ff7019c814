"""The option `--record`."""

import pytest


@pytest.fixture(scope="session")
def record(request: pytest.FixtureRequest) -> bool:
    """Whether to record histories anew."""
    return bool(request.config.getoption("--record"))

"""`paysaga worker --check`, as a container's health check runs it."""

import asyncio
import os
import sys

import pytest

from cli.polling import require_worker
from cli.stack.errors import StackError
from tests.processes import environment
from tests.world import World

pytestmark = pytest.mark.long


async def checked(world: World, **more: str) -> tuple[int, str]:
    """The exit code, and what was said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "cli.main", "worker", "--check"),
        env={**os.environ, **environment(world.settings), **more},
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def test_a_worker_that_polls(world: World) -> None:
    assert await checked(world) == (0, "")


async def test_no_worker_on_this_task_queue(world: World) -> None:
    code, said = await checked(world, PAYSAGA_TASK_QUEUE="nobody-polls")

    assert code == 1
    assert said.startswith("paysaga: No worker of this host polls the task queue nobody-polls: ")


async def test_a_worker_of_another_host_does_not_count(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "elsewhere")

    with pytest.raises(StackError, match="No worker of this host"):
        await require_worker(world.settings)


async def test_a_temporal_that_is_away(world: World) -> None:
    code, said = await checked(world, TEMPORAL_ADDRESS="127.0.0.1:1")

    assert code == 1
    assert said.startswith("paysaga: Temporal at 127.0.0.1:1 ")

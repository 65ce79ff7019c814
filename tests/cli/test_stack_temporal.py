"""The embedded Temporal server keeps what it was told, and finds its program."""

from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.client import Client, WorkflowExecutionStatus

from cli.stack.errors import BinaryMissing
from cli.stack.temporal import NAMESPACE, TemporalServer, find_binary


async def test_a_workflow_survives_a_kill_of_the_server(tmp_path: Path) -> None:
    server = TemporalServer(tmp_path)
    async with server:
        client = await Client.connect(server.address, namespace=NAMESPACE)
        await client.start_workflow("Saga", id="kept", task_queue="none", execution_timeout=timedelta(hours=1))
        server.kill()

        await server.start()

        found = await client.get_workflow_handle("kept").describe()
    assert found.status is WorkflowExecutionStatus.RUNNING


def test_a_setting_that_names_no_program_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAYSAGA_TEMPORAL_BIN", str(tmp_path / "temporal"))

    with pytest.raises(BinaryMissing, match=r"PAYSAGA_TEMPORAL_BIN=.* cannot be run"):
        find_binary()


def test_the_program_installed_beside_python_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    assert find_binary().name == "temporal"

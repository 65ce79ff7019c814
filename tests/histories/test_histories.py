"""Recorded histories: sagas that began under earlier code must go on under this one.

To record anew (after adding a scenario, never to make a failing replay pass):

    uv run pytest tests/histories --record
"""

import base64
import json
import re
from typing import Any

import pytest
from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer

from domain.operations import OperationKind
from domain.statuses import LIFECYCLES
from tests.histories.kept import FOLDER, file, recorded
from tests.histories.scenarios import SCENARIOS
from tests.world import Servers, open_world
from worker.main import WORKFLOWS
from worker.sandboxing import RUNNER

TEACH = """The saga no longer gives the commands that running ones have given. Guard the change:

    if workflow.patched("what-changes"):
        ...  # the new way
    else:
        ...  # the old way, until no saga of before is running

Then record the new way as a scenario of its own, and keep the old history."""


@pytest.fixture(params=SCENARIOS)
def name(request: pytest.FixtureRequest) -> str:
    """Each scenario."""
    return str(request.param)


async def test_f41_recorded_history_replays(name: str, record: bool, servers: Servers) -> None:
    if record:
        await _record(name, servers)
    replayer = Replayer(
        workflows=WORKFLOWS, workflow_runner=RUNNER, data_converter=pydantic_data_converter, namespace="paysaga"
    )

    result = await replayer.replay_workflow(recorded(name), raise_on_replay_failure=False)

    assert result.replay_failure is None, f"{TEACH}\n\n{result.replay_failure}"


@pytest.mark.parametrize(
    "kept",
    [
        "deposit-succeeded",
        "wallet_transfer-succeeded",
        "withdrawal-reversed",
        "connected_account-failed",
        "offer-in-milestones",
    ],
)
async def test_fingerprint(kept: str, servers: Servers) -> None:
    """A fresh saga gives the very commands of the recorded one: a change is seen even where a replay would pass."""
    scenario, pacing = SCENARIOS[kept]
    async with open_world(servers, pacing=pacing) as world:
        workflow_id = await scenario(world)
        fresh = await world.workflow(workflow_id).fetch_history()

    assert _commands(fresh) == _commands(recorded(kept)), TEACH


@pytest.mark.parametrize("kind", OperationKind)
def test_every_terminal_status_isrecorded(kind: OperationKind) -> None:
    kept = {_result(recorded(name)) for name in SCENARIOS if name.startswith(f"{kind}-") and "followup" not in name}

    assert kept == LIFECYCLES[kind].terminal


def test_replay_notices_a_changed_saga() -> None:
    """The check can fail: commands in another order are another fingerprint."""
    commands = _commands(recorded("deposit-succeeded"))

    assert "activity create_payment_intent" in commands
    assert commands != [*commands[1:], commands[0]]


async def _record(name: str, servers: Servers) -> None:
    scenario, pacing = SCENARIOS[name]
    async with open_world(servers, pacing=pacing) as world:
        workflow_id = await scenario(world)
        history = await world.workflow(workflow_id).fetch_history()
    FOLDER.mkdir(exist_ok=True)
    kept = {"id": workflow_id, "history": _anywhere(history.to_json_dict())}
    file(name).write_text(json.dumps(kept, indent=1) + "\n")


def _anywhere(recorded: Any) -> Any:
    """The history without what tells of the machine that recorded it: paths in stack traces, and host names."""
    if isinstance(recorded, list):
        return [_anywhere(item) for item in recorded]
    if not isinstance(recorded, dict):
        return recorded
    identities = {"identity": "worker", "workerIdentity": "worker"}
    return {name: identities.get(name, _anywhere(value)) for name, value in recorded.items() if name != "stackTrace"}


def _result(history: WorkflowHistory) -> str:
    completed = history.events[-1].workflow_execution_completed_event_attributes
    return str(json.loads(completed.result.payloads[0].data))


def _commands(history: WorkflowHistory) -> list[str]:
    """What the saga told the server to do, in order."""
    found = []
    for event in history.events:
        if event.HasField("activity_task_scheduled_event_attributes"):
            found.append(f"activity {event.activity_task_scheduled_event_attributes.activity_type.name}")
        elif event.HasField("timer_started_event_attributes"):
            seconds: Any = event.timer_started_event_attributes.start_to_fire_timeout
            found.append(f"timer {seconds.ToTimedelta().total_seconds():g} s")
        elif event.HasField("upsert_workflow_search_attributes_event_attributes"):
            attributes = event.upsert_workflow_search_attributes_event_attributes.search_attributes.indexed_fields
            found += [f"show {key}={value.data.decode()}" for key, value in sorted(attributes.items())]
    return found


def test_f54_histories_hold_no_secrets_and_nobodys_name(name: str) -> None:
    """Ids and amounts alone: whoever may look at the Temporal UI learns nothing of a person."""
    text = file(name).read_text()
    payloads = [base64.b64decode(data) for data in re.findall(r'"data": "([^"]*)"', text)]

    assert payloads
    for payload in payloads:
        assert not re.search(rb"_secret_|sk_test_|whsec_|@|\balice\b", payload), payload

"""An engineer who does something to each of several sagas, at the very moment when it does a certain step."""

import uuid
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from temporalio import activity
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from tests.world import World


class Meddler(Interceptor):
    """Does `act` to the first saga of a kind when it begins the first of `steps`, to the second at the second, ….

    prefix: of the sagas' ids. Once all steps are given out, further sagas go unmolested.
    """

    def __init__(self, prefix: str, steps: Iterable[str], act: Callable[[str], Awaitable[Any]]) -> None:
        self.met: dict[str, str] = {}
        """By saga: at which step."""
        self.done: set[str] = set()
        self._prefix = prefix
        self._steps = list(steps)
        self._act = act

    async def has_met_all(self) -> bool:
        """Whether it was done to one saga at each step."""
        return not self._steps and self.done == set(self.met)

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _Meddling(next, self)

    async def begins(self, saga: str, step: str) -> None:
        """A saga begins a step."""
        if not saga.startswith(self._prefix):
            return
        if saga not in self.met and self._steps:
            self.met[saga] = self._steps.pop(0)
        if self.met.get(saga) == step and saga not in self.done:
            self.done.add(saga)
            await self._act(saga)


class _Meddling(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, meddler: Meddler) -> None:
        super().__init__(next)
        self._meddler = meddler

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        await self._meddler.begins(activity.info().workflow_id or "", input.fn.__name__)
        return await super().execute_activity(input)


async def card_of(world: World, workflow_id: str) -> str:
    """What the Temporal UI shows of a running, or ended, saga as its current details."""
    metadata = await world.workflow(workflow_id).query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    return str(metadata.current_details)


async def run_and_points(world: World, workflow_id: str) -> tuple[str, list[int]]:
    """The id of a workflow's last run, and the events that it can be reset to."""
    described = await world.workflow(workflow_id).describe()
    history = await world.events_of(workflow_id)
    done = [event.event_id for event in history if event.HasField("workflow_task_completed_event_attributes")]
    return str(described.run_id), done


async def reset(world: World, workflow_id: str, run_id: str, event_id: int) -> None:
    """Reset a workflow, as the Temporal UI does."""
    await world.temporal.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=world.temporal.namespace,
            workflow_execution=WorkflowExecution(workflow_id=workflow_id, run_id=run_id),
            reason="an engineer tries",
            workflow_task_finish_event_id=event_id,
            request_id=str(uuid.uuid4()),
        )
    )

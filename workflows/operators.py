"""The verbs by which an operator helps a saga, whichever it is: updates, sent by the API, the command line or the
Temporal UI.

A validator looks at the form alone: one that started an activity would wedge the workflow. What the act is held against
(the state, the evidence, an approval) is looked at by an activity, which also keeps who did it and why, or was refused.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

from activities.operators import Adoption, ApprovedOperatorAct, OperatorActivities
from activities.outcomes import why
from activities.records import OperatorAction, RecordActivities
from domain.operations import OperationRef
from domain.operators import Act, Adopt, ApprovedAct

HOW_TO_HELP = (
    'an operator can send the update `retry` with `{"actor": …, "reason": …}`: it then goes on at once. With an'
    " `approval` besides, which the API issues: `compensate` gives it up in time, `write_off` gives up what cannot be"
    " had back, and `adopt`, with a `step` and a `stripe_id`, takes that object for what the step has made"
)
"""For the card that the Temporal UI shows."""


class OperatorVerbs(ABC):
    """What an operator can ask of a running saga. Each verb answers with the saga's status."""

    ref: OperationRef
    status: str
    cancel_requested: bool

    @abstractmethod
    async def note(self, activity: Callable[..., Awaitable[Any]], argument: Any, *, summary: str) -> Any:
        """Do something about the saga's own state, however long Postgres is away."""

    @abstractmethod
    def wake(self) -> None:
        """Let the story go on at once, whatever it waits for."""

    @workflow.update
    async def retry(self, wish: Act) -> str:
        """Do not wait any longer, ask or try again now."""
        await self.note(
            RecordActivities.record_operator_action,
            OperatorAction(
                operation_id=self.ref.operation_id,
                action_id=_action_id(),
                verb="retry",
                actor=wish.actor,
                reason=wish.reason,
            ),
            summary=f"{wish.actor} asks for a retry",
        )
        self.wake()
        return self.status

    @retry.validator
    def _retry_has_form(self, wish: Act) -> None:
        _require_form(wish)

    @workflow.update
    async def adopt(self, wish: Adopt) -> str:
        """Take an object at Stripe for what a step's call in doubt has made; the step then goes through with it."""
        act = Adoption(operation_id=self.ref.operation_id, action_id=_action_id(), wish=wish)
        await self._carry_out(OperatorActivities.adopt, act, summary=f"{wish.actor} adopts {wish.stripe_id}")
        self.wake()
        return self.status

    @adopt.validator
    def _adopt_has_form(self, wish: Adopt) -> None:
        _require_form(wish)

    @workflow.update
    async def compensate(self, wish: ApprovedAct) -> str:
        """Give the operation up, unless it is past its point of no return or a call may have been done."""
        act = ApprovedOperatorAct(operation_id=self.ref.operation_id, action_id=_action_id(), wish=wish)
        await self._carry_out(OperatorActivities.compensate, act, summary=f"{wish.actor} gives it up")
        self.cancel_requested = True
        self.wake()
        return self.status

    @compensate.validator
    def _compensate_has_form(self, wish: ApprovedAct) -> None:
        _require_form(wish)

    @workflow.update
    async def write_off(self, wish: ApprovedAct) -> str:
        """Give up what Stripe does not give back: it is the owner's."""
        act = ApprovedOperatorAct(operation_id=self.ref.operation_id, action_id=_action_id(), wish=wish)
        await self._carry_out(OperatorActivities.write_off, act, summary=f"{wish.actor} writes the rest off")
        self.wake()
        return self.status

    @write_off.validator
    def _write_off_has_form(self, wish: ApprovedAct) -> None:
        _require_form(wish)

    async def _carry_out(self, activity: Callable[..., Awaitable[Any]], argument: Any, *, summary: str) -> None:
        try:
            await self.note(activity, argument, summary=summary)
        except ActivityError as error:
            failure, _ = why(error)
            raise ApplicationError(failure.detail, type=failure.code, non_retryable=True) from error


def _action_id() -> str:
    """The update's id: sent again, it is the same act."""
    update = workflow.current_update_info()
    assert update is not None
    return update.id


def _require_form(wish: Act) -> None:
    if wish.fault is not None:
        raise ApplicationError(wish.fault, type="invalid-request", non_retryable=True)

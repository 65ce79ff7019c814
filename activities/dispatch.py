"""Reaching sagas: starting one, signaling it, asking it for a verb. Used by the API and by the sweeper alike.

Every method may be called again for the same thing, at any time, by anyone: workflow ids, update ids and the sagas
themselves see to it that nothing happens twice.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
import structlog
from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowExecutionStatus,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from activities import outcomes, visibility
from domain.ids import OperationId
from domain.money import Money
from domain.operations import OperationKind, SagaInput, StripeHint, followup_id
from domain.pacing import Pacing

ENDED_BEFORE_THE_UPDATE = "AcceptedUpdateCompletedWorkflow"
"""What Temporal's server says of an update whose workflow was terminated: that the saga has refused it, it has not."""

ROOM_WITHIN = 0.2
"""Seconds after which a saga that had no room for a verb is asked again."""

log = structlog.get_logger()


class VerbRefused(Exception):
    """The saga refused a verb; `code` is that of a `PaysagaError`."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class NoSaga(Exception):
    """No saga of this id is running."""


@contextlib.contextmanager
def _reaching() -> Iterator[None]:
    """A client that never was connected says so by a bare `RuntimeError`; here it is an `RPCError` like any other."""
    try:
        yield
    except RuntimeError as error:
        raise RPCError(str(error), RPCStatusCode.UNAVAILABLE, b"") from error


class SagaDispatcher:
    """`pacing` is what newly started sagas are given."""

    def __init__(self, client: Client, *, task_queue: str, pacing: Pacing) -> None:
        self._client = client
        self._task_queue = task_queue
        self._pacing = pacing

    async def first_answer(self, operation: sa.RowMapping, *, within: float) -> bool:
        """Start the operation's saga, if it is not running, and wait for its first answer.

        One round trip. False if there was none in `within` seconds or Temporal is away: the operation is written, so
        the sweeper will start it.
        """
        start: WithStartWorkflowOperation[Any, str] = WithStartWorkflowOperation(
            OperationKind(operation["kind"]).workflow,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            **self._saga(operation),
        )
        try:
            # The SDK's own timeout does not bound its connecting, nor its polling for an update that was accepted.
            with _reaching():
                async with asyncio.timeout(within):
                    await self._client.execute_update_with_start_workflow(
                        "first_answer",
                        id="first-answer",
                        start_workflow_operation=start,
                        result_type=str,
                        rpc_timeout=timedelta(seconds=within),
                    )
        except WorkflowAlreadyStartedError:
            return True  # It ran, and is over: its answer is on the operation's row.
        except (RPCError, TimeoutError, WorkflowUpdateFailedError, WorkflowUpdateRPCTimeoutOrCancelledError) as error:
            log.warning("no first answer", operation_id=operation["id"], error=type(error).__name__)
            # The start's own outcome is a future of the SDK's; unread, its error would be reported as forgotten. If
            # Temporal was never reached, it stays open for ever: so it is looked at, and not waited for.
            with contextlib.suppress(RPCError, WorkflowAlreadyStartedError, asyncio.CancelledError, TimeoutError):
                async with asyncio.timeout(0):
                    await start.workflow_handle()
            return False
        return True

    async def start(self, operation: sa.RowMapping) -> None:
        """Start the operation's saga unless it is running or has run. Raises `RPCError` if Temporal is away."""
        try:
            with _reaching():
                await self._client.start_workflow(
                    OperationKind(operation["kind"]).workflow,
                    id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                    id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                    **self._saga(operation),
                )
        except WorkflowAlreadyStartedError:
            log.info("saga has run", operation_id=operation["id"])

    async def resume(self, operation: sa.RowMapping) -> bool:
        """Start a saga again that was terminated or has failed; or its follow-up, if the saga came to its own end.

        Every step then returns what is recorded of it. False if one is running, or there is nothing to start. Raises
        `RPCError` if Temporal is away.
        """
        kind = OperationKind(operation["kind"])
        if await self._start_again(kind.workflow, self._saga(operation)):
            return True
        with _reaching():
            described = await self._client.get_workflow_handle(operation["id"]).describe()
        if described.status is WorkflowExecutionStatus.RUNNING or kind.follow_up_workflow is None:
            return False
        return await self._start_again(
            kind.follow_up_workflow, self._saga(operation) | {"id": followup_id(operation["id"])}
        )

    async def _start_again(self, workflow: str, how: dict[str, Any]) -> bool:
        try:
            with _reaching():
                await self._client.start_workflow(
                    workflow,
                    id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                    id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
                    **how,
                )
        except WorkflowAlreadyStartedError:
            return False
        return True

    async def deliver(self, operation: sa.RowMapping, hint: StripeHint) -> bool:
        """Tell the operation's saga, or once that is closed its follow-up, of an event.

        Signaling a closed saga's id with a start would run it again; so a follow-up of its own looks at what came late.
        False if the operation is over and of a kind that nothing can follow. Raises `NoSaga` if an open operation has
        no saga yet, and `RPCError` if Temporal is away.
        """
        if operation["closed_at"] is None:
            try:
                with _reaching():
                    await self._client.get_workflow_handle(operation["id"]).signal("stripe_event", hint)
            except RPCError as error:
                if error.status is RPCStatusCode.NOT_FOUND:
                    raise NoSaga(operation["id"]) from error
                raise
            return True
        follow_up = OperationKind(operation["kind"]).follow_up_workflow
        if follow_up is None:
            return False
        with _reaching():
            await self._client.start_workflow(
                follow_up,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                start_signal="stripe_event",
                start_signal_args=[hint],
                **self._saga(operation) | {"id": followup_id(operation["id"])},
            )
        return True

    async def verb(
        self, operation_id: str, verb: str, *, update_id: str, within: float, wish: dict[str, Any] | None = None
    ) -> None:
        """Ask the saga for `verb` (its update's name; `wish` is what it takes, if anything) and wait until it is done.

        Raises `VerbRefused`, `NoSaga`, and `TimeoutError` if it was not known in `within` seconds how it ends or
        Temporal is away: asking again with the same `update_id` then finds out.
        """
        try:
            with _reaching():
                async with asyncio.timeout(within):
                    await self._ask(operation_id, verb, update_id, within, wish)
        except WorkflowUpdateFailedError as error:
            cause = error.cause
            if isinstance(cause, ApplicationError) and cause.type not in (None, ENDED_BEFORE_THE_UPDATE):
                raise VerbRefused(cause.type, cause.message) from error
            raise NoSaga(operation_id) from error
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                raise NoSaga(operation_id) from error
            raise TimeoutError(f"Temporal: {error.status.name}") from error
        except WorkflowUpdateRPCTimeoutOrCancelledError as error:
            raise TimeoutError("Temporal did not answer in time") from error

    async def _ask(
        self, operation_id: str, verb: str, update_id: str, within: float, wish: dict[str, Any] | None
    ) -> None:
        """Ask until the saga has room for the verb: of an asking that it had none for, nothing is kept."""
        while True:
            try:
                await self._client.get_workflow_handle(operation_id).execute_update(
                    verb,
                    args=[] if wish is None else [wish],
                    id=update_id,
                    rpc_timeout=timedelta(seconds=within),
                )
                return
            except WorkflowUpdateFailedError as error:
                if not isinstance(error.cause, ApplicationError) or error.cause.type != outcomes.NOT_NOW:
                    raise
            await asyncio.sleep(ROOM_WITHIN)

    def _saga(self, operation: sa.RowMapping) -> dict[str, Any]:
        """What any start of an operation's saga says."""
        wallets = [operation["wallet_id"], operation["request"].get("to_wallet_id")]
        return {
            "args": [
                SagaInput(
                    operation_id=OperationId(operation["id"]),
                    amount=operation["amount"],
                    currency=operation["currency"],
                    pacing=self._pacing,
                    age=max(operation["age"], 0.0),
                    troubled=operation["attention"] is not None,
                )
            ],
            "id": operation["id"],
            "task_queue": self._task_queue,
            "search_attributes": TypedSearchAttributes(
                [
                    SearchAttributePair(visibility.KIND, operation["kind"]),
                    SearchAttributePair(visibility.STATUS, operation["status"]),
                    SearchAttributePair(visibility.WALLETS, [wallet for wallet in wallets if wallet is not None]),
                    SearchAttributePair(visibility.NEEDS_ATTENTION, False),
                ]
            ),
            "static_summary": _summary(operation),
        }


def _summary(operation: sa.RowMapping) -> str:
    """What the Temporal UI says the workflow is."""
    what = str(operation["kind"]).replace("_", " ")
    if operation["amount"] is None:
        return what
    return f"{what} of {Money(operation['amount'], operation['currency'])}"

"""What this Temporal server and this SDK can do at best: workflows whose steps do nothing.

`Bare` is the least that any operation needs: an update-with-start that is answered, a signal, two activities. `Twin` is
the deposit with nothing in it: as many activities, signals, timers and upserts, in the same order, and no database, no
Stripe, no HTTP. This module is also their worker: `python -m cli.bench.yardsticks`, with the stack's environment.
"""

import asyncio
import os
import signal
from contextlib import suppress
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.worker import Worker

with workflow.unsafe.imports_passed_through():
    from activities import visibility
    from domain.operations import OperationRef, StripeHint

TASK_QUEUE = "bench"

BARE, TWIN = "BenchBare", "BenchDepositTwin"

ATTRIBUTES = TypedSearchAttributes(
    [
        SearchAttributePair(visibility.KIND, "bench"),
        SearchAttributePair(visibility.STATUS, "requested"),
        SearchAttributePair(visibility.WALLETS, ["wal_bench"]),
        SearchAttributePair(visibility.NEEDS_ATTENTION, False),
    ]
)
"""What a saga is started with, too."""


@activity.defn
async def bench_nothing(_: OperationRef) -> None:
    """A step that does nothing."""


class _Answered:
    """The update and the signal that both yardsticks have of the sagas."""

    def __init__(self) -> None:
        self._answered = False
        self._mailbox: list[StripeHint] = []

    @workflow.update
    async def first_answer(self) -> str:
        """As a saga's."""
        await workflow.wait_condition(lambda: self._answered)
        return "answered"

    @workflow.signal
    def stripe_event(self, hint: StripeHint) -> None:
        """As a saga's."""
        self._mailbox.append(hint)

    async def _step(self, ref: OperationRef, summary: str) -> None:
        await workflow.execute_activity(
            bench_nothing, ref, summary=summary, start_to_close_timeout=timedelta(seconds=30)
        )


@workflow.defn(name=BARE)
class Bare(_Answered):
    """The least that an operation needs."""

    @workflow.run
    async def run(self, ref: OperationRef) -> None:
        """Ends after one signal."""
        await self._step(ref, "first")
        self._answered = True
        await workflow.wait_condition(lambda: bool(self._mailbox))
        await self._step(ref, "second")


@workflow.defn(name=TWIN)
class Twin(_Answered):
    """A deposit that its customer pays in the browser, and whose fee comes a moment later; with nothing in it."""

    @workflow.run
    async def run(self, ref: OperationRef) -> str:
        """Ends after two signals."""
        await self._step(ref, "make sure Stripe knows the customer")
        await self._step(ref, "ask for the payment")
        await self._step(ref, "record awaiting_payment")
        self._show(ref, "awaiting_payment")
        self._answered = True
        await self._hear()
        await self._step(ref, "ask Stripe how the payment stands")
        await self._step(ref, "credit the wallet")
        self._show(ref, "succeeded")
        await self._hear()
        await self._step(ref, "ask Stripe how the payment stands")
        await self._step(ref, "book Stripe's fee")
        workflow.set_current_details(f"**{ref.operation_id}** is closed")
        return "succeeded"

    async def _hear(self) -> None:
        """As a saga: if nothing is heard, it asks by itself."""
        with suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: bool(self._mailbox),
                timeout=timedelta(seconds=5),
                timeout_summary="until it is time to ask Stripe",
            )
        del self._mailbox[:1]

    def _show(self, ref: OperationRef, status: str) -> None:
        workflow.upsert_search_attributes([visibility.STATUS.value_set(status)])
        workflow.set_current_details(f"**{ref.operation_id}** is `{status}`")


async def serve() -> None:
    """Work until SIGTERM."""
    from activities.temporal_client import connect
    from cli.settings import settings_from
    from worker.sandboxing import RUNNER

    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    client = await connect(settings_from(os.environ))
    async with Worker(
        client, task_queue=TASK_QUEUE, workflows=[Bare, Twin], activities=[bench_nothing], workflow_runner=RUNNER
    ):
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(serve())

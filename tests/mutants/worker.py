"""A worker that lacks a defence: `python -m tests.mutants.worker <mutant>`, with a worker's variables.

Each mutant is a mistake that payment code is known for. It is made here, in a process of the tests' own, by putting a
wrong piece where the right one was: shipped code has no such switch. What a mutant needs besides, because the database
refuses it or a second defence makes it harmless, its docstring says.
"""

import asyncio
import sys
import uuid
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
import stripe
from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio import activity
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import ActivityError, is_cancelled_exception

import activities.stripe_caller
import worker.main
from activities import outcomes
from activities.breakers import Attempt
from activities.dispatch import SagaDispatcher
from activities.stripe_caller import StripeCaller, endpoint_of
from activities.stripe_errors import Verdict, verdict
from activities.stripe_writes import WRITES, Write
from db import ledger, stripe_calls, users
from db.stripe_calls import Call, Intent
from db.tables import ledger_entries, ledger_transactions
from domain.ids import new_id
from domain.operations import Failure, OperationKind, StripeHint
from domain.postings import Posting
from domain.settings import Settings
from workflows.saga import Saga

send = StripeCaller._send
call = StripeCaller.call
why = outcomes.why


def random_key() -> None:
    """Each attempt is sent under a key of its own, so Stripe cannot know that it is the same."""

    async def under_a_fresh_key(self: StripeCaller, call: Call, write: Write, attempt: Attempt) -> Call:
        return await send(self, replace(call, key=str(uuid.uuid4())), write, attempt)

    _instead(StripeCaller, "_send", under_a_fresh_key)


def key_of_the_run() -> None:
    """The key is the run's: the same for each attempt, and another one once the saga was reset."""

    async def under_the_runs_key(self: StripeCaller, call: Call, write: Write, attempt: Attempt) -> Call:
        return await send(self, replace(call, key=_key_of_the_run(call)), write, attempt)

    _instead(StripeCaller, "_send", under_the_runs_key)


def look_then_insert() -> None:
    """The ledger looks whether a step was posted, and posts it if not. Two that look at once both post.

    The database holds a step unique by itself: that constraint is taken out too.
    """

    async def post(
        connection: AsyncConnection,
        operation_id: str,
        step: str,
        posting: Posting,
        *,
        generation: int = 1,
        reverses: str | None = None,
    ) -> ledger.Posted:
        content = ledger._content(posting, reverses)
        if await ledger.find(connection, operation_id, step, generation=generation) is not None:
            return await ledger._posted_before(connection, operation_id, step, generation, posting, content)
        posted = {
            "id": new_id("ltx"),
            "operation_id": operation_id,
            "step": step,
            "generation": generation,
            "content": content,
            "reverses": reverses,
        }
        await connection.execute(sa.insert(ledger_transactions).values(**posted))
        accounts = await ledger._account_ids(connection, {entry.account for entry in posting.entries})
        ids = {}
        for entry in sorted(posting.entries, key=lambda entry: accounts[entry.account]):
            values = {"account_id": accounts[entry.account], "currency": entry.account.currency, "amount": entry.amount}
            inserted = sa.insert(ledger_entries).values(ltx_id=posted["id"], **values).returning(ledger_entries.c.id)
            ids[entry] = (await connection.execute(inserted)).scalar_one()
        return ledger.Posted(str(posted["id"]), tuple(ids[entry] for entry in posting.entries), first_time=True)

    _instead(ledger, "post", post)


def balance_without_lock() -> None:
    """A withdrawal reads what the wallet holds and reserves the amount, and nothing keeps another from doing the same.

    The database keeps a wallet from becoming negative by itself: that check is taken out too.
    """

    async def not_locked(connection: AsyncConnection, wallet_id: str) -> sa.RowMapping:
        found = await users.wallet(connection, wallet_id)
        assert found is not None, "the wallet is made with the operation"
        return found

    _instead(users, "locked_wallet", not_locked)


def cancel_is_failure() -> None:
    """Temporal's cancel reaches the step under way, and a step that was canceled counts as one that has failed."""

    async def follow_through(self: Saga, story: Coroutine[Any, Any, Any]) -> Any:
        return await self._to_the_end(story)

    def failed(error: ActivityError) -> tuple[Failure, str]:
        if is_cancelled_exception(error):
            return Failure(code="canceled", detail="The step was canceled."), outcomes.REFUSED
        return why(error)

    _instead(Saga, "follow_through", follow_through)
    _instead(outcomes, "why", failed)


def doubt_is_failure() -> None:
    """A call that was not answered counts as not done: what came before it is taken back while it may yet be."""

    def certain(error: stripe.StripeError) -> Verdict:
        found = verdict(error)
        return Verdict.REFUSED if found is Verdict.IN_DOUBT else found

    _instead(activities.stripe_caller, "verdict", certain)


def closed_is_sent() -> None:
    """A step that a compensation has closed is sent all the same, under the key that was kept from ever being sent."""

    async def whatever_was_closed(self: StripeCaller, intent: Intent) -> Call:
        async with self._database.transaction() as connection:
            newest = await stripe_calls.latest(connection, intent.subject, intent.step)
        if newest is None or newest.closed_at is None:
            return await call(self, intent)
        opened = replace(newest, params=intent.params, stripe_account=intent.stripe_account)
        return await _send_now(self, opened, intent)

    _instead(StripeCaller, "call", whatever_was_closed)


def nothing_recorded() -> None:
    """A step is sent again by each run of its saga, whatever is recorded of it, under the run's own key.

    No harm as long as a saga that has come to its end is never run again; so this is half of the next.
    """

    async def again(self: StripeCaller, intent: Intent) -> Call:
        if intent.subject != intent.operation_id:
            return await call(self, intent)  # What belongs to a user, many sagas ask for.
        async with self._database.transaction() as connection:
            newest = await stripe_calls.begin(connection, intent)
        return await _send_now(self, replace(newest, key=_key_of_the_run(newest)), intent)

    _instead(StripeCaller, "call", again)


def closed_saga_again() -> None:
    """A late event is signaled to the saga itself, with a start: one that has ended runs again from its beginning.

    By itself that does no harm, for a story that is told again finds its steps recorded, and would send them under the
    keys of before. So both are taken out as well.
    """

    async def with_start(self: SagaDispatcher, operation: sa.RowMapping, hint: StripeHint) -> bool:
        await self._client.start_workflow(
            OperationKind(operation["kind"]).workflow,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            start_signal="stripe_event",
            start_signal_args=[hint],
            **self._saga(operation),
        )
        return True

    nothing_recorded()
    _instead(SagaDispatcher, "deliver", with_start)


MUTANTS: Mapping[str, Callable[[], None]] = {
    each.__name__.replace("_", "-"): each
    for each in (
        random_key,
        key_of_the_run,
        look_then_insert,
        balance_without_lock,
        cancel_is_failure,
        doubt_is_failure,
        closed_is_sent,
        nothing_recorded,
        closed_saga_again,
    )
}
"""By name, as it is typed."""


async def _send_now(caller: StripeCaller, call: Call, intent: Intent) -> Call:
    with caller._breakers.attempt(endpoint_of(intent.write)) as attempt:
        attempt.admit()
        return await send(caller, call, WRITES[intent.write], attempt)


def _key_of_the_run(call: Call) -> str:
    return f"{activity.info().workflow_run_id}:{call.step}:{call.generation}"


def _instead(where: object, name: str, wrong: object) -> None:
    """Puts a wrong piece where a right one was. Raises `AttributeError` if there was none: nothing would be mutated."""
    getattr(where, name)
    setattr(where, name, wrong)


if __name__ == "__main__":
    MUTANTS[sys.argv[1]]()
    asyncio.run(worker.main.serve(Settings()))

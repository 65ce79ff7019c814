"""What every saga needs beside its story: steps that outlast any outage, hints from Stripe, verbs, visibility.

    step() ── activity tier: seconds ── saga tier: 5 min, 30 min, 2 h ── flagged, every 2 h, for ever
                 │                          ▲
                 └── parked ── flagged, waits for the verb `retry`

A step returns its result or raises `StepRefused`; doubt never reaches the story. A story may be told again from its
beginning, in a new run of its workflow: its steps then return what is recorded of them.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime, timedelta
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

from activities import outcomes, visibility
from activities.records import RecordActivities, StatusChange, Trouble
from domain.money import Money
from domain.operations import Failure, OperationRef, SagaInput, StripeHint
from domain.statuses import CANCELED
from workflows import steps
from workflows.operators import HOW_TO_HELP, OperatorVerbs

Owner = TypeVar("Owner")
Argument = TypeVar("Argument")
Result = TypeVar("Result")


class StepRefused(Exception):
    """A step has certainly not happened; `failure` says why."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.detail)
        self.failure = failure


class CalledOff(Exception):
    """The operation was called off, and nothing is under way that would have to be awaited."""


class Afresh(Exception):
    """The history has grown long: the story goes on in a new run."""


class Saga(OperatorVerbs):
    """The machinery of one running saga. Its story is the subclass's."""

    def __init__(self, input: SagaInput, status: str) -> None:
        self._input = input
        self._began = workflow.now() - timedelta(seconds=input.age)
        self.ref = OperationRef(operation_id=input.operation_id)
        self.pacing = input.pacing
        self.status = status
        self.answered = False
        self._mailbox: list[StripeHint] = list(input.carried)
        self._woken = False
        self.cancel_requested = False
        self._trouble: Trouble | None = None
        self._trouble_of_before = input.troubled
        self._worry: Failure | None = None
        self._flagged = False
        self._facts: dict[str, str] = {}
        if input.amount is not None and input.currency is not None:
            self._facts["amount"] = str(Money(input.amount, input.currency))

    # ── What may come from outside, at any time, even before `run` begins ──

    @workflow.signal
    def stripe_event(self, hint: StripeHint) -> None:
        """Stripe says that something happened."""
        self._mailbox.append(hint)

    @workflow.update
    async def first_answer(self) -> str:
        """Wait for the status that the client's first request is answered with."""
        await workflow.wait_condition(lambda: self.answered)
        return self.status

    # ── The story's means ──

    async def follow_through(self, story: Coroutine[Any, Any, Result]) -> Result:
        """Run `story` to its end, whatever happens to the workflow.

        Temporal's cancel arrives as a CancelledError at whatever is awaited. Taken there, it would end a step whose
        outcome is not known; so the story runs apart and only learns that it should be called off.
        """
        task = asyncio.ensure_future(self._to_the_end(story))
        while not task.done():
            try:
                await asyncio.shield(task)
            except asyncio.CancelledError:
                self.cancel_requested = True
            except Afresh:
                break
        try:
            return task.result()
        except Afresh:
            age = (workflow.now() - self._began).total_seconds()
            carried = {
                "age": age,
                "troubled": self._trouble is not None or self._trouble_of_before,
                "carried": tuple(self._mailbox),
            }
            workflow.continue_as_new(self._input.model_copy(update=carried))

    async def _to_the_end(self, story: Coroutine[Any, Any, Result]) -> Result:
        result = await story
        self.answered = True
        await workflow.wait_condition(workflow.all_handlers_finished)
        return result

    async def step(
        self,
        activity: Callable[[Owner, Argument], Awaitable[Result]],
        argument: Argument,
        *,
        summary: str,
    ) -> Result:
        """Do one step, however long it takes. Raises `StepRefused` once it is certain that it has not happened."""
        tries = 0
        while True:
            try:
                result = await workflow.execute_activity_method(
                    activity, argument, summary=summary, **steps.activity_tier(self.pacing)
                )
            except ActivityError as error:
                failure, kind = outcomes.why(error)
                if kind == outcomes.REFUSED:
                    await self._through()
                    raise StepRefused(failure) from error
                await self._put_off(failure, parked=kind == outcomes.PARKED, tries=tries, summary=summary)
                tries += 1
            else:
                await self._through()
                return result

    def after(self, seconds: float) -> datetime:
        """The moment so long after the operation was accepted, whichever run of its saga asks."""
        return self._began + timedelta(seconds=seconds)

    async def hear_from_stripe(
        self, wait: float, *, or_when: Callable[[], bool] | None = None, before: datetime | None = None
    ) -> tuple[str, ...]:
        """Wait until Stripe signals or, after `wait` seconds, it is time to ask; no longer than `before`.

        `or_when` ends the wait as well. Returns the ids of the events that came: the step that then looks at the object
        records them.
        """
        if before is not None and before > workflow.now():
            wait = min(wait, (before - workflow.now()).total_seconds())
        await first(
            lambda: bool(self._mailbox) or self._woken or (or_when is not None and or_when()),
            within=wait,
            summary="until it is time to ask Stripe",
        )
        self._woken = False
        hints, self._mailbox = self._mailbox, []
        return tuple(dict.fromkeys(hint.event_id for hint in hints))

    async def afresh_if_long(self) -> None:
        """Between two waits: raise `Afresh` if the history has grown so long that Temporal would have a new run."""
        if workflow.info().is_continue_as_new_suggested():
            # A verb that is being answered belongs to this run. One that waits for the operation's end would keep it
            # for ever, so the story goes on here if it was called off meanwhile.
            await workflow.wait_condition(lambda: workflow.all_handlers_finished() or self.cancel_requested)
            if not self.cancel_requested:
                raise Afresh

    async def record(self, status: str, *, failure: Failure | None = None, close: bool = False, **details: str) -> None:
        """Let the customer see the operation's status. `close`: the saga ends with it."""
        change = StatusChange(
            operation_id=self.ref.operation_id, status=status, details=details, failure=failure, close=close
        )
        await self.step(RecordActivities.record_status, change, summary=f"record {status}")

    @property
    def has_hints(self) -> bool:
        """Whether Stripe has said something that the story has not looked at."""
        return bool(self._mailbox)

    def show(self, status: str | None = None, **facts: str | None) -> None:
        """Put the saga's status and what is known where an engineer sees it; a fact that is None no longer holds."""
        self._facts = {name: fact for name, fact in (self._facts | facts).items() if fact is not None}
        if status is not None and status != self.status:
            self.status = status
            workflow.upsert_search_attributes([visibility.STATUS.value_set(status)])
        workflow.set_current_details(self._card())

    # ── Trouble ──

    async def wait_in_trouble(self, failure: Failure, *, tries: int, summary: str) -> None:
        """Show an operator what a step lacks that Stripe has refused, and wait before it is tried again."""
        await self._tell_trouble(failure, flagged=True, tries=tries, summary=summary)
        await self._wait_to_retry(self.pacing.saga_retry(tries), summary)

    async def worry(self, failure: Failure | None, *, summary: str) -> None:
        """Flag something that is wrong and keeps the story from nothing; None once it is right again."""
        if failure == self._worry:
            return
        self._worry = failure
        if failure is None:
            await self._through()
        else:
            await self._tell_trouble(failure, flagged=True, tries=0, summary=summary)

    async def _put_off(self, failure: Failure, *, parked: bool, tries: int, summary: str) -> None:
        flagged = parked or tries >= len(self.pacing.saga_retries)
        await self._tell_trouble(failure, flagged=flagged, tries=tries, summary=summary)
        await self._wait_to_retry(None if parked else self.pacing.saga_retry(tries), summary)

    async def _tell_trouble(self, failure: Failure, *, flagged: bool, tries: int, summary: str) -> None:
        self._flag(flagged)
        self._trouble = Trouble(
            operation_id=self.ref.operation_id, failure=failure, needs_attention=flagged, retries=tries + 1
        )
        self.show(stuck_at=summary)
        await self.note(RecordActivities.note_trouble, self._trouble, summary="show what it waits for")

    async def _wait_to_retry(self, wait: float | None, summary: str) -> None:
        await first(lambda: self._woken, within=wait, summary=f"before trying again: {summary}")
        self._woken = False

    def _flag(self, flagged: bool) -> None:
        if flagged is not self._flagged:
            self._flagged = flagged
            workflow.upsert_search_attributes([visibility.NEEDS_ATTENTION.value_set(flagged)])

    async def _through(self) -> None:
        if self._trouble is not None and self._trouble.failure == self._worry:
            return
        if self._trouble is None and not self._trouble_of_before:
            return
        self._trouble_of_before = False
        self._flag(False)
        self._trouble = None
        self.show(stuck_at=None)
        await self.note(RecordActivities.clear_trouble, self.ref, summary="it went through after all")

    async def note(
        self, activity: Callable[[Owner, Argument], Awaitable[Result]], argument: Argument, *, summary: str
    ) -> Result:
        """Do something about the saga's own state, however long Postgres is away."""
        return await workflow.execute_activity_method(
            activity, argument, summary=summary, **steps.until_postgres_answers(self.pacing)
        )

    def wake(self) -> None:
        """Let the story go on at once, whatever it waits for."""
        self._woken = True

    def _card(self) -> str:
        lines = [f"**{self.ref.operation_id}** is `{self.status}`", ""]
        lines += [f"- {name.replace('_', ' ')}: {value}" for name, value in self._facts.items()]
        if self._trouble is not None:
            lines.append(f"- trouble: {self._trouble.failure.detail} (put off {self._trouble.retries} times)")
        lines.append(f"- {HOW_TO_HELP}")
        return "\n".join(lines)


class CancelableSaga(Saga, ABC):
    """A saga that can be called off until its point of no return, by its owner or by Temporal's own cancel."""

    @workflow.update
    async def cancel(self) -> str:
        """Call the operation off. Answers once its end is certain; refused if it was too late."""
        self.cancel_requested = True
        await workflow.wait_condition(lambda: self.status == CANCELED or self.past_return)
        self._cancel_in_time()
        return self.status

    @cancel.validator
    def _cancel_in_time(self) -> None:
        if self.past_return:
            refusal = self.too_late()
            raise ApplicationError(refusal.detail, type=refusal.code, non_retryable=True)

    @property
    @abstractmethod
    def past_return(self) -> bool:
        """Whether nothing can call the operation off any more."""

    @abstractmethod
    def too_late(self) -> Failure:
        """What to answer who would cancel then."""

    def unless_called_off(self) -> None:
        """Between two steps: raise `CalledOff` if somebody wants that."""
        if self.cancel_requested:
            raise CalledOff


async def first(condition: Callable[[], bool], *, within: float | None, summary: str) -> None:
    """Wait until `condition` holds, or `within` seconds have passed."""
    try:
        await workflow.wait_condition(
            condition, timeout=None if within is None else timedelta(seconds=within), timeout_summary=summary
        )
    except TimeoutError:
        return

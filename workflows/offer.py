"""The offer: a customer's money in escrow until a contractor has earned it.

    requested ──▶ held ──▶ accepted ──▶ delivered ──▶ completed      released, less the service fee
        │          │          │             │
        │          │          ├─────────────┼──▶ completed           the customer does not wait, or the last milestone
        │          │          ├─────────────┼──▶ canceled            both agree, or it is overdue
        │          │          └─────────────┴──▶ contested ──▶ resolved    split by an operator
        │          └──▶ declined | expired | canceled                all given back
        └──▶ failed                                                  refused; nothing was held

Each verb is an update, and one transaction in Postgres (`activities.offer_ledger`), which decides: two that race are
done one after the other, and the second finds what the first has left. The saga only keeps the time: it expires what
nobody accepts, and completes what was delivered and nobody answers. There is nothing to compensate: no Stripe call is
made here, and a verb is done wholly or not at all.
"""

import asyncio
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.exceptions import ApplicationError

from activities import outcomes
from activities.offer_ledger import OfferAct, OfferLedger, OfferState
from activities.starting import StartActivities
from domain.errors import NotTheParty
from domain.money import Money
from domain.offers import OfferVerb, OfferWish, Party, refusal
from domain.operations import OperationRef, SagaInput
from domain.statuses import OfferStatus, is_terminal
from workflows.saga import Saga, StepRefused, first

_BY_ITSELF = {OfferStatus.HELD: OfferVerb.EXPIRE, OfferStatus.DELIVERED: OfferVerb.AUTO_COMPLETE}
"""What happens to an offer that nobody touches."""

_WAITING_FOR = {
    OfferStatus.HELD: "the contractor, to accept it",
    OfferStatus.ACCEPTED: "the contractor, to deliver",
    OfferStatus.DELIVERED: "the customer, to complete it",
    OfferStatus.CONTESTED: "an operator, to resolve it: POST /v1/admin/offers/<id>/resolve",
}
"""Whose turn it is, for the card."""

_MOST_AT_ONCE = 8
"""Verbs that may wait for each other. Temporal lets ten updates of a workflow be under way: the others are left to an
operator's `retry`, for when the first of those verbs cannot be done, and to the client who waits for the first answer.
"""


@workflow.defn(name="Offer")
class Offer(Saga):
    """The saga of one offer."""

    @workflow.init
    def __init__(self, input: SagaInput) -> None:
        super().__init__(input, OfferStatus.REQUESTED)
        self._turn = asyncio.Lock()
        self._under_way = 0
        self._until: datetime | None = None
        self._payouts: tuple[str, ...] = ()
        self._started: set[str] = set()

    @workflow.run
    async def run(self, input: SagaInput) -> str:
        """The offer's terminal status."""
        return await self.follow_through(self._story())

    async def _story(self) -> str:
        try:
            held = await self.step(OfferLedger.hold, self.ref, summary="hold the amount and the fee in escrow")
        except StepRefused as refused:
            await self.record(OfferStatus.FAILED, failure=refused.failure, close=True)
            self.show(OfferStatus.FAILED)
            return self.status
        self._take(held)
        self.answered = True
        while not is_terminal(OfferStatus(self.status)):
            await self._wait()
            await self._start_payouts()
        await self._start_payouts()
        return self.status

    # ── Verbs ──

    @workflow.update
    async def accept(self, wish: OfferWish) -> str:
        """The contractor takes the job. Each verb answers with the status that follows."""
        return await self._asked(OfferVerb.ACCEPT, wish)

    @accept.validator
    def _may_accept(self, wish: OfferWish) -> None:
        self._may_be_asked(OfferVerb.ACCEPT, wish)

    @workflow.update
    async def decline(self, wish: OfferWish) -> str:
        """The contractor does not want it."""
        return await self._asked(OfferVerb.DECLINE, wish)

    @decline.validator
    def _may_decline(self, wish: OfferWish) -> None:
        self._may_be_asked(OfferVerb.DECLINE, wish)

    @workflow.update
    async def cancel(self, wish: OfferWish) -> str:
        """The customer calls it off, or asks the contractor to agree to that."""
        return await self._asked(OfferVerb.CANCEL, wish)

    @cancel.validator
    def _may_cancel(self, wish: OfferWish) -> None:
        self._may_be_asked(OfferVerb.CANCEL, wish)

    @workflow.update
    async def agree_cancel(self, wish: OfferWish) -> str:
        """The contractor agrees."""
        return await self._asked(OfferVerb.AGREE_CANCEL, wish)

    @agree_cancel.validator
    def _may_agree_cancel(self, wish: OfferWish) -> None:
        self._may_be_asked(OfferVerb.AGREE_CANCEL, wish)

    @workflow.update
    async def deliver(self, wish: OfferWish) -> str:
        """The contractor says that it is done."""
        return await self._asked(OfferVerb.DELIVER, wish)

    @deliver.validator
    def _may_deliver(self, wish: OfferWish) -> None:
        self._may_be_asked(OfferVerb.DELIVER, wish)

    @workflow.update
    async def complete(self, wish: OfferWish) -> str:
        """The customer is content: release all that is left."""
        return await self._asked(OfferVerb.COMPLETE, wish)

    @complete.validator
    def _may_complete(self, wish: OfferWish) -> None:
        self._may_be_asked(OfferVerb.COMPLETE, wish)

    @workflow.update
    async def release(self, wish: OfferWish) -> str:
        """The customer releases a milestone."""
        return await self._asked(OfferVerb.RELEASE, wish)

    @release.validator
    def _may_release(self, wish: OfferWish) -> None:
        self._may_be_asked(OfferVerb.RELEASE, wish)

    @workflow.update
    async def contest(self, wish: OfferWish) -> str:
        """The parties disagree."""
        return await self._asked(OfferVerb.CONTEST, wish)

    @contest.validator
    def _may_contest(self, wish: OfferWish) -> None:
        self._may_be_asked(OfferVerb.CONTEST, wish)

    @workflow.update
    async def resolve(self, wish: OfferWish) -> str:
        """An operator splits what is left."""
        return await self._asked(OfferVerb.RESOLVE, wish)

    @resolve.validator
    def _may_resolve(self, wish: OfferWish) -> None:
        self._may_be_asked(OfferVerb.RESOLVE, wish)

    async def _asked(self, verb: OfferVerb, wish: OfferWish) -> str:
        info = workflow.current_update_info()
        assert info is not None
        self._under_way += 1
        try:
            return await self._act(verb, wish, info.id)
        finally:
            self._under_way -= 1

    def _may_be_asked(self, verb: OfferVerb, wish: OfferWish) -> None:
        """What a validator looks at: form, party, and whether there is room. Whether the state allows the verb is
        decided where it is done, since only there it is known whether this very request was done before."""
        try:
            refusal(verb, wish.party, OfferStatus.HELD)
        except NotTheParty as error:
            raise ApplicationError(error.detail, type=error.code, non_retryable=True) from error
        if self._under_way >= _MOST_AT_ONCE:
            raise ApplicationError("Other verbs are under way.", type=outcomes.NOT_NOW, non_retryable=True)

    async def _act(self, verb: OfferVerb, wish: OfferWish, action_id: str) -> str:
        """Do a verb, once the one before is done. Raises `ApplicationError` with the refusal's code."""
        await workflow.wait_condition(lambda: self.answered)
        async with self._turn:
            try:
                state = await self.step(
                    OfferLedger.act,
                    OfferAct(operation_id=self.ref.operation_id, action_id=action_id, verb=verb, wish=wish),
                    summary=f"the {wish.party}: {verb.replace('_', ' ')}",
                )
            except StepRefused as refused:
                failure = refused.failure
                raise ApplicationError(failure.detail, type=failure.code, non_retryable=True) from refused
            self._take(state)
        return self.status

    async def _wait(self) -> None:
        """Until a verb has changed something, or it is time for what happens by itself."""
        if self.status != OfferStatus.HELD:
            # Too late: now an offer is its parties' to call off.
            self.cancel_requested = False
        await self.afresh_if_long()
        status, until = self.status, self._until
        calls_off = self.cancel_requested and status == OfferStatus.HELD
        if calls_off:
            # Temporal's own cancel, by an engineer.
            await self._by_itself(
                OfferVerb.CANCEL, OfferWish(party=Party.OPERATOR, actor="temporal"), "temporal-cancel"
            )
            return
        wait = None if until is None else max((until - workflow.now()).total_seconds(), 0.0)
        await first(
            lambda: (
                self.status != status
                or self._until != until
                or bool(set(self._payouts) - self._started)
                or (self.cancel_requested and self.status == OfferStatus.HELD)
                # Verbs that change nothing here, and those that are refused, make the history long too.
                or workflow.info().is_continue_as_new_suggested()
            ),
            within=wait,
            summary="until it expires" if status == OfferStatus.HELD else "until somebody does something",
        )
        if until is not None and workflow.now() >= until and self.status == status and self._until == until:
            verb = _BY_ITSELF[OfferStatus(status)]
            await self._by_itself(verb, OfferWish(party=Party.CLOCK), verb)

    async def _by_itself(self, verb: OfferVerb, wish: OfferWish, action_id: str) -> None:
        try:
            await self._act(verb, wish, action_id)
        except ApplicationError:
            # A verb came first; perhaps one that a run before this one began, and that this one has not heard of.
            async with self._turn:
                self._take(await self.step(OfferLedger.hold, self.ref, summary="see what came first"))

    async def _start_payouts(self) -> None:
        """Start the withdrawals that releases have inserted; what dies before this is found by the sweep."""
        for payout in self._payouts:
            if payout not in self._started:
                self._started.add(payout)
                await self.step(
                    StartActivities.start_operation, OperationRef(operation_id=payout), summary=f"start {payout}"
                )

    def _take(self, state: OfferState) -> None:
        self._until = None if state.waits is None else workflow.now() + timedelta(seconds=state.waits)
        self._payouts = state.payouts
        self.show(
            state.status,
            left=str(Money(state.left, state.currency)),
            waiting_for=_WAITING_FOR.get(state.status),
            until=None if self._until is None else self._until.isoformat(timespec="seconds"),
        )

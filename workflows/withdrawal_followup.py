"""The withdrawal's follow-up: what Stripe says of its payout once nobody watches it any more.

    event ──▶ look at the payout ──▶ bring it back, if it did not arrive after all ──▶ (more events?) ──▶ end

A bank may send money back even after the ten days that the saga watches. One follow-up runs per operation at a time,
and its steps bear the saga's names, so neither can do what the other has done.
"""

from temporalio import workflow

from activities.payouts import PayoutActivities
from domain.operations import OperationRef, SagaInput
from workflows.reversal import ReversingSaga
from workflows.saga import StepRefused


@workflow.defn(name="WithdrawalFollowUp")
class WithdrawalFollowUp(ReversingSaga):
    """The follow-up of one withdrawal."""

    @workflow.init
    def __init__(self, input: SagaInput) -> None:
        super().__init__(input, "follow-up")

    @workflow.run
    async def run(self, input: SagaInput) -> str:
        """What the payout turned out to be."""
        return await self.follow_through(self._story())

    async def _story(self) -> str:
        # At least once: one that is resumed has no event that would tell it to.
        outcome = await self._look_and_act()
        while self.has_hints:
            outcome = await self._look_and_act()
        return outcome

    async def _look_and_act(self) -> str:
        events = await self.hear_from_stripe(0.0) if self.has_hints else ()
        ref = OperationRef(operation_id=self.ref.operation_id, event_ids=events)
        try:
            payout = await self.step(PayoutActivities.observe_payout, ref, summary="ask Stripe how the payout stands")
        except StepRefused as refusal:
            return refusal.failure.code
        return await self.bring_back(payout) if payout.returned else payout.status

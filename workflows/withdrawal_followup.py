"""The withdrawal's follow-up: what Stripe says of its payout once nobody watches it any more.

    event ──▶ look at the payout ──▶ bring it back, if it did not arrive after all ──▶ (more events?) ──▶ end

A bank may send money back even after the ten days that the saga watches. One follow-up runs per operation at a time,
and its steps bear the saga's names, so neither can do what the other has done.
"""

from temporalio import workflow

from activities.payouts import PayoutActivities
from domain.operations import OperationRef, SagaInput
from workflows.reversal import ReversingSaga


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
        outcome = "nothing"
        while self.has_hints:
            events = await self.hear_from_stripe(0.0)
            payout = await self.step(
                PayoutActivities.observe_payout,
                OperationRef(operation_id=self.ref.operation_id, event_ids=events),
                summary="ask Stripe how the payout stands",
            )
            outcome = await self.bring_back(payout) if payout.returned else payout.status
        return outcome

"""The follow-up: what Stripe says of an operation whose saga has ended.

    event ──▶ look at the payment ──▶ credit, if it was paid ──▶ book the fee, if it is known ──▶ (more events?) ──▶ end

Late, repeated and reordered events end here; most find nothing left to do. A closed saga is never run again. One
follow-up runs per operation at a time, and its steps bear the saga's names, so neither can do what the other has done.
"""

from temporalio import workflow

from activities.deposit_ledger import DepositLedger, FeeBooking
from activities.payments import PaymentActivities
from domain.operations import OperationRef, SagaInput
from workflows.saga import Saga


@workflow.defn(name="FollowUp")
class FollowUp(Saga):
    """The follow-up of one deposit."""

    @workflow.init
    def __init__(self, input: SagaInput) -> None:
        super().__init__(input, "follow-up")

    @workflow.run
    async def run(self, input: SagaInput) -> str:
        """What the payment turned out to be."""
        return await self.follow_through(self._story())

    async def _story(self) -> str:
        outcome = "nothing"
        while self.has_hints:
            events = await self.hear_from_stripe(0.0)
            payment = await self.step(
                PaymentActivities.observe_payment,
                OperationRef(operation_id=self.ref.operation_id, event_ids=events),
                summary="ask Stripe how the payment stands",
            )
            if payment.succeeded:
                await self.step(DepositLedger.credit_deposit, self.ref, summary="credit the wallet")
            if payment.fee is not None:
                booking = FeeBooking(operation_id=self.ref.operation_id, fee=payment.fee)
                await self.step(DepositLedger.book_stripe_fee, booking, summary="book Stripe's fee")
            outcome = payment.status
        return outcome

"""Bringing money back from a connected account into its owner's wallet: the part that sagas share.

    payout failed ──▶ (arrival unbooked) ──▶ payout unbooked ──┐
    payout refused, or called off after the transfer ──────────┤
                                                               ▼
                        ┌──▶ part of the transfer reversed ──▶ booked ──▶ restored ──┐
                        └────────────────────────── more is left ◀──────────────────┘

Exactly what Stripe has reversed is restored, part by part. What Stripe does not give back now stays in transit,
flagged, and is asked for again, for ever: it is never said to be recovered.
"""

from activities.payouts import Part, PayoutActivities
from activities.withdrawal_ledger import PayoutBooking, WithdrawalLedger
from domain.operations import Failure
from domain.payouts import Payout, Reversal
from domain.statuses import WithdrawalStatus
from workflows.saga import Saga, StepRefused


class ReversingSaga(Saga):
    """A saga that may have to bring a withdrawal back."""

    async def bring_back(self, payout: Payout) -> str:
        """After a payout that did not arrive: `reversed`, with the bank's reason."""
        self.show(payout=payout.id, waiting_for=None)
        await self.step(WithdrawalLedger.unbook_paid, self.ref, summary="it has not arrived")
        booking = PayoutBooking(operation_id=self.ref.operation_id, payout=payout)
        await self.step(WithdrawalLedger.unbook_payout, booking, summary="it is back on the connected account")
        await self.reverse_transfer()
        return await self.end(WithdrawalStatus.REVERSED, payout.failure)

    async def reverse_transfer(self) -> None:
        """Take the transfer back, and restore what comes."""
        self.show(WithdrawalStatus.REVERSING)
        number = 1
        while (
            reversal := await self._reverse_part(Part(operation_id=self.ref.operation_id, number=number))
        ) is not None:
            part = Part(operation_id=self.ref.operation_id, number=number)
            await self.step(WithdrawalLedger.book_reversal, part, summary="it is back on our balance")
            await self.step(WithdrawalLedger.restore, part, summary="back into the wallet")
            self.show(reversal=reversal.id)
            number += 1

    async def _reverse_part(self, part: Part) -> Reversal | None:
        tries = 0
        while True:
            try:
                return await self.step(PayoutActivities.create_reversal, part, summary="take the transfer back")
            except StepRefused as refusal:
                # The first refusal may only mean that not all of it is there: then a part is asked for at once.
                if tries:
                    await self.wait_in_trouble(refusal.failure, tries=tries - 1, summary="take the transfer back")
                tries += 1

    async def end(self, status: WithdrawalStatus, failure: Failure | None) -> str:
        """The withdrawal is over, and nothing of it is anywhere but where it belongs."""
        await self.record(status, failure=failure, close=True)
        self.show(status, waiting_for=None)
        return self.status

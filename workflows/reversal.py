"""Bringing money back from a connected account into its owner's wallet: the part that sagas share.

    payout failed ──▶ (arrival unbooked) ──▶ payout unbooked ──┐
    payout refused, or called off after the transfer ──────────┤
                                                               ▼
                        ┌──▶ part of the transfer reversed ──▶ booked ──▶ restored ──┐
                        └────────────────────────── more is left ◀──────────────────┘

Exactly what Stripe has reversed is restored, part by part. What Stripe does not give back now stays in transit,
flagged, and is asked for again, for ever: it is never said to be recovered. An operator may write it off.
"""

from activities.payouts import Part, PayoutActivities
from activities.withdrawal_ledger import PayoutBooking, WithdrawalLedger
from domain.errors import WrittenOff
from domain.operations import Failure, SagaInput
from domain.payouts import Payout, Reversal
from domain.statuses import WithdrawalStatus
from workflows.saga import Saga, StepRefused


class ReversingSaga(Saga):
    """A saga that may have to bring a withdrawal back."""

    def __init__(self, input: SagaInput, status: str) -> None:
        super().__init__(input, status)
        self._written_off = False

    async def bring_back(self, payout: Payout) -> str:
        """After a payout that did not arrive: `reversed`, with the bank's reason."""
        self.show(payout=payout.id, waiting_for=None)
        try:
            await self.step(WithdrawalLedger.unbook_paid, self.ref, summary="it has not arrived")
        except StepRefused as refusal:
            return await self.end_as_written_off(refusal)
        booking = PayoutBooking(operation_id=self.ref.operation_id, payout=payout)
        await self.step(WithdrawalLedger.unbook_payout, booking, summary="it is back on the connected account")
        await self.reverse_transfer()
        return await self.end(WithdrawalStatus.REVERSED, payout.failure)

    async def reverse_transfer(self) -> None:
        """Take the transfer back, and restore what comes, unless the rest is written off."""
        self.show(WithdrawalStatus.REVERSING)
        number = 1
        while True:
            part = Part(operation_id=self.ref.operation_id, number=number)
            reversal = await self._reverse_part(part)
            if reversal is None:
                return
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
                if refusal.failure.code == WrittenOff.code:
                    self._written_off = True
                    return None
                # The first refusal may only mean that not all of it is there: then a part is asked for at once.
                if tries:
                    await self.wait_in_trouble(refusal.failure, tries=tries - 1, summary="take the transfer back")
                tries += 1

    async def end_as_written_off(self, refusal: StepRefused) -> str:
        """What was refused for having been written off ends so. Raises any other refusal again."""
        if refusal.failure.code != WrittenOff.code:
            raise refusal
        return await self.end(WithdrawalStatus.WRITTEN_OFF, refusal.failure)

    async def end(self, status: WithdrawalStatus, failure: Failure | None) -> str:
        """The withdrawal is over, and nothing of it is anywhere but where it belongs."""
        if self._written_off:
            status = WithdrawalStatus.WRITTEN_OFF
        await self.record(status, failure=failure, close=True)
        self.show(status, waiting_for=None)
        return self.status

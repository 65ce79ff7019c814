"""The deposit: money from a customer's card into their wallet.

    requested ──▶ awaiting_payment ──▶ processing ──▶ succeeded ──(Stripe's fee booked)──▶ closed
        │                │                 │
        │                ├──▶ expired ◀────┤      not paid in time
        │                ├──▶ canceled ◀───┘      the customer called it off in time
        └──▶ failed ◀────┘                        Stripe refused, or the card was declined at once

The point of no return is `succeeded`. Before it, whatever speaks against the deposit waits for Stripe's own word: the
PaymentIntent is canceled, and if the payment was faster than that, it counts.
"""

from temporalio import workflow

from activities.deposit_ledger import DepositLedger, FeeBooking
from activities.payments import PaymentActivities
from domain.errors import Compensated
from domain.operations import Failure, OperationRef, SagaInput
from domain.payments import Payment
from domain.statuses import DepositStatus, is_terminal, too_late_to_cancel
from workflows.saga import CancelableSaga, StepRefused


@workflow.defn(name="Deposit")
class Deposit(CancelableSaga):
    """The saga of one deposit; its workflow id is the operation's id."""

    @workflow.init
    def __init__(self, input: SagaInput) -> None:
        super().__init__(input, DepositStatus.REQUESTED)
        self._deadline = self.after(input.pacing.payment_expiry)

    @workflow.run
    async def run(self, input: SagaInput) -> str:
        """The deposit's terminal status."""
        return await self.follow_through(self._story())

    @property
    def past_return(self) -> bool:
        """Over, and not because it was called off."""
        status = DepositStatus(self.status)
        return is_terminal(status) and status is not DepositStatus.CANCELED

    def too_late(self) -> Failure:
        """The payment was faster, or there never was one."""
        return too_late_to_cancel(DepositStatus(self.status))

    async def _story(self) -> str:
        try:
            payment = await self._ask_for_payment()
        except StepRefused as refusal:
            # An operator has given it up before there was a payment that could be called off.
            given_up = self.cancel_requested and refusal.failure.code == Compensated.code
            return await self._end(DepositStatus.CANCELED if given_up else DepositStatus.FAILED, refusal.failure)
        decline = payment.decline if payment.lacks_card else None
        payment = await self._outcome(payment, decline)
        if payment.canceled:
            return await self._end(self._ending(decline) or DepositStatus.CANCELED, decline)
        await self.step(DepositLedger.credit_deposit, self.ref, summary="credit the wallet")
        self.show(DepositStatus.SUCCEEDED, payment_intent=payment.id, waiting_for="Stripe's fee for the charge")
        self.answered = True
        await self._book_stripe_fee(payment)
        return self.status

    async def _ask_for_payment(self) -> Payment:
        await self.step(PaymentActivities.create_customer, self.ref, summary="make sure Stripe knows the customer")
        return await self.step(PaymentActivities.create_payment_intent, self.ref, summary="ask for the payment")

    async def _outcome(self, payment: Payment, decline: Failure | None) -> Payment:
        """Follow the payment until it has succeeded or can no longer."""
        polls = 0
        while payment.open:
            if self._ending(decline) is not None and not payment.processing:
                payment = await self.step(
                    PaymentActivities.cancel_payment_intent, self.ref, summary="call the payment off"
                )
                if not payment.open:
                    break
            await self._wait_in_sight(payment)
            # While it is processing, or once Stripe has refused to call it off, only Stripe's word or time helps.
            stop = None if payment.processing or self._ending(decline) is not None else self._canceling
            events = await self.hear_from_stripe(self.pacing.poll(polls), or_when=stop, before=self._deadline)
            payment = await self._look(events)
            polls += 1
        return payment

    def _canceling(self) -> bool:
        return self.cancel_requested

    def _ending(self, decline: Failure | None) -> DepositStatus | None:
        """What the deposit must end as, unless the payment is faster."""
        if decline is not None:
            return DepositStatus.FAILED
        if self.cancel_requested:
            return DepositStatus.CANCELED
        return DepositStatus.EXPIRED if workflow.now() >= self._deadline else None

    async def _wait_in_sight(self, payment: Payment) -> None:
        """Let the customer see what the payment waits for."""
        status = DepositStatus.PROCESSING if payment.processing else DepositStatus.AWAITING_PAYMENT
        if self.status in (status, DepositStatus.PROCESSING):
            return
        await self.record(status, payment_intent=payment.id)
        self.show(status, payment_intent=payment.id, waiting_for="the customer's payment")
        self.answered = True

    async def _look(self, events: tuple[str, ...]) -> Payment:
        ref = OperationRef(operation_id=self.ref.operation_id, event_ids=events)
        return await self.step(PaymentActivities.observe_payment, ref, summary="ask Stripe how the payment stands")

    async def _book_stripe_fee(self, payment: Payment) -> None:
        """Stripe tells its fee some time after the payment has succeeded; the wallet does not wait for that."""
        polls = 0
        while payment.fee is None:
            events = await self.hear_from_stripe(self.pacing.poll(polls))
            payment = await self._look(events)
            polls += 1
        booking = FeeBooking(operation_id=self.ref.operation_id, fee=payment.fee)
        await self.step(DepositLedger.book_stripe_fee, booking, summary="book Stripe's fee")
        self.show(balance_transaction=payment.fee.balance_transaction_id, waiting_for=None)

    async def _end(self, status: DepositStatus, failure: Failure | None = None) -> str:
        await self.record(status, failure=failure if status is DepositStatus.FAILED else None, close=True)
        self.show(status, waiting_for=None)
        return self.status

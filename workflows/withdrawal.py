"""The withdrawal: money from a contractor's wallet to their bank.

    requested ──▶ reserved ──▶ transferred ──▶ paying_out ──▶ paid ──(watched for 10 days)──▶ closed
        │          │    ▲           │               │           │
        │          ▼    │           └──────▶ reversing ◀────────┘      refused, failed, or sent back days later
        │     awaiting_funds                     ├──▶ reversed
        │          │                             └──▶ canceled         called off before the payout
        └──────────┴──▶ failed | canceled                              restored whole

    paying_out | reversing ──▶ written_off                       by an operator: the rest is its owner's, at Stripe

The point of no return is the payout: once Stripe has made it, a cancel is refused and its outcome is followed. Before
it, a refusal or a cancel waits for the running step's true outcome and then takes back what was done, newest first.
"""

from datetime import datetime, timedelta

from temporalio import workflow

from activities.payouts import PayoutActivities
from activities.records import StatusChange
from activities.withdrawal_ledger import PayoutBooking, WithdrawalLedger
from domain.errors import AwaitingFunds, Compensated, WrittenOff
from domain.operations import Failure, OperationRef, SagaInput
from domain.payouts import Payout
from domain.statuses import WithdrawalStatus, too_late_to_cancel
from workflows.compensation import Compensation
from workflows.reversal import ReversingSaga
from workflows.saga import CalledOff, CancelableSaga, StepRefused


class _GivenUp(Exception):
    """An earlier run of the saga had given the withdrawal up, and said how it was to end."""

    def __init__(self, ending: StatusChange) -> None:
        super().__init__(ending.status)
        self.ending = ending


@workflow.defn(name="Withdrawal")
class Withdrawal(CancelableSaga, ReversingSaga):
    """The saga of one withdrawal."""

    @workflow.init
    def __init__(self, input: SagaInput) -> None:
        super().__init__(input, WithdrawalStatus.REQUESTED)
        self._transferred = False
        self._payout_made = False
        self._ending = StatusChange(operation_id=input.operation_id, status=WithdrawalStatus.FAILED)

    @workflow.run
    async def run(self, input: SagaInput) -> str:
        """The withdrawal's terminal status."""
        return await self.follow_through(self._story())

    @property
    def past_return(self) -> bool:
        """Paid out, or over for another reason than being called off."""
        return self._payout_made or self.status in (WithdrawalStatus.FAILED, WithdrawalStatus.REVERSED)

    def too_late(self) -> Failure:
        """What became of it instead."""
        return too_late_to_cancel(WithdrawalStatus(self.status))

    async def _story(self) -> str:
        compensation = Compensation()
        try:
            payout = await self._pay_out(compensation)
        except CalledOff:
            return await self._take_back(compensation, WithdrawalStatus.CANCELED, None)
        except _GivenUp as before:
            return await self._take_back(compensation, WithdrawalStatus(before.ending.status), before.ending.failure)
        except StepRefused as refusal:
            if self.cancel_requested and refusal.failure.code == Compensated.code:
                # An operator has given it up at a step that would otherwise not have ended.
                return await self._take_back(compensation, WithdrawalStatus.CANCELED, None)
            status = WithdrawalStatus.REVERSED if self._transferred else WithdrawalStatus.FAILED
            return await self._take_back(compensation, status, refusal.failure)
        return await self._watch(payout)

    async def _pay_out(self, compensation: Compensation) -> Payout:
        self.unless_called_off()
        compensation.register(self._restore_untransferred)
        await self.step(WithdrawalLedger.reserve, self.ref, summary="reserve the amount")
        self.show(WithdrawalStatus.RESERVED)
        self.answered = True
        compensation.register(self._undo_transfer)
        await self._transfer()
        given_up = await self.step(WithdrawalLedger.book_transfer, self.ref, summary="it is on the connected account")
        self.show(WithdrawalStatus.TRANSFERRED, waiting_for=None)
        if given_up is not None:
            raise _GivenUp(given_up)
        self.unless_called_off()
        payout = await self.step(PayoutActivities.create_payout, self.ref, summary="pay it out to the bank")
        self._payout_made = True
        booking = PayoutBooking(operation_id=self.ref.operation_id, payout=payout)
        await self.step(WithdrawalLedger.book_payout, booking, summary="it is on the way to the bank")
        self.show(WithdrawalStatus.PAYING_OUT, payout=payout.id, waiting_for=f"the bank, about {payout.arrival}")
        return payout

    async def _transfer(self) -> None:
        """Try until our balance at Stripe suffices, for at most 14 days."""
        while True:
            self.unless_called_off()
            try:
                transfer = await self.step(
                    PayoutActivities.create_transfer, self.ref, summary="transfer it to the connected account"
                )
            except StepRefused as refusal:
                deadline = self.after(self.pacing.funds_wait)
                if refusal.failure.code != AwaitingFunds.code or workflow.now() >= deadline:
                    raise
                await self.record(WithdrawalStatus.AWAITING_FUNDS)
                self.show(WithdrawalStatus.AWAITING_FUNDS, waiting_for="the platform's funds at Stripe")
                await self.afresh_if_long()
                await self.hear_from_stripe(
                    self.pacing.funds_poll, or_when=lambda: self.cancel_requested, before=deadline
                )
            else:
                self._transferred = True
                self.show(transfer=transfer.id, stripe_account=transfer.stripe_account)
                return

    async def _watch(self, payout: Payout) -> str:
        """Follow the payout until it has come back, or has stayed paid for long enough."""
        until: datetime | None = None
        polls = 0
        while not payout.returned:
            if payout.paid and until is None:
                age = await self.step(WithdrawalLedger.book_paid, self.ref, summary="it has arrived")
                until = workflow.now() + timedelta(seconds=self.pacing.paid_watch - age)
                self.show(WithdrawalStatus.PAID, waiting_for="the time in which the bank may send it back")
            if until is not None and workflow.now() >= until:
                return await self.end(WithdrawalStatus.PAID, None)
            await self.afresh_if_long()
            wait = self.pacing.poll(polls) if until is None else self.pacing.paid_poll
            events = await self.hear_from_stripe(wait, before=until)
            try:
                payout = await self._look(events)
            except StepRefused as refusal:
                if refusal.failure.code == WrittenOff.code:
                    return await self.end_as_written_off(refusal)
                # The account is cut off: nobody can say any more how its payout stands, so it is neither paid nor not.
                await self.worry(refusal.failure, summary="ask Stripe how the payout stands")
            polls += 1
        return await self.bring_back(payout)

    async def _look(self, events: tuple[str, ...]) -> Payout:
        ref = OperationRef(operation_id=self.ref.operation_id, event_ids=events)
        return await self.step(PayoutActivities.observe_payout, ref, summary="ask Stripe how the payout stands")

    async def _undo_transfer(self) -> None:
        if self._transferred:
            # Kept, since a saga that is terminated and resumed would not know any more how this was to end.
            ending = self._ending
            await self.record(WithdrawalStatus.REVERSING, failure=ending.failure, ends_as=ending.status)
            await self.reverse_transfer()

    async def _restore_untransferred(self) -> None:
        await self.step(WithdrawalLedger.restore_untransferred, self._ending, summary="back into the wallet")

    async def _take_back(self, compensation: Compensation, status: WithdrawalStatus, failure: Failure | None) -> str:
        self._ending = StatusChange(operation_id=self.ref.operation_id, status=status, failure=failure)
        await compensation.run()
        return await self.end(status, failure)

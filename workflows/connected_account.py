"""The connected account: a contractor's account at Stripe, followed for as long as it lives.

    requested ──▶ onboarding ──▶ active ◀──▶ restricted
        │              └────────────┴──────────┴──▶ deauthorized      its owner, or Stripe, has cut it off
        └──▶ failed                                                   Stripe did not make it

Stripe asks and the owner answers on Stripe's own pages; the saga only looks, whenever Stripe says that something has
changed and from time to time. It lives for years, so it begins a new run of itself when its history has grown long.
"""

from temporalio import workflow

from activities.connected_accounts import ConnectedAccountActivities
from domain.connected_accounts import ConnectedAccount as Account
from domain.operations import Failure, OperationRef, SagaInput
from domain.statuses import ConnectedAccountStatus
from workflows.saga import Saga, StepRefused

NOT_MANUAL = Failure(
    code="payout-schedule-not-manual",
    detail="The account pays out by itself, so nobody could tell which withdrawal was paid: set its payout schedule to"
    " manual at Stripe. Until then nothing is withdrawn through it.",
)


@workflow.defn(name="ConnectedAccount")
class ConnectedAccount(Saga):
    """The saga of one connected account."""

    @workflow.init
    def __init__(self, input: SagaInput) -> None:
        super().__init__(input, ConnectedAccountStatus.REQUESTED)

    @workflow.run
    async def run(self, input: SagaInput) -> str:
        """How it ended: deauthorized or failed."""
        return await self.follow_through(self._story())

    async def _story(self) -> str:
        activities = ConnectedAccountActivities
        try:
            await self.step(activities.create_account, self.ref, summary="make the account at Stripe")
        except StepRefused as refusal:
            await self.record(ConnectedAccountStatus.FAILED, failure=refusal.failure, close=True)
            self.show(ConnectedAccountStatus.FAILED)
            return self.status
        events: tuple[str, ...] = ()
        polls = 0
        while True:
            ref = OperationRef(operation_id=self.ref.operation_id, event_ids=events)
            account = await self.step(activities.observe_account, ref, summary="ask Stripe how the account stands")
            await self._show_as_it_is(account)
            if account.deauthorized:
                return self.status
            await self.afresh_if_long()
            events = await self.hear_from_stripe(self.pacing.poll(polls))
            # Where something happens, more is likely to: then it is asked soon again.
            polls = 0 if events else polls + 1

    async def _show_as_it_is(self, account: Account) -> None:
        if account.status != self.status:
            if self.status == ConnectedAccountStatus.REQUESTED:
                await self.record(ConnectedAccountStatus.ONBOARDING, stripe_account=account.id)
            if account.status != ConnectedAccountStatus.ONBOARDING:
                await self.record(account.status, close=account.deauthorized)
        self.show(account.status, stripe_account=account.id, stripe_asks_for=", ".join(account.due) or None)
        self.answered = True
        await self.worry(
            None if account.manual_payouts or account.deauthorized else NOT_MANUAL, summary="manual payouts"
        )

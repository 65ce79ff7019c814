"""Catching up with what Stripe could not deliver, by a Schedule: every account, page by page."""

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

from activities.catching_up import CatchUpActivities
from domain.stripe_events import CatchUpRound, EventPage
from workflows import steps


@workflow.defn(name="CatchUp")
class CatchUp:
    """Once through all accounts. One that cannot be read keeps no other waiting, and fails this at its end."""

    @workflow.run
    async def run(self, round: CatchUpRound) -> int:
        """How many events were new, in the last run if there were several.

        Raises `ApplicationError` that names the accounts that could not be read.
        """
        policy = steps.activity_tier(round.pacing)
        left, unread, new = round.left, list(round.unread), 0
        if left is None:
            left = await workflow.execute_activity_method(
                CatchUpActivities.accounts_to_catch_up_with, summary="which accounts", **policy
            )
        for index, account in enumerate(left):
            page: EventPage | None = EventPage(account=account)
            while page is not None:
                try:
                    read = await workflow.execute_activity_method(
                        CatchUpActivities.catch_up, page, summary=f"undelivered events of {account or 'ours'}", **policy
                    )
                except ActivityError:
                    unread.append(account or "ours")
                    break
                new += read.new
                page = EventPage(account=account, after=read.next) if read.next is not None else None
            if workflow.info().is_continue_as_new_suggested() and left[index + 1 :]:
                workflow.continue_as_new(round.model_copy(update={"left": left[index + 1 :], "unread": unread}))
        if unread:
            raise ApplicationError(f"These accounts could not be read: {', '.join(unread)}.", non_retryable=True)
        return new

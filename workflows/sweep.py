"""The sweep: what was accepted or received but never reached its saga, by a Schedule."""

from temporalio import workflow

from activities.sweeps import SweepActivities
from domain.pacing import Pacing
from workflows import steps


@workflow.defn(name="Sweep")
class Sweep:
    """One sweep. What it does not get through, the next one does."""

    @workflow.run
    async def run(self, pacing: Pacing) -> dict[str, int]:
        """How many operations, events and verbs were handed over again."""
        policy = steps.activity_tier(pacing)
        return {
            "operations": await workflow.execute_activity_method(
                SweepActivities.start_accepted_operations, summary="start accepted operations", **policy
            ),
            "events": await workflow.execute_activity_method(
                SweepActivities.deliver_unprocessed_events, summary="deliver unprocessed events", **policy
            ),
            "verbs": await workflow.execute_activity_method(
                SweepActivities.deliver_unanswered_verbs, summary="deliver unanswered verbs", **policy
            ),
        }


@workflow.defn(name="SnapshotBalances")
class SnapshotBalances:
    """One new snapshot of the platform's balances."""

    @workflow.run
    async def run(self, pacing: Pacing) -> None:
        """Nothing to tell: reading a balance gets cheaper."""
        await workflow.execute_activity_method(
            SweepActivities.snapshot_platform_balances,
            summary="snapshot the platform's balances",
            **steps.activity_tier(pacing),
        )

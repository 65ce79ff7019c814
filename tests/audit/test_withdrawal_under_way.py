"""A withdrawal at each point of its way: the books and Stripe are never in step, and that alone is no violation."""

import pytest

from db.invariants import Invariant
from domain.operations import OperationKind, followup_id
from domain.statuses import WithdrawalStatus
from tests.audit.planting import sees_only
from tests.audit.withdrawing import Withdrawal, contractor
from tests.auditing import assert_clean, audited
from tests.world import World, until

pytestmark = pytest.mark.long

DAYS = 86_400


async def clean_after_each(withdrawal: Withdrawal, *steps: str) -> None:
    """Take these steps, and audit after each."""
    for step in steps:
        await getattr(withdrawal, step)()
        await assert_clean(withdrawal.of.world)


async def test_paid_and_sent_back_late(world: World) -> None:
    async with contractor(world) as someone:
        withdrawal = await someone.withdrawal()
        await clean_after_each(
            withdrawal,
            *("reserve", "create_transfer", "book_transfer", "create_payout", "book_payout"),
            *("bank_takes_it", "book_paid"),
        )
        await world.skip(9 * DAYS)
        await clean_after_each(withdrawal, "bank_sends_it_back")

        # It has five minutes until the saga must have heard of it.
        await world.skip(301)
        report = await sees_only(world, Invariant.LEDGER_DIFFERS_FROM_STRIPE)
        [found] = report.violations
        assert found.what == "8000 usd at Stripe that no entry explains"
        assert withdrawal.id in found.look_at
        assert someone.account in found.look_at

        await withdrawal.observe_payout()
        await withdrawal.unbook_paid()
        await clean_after_each(withdrawal, "unbook_payout", "create_reversal")

        # So have both sides of the reversal, and both are known to be of it.
        await world.skip(301)
        report = await sees_only(world, Invariant.LEDGER_DIFFERS_FROM_STRIPE, times=2)
        assert {found.what.split()[0] for found in report.violations} == {"8000", "-8000"}
        assert all(found.look_at.startswith("source trr_") for found in report.violations)
        assert all(withdrawal.id in found.look_at for found in report.violations)

        await clean_after_each(withdrawal, "book_reversal", "restore", "find_nothing_left")
        await withdrawal.close(WithdrawalStatus.REVERSED)
        await assert_clean(world)


async def test_taken_on_again_by_a_follow_up(world: World) -> None:
    async with contractor(world) as someone:
        withdrawal = await someone.withdrawal()
        await withdrawal.paid()
        await world.skip(11 * DAYS)
        await clean_after_each(withdrawal, "observe_payout")
        await withdrawal.close(WithdrawalStatus.PAID)

        # Nobody watches any more, so it takes until Stripe's word has come.
        await clean_after_each(withdrawal, "bank_sends_it_back")
        follow_up = OperationKind.WITHDRAWAL.follow_up_workflow
        assert follow_up is not None
        await someone.driven(follow_up, followup_id(withdrawal.id))
        await clean_after_each(
            withdrawal, *("observe_payout", "unbook_paid", "unbook_payout", "create_reversal", "book_reversal")
        )

        # When the follow-up is ended from outside, nobody brings the rest back.
        await world.workflow(followup_id(withdrawal.id)).terminate("planted")

        async def noticed() -> bool:
            return (await audited(world)).total > 0

        await until(noticed)
        report = await sees_only(world, Invariant.OPERATION_WITHOUT_WORKFLOW)
        assert report.violations[0].where == withdrawal.id
        assert report.violations[0].what.endswith("its follow-up is terminated")


async def test_called_off(world: World) -> None:
    async with contractor(world) as someone:
        withdrawal = await someone.withdrawal()
        await clean_after_each(withdrawal, "reserve", "restore_untransferred")
        await withdrawal.close(WithdrawalStatus.CANCELED)
        await assert_clean(world)


async def test_audits_find_nothing_while_sagas_are_at_work(world: World) -> None:
    await world.onboarded()
    await world.funded()
    # One that arrives, one that comes back at once, and those that find its bank account spoilt.
    await world.sandbox.payout_fault("fail", skip=1)
    withdrawals = [await world.accepted_withdrawal(amount) for amount in (2_000, 3_000, 4_000, 5_000)]

    async def ended() -> bool:
        await assert_clean(world)
        return all([(await world.operation(one))["status"] in ("paid", "reversed") for one in withdrawals])

    await until(ended)
    await assert_clean(world)
    assert {(await world.operation(one))["status"] for one in withdrawals} == {"paid", "reversed"}

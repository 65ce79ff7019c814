"""What happens at Stripe on connected accounts, and around them, without us or twice."""

from io import StringIO

import pytest
from rich.console import Console

from cli.audit import show
from db.invariants import Invariant
from domain.statuses import WithdrawalStatus
from tests.audit.planting import sees_only
from tests.audit.withdrawing import Contractor, contractor
from tests.auditing import assert_clean, audited
from tests.world import World

pytestmark = pytest.mark.long


def tags(operation: str, step: str) -> dict[str, str]:
    """The metadata by which an object belongs to a step of the operation."""
    return {"subject": operation, "step": step, "generation": "1", "operation_id": operation}


async def sees_two(someone: Contractor, operation: str, stripe_id: str) -> None:
    """The audit finds the second object of a step."""
    report = await sees_only(someone.world, Invariant.TWO_LIVE_STRIPE_OBJECTS)
    [found] = report.violations
    assert found.where == operation
    assert stripe_id in found.look_at


async def test_two_live_objects_of_each_kind(world: World) -> None:
    async with contractor(world) as someone:
        withdrawal, v1 = await someone.withdrawal(), someone.client.v1
        await world.sandbox.control("POST", f"accounts/{someone.account}/adjust_balance", amount=8_000)
        await withdrawal.transferred()

        # A transfer lives until all of it is reversed.
        second = await v1.transfers.create_async(
            {
                "amount": 1_000,
                "currency": "usd",
                "destination": someone.account,
                "metadata": tags(withdrawal.id, "create_transfer"),
            }
        )
        await sees_two(someone, withdrawal.id, second.id)
        await v1.transfers.reversals.create_async(second.id, {"amount": 400})
        await sees_two(someone, withdrawal.id, second.id)
        await v1.transfers.reversals.create_async(second.id, {"amount": 600})
        await assert_clean(world)

        # A payout, until it has come back.
        await withdrawal.create_payout()
        again = await v1.payouts.create_async(
            {"amount": 1_000, "currency": "usd", "metadata": tags(withdrawal.id, "create_payout")},
            {"stripe_account": someone.account},
        )
        await sees_two(someone, withdrawal.id, again.id)
        await world.sandbox.control("POST", f"payouts/{again.id}/fail")
        await assert_clean(world)

        # An account, for good; but one that is deleted is nobody's.
        [made] = await world.sql("SELECT subject FROM stripe_calls WHERE step = 'create_account'")
        account = await v1.accounts.create_async(
            {"type": "express", "metadata": tags(made["subject"], "create_account")}
        )
        await sees_two(someone, made["subject"], account.id)
        await v1.accounts.delete_async(account.id)
        await assert_clean(world)

        # And a reversal.
        await withdrawal.book_payout()
        await withdrawal.bank_sends_it_back()
        await withdrawal.observe_payout()
        await withdrawal.unbook_payout()
        await withdrawal.create_reversal()
        await assert_clean(world)
        other = await v1.transfers.create_async({"amount": 500, "currency": "usd", "destination": someone.account})
        reversal = await v1.transfers.reversals.create_async(
            other.id, {"metadata": tags(withdrawal.id, "create_reversal#1")}
        )
        await sees_two(someone, withdrawal.id, reversal.id)


async def test_transfer_that_comes_to_light_after_it_was_given_up(world: World) -> None:
    async with contractor(world) as someone:
        withdrawal = await someone.withdrawal()
        await withdrawal.reserve()
        await withdrawal.restore_untransferred()
        await withdrawal.close(WithdrawalStatus.CANCELED)
        await assert_clean(world)

        late = await someone.client.v1.transfers.create_async(
            {
                "amount": 8_000,
                "currency": "usd",
                "destination": someone.account,
                "metadata": tags(withdrawal.id, "create_transfer"),
            }
        )

        report = await sees_only(world, Invariant.TWO_LIVE_STRIPE_OBJECTS)
        assert report.violations[0].what == "step create_transfer was given up for good, and is done"
        assert late.id in report.violations[0].look_at


async def test_movements_of_a_connected_account_that_are_not_ours(world: World) -> None:
    async with contractor(world) as someone:
        await world.sandbox.control("POST", f"accounts/{someone.account}/adjust_balance", amount=3_000)
        await someone.client.v1.payouts.create_async(
            {"amount": 2_000, "currency": "usd"}, {"stripe_account": someone.account}
        )
        await assert_clean(world)  # They have five minutes.

        await world.skip(301)

        report = await sees_only(world, Invariant.LEDGER_DIFFERS_FROM_STRIPE, times=2)
        assert {found.what for found in report.violations} == {
            "3000 usd at Stripe that no entry explains",
            "-2000 usd at Stripe that no entry explains",
        }
        assert all(found.look_at.endswith(f"account {someone.account}") for found in report.violations)


async def test_deauthorized_account_is_told_of(world: World) -> None:
    async with contractor(world) as someone:
        withdrawal = await someone.withdrawal()
        await withdrawal.transferred()
        await world.sandbox.control("POST", f"accounts/{someone.account}/deauthorize")

        report = await audited(world)

        assert (report.violations, report.unreadable_accounts) == ((), 1)
        printed = StringIO()
        show(report, Console(file=printed, width=200))
        assert "not readable: 1 connected account, cut off from us at Stripe\n" in printed.getvalue()

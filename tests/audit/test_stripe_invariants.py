"""Where the ledger and Stripe differ, or one intent was carried out twice; and what only looks like it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from stripe import StripeClient

from activities.stripe_client import open_client
from activities.stripe_reads import StripeReads
from db.invariants import Invariant
from domain.accounts import AccountKind
from tests.audit.planting import audited_through, behind_the_triggers, post, sees_only
from tests.auditing import assert_clean
from tests.world import World, until

pytestmark = pytest.mark.long

LOSSES, STRIPE_BALANCE = AccountKind.DISPUTE_LOSSES, AccountKind.STRIPE_BALANCE


@asynccontextmanager
async def official_sdk(world: World) -> AsyncIterator[StripeClient]:
    """Stripe's own client, on the platform's account, behind our back."""
    async with open_client(world.sandbox.key, base=world.sandbox.url, timeout=5) as client:
        yield client


async def pay_behind_our_back(world: World, metadata: dict[str, str]) -> None:
    """A card payment that no operation asked for, and its balance transaction."""
    before = len(await world.sandbox.listed("balance_transactions"))
    await world.sandbox.event_fault("*", "drop")
    async with official_sdk(world) as client:
        await client.v1.payment_intents.create_async(
            {
                "amount": 5_000,
                "currency": "usd",
                "payment_method": "pm_card_visa",
                "allowed_payment_method_types": ["card"],
                "confirm": True,
                "metadata": metadata,
            }
        )

    async def booked() -> bool:
        return len(await world.sandbox.listed("balance_transactions")) > before

    await until(booked)


async def tags(world: World, step: str) -> dict[str, str]:
    """The metadata by which an object belongs to the one call of a step."""
    [call] = await world.sql("SELECT subject, step FROM stripe_calls WHERE step = $1", step)
    return dict(call)


async def test_two_live_payment_intents(world: World, paid: str) -> None:
    async with official_sdk(world) as client:
        second = await client.v1.payment_intents.create_async(
            {"amount": 20_000, "currency": "usd", "metadata": await tags(world, "create_payment_intent")}
        )

        report = await sees_only(world, Invariant.TWO_LIVE_STRIPE_OBJECTS)
        assert report.violations[0].where == paid
        assert second.id in report.violations[0].look_at

        await client.v1.payment_intents.cancel_async(second.id)
        await assert_clean(world)


async def test_two_live_customers(world: World, paid: str) -> None:
    async with official_sdk(world) as client:
        second = await client.v1.customers.create_async({"metadata": await tags(world, "create_customer")})

        report = await sees_only(world, Invariant.TWO_LIVE_STRIPE_OBJECTS)
        assert second.id in report.violations[0].look_at

        await client.v1.customers.delete_async(second.id)
        await assert_clean(world)


async def test_second_object_is_found_beyond_the_first_page(world: World, paid: str) -> None:
    async with official_sdk(world) as client:
        await client.v1.customers.create_async({"metadata": await tags(world, "create_customer")})
        for _ in range(100):
            await client.v1.customers.create_async({})

    await sees_only(world, Invariant.TWO_LIVE_STRIPE_OBJECTS)


async def test_links_differ_from_net(world: World, paid: str) -> None:
    [transaction] = await world.sandbox.listed("balance_transactions")
    await post(world, paid, (LOSSES, -10), (STRIPE_BALANCE, 10), link=transaction["id"])

    report = await sees_only(world, Invariant.LINKS_DIFFER_FROM_NET)

    [found] = report.violations
    assert (found.where, found.what) == (
        transaction["id"],
        "net 19390 usd at Stripe, but its linked entries sum to -19380 usd",
    )


async def test_movement_at_stripe_that_no_entry_explains(world: World, paid: str) -> None:
    await pay_behind_our_back(world, {})
    await assert_clean(world)  # It has five minutes.

    await world.skip(301)

    report = await sees_only(world, Invariant.LEDGER_DIFFERS_FROM_STRIPE)
    assert "that no entry explains" in report.violations[0].what


async def test_movement_for_a_closed_operation_counts_at_once(world: World, paid: str) -> None:
    await pay_behind_our_back(world, {"operation_id": paid})

    report = await sees_only(world, Invariant.LEDGER_DIFFERS_FROM_STRIPE)

    assert paid in report.violations[0].look_at


async def test_entries_of_a_closed_operation_without_their_link(world: World, paid: str) -> None:
    await behind_the_triggers(world, "DELETE FROM stripe_balance_links")

    # Seen from both sides: the balance transaction, and the entries of the credit and of the fee.
    report = await sees_only(world, Invariant.LEDGER_DIFFERS_FROM_STRIPE, times=3)

    assert sum("linked to no balance transaction" in found.what for found in report.violations) == 2


async def test_entry_linked_to_a_movement_that_stripe_does_not_have(world: World, paid: str) -> None:
    await post(world, paid, (LOSSES, 10), (STRIPE_BALANCE, -10), link="txn_nowhere")

    report = await sees_only(world, Invariant.LEDGER_DIFFERS_FROM_STRIPE)

    assert report.violations[0].where == "txn_nowhere"
    assert paid in report.violations[0].look_at


async def test_balance_at_stripe_that_is_not_the_sum_of_its_movements(world: World, paid: str) -> None:
    class Skewed(StripeReads):
        async def balance(self, account: str = "") -> dict[str, int]:
            return {currency: amount + 1 for currency, amount in (await super().balance(account)).items()}

    report = await audited_through(world, Skewed)

    [found] = report.violations
    assert found.invariant == Invariant.LEDGER_DIFFERS_FROM_STRIPE
    assert found.what == "19391 usd, but its balance transactions sum to 19390"


@pytest.mark.parametrize("earlier", [0, 1])
async def test_deposit_paid_while_the_audit_reads_is_no_violation(world: World, earlier: int) -> None:
    for _ in range(earlier):
        await world.closed((await world.accepted_deposit(payment_method="pm_card_visa"))["id"])

    class BusyBeforeTheBalance(StripeReads):
        """The movements are listed; then a deposit is paid and booked; then the balance is read, and Postgres."""

        async def balance(self, account: str = "") -> dict[str, int]:
            deposit = await world.accepted_deposit(7_000, payment_method="pm_card_visa")
            await world.closed(deposit["id"])
            found = await super().balance(account)
            later = await world.accepted_deposit(8_000, payment_method="pm_card_visa")
            await world.closed(later["id"])
            return found

    report = await audited_through(world, BusyBeforeTheBalance)

    assert report.violations == ()

"""Sagas that live long: they begin new runs of themselves, and go on where they were."""

import json

import pytest

from tests.auditing import assert_clean
from tests.world import BRISK, Servers, World, open_world, until

pytestmark = pytest.mark.long


async def _runs(world: World, workflow_id: str, *, at_least: int) -> None:
    async def many() -> bool:
        return await world.runs(workflow_id) >= at_least

    await until(many)


async def test_withdrawals_that_ask_for_funds_again_and_again(servers: Servers) -> None:
    # Given two that ask so often that their histories grow long
    pacing = BRISK.model_copy(update={"funds_poll": 0.01})
    async with open_world(servers, pacing=pacing) as world:
        await world.onboarded()
        await world.funded()
        await world.sandbox.control("POST", "adjust_balance", amount=-19_000)
        waits, off = await world.accepted_withdrawal(8_000), await world.accepted_withdrawal(2_000)
        await _runs(world, waits, at_least=2)
        await _runs(world, off, at_least=2)

        # Then later runs go on where the earlier were, count from when it was accepted, and answer
        [started, *_] = await world.events_of(waits)
        [told] = started.workflow_execution_started_event_attributes.input.payloads
        assert json.loads(told.data)["age"] > 1.0
        answer = await world.call("POST", f"/v1/withdrawals/{off}/cancel", user="carl", role="contractor")
        assert (answer.status_code, answer.json()["status"]) == (200, "canceled")
        assert (await world.admin(f"operations/{waits}/retry")).status_code == 200
        # Until the funds come
        await world.sandbox.control("POST", "adjust_balance", amount=19_000)
        closed = await world.closed(waits)
        assert closed["status"] == "paid"
        assert [posting["step"] for posting in closed["postings"]] == ["reserve", "transfer", "payout", "paid"]
        assert len(await world.sandbox.listed("transfers")) == 1
        assert [event["type"] for event in closed["events"]].count("withdrawal.awaiting_funds") == 1
        assert await world.available("carl") == 12_000


async def test_connected_account_that_lives_for_years(servers: Servers) -> None:
    async with open_world(servers, pacing=BRISK.model_copy(update={"polls": (0.02,)})) as world:
        stripe_account = await world.onboarded()
        account = await world.account_of()
        await _runs(world, account, at_least=2)

        await world.sandbox.control("POST", f"accounts/{stripe_account}/deauthorize")

        assert (await world.closed(account))["status"] == "deauthorized"
        await assert_clean(world)


@pytest.mark.parametrize("told", [True, False])
async def test_payouts_that_are_not_manual_are_flagged_until_they_are(world: World, told: bool) -> None:
    # Given an account whose owner, or Stripe, has it pay out by itself
    if not told:
        await world.sandbox.event_fault("*", "drop")
    stripe_account = await world.onboarded()
    await world.funded()
    account = await world.account_of()
    await world.sandbox.control("POST", f"accounts/{stripe_account}/payout_schedule", interval="daily")

    flagged = await world.until(account, lambda now: now["needs_attention"])

    assert (flagged["status"], flagged["attention"]["code"]) == ("active", "payout-schedule-not-manual")
    refused = await world.withdraw()
    assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (409, "account-not-able")
    # When that is mended
    await world.sandbox.control("POST", f"accounts/{stripe_account}/payout_schedule", interval="manual")
    mended = await world.until(account, lambda now: not now["needs_attention"])
    assert mended["attention"] is None
    assert (await world.withdraw()).status_code == 201


async def test_f46_deposit_that_was_terminated_is_resumed(world: World) -> None:
    deposit = await world.accepted_deposit()
    await world.workflow(deposit["id"]).terminate("an engineer's slip")
    await world.sandbox.pay(deposit["payment_intent"], "pm_card_visa")

    first = await world.admin(f"operations/{deposit['id']}/resume", key="again")
    second = await world.admin(f"operations/{deposit['id']}/resume", key="again")
    third = await world.admin(f"operations/{deposit['id']}/resume", key="and-again")

    assert (first.status_code, second.status_code, third.status_code) == (200, 200, 409)
    closed = await world.closed(deposit["id"])
    assert closed["status"] == "succeeded"
    assert await world.available() == 20_000
    assert [row["verb"] for row in await world.sql("SELECT verb FROM operator_actions")] == ["resume", "resume"]
    await world.settled_events()
    await assert_clean(world)

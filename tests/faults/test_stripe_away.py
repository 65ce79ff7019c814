"""Stripe away while much is asked of it: what is asked waits in Temporal, and Stripe is left in peace."""

import asyncio
from contextlib import AbstractAsyncContextManager

import pytest

from tests.auditing import assert_clean
from tests.processes import running
from tests.world import BRISK, Servers, World, open_world, until

pytestmark = pytest.mark.long

OTHERS = 6


def _world_of_little_patience(servers: Servers, *, failures: int) -> AbstractAsyncContextManager[World]:
    """One whose workers, once they have found Stripe away, do not try again while they live."""
    return open_world(
        servers, worker=False, answer_within=0.2, stripe_breaker_failures=failures, stripe_breaker_pause=100_000.0
    )


async def _deposits(world: World) -> list[str]:
    users = [f"user {number}" for number in range(OTHERS)]
    answers = await asyncio.gather(*(world.deposit(user=user, payment_method="pm_card_visa") for user in users))
    return [str(answer.json()["id"]) for answer in answers]


async def _put_off(world: World, times: int) -> None:
    """Wait until each operation was put off so often."""

    async def all_were() -> bool:
        [[fewest]] = await world.sql("SELECT min(retries) FROM operations")
        return bool(fewest >= times)

    await until(all_were)


async def _each_paid_once(world: World, deposits: list[str]) -> None:
    for deposit in deposits:
        closed = await world.closed(deposit)
        assert (closed["status"], closed["needs_attention"]) == ("succeeded", False)
        assert {call["generation"] for call in closed["calls"]} == {1}
    assert len(await world.sandbox.listed("payment_intents")) == len(deposits)
    await world.settled_events()
    await assert_clean(world)


async def test_what_is_not_sent_does_not_count_as_sent_and_others_go_on(servers: Servers) -> None:
    # Given a worker that, once it has found Stripe away, does not try again while it lives
    async with _world_of_little_patience(servers, failures=3) as world:
        path = "/v1/payment_intents"
        await world.sandbox.fault("*", f"{path}*", "error_before", times=100_000)
        async with running(world.settings, "cli.main", "worker"):
            first = str((await world.deposit(payment_method="pm_card_visa")).json()["id"])
            await world.until(first, lambda now: now["retries"] >= 1)
            assert len(await world.sandbox.requests(path)) == 3

            # When many more ask, again and again
            others = await _deposits(world)
            await _put_off(world, 1)

            # Then none of it has reached Stripe
            assert len(await world.sandbox.requests(path)) == await world.sandbox.faults_fired() == 3
            [sent] = [tuple(row) for row in await world.sql(
                "SELECT operation_id, attempts, last_sent_at - first_sent_at < interval '1 hour'"
                " FROM stripe_calls WHERE write = 'payment_intents.create'"
            )]  # fmt: skip
            assert sent == (first, 3, True)
            assert await world.sql("SELECT FROM operations WHERE started_at IS NULL") == []
            # What may have been done is said to be, and what was never sent too
            said = {one: (await world.operation(one))["attention"]["code"] for one in (first, *others)}
            assert said == {first: "in-doubt"} | dict.fromkeys(others, "not-now")
            # And Stripe's other endpoints are asked as ever
            assert len(await world.sandbox.listed("customers")) == 1 + OTHERS
            await world.onboarded()

        # When Stripe is back, and a worker comes that has not found it away
        await world.sandbox.control("DELETE", "faults")
        async with running(world.settings, "cli.main", "worker"):
            await _each_paid_once(world, [first, *others])


async def test_one_at_a_time_finds_out_whether_stripe_is_back(servers: Servers) -> None:
    # Given Stripe lets everybody wait, for longer than anybody does
    async with open_world(servers, answer_within=0.2, stripe_breaker_failures=2, stripe_breaker_pause=2.0) as world:
        path = "/v1/payment_intents"
        await world.sandbox.fault("*", f"{path}*", "hang", times=100_000, seconds=20.0)

        deposits = await _deposits(world)

        # Then far fewer calls reach it than are tried: each put-off is as many attempts as the activity tier has
        async def far_fewer() -> bool:
            [[put_off]] = await world.sql("SELECT sum(retries) FROM operations")
            return bool(len(await world.sandbox.requests(path)) < put_off * BRISK.activity_attempts / 2)

        await until(far_fewer)

        # And when it is back, all is well by itself
        await world.sandbox.control("DELETE", "faults")
        await _each_paid_once(world, deposits)


async def test_observing_waits_as_well(servers: Servers) -> None:
    # Given a payment that is made, and can then not be read
    async with _world_of_little_patience(servers, failures=2) as world:
        await world.sandbox.event_fault("*", "drop")
        async with running(world.settings, "cli.main", "worker"):
            deposit = await world.accepted_deposit(payment_method="pm_card_authenticationRequired")
            await world.sandbox.fault("GET", "/v1/payment_intents/*", "server_error", times=100_000)
            await world.sandbox.complete_3ds((await world.operation(deposit["id"]))["details"]["payment_intent"])
            stuck = await world.until(deposit["id"], lambda now: now["retries"] >= 2)
            assert stuck["attention"]["code"] == "not-now"
            fired = await world.sandbox.faults_fired()
            await world.until(deposit["id"], lambda now: now["retries"] >= 3)
            assert await world.sandbox.faults_fired() == fired

        await world.sandbox.control("DELETE", "faults")
        async with running(world.settings, "cli.main", "worker"):
            await _each_paid_once(world, [deposit["id"]])

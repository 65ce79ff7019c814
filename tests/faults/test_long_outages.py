"""Stripe away for longer than it remembers an idempotency key."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.auditing import assert_clean
from tests.world import BRISK, Servers, World, open_world

pytestmark = pytest.mark.long

OUTAGE = 26 * 3600


PATIENT = BRISK.model_copy(update={"saga_retries": (0.2, 10 * 3600.0), "absent_apart": 1800.0})
"""Few tries while Stripe is away, so that a day of them passes quickly."""


@pytest.fixture
async def world(servers: Servers) -> AsyncIterator[World]:
    """One that does not keep a client waiting for what Stripe does not say."""
    async with open_world(servers, pacing=PATIENT, answer_within=1.0) as made:
        yield made


DONE_OR_NOT = pytest.mark.parametrize("before", ["drop_after_commit", "error_before"])
"""Whether Stripe had done the call whose answer was lost, or never heard of it."""


@DONE_OR_NOT
@pytest.mark.parametrize("path", ["/v1/customers", "/v1/payment_intents"])
async def test_f13_deposit_outlasts_the_life_of_its_keys(world: World, path: str, before: str) -> None:
    await lose(world, path, before)
    deposit = (await world.deposit(payment_method="pm_card_visa")).json()["id"]

    closed = await stripe_is_back(world, deposit)

    assert (closed["status"], closed["needs_attention"]) == ("succeeded", False)
    assert await world.available() == 20_000
    for listed in ("customers", "payment_intents"):
        assert len(await world.sandbox.listed(listed)) == 1
    _new_key_only_if_absent(closed, path, before)
    await world.settled_events()
    await assert_clean(world)


@DONE_OR_NOT
@pytest.mark.parametrize("path", ["/v1/transfers", "/v1/payouts", "/v1/transfers/*/reversals"])
async def test_f13_withdrawal_outlasts_the_life_of_its_keys(world: World, path: str, before: str) -> None:
    # Given a bank that refuses, so that money goes all the way out and back
    account = await world.onboarded(account_number="000111111113")
    await world.funded()
    await lose(world, path, before)
    withdrawal = (await world.withdraw()).json()["id"]

    closed = await stripe_is_back(world, withdrawal)

    assert (closed["status"], closed["needs_attention"]) == ("reversed", False)
    assert await world.available("carl") == 20_000
    [transfer] = await world.sandbox.listed("transfers")
    assert len(transfer["reversals"]["data"]) == 1
    assert len(await world.sandbox.of_account(account, "payouts")) == 1
    _new_key_only_if_absent(closed, path, before)
    await world.settled_events()
    await assert_clean(world)


@DONE_OR_NOT
async def test_f13_connected_account_outlasts_the_life_of_its_keys(world: World, before: str) -> None:
    await world.call("PUT", "/v1/me", {"email": "carl@example.com", "country": "US"}, user="carl", role="contractor")
    await lose(world, "/v1/accounts", before)
    urls = {"return_url": "http://localhost/done", "refresh_url": "http://localhost/again"}
    made = await world.call("POST", "/v1/connect/account", urls, user="carl", role="contractor")
    account = made.json()["id"]

    await stripe_is_back(world, account, status="onboarding")

    assert len(await world.sandbox.listed("accounts")) == 1
    await world.settled_events()
    await assert_clean(world)


async def lose(world: World, path: str, before: str) -> None:
    """Stripe is heard of no more from the call on this path on, which it may have done."""
    if before == "drop_after_commit":
        await world.sandbox.fault("POST", path, before)
    await world.sandbox.fault("*", f"{path}*", "error_before", times=100_000)


async def stripe_is_back(world: World, operation_id: str, *, status: str | None = None) -> dict[str, Any]:
    """After more than a day; the operation, once it is over or in `status`."""
    await world.until(operation_id, lambda now: now["attention"] is not None)
    await world.skip(OUTAGE, operation_id)
    await world.sandbox.control("DELETE", "faults")
    while True:
        # It looks, and later looks again: each time the saga goes on, it is through, or in trouble for a while.
        retries = (await world.operation(operation_id))["retries"]
        await world.skip(11 * 3600, operation_id)
        now = await world.until(
            operation_id,
            lambda now: now["closed_at"] is not None or now["status"] == status or now["retries"] > retries,  # noqa: B023 - awaited at once
        )
        if now["closed_at"] is not None or now["status"] == status:
            return now


def _new_key_only_if_absent(closed: dict[str, Any], path: str, before: str) -> None:
    write = {"/v1/transfers/*/reversals": "transfers.create_reversal"}.get(path, f"{path.removeprefix('/v1/')}.create")
    outcomes = [call["outcome"] for call in closed["calls"] if call["write"] == write]
    assert outcomes == (["done"] if before == "drop_after_commit" else ["absent", "done"])

"""A deposit to do wrong to."""

import pytest

from tests.world import World


@pytest.fixture
async def paid(world: World) -> str:
    """A deposit of 200.00 USD that succeeded, its fee booked and its saga closed: the operation's id."""
    # Without webhooks, so that none comes after the saga has closed and waits for a sweep.
    await world.sandbox.event_fault("*", "drop")
    deposit = await world.accepted_deposit(20_000, payment_method="pm_card_visa")
    await world.closed(deposit["id"])
    return str(deposit["id"])


@pytest.fixture
async def awaiting(world: World) -> str:
    """A deposit whose customer has not paid yet: the operation's id."""
    return str((await world.accepted_deposit(20_000))["id"])

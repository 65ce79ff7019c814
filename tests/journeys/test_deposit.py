"""A deposit, as a marketplace sees it."""

from tests.world import World


async def test_deposit_with_3d_secure(world: World) -> None:
    deposit = await world.accepted_deposit(20_000, payment_method="pm_card_authenticationRequired")
    assert deposit["status"] == "awaiting_payment"
    assert deposit["client_secret"].startswith(deposit["payment_intent"])

    await world.sandbox.complete_3ds(deposit["payment_intent"])
    closed = await world.closed(deposit["id"])

    assert closed["status"] == "succeeded"
    assert await world.available() == 20_000

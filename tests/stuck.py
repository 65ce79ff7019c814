"""Sagas in the states that only an operator ends, and what operators do before they help."""

from tests.world import World


async def transfer_in_doubt(world: World, fault: str = "error_before") -> tuple[str, str]:
    """A withdrawal of 80.00 USD whose transfer is not known to be made or refused, and the account it goes to.

    For a world whose sagas ask again later than its test ends: by then Stripe answers well again.
    """
    account = await world.onboarded()
    await world.funded("carl", 20_000)
    await world.sandbox.fault("POST", "/v1/transfers", fault, times=1_000)
    withdrawal = str((await world.withdraw(8_000)).json()["id"])
    await world.until(withdrawal, lambda now: now["needs_attention"] or now["retries"] > 0)
    await world.sandbox.control("DELETE", "faults")
    return withdrawal, account


async def transfer_by_hand(world: World, account: str, group: str, *, amount: int = 8_000) -> str:
    """What somebody has made on Stripe's Dashboard, where nothing of ours is noted but the group."""
    made = await world.sandbox.post(
        "transfers", amount=amount, currency="usd", destination=account, transfer_group=group
    )
    return str(made["id"])


async def quiet(world: World) -> None:
    """What was sent to Stripe was sent so long ago that it cannot come to light any more."""
    await world.skip(world.settings.pacing.absent_apart)


async def short_of(world: World, missing: int) -> str:
    """A withdrawal of 80.00 USD that comes back, of which the connected account lacks so much."""
    account = await world.onboarded()
    await world.funded("carl", 20_000)
    await world.sandbox.payout_fault("hold")
    withdrawal = await world.accepted_withdrawal(8_000)
    paying = await world.until(withdrawal, lambda now: now["status"] == "paying_out")
    await world.sandbox.control("POST", f"accounts/{account}/adjust_balance", amount=-missing)
    await world.sandbox.control("POST", f"payouts/{paying['details']['payout']}/fail")
    await world.until(withdrawal, lambda now: now["needs_attention"])
    return withdrawal

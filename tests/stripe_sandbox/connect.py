"""What the tests of Connect share."""

from typing import Any

import pytest
import stripe

from tests.stripe_sandbox.conftest import Platform
from tests.stripe_sandbox.receiver import eventually


async def refused(call: Any) -> Any:
    """The error of a call that is refused with 400 or 404."""
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await call
    return caught.value


def on(account: str) -> dict[str, Any]:
    """The options of a call that acts on a connected account."""
    return {"stripe_account": account}


async def payout_is(platform: Platform, account: str, payout: str, status: str) -> Any:
    """The payout, once it has this status."""

    async def found() -> Any:
        shown = await platform.v1.payouts.retrieve_async(payout, {}, on(account))
        return shown if shown.status == status else None

    return await eventually(found)


async def transfer_to(platform: Platform, account: str, amount: int = 1000, **params: Any) -> Any:
    """A transfer of dollars."""
    given = {"amount": amount, "currency": "usd", "destination": account, **params}
    return await platform.v1.transfers.create_async(given)

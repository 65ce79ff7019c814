"""Calls that must be refused, and calls on another account."""

from typing import Any

import pytest
import stripe


async def refused(call: Any) -> Any:
    """The error of a call that is refused with 400 or 404."""
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await call
    return caught.value


def on(account: str) -> dict[str, Any]:
    """The options of a call that acts on a connected account."""
    return {"stripe_account": account}

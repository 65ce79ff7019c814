"""What a withdrawal does at Stripe: a transfer, a payout, perhaps reversals. Read from Stripe's objects.

Amounts are minor units. Each movement is explained by a balance transaction on either side.
"""

from datetime import UTC, date, datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from domain.errors import PayoutFailed
from domain.operations import Failure


class Transfer(BaseModel):
    """From our balance to a connected account's: it succeeds or is refused at once (https://docs.stripe.com/api/transfers)."""

    model_config = ConfigDict(frozen=True)

    id: str
    amount: int
    stripe_account: str
    balance_transaction: str
    """Ours."""
    arrival_transaction: str
    """The connected account's."""

    @classmethod
    def from_stripe(cls, transfer: dict[str, Any]) -> Self:
        """Read a transfer whose `destination_payment` is expanded."""
        return cls(
            id=transfer["id"],
            amount=transfer["amount"],
            stripe_account=_id(transfer["destination"]),
            balance_transaction=_id(transfer["balance_transaction"]),
            arrival_transaction=_id(transfer["destination_payment"]["balance_transaction"]),
        )


class Reversal(BaseModel):
    """A transfer, or a part of one, taken back (https://docs.stripe.com/api/transfer_reversals)."""

    model_config = ConfigDict(frozen=True)

    id: str
    amount: int
    balance_transaction: str
    """Ours."""
    departure_transaction: str
    """The connected account's."""

    @classmethod
    def from_stripe(cls, reversal: dict[str, Any]) -> Self:
        """Read a reversal whose `destination_payment_refund` is expanded."""
        return cls(
            id=reversal["id"],
            amount=reversal["amount"],
            balance_transaction=_id(reversal["balance_transaction"]),
            departure_transaction=_id(reversal["destination_payment_refund"]["balance_transaction"]),
        )


class Payout(BaseModel):
    """From a connected account to its bank (https://docs.stripe.com/api/payouts): `paid` may yet become `failed`."""

    model_config = ConfigDict(frozen=True)

    id: str
    status: str
    amount: int
    currency: str
    arrival: date
    """When Stripe expects the bank to have it."""
    balance_transaction: str
    return_transaction: str | None = None
    """The balance transaction that brought the money back, if one has."""
    failure: Failure | None = None

    @classmethod
    def from_stripe(cls, payout: dict[str, Any]) -> Self:
        """Read a payout."""
        returned = payout.get("failure_balance_transaction")
        return cls(
            id=payout["id"],
            status=payout["status"],
            amount=payout["amount"],
            currency=payout["currency"],
            arrival=datetime.fromtimestamp(payout["arrival_date"], UTC).date(),
            balance_transaction=_id(payout["balance_transaction"]),
            return_transaction=_id(returned) if returned else None,
            failure=_failure(payout) if payout["status"] in ("failed", "canceled") else None,
        )

    @property
    def paid(self) -> bool:
        """The bank has it, as far as Stripe knows."""
        return self.status == "paid"

    @property
    def returned(self) -> bool:
        """It did not arrive, and the money is on the connected account again."""
        return self.failure is not None and self.return_transaction is not None


def _id(thing: Any) -> Any:
    """Of an object, expanded or not. What is no id is refused by the model that it is read into."""
    return thing["id"] if isinstance(thing, dict) else thing


def _failure(payout: dict[str, Any]) -> Failure:
    if payout["status"] == "canceled":
        return Failure(code=PayoutFailed.code, detail="The payout was canceled at Stripe.")
    reason = payout.get("failure_code")
    return Failure(
        code=PayoutFailed.code,
        detail=payout.get("failure_message") or "The bank did not take the payout.",
        decline_code=reason,
    )

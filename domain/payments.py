"""A card payment, as far as a deposit cares: what Stripe's PaymentIntent and its charge say."""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from domain.errors import CardDeclined
from domain.money import Money
from domain.operations import Failure


class StripeFee(BaseModel):
    """What Stripe kept of a charge, in minor units of `currency`: `net = gross - fee`."""

    model_config = ConfigDict(frozen=True)

    balance_transaction_id: str
    gross: int
    fee: int
    net: int
    currency: str


class Payment(BaseModel):
    """The state of a PaymentIntent (https://docs.stripe.com/payments/paymentintents/lifecycle).

    `fee` is None until Stripe has made the charge's balance transaction, which is later than the success.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    status: str
    amount_received: int
    currency: str
    charge_id: str | None = None
    decline: Failure | None = None
    fee: StripeFee | None = None

    @classmethod
    def from_stripe(cls, intent: dict[str, Any]) -> Self:
        """Read a PaymentIntent; its `latest_charge` and the charge's `balance_transaction` may be expanded."""
        charge = intent.get("latest_charge")
        expanded = charge if isinstance(charge, dict) else {}
        booked = expanded.get("balance_transaction")
        error = intent.get("last_payment_error")
        return cls(
            id=intent["id"],
            status=intent["status"],
            amount_received=intent["amount_received"],
            currency=intent["currency"],
            charge_id=expanded.get("id") or (charge if isinstance(charge, str) else None),
            decline=_decline(error) if error else None,
            fee=_fee(booked) if isinstance(booked, dict) else None,
        )

    @property
    def succeeded(self) -> bool:
        """The money is ours to credit."""
        return self.status == "succeeded"

    @property
    def canceled(self) -> bool:
        """No money was taken, and none will be."""
        return self.status == "canceled"

    @property
    def open(self) -> bool:
        """It is not known yet whether money will be taken."""
        return not self.succeeded and not self.canceled

    @property
    def processing(self) -> bool:
        """The customer has done their part."""
        return self.status == "processing"

    @property
    def lacks_card(self) -> bool:
        """Stripe waits for a (or another) card."""
        return self.status == "requires_payment_method"

    def contradicts(self, expected: Money) -> Failure | None:
        """What must stop the saga: money other than was asked for."""
        if self.succeeded and (self.amount_received, self.currency) != (expected.amount, expected.currency):
            return Failure(
                code="amount-mismatch",
                detail=f"Stripe received {self.amount_received} {self.currency}, not {expected.amount} "
                f"{expected.currency}. Nothing was credited.",
            )
        if self.fee is not None and (self.fee.gross, self.fee.currency) != (expected.amount, expected.currency):
            return Failure(
                code="settlement-mismatch",
                detail=f"Stripe settles this charge as {self.fee.gross} {self.fee.currency}, not {expected.amount} "
                f"{expected.currency}. It cannot be booked.",
            )
        return None


def _fee(booked: dict[str, Any]) -> StripeFee:
    return StripeFee(
        balance_transaction_id=booked["id"],
        gross=booked["amount"],
        fee=booked["fee"],
        net=booked["net"],
        currency=booked["currency"],
    )


def _decline(error: dict[str, Any]) -> Failure:
    return Failure(
        code=CardDeclined.code,
        detail=error.get("message") or "The card was declined.",
        decline_code=error.get("decline_code") or error.get("code"),
    )

"""What the platform charges: basis points of an amount, per kind of fee and currency.

A fee is rounded half up to a payable amount and never exceeds what it is taken from.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from domain.errors import MoneyError
from domain.money import CurrencyCode, Money, currency

BASIS_POINTS = 10_000
"""Basis points in a whole."""

_Rate = Annotated[int, Field(ge=0, le=BASIS_POINTS)]


class FeeSchedule(BaseModel):
    """Rates in basis points (500 = 5 %). `by_currency` overrides the default for single currencies."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    default: _Rate
    by_currency: dict[CurrencyCode, _Rate] = {}

    def rate(self, code: str) -> int:
        """The rate for the currency `code`, in basis points."""
        return self.by_currency.get(code, self.default)

    def fee(self, amount: Money) -> Money:
        """The fee on `amount`, rounded half up to a multiple of the currency's increment, at most `amount`.

        Raises `MoneyError` for an amount below 0: a fee is given back by mirroring its posting, never computed anew.
        """
        if amount.amount < 0:
            raise MoneyError("A fee is taken from an amount of at least 0.")
        step = currency(amount.currency).increment
        scaled = amount.amount * self.rate(amount.currency)
        units = (2 * scaled + BASIS_POINTS * step) // (2 * BASIS_POINTS * step)
        return Money(min(units * step, amount.amount), amount.currency)

    def cumulative_fee(self, so_far: Money, booked: Money) -> Money:
        """What is still to book once `so_far` has been released in parts and `booked` was charged on earlier ones.

        Charged on the running total, so that ten milestones cost what one release of their sum costs.
        """
        return self.fee(so_far) - booked


PLATFORM_FEE = FeeSchedule(default=500)
"""On top of an offer, paid by the customer: 5 %."""

SERVICE_FEE = FeeSchedule(default=2_000)
"""Out of what is released to a contractor: 20 %."""

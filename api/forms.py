"""What is checked of every form in the same way."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, StrictInt, StringConstraints

from domain.errors import InvalidField
from domain.money import Money, currency
from domain.settings import Bounds

Amount = Annotated[
    StrictInt,
    Field(description="Minor units: 20000 is 200.00 USD, or 20,000 JPY. In KWD a multiple of 10."),
]
"""A field for an amount of money."""

Currency = Annotated[
    str, Field(description="Lower-case ISO 4217 code of a currency that wallets are held in.", max_length=3)
]
"""A field for a currency's code."""

Reason = Annotated[
    str,
    StringConstraints(min_length=1, max_length=500, pattern=r"^[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*$"),
    Field(description="Why, for whoever looks at it later: it is kept with your name."),
]
"""A field for why somebody acts."""


def money(amount: int, code: str, bounds: Mapping[str, Bounds], *, verb: str) -> Money:
    """The amount, if it is within its currency's bounds and in its steps. Raises `InvalidField`.

    `verb` is what is done with it, as the remedy says it: `Deposit`.
    """
    within = bounds.get(code)
    if within is None:
        raise InvalidField(
            "currency",
            f"{code!r} is not a currency that wallets are held in.",
            remedy=f"Use one of: {', '.join(sorted(bounds))}.",
        )
    if not within.smallest <= amount <= within.largest:
        raise InvalidField(
            "amount",
            f"{amount} is not between {within.smallest} and {within.largest} minor units.",
            remedy=f"{verb} at least {Money(within.smallest, code)} and at most {Money(within.largest, code)}.",
        )
    step = currency(code).increment
    if amount % step:
        below = Money(amount - amount % step, code)
        raise InvalidField(
            "amount",
            f"An amount in {code} must be a multiple of {step} minor units.",
            remedy=f"Round it to {below} or {below + Money(step, code)}.",
        )
    return Money(amount, code)

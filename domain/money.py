"""Money: an integer of minor units with its currency. Never a float.

Currency codes are lower case, as Stripe writes them. How many decimals a currency has is Stripe's rule, not
ISO 4217's, where the two differ (https://docs.stripe.com/currencies): ISK and UGX have two decimals there, which must
be zero; HUF and TWD are paid out in whole units only, so no other amount may enter a wallet; three-decimal currencies
go in steps of 10.
"""

from dataclasses import dataclass
from functools import total_ordering
from typing import Annotated

from pydantic import AfterValidator

from domain.errors import MoneyError

LARGEST = 2**63 - 1
"""What a ledger column holds (a Postgres bigint), in minor units."""

_ZERO_DECIMALS = frozenset(
    ["bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv", "xaf", "xof", "xpf"]
)
_THREE_DECIMALS = frozenset(["bhd", "jod", "kwd", "omr", "tnd"])
_TWO_DECIMALS = frozenset(
    """aed afn all amd ang aoa ars aud awg azn bam bbd bdt bmd bnd bob brl bsd bwp byn bzd cad cdf chf cny cop crc cve
    czk dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gtq gyd hkd hnl htg huf idr ils inr isk jmd kes kgs khr kyd
    kzt lak lbp lkr lrd lsl mad mdl mkd mmk mnt mop mur mvr mwk mxn myr mzn nad ngn nio nok npr nzd pab pen pgk php
    pkr pln qar ron rsd rub sar sbd scr sek sgd shp sle sos srd std szl thb tjs top try ttd twd tzs uah ugx usd uyu
    uzs wst xcd yer zar zmw""".split()
)
_WHOLE_UNITS = frozenset(["huf", "isk", "twd", "ugx"])


@dataclass(frozen=True, slots=True)
class Currency:
    """How amounts of one currency are written: `exponent` decimals, in steps of `increment` minor units."""

    code: str
    exponent: int
    increment: int


def currency(code: str) -> Currency:
    """The rules of the currency `code` (ISO 4217, lower case). Raises `MoneyError` for one Stripe does not know."""
    if code in _ZERO_DECIMALS:
        return Currency(code, 0, 1)
    if code in _THREE_DECIMALS:
        return Currency(code, 3, 10)
    if code in _WHOLE_UNITS:
        return Currency(code, 2, 100)
    if code in _TWO_DECIMALS:
        return Currency(code, 2, 1)
    raise MoneyError(f"{code!r} is not a currency that Stripe settles. Use a lower-case ISO 4217 code such as 'usd'.")


def _known(code: str) -> str:
    try:
        return currency(code).code
    except MoneyError as error:
        raise ValueError(error.detail) from error


CurrencyCode = Annotated[str, AfterValidator(_known)]
"""For pydantic models: the code of a currency that `currency` knows."""


@total_ordering
@dataclass(frozen=True, slots=True)
class Money:
    """An amount in minor units (cents for usd, yen for jpy, fils for kwd) of one currency.

    Raises `MoneyError` on a float, a bool, an unknown currency or an amount that no ledger column holds, and on
    arithmetic across currencies.
    """

    amount: int
    currency: str

    def __post_init__(self) -> None:
        if type(self.amount) is not int:
            raise MoneyError(f"An amount is a whole number of minor units, not {self.amount!r}.")
        if abs(self.amount) > LARGEST:
            raise MoneyError("The amount is larger than the ledger can hold.")
        currency(self.currency)

    def __add__(self, other: "Money") -> "Money":
        return Money(self.amount + self._same(other).amount, self.currency)

    def __sub__(self, other: "Money") -> "Money":
        return Money(self.amount - self._same(other).amount, self.currency)

    def __neg__(self) -> "Money":
        return Money(-self.amount, self.currency)

    def __lt__(self, other: "Money") -> bool:
        return self.amount < self._same(other).amount

    def __str__(self) -> str:
        """For people: `200.00 USD`."""
        exponent = currency(self.currency).exponent
        sign = "-" if self.amount < 0 else ""
        digits = str(abs(self.amount)).rjust(exponent + 1, "0")
        number = f"{digits[:-exponent]}.{digits[-exponent:]}" if exponent else digits
        return f"{sign}{number} {self.currency.upper()}"

    def check_increment(self) -> "Money":
        """This amount, if Stripe can charge it exactly; `MoneyError` otherwise (kwd goes in steps of 10)."""
        step = currency(self.currency).increment
        if self.amount % step:
            raise MoneyError(f"An amount in {self.currency} must be a multiple of {step} minor units.")
        return self

    def _same(self, other: "Money") -> "Money":
        if other.currency != self.currency:
            raise MoneyError(f"Cannot combine {self.currency} with {other.currency}.")
        return other


def split(total: Money, weights: list[int]) -> list[Money]:
    """`total` in parts as `weights` (whole numbers, none negative, not all 0), adding up to it exactly.

    The largest-remainder method: each part is rounded down to a payable amount and the rest goes, an increment at
    a time, to the parts that lost most. What an increment cannot express stays with the first weighted part.
    """
    if total.amount < 0 or not weights or min(weights) < 0 or sum(weights) == 0:
        raise MoneyError("A split needs an amount of at least 0 and weights of which one is positive.")
    step = currency(total.currency).increment
    units, odd = divmod(total.amount, step)
    whole = sum(weights)
    parts = [units * weight // whole for weight in weights]
    losses = sorted(range(len(weights)), key=lambda i: (-(units * weights[i] % whole), i))
    for index in losses[: units - sum(parts)]:
        parts[index] += 1
    amounts = [part * step for part in parts]
    amounts[next(i for i, weight in enumerate(weights) if weight)] += odd
    return [Money(amount, total.currency) for amount in amounts]

"""Currencies: how many minor units they have, and what Stripe lets one charge.

Source: https://docs.stripe.com/currencies.
"""

from stripe_sandbox.errors import invalid_param
from stripe_sandbox.params import integer, string

ZERO_DECIMAL = frozenset("bif clp djf gnf jpy kmf krw mga pyg rwf ugx vnd vuv xaf xof xpf".split())
"""The minor unit is the unit. (ugx is special at Stripe: shown with two decimals, charged without.)"""

THREE_DECIMAL = frozenset("bhd jod kwd omr tnd".split())
"""A thousand minor units; amounts must be multiples of ten."""

TWO_DECIMAL = frozenset(
    "usd aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bmd bnd bob brl bsd bwp byn bzd cad cdf chf cny cop "
    "crc cve czk dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gtq gyd hkd hnl htg huf idr ils inr isk jmd kes kgs "
    "khr kyd kzt lak lbp lkr lrd lsl mad mdl mkd mmk mnt mop mur mvr mwk mxn myr mzn nad ngn nio nok npr nzd pab pen "
    "pgk php pkr pln qar ron rsd rub sar sbd scr sek sgd shp sle sos srd std szl thb tjs top try ttd twd tzs uah uyu "
    "uzs wst xcd yer zar zmw".split()
)

SUPPORTED = ZERO_DECIMAL | THREE_DECIMAL | TWO_DECIMAL

MAX_AMOUNT = 99_999_999
"""Eight digits of minor units, in any currency."""

_MINIMUM = {
    "usd": 50, "aed": 200, "aud": 50, "bgn": 100, "brl": 50, "cad": 50, "chf": 50, "czk": 1500, "dkk": 250, "eur": 50,
    "gbp": 30, "hkd": 400, "huf": 17_500, "inr": 50, "jpy": 50, "mxn": 1000, "myr": 200, "nok": 300, "nzd": 50,
    "pln": 200, "ron": 200, "sek": 300, "sgd": 50, "thb": 1000,
}  # fmt: skip
"""Stripe's smallest charge, in minor units. Where Stripe names none, it converts; the sandbox takes 50."""


def currency(name: str, raw: object) -> str:
    """A supported ISO code in lower case."""
    code: str = string()(name, raw).lower()
    if code not in SUPPORTED:
        raise invalid_param(
            f"Invalid currency: {code}. Stripe currently supports these currencies: {', '.join(sorted(SUPPORTED))}",
            name,
        )
    return code


def amount(name: str, raw: object) -> int:
    """Minor units, at least one."""
    value: int = integer()(name, raw)
    if value < 1:
        raise invalid_param("Invalid positive integer", name, "parameter_invalid_integer")
    return value


def check_amount(value: int, code: str) -> None:
    """Raise for an amount that Stripe would not charge in this currency."""
    minimum = _MINIMUM.get(code, 50)
    if value < minimum:
        raise invalid_param(f"Amount must be at least {written(minimum, code)}", "amount", "amount_too_small")
    if value > MAX_AMOUNT:
        raise invalid_param(f"Amount must be no more than {written(MAX_AMOUNT, code)}", "amount", "amount_too_large")
    if code in THREE_DECIMAL and value % 10:
        raise invalid_param(
            f"Invalid amount: {code} amounts must be divisible by 10, because card networks round its last decimal.",
            "amount",
            "invalid_charge_amount",
        )


def written(value: int, code: str) -> str:
    """An amount as people read it: `$200.00 usd`, `0.500 kwd`, `50 jpy`."""
    decimals = 0 if code in ZERO_DECIMAL else 3 if code in THREE_DECIMAL else 2
    whole, part = divmod(value, 10**decimals)
    text = f"{whole:,}" + (f".{part:0{decimals}d}" if decimals else "")
    return f"${text} {code}" if code == "usd" else f"{text} {code}"


def fee(value: int, percent_bps: int, fixed: int) -> int:
    """Stripe's fee in minor units: basis points of the amount, half up, plus a fixed part."""
    return (value * percent_bps + 5000) // 10_000 + fixed

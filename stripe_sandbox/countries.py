"""The countries of connected accounts and their currencies. https://docs.stripe.com/connect/accounts#countries"""

from typing import Any

from stripe_sandbox.errors import invalid_param
from stripe_sandbox.params import string

_EURO = "AT BE CY DE EE ES FI FR GR HR IE IT LT LU LV MT NL PT SI SK".split()

CURRENCIES = {
    **dict.fromkeys(_EURO, "eur"),
    "AE": "aed", "AU": "aud", "BG": "eur", "BR": "brl", "CA": "cad", "CH": "chf", "CZ": "czk", "DK": "dkk",
    "GB": "gbp", "GI": "gbp", "HK": "hkd", "HU": "huf", "IN": "inr", "JP": "jpy", "LI": "chf", "MX": "mxn",
    "MY": "myr", "NO": "nok", "NZ": "nzd", "PL": "pln", "RO": "ron", "SE": "sek", "SG": "sgd", "TH": "thb",
    "US": "usd",
}  # fmt: skip
"""The default currency of an account, by its country's ISO 3166 code."""


def country(name: str, raw: Any) -> str:
    """A supported country's code."""
    code: str = string()(name, raw)
    if code not in CURRENCIES:
        raise invalid_param(f"Country '{code}' is unknown. Try using a 2-character alphanumeric country code.", name,
                            "country_unsupported")  # fmt: skip
    return code

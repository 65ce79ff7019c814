"""What a platform account can set about the world around it. Defaults are Stripe's inconvenient ones."""

from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from typing import Any

from stripe_sandbox import money
from stripe_sandbox.jsontypes import Json, dumps, loads
from stripe_sandbox.store import Store


@dataclass(frozen=True)
class Settings:
    """One platform's settings, stored as JSON.

    seed: of every random decision of this platform.
    delivery_delay_ms: bounds of the delay of a webhook's first attempt, real milliseconds.
    shuffle: events may overtake each other. Off: each endpoint gets them one at a time, in order.
    duplicate_rate: the share of deliveries made twice, 0 to 1.
    delivery_timeout_ms: how long an endpoint may take to answer.
    balance_transaction_delay_ms: bounds of how long after success a charge's balance transaction is known.
    settle_after_seconds: how long funds stay pending, on the platform's clock.
    fee_percent_bps, fee_fixed: Stripe's fee: basis points of the amount, plus minor units.
    settlement_currency, exchange_rate_bps: when the currency is set, charges settle in it whatever they were presented
        in: minor units times the rate in basis points. Empty: they settle as presented.
    latency_ms: bounds of the time that each API call takes before it executes.
    payout_transit_delay_ms: bounds of how long a payout is pending, on the platform's clock.
    payout_arrival_delay_ms: bounds of how long it is then in transit, on the platform's clock.
    payout_hold: payouts stay in transit until a control call moves them.
    """

    seed: int = 0
    delivery_delay_ms: tuple[int, int] = (20, 400)
    shuffle: bool = True
    duplicate_rate: float = 0.1
    delivery_timeout_ms: int = 10_000
    balance_transaction_delay_ms: tuple[int, int] = (500, 1000)
    settle_after_seconds: int = 2 * 86_400
    fee_percent_bps: int = 290
    fee_fixed: int = 30
    settlement_currency: str = ""
    exchange_rate_bps: int = 10_000
    latency_ms: tuple[int, int] = (0, 0)
    payout_transit_delay_ms: tuple[int, int] = (100, 200)
    payout_arrival_delay_ms: tuple[int, int] = (100, 300)
    payout_hold: bool = False


def read_settings(store: Store, platform: str) -> Settings:
    """The platform's settings."""
    return _parsed(store.platform(platform)["settings"])


@lru_cache(maxsize=256)
def _parsed(text: str) -> Settings:
    return _from_json(loads(text))


def write_settings(store: Store, platform: str, change: Json) -> Settings:
    """Merge a change into the settings. Raises ValueError, with the field's name, for what is unknown or wrong."""
    settings = _from_json({**asdict(read_settings(store, platform)), **change})
    store.db.execute("UPDATE platforms SET settings = ? WHERE id = ?", (dumps(asdict(settings)), platform))
    return settings


def _from_json(values: Json) -> Settings:
    known = {field.name: field.default for field in fields(Settings)}
    for name in values:
        if name not in known:
            raise ValueError(f"unknown setting: {name}")
    return Settings(**{name: _checked(name, value, known[name]) for name, value in values.items()})


def _checked(name: str, value: Any, default: Any) -> Any:
    """A value of the default's type; a pair of bounds may also be given as one number."""
    if isinstance(default, bool):
        ok = isinstance(value, bool)
    elif isinstance(default, tuple):
        value = (value, value) if _is_count(value) else tuple(value) if isinstance(value, (list, tuple)) else value
        ok = isinstance(value, tuple) and len(value) == 2 and all(map(_is_count, value)) and value[0] <= value[1]
    elif isinstance(default, str):
        ok = value == "" or value in money.SUPPORTED
    elif isinstance(default, float):
        ok = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1
    else:
        ok = _is_count(value)
    if not ok:
        raise ValueError(f"invalid value for the setting {name}: {value!r}")
    return value


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0

"""What a run of chaos is asked to be, and how far its waiting times are scaled down."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cli.chaos.faults.kinds import FaultKind
from cli.stack.options import PAYSAGA
from domain.pacing import Pacing
from domain.settings import Settings

PACING = Pacing(
    http_timeout=4.0,
    start_to_close=8.0,
    activity_first_retry=0.2,
    activity_longest_retry=2.0,
    activity_attempts=4,
    saga_retries=(1.0, 4.0, 20.0),
    polls=(2.0, 5.0, 15.0, 30.0),
    # Longer than anything that is sent can be on its way here: frozen, stalled and hanging together.
    absent_apart=20.0,
    payment_expiry=30.0,
    funds_poll=5.0,
    funds_wait=300.0,
    paid_poll=7.5,
    paid_watch=15.0,
)
"""Patience in seconds instead of minutes, hours and days."""

SETTINGS: Mapping[str, float] = {
    "answer_within": 5.0,
    "sweep_every": 6.0,
    "sweep_older_than": 6.0,
    "catch_up_every": 30.0,
    "catch_up_older_than": 8.0,
    "sticky_timeout": 2.0,
}
"""Seconds."""

OFFER_WAIT = 3
"""Seconds that an offer waits for its contractor, or what was delivered for its customer, where neither comes."""

FORGOTTEN_WAIT = 30
"""Seconds that any other offer waits for its contractor: it may be one whose customer was told nothing, and left."""

OF_STRIPE: Mapping[str, Any] = {
    "delivery_delay_ms": [10, 200],
    "balance_transaction_delay_ms": [200, 600],
    "settle_after_seconds": 3,
    "payout_transit_delay_ms": [50, 150],
    "payout_arrival_delay_ms": [50, 250],
    "delivery_timeout_ms": 5000,
}
"""Settings of the Stripe sandbox. That webhooks come twice, and in any order, stays as it is."""

HEALS_WITHIN = 75.0
"""Seconds after the last fault, in which everything must come to its end."""


@dataclass(frozen=True)
class Plan:
    """One run."""

    seconds: float = 60.0
    """How long faults strike and new sagas begin. Before it come the stack's start and its first users, after it the
    healing and the judge."""

    longest: float = 0.0
    """Seconds for which faults go on to strike until each kind has, if that takes longer than `seconds`."""

    seed: int = 0
    """Of what clients want and of which fault comes next. When it comes is the machine's doing, too."""

    faults: frozenset[FaultKind] = frozenset(FaultKind)
    """Which kinds strike. Each must."""

    mix: Mapping[str, int] = field(default_factory=dict)
    """How often each life is begun, by its name in `lives.LIVES`, relative to the others; empty: as there."""

    clients: int = 48
    """Lives at once."""

    heals_within: float = HEALS_WITHIN

    worker_program: Sequence[str] = (*PAYSAGA, "worker")
    """What a worker is: another program must fail the run."""


def environment() -> dict[str, str]:
    """The variables that scale waiting times down."""
    scaled = {f"PAYSAGA_{name.upper()}": str(value) for name, value in SETTINGS.items()}
    return {**scaled, "PAYSAGA_PACING": PACING.model_dump_json()}


def scaling() -> dict[str, tuple[Any, Any]]:
    """What waits less than by default: the default, and what it is here. Seconds, but for the number of attempts."""
    usual: dict[str, Any] = {name: Settings.model_fields[name].default for name in SETTINGS}
    usual |= Pacing().model_dump()
    here = {**SETTINGS, **PACING.model_dump()}
    return {name: (usual[name], here[name]) for name in usual if usual[name] != here[name]}

"""What the judge is shown: plain data, as the API, Stripe, Postgres and Temporal said it once everything was quiet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cli.chaos.record import Request

Json = dict[str, Any]


@dataclass
class Operations:
    """Every operation there is, as the API shows it to an admin, by id."""

    deposits: dict[str, Json] = field(default_factory=dict)
    transfers: dict[str, Json] = field(default_factory=dict)
    """Between wallets."""
    offers: dict[str, Json] = field(default_factory=dict)
    withdrawals: dict[str, Json] = field(default_factory=dict)
    accounts: dict[str, Json] = field(default_factory=dict)
    """Connected accounts."""

    @property
    def all(self) -> dict[str, Json]:
        """Of every kind."""
        return {**self.deposits, **self.transfers, **self.offers, **self.withdrawals, **self.accounts}


@dataclass
class StripeBooks:
    """What Stripe has. Amounts are minor units; objects are Stripe's own JSON."""

    payment_intents: Sequence[Json] = ()
    transfers: Sequence[Json] = ()
    payouts: Sequence[Json] = ()
    """Of every connected account."""
    accounts: Sequence[Json] = ()
    customers: Sequence[Json] = ()
    balance: Mapping[str, int] = field(default_factory=dict)
    """The platform's, pending and available, by currency."""
    fees: Mapping[str, int] = field(default_factory=dict)
    """What Stripe has kept, by currency."""
    violations: Sequence[str] = ()
    """What Stripe's own books have against themselves."""


@dataclass
class Snapshots:
    """The ledger as a reader beside the load saw it, again and again."""

    taken: int = 0
    wrong: list[str] = field(default_factory=list)


@dataclass
class Workflow:
    """A saga's newest run in Temporal."""

    id: str
    status: str
    """`running`, `completed`, `failed` …"""


@dataclass
class Evidence:
    """All of it."""

    requests: list[Request] = field(default_factory=list)
    operations: Operations = field(default_factory=Operations)
    wallets: Sequence[Json] = ()
    """Every user's, as the API shows them."""
    platform: dict[tuple[str, str], int] = field(default_factory=dict)
    """The sum of all entries of a kind of ledger account, by kind and currency: credits positive."""
    stripe: StripeBooks = field(default_factory=StripeBooks)
    audit: Sequence[str] = ()
    """The rows of `paysaga audit`."""
    snapshots: Snapshots = field(default_factory=Snapshots)
    workflows: Sequence[Workflow] = ()
    replayed: int = 0
    """Histories that were replayed."""
    replay_failures: Sequence[str] = ()
    unresolved: Sequence[str] = ()
    """What still waited for something when patience had ended."""
    forgeries_taken: Sequence[str] = ()
    """Webhooks that Stripe had not signed, and that were taken all the same."""
    wanted_faults: Sequence[str] = ()
    fired_faults: Mapping[str, int] = field(default_factory=dict)
    """How often each kind of fault has struck."""
    mishaps: Sequence[str] = ()
    """Clients that broke off because of an answer that cannot be."""

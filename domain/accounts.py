"""The chart of accounts.

Entries are signed minor units: credits positive, debits negative. An asset or expense grows by debits, a liability or
income by credits. "Never negative" is meant in the account's normal direction.
"""

from dataclasses import dataclass
from enum import StrEnum


class Nature(StrEnum):
    """What an account is, and so which side it grows on."""

    ASSET = "asset"
    """Grows by debits: what we hold or are owed."""
    LIABILITY = "liability"
    """Grows by credits: what we owe."""
    CLEARING = "clearing"
    """Either side: money between two places."""
    INCOME = "income"
    """Grows by credits: what we earned."""
    EXPENSE = "expense"
    """Grows by debits: what we spent."""


class Owner(StrEnum):
    """Whose account it is. All but the platform's keep a balance row, changed with every entry."""

    WALLET = "wallet"
    """A user's money in one currency."""
    USER = "user"
    """A user, across wallets."""
    SELLER = "seller"
    """A seller whose funds we recover."""
    VENDOR = "vendor"
    """A vendor we pay."""
    CONNECTED_ACCOUNT = "connected_account"
    """A contractor's account at Stripe."""
    PLATFORM = "platform"
    """Ourselves. Every operation touches these accounts, so a balance row would be one lock for all of them."""


class AccountKind(StrEnum):
    """One line of the chart; each is kept per currency and, but for the platform's, per owner."""

    WALLET_AVAILABLE = "wallet_available"
    """What a user may spend or withdraw."""
    WALLET_ESCROW = "wallet_escrow"
    """What a customer has promised to an offer."""
    WALLET_IN_TRANSIT = "wallet_in_transit"
    """What is on its way out of a wallet, not known to have arrived."""
    RECEIVABLE = "receivable"
    """What a user owes us after a dispute or clawback."""
    RECOVERIES_PAYABLE = "recoveries_payable"
    """Recovered funds that we hold for a seller."""
    VENDOR_PAYABLE = "vendor_payable"
    """What we owe a vendor."""
    CONNECTED_BALANCE = "connected_balance"
    """Money at Stripe on a connected account, held for its owner."""
    PAYOUTS_IN_FLIGHT = "payouts_in_flight"
    """Money on the way from a connected account to its bank."""
    STRIPE_BALANCE = "stripe_balance"
    """Our own balance at Stripe, pending and available."""
    PLATFORM_BANK = "platform_bank"
    """Our bank account."""
    RECOVERIES_CLEARING = "recoveries_clearing"
    """Recoveries between their arrival and their seller."""
    FX_CLEARING = "fx_clearing"
    """The two sides of a currency conversion."""
    OPENING_BALANCES = "opening_balances"
    """The other side of what existed before the ledger."""
    PLATFORM_FEES = "platform_fees"
    """Earned on top of offers."""
    SERVICE_FEES = "service_fees"
    """Earned out of releases."""
    COMMISSION_FEES = "commission_fees"
    """Earned on commissions."""
    PAYMENT_REVENUE = "payment_revenue"
    """Earned on approved payments."""
    SUBSCRIPTION_REVENUE = "subscription_revenue"
    """Earned on subscriptions."""
    STRIPE_FEES = "stripe_fees"
    """What Stripe keeps."""
    VENDOR_COSTS = "vendor_costs"
    """What vendors cost."""
    DISPUTE_LOSSES = "dispute_losses"
    """Lost disputes that nobody repays."""
    WRITE_OFFS = "write_offs"
    """Given up."""


@dataclass(frozen=True, slots=True)
class AccountRule:
    """What the database holds an account of one kind to."""

    owner: Owner
    nature: Nature
    may_be_negative: bool

    @property
    def keeps_balance(self) -> bool:
        """Whether a balance row is changed with every entry."""
        return self.owner is not Owner.PLATFORM

    @property
    def guard(self) -> int:
        """The sign its balance (credits minus debits) must keep: 1, -1, or 0 where either is allowed."""
        if self.may_be_negative:
            return 0
        return 1 if self.nature in (Nature.LIABILITY, Nature.INCOME) else -1


def _platform(nature: Nature) -> AccountRule:
    return AccountRule(Owner.PLATFORM, nature, may_be_negative=True)


CHART: dict[AccountKind, AccountRule] = {
    AccountKind.WALLET_AVAILABLE: AccountRule(Owner.WALLET, Nature.LIABILITY, may_be_negative=False),
    AccountKind.WALLET_ESCROW: AccountRule(Owner.WALLET, Nature.LIABILITY, may_be_negative=False),
    AccountKind.WALLET_IN_TRANSIT: AccountRule(Owner.WALLET, Nature.LIABILITY, may_be_negative=False),
    AccountKind.RECEIVABLE: AccountRule(Owner.USER, Nature.ASSET, may_be_negative=True),
    AccountKind.RECOVERIES_PAYABLE: AccountRule(Owner.SELLER, Nature.LIABILITY, may_be_negative=False),
    AccountKind.VENDOR_PAYABLE: AccountRule(Owner.VENDOR, Nature.LIABILITY, may_be_negative=False),
    AccountKind.CONNECTED_BALANCE: AccountRule(Owner.CONNECTED_ACCOUNT, Nature.ASSET, may_be_negative=False),
    AccountKind.PAYOUTS_IN_FLIGHT: AccountRule(Owner.CONNECTED_ACCOUNT, Nature.ASSET, may_be_negative=False),
    AccountKind.STRIPE_BALANCE: _platform(Nature.ASSET),
    AccountKind.PLATFORM_BANK: _platform(Nature.CLEARING),
    AccountKind.RECOVERIES_CLEARING: _platform(Nature.CLEARING),
    AccountKind.FX_CLEARING: _platform(Nature.CLEARING),
    AccountKind.OPENING_BALANCES: _platform(Nature.CLEARING),
    AccountKind.PLATFORM_FEES: _platform(Nature.INCOME),
    AccountKind.SERVICE_FEES: _platform(Nature.INCOME),
    AccountKind.COMMISSION_FEES: _platform(Nature.INCOME),
    AccountKind.PAYMENT_REVENUE: _platform(Nature.INCOME),
    AccountKind.SUBSCRIPTION_REVENUE: _platform(Nature.INCOME),
    AccountKind.STRIPE_FEES: _platform(Nature.EXPENSE),
    AccountKind.VENDOR_COSTS: _platform(Nature.EXPENSE),
    AccountKind.DISPUTE_LOSSES: _platform(Nature.EXPENSE),
    AccountKind.WRITE_OFFS: _platform(Nature.EXPENSE),
}


@dataclass(frozen=True, slots=True, order=True)
class Account:
    """One ledger account. `owner` is the id of the wallet, user or connected account; empty for the platform's own."""

    kind: AccountKind
    currency: str
    owner: str = ""

    def __post_init__(self) -> None:
        if (CHART[self.kind].owner is Owner.PLATFORM) != (self.owner == ""):
            raise ValueError(f"{self.kind} belongs to a {CHART[self.kind].owner}; owner={self.owner!r} is not one.")

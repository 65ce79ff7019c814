"""Which entries each step of each saga makes. Pure functions; the activities only persist what these return."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from domain.accounts import Account, AccountKind
from domain.errors import UnbalancedPosting
from domain.money import Money


@dataclass(frozen=True, slots=True)
class Entry:
    """One signed amount on one account, in minor units: credits positive, debits negative."""

    account: Account
    amount: int


@dataclass(frozen=True, slots=True)
class Posting:
    """A balanced set of entries. Raises `UnbalancedPosting` if it has fewer than two, or does not sum to zero."""

    entries: tuple[Entry, ...]

    def __post_init__(self) -> None:
        sums: Counter[str] = Counter()
        for entry in self.entries:
            sums[entry.account.currency] += entry.amount
        if len(self.entries) < 2 or any(entry.amount == 0 for entry in self.entries) or any(sums.values()):
            raise UnbalancedPosting(f"Entries of {[entry.amount for entry in self.entries]} do not make a posting.")

    def mirrored(self) -> "Posting":
        """The posting that takes this one back; a correction is always this, never an edit."""
        return Posting(tuple(Entry(entry.account, -entry.amount) for entry in self.entries))


def move(money: Money, *, debit: Account, credit: Account) -> Posting:
    """`money` from one account to another."""
    return Posting((Entry(debit, -money.amount), Entry(credit, money.amount)))


def deposit_credit(wallet_id: str, money: Money) -> Posting:
    """The customer has paid: our balance at Stripe grows, and so does what we owe them."""
    return move(
        money,
        debit=Account(AccountKind.STRIPE_BALANCE, money.currency),
        credit=Account(AccountKind.WALLET_AVAILABLE, money.currency, wallet_id),
    )


def stripe_fee(fee: Money) -> Posting:
    """Stripe has kept its fee of a charge: our expense, never the customer's."""
    return move(
        fee,
        debit=Account(AccountKind.STRIPE_FEES, fee.currency),
        credit=Account(AccountKind.STRIPE_BALANCE, fee.currency),
    )


def wallet_transfer(from_wallet: str, to_wallet: str, money: Money) -> Posting:
    """From what one wallet's owner may spend to what another's may."""
    return move(
        money,
        debit=Account(AccountKind.WALLET_AVAILABLE, money.currency, from_wallet),
        credit=Account(AccountKind.WALLET_AVAILABLE, money.currency, to_wallet),
    )


def hold(wallet_id: str, money: Money) -> Posting:
    """Out of what a customer may spend into their escrow: an offer's amount, and the platform's fee on top."""
    return move(
        money,
        debit=Account(AccountKind.WALLET_AVAILABLE, money.currency, wallet_id),
        credit=Account(AccountKind.WALLET_ESCROW, money.currency, wallet_id),
    )


def accept_fee(wallet_id: str, fee: Money) -> Posting:
    """The platform has earned its fee of an offer. Its mirror gives it back, into escrow."""
    return move(
        fee,
        debit=Account(AccountKind.WALLET_ESCROW, fee.currency, wallet_id),
        credit=Account(AccountKind.PLATFORM_FEES, fee.currency),
    )


def release(customer_wallet: str, contractor_wallet: str, *, fee: Money, earned: Money) -> Posting:
    """Out of a customer's escrow: the platform's service fee, and what the contractor has earned. Either may be 0."""
    shares = (
        (Account(AccountKind.SERVICE_FEES, fee.currency), fee.amount),
        (Account(AccountKind.WALLET_AVAILABLE, earned.currency, contractor_wallet), earned.amount),
    )
    escrow = Entry(Account(AccountKind.WALLET_ESCROW, fee.currency, customer_wallet), -(fee + earned).amount)
    return Posting((escrow, *(Entry(account, amount) for account, amount in shares if amount)))


def give_back(wallet_id: str, money: Money) -> Posting:
    """Out of a customer's escrow, theirs to spend again."""
    return hold(wallet_id, money).mirrored()


def reserve(wallet_id: str, money: Money) -> Posting:
    """Out of what a wallet's owner may spend, on its way out. Its mirror restores it."""
    return move(
        money,
        debit=Account(AccountKind.WALLET_AVAILABLE, money.currency, wallet_id),
        credit=Account(AccountKind.WALLET_IN_TRANSIT, money.currency, wallet_id),
    )


def transfer(stripe_account: str, money: Money) -> Posting:
    """From our balance at Stripe to a connected account's, still held for its owner. Its mirror is a reversal."""
    return move(
        money,
        debit=Account(AccountKind.CONNECTED_BALANCE, money.currency, stripe_account),
        credit=Account(AccountKind.STRIPE_BALANCE, money.currency),
    )


def payout(stripe_account: str, money: Money) -> Posting:
    """From a connected account on the way to its bank. Its mirror is a payout that came back."""
    return move(
        money,
        debit=Account(AccountKind.PAYOUTS_IN_FLIGHT, money.currency, stripe_account),
        credit=Account(AccountKind.CONNECTED_BALANCE, money.currency, stripe_account),
    )


def paid(wallet_id: str, stripe_account: str, money: Money) -> Posting:
    """The bank has it: we owe it no more. Its mirror is a bank that did not have it after all."""
    return move(
        money,
        debit=Account(AccountKind.WALLET_IN_TRANSIT, money.currency, wallet_id),
        credit=Account(AccountKind.PAYOUTS_IN_FLIGHT, money.currency, stripe_account),
    )


def write_off(wallet_id: str, stripe_account: str, money: Money, *, in_flight: bool) -> Posting:
    """What cannot be had back is its owner's, on their account at Stripe or `in_flight` from there to their bank: we
    neither hold it for them nor owe it to them any more."""
    kind = AccountKind.PAYOUTS_IN_FLIGHT if in_flight else AccountKind.CONNECTED_BALANCE
    return move(
        money,
        debit=Account(AccountKind.WALLET_IN_TRANSIT, money.currency, wallet_id),
        credit=Account(kind, money.currency, stripe_account),
    )


def made_spendable(posting: Posting) -> dict[Account, int]:
    """What `posting` adds to what wallets' owners may spend, wherever it comes from: minor units by account."""
    added: Counter[Account] = Counter()
    for entry in posting.entries:
        if entry.account.kind is AccountKind.WALLET_AVAILABLE:
            added[entry.account] += entry.amount
    return {account: amount for account, amount in added.items() if amount > 0}


@dataclass(frozen=True, slots=True)
class Debt:
    """What a wallet's owner owes the platform in its currency, in minor units."""

    debtor: str
    owed: int


def repayment(credit: Posting, debts: Mapping[Account, Debt]) -> Posting | None:
    """What `credit` repays before anybody can spend it: of each wallet the lesser of what it got and what is owed.

    `debts` are those of the wallets' owners, by the account that is credited. None if nothing is owed.
    """
    parts = {
        account: min(amount, debts[account].owed)
        for account, amount in made_spendable(credit).items()
        if account in debts and debts[account].owed > 0
    }
    entries = [
        entry
        for account, part in parts.items()
        for entry in (
            Entry(account, -part),
            Entry(Account(AccountKind.RECEIVABLE, account.currency, debts[account].debtor), part),
        )
    ]
    return Posting(tuple(entries)) if entries else None

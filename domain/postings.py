"""Which entries each step of each saga makes. Pure functions; the activities only persist what these return."""

from collections import Counter
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

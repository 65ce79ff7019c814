"""Whether a withdrawal may begin. The same rules for the preview and for the transaction that reserves."""

from dataclasses import dataclass

from domain import errors
from domain.connected_accounts import ConnectedAccount
from domain.errors import StateRefusal
from domain.money import Money


@dataclass(frozen=True, slots=True)
class Standing:
    """How things stand for one wallet. Amounts are minor units of its currency."""

    active: bool
    frozen: bool
    available: int
    held_back: int
    """Earned too lately to be withdrawn."""
    owed: int
    """What the wallet's owner owes the platform, in any currency: more than 0 if anything."""
    account: ConnectedAccount | None

    @property
    def withdrawable(self) -> int:
        """What may leave the wallet now."""
        return max(self.available - self.held_back, 0)


def refusals(standing: Standing, money: Money) -> list[StateRefusal]:
    """Everything that speaks against withdrawing `money`, gravest first; nothing if it may begin."""
    found: list[StateRefusal] = []
    if not standing.active:
        found.append(errors.WalletDeactivated("The wallet gives no money."))
    if standing.frozen:
        found.append(errors.WalletFrozen("Withdrawals from the wallet are stopped."))
    if standing.owed > 0:
        found.append(errors.ReceivableOpen("The wallet's owner owes the platform money."))
    account = standing.account
    if account is None or account.deauthorized:
        found.append(errors.NoConnectedAccount("There is no account at Stripe to withdraw through."))
    elif not account.able:
        found.append(errors.AccountNotAble(_unable(account)))
    elif money.currency not in account.currencies:
        others = f", only for {', '.join(account.currencies)}" if account.currencies else ""
        found.append(errors.CurrencyNotHeld(f"The account at Stripe has no bank for {money.currency}{others}."))
    if money.amount > standing.withdrawable:
        found.append(
            errors.NotWithdrawable(
                f"{Money(standing.withdrawable, money.currency)} can be withdrawn now, not {money}."
                + (f" {Money(standing.held_back, money.currency)} was earned too lately." if standing.held_back else "")
            )
        )
    return found


def _unable(account: ConnectedAccount) -> str:
    lacks = [
        what
        for what, there in (
            ("receive transfers", account.transfers_active),
            ("pay out", account.payouts_enabled),
            ("wait for our word before it pays out", account.manual_payouts),
        )
        if not there
    ]
    due = f" Stripe asks for: {', '.join(account.due)}." if account.due else ""
    return f"The account at Stripe does not {' or '.join(lacks)}.{due}"

"""A contractor's account at Stripe, as far as Paysaga cares: what it may do, and what is still asked of its owner."""

from datetime import UTC, datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from domain.statuses import ConnectedAccountStatus


class ConnectedAccount(BaseModel):
    """The state of an Express account (https://docs.stripe.com/api/accounts/object)."""

    model_config = ConfigDict(frozen=True)

    id: str
    details_submitted: bool = False
    transfers_active: bool = False
    """Whether it can receive transfers."""
    payouts_enabled: bool = False
    """Whether it can pay out to its bank."""
    manual_payouts: bool = False
    """Whether it pays out only when we say so. Automatic payouts bundle transfers, so that nobody could tell any more
    whether one withdrawal was paid."""
    currencies: tuple[str, ...] = ()
    """Of its banks: what it can pay out."""
    due: tuple[str, ...] = ()
    """What Stripe asks of its owner, by Stripe's names: past due first."""
    due_by: datetime | None = None
    """By when, before Stripe restricts the account."""
    disabled_reason: str | None = None
    deauthorized: bool = False

    @classmethod
    def from_stripe(cls, account: dict[str, Any]) -> Self:
        """Read an account. What Stripe leaves out counts as not there."""
        asked = account.get("requirements") or {}
        deadline = asked.get("current_deadline")
        banks = (account.get("external_accounts") or {}).get("data") or []
        schedule = ((account.get("settings") or {}).get("payouts") or {}).get("schedule") or {}
        return cls(
            id=account["id"],
            details_submitted=bool(account.get("details_submitted")),
            transfers_active=(account.get("capabilities") or {}).get("transfers") == "active",
            payouts_enabled=bool(account.get("payouts_enabled")),
            manual_payouts=schedule.get("interval") == "manual",
            currencies=tuple(sorted({bank["currency"] for bank in banks if bank.get("currency")})),
            due=tuple(dict.fromkeys([*(asked.get("past_due") or []), *(asked.get("currently_due") or [])])),
            due_by=datetime.fromtimestamp(deadline, UTC) if deadline else None,
            disabled_reason=asked.get("disabled_reason"),
        )

    @property
    def able(self) -> bool:
        """Whether a withdrawal can go through it."""
        return self.transfers_active and self.payouts_enabled and self.manual_payouts and not self.deauthorized

    @property
    def status(self) -> ConnectedAccountStatus:
        """Of the operation that stands for it."""
        if self.deauthorized:
            return ConnectedAccountStatus.DEAUTHORIZED
        if self.transfers_active and self.payouts_enabled:
            return ConnectedAccountStatus.ACTIVE
        return ConnectedAccountStatus.RESTRICTED if self.details_submitted else ConnectedAccountStatus.ONBOARDING

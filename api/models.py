"""What the API answers with. Amounts are minor units, times RFC 3339."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field

from domain.operations import OperationKind


class Failed(BaseModel):
    """Why an operation failed."""

    code: str
    detail: str
    decline_code: str | None = None


class Operation(BaseModel):
    """One request to move money or change a payment relationship."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": "dep_01k9zq3m5t7v9x1b3d5f7h9k2m",
                "kind": "deposit",
                "status": "succeeded",
                "user_id": "alice",
                "wallet_id": "wal_01k9zq3m5t7v9x1b3d5f7h9k2n",
                "amount": 20000,
                "currency": "usd",
                "needs_attention": False,
                "failure": None,
                "created_at": "2026-11-21T10:00:00Z",
                "updated_at": "2026-11-21T10:00:02Z",
                "closed_at": "2026-11-21T10:00:03Z",
            }
        }
    )

    id: str
    kind: OperationKind
    status: str
    user_id: str
    wallet_id: str
    amount: int = Field(description="Minor units.")
    currency: str
    needs_attention: bool = Field(description="It waits for an operator, or could use one.")
    failure: Failed | None
    created_at: datetime
    updated_at: datetime
    closed_at: datetime | None = Field(description="When its saga ended; a terminal status can be relied on before.")


class Deposit(Operation):
    """Money from a card into a wallet."""

    payment_intent: str | None = Field(default=None, description="Stripe's id of the payment.")
    client_secret: str | None = Field(
        default=None, description="What the customer's browser confirms with; only while it awaits payment."
    )


class StripeCall(BaseModel):
    """One write to Stripe: the intent, and its outcome."""

    step: str
    generation: int
    write: str
    idempotency_key: str
    attempts: int
    outcome: str | None = Field(description="done, refused, absent (never happened), or null while it is not known.")
    stripe_id: str | None
    result: dict[str, Any] | None
    first_sent_at: datetime
    last_sent_at: datetime


class Entry(BaseModel):
    """One signed amount on one account: credits positive, debits negative, in minor units."""

    account: str
    owner: str = Field(description="The wallet or user; empty for the platform's own accounts.")
    amount: int
    currency: str
    balance_transaction: str | None = Field(description="Stripe's balance transaction that it explains.")


class LedgerTransaction(BaseModel):
    """A balanced set of entries."""

    id: str
    step: str
    generation: int
    reverses: str | None
    posted_at: datetime
    entries: list[Entry]


class Step(BaseModel):
    """One named act of the saga, as far as it is recorded."""

    step: str
    generation: int
    act: str = Field(description="stripe_call or ledger")
    outcome: str | None
    at: datetime


class StripeEvent(BaseModel):
    """An event of Stripe's that concerns the operation, and what became of it."""

    id: str
    type: str
    state: str
    reason: str | None
    received_at: datetime
    settled_at: datetime | None


class DomainEvent(BaseModel):
    """What became true, for the marketplace."""

    id: str
    type: str
    data: dict[str, Any]
    created_at: datetime


class OperationDetail(Operation):
    """An operation with everything that is recorded of it."""

    details: dict[str, Any]
    attention: Failed | None = Field(description="What it waits for, if it needs attention or was put off.")
    retries: int
    last_retry_at: datetime | None
    steps: list[Step]
    calls: list[StripeCall]
    postings: list[LedgerTransaction]
    stripe_events: list[StripeEvent]
    events: list[DomainEvent]


class Wallet(BaseModel):
    """A user's money in one currency, in minor units."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": "wal_01k9zq3m5t7v9x1b3d5f7h9k2n",
                "user_id": "alice",
                "currency": "usd",
                "available": 20000,
                "escrow": 0,
                "in_transit": 0,
                "totals": {"earned": 0, "spent": 0, "withdrawn": 0},
                "active": True,
                "frozen": False,
            }
        }
    )

    id: str
    user_id: str
    currency: str
    available: int = Field(description="May be spent or withdrawn.")
    escrow: int = Field(description="Promised to offers.")
    in_transit: int = Field(description="On its way out, not known to have arrived.")
    totals: "Totals"
    active: bool
    frozen: bool


class Totals(BaseModel):
    """What went through a wallet, in minor units."""

    earned: int
    spent: int
    withdrawn: int


class WalletEntry(BaseModel):
    """One line of a wallet's statement: credits positive, debits negative, in minor units."""

    id: int
    account: str = Field(description="wallet_available, wallet_escrow or wallet_in_transit")
    amount: int
    currency: str
    operation_id: str
    step: str
    ledger_transaction: str
    posted_at: datetime


class Profile(BaseModel):
    """Who a user is to the payment service. Sent to Stripe with their customer, and nowhere else."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "email": "alice@example.com",
                "name": "Alice Example",
                "country": "US",
                "locale": "en-US",
                "channels": ["email"],
            }
        },
    )

    email: str | None = Field(default=None, max_length=254, pattern=r"^[^@\s\x00-\x1f]+@[^@\s\x00-\x1f]+$")
    name: str | None = Field(default=None, min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")
    country: str | None = Field(default=None, pattern=r"^[A-Z]{2}$", description="ISO 3166-1 alpha-2.")
    locale: str | None = Field(default=None, pattern=r"^[A-Za-z0-9-]{2,35}$", description="BCP 47.")
    channels: list[str] = Field(default=[], max_length=10, description="How to notify: email, sms, push.")


def operation_of(row: sa.RowMapping) -> Operation:
    """An operation's row as the API shows it."""
    return Operation.model_validate(dict(row))


def deposit_of(row: sa.RowMapping, *, client_secret: str | None = None) -> Deposit:
    """A deposit's row as the API shows it."""
    more = {"payment_intent": row["details"].get("payment_intent"), "client_secret": client_secret}
    return Deposit.model_validate(dict(row) | more)

"""What the API answers with. Amounts are minor units, times RFC 3339."""

from datetime import datetime
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field

from domain.operations import OperationKind

MinorUnits = Annotated[int, Field(description="Minor units of `currency`: 20000 is 200.00 USD, or 20,000 JPY.")]

_DEPOSIT = "dep_06jk0zf9q8swdt7y4p3vm1b2qr"
_WALLET = "wal_06jk0zf9q7c3n5x8v2t4k6m0bd"
_INTENT = "pi_3SV0aK2eZvKYlo2C1gF2h3J4"
_BOOKED = "txn_3SV0aK2eZvKYlo2C1a5b6c7d"
_LTX = "ltx_06jk0zfb1r5e9w3m7k2q8t4v6x"

_OPERATION: dict[str, Any] = {
    "id": _DEPOSIT,
    "kind": "deposit",
    "status": "succeeded",
    "user_id": "alice",
    "wallet_id": _WALLET,
    "amount": 20000,
    "currency": "usd",
    "needs_attention": False,
    "failure": None,
    "created_at": "2026-11-21T10:00:00Z",
    "updated_at": "2026-11-21T10:00:03Z",
    "closed_at": "2026-11-21T10:00:03Z",
}


def _shown(*examples: dict[str, Any], closed: bool = False) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": list(examples)}, extra="forbid" if closed else "ignore")


class Failed(BaseModel):
    """Why an operation failed, or what it waits for."""

    code: str = Field(description="As in a problem's `type`.")
    detail: str
    decline_code: str | None = Field(default=None, description="The card network's reason.")


class Operation(BaseModel):
    """One request to move money or change a payment relationship."""

    model_config = _shown(_OPERATION)

    id: str = Field(description="Also the id of its workflow in the Temporal UI.")
    kind: OperationKind
    status: str = Field(
        description="Of a deposit: requested, awaiting_payment, processing, succeeded, failed, canceled or expired."
    )
    user_id: str
    wallet_id: str
    amount: MinorUnits
    currency: str = Field(description="Lower-case ISO 4217 code.")
    needs_attention: bool = Field(description="It waits for an operator, or could use one.")
    failure: Failed | None = Field(description="Why it failed, if it did.")
    created_at: datetime
    updated_at: datetime
    closed_at: datetime | None = Field(description="When its saga ended; a terminal status can be relied on before.")


class Deposit(Operation):
    """Money from a card into a wallet."""

    model_config = _shown(
        _OPERATION
        | {
            "status": "awaiting_payment",
            "updated_at": "2026-11-21T10:00:01Z",
            "closed_at": None,
            "payment_intent": _INTENT,
            "client_secret": f"{_INTENT}_secret_XyZ0123456789abcdefghijkl",
        }
    )

    payment_intent: str | None = Field(default=None, description="Stripe's id of the payment.")
    client_secret: str | None = Field(
        default=None,
        description="What the customer's browser confirms with: only while it awaits payment, only to its owner"
        " and to a service, and null when Stripe cannot be asked.",
    )


class StripeCall(BaseModel):
    """One write to Stripe: the intent, and its outcome."""

    step: str
    generation: int = Field(description="Which intent of the step, from 1. A retry keeps it.")
    write: str = Field(description="What was asked of Stripe.")
    idempotency_key: str = Field(description="The key that Stripe was sent.")
    attempts: int
    outcome: str | None = Field(description="done, refused, absent (never happened), or null while it is not known.")
    stripe_id: str | None
    result: dict[str, Any] | None
    first_sent_at: datetime
    last_sent_at: datetime


class Entry(BaseModel):
    """One signed amount on one account."""

    account: str
    owner: str = Field(description="The wallet or user; empty for the platform's own accounts.")
    amount: int = Field(description="Minor units of `currency`: credits positive, debits negative.")
    currency: str
    balance_transaction: str | None = Field(description="Stripe's balance transaction that it explains.")


class LedgerTransaction(BaseModel):
    """A balanced set of entries."""

    id: str
    step: str
    generation: int
    reverses: str | None = Field(description="The ledger transaction that this one takes back.")
    posted_at: datetime
    entries: list[Entry]


class Step(BaseModel):
    """One named act of the saga, as far as it is recorded."""

    step: str
    generation: int
    act: Literal["stripe_call", "ledger"]
    outcome: str | None
    at: datetime


class StripeEvent(BaseModel):
    """An event of Stripe's that concerns the operation, and what became of it."""

    id: str
    type: str
    state: str = Field(description="received, processed, ignored or quarantined.")
    reason: str | None = Field(description="Why it was set aside, if it was.")
    received_at: datetime
    settled_at: datetime | None


class DomainEvent(BaseModel):
    """What became true, for the marketplace."""

    id: str
    type: str
    data: dict[str, Any] = Field(description="Ids, and amounts in minor units.")
    created_at: datetime


class OperationDetail(Operation):
    """An operation with everything that is recorded of it."""

    model_config = _shown(
        _OPERATION
        | {
            "details": {"payment_intent": _INTENT, "balance_transaction": _BOOKED},
            "attention": None,
            "retries": 0,
            "last_retry_at": None,
            "steps": [
                {
                    "step": "create_payment_intent",
                    "generation": 1,
                    "act": "stripe_call",
                    "outcome": "done",
                    "at": "2026-11-21T10:00:01Z",
                },
                {"step": "credit", "generation": 1, "act": "ledger", "outcome": "done", "at": "2026-11-21T10:00:02Z"},
            ],
            "calls": [
                {
                    "step": "create_payment_intent",
                    "generation": 1,
                    "write": "payment_intents.create",
                    "idempotency_key": f"paysaga:{_DEPOSIT}:create_payment_intent:1",
                    "attempts": 1,
                    "outcome": "done",
                    "stripe_id": _INTENT,
                    "result": {"id": _INTENT, "status": "succeeded", "amount_received": 20000, "currency": "usd"},
                    "first_sent_at": "2026-11-21T10:00:01Z",
                    "last_sent_at": "2026-11-21T10:00:01Z",
                }
            ],
            "postings": [
                {
                    "id": _LTX,
                    "step": "credit",
                    "generation": 1,
                    "reverses": None,
                    "posted_at": "2026-11-21T10:00:02Z",
                    "entries": [
                        {
                            "account": "stripe_balance",
                            "owner": "",
                            "amount": -20000,
                            "currency": "usd",
                            "balance_transaction": _BOOKED,
                        },
                        {
                            "account": "wallet_available",
                            "owner": _WALLET,
                            "amount": 20000,
                            "currency": "usd",
                            "balance_transaction": None,
                        },
                    ],
                }
            ],
            "stripe_events": [
                {
                    "id": "evt_3SV0aK2eZvKYlo2C1q9w8e7r",
                    "type": "payment_intent.succeeded",
                    "state": "processed",
                    "reason": None,
                    "received_at": "2026-11-21T10:00:02Z",
                    "settled_at": "2026-11-21T10:00:02Z",
                }
            ],
            "events": [
                {
                    "id": "evt_06jk0zfb2t7y9w3m5k1q8r4v6x",
                    "type": "deposit.succeeded",
                    "data": {"wallet_id": _WALLET, "amount": 20000, "currency": "usd"},
                    "created_at": "2026-11-21T10:00:02Z",
                }
            ],
        }
    )

    details: dict[str, Any] = Field(description="What its saga has learned: Stripe's ids.")
    attention: Failed | None = Field(description="What it waits for, if it needs attention or was put off.")
    retries: int = Field(description="How often its saga has put off a step.")
    last_retry_at: datetime | None
    steps: list[Step] = Field(description="Calls and postings in the order of their times.")
    calls: list[StripeCall]
    postings: list[LedgerTransaction]
    stripe_events: list[StripeEvent]
    events: list[DomainEvent]


class Totals(BaseModel):
    """What went through a wallet, in minor units of its currency."""

    earned: int = Field(description="Released to it by offers, in minor units.")
    spent: int = Field(description="Paid to others out of its escrow, in minor units.")
    withdrawn: int = Field(description="Paid out to its owner's bank, in minor units.")


class Wallet(BaseModel):
    """A user's money in one currency."""

    model_config = _shown(
        {
            "id": _WALLET,
            "user_id": "alice",
            "currency": "usd",
            "available": 20000,
            "escrow": 0,
            "in_transit": 0,
            "totals": {"earned": 0, "spent": 0, "withdrawn": 0},
            "active": True,
            "frozen": False,
        }
    )

    id: str
    user_id: str
    currency: str = Field(description="Lower-case ISO 4217 code.")
    available: int = Field(description="May be spent or withdrawn, in minor units.")
    escrow: int = Field(description="Promised to offers, in minor units.")
    in_transit: int = Field(description="On its way out, not known to have arrived, in minor units.")
    totals: Totals
    active: bool = Field(description="Whether it takes and gives money.")
    frozen: bool = Field(description="Whether its withdrawals are stopped.")


class WalletEntry(BaseModel):
    """One line of a wallet's statement."""

    model_config = _shown(
        {
            "id": 4711,
            "account": "wallet_available",
            "amount": 20000,
            "currency": "usd",
            "operation_id": _DEPOSIT,
            "step": "credit",
            "ledger_transaction": _LTX,
            "posted_at": "2026-11-21T10:00:02Z",
        }
    )

    id: int
    account: Literal["wallet_available", "wallet_escrow", "wallet_in_transit"]
    amount: int = Field(description="Minor units of `currency`: credits positive, debits negative.")
    currency: str
    operation_id: str
    step: str
    ledger_transaction: str
    posted_at: datetime


class Profile(BaseModel):
    """Who a user is to the payment service. Sent to Stripe with their customer, and nowhere else."""

    model_config = _shown(
        {
            "email": "alice@example.com",
            "name": "Alice Example",
            "country": "US",
            "locale": "en-US",
            "channels": ["email"],
        },
        closed=True,
    )

    email: str | None = Field(
        default=None, max_length=254, pattern=r"^[^@\s\x00-\x1f]+@[^@\s\x00-\x1f.]+(\.[^@\s\x00-\x1f.]+)+$"
    )
    name: str | None = Field(default=None, min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")
    country: str | None = Field(default=None, pattern=r"^[A-Z]{2}$", description="ISO 3166-1 alpha-2.")
    locale: str | None = Field(default=None, pattern=r"^[A-Za-z0-9-]{2,35}$", description="BCP 47.")
    channels: list[Literal["email", "sms", "push"]] = Field(default=[], max_length=3, description="How to notify.")


def operation_of(row: sa.RowMapping) -> Operation:
    """An operation's row as the API shows it."""
    return Operation.model_validate(dict(row))


def deposit_of(row: sa.RowMapping, *, client_secret: str | None = None) -> Deposit:
    """A deposit's row as the API shows it."""
    more = {"payment_intent": row["details"].get("payment_intent"), "client_secret": client_secret}
    return Deposit.model_validate(dict(row) | more)

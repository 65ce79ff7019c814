"""An operation with everything that is recorded of it, as the API answers it. Amounts are minor units."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from api.models import DEPOSIT, INTENT, OPERATION, WALLET, Failed, Operation, shown

_BOOKED = "txn_3SV0aK2eZvKYlo2C1a5b6c7d"
_LTX = "ltx_06jk0zfb1r5e9w3m7k2q8t4v6x"


class StripeCall(BaseModel):
    """One write to Stripe: the intent, and its outcome."""

    step: str
    generation: int = Field(description="Which intent of the step, from 1. A retry keeps it.")
    write: str = Field(description="What was asked of Stripe.")
    idempotency_key: str = Field(description="The key that Stripe was sent.")
    attempts: int
    outcome: str | None = Field(
        description="done, refused, absent (never happened), closed (never to happen), or null while it is not known."
    )
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

    model_config = shown(
        OPERATION
        | {
            "details": {"payment_intent": INTENT, "balance_transaction": _BOOKED},
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
                    "idempotency_key": f"paysaga:{DEPOSIT}:create_payment_intent:1",
                    "attempts": 1,
                    "outcome": "done",
                    "stripe_id": INTENT,
                    "result": {"id": INTENT, "status": "succeeded", "amount_received": 20000, "currency": "usd"},
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
                            "owner": WALLET,
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
                    "data": {"wallet_id": WALLET, "amount": 20000, "currency": "usd"},
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

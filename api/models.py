"""What the API answers with. Amounts are minor units, times RFC 3339."""

from datetime import date, datetime, timedelta
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field

from domain.connected_accounts import ConnectedAccount as Account
from domain.operations import OperationKind
from domain.statuses import LIFECYCLES, ConnectedAccountStatus, OfferStatus, WithdrawalStatus

MinorUnits = Annotated[int, Field(description="Minor units of `currency`: 20000 is 200.00 USD, or 20,000 JPY.")]

DEPOSIT = "dep_06jk0zf9q8swdt7y4p3vm1b2qr"
WALLET = "wal_06jk0zf9q7c3n5x8v2t4k6m0bd"
INTENT = "pi_3SV0aK2eZvKYlo2C1gF2h3J4"
_ACCOUNT = "acct_1SV0aKPq8r7s6T5u"
_LTX = "ltx_06jk0zfb1r5e9w3m7k2q8t4v6x"

OPERATION: dict[str, Any] = {
    "id": DEPOSIT,
    "kind": "deposit",
    "status": "succeeded",
    "user_id": "alice",
    "wallet_id": WALLET,
    "amount": 20000,
    "currency": "usd",
    "needs_attention": False,
    "failure": None,
    "created_at": "2026-11-21T10:00:00Z",
    "updated_at": "2026-11-21T10:00:03Z",
    "closed_at": "2026-11-21T10:00:03Z",
}

_ONBOARDING: dict[str, Any] = OPERATION | {
    "id": "acc_06jk0zf5v8x1z4b7d0f3h6k9m2",
    "kind": "connected_account",
    "status": "onboarding",
    "user_id": "carl",
    "wallet_id": None,
    "amount": None,
    "currency": None,
    "closed_at": None,
    "stripe_account": _ACCOUNT,
    "able": {"receive_transfers": False, "pay_out": False},
    "manual_payouts": True,
    "due": ["external_account", "individual.dob.day"],
    "due_by": None,
    "disabled_reason": "requirements.past_due",
    "deauthorized": False,
}

_LINK = {
    "url": "https://connect.stripe.com/setup/e/acct_1SV0aKPq8r7s6T5u/XyZ0123456789",
    "expires_at": "2026-11-21T10:05:00Z",
}


def shown(*examples: dict[str, Any], closed: bool = False) -> ConfigDict:
    """A model's examples. `closed`: it is a form, and takes no other fields."""
    return ConfigDict(json_schema_extra={"examples": list(examples)}, extra="forbid" if closed else "ignore")


_STATUSES = " ".join(
    f"Of a {kind.replace('_', ' ')}: {', '.join(LIFECYCLES[kind].statuses)}." for kind in OperationKind
)


class Failed(BaseModel):
    """Why an operation failed, or what it waits for."""

    code: str = Field(description="As in a problem's `type`.")
    detail: str
    decline_code: str | None = Field(
        default=None, description="The reason of the card's network, or of the payee's bank."
    )


class Operation(BaseModel):
    """One request to move money or change a payment relationship."""

    model_config = shown(OPERATION)

    id: str = Field(description="Also the id of its workflow in the Temporal UI.")
    kind: OperationKind
    status: str = Field(description=_STATUSES)
    user_id: str
    wallet_id: str | None = Field(description="Null for a connected account, which moves no money of its own.")
    amount: int | None = Field(description="Minor units of `currency`.")
    currency: str | None = Field(description="Lower-case ISO 4217 code.")
    needs_attention: bool = Field(description="It waits for an operator, or could use one.")
    failure: Failed | None = Field(description="Why it failed, if it did.")
    created_at: datetime
    updated_at: datetime
    closed_at: datetime | None = Field(description="When its saga ended; a terminal status can be relied on before.")


class MoneyOperation(Operation):
    """One that moves money out of a wallet or into one."""

    wallet_id: str
    amount: MinorUnits
    currency: str = Field(description="Lower-case ISO 4217 code.")


class Deposit(MoneyOperation):
    """Money from a card into a wallet."""

    model_config = shown(
        OPERATION
        | {
            "status": "awaiting_payment",
            "updated_at": "2026-11-21T10:00:01Z",
            "closed_at": None,
            "payment_intent": INTENT,
            "client_secret": f"{INTENT}_secret_XyZ0123456789abcdefghijkl",
        }
    )

    payment_intent: str | None = Field(default=None, description="Stripe's id of the payment.")
    client_secret: str | None = Field(
        default=None,
        description="What the customer's browser confirms with: only while it awaits payment, only to its owner"
        " and to a service, and null when Stripe cannot be asked.",
    )


_NEVER_ARRIVES = (
    WithdrawalStatus.FAILED,
    WithdrawalStatus.CANCELED,
    WithdrawalStatus.REVERSING,
    WithdrawalStatus.REVERSED,
    WithdrawalStatus.WRITTEN_OFF,
)


class Withdrawal(MoneyOperation):
    """Money from a contractor's wallet to their bank."""

    model_config = shown(
        OPERATION
        | {
            "id": "wd_06jk0zg9q8swdt7y4p3vm1b2qr",
            "kind": "withdrawal",
            "status": "paying_out",
            "user_id": "carl",
            "amount": 8000,
            "closed_at": None,
            "transfer": "tr_3SV0aK2eZvKYlo2C1t6u7v8w",
            "payout": "po_1SV0aM2eZvKYlo2Cp9q8r7s6",
            "stripe_account": _ACCOUNT,
            "estimated_arrival": "2026-11-24",
        }
    )

    transfer: str | None = Field(default=None, description="Stripe's id of the transfer to the connected account.")
    payout: str | None = Field(default=None, description="Stripe's id of the payout from there to the bank.")
    stripe_account: str | None = Field(default=None, description="Stripe's id of the connected account.")
    written_off: int | None = Field(
        default=None,
        description="Minor units that could not be had back, and are its owner's at Stripe; the rest is in the wallet.",
    )
    estimated_arrival: date | None = Field(
        description="When the bank should have it: our guess until Stripe has said so. Null if it will have nothing."
    )


class Milestone(BaseModel):
    """A part of an offer's amount that can be released by itself."""

    number: int = Field(description="From 1.")
    amount: MinorUnits
    released: bool


class OfferAction(BaseModel):
    """Something that was done to an offer."""

    verb: str
    party: str = Field(description="customer, contractor, operator or clock.")
    actor: str = Field(
        description="The user who did it; `paysaga` where it happened by itself; `somebody in Temporal` where nobody"
        " asked this API."
    )
    reason: str | None = Field(description="Why, if they said so.")
    details: dict[str, Any] = Field(description="The milestone, or the shares in minor units.")
    acted_at: datetime


class Offer(MoneyOperation):
    """Money in a customer's escrow, until a contractor has earned it. `user_id` and `wallet_id` are the customer's."""

    model_config = shown(
        OPERATION
        | {
            "id": "off_06jk0zh1q8swdt7y4p3vm1b2qr",
            "kind": "offer",
            "status": "accepted",
            "amount": 10000,
            "closed_at": None,
            "contractor_id": "carl",
            "job": "job 4711",
            "platform_fee": 500,
            "released": 4000,
            "service_fee": 800,
            "returned": 0,
            "left": 6000,
            "milestones": [
                {"number": 1, "amount": 4000, "released": True},
                {"number": 2, "amount": 6000, "released": False},
            ],
            "auto_payout": False,
            "payouts": [],
            "accept_by": None,
            "deliver_by": "2026-12-05T11:00:00Z",
            "complete_by": None,
            "cancel_asked": False,
            "actions": [
                {
                    "verb": "accept",
                    "party": "contractor",
                    "actor": "carl",
                    "reason": None,
                    "details": {},
                    "acted_at": "2026-11-21T11:00:00Z",
                }
            ],
        }
    )

    contractor_id: str
    job: str | None = Field(description="The marketplace's reference of the job.")
    platform_fee: int = Field(description="On top of `amount`, in minor units; the platform's once it is accepted.")
    released: int = Field(description="Of `amount`, out of escrow for the contractor, in minor units.")
    service_fee: int = Field(description="Of `released`, the platform's, in minor units.")
    returned: int = Field(description="Of `amount`, given back to the customer, in minor units.")
    left: int = Field(description="Of `amount`, in escrow, in minor units.")
    milestones: list[Milestone]
    auto_payout: bool = Field(description="Whether what is released goes on to the contractor's bank by itself.")
    payouts: list[str] = Field(description="The withdrawals that have begun by that.")
    accept_by: datetime | None = Field(
        description="While it is held: it expires then, if the contractor has not answered."
    )
    deliver_by: datetime | None = Field(
        description="While it is accepted: from then on the customer can cancel it alone."
    )
    complete_by: datetime | None = Field(
        description="While it is delivered: it completes then, if the customer says nothing."
    )
    cancel_asked: bool = Field(description="Whether the customer has asked the contractor to agree to a cancel.")
    actions: list[OfferAction] = Field(description="Who did what, and when, oldest first.")


class WalletTransfer(MoneyOperation):
    """Money from one wallet to another. `user_id` and `wallet_id` are the giver's."""

    model_config = shown(
        OPERATION
        | {
            "id": "wtr_06jk0zg2m5c8e1r4t7w0y3b6d9",
            "kind": "wallet_transfer",
            "to_user_id": "carl",
            "to_wallet_id": "wal_06jk0zg2k3a6d9f2h5j8m1p4r7",
            "reference": "job 4711",
        }
    )

    to_user_id: str
    to_wallet_id: str
    reference: str | None


class Able(BaseModel):
    """What Stripe lets an account do now."""

    receive_transfers: bool
    pay_out: bool


class Link(BaseModel):
    """A page of Stripe's for the account's owner alone: whoever opens it acts as them, so it is to be kept nowhere."""

    model_config = shown(_LINK)

    url: str = Field(description="Where to send the owner. It works once, or for minutes.")
    expires_at: datetime | None = Field(description="Null if Stripe does not say.")


class ConnectedAccount(Operation):
    """A contractor's account at Stripe."""

    model_config = shown(_ONBOARDING)

    stripe_account: str | None = Field(description="Stripe's id; null until Stripe has made it.")
    able: Able
    manual_payouts: bool = Field(description="Whether it pays out only when we say so: else nothing is withdrawn.")
    due: list[str] = Field(description="What Stripe asks of its owner, by Stripe's names, past due first.")
    due_by: datetime | None = Field(description="By when, before Stripe restricts the account.")
    disabled_reason: str | None = Field(description="Why Stripe has restricted it, by Stripe's names.")
    deauthorized: bool = Field(description="Whether it is cut off from us, for good.")


class OnboardingAccount(ConnectedAccount):
    """A contractor's account at Stripe, and the way on for its owner."""

    model_config = shown(_ONBOARDING | {"onboarding": _LINK})

    onboarding: Link | None = Field(
        description="Made anew for each answer; null while Stripe cannot be asked: POST /v1/connect/account/link then."
    )


class Totals(BaseModel):
    """What went through a wallet, in minor units of its currency."""

    earned: int = Field(description="Released to it by offers, in minor units.")
    spent: int = Field(description="Paid to others out of its escrow, in minor units.")
    withdrawn: int = Field(description="Paid out to its owner's bank, in minor units.")


class Wallet(BaseModel):
    """A user's money in one currency."""

    model_config = shown(
        {
            "id": WALLET,
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

    model_config = shown(
        {
            "id": 4711,
            "account": "wallet_available",
            "amount": 20000,
            "currency": "usd",
            "operation_id": DEPOSIT,
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

    model_config = shown(
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


class Approval(BaseModel):
    """That somebody, or two, agreed to what an operator would do."""

    model_config = shown(
        {
            "id": "apr_06jk0zh4t6w8y1b3d5f7h9k2m4",
            "operation_id": "wd_06jk0zg9q8swdt7y4p3vm1b2qr",
            "verb": "write_off",
            "what": {},
            "reason": "support case 4711",
            "asked_by": "olivia",
            "four_eyes": True,
            "created_at": "2026-11-21T10:00:00Z",
            "approved_by": None,
            "approved_at": None,
            "used_at": None,
            "expired": False,
        }
    )

    id: str = Field(description="What the act names as its approval.")
    operation_id: str
    verb: str = Field(description="adopt, compensate or write_off.")
    what: dict[str, str] = Field(description="To adopt: which object, for which step.")
    reason: str
    asked_by: str
    four_eyes: bool = Field(description="Whether another admin must agree, since it is about much.")
    created_at: datetime
    approved_by: str | None = Field(description="Null while it awaits another admin.")
    approved_at: datetime | None
    used_at: datetime | None = Field(description="It is good for one act.")
    expired: bool = Field(description="It was asked for more than 24 hours ago.")


class OperatorAction(BaseModel):
    """What an operator did to an operation, or was refused."""

    model_config = shown(
        {
            "action_id": "5d0c0e6b9f",
            "verb": "retry",
            "actor": "olivia",
            "reason": "support case 4711",
            "seen": {"status": "requested", "needs_attention": True, "retries": 4},
            "refusal": None,
            "created_at": "2026-11-21T10:00:00Z",
        }
    )

    action_id: str
    verb: str
    actor: str = Field(description="Who: proved by the API, or as they called themselves in Temporal's UI.")
    reason: str
    seen: dict[str, Any] = Field(description="How the operation stood, and the evidence.")
    refusal: Failed | None = Field(description="Why it was refused, if it was.")
    created_at: datetime


def operation_of(row: sa.RowMapping) -> Operation:
    """An operation's row as the API shows it."""
    return Operation.model_validate(dict(row))


def deposit_of(row: sa.RowMapping, *, client_secret: str | None = None) -> Deposit:
    """A deposit's row as the API shows it."""
    more = {"payment_intent": row["details"].get("payment_intent"), "client_secret": client_secret}
    return Deposit.model_validate(dict(row) | more)


def withdrawal_of(row: sa.RowMapping, *, payout_days: int) -> Withdrawal:
    """A withdrawal's row as the API shows it. `payout_days`: how long a payout is thought to take."""
    said = row["details"]
    arrival = said.get("estimated_arrival", arrival_after(row["created_at"], payout_days))
    more = {name: said.get(name) for name in ("transfer", "payout", "stripe_account", "written_off")}
    more["estimated_arrival"] = None if row["status"] in _NEVER_ARRIVES else arrival
    return Withdrawal.model_validate(dict(row) | more)


def arrival_after(begun: datetime, payout_days: int) -> date:
    """When the bank should have what began to be withdrawn then."""
    return (begun + timedelta(days=payout_days)).date()


def wallet_transfer_of(row: sa.RowMapping) -> WalletTransfer:
    """A wallet-to-wallet transfer's row as the API shows it."""
    return WalletTransfer.model_validate(dict(row) | row["request"])


def offer_of(row: sa.RowMapping) -> Offer:
    """An offer's row as the API shows it."""
    offer = row["offer"]
    more = offer | {
        "left": 0 if row["closed_at"] or not offer["held_at"] else _left(offer),
        "milestones": [
            Milestone(number=number, amount=amount, released=number in offer["milestones_released"])
            for number, amount in enumerate(offer["milestones"], start=1)
        ],
        "accept_by": _while(OfferStatus.HELD, row, "held_at", "accept_within"),
        "deliver_by": _while(OfferStatus.ACCEPTED, row, "accepted_at", "deliver_within"),
        "complete_by": _while(OfferStatus.DELIVERED, row, "delivered_at", "complete_within"),
        "cancel_asked": offer["cancel_asked_at"] is not None,
        "actions": offer["actions"] or [],
    }
    return Offer.model_validate(more | dict(row))


def _left(offer: dict[str, Any]) -> int:
    return int(offer["amount"] - offer["released"] - offer["returned"])


def _while(status: OfferStatus, row: sa.RowMapping, since: str, within: str) -> datetime | None:
    """When it is over what an offer waits for in `status`; None in any other."""
    if row["status"] != status:
        return None
    return datetime.fromisoformat(row["offer"][since]) + timedelta(seconds=row["offer"][within])


def connected_account_of(row: sa.RowMapping, account: Account | None) -> ConnectedAccount:
    """A connected account's row as the API shows it; `account` is what Stripe has said of it, if it has."""
    account = account or Account(id="")
    return ConnectedAccount(
        **operation_of(row).model_dump(),
        stripe_account=account.id or row["details"].get("stripe_account"),
        able=Able(receive_transfers=account.transfers_active, pay_out=account.payouts_enabled),
        manual_payouts=account.manual_payouts,
        due=list(account.due),
        due_by=account.due_by,
        disabled_reason=account.disabled_reason,
        deauthorized=account.deauthorized or row["status"] == ConnectedAccountStatus.DEAUTHORIZED,
    )

"""The statuses an operation goes through, and which may follow which.

What the customer was told is never taken back: recording a status that the operation cannot come to from where it is
changes nothing, so a saga that was reset or run twice does no harm. The database holds the same moves.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from domain.errors import NotCancelable
from domain.operations import Failure, OperationKind


class DepositStatus(StrEnum):
    """A deposit's."""

    REQUESTED = "requested"
    """Accepted by us; Stripe does not know of it yet."""
    AWAITING_PAYMENT = "awaiting_payment"
    """Stripe waits for the customer: a card, or 3-D Secure."""
    PROCESSING = "processing"
    """The customer has done their part; the card network has not answered."""
    SUCCEEDED = "succeeded"
    """Paid, and credited to the wallet. The point of no return."""
    FAILED = "failed"
    """Refused; nothing was taken and nothing will be."""
    CANCELED = "canceled"
    """Called off before it was paid."""
    EXPIRED = "expired"
    """Not paid in time."""


class WalletTransferStatus(StrEnum):
    """A wallet-to-wallet transfer's."""

    REQUESTED = "requested"
    """Accepted by us."""
    SUCCEEDED = "succeeded"
    """Moved."""
    FAILED = "failed"
    """Refused; nothing was moved."""


class ConnectedAccountStatus(StrEnum):
    """A connected account's, as Stripe last told it: it may become active and restricted many times."""

    REQUESTED = "requested"
    """Accepted by us; Stripe does not know of it yet."""
    ONBOARDING = "onboarding"
    """Made at Stripe, which waits for its owner to say who they are."""
    ACTIVE = "active"
    """It can receive transfers and pay out to its bank."""
    RESTRICTED = "restricted"
    """Its owner has told what was asked, and Stripe does not let it receive or pay out: now, any more, or yet."""
    DEAUTHORIZED = "deauthorized"
    """Its owner, or Stripe, has cut the connection to us. For good."""
    FAILED = "failed"
    """Stripe refused to make it."""


class WithdrawalStatus(StrEnum):
    """A withdrawal's."""

    REQUESTED = "requested"
    """Accepted by us; nothing is reserved yet."""
    RESERVED = "reserved"
    """Taken out of what the wallet's owner may spend."""
    AWAITING_FUNDS = "awaiting_funds"
    """The platform's own balance at Stripe is short or still pending."""
    TRANSFERRED = "transferred"
    """On the owner's connected account."""
    PAYING_OUT = "paying_out"
    """On the way to the bank. The point of no return."""
    PAID = "paid"
    """Stripe says that the bank has it. That may yet turn out otherwise, so the saga watches on for a while."""
    REVERSING = "reversing"
    """Being taken back from the connected account."""
    REVERSED = "reversed"
    """The bank did not take it; it is in the wallet again."""
    CANCELED = "canceled"
    """Called off in time; it is in the wallet again."""
    FAILED = "failed"
    """Refused; it is in the wallet, or never left it."""
    WRITTEN_OFF = "written_off"
    """Not all of it could be had back, and an operator has given the rest up: it is the owner's, at Stripe."""


class OfferStatus(StrEnum):
    """An offer's."""

    REQUESTED = "requested"
    """Taken in by us; nothing is held yet."""
    HELD = "held"
    """The amount and the platform's fee are in the customer's escrow. The contractor has not answered."""
    ACCEPTED = "accepted"
    """The contractor is at work; the platform has its fee."""
    DELIVERED = "delivered"
    """The contractor says that it is done."""
    COMPLETED = "completed"
    """All of it is the contractor's, less the service fee."""
    DECLINED = "declined"
    """The contractor did not want it; all is the customer's again."""
    EXPIRED = "expired"
    """The contractor did not answer in time; all is the customer's again."""
    CANCELED = "canceled"
    """Called off; what was in escrow is the customer's again."""
    CONTESTED = "contested"
    """The parties disagree. Nothing moves until an operator splits what is left."""
    RESOLVED = "resolved"
    """Split by an operator."""
    FAILED = "failed"
    """Refused; nothing was held."""


REQUESTED = "requested"
"""Every kind's first status: its saga has not answered."""

FAILED = "failed"
"""Every kind's status of what was refused. What came back later (`reversed`) was accepted, and is answered as such."""

CANCELED = "canceled"
"""How an operation ends that was called off in time, whatever its kind."""

Status = DepositStatus | WalletTransferStatus | ConnectedAccountStatus | WithdrawalStatus | OfferStatus


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """Of one kind of operation: which statuses there are, and which may follow which."""

    statuses: type[Status]
    next: Mapping[Status, frozenset[Status]]
    terminal: frozenset[Status]
    """Those the customer may rely on."""


def _lifecycle(statuses: type[Status], terminal: str, **following: str) -> Lifecycle:
    return Lifecycle(
        statuses,
        {status: frozenset(map(statuses, following.get(status, "").split())) for status in statuses},
        frozenset(map(statuses, terminal.split())),
    )


LIFECYCLES: Mapping[OperationKind, Lifecycle] = {
    OperationKind.DEPOSIT: _lifecycle(
        DepositStatus,
        terminal="succeeded failed canceled expired",
        requested="awaiting_payment processing succeeded failed canceled expired",
        awaiting_payment="processing succeeded failed canceled expired",
        # A payment that was processing may fall back to waiting for another card; the customer's status stays put
        # until it is known how that ends.
        processing="succeeded failed canceled expired",
    ),
    OperationKind.WALLET_TRANSFER: _lifecycle(
        WalletTransferStatus, terminal="succeeded failed", requested="succeeded failed"
    ),
    OperationKind.CONNECTED_ACCOUNT: _lifecycle(
        ConnectedAccountStatus,
        terminal="deauthorized failed",
        requested="onboarding failed",
        onboarding="active restricted deauthorized",
        active="restricted deauthorized",
        restricted="active deauthorized",
    ),
    OperationKind.WITHDRAWAL: _lifecycle(
        WithdrawalStatus,
        terminal="paid reversed canceled failed written_off",
        requested="reserved canceled failed",
        reserved="awaiting_funds transferred canceled failed",
        awaiting_funds="transferred canceled failed",
        transferred="paying_out reversing",
        paying_out="paid reversing written_off",
        # A bank may send back what it has had for days.
        paid="reversing",
        reversing="reversed canceled written_off",
    ),
    OperationKind.OFFER: _lifecycle(
        OfferStatus,
        terminal="completed declined expired canceled resolved failed",
        requested="held canceled failed",
        held="accepted declined expired canceled",
        accepted="delivered completed canceled contested",
        delivered="completed canceled contested",
        contested="resolved",
    ),
}
"""Every kind's."""

_OF_STATUSES = {lifecycle.statuses: (kind, lifecycle) for kind, lifecycle in LIFECYCLES.items()}


def status_of(kind: str, status: str) -> Status:
    """A status as the database keeps it."""
    return LIFECYCLES[OperationKind(kind)].statuses(status)


def is_terminal(status: Status) -> bool:
    """Whether the customer may rely on `status`."""
    return status in _OF_STATUSES[type(status)][1].terminal


def ends_like(status: Status) -> list[Status]:
    """The statuses in which an operation of the kind that `status` is of may end."""
    return sorted(_OF_STATUSES[type(status)][1].terminal)


def before(status: Status) -> list[Status]:
    """The statuses from which an operation may move to `status`."""
    return [earlier for earlier, later in _OF_STATUSES[type(status)][1].next.items() if status in later]


def too_late_to_cancel(status: Status) -> Failure:
    """Why an operation in `status`, past its point of no return, cannot be canceled."""
    what = _OF_STATUSES[type(status)][0].replace("_", " ")
    return Failure(code=NotCancelable.code, detail=f"The {what} is {status.replace('_', ' ')}.")

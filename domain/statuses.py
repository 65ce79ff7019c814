"""The statuses an operation goes through, and which may follow which.

A status only moves forward. Recording one that the operation has passed already changes nothing, so a saga that was
reset or run twice cannot take a customer's status back.
"""

from collections.abc import Mapping
from enum import StrEnum

from domain.errors import NotCancelable
from domain.operations import Failure


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


DEPOSIT_NEXT: Mapping[DepositStatus, frozenset[DepositStatus]] = {
    DepositStatus.REQUESTED: frozenset(set(DepositStatus) - {DepositStatus.REQUESTED}),
    DepositStatus.AWAITING_PAYMENT: frozenset(
        {
            DepositStatus.PROCESSING,
            DepositStatus.SUCCEEDED,
            DepositStatus.FAILED,
            DepositStatus.CANCELED,
            DepositStatus.EXPIRED,
        }
    ),
    # A payment that was processing may fall back to waiting for another card; the customer's status stays put until
    # it is known how that ends.
    DepositStatus.PROCESSING: frozenset(
        {DepositStatus.SUCCEEDED, DepositStatus.FAILED, DepositStatus.CANCELED, DepositStatus.EXPIRED}
    ),
    DepositStatus.SUCCEEDED: frozenset(),
    DepositStatus.FAILED: frozenset(),
    DepositStatus.CANCELED: frozenset(),
    DepositStatus.EXPIRED: frozenset(),
}
"""A deposit's allowed moves. Those without a successor are terminal."""


def is_terminal(status: DepositStatus) -> bool:
    """Whether the customer may rely on `status`."""
    return not DEPOSIT_NEXT[status]


def before(status: DepositStatus) -> list[DepositStatus]:
    """The statuses from which an operation may move to `status`."""
    return [earlier for earlier, later in DEPOSIT_NEXT.items() if status in later]


def too_late_to_cancel(status: DepositStatus) -> Failure:
    """Why an operation in a terminal `status` cannot be canceled."""
    return Failure(code=NotCancelable.code, detail=f"The deposit is {status}.")

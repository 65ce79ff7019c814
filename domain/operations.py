"""What an operation is, across the layers: its kind, what its saga is started with, and how its calls are named."""

from collections.abc import Mapping
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from domain.ids import OperationId
from domain.pacing import Pacing


class StripeHint(BaseModel):
    """What a webhook tells a saga: that something happened to a Stripe object. The saga asks Stripe what."""

    model_config = ConfigDict(frozen=True)

    event_id: str
    type: str


class OperationKind(StrEnum):
    """What is asked for. The value is also `PaysagaKind` in the Temporal UI."""

    DEPOSIT = "deposit"
    """Money from a customer's card into their wallet."""
    WALLET_TRANSFER = "wallet_transfer"
    """Money from one wallet to another, by the marketplace's own word."""
    CONNECTED_ACCOUNT = "connected_account"
    """A contractor's account at Stripe, from its making to its deauthorization."""
    WITHDRAWAL = "withdrawal"
    """Money from a contractor's wallet to their bank."""
    OFFER = "offer"
    """Money of a customer's in escrow, until a contractor has earned it."""

    @property
    def id_prefix(self) -> str:
        """What the operation's id begins with."""
        return _NAMES[self][0]

    @property
    def workflow(self) -> str:
        """The name of its saga's workflow."""
        return _NAMES[self][1]

    @property
    def follow_up_workflow(self) -> str | None:
        """The workflow that looks after what Stripe says once the saga has ended; None where nothing can come."""
        return _NAMES[self][2]


_NAMES: Mapping[OperationKind, tuple[str, str, str | None]] = {
    OperationKind.DEPOSIT: ("dep", "Deposit", "FollowUp"),
    OperationKind.WALLET_TRANSFER: ("wtr", "WalletTransfer", None),
    OperationKind.CONNECTED_ACCOUNT: ("acc", "ConnectedAccount", None),
    OperationKind.WITHDRAWAL: ("wd", "Withdrawal", "WithdrawalFollowUp"),
    OperationKind.OFFER: ("off", "Offer", None),
}


class SagaInput(BaseModel):
    """All that a saga's history says of its beginning: no personal data, and nothing that Postgres knows better."""

    model_config = ConfigDict(frozen=True)

    operation_id: OperationId
    amount: int | None = None
    """Minor units; for whoever looks at the saga. The steps read the operation's row. None where no money moves."""
    currency: str | None = None
    pacing: Pacing
    age: float = 0.0
    """Seconds since the operation was accepted, by the database's clock: a saga that is started late, or again, counts
    its deadlines from there."""
    troubled: bool = False
    """Whether the operation still says what an earlier run of its saga had waited for."""
    carried: tuple[StripeHint, ...] = ()
    """What a long-lived saga had heard, and not looked at, when it began a new run of itself."""


class OperationRef(BaseModel):
    """Which operation a step is for, and the Stripe events that are taken in with it.

    Activities read the rest from Postgres.
    """

    model_config = ConfigDict(frozen=True)

    operation_id: str
    event_ids: tuple[str, ...] = ()


class Failure(BaseModel):
    """Why an operation failed, or what it waits for: kept on its row and shown to whoever asks."""

    model_config = ConfigDict(frozen=True)

    code: str
    """The `code` of a `PaysagaError` class."""
    detail: str
    decline_code: str | None = None
    """The reason of the card's network, or of the payee's bank, as Stripe names it."""


def followup_id(operation_id: str) -> str:
    """The id of an operation's follow-up: one at a time."""
    return f"{operation_id}/followup"


def idempotency_key(subject: str, step: str, generation: int) -> str:
    """The key of one intent at Stripe.

    Derived from what is to happen and from nothing else: never from a run, an attempt or chance, so that whoever asks
    for the same thing again, asks with the same key. `subject` is the operation, or for what belongs to a user rather
    than to an operation (a Stripe customer) the user's reference.
    """
    return f"paysaga:{subject}:{step}:{generation}"

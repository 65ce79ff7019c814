"""What an operation is, across the layers: its kind, what its saga is started with, and how its calls are named."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from domain.ids import OperationId
from domain.pacing import Pacing


class OperationKind(StrEnum):
    """What is asked for. The value is also `PaysagaKind` in the Temporal UI and the kind of the saga's workflow."""

    DEPOSIT = "deposit"
    """Money from a customer's card into their wallet."""

    @property
    def id_prefix(self) -> str:
        """What the operation's id begins with."""
        return {OperationKind.DEPOSIT: "dep"}[self]

    @property
    def workflow(self) -> str:
        """The name of its saga's workflow."""
        return {OperationKind.DEPOSIT: "Deposit"}[self]


FOLLOW_UP_WORKFLOW = "FollowUp"
"""The workflow that looks after what Stripe says of an operation whose saga has ended."""


class SagaInput(BaseModel):
    """All that a saga's history says of its beginning: no personal data, and nothing that Postgres knows better."""

    model_config = ConfigDict(frozen=True)

    operation_id: OperationId
    amount: int
    """Minor units; for whoever looks at the saga. The steps read the operation's row."""
    currency: str
    pacing: Pacing


class OperationRef(BaseModel):
    """Which operation a step is for, and the Stripe events that are taken in with it.

    Activities read the rest from Postgres.
    """

    model_config = ConfigDict(frozen=True)

    operation_id: str
    event_ids: tuple[str, ...] = ()


class StripeHint(BaseModel):
    """What a webhook tells a saga: that something happened to a Stripe object. The saga asks Stripe what."""

    model_config = ConfigDict(frozen=True)

    event_id: str
    type: str


class Failure(BaseModel):
    """Why an operation failed, or what it waits for: kept on its row and shown to whoever asks."""

    model_config = ConfigDict(frozen=True)

    code: str
    """The `code` of a `PaysagaError` class."""
    detail: str
    decline_code: str | None = None
    """The card network's reason, as Stripe names it."""


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

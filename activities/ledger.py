"""What sagas write to Postgres: ledger transactions, statuses, troubles. One activity is one transaction."""

from typing import Any

from pydantic import BaseModel, ConfigDict
from temporalio import activity

from activities import outcomes
from db import ledger, operations, outbox, stripe_calls
from db.engine import Database
from domain import postings
from domain.money import Money
from domain.operations import Failure, OperationKind, OperationRef
from domain.payments import StripeFee
from domain.statuses import DepositStatus
from domain.steps import Step


class StatusChange(BaseModel):
    """An operation's new status. `close`: the saga ends with it."""

    model_config = ConfigDict(frozen=True)

    operation_id: str
    status: DepositStatus
    details: dict[str, str] = {}
    failure: Failure | None = None
    close: bool = False


class FeeBooking(BaseModel):
    """The fee of a deposit's charge."""

    model_config = ConfigDict(frozen=True)

    operation_id: str
    fee: StripeFee


class Trouble(BaseModel):
    """Why a step is not through yet, and how often it was put off."""

    model_config = ConfigDict(frozen=True)

    operation_id: str
    failure: Failure
    needs_attention: bool
    retries: int


class OperatorAction(BaseModel):
    """What an operator did. `action_id` is the update's id, so that it is kept once."""

    model_config = ConfigDict(frozen=True)

    operation_id: str
    action_id: str
    verb: str
    actor: str
    reason: str


class LedgerActivities:
    """Raises what `activities.outcomes` lists."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn
    async def record_status(self, change: StatusChange) -> None:
        """Move the operation to a status and tell of it, once; recording it again changes nothing."""
        async with self._database.transaction() as connection:
            operation = await operations.require(connection, change.operation_id)
            news = await operations.advance(
                connection,
                change.operation_id,
                change.status,
                details=dict(change.details),
                failure=change.failure,
                close=change.close,
            )
            if news:
                told = {"failure": change.failure.code} if change.failure is not None else {}
                await outbox.publish(connection, change.operation_id, *_event(operation, change.status, told))

    @activity.defn
    async def credit_deposit(self, ref: OperationRef) -> None:
        """The paid amount into the wallet, with the status that says so."""
        async with self._database.transaction() as connection:
            operation = await operations.require(connection, ref.operation_id)
            money = Money(operation["amount"], operation["currency"])
            await ledger.post(
                connection, ref.operation_id, Step.CREDIT, postings.deposit_credit(operation["wallet_id"], money)
            )
            paid = await stripe_calls.latest(connection, ref.operation_id, Step.CREATE_PAYMENT_INTENT)
            details = {"payment_intent": paid.stripe_id} if paid is not None else {}
            news = await operations.advance(connection, ref.operation_id, DepositStatus.SUCCEEDED, details=details)
            if news:
                await outbox.publish(connection, ref.operation_id, *_event(operation, DepositStatus.SUCCEEDED))
            elif operation["status"] != DepositStatus.SUCCEEDED:
                # We told the customer that nothing would be taken. Crediting silently would hide that Stripe took it.
                raise outcomes.parked(
                    Failure(code="paid-after-all", detail=f"Stripe was paid, but the deposit is {operation['status']}.")
                )

    @activity.defn
    async def book_stripe_fee(self, booking: FeeBooking) -> None:
        """What Stripe kept, and which of its balance transactions explains both entries; then the deposit is closed."""
        async with self._database.transaction() as connection:
            credit = await ledger.find(connection, booking.operation_id, Step.CREDIT)
            assert credit is not None, "the fee is booked after the credit"
            explained = [await ledger.stripe_entry(connection, credit.id)]
            if booking.fee.fee:
                posted = await ledger.post(
                    connection,
                    booking.operation_id,
                    Step.STRIPE_FEE,
                    postings.stripe_fee(Money(booking.fee.fee, booking.fee.currency)),
                )
                explained.append(await ledger.stripe_entry(connection, posted.id))
            await ledger.link(connection, explained, booking.fee.balance_transaction_id)
            await operations.advance(
                connection,
                booking.operation_id,
                DepositStatus.SUCCEEDED,
                details={"balance_transaction": booking.fee.balance_transaction_id},
                close=True,
            )

    @activity.defn
    async def note_trouble(self, trouble: Trouble) -> None:
        """Show on the operation what its saga waits for."""
        async with self._database.transaction() as connection:
            await operations.note_trouble(
                connection,
                trouble.operation_id,
                trouble.failure,
                needs_attention=trouble.needs_attention,
                retries=trouble.retries,
            )

    @activity.defn
    async def clear_trouble(self, ref: OperationRef) -> None:
        """The step went through after all."""
        async with self._database.transaction() as connection:
            await operations.clear_trouble(connection, ref.operation_id)

    @activity.defn
    async def record_operator_action(self, action: OperatorAction) -> None:
        """Keep who did what to the operation, why, and what they saw."""
        async with self._database.transaction() as connection:
            await operations.record_operator_action(
                connection,
                action.operation_id,
                action.action_id,
                verb=action.verb,
                actor=action.actor,
                reason=action.reason,
            )


def _event(operation: Any, status: DepositStatus, more: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
    kind = OperationKind(operation["kind"])
    data = {name: operation[name] for name in ("wallet_id", "amount", "currency")}
    return f"{kind}.{status}", data | (more or {})

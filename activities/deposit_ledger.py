"""What a deposit writes to the ledger. One activity is one transaction."""

from pydantic import BaseModel, ConfigDict
from temporalio import activity

from activities import outcomes
from activities.records import advance_and_tell
from db import ledger, operations, stripe_calls
from db.engine import Database
from domain import postings
from domain.money import Money
from domain.operations import Failure, OperationRef
from domain.payments import StripeFee
from domain.statuses import DepositStatus
from domain.steps import Step


class FeeBooking(BaseModel):
    """The fee of a deposit's charge."""

    model_config = ConfigDict(frozen=True)

    operation_id: str
    fee: StripeFee


class DepositLedger:
    """Raises what `activities.outcomes` lists."""

    def __init__(self, database: Database) -> None:
        self._database = database

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
            news = await advance_and_tell(connection, operation, DepositStatus.SUCCEEDED, details=details)
            if news:
                return
            # Asked again, for another attempt may have credited it while this one waited for its posting.
            stands = (await operations.require(connection, ref.operation_id))["status"]
            if stands != DepositStatus.SUCCEEDED:
                # We told the customer that nothing would be taken. Crediting silently would hide that Stripe took it.
                raise outcomes.parked(
                    Failure(code="paid-after-all", detail=f"Stripe was paid, but the deposit is {stands}.")
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

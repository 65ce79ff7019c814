"""What a withdrawal writes to the ledger. One activity is one transaction, and posts at most one ledger transaction
(and what that repays)."""

from typing import NamedTuple

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict
from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio import activity

from activities import outcomes
from activities.payouts import Part
from activities.records import StatusChange, advance_and_tell
from db import connected_accounts, ledger, operations, stripe_calls, users
from db.engine import Database
from db.stripe_calls import StillOpen
from domain import postings
from domain.errors import Compensated, WrittenOff
from domain.money import Money
from domain.operations import Failure, OperationRef
from domain.payouts import Payout, Reversal, Transfer
from domain.statuses import WithdrawalStatus
from domain.steps import Step
from domain.withdrawals import refusals


class PayoutBooking(BaseModel):
    """A withdrawal's payout, as Stripe has told it."""

    model_config = ConfigDict(frozen=True)

    operation_id: str
    payout: Payout


class _Way(NamedTuple):
    """Which way a withdrawal goes."""

    operation: sa.RowMapping
    money: Money
    wallet_id: str
    transfer: Transfer


class WithdrawalLedger:
    """`earnings_hold`: seconds for which what offers released cannot be withdrawn.

    Raises what `activities.outcomes` lists.
    """

    def __init__(self, database: Database, *, earnings_hold: float) -> None:
        self._database = database
        self._earnings_hold = earnings_hold

    @activity.defn
    async def reserve(self, ref: OperationRef) -> None:
        """Take the amount out of what the wallet's owner may spend, if nothing speaks against it: else refused."""
        async with self._database.transaction() as connection:
            operation = await _locked(connection, ref.operation_id)
            wallet_id = operation["wallet_id"]
            money = Money(operation["amount"], operation["currency"])
            if await ledger.find(connection, ref.operation_id, Step.RESERVE) is None:
                standing = await connected_accounts.standing(
                    connection, wallet_id, earnings_hold=self._earnings_hold, lock=True
                )
                if operation["status"] != WithdrawalStatus.REQUESTED:
                    raise Compensated(f"{ref.operation_id} has ended as {operation['status']} already.")
                for refusal in refusals(standing, money):
                    raise refusal
            await ledger.post(connection, ref.operation_id, Step.RESERVE, postings.reserve(wallet_id, money))
            await advance_and_tell(connection, operation, WithdrawalStatus.RESERVED)

    @activity.defn
    async def book_transfer(self, ref: OperationRef) -> StatusChange | None:
        """It is on the connected account. Returns how the withdrawal was to end, if it was given up after this before.

        A saga that is run again then gives it up too: it may not know any more that somebody had called it off.
        """
        async with self._database.transaction() as connection:
            way = await _way(connection, ref.operation_id)
            posted = await ledger.post(
                connection, ref.operation_id, Step.TRANSFER, postings.transfer(way.transfer.stripe_account, way.money)
            )
            arrived, left = posted.entry_ids
            await ledger.link(connection, [left], way.transfer.balance_transaction)
            await ledger.link(
                connection, [arrived], way.transfer.arrival_transaction, stripe_account=way.transfer.stripe_account
            )
            details = {"transfer": way.transfer.id, "stripe_account": way.transfer.stripe_account}
            await advance_and_tell(connection, way.operation, WithdrawalStatus.TRANSFERRED, details=details)
        ends_as = way.operation["details"].get("ends_as")
        if ends_as is None:
            return None
        return StatusChange(operation_id=ref.operation_id, status=ends_as, failure=way.operation["failure"])

    @activity.defn
    async def book_payout(self, booking: PayoutBooking) -> None:
        """It has left the connected account for the bank."""
        payout = booking.payout
        async with self._database.transaction() as connection:
            way = await _way(connection, booking.operation_id)
            posted = await ledger.post(
                connection, booking.operation_id, Step.PAYOUT, postings.payout(way.transfer.stripe_account, way.money)
            )
            left = posted.entry_ids[1]
            await ledger.link(
                connection, [left], payout.balance_transaction, stripe_account=way.transfer.stripe_account
            )
            details = {"payout": payout.id, "estimated_arrival": payout.arrival.isoformat()}
            await advance_and_tell(connection, way.operation, WithdrawalStatus.PAYING_OUT, details=details)

    @activity.defn
    async def book_paid(self, ref: OperationRef) -> float:
        """The bank has it. Returns the seconds since that was first booked."""
        async with self._database.transaction() as connection:
            way = await _way(connection, ref.operation_id)
            posted = await ledger.post(
                connection,
                ref.operation_id,
                Step.PAID,
                postings.paid(way.wallet_id, way.transfer.stripe_account, way.money),
            )
            await advance_and_tell(connection, way.operation, WithdrawalStatus.PAID)
            return await ledger.age(connection, posted.id)

    @activity.defn
    async def unbook_paid(self, ref: OperationRef) -> None:
        """The bank did not have it after all: the mirror of `book_paid`, if that was posted. Raises `WrittenOff`."""
        async with self._database.transaction() as connection:
            way = await _way(connection, ref.operation_id)
            if await ledger.find(connection, ref.operation_id, Step.WRITE_OFF) is not None:
                raise WrittenOff("It came back after it had been written off: it is its owner's, at Stripe.")
            booked = await ledger.find(connection, ref.operation_id, Step.PAID)
            if booked is not None:
                mirror = postings.paid(way.wallet_id, way.transfer.stripe_account, way.money).mirrored()
                await ledger.post(connection, ref.operation_id, Step.PAID_MIRROR, mirror, reverses=booked.id)
            await advance_and_tell(connection, way.operation, WithdrawalStatus.REVERSING)

    @activity.defn
    async def unbook_payout(self, booking: PayoutBooking) -> None:
        """It is back on the connected account: the mirror of `book_payout`."""
        returned = booking.payout.return_transaction
        assert returned is not None, "a payout that came back says with which balance transaction"
        async with self._database.transaction() as connection:
            way = await _way(connection, booking.operation_id)
            booked = await ledger.find(connection, booking.operation_id, Step.PAYOUT)
            assert booked is not None, "what came back had left"
            account = way.transfer.stripe_account
            mirror = postings.payout(account, way.money).mirrored()
            posted = await ledger.post(connection, booking.operation_id, Step.PAYOUT_MIRROR, mirror, reverses=booked.id)
            await ledger.link(connection, [posted.entry_ids[1]], returned, stripe_account=account)
            await advance_and_tell(connection, way.operation, WithdrawalStatus.REVERSING)

    @activity.defn
    async def book_reversal(self, part: Part) -> None:
        """A part is back on our balance at Stripe."""
        async with self._database.transaction() as connection:
            way = await _way(connection, part.operation_id)
            reversal = await _reversal(connection, part)
            account = way.transfer.stripe_account
            posted = await ledger.post(
                connection,
                part.operation_id,
                Step.REVERSAL.part(part.number),
                postings.transfer(account, Money(reversal.amount, way.money.currency)).mirrored(),
            )
            left, arrived = posted.entry_ids
            await ledger.link(connection, [arrived], reversal.balance_transaction)
            await ledger.link(connection, [left], reversal.departure_transaction, stripe_account=account)

    @activity.defn
    async def restore(self, part: Part) -> None:
        """What a part of the transfer brought back, and no more, is the wallet owner's to spend again."""
        async with self._database.transaction() as connection:
            operation = await operations.require(connection, part.operation_id)
            reversal = await _reversal(connection, part)
            money = Money(reversal.amount, operation["currency"])
            mirror = postings.reserve(operation["wallet_id"], money).mirrored()
            await ledger.post(connection, part.operation_id, Step.RESTORE.part(part.number), mirror)

    @activity.defn
    async def restore_untransferred(self, ending: StatusChange) -> None:
        """End a withdrawal that was never transferred, and restore what was reserved; nothing if it was transferred.

        From then on it never is: the transfer's step is closed, and nothing more is reserved, by the same transaction.
        """
        async with self._database.transaction() as connection:
            operation = await _locked(connection, ending.operation_id)
            reserved = await ledger.find(connection, ending.operation_id, Step.RESERVE)
            if reserved is not None:
                try:
                    never = await stripe_calls.close(
                        connection, ending.operation_id, Step.CREATE_TRANSFER, write="transfers.create"
                    )
                except StillOpen as error:
                    raise outcomes.in_doubt(str(error)) from error
                if not never:
                    return
                money = Money(operation["amount"], operation["currency"])
                mirror = postings.reserve(operation["wallet_id"], money).mirrored()
                await ledger.post(connection, ending.operation_id, Step.RESTORE, mirror, reverses=reserved.id)
            await advance_and_tell(
                connection, operation, WithdrawalStatus(ending.status), failure=ending.failure, close=True
            )


async def _locked(connection: AsyncConnection, operation_id: str) -> sa.RowMapping:
    """A withdrawal, locked with its wallet before anything is looked at.

    An attempt that had to wait may find that another has done the step, or that the withdrawal has ended.
    """
    asked = await operations.require(connection, operation_id)
    await users.locked_wallet(connection, asked["wallet_id"])
    return await operations.locked(connection, operation_id)


async def _way(connection: AsyncConnection, operation_id: str) -> _Way:
    operation = await operations.require(connection, operation_id)
    transferred = await stripe_calls.done(connection, operation_id, Step.CREATE_TRANSFER)
    assert transferred is not None, "only what was transferred is booked"
    money, transfer = Money(operation["amount"], operation["currency"]), Transfer.model_validate(transferred.result)
    if transfer.amount != money.amount:
        raise outcomes.parked(
            Failure(code="amount-mismatch", detail=f"Stripe transferred {transfer.amount} minor units, not {money}.")
        )
    return _Way(operation, money, operation["wallet_id"], transfer)


async def _reversal(connection: AsyncConnection, part: Part) -> Reversal:
    call = await stripe_calls.done(connection, part.operation_id, Step.CREATE_REVERSAL.part(part.number))
    assert call is not None, "only what Stripe has reversed is booked"
    return Reversal.model_validate(call.result)

"""What a withdrawal does at Stripe: one activity a call."""

import stripe
from pydantic import BaseModel, ConfigDict
from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio import activity

from activities import outcomes
from activities.stripe_caller import StripeCaller
from activities.stripe_reads import StripeReads, is_cut_off
from db import connected_accounts, inbox, ledger, operations, stripe_calls
from db.engine import Database
from db.inbox import InboxState
from db.stripe_calls import Intent, Outcome
from domain.errors import ActionRequired, NoConnectedAccount, ReversalShort, WrittenOff
from domain.operations import Failure, OperationRef
from domain.payouts import Payout, Reversal, Transfer
from domain.steps import Step


class Part(BaseModel):
    """Which part of what is taken back, from 1."""

    model_config = ConfigDict(frozen=True)

    operation_id: str
    number: int


class PayoutActivities:
    """Raises what `activities.outcomes` lists."""

    def __init__(self, database: Database, stripe: StripeCaller, reads: StripeReads) -> None:
        self._database = database
        self._stripe = stripe
        self._reads = reads

    @activity.defn
    async def create_transfer(self, ref: OperationRef) -> Transfer:
        """From our balance to the contractor's connected account.

        Raises refused, by the code of `AwaitingFunds` while our balance is short: asking again is then a new intent.
        """
        async with self._database.transaction() as connection:
            operation = await operations.require(connection, ref.operation_id)
            account = await connected_accounts.of_user(connection, operation["user_id"])
        if account is None:
            raise NoConnectedAccount("There is no account at Stripe to transfer to.")
        call = await self._stripe.call(
            Intent(
                subject=ref.operation_id,
                step=Step.CREATE_TRANSFER,
                operation_id=ref.operation_id,
                write="transfers.create",
                params={
                    "amount": operation["amount"],
                    "currency": operation["currency"],
                    "destination": account["id"],
                    "transfer_group": ref.operation_id,
                },
                out_of_wallet=operation["wallet_id"],
                again_after_refusal=True,
            )
        )
        if call.refusal is not None:
            raise outcomes.refused(await self._with_what_is_missing(call.refusal, account["id"]))
        return Transfer.model_validate(call.result)

    @activity.defn
    async def create_payout(self, ref: OperationRef) -> Payout:
        """From the connected account to its bank."""
        async with self._database.transaction() as connection:
            operation = await operations.require(connection, ref.operation_id)
            transferred = await stripe_calls.done(connection, ref.operation_id, Step.CREATE_TRANSFER)
        assert transferred is not None, "what was transferred is paid out"
        transfer = Transfer.model_validate(transferred.result)
        call = await self._stripe.call(
            Intent(
                subject=ref.operation_id,
                step=Step.CREATE_PAYOUT,
                operation_id=ref.operation_id,
                write="payouts.create",
                stripe_account=transfer.stripe_account,
                params={"amount": transfer.amount, "currency": operation["currency"]},
            )
        )
        if call.refusal is not None:
            raise outcomes.refused(await self._with_what_is_missing(call.refusal, transfer.stripe_account))
        return Payout.model_validate(call.result)

    @activity.defn
    async def observe_payout(self, ref: OperationRef) -> Payout:
        """The payout as Stripe has it now; the events that told of it are recorded as taken in.

        Raises refused if its account is cut off: then nobody can say. By the code of `WrittenOff`, once an operator has
        given it up.
        """
        async with self._database.transaction() as connection:
            call = await stripe_calls.done(connection, ref.operation_id, Step.CREATE_PAYOUT)
            given_up = await _given_up(connection, ref.operation_id)
        assert call is not None, "a payout is made before it is looked at"
        assert call.stripe_id is not None
        try:
            payout = await self._reads.payout(call.stripe_id, stripe_account=call.stripe_account)
        except stripe.PermissionError as error:
            if not is_cut_off(error):
                raise
            cut_off = Failure(
                code=ActionRequired.code, detail="The account is cut off: Stripe does not say how its payout is."
            )
            raise outcomes.refused(given_up or cut_off) from error
        async with self._database.transaction() as connection:
            await inbox.settle(connection, list(ref.event_ids), InboxState.PROCESSED)
        return payout

    @activity.defn
    async def create_reversal(self, part: Part) -> Reversal | None:
        """Take a part of the transfer back: all that is left of it, or if that was refused what the account holds.

        None if nothing is left, or nothing was transferred. Raises refused if Stripe gives nothing back now: asking
        again is a new intent; by the code of `WrittenOff`, if the rest was given up.
        """
        step = Step.CREATE_REVERSAL.part(part.number)
        async with self._database.transaction() as connection:
            operation = await operations.require(connection, part.operation_id)
            transferred = await stripe_calls.done(connection, part.operation_id, Step.CREATE_TRANSFER)
            earlier = [
                await stripe_calls.done(connection, part.operation_id, Step.CREATE_REVERSAL.part(number))
                for number in range(1, part.number)
            ]
            newest = await stripe_calls.latest(connection, part.operation_id, step)
            given_up = await _given_up(connection, part.operation_id)
        if transferred is None:
            return None
        if given_up is not None:
            raise outcomes.refused(given_up)
        transfer = Transfer.model_validate(transferred.result)
        back = [Reversal.model_validate(call.result).amount for call in earlier if call is not None]
        amount = transfer.amount - sum(back)
        if not amount:
            return None
        if newest is not None and newest.outcome is Outcome.REFUSED:
            held = await self._held(operation["currency"], transfer.stripe_account)
            amount = min(amount, held)
            if amount <= 0:
                raise outcomes.refused(
                    Failure(code=ReversalShort.code, detail="The connected account holds nothing to take back.")
                )
        call = await self._stripe.call(
            Intent(
                subject=part.operation_id,
                step=step,
                operation_id=part.operation_id,
                write="transfers.create_reversal",
                params={"id": transfer.id, "amount": amount},
                again_after_refusal=True,
                closes=((Step.CREATE_PAYOUT, "payouts.create"),),
            )
        )
        if call.refusal is not None:
            raise outcomes.refused(Failure(code=ReversalShort.code, detail=call.refusal.detail))
        return Reversal.model_validate(call.result)

    async def _held(self, currency: str, stripe_account: str) -> int:
        try:
            return await self._reads.available(currency, stripe_account=stripe_account)
        except stripe.PermissionError as error:
            if not is_cut_off(error):
                raise
            return 0  # Whatever it holds, nothing of it can be had.

    async def _with_what_is_missing(self, refusal: Failure, stripe_account: str) -> Failure:
        """A refusal that the account's owner can do something about says what."""
        if refusal.code != ActionRequired.code:
            return refusal
        try:
            account = await self._reads.connected_account(stripe_account)
        except stripe.PermissionError:
            return refusal  # It is cut off, as Stripe's words say already.
        due = f" Stripe asks for: {', '.join(account.due)}." if account.due else ""
        return Failure(code=refusal.code, detail=f"{refusal.detail}{due}")


async def _given_up(connection: AsyncConnection, operation_id: str) -> Failure | None:
    """Whether an operator has written the rest off."""
    posted = await ledger.find(connection, operation_id, Step.WRITE_OFF)
    return None if posted is None else Failure(code=WrittenOff.code, detail="The rest of it was written off.")

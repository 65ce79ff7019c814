"""Contractors' accounts at Stripe."""

import stripe
from temporalio import activity

from activities import outcomes
from activities.stripe_caller import StripeCaller
from activities.stripe_reads import StripeReads, is_cut_off
from db import connected_accounts, inbox, operations, stripe_calls, users
from db.engine import Database
from db.inbox import InboxState
from db.stripe_calls import Intent
from domain.connected_accounts import ConnectedAccount
from domain.operations import OperationRef
from domain.steps import Step


class ConnectedAccountActivities:
    """Raises what `activities.outcomes` lists."""

    def __init__(self, database: Database, stripe: StripeCaller, reads: StripeReads) -> None:
        self._database = database
        self._stripe = stripe
        self._reads = reads

    @activity.defn
    async def create_account(self, ref: OperationRef) -> ConnectedAccount:
        """The user's Express account, which pays out only when we say so. Raises refused if Stripe makes none."""
        async with self._database.transaction() as connection:
            operation = await operations.require(connection, ref.operation_id)
            user = await users.ensure_user(connection, operation["user_id"])
        call = await self._stripe.call(
            Intent(
                subject=ref.operation_id,
                step=Step.CREATE_ACCOUNT,
                operation_id=ref.operation_id,
                write="accounts.create",
                params={
                    "type": "express",
                    "country": user["country"],
                    "email": user["email"],
                    "capabilities": {"transfers": {"requested": True}},
                    "settings": {"payouts": {"schedule": {"interval": "manual"}}},
                },
            )
        )
        if call.refusal is not None:
            raise outcomes.refused(call.refusal)
        return ConnectedAccount.model_validate(call.result)

    @activity.defn
    async def observe_account(self, ref: OperationRef) -> ConnectedAccount:
        """The account as Stripe has it now, kept for withdrawals to look at; the events that told of it are settled."""
        async with self._database.transaction() as connection:
            created = await stripe_calls.done(connection, ref.operation_id, Step.CREATE_ACCOUNT)
        assert created is not None, "the account is made before it is looked at"
        account = await self._as_it_is(ConnectedAccount.model_validate(created.result))
        async with self._database.transaction() as connection:
            operation = await operations.require(connection, ref.operation_id)
            await connected_accounts.record(connection, ref.operation_id, operation["user_id"], account)
            await inbox.settle(connection, list(ref.event_ids), InboxState.PROCESSED)
        return account

    async def _as_it_is(self, created: ConnectedAccount) -> ConnectedAccount:
        try:
            return await self._reads.connected_account(created.id)
        except stripe.PermissionError as error:
            if not is_cut_off(error):
                raise
            return ConnectedAccount(id=created.id, details_submitted=True, deauthorized=True)

"""Card payments at Stripe: one activity a call."""

from temporalio import activity

from activities import outcomes
from activities.stripe_caller import StripeCaller
from activities.stripe_reads import StripeReads
from db import inbox, operations, stripe_calls, users
from db.engine import Database
from db.inbox import InboxState
from db.stripe_calls import Intent, Outcome
from domain.money import Money
from domain.operations import OperationRef
from domain.payments import Payment
from domain.steps import Step


class PaymentActivities:
    """Raises what `activities.outcomes` lists."""

    def __init__(self, database: Database, stripe: StripeCaller, reads: StripeReads) -> None:
        self._database = database
        self._stripe = stripe
        self._reads = reads

    @activity.defn
    async def create_customer(self, ref: OperationRef) -> str:
        """The id of the user's customer at Stripe, made on first use and once, whichever deposit asks."""
        async with self._database.transaction() as connection:
            operation = await operations.require(connection, ref.operation_id)
            user = await users.ensure_user(connection, operation["user_id"])
        call = await self._stripe.call(
            Intent(
                subject=user["reference"],
                step=Step.CREATE_CUSTOMER,
                operation_id=ref.operation_id,
                write="customers.create",
                params={name: user[name] for name in ("email", "name") if user[name]},
                # What Stripe refuses in a profile (an e-mail address) the user can correct; the next deposit then asks.
                again_after_refusal=True,
            )
        )
        if call.refusal is not None:
            raise outcomes.refused(call.refusal)
        assert call.stripe_id is not None
        return call.stripe_id

    @activity.defn
    async def create_payment_intent(self, ref: OperationRef) -> Payment:
        """The PaymentIntent, confirmed at once if the request named a payment method.

        A card that is declined at that leaves a PaymentIntent behind: it comes back with its `decline`. Raises refused
        if Stripe made none.
        """
        async with self._database.transaction() as connection:
            operation = await operations.require(connection, ref.operation_id)
            customer = await stripe_calls.done(connection, operation["reference"], Step.CREATE_CUSTOMER)
        assert customer is not None, "the customer is made before the payment"
        method = operation["request"].get("payment_method")
        call = await self._stripe.call(
            Intent(
                subject=ref.operation_id,
                step=Step.CREATE_PAYMENT_INTENT,
                operation_id=ref.operation_id,
                write="payment_intents.create",
                params={
                    "amount": operation["amount"],
                    "currency": operation["currency"],
                    "customer": customer.stripe_id,
                    # Cards only: methods that settle days later need a saga that waits days.
                    "allowed_payment_method_types": ["card"],
                    **({"payment_method": method, "confirm": True} if method else {}),
                },
            )
        )
        money = Money(operation["amount"], operation["currency"])
        if call.refusal is not None:
            if call.stripe_id is None:
                raise outcomes.refused(call.refusal)
            return Payment(
                id=call.stripe_id,
                status="requires_payment_method",
                amount_received=0,
                currency=money.currency,
                decline=call.refusal,
            )
        return _checked(Payment.model_validate(call.result), money)

    @activity.defn
    async def cancel_payment_intent(self, ref: OperationRef) -> Payment:
        """Make sure the PaymentIntent is never paid, and return it as it then is.

        If the payment was faster, Stripe refuses and the answer says `succeeded`. While it is processing Stripe refuses
        too; asking again later is a new intent.
        """
        call = await self._stripe.call(
            Intent(
                subject=ref.operation_id,
                step=Step.CANCEL_PAYMENT_INTENT,
                operation_id=ref.operation_id,
                write="payment_intents.cancel",
                params={"id": await self._payment_intent_id(ref)},
                again_after_refusal=True,
            )
        )
        if call.outcome is not Outcome.DONE:
            return await self.observe_payment(ref)
        return Payment.model_validate(call.result)

    @activity.defn
    async def observe_payment(self, ref: OperationRef) -> Payment:
        """The payment as Stripe has it now; the events that told of it are recorded as taken in.

        Parks the saga if Stripe received other money than was asked for.
        """
        payment = await self._reads.payment(await self._payment_intent_id(ref))
        async with self._database.transaction() as connection:
            operation = await operations.require(connection, ref.operation_id)
            if payment.charge_id is not None:
                await stripe_calls.claim_objects(connection, ref.operation_id, [payment.charge_id])
            await inbox.settle(connection, list(ref.event_ids), InboxState.PROCESSED)
        return _checked(payment, Money(operation["amount"], operation["currency"]))

    async def _payment_intent_id(self, ref: OperationRef) -> str:
        async with self._database.transaction() as connection:
            call = await stripe_calls.latest(connection, ref.operation_id, Step.CREATE_PAYMENT_INTENT)
        if call is None or call.stripe_id is None:
            raise LookupError(f"{ref.operation_id} has no PaymentIntent yet.")
        return call.stripe_id


def _checked(payment: Payment, expected: Money) -> Payment:
    contradiction = payment.contradicts(expected)
    if contradiction is not None:
        raise outcomes.parked(contradiction)
    return payment

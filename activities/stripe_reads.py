"""What we ask Stripe without changing anything."""

from stripe import StripeClient

from domain.payments import Payment


class StripeReads:
    """Reads, from the one client. They raise `stripe.StripeError`."""

    def __init__(self, client: StripeClient) -> None:
        self._client = client

    async def payment(self, payment_intent_id: str) -> Payment:
        """A PaymentIntent with its charge and, once there is one, the charge's balance transaction."""
        intent = await self._client.v1.payment_intents.retrieve_async(
            payment_intent_id, {"expand": ["latest_charge.balance_transaction"]}
        )
        return Payment.from_stripe(intent.to_dict())

    async def client_secret(self, payment_intent_id: str) -> str | None:
        """What the customer's browser needs to pay. Never stored: whoever may see it asks each time."""
        return (await self._client.v1.payment_intents.retrieve_async(payment_intent_id)).client_secret

"""The world outside Paysaga, played through the control API of the Stripe sandbox."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from cli.demo.errors import told_by

Json = dict[str, Any]


class Outside:
    """Cardholders, their bank, and the network between Stripe and us. Every method raises `StoryBroken`."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        """`http` speaks to the sandbox with the platform's key."""
        self._http = http

    async def confirm_at_the_bank(self, payment_intent: str) -> Json:
        """The cardholder passes 3-D Secure; the PaymentIntent."""
        return await self._control("POST", f"payment_intents/{payment_intent}/complete_3ds", {"outcome": "succeed"})

    async def pay_in_the_browser(self, payment_intent: str, payment_method: str) -> Json:
        """The cardholder's browser confirms the PaymentIntent with a card; the PaymentIntent."""
        return await self._control(
            "POST", f"payment_intents/{payment_intent}/confirm", {"payment_method": payment_method}
        )

    async def payment_intent(self, id: str) -> Json:
        """A PaymentIntent as Stripe itself shows it."""
        return await self._ask("GET", f"/v1/payment_intents/{id}")

    @asynccontextmanager
    async def losing_every_webhook(self) -> AsyncIterator["Lost"]:
        """While this lasts, events of Stripe's are recorded there and reach nobody."""
        fault = await self._control("POST", "event_faults", {"type": "*", "kind": "drop", "times": None})
        lost = Lost()
        try:
            yield lost
            faults = (await self._control("GET", "event_faults"))["faults"]
            lost.events = sum(int(each["fired"]) for each in faults if each["id"] == fault["id"])
        finally:
            await self._control("DELETE", f"event_faults/{fault['id']}")

    async def _control(self, method: str, path: str, body: Json | None = None) -> Json:
        return await self._ask(method, f"/_sandbox/{path}", body)

    async def _ask(self, method: str, path: str, body: Json | None = None) -> Json:
        with told_by("The Stripe sandbox", self._http):
            answer = await self._http.request(method, path, json=body)
            answer.raise_for_status()
            found: Json = answer.json()
            return found


class Lost:
    """How many events were lost; known when the losing has ended."""

    events = 0

"""The world outside Paysaga, played through the control API of the Stripe sandbox."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin

import httpx

from cli.demo.errors import told_by, unexpected

Json = dict[str, Any]

SANDBOX = "The Stripe sandbox"


class Outside:
    """Cardholders and contractors, their banks, and the network between Stripe and us.

    Every method raises `StoryBroken`.
    """

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

    async def fill_in_stripes_form(self, url: str, account_number: str) -> str:
        """A contractor opens an onboarding link in a browser and completes the form; where it leads them back to.

        `account_number` is of a test bank, which decides what becomes of payouts to it.
        """
        # A browser of its own: the contractor has no key of the platform's.
        async with httpx.AsyncClient(base_url=self._http.base_url, timeout=30, trust_env=False) as browser:
            with told_by(SANDBOX, browser):
                page = await browser.get(url)
                form = _Form()
                form.feed(page.text)
                if form.action is None:
                    raise unexpected(SANDBOX, page)
                filled_in = {"outcome": "complete", "account_number": account_number}
                answer = await browser.post(urljoin(url, form.action), data=filled_in)
                if not answer.has_redirect_location:
                    raise unexpected(SANDBOX, answer)
        return answer.headers["location"]

    async def send_back(self, payout: str, reason: str) -> Json:
        """The bank sends back a payout that it had taken, with Stripe's code for the reason; the payout."""
        return await self._control("POST", f"payouts/{payout}/fail", {"failure_code": reason})

    async def available(self) -> int:
        """What the platform could transfer now, as Stripe itself shows it, in US cents."""
        return _cents(await self._ask("GET", "/v1/balance"), "available")

    async def held_by(self, stripe_account: str) -> int:
        """What is on a connected account, as Stripe itself shows it, in US cents."""
        balance = await self._ask("GET", "/v1/balance", headers={"Stripe-Account": stripe_account})
        return _cents(balance, "available") + _cents(balance, "pending")

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

    async def _ask(
        self, method: str, path: str, body: Json | None = None, *, headers: dict[str, str] | None = None
    ) -> Json:
        with told_by(SANDBOX, self._http):
            answer = await self._http.request(method, path, json=body, headers=headers)
            answer.raise_for_status()
            found: Json = answer.json()
            return found


class Lost:
    """How many events were lost; known when the losing has ended."""

    events = 0


class _Form(HTMLParser):
    """Where a page's form is sent to; None while none was seen."""

    action: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "form":
            self.action = dict(attrs).get("action")


def _cents(balance: Json, part: str) -> int:
    return sum(int(each["amount"]) for each in balance[part] if each["currency"] == "usd")

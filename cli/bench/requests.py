"""Requests of which there are many: reads of a wallet, and Stripe's webhooks."""

import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Sequence
from typing import Any

from cli.bench.filling import FilledWallet
from cli.bench.place import Place
from cli.bench.sagas import AMOUNT, MADE, key
from cli.http import Connection


class Reads:
    """Users who look at their wallets."""

    def __init__(self, place: Place, wallets: Sequence[FilledWallet]) -> None:
        self._place = place
        self._wallets = wallets
        self._readers: dict[int, tuple[FilledWallet, Connection]] = {}

    async def live(self, _: int, client: int) -> dict[str, float]:
        """One read of the client's wallet."""
        if client not in self._readers:
            # Far apart, so that not all read the same pages of the database.
            wallet = self._wallets[client * 7919 % len(self._wallets)]
            self._readers[client] = (wallet, self._place.as_user(wallet.user_id, "customer"))
        wallet, http = self._readers[client]
        began = time.perf_counter()
        await http.ask("GET", f"/v1/wallets/{wallet.id}")
        return {"read": time.perf_counter() - began}


class Webhooks:
    """Stripe, telling of deposits that wait for their payment: each event is stored, and its saga signaled.

    `about` is their PaymentIntents by operation, and may be empty: then nobody waits for what is told.
    """

    def __init__(self, place: Place, about: Sequence[dict[str, Any]]) -> None:
        self._place = place
        self._secret = place.settings.stripe_webhook_secrets[0].get_secret_value()
        self._about = about
        self._senders: dict[int, Connection] = {}

    async def live(self, number: int, client: int) -> dict[str, float]:
        """One event, until it is acknowledged."""
        if client not in self._senders:
            self._senders[client] = self._place.as_stripe()
        http = self._senders[client]
        body = self._event(number)
        headers = {"Stripe-Signature": self._signature(body)}
        began = time.perf_counter()
        await http.ask("POST", "/v1/webhooks/stripe", body, headers=headers)
        return {"acknowledged": time.perf_counter() - began}

    def _event(self, number: int) -> bytes:
        thing: dict[str, Any] = {"id": f"cus_{uuid.uuid4().hex}", "object": "customer"}
        kind = "customer.updated"
        if self._about:
            deposit = self._about[number % len(self._about)]
            kind = "payment_intent.payment_failed"
            thing = {
                "id": deposit["payment_intent"],
                "object": "payment_intent",
                "amount": AMOUNT,
                "currency": "usd",
                "status": "requires_payment_method",
                "metadata": {"operation_id": deposit["id"]},
            }
        event = {"id": f"evt_bench_{uuid.uuid4().hex}", "object": "event", "type": kind, "livemode": False}
        return json.dumps(event | {"created": int(time.time()), "data": {"object": thing}}).encode()

    def _signature(self, body: bytes) -> str:
        now = int(time.time())
        made = hmac.new(self._secret.encode(), f"{now}.".encode() + body, hashlib.sha256).hexdigest()
        return f"t={now},v1={made}"


async def open_deposits(place: Place, count: int) -> list[dict[str, Any]]:
    """Deposits that wait for their payment."""
    async with place.as_user("undecided", "customer") as http:
        wanted = {"amount": AMOUNT, "currency": "usd"}
        return [await http.ask("POST", "/v1/deposits", wanted, headers=key(), status=MADE) for _ in range(count)]


async def pay(place: Place, waiting: Sequence[dict[str, Any]]) -> None:
    """The customers make up their minds; returns when every saga has ended."""
    async with place.to_sandbox() as sandbox:
        for deposit in waiting:
            card = {"payment_method": "pm_card_visa"}
            await sandbox.ask("POST", f"/_sandbox/payment_intents/{deposit['payment_intent']}/confirm", card)
    await place.backdoor.closed([deposit["id"] for deposit in waiting])

"""A webhook burst: Stripe sends all it has, half of it about deposits that wait for their payment."""

import hashlib
import hmac
import json
import time
import uuid

from locust import task

from tests.load.marketplace import PLACE, Broken, Client, Json

SECRET = PLACE.settings.stripe_webhook_secrets[0].get_secret_value()


class Stripe(Client):
    """One of Stripe's senders."""

    def on_start(self) -> None:
        """With a deposit to tell of, whose customer does not make up their mind."""
        super().on_start()
        self.deposit = self.ask("POST", "/v1/deposits", {"amount": 20_000, "currency": "usd"})

    @task
    def of_no_concern(self) -> None:
        """An event that no saga waits for."""
        self._send("customer.updated", {"id": f"cus_{uuid.uuid4().hex}", "object": "customer"}, "nobody waits")

    @task
    def of_a_deposit(self) -> None:
        """An event whose saga is told."""
        intent = {"id": self.deposit["payment_intent"], "object": "payment_intent"}
        metadata = {"operation_id": self.deposit["id"]}
        self._send("payment_intent.payment_failed", {**intent, "metadata": metadata}, "saga told")

    def _send(self, kind: str, thing: Json, name: str) -> None:
        event = {"id": f"evt_load_{uuid.uuid4().hex}", "object": "event", "type": kind, "livemode": False}
        body = json.dumps(event | {"created": int(time.time()), "data": {"object": thing}})
        now = int(time.time())
        made = hmac.new(SECRET.encode(), f"{now}.{body}".encode(), hashlib.sha256).hexdigest()
        headers = {"Content-Type": "application/json", "Stripe-Signature": f"t={now},v1={made}"}
        with self.client.request(
            "POST", "/v1/webhooks/stripe", data=body, headers=headers, name=f"webhook, {name}", catch_response=True
        ) as answer:
            if answer.status_code != 200:
                answer.failure(f"{answer.status_code}: {str(answer.text)[:200]}")
                raise Broken(name)

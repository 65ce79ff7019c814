"""A marketplace's clients, as Locust plays them, on the stack that `paysaga up` runs on PAYSAGA_DATA (`.paysaga`)."""

import os
import secrets
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from locust import FastHttpUser

from cli.demo.place import Place
from cli.tokens import development_token

Json = dict[str, Any]

PLACE = Place.of(Path(os.environ.get("PAYSAGA_DATA", ".paysaga")))

STRIPE_KEY = PLACE.settings.stripe_secret_key.get_secret_value()

PATIENCE = 60.0
"""Seconds that an operation has to come where it must."""


class Broken(Exception):
    """A life that did not come to its end."""


class Client(FastHttpUser):
    """Somebody who uses the marketplace. Every unexpected answer is a failure, by Locust's count."""

    abstract = True
    host = PLACE.api_url

    def on_start(self) -> None:
        """Each is somebody else, with a token for every role."""
        self.name = secrets.token_hex(6)
        self._tokens: dict[tuple[str, str], str] = {}

    def ask(
        self, method: str, path: str, body: Json | None = None, *, role: str = "customer", name: str | None = None
    ) -> Any:
        """One request in this client's name, in a role. Raises `Broken`."""
        user = f"{role}-{self.name}"
        token = self._tokens.setdefault((user, role), development_token(user, role, 86_400, PLACE.data))
        headers = {"Authorization": f"Bearer {token}"}
        if method == "POST":
            headers["Idempotency-Key"] = str(uuid.uuid4())
        return self._asked(method, path, body, headers, name or path)

    def at_stripe(self, path: str, body: Json) -> None:
        """A control call of the Stripe sandbox: what a cardholder, or Stripe, does."""
        headers = {"Authorization": f"Bearer {STRIPE_KEY}"}
        self._asked("POST", f"{PLACE.sandbox_url}/_sandbox/{path}", body, headers, "(Stripe)")

    def _asked(self, method: str, path: str, body: Json | None, headers: dict[str, str], name: str) -> Any:
        with self.client.request(
            method, path, json=body, headers=headers, name=f"{method} {name}", catch_response=True
        ) as answer:
            if answer.status_code not in (200, 201, 202):
                answer.failure(f"{answer.status_code}: {str(answer.text)[:200]}")
                raise Broken(name)
            return answer.json()

    def until(self, path: str, status: str, *, name: str) -> Json:
        """The operation at `path`, once it has `status`; looked at ever more seldom. Raises `Broken`."""
        deadline, pause = time.monotonic() + PATIENCE, 0.05
        while (found := self.ask("GET", path, name=name))["status"] != status:
            if time.monotonic() > deadline:
                raise Broken(f"{path} is still {found['status']}")
            time.sleep(pause)
            pause = min(pause * 1.5, 1.0)
        return dict(found)

    def life(self, name: str, live: Callable[[], object]) -> None:
        """Lives, and has Locust count it as one request called `name`."""
        began, broken = time.perf_counter(), None
        try:
            live()
        except Broken as error:
            broken = error
        self.environment.events.request.fire(
            request_type="LIFE",
            name=name,
            response_time=(time.perf_counter() - began) * 1000,
            response_length=0,
            exception=broken,
            context={},
        )


class Acts(Client):
    """What several scenarios do."""

    abstract = True

    def deposit(self, amount: int = 20_000) -> None:
        """A deposit, paid in the browser, until it is credited."""
        made = self.ask("POST", "/v1/deposits", {"amount": amount, "currency": "usd"})
        path, name = f"/v1/deposits/{made['id']}", "/v1/deposits/{id}"
        if made["payment_intent"] is None:
            made = self.until(path, "awaiting_payment", name=name)
        self.at_stripe(f"payment_intents/{made['payment_intent']}/confirm", {"payment_method": "pm_card_visa"})
        self.until(path, "succeeded", name=name)

    def offer(self, amount: int = 1_000) -> None:
        """An offer, from its making to its completion."""
        wanted = {"contractor_id": f"contractor-{self.name}", "amount": amount, "currency": "usd", "job": self.name}
        made = self.ask("POST", "/v1/offers", wanted)
        path, name = f"/v1/offers/{made['id']}", "/v1/offers/{id}"
        self.until(path, "held", name=name)
        for role, verb, status in (
            ("contractor", "accept", "accepted"),
            ("contractor", "deliver", "delivered"),
            ("customer", "complete", "completed"),
        ):
            done = self.ask("POST", f"{path}/{verb}", {}, role=role, name=f"{name}/{verb}")
            if done["status"] != status:
                self.until(path, status, name=name)

    def look(self) -> None:
        """Both of this client's wallets."""
        for role in ("customer", "contractor"):
            self.ask("GET", "/v1/wallets", role=role)

"""The world outside Paysaga: Stripe's own books, and what cardholders, account owners and banks do there."""

import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

from cli.http import Connection, UnexpectedAnswer

Json = dict[str, Any]


class Outside:
    """The Stripe sandbox, as the platform. No proxy is between, and no fault strikes what is asked here."""

    def __init__(self, url: str, stripe_key: str) -> None:
        self._url = url
        self._authorization = {"Authorization": f"Bearer {stripe_key}"}
        self._idle: list[Connection] = []

    async def control(self, method: str, path: str, body: Json | None = None) -> Json:
        """A call of the control API. Raises `UnexpectedAnswer`."""
        found: Json = await self._ask(method, f"/_sandbox/{path}", body if method == "POST" else None)
        return found

    async def pay(self, payment_intent: str, card: str) -> bool:
        """The customer's browser confirms with a card; whether Stripe took it. (It may also ask for 3-D Secure.)"""
        try:
            await self.control("POST", f"payment_intents/{payment_intent}/confirm", {"payment_method": card})
        except UnexpectedAnswer:
            return False
        return True

    async def authenticate(self, payment_intent: str, passed: bool) -> bool:
        """The cardholder answers their bank; whether they were asked."""
        outcome = {"outcome": "succeed" if passed else "fail"}
        try:
            await self.control("POST", f"payment_intents/{payment_intent}/complete_3ds", outcome)
        except UnexpectedAnswer:
            return False
        return True

    async def get(self, path: str, account: str | None = None, **query: str) -> Json:
        """A read through Stripe's own API."""
        headers = {"Stripe-Account": account} if account else {}
        found: Json = await self._ask("GET", f"/v1/{path}?{urlencode(query)}", headers=headers)
        return found

    async def all(self, path: str, account: str | None = None) -> AsyncIterator[Json]:
        """Every object of a list, newest first."""
        query = {"limit": "100"}
        while True:
            page = await self.get(path, account, **query)
            for each in page["data"]:
                yield each
            if not page["has_more"]:
                return
            query["starting_after"] = page["data"][-1]["id"]

    def close(self) -> None:
        """Ends every connection."""
        for connection in self._idle:
            connection.close()

    async def _ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        connection = self._idle.pop() if self._idle else Connection(self._url, self._authorization)
        try:
            try:
                status, content = await connection.exchange(method, path, body, headers=headers)
            except (OSError, EOFError):
                # The sandbox ends connections that were idle for some seconds, perhaps at this very moment.
                status, content = await connection.exchange(method, path, body, headers=headers)
        finally:
            self._idle.append(connection)
        if status != 200:
            raise UnexpectedAnswer(f"{method} {path} answered {status}: {content[:200].decode(errors='replace')}")
        return json.loads(content)

"""Who there is, and what each life needs in order to be lived."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cli.chaos.books import Books
from cli.chaos.clients import Answer, BrokenOff, Clients, User
from cli.chaos.outside import Outside

CUSTOMERS = 12
CONTRACTORS = 8

EUROPEANS = 3
"""Of the customers, who hold euros; all others hold dollars."""

FLOAT = 400_000
"""Minor units that each customer begins with."""

GIFT = 60_000
"""Minor units that each contractor begins with, given by a customer."""

RETURN_URL = "http://localhost:3000/payouts"

SHOP = User("shop", "service")
OPERATOR = User("olga", "admin")

_FIRST_AMOUNTS = {"deposit": 4_000, "offer": 2_000, "withdrawal": 1_000, "wallet_transfer": 100}
_STEPS = {"deposit": 37, "offer": 13, "withdrawal": 7, "wallet_transfer": 1}
"""Amounts in minor units: the first of a user, and by how much each is larger than the one before."""


@dataclass
class Scene:
    """The marketplace: its users, and the means by which they act."""

    clients: Clients
    outside: Outside
    books: Books
    customers: Sequence[User] = ()
    contractors: Sequence[User] = ()
    payments: dict[str, str] = field(default_factory=dict)
    """PaymentIntents of deposits that await their payment, by operation."""
    _amounts: Counter[tuple[str, str]] = field(default_factory=Counter)
    _newcomers: int = 0

    def amount(self, kind: str, user: User) -> int:
        """Minor units that no other request for this kind of operation of the user's asks for.

        By that the judge can tell which request an operation is of, also where no answer has said so.
        """
        self._amounts[kind, user.id] += 1
        return _FIRST_AMOUNTS[kind] + _STEPS[kind] * self._amounts[kind, user.id]

    async def populate(self, chance: random.Random) -> None:
        """The first users, with money and with accounts at Stripe, before anything goes wrong."""
        self.customers = [User(f"customer-{number}", "customer") for number in range(CUSTOMERS)]
        self.contractors = [User(f"contractor-{number}", "contractor") for number in range(CONTRACTORS)]
        await asyncio.gather(
            *(self._pay_in(user, chance) for user in self.customers),
            *(self.onboard(user, chance) for user in self.contractors),
        )
        for giver, taker in zip(self.customers[EUROPEANS:], self.contractors, strict=False):
            body = {"from_user_id": giver.id, "to_user_id": taker.id, "amount": GIFT, "currency": "usd"}
            await self.clients.ask(SHOP, "/v1/wallet-transfers", body, chance, what="wallet_transfer", of=giver.id)

    async def _pay_in(self, user: User, chance: random.Random) -> None:
        body = {"amount": FLOAT, "currency": self.currency(user), "payment_method": "pm_card_visa"}
        answer = await self.clients.ask(user, "/v1/deposits", body, chance, what="deposit", stubborn=True)
        await self.books.reached(self.made(answer), "succeeded")

    def currency(self, customer: User) -> str:
        """What a customer pays with."""
        return "eur" if customer in self.customers[:EUROPEANS] else "usd"

    def newcomer(self) -> User:
        """A contractor whom nobody knows yet."""
        self._newcomers += 1
        return User(f"newcomer-{self._newcomers}", "contractor")

    async def onboard(self, user: User, chance: random.Random) -> str:
        """Makes a contractor's account and completes Stripe's form; the operation."""
        await self.clients.put(user, "/v1/me", {"email": f"{user.id}@example.com", "name": "Earner", "country": "US"})
        urls = {"return_url": RETURN_URL, "refresh_url": RETURN_URL}
        answer = await self.clients.ask(user, "/v1/connect/account", urls, chance, what="connected_account")
        operation = self.made(answer)
        await self.books.reached(operation, "onboarding", "active", "restricted")
        await self.outside.control("POST", f"accounts/{await self.stripe_account(user)}/complete_onboarding", {})
        await self.books.reached(operation, "active")
        return operation

    async def stripe_account(self, user: User) -> str:
        """Stripe's id of a contractor's account, which is made."""
        return str((await self.read(user, "/v1/connect/account"))["stripe_account"])

    async def read(self, user: User, path: str) -> Any:
        """GET, until there is an answer."""
        for _ in range(60):
            try:
                return await self.clients.read(user, path)
            except (OSError, EOFError, TimeoutError, BrokenOff):
                await asyncio.sleep(0.5)
        raise BrokenOff(f"GET {path}: no answer")

    def made(self, answer: Answer) -> str:
        """The operation that was made. Raises `BrokenOff` if none was."""
        if not answer.accepted:
            raise BrokenOff(f"{answer.request.what}: refused")
        return str(answer.body["id"])

"""Lives: what a client wants of Paysaga, from the first request to the end of the saga.

Each is drawn by chance alone, so a seed says what everybody wants. A life that is refused ends there; one whose client
was told nothing, and has given up, breaks off.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping

from cli.chaos.clients import Answer, BrokenOff, User
from cli.chaos.plan import FORGOTTEN_WAIT, OFFER_WAIT
from cli.chaos.scene import OPERATOR, SHOP, Scene

Life = Callable[[Scene, random.Random], Awaitable[None]]

# ── Deposits ──


async def deposit_at_once(scene: Scene, chance: random.Random) -> None:
    """A card that is charged with the request; now and then one that is declined."""
    card = chance.choice(["pm_card_visa"] * 4 + ["pm_card_bypassPending", "pm_card_chargeDeclined"])
    answer = await _deposit(scene, chance, payment_method=card)
    if answer.accepted:
        await scene.books.reached(answer.body["id"], "succeeded")


async def deposit_in_browser(scene: Scene, chance: random.Random) -> None:
    """A card that is given to Stripe by the customer's browser: at once, after a decline, or never."""
    operation, intent = await _awaiting(scene, chance)
    wish = chance.choice(["pay", "pay", "pay", "another card", "cancel", "both", "leave"])
    if wish == "another card":
        await scene.outside.pay(intent, "pm_card_chargeDeclined")
    if wish in ("pay", "another card", "both"):
        await scene.outside.pay(intent, "pm_card_visa")
    if wish in ("cancel", "both"):
        await _cancel(scene, chance, "deposits", operation)
    # One that is left expires.
    await scene.books.reached(operation, "succeeded", "canceled", "expired")


async def deposit_with_3d_secure(scene: Scene, chance: random.Random) -> None:
    """A bank that wants to hear from its cardholder: who passes, or fails and pays otherwise, or calls it off."""
    operation, intent = await _awaiting(scene, chance)
    await scene.outside.pay(intent, "pm_card_authenticationRequired")
    passed = chance.random() < 0.6
    await scene.outside.authenticate(intent, passed)
    if not passed:
        if chance.random() < 0.5:
            await scene.outside.pay(intent, "pm_card_visa")
        else:
            await _cancel(scene, chance, "deposits", operation)
    await scene.books.reached(operation, "succeeded", "canceled", "expired")


async def _deposit(scene: Scene, chance: random.Random, **more: str) -> Answer:
    customer = chance.choice(scene.customers)
    body = {"amount": scene.amount("deposit", customer), "currency": scene.currency(customer), **more}
    return await scene.clients.ask(customer, "/v1/deposits", body, chance, what="deposit")


async def _awaiting(scene: Scene, chance: random.Random) -> tuple[str, str]:
    """A deposit that awaits its payment, and its PaymentIntent."""
    operation = scene.made(await _deposit(scene, chance))
    if await scene.books.reached(operation, "awaiting_payment") != "awaiting_payment":
        raise BrokenOff(f"{operation} has ended before it was paid")
    intent = (await scene.read(SHOP, f"/v1/deposits/{operation}"))["payment_intent"]
    scene.payments[operation] = intent
    return operation, intent


# ── Wallet transfers ──


async def wallet_transfer(scene: Scene, chance: random.Random) -> None:
    """The marketplace moves money between two wallets; now and then more than there is."""
    giver, taker = chance.sample([*scene.customers, *scene.contractors], 2)
    amount = scene.amount("wallet_transfer", giver) + (50_000_000 if chance.random() < 0.1 else 0)
    body = {"from_user_id": giver.id, "to_user_id": taker.id, "amount": amount, "currency": "usd"}
    answer = await scene.clients.ask(SHOP, "/v1/wallet-transfers", body, chance, what="wallet_transfer", of=giver.id)
    if answer.accepted:
        await scene.books.reached(answer.body["id"], "succeeded")


# ── Offers ──


async def offer_completed(scene: Scene, chance: random.Random) -> None:
    """Accepted, delivered, completed: by the customer, or by the clock."""
    offer = await _Offer.make(scene, chance, auto_payout=chance.random() < 0.3, complete_within=OFFER_WAIT)
    await offer.verb(offer.contractor, "accept", "accepted")
    if chance.random() < 0.8:
        await offer.verb(offer.contractor, "deliver", "delivered")
    if chance.random() < 0.7 or offer.status == "accepted":
        await offer.verb(offer.customer, "complete", "completed")
    await offer.ended()


async def offer_in_milestones(scene: Scene, chance: random.Random) -> None:
    """Released part by part, two of them at once; what the parts leave comes with the completion."""
    amount = scene.amount("offer", customer := chance.choice(scene.customers))
    parts = [amount // 7, amount // 3, amount // 11]
    offer = await _Offer.make(
        scene, chance, customer=customer, amount=amount, milestones=parts, auto_payout=chance.random() < 0.3
    )
    await offer.verb(offer.contractor, "accept", "accepted")
    for milestone in chance.sample(range(1, len(parts) + 1), chance.randint(1, len(parts))):
        await offer.verb(offer.customer, "release", milestone=milestone)
    if chance.random() < 0.2:
        await offer.verb(offer.customer, "release", milestone=1)
    await offer.verb(offer.customer, "complete", "completed")
    await offer.ended()


async def offer_not_taken(scene: Scene, chance: random.Random) -> None:
    """Declined, canceled, or neither: then it expires."""
    offer = await _Offer.make(scene, chance, accept_within=OFFER_WAIT)
    wish = chance.choice(["decline", "cancel", "leave"])
    if wish == "decline":
        await offer.verb(offer.contractor, "decline", "declined")
    elif wish == "cancel":
        await offer.verb(offer.customer, "cancel", "canceled")
    await offer.ended()


async def offer_canceled(scene: Scene, chance: random.Random) -> None:
    """Called off after it was accepted, by both."""
    offer = await _Offer.make(scene, chance)
    await offer.verb(offer.contractor, "accept", "accepted")
    await offer.verb(offer.customer, "cancel")
    await offer.verb(offer.contractor, "agree_cancel", "canceled")
    await offer.ended()


async def offer_contested(scene: Scene, chance: random.Random) -> None:
    """The parties disagree, and an operator splits what is left."""
    amount = scene.amount("offer", customer := chance.choice(scene.customers))
    offer = await _Offer.make(scene, chance, customer=customer, amount=amount, milestones=[amount // 5])
    await offer.verb(offer.contractor, "accept", "accepted")
    left = amount
    if chance.random() < 0.5:
        await offer.verb(offer.customer, "release", milestone=1)
        left = int((await scene.read(OPERATOR, f"/v1/offers/{offer.id}"))["left"])
    await offer.verb(
        chance.choice([offer.customer, offer.contractor]), "contest", "contested", reason="half is missing"
    )
    share = chance.randint(0, left)
    await offer.resolve(share, left - share)
    await offer.ended()


class _Offer:
    """An offer that is held, and its parties."""

    def __init__(self, scene: Scene, chance: random.Random, id: str, customer: User, contractor: User) -> None:
        self._scene, self._chance = scene, chance
        self.id, self.customer, self.contractor = id, customer, contractor
        self.status = "held"

    @classmethod
    async def make(
        cls,
        scene: Scene,
        chance: random.Random,
        *,
        customer: User | None = None,
        amount: int | None = None,
        **more: object,
    ) -> "_Offer":
        """Raises `BrokenOff` if it was refused."""
        customer, contractor = customer or chance.choice(scene.customers), chance.choice(scene.contractors)
        body = {
            "contractor_id": contractor.id,
            "amount": amount or scene.amount("offer", customer),
            "currency": scene.currency(customer),
            "accept_within": FORGOTTEN_WAIT,
            **more,
        }
        id = scene.made(await scene.clients.ask(customer, "/v1/offers", body, chance, what="offer"))
        await scene.books.reached(id, "held")
        return cls(scene, chance, id, customer, contractor)

    async def verb(self, party: User, verb: str, status: str | None = None, **body: object) -> None:
        """Ask for it, and wait for the status that it leads to. Whoever has asked goes on until there is an answer:
        else the offer would wait for ever."""
        path = f"/v1/offers/{self.id}/{verb.replace('_', '-')}"
        await self._ask(party, path, verb, body)
        if status is not None:
            self.status = await self._scene.books.reached(self.id, status)

    async def resolve(self, to_contractor: int, to_customer: int) -> None:
        """The operator's decision."""
        body = {"to_contractor": to_contractor, "to_customer": to_customer, "reason": "so it was delivered"}
        await self._ask(OPERATOR, f"/v1/admin/offers/{self.id}/resolve", "resolve", body)

    async def ended(self) -> None:
        """Returns when its saga has ended."""
        await self._scene.books.reached(self.id)

    async def _ask(self, party: User, path: str, verb: str, body: dict[str, object]) -> None:
        await self._scene.clients.ask(party, path, dict(body), self._chance, what=verb, about=self.id, stubborn=True)


# ── Withdrawals and accounts ──


async def withdrawal(scene: Scene, chance: random.Random) -> None:
    """To the contractor's bank; now and then called off. Who has no usable bank any more names another."""
    contractor = chance.choice(scene.contractors)
    body = {"amount": scene.amount("withdrawal", contractor), "currency": "usd"}
    answer = await scene.clients.ask(contractor, "/v1/withdrawals", body, chance, what="withdrawal")
    if not answer.accepted:
        if answer.request.attempts[-1].code == "account-not-able":
            await _another_bank(scene, contractor)
        return
    operation = answer.body["id"]
    if chance.random() < 0.25:
        await _cancel(scene, chance, "withdrawals", operation)
    if await scene.books.reached(operation, "paid", "reversed", "canceled", "failed") == "reversed":
        await _another_bank(scene, contractor)


async def withdrawals_at_once(scene: Scene, chance: random.Random) -> None:
    """A contractor asks twice at once for more than half of what they have: one must be refused."""
    contractor = chance.choice(scene.contractors)
    wallets = await scene.read(SHOP, f"/v1/wallets?user_id={contractor.id}")
    available = sum(wallet["available"] for wallet in wallets if wallet["currency"] == "usd")
    # Whole hundreds, so that each amount is still the only one of its kind.
    more = max(available * 6 // 10 // 10_000, 0) * 10_000
    amounts = [more + scene.amount("withdrawal", contractor) for _ in range(2)]
    async with asyncio.TaskGroup() as both:
        for amount in amounts:
            both.create_task(_withdraw(scene, chance, contractor, amount))


async def _withdraw(scene: Scene, chance: random.Random, contractor: User, amount: int) -> None:
    body = {"amount": amount, "currency": "usd"}
    try:
        answer = await scene.clients.ask(contractor, "/v1/withdrawals", body, chance, what="withdrawal")
    except BrokenOff:
        return
    if answer.accepted:
        await scene.books.reached(answer.body["id"], "paid", "reversed", "canceled", "failed")


async def _another_bank(scene: Scene, contractor: User) -> None:
    account = await scene.stripe_account(contractor)
    await scene.outside.control("POST", f"accounts/{account}/bank_account", {"account_number": "000123456789"})


async def onboarding(scene: Scene, chance: random.Random) -> None:
    """A new contractor's account; now and then cut off again."""
    newcomer = scene.newcomer()
    operation = await scene.onboard(newcomer, chance)
    if chance.random() < 0.3:
        await scene.outside.control("POST", f"accounts/{await scene.stripe_account(newcomer)}/deauthorize", {})
        await scene.books.reached(operation, "deauthorized")


async def _cancel(scene: Scene, chance: random.Random, where: str, operation: str) -> None:
    await scene.clients.ask(
        SHOP, f"/v1/{where}/{operation}/cancel", {}, chance, what="cancel", about=operation, stubborn=True
    )


LIVES: Mapping[str, tuple[Life, int]] = {
    "deposit-at-once": (deposit_at_once, 10),
    "deposit-in-browser": (deposit_in_browser, 4),
    "deposit-with-3d-secure": (deposit_with_3d_secure, 3),
    "wallet-transfer": (wallet_transfer, 40),
    "offer-completed": (offer_completed, 4),
    "offer-in-milestones": (offer_in_milestones, 3),
    "offer-not-taken": (offer_not_taken, 3),
    "offer-canceled": (offer_canceled, 2),
    "offer-contested": (offer_contested, 2),
    "withdrawal": (withdrawal, 7),
    "withdrawals-at-once": (withdrawals_at_once, 1),
    "onboarding": (onboarding, 1),
}
"""Every life, and how often it is begun, relative to the others."""

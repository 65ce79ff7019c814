"""Whole lives: a deposit, an offer, a withdrawal, and the yardsticks, each from the first request to its end."""

import asyncio
import time
import uuid
from contextlib import AsyncExitStack
from typing import Any

from temporalio.client import WithStartWorkflowOperation
from temporalio.common import WorkflowIDConflictPolicy

from cli.bench import yardsticks
from cli.bench.place import Place
from cli.http import Connection
from domain.operations import OperationRef, StripeHint

AMOUNT = 20_000
"""US cents of a deposit."""

WITHDRAWN = 1_000
"""US cents of a withdrawal: the least there may be."""

OFFERED = 1_000
"""US cents of an offer."""

VERB_DONE = (200, 202)
"""Answers to what is asked of an operation that exists: done, or under too much load that it will be."""

MADE = (201, 202)
"""Answers to what makes an operation: its first answer, or under too much load that it will come."""

RETURN_URL = "http://localhost:3000/payouts"


class Deposits:
    """Customers who pay with a card in their browser. `credited` is the latency that they see."""

    kind = "deposit"
    decisive = "credited"

    def __init__(self, place: Place) -> None:
        self._place = place
        self._payers: dict[int, tuple[Connection, Connection]] = {}
        self.ids: list[str] = []

    async def live(self, _: int, client: int) -> dict[str, float]:
        """One deposit: asked for, paid in the browser, credited when the webhook has come."""
        api, sandbox = self._payer(client)
        began = time.perf_counter()
        asked = await api.ask("POST", "/v1/deposits", {"amount": AMOUNT, "currency": "usd"}, headers=key(), status=MADE)
        answered = time.perf_counter()
        self.ids.append(asked["id"])
        if asked["payment_intent"] is None:
            await self._place.backdoor.reached(asked["id"], "awaiting_payment")
            asked = await api.ask("GET", f"/v1/deposits/{asked['id']}")
        card = {"payment_method": "pm_card_visa"}
        await sandbox.ask("POST", f"/_sandbox/payment_intents/{asked['payment_intent']}/confirm", card)
        await self._place.backdoor.reached(asked["id"], "succeeded")
        credited = time.perf_counter()
        return {"answered": answered - began, "credited": credited - began}

    async def end(self) -> None:
        """Until Stripe's fee is booked, too."""
        await self._place.backdoor.closed(self.ids)

    def _payer(self, client: int) -> tuple[Connection, Connection]:
        if client not in self._payers:
            self._payers[client] = (self._place.as_user(f"payer-{client}", "customer"), self._place.to_sandbox())
        return self._payers[client]


class Withdrawals:
    """Contractors who have their money sent to their bank. `paid` is the latency: to Stripe's word that it arrived."""

    kind = "withdrawal"
    decisive = "paid"

    def __init__(self, place: Place) -> None:
        self._place = place
        self._earners: dict[int, Connection] = {}
        self.ids: list[str] = []

    async def prepare(self, clients: int, each: int) -> None:
        """Gives `clients` contractors an account at Stripe and enough for `each` withdrawals."""
        async with AsyncExitStack() as connections:
            enter = connections.enter_async_context
            payer = await enter(self._place.as_user("benefactor", "customer"))
            shop = await enter(self._place.as_user("shop", "service"))
            sandbox = await enter(self._place.to_sandbox())
            needed = clients * each * WITHDRAWN
            # Stripe keeps its fee, and what leaves must be available there.
            await self._deposit(payer, needed + needed // 10 + AMOUNT)
            await asyncio.gather(*(self._onboard(client) for client in range(clients)))
            for client in range(clients):
                giving = {
                    "from_user_id": "benefactor",
                    "to_user_id": f"earner-{client}",
                    "amount": each * WITHDRAWN,
                    "currency": "usd",
                }
                await shop.ask("POST", "/v1/wallet-transfers", giving, headers=key(), status=MADE)
            await sandbox.ask("POST", "/_sandbox/clock/advance", {"seconds": 0})

    async def live(self, _: int, client: int) -> dict[str, float]:
        """One withdrawal, to its arrival at the bank."""
        began = time.perf_counter()
        wanted = {"amount": WITHDRAWN, "currency": "usd"}
        asked = await self._earner(client).ask("POST", "/v1/withdrawals", wanted, headers=key(), status=MADE)
        answered = time.perf_counter()
        self.ids.append(asked["id"])
        await self._place.backdoor.reached(asked["id"], "paid")
        return {"answered": answered - began, "paid": time.perf_counter() - began}

    async def end(self) -> None:
        """Nothing: what is paid is watched for ten days."""

    async def _deposit(self, payer: Connection, amount: int) -> None:
        wanted = {"amount": amount, "currency": "usd", "payment_method": "pm_card_bypassPending"}
        made = await payer.ask("POST", "/v1/deposits", wanted, headers=key(), status=MADE)
        await self._place.backdoor.closed([made["id"]])

    async def _onboard(self, client: int) -> None:
        earner = self._earner(client)
        profile = {"email": f"earner-{client}@example.com", "name": "Earner", "country": "US"}
        await earner.ask("PUT", "/v1/me", profile)
        urls = {"return_url": RETURN_URL, "refresh_url": RETURN_URL}
        made = await earner.ask("POST", "/v1/connect/account", urls, headers=key(), status=MADE)
        known: dict[str, Any] = await earner.ask("GET", f"/v1/operations/{made['id']}")
        account = known["details"]["stripe_account"]
        async with self._place.to_sandbox() as sandbox:
            await sandbox.ask("POST", f"/_sandbox/accounts/{account}/complete_onboarding", {})
        await self._place.backdoor.reached(made["id"], "active")

    def _earner(self, client: int) -> Connection:
        if client not in self._earners:
            self._earners[client] = self._place.as_user(f"earner-{client}", "contractor")
        return self._earners[client]


class Offers:
    """Customers who offer a job, and contractors who do it. `completed` is the whole life: four requests."""

    kind = "offer"
    decisive = "completed"

    def __init__(self, place: Place) -> None:
        self._place = place
        self._pairs: dict[int, tuple[Connection, Connection]] = {}
        self.ids: list[str] = []

    async def prepare(self, clients: int, each: int) -> None:
        """Gives `clients` customers enough for `each` offers."""
        needed = each * (OFFERED + OFFERED // 10)
        wanted = {"amount": needed, "currency": "usd", "payment_method": "pm_card_visa"}
        for client in range(clients):
            customer, _ = self._pair(client)
            made = await customer.ask("POST", "/v1/deposits", wanted, headers=key(), status=MADE)
            await self._place.backdoor.closed([made["id"]])

    async def live(self, number: int, client: int) -> dict[str, float]:
        """One offer: made, accepted, delivered, completed, each as soon as the one before is answered."""
        customer, contractor = self._pair(client)
        began = time.perf_counter()
        wanted = {"contractor_id": f"maker-{client}", "amount": OFFERED, "currency": "usd", "job": f"job {number}"}
        made = await customer.ask("POST", "/v1/offers", wanted, headers=key(), status=MADE)
        answered = time.perf_counter()
        self.ids.append(made["id"])
        await self._place.backdoor.reached(made["id"], "held")
        for party, verb, status in (
            (contractor, "accept", "accepted"),
            (contractor, "deliver", "delivered"),
            (customer, "complete", "completed"),
        ):
            await party.ask("POST", f"/v1/offers/{made['id']}/{verb}", {}, headers=key(), status=VERB_DONE)
            await self._place.backdoor.reached(made["id"], status)
        return {"answered": answered - began, "completed": time.perf_counter() - began}

    async def end(self) -> None:
        """Until every saga has ended."""
        await self._place.backdoor.closed(self.ids)

    def _pair(self, client: int) -> tuple[Connection, Connection]:
        if client not in self._pairs:
            customer = self._place.as_user(f"buyer-{client}", "customer")
            self._pairs[client] = (customer, self._place.as_user(f"maker-{client}", "contractor"))
        return self._pairs[client]


class Yardstick:
    """Workflows that do nothing, started and signaled by the bench itself."""

    decisive = "ended"

    def __init__(self, place: Place, workflow: str, signals: int) -> None:
        self.kind = workflow
        self._client = place.temporal
        self._signals = signals
        self.ids: list[str] = []

    async def live(self, _: int, __: int) -> dict[str, float]:
        """One workflow: an update-with-start, its signals, its end."""
        ref = OperationRef(operation_id=f"{self.kind}-{uuid.uuid4()}")
        began = time.perf_counter()
        await self._client.execute_update_with_start_workflow(
            "first_answer",
            id="first-answer",
            result_type=str,
            start_workflow_operation=WithStartWorkflowOperation(
                self.kind,
                ref,
                id=ref.operation_id,
                task_queue=yardsticks.TASK_QUEUE,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                search_attributes=yardsticks.ATTRIBUTES,
                static_summary=self.kind,
            ),
        )
        answered = time.perf_counter()
        self.ids.append(ref.operation_id)
        handle = self._client.get_workflow_handle(ref.operation_id)
        for number in range(self._signals):
            if number:
                await asyncio.sleep(SIGNALS_APART)
            await handle.signal("stripe_event", StripeHint(event_id=f"evt_{number}", type="payment_intent.succeeded"))
        await handle.result()
        return {"answered": answered - began, "ended": time.perf_counter() - began}

    async def end(self) -> None:
        """Nothing: each has ended with its life."""


SIGNALS_APART = 0.15
"""Seconds: as long as the Stripe sandbox's fee comes after its success, at the mean. No processor is used meanwhile."""


def bare(place: Place) -> Yardstick:
    """The least that any operation needs."""
    return Yardstick(place, yardsticks.BARE, signals=1)


def twin(place: Place) -> Yardstick:
    """The deposit with nothing in it."""
    return Yardstick(place, yardsticks.TWIN, signals=2)


def key() -> dict[str, str]:
    """The header that every write needs."""
    return {"Idempotency-Key": str(uuid.uuid4())}

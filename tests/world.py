"""One Paysaga for one test: its own database, its own platform at the Stripe sandbox, its own task queue.

The parts are real: a Postgres and a Temporal server (shared by the session), the sandbox over HTTP, the API on a port.
API and worker run in the test's process, or as processes of their own where a test kills them.
"""

import asyncio
import secrets
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from copy import copy
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import asyncpg
import httpx
import jwt
import pytest
import uvicorn
from fastapi import FastAPI
from pydantic import SecretStr
from starlette.datastructures import State
from stripe import StripeClient
from temporalio import workflow
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import TimeSkipper
from temporalio.worker import Interceptor
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from activities.stripe_client import open_client
from activities.temporal_client import connect
from api.server import KEEP_ALIVE, describe_app, gather
from cli.stack.ports import free_port
from db import ledger
from db.engine import Database, open_database
from domain.accounts import Account, AccountKind
from domain.money import Money
from domain.pacing import Pacing
from domain.postings import move
from domain.settings import Settings
from domain.stripe_events import CatchUpRound
from tests.sandbox import Sandbox
from worker.main import Parts, build
from worker.sandboxing import RUNNER
from workflows.catch_up import CatchUp
from workflows.sweep import Sweep

PATIENCE = 90.0
"""Seconds that a test waits for what must come true. Machines stall for many seconds; only a hang takes this long."""

JWT_SECRET = "a-development-secret-for-tests-only"


class _PreparedOnce(SandboxedWorkflowRunner):
    """The worker's own sandbox, which tries each workflow out once a session, not once for each test's worker."""

    _prepared: ClassVar[set[type]] = set()

    def prepare_workflow(self, defn: workflow._Definition) -> None:
        if defn.cls not in self._prepared:
            super().prepare_workflow(defn)
            self._prepared.add(defn.cls)


_RUNNER = _PreparedOnce(restrictions=RUNNER.restrictions)

TEMPLATE = "paysaga_template"
"""The migrated, empty database that each world begins with a copy of."""

BRISK = Pacing(
    http_timeout=4.0,
    start_to_close=6.0,
    activity_first_retry=0.05,
    activity_longest_retry=0.2,
    # Temporal comes back to a failed attempt after a second at the earliest.
    activity_attempts=3,
    saga_retries=(0.3, 0.6, 1.2),
    polls=(0.5, 1.0, 2.0),
    absent_apart=0.5,
    funds_poll=1.0,
    paid_poll=0.5,
    paid_watch=1.5,
)
"""Production's waits, shortened a hundredfold and more; how long money is waited for (a day, 14 days) is left."""


@dataclass(frozen=True)
class Servers:
    """What the session runs."""

    superuser_url: Callable[[str], str]
    owner_url: Callable[[str], str]
    database_url: Callable[[str], str]
    temporal_address: str
    sandbox_url: str


class World:
    """A marketplace's view of Paysaga, and the means to look behind it."""

    def __init__(
        self, *, settings: Settings, superuser_url: str, sandbox: Sandbox, temporal: Client, http: httpx.AsyncClient
    ) -> None:
        self.settings = settings
        self.superuser_url = superuser_url
        self.sandbox = sandbox
        self.temporal = temporal
        self.http = http

    @asynccontextmanager
    async def serving(
        self, *, port: int | None = None, temporal: Client | None = None
    ) -> AsyncIterator[httpx.AsyncClient]:
        """One more API in this process: on the world's port, for a world that was opened without, or on another."""
        settings = self.settings.model_copy(update={"api_port": port or self.settings.api_port})
        async with (
            open_database(settings.database_url.get_secret_value(), pool_size=10) as database,
            open_client(self.sandbox.key, base=self.sandbox.url, timeout=settings.pacing.http_timeout) as stripe,
            serve_api(settings, database, temporal or self.temporal, stripe),
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{settings.api_port}", timeout=PATIENCE, verify=False) as http,
        ):
            yield http

    @asynccontextmanager
    async def inhabited(self) -> AsyncIterator[None]:
        """API and worker in this process, for a world that was opened without; nothing stays connected afterwards."""
        async with self.inhabited_by_a_worker(), self.serving():
            yield

    @asynccontextmanager
    async def inhabited_by_a_worker(self) -> AsyncIterator[None]:
        """A worker in this process, for a world that was opened without, until others take over."""
        async with (
            open_database(self.settings.database_url.get_secret_value(), pool_size=5) as database,
            open_client(self.sandbox.key, base=self.sandbox.url, timeout=self.settings.pacing.http_timeout) as stripe,
            build(Parts(self.settings, self.temporal, database, stripe), runner=_RUNNER),
        ):
            yield

    @property
    def database(self) -> str:
        """The name of the world's database."""
        return self.superuser_url.rsplit("/", 1)[1]

    # ── As a client ──

    def token(self, user: str = "alice", role: str = "customer", **claims: Any) -> str:
        """A bearer token."""
        now = int(time.time())
        claims = {
            "sub": user, "role": role, "iss": "paysaga", "aud": "paysaga", "iat": now, "exp": now + 600
        } | claims  # fmt: skip
        return jwt.encode(claims, JWT_SECRET, algorithm="HS256")

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        user: str = "alice",
        role: str = "customer",
        key: str | None = None,
        content: bytes | None = None,
    ) -> httpx.Response:
        """One request; a POST gets a fresh Idempotency-Key unless one is given."""
        headers = {"Authorization": f"Bearer {self.token(user, role)}"}
        if method == "POST":
            headers["Idempotency-Key"] = key or str(uuid.uuid4())
        if content is not None:
            return await self.http.request(method, path, content=content, headers=headers)
        return await self.http.request(method, path, json=body, headers=headers)

    async def get(self, path: str, *, user: str = "alice", role: str = "customer") -> Any:
        """A read that must succeed."""
        answer = await self.call("GET", path, user=user, role=role)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def deposit(
        self, amount: int = 20_000, currency: str = "usd", *, user: str = "alice", key: str | None = None, **more: Any
    ) -> httpx.Response:
        """`POST /v1/deposits`."""
        return await self.call(
            "POST", "/v1/deposits", {"amount": amount, "currency": currency} | more, user=user, key=key
        )

    async def accepted_deposit(self, amount: int = 20_000, currency: str = "usd", **more: Any) -> dict[str, Any]:
        """A deposit that has had its first answer."""
        answer = await self.deposit(amount, currency, **more)
        assert answer.status_code in (201, 202), answer.text
        found: dict[str, Any] = answer.json()
        if answer.status_code == 202:
            await self.until(found["id"], lambda now: now["status"] != "requested")
            found = await self.get(f"/v1/deposits/{found['id']}", user=found["user_id"])
        return found

    async def onboarded(self, user: str = "carl", **bank: Any) -> str:
        """A contractor with an account at Stripe that can receive, and pay out to `bank`; the account's id."""
        profile = {"email": f"{user}@example.com", "name": user.title(), "country": "US"}
        assert (await self.call("PUT", "/v1/me", profile, user=user, role="contractor")).status_code == 200
        urls = {"return_url": "http://localhost/done", "refresh_url": "http://localhost/again"}
        made = await self.call("POST", "/v1/connect/account", urls, user=user, role="contractor")
        assert made.status_code in (201, 202), made.text
        known = await self.until(made.json()["id"], lambda now: "stripe_account" in now["details"])
        account = str(known["details"]["stripe_account"])
        await self.sandbox.control("POST", f"accounts/{account}/complete_onboarding", **bank)
        await self.until(made.json()["id"], lambda now: now["status"] == "active")
        return account

    async def account_of(self, user: str = "carl") -> str:
        """The operation that stands for a contractor's connected account."""
        account = await self.get("/v1/connect/account", user=user, role="contractor")
        return str(account["id"])

    async def funded(self, user: str = "carl", amount: int = 20_000, currency: str = "usd") -> None:
        """Money in a contractor's wallet: a customer's, paid with the card whose money is there at once."""
        paid = await self.deposit(amount, currency, user="clara", payment_method="pm_card_bypassPending")
        await self.closed(paid.json()["id"])
        await self.give("clara", user, amount, currency)

    async def give(self, giver: str, taker: str, amount: int, currency: str = "usd") -> None:
        """The marketplace moves money from one user's wallet to another's."""
        body = {"from_user_id": giver, "to_user_id": taker, "amount": amount, "currency": currency}
        moved = await self.call("POST", "/v1/wallet-transfers", body, user="shop", role="service")
        assert moved.status_code in (201, 202), moved.text
        await self.closed(moved.json()["id"])

    async def withdraw(
        self, amount: int = 8_000, currency: str = "usd", *, user: str = "carl", key: str | None = None
    ) -> httpx.Response:
        """`POST /v1/withdrawals`."""
        body = {"amount": amount, "currency": currency}
        return await self.call("POST", "/v1/withdrawals", body, user=user, role="contractor", key=key)

    async def accepted_withdrawal(self, amount: int = 8_000, currency: str = "usd", **more: Any) -> str:
        """A withdrawal that has had its first answer; its id."""
        answer = await self.withdraw(amount, currency, **more)
        assert answer.status_code in (201, 202), answer.text
        operation_id = str(answer.json()["id"])
        if answer.status_code == 202:
            await self.until(operation_id, lambda now: now["status"] != "requested")
        return operation_id

    async def offer(
        self,
        amount: int = 10_000,
        currency: str = "usd",
        *,
        user: str = "alice",
        contractor: str = "carl",
        key: str | None = None,
        **more: Any,
    ) -> httpx.Response:
        """`POST /v1/offers`."""
        body = {"contractor_id": contractor, "amount": amount, "currency": currency} | more
        return await self.call("POST", "/v1/offers", body, user=user, key=key)

    async def held_offer(self, amount: int = 10_000, currency: str = "usd", **more: Any) -> str:
        """An offer of alice's to carl that is held, with money enough in her wallet for it; its id."""
        customer = more.get("user", "alice")
        paid = await self.deposit(2 * amount, currency, user=customer, payment_method="pm_card_bypassPending")
        await self.closed(paid.json()["id"])
        answer = await self.offer(amount, currency, **more)
        assert answer.status_code in (201, 202), answer.text
        offer_id = str(answer.json()["id"])
        await self.until(offer_id, lambda now: now["status"] != "requested")
        return offer_id

    async def act(
        self, offer_id: str, verb: str, body: dict[str, Any] | None = None, *, user: str, key: str | None = None
    ) -> httpx.Response:
        """A verb of one of an offer's parties: `POST /v1/offers/<id>/<verb>`."""
        return await self.call("POST", f"/v1/offers/{offer_id}/{verb}", body or {}, user=user, key=key)

    async def acted(self, offer_id: str, verb: str, body: dict[str, Any] | None = None, *, user: str) -> dict[str, Any]:
        """A verb that must be answered; the offer as it is then."""
        answer = await self.act(offer_id, verb, body, user=user)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def owe(self, amount: int, currency: str = "usd", *, user: str = "alice") -> None:
        """Let the user owe the platform so much, in minor units, after a dispute of the first deposit that there is."""
        [[disputed]] = await self.sql("SELECT min(id) FROM operations WHERE kind = 'deposit'")
        debt = move(
            Money(amount, currency),
            debit=Account(AccountKind.RECEIVABLE, currency, user),
            credit=Account(AccountKind.DISPUTE_LOSSES, currency),
        )
        async with (
            open_database(self.settings.database_url.get_secret_value(), pool_size=1) as database,
            database.transaction() as connection,
        ):
            await ledger.post(connection, disputed, f"owed: {amount} by {user}", debt)

    async def owed(self, user: str = "alice", currency: str = "usd") -> int:
        """What the user owes the platform by the books, in minor units."""
        [[owed]] = await self.sql(
            "SELECT coalesce(-sum(b.balance), 0) FROM ledger_accounts a JOIN ledger_balances b ON b.account_id = a.id"
            " WHERE a.kind = 'receivable' AND a.owner = $1 AND a.currency = $2",
            user,
            currency,
        )
        return int(owed)

    async def admin(self, path: str, *, reason: str = "a test", key: str | None = None) -> httpx.Response:
        """An admin's act: `POST /v1/admin/<path>`."""
        return await self.call("POST", f"/v1/admin/{path}", {"reason": reason}, user="root", role="admin", key=key)

    async def help(
        self, operation_id: str, verb: str, /, *, admin: str = "root", key: str | None = None, **what: Any
    ) -> httpx.Response:
        """`POST /v1/admin/operations/{id}/{verb}`, sent again with the same key until it is answered."""
        body = {"reason": "a test"} | what
        path = f"/v1/admin/operations/{operation_id}/{verb}"
        key = key or str(uuid.uuid4())

        async def ask() -> httpx.Response:
            return await self.call("POST", path, body, user=admin, role="admin", key=key)

        deadline = time.monotonic() + PATIENCE
        while (answer := await ask()).status_code == 202:
            assert time.monotonic() < deadline, answer.text
        return answer

    async def approval(self, operation_id: str, verb: str, *, admin: str = "root", **what: Any) -> str:
        """The id of an approval that an admin has asked for."""
        answer = await self.help(operation_id, "approvals", admin=admin, verb=verb, **what)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def approve(self, approval: str, *, admin: str) -> httpx.Response:
        """`POST /v1/admin/approvals/{id}/approve`."""
        path = f"/v1/admin/approvals/{approval}/approve"
        return await self.call("POST", path, {"reason": "a test"}, user=admin, role="admin")

    async def wallet(self, user: str = "carl", currency: str = "usd") -> dict[str, Any]:
        """The user's wallet."""
        wallets = await self.get(f"/v1/wallets?user_id={user}", user="root", role="admin")
        [found] = [wallet for wallet in wallets if wallet["currency"] == currency]
        return dict(found)

    async def operation(self, operation_id: str) -> dict[str, Any]:
        """`GET /v1/operations/{id}` as an admin."""
        found: dict[str, Any] = await self.get(f"/v1/operations/{operation_id}", user="root", role="admin")
        return found

    async def until(
        self, operation_id: str, reached: Callable[[dict[str, Any]], bool], *, within: float = PATIENCE
    ) -> dict[str, Any]:
        """The operation, once `reached` holds of it.

        As a deployment's Schedule does, it starts what an API that did not wait long enough may not have.
        """
        deadline = time.monotonic() + within
        sweeps_at = time.monotonic() + 5.0
        pause = 0.03
        while not reached(operation := await self.operation(operation_id)):
            if operation["status"] == "requested" and time.monotonic() > sweeps_at:
                await self._start_sweep()
                sweeps_at += 5.0
            shown = {name: operation[name] for name in ("id", "status", "closed_at", "failure", "attention")}
            assert time.monotonic() < deadline, f"still {shown}"
            # Ever longer: each look costs the API what a whole step of a saga does.
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.3)
        return operation

    async def closed(self, operation_id: str, *, within: float = PATIENCE) -> dict[str, Any]:
        """The operation, once its saga has ended."""
        # Temporal tells when, where asking the API again and again would cost it more than many a saga does. A saga
        # that was terminated, or is not there yet, may end by a run of its own, which only asking shows.
        with suppress(WorkflowFailureError, RPCError, TimeoutError):
            await asyncio.wait_for(self.workflow(operation_id).result(), within)
        return await self.until(operation_id, lambda operation: operation["closed_at"] is not None, within=within)

    async def available(self, user: str = "alice", currency: str = "usd") -> int:
        """What the user's wallet holds, in minor units; 0 without a wallet."""
        wallets = await self.get("/v1/wallets", user=user)
        return sum(wallet["available"] for wallet in wallets if wallet["currency"] == currency)

    # ── Behind it ──

    async def sql(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        """A query as superuser."""
        connection = await asyncpg.connect(self.superuser_url)
        try:
            return list(await connection.fetch(query, *arguments))
        finally:
            await connection.close()

    async def take_from_escrow(self, amount: int, *, user: str = "alice") -> None:
        """Break the books: the user's escrow holds so much less than its entries say, in minor units."""
        await self.sql(
            "UPDATE ledger_balances b SET balance = balance - $1"
            " FROM ledger_accounts a JOIN wallets w ON w.id = a.owner"
            " WHERE b.account_id = a.id AND a.kind = 'wallet_escrow' AND w.user_id = $2",
            amount,
            user,
        )

    async def script(self, statements: str) -> None:
        """Several statements as superuser, on one connection."""
        await _execute(self.superuser_url, statements)

    async def closed_by_sql(self, operation_id: str, *, within: float = PATIENCE) -> asyncpg.Record:
        """The operation's row, once its saga has ended: for when there is no API."""
        found: list[asyncpg.Record] = []

        async def is_closed() -> bool:
            found[:] = await self.sql("SELECT * FROM operations WHERE id = $1", operation_id)
            return found[0]["closed_at"] is not None

        await until(is_closed, within=within)
        return found[0]

    async def settled_events(self, *, within: float = PATIENCE) -> None:
        """Wait until every stored event is settled, sweeping as the Schedule would."""

        async def all_settled() -> bool:
            if not await self.sql("SELECT FROM stripe_events WHERE state = 'received'"):
                return True
            await self.sweep()
            return False

        await until(all_settled, within=within)

    async def retry(self, operation_id: str, *, reason: str) -> None:
        """An operator's verb, as the Temporal UI sends it."""
        await self.workflow(operation_id).execute_update("retry", {"actor": "olivia", "reason": reason})

    async def refused_retry(self, operation_id: str, wish: dict[str, str]) -> str | None:
        """The type of the error that a retry is refused with."""
        with pytest.raises(WorkflowUpdateFailedError) as refused:
            await self.workflow(operation_id).execute_update("retry", wish)
        assert isinstance(refused.value.cause, ApplicationError)
        return refused.value.cause.type

    async def runs(self, workflow_id: str) -> int:
        """How often a workflow of this id was run."""
        return len([found async for found in self.temporal.list_workflows(f"WorkflowId = '{workflow_id}'")])

    def workflow(self, workflow_id: str) -> WorkflowHandle[Any, Any]:
        """The handle of a saga or follow-up."""
        return self.temporal.get_workflow_handle(workflow_id)

    async def events_of(self, workflow_id: str) -> list[Any]:
        """A workflow's history."""
        return [event async for event in self.workflow(workflow_id).fetch_history_events()]

    async def skip(self, seconds: float, *operation_ids: str) -> None:
        """Let time pass: on Stripe's clock, on the database's, and in those of these sagas that run."""
        await self.sandbox.control("POST", "clock/advance", seconds=seconds)
        await self.sql(f"UPDATE deployment SET clock_offset = clock_offset + interval '{seconds} seconds'")
        skipper = TimeSkipper(self.temporal)
        for operation_id in operation_ids:
            try:
                await skipper.fast_forward(self.workflow(operation_id), seconds)
            except RPCError as error:
                # Also an id that there never was is "not found".
                if error.status is not RPCStatusCode.NOT_FOUND or "already completed" not in error.message:
                    raise

    async def sweep(self, workflow_id: str | None = None) -> dict[str, int]:
        """One sweep now, as the Schedule would start it."""
        return await (await self._start_sweep(workflow_id)).result()

    async def _start_sweep(self, workflow_id: str | None = None) -> WorkflowHandle[Sweep, dict[str, int]]:
        return await self.temporal.start_workflow(
            Sweep.run,
            self.settings.pacing,
            id=workflow_id or f"sweep-{uuid.uuid4()}",
            task_queue=self.settings.task_queue,
        )

    async def catch_up(self, workflow_id: str | None = None) -> int:
        """One look at Stripe's Events API now, as the Schedule would start it: how many events were new."""
        return await self.temporal.execute_workflow(
            CatchUp.run,
            CatchUpRound(pacing=self.settings.pacing),
            id=workflow_id or f"catch-up-{uuid.uuid4()}",
            task_queue=self.settings.task_queue,
        )


async def _execute(url: str, statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statements)
    finally:
        await connection.close()


def settings_for(servers: Servers, database: str, port: int, key: str, *, pacing: Pacing = BRISK) -> Settings:
    """What one test's processes are told."""
    return Settings(
        database_url=SecretStr(servers.database_url(database)),
        temporal_address=servers.temporal_address,
        stripe_secret_key=SecretStr(key),
        stripe_api_base=servers.sandbox_url,
        task_queue=f"tq-{database}",
        jwt_secret=SecretStr(JWT_SECRET),
        api_port=port,
        pacing=pacing,
        answer_within=30.0,
        sweep_older_than=0.0,
        catch_up_older_than=0.0,
        sticky_timeout=0.5,
        stripe_breaker_pause=0.2,
    )


@asynccontextmanager
async def open_world(
    servers: Servers,
    *,
    pacing: Pacing = BRISK,
    worker: bool = True,
    api: bool = True,
    template: str = TEMPLATE,
    stripe_key: str | None = None,
    around: Sequence[Interceptor] = (),
    **changed: Any,
) -> AsyncIterator[World]:
    """A fresh world; with `worker` and `api` in this process unless the test runs its own.

    `around` are interceptors of the worker, by which a test meddles with single steps.

    `template` is the database it begins with a copy of, and `stripe_key` the platform at the sandbox that this one
    belongs to; its webhooks then go where they went before.
    """
    name = f"t_{secrets.token_hex(6)}"
    async with AsyncExitStack() as stack:
        # Copying files takes half the time of writing it all to the log, which nothing here replays.
        create = f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY"
        await _execute(servers.superuser_url("postgres"), create)
        stack.push_async_callback(_execute, servers.superuser_url("postgres"), f"DROP DATABASE {name} WITH (FORCE)")
        sandbox = Sandbox(servers.sandbox_url, stripe_key or f"sk_test_{name}")
        stack.push_async_callback(sandbox.close)
        # Stripe's fee comes after the success, as ever; half a second later would only make every test wait.
        await sandbox.control("POST", "settings", balance_transaction_delay_ms=[100, 250])
        port = free_port()
        hooks = f"http://127.0.0.1:{port}/v1/webhooks/stripe"
        secrets_of = {}
        if stripe_key is None:
            platform = await sandbox.register_webhook(hooks, connect=False)
            connected = await sandbox.register_webhook(f"{hooks}/connect", connect=True)
            secrets_of = {
                "stripe_webhook_secrets": (SecretStr(platform),),
                "stripe_connect_webhook_secrets": (SecretStr(connected),),
            }
        settings = settings_for(servers, name, port, sandbox.key, pacing=pacing).model_copy(
            update={**secrets_of, **changed}
        )
        temporal = await connect(settings)
        database = await stack.enter_async_context(
            open_database(settings.database_url.get_secret_value(), pool_size=settings.database_pool)
        )
        stripe = await stack.enter_async_context(
            open_client(sandbox.key, base=settings.stripe_api_base, timeout=settings.pacing.http_timeout)
        )
        if worker:
            parts = Parts(settings, temporal, database, stripe)
            await stack.enter_async_context(build(parts, around=around, runner=_RUNNER))
        if api:
            await stack.enter_async_context(serve_api(settings, database, temporal, stripe))
        http = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE, verify=False)
        stack.push_async_callback(http.aclose)
        yield World(
            settings=settings,
            superuser_url=servers.superuser_url(name),
            sandbox=sandbox,
            temporal=temporal,
            http=http,
        )


@asynccontextmanager
async def serve_api(
    settings: Settings, database: Database, temporal: Client, stripe: StripeClient
) -> AsyncIterator[None]:
    """The API in this process, on its real port."""
    # Describing its routes takes longer than most tests, so they are described once a session; what they are served
    # from is each world's own.
    app = copy(_described())
    app.state = State({"services": gather(settings, database, temporal, stripe)})
    config = uvicorn.Config(
        app,
        port=settings.api_port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=2,
        timeout_keep_alive=KEEP_ALIVE,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve())
    await until(lambda: _started(server))
    try:
        yield
    finally:
        server.should_exit = True
        await task


@cache
def _described() -> FastAPI:
    return describe_app()


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the test's process keeps its own."""

    def install_signal_handlers(self) -> None:
        return


async def _started(server: uvicorn.Server) -> bool:
    return server.started


async def until(condition: Callable[[], Awaitable[bool]], *, within: float = PATIENCE) -> None:
    """Wait until `condition` holds, for at most `within` seconds."""
    deadline = time.monotonic() + within
    while not await condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        await asyncio.sleep(0.02)

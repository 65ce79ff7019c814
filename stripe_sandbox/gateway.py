"""The way of every API request: authentication, faults, idempotency, validation, execution, expansion, answer.

The order is Stripe's where Stripe documents it: the limiter runs first; a key's kept answer is given before parameters
are looked at; what fails validation is not kept.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from stripe_sandbox import idempotency
from stripe_sandbox.auth import authenticate, check_version
from stripe_sandbox.connection import Reply, ServerStopping, hang
from stripe_sandbox.errors import StripeError, invalid_request
from stripe_sandbox.events import API_VERSION
from stripe_sandbox.expand import expand
from stripe_sandbox.faults import CallFault, firing_call_fault
from stripe_sandbox.ids import new_id
from stripe_sandbox.jsontypes import Json, dumps
from stripe_sandbox.params import parse_form, validate
from stripe_sandbox.resource import EXPAND, Api, Call, Operation
from stripe_sandbox.settings import read_settings
from stripe_sandbox.store import Scope, Store
from stripe_sandbox.unit import Unit

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Incoming:
    """A request whose caller and form are known."""

    id: str
    scope: Scope
    method: str
    path: str
    params: Json
    key: str | None
    base_url: str
    asgi: AsgiScope

    @property
    def log_url(self) -> str:
        """Where Stripe's dashboard would show the request."""
        return f"https://dashboard.stripe.com/{self.scope.platform}/test/workbench/logs?object={self.id}"


class Gateway:
    """The ASGI application behind /v1. `wake` tells the scheduler that something may have become due."""

    def __init__(self, store: Store, api: Api, wake: Callable[[], None]) -> None:
        self._store = store
        self._api = api
        self._wake = wake
        self._in_flight: set[tuple[Scope, str]] = set()

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        try:
            body = await request.body()
        except ClientDisconnect:
            return
        try:
            reply = await self._answer(request, body)
        except ServerStopping:
            reply = Reply(closed=True)
        await reply.send(scope, receive, send)

    async def _answer(self, request: Request, body: bytes) -> Reply:
        request_id = new_id("req")
        try:
            incoming = self._read(request_id, request, body)
        except StripeError as error:
            return self._reply(request_id, error.status, dumps(error.body(None)))
        try:
            operation, ids = self._api.match(incoming.method, incoming.path)
            reply = await self._handle(incoming, operation, ids)
        except StripeError as error:
            self._log(incoming, error.status)
            reply = self._reply(request_id, error.status, dumps(error.body(incoming.log_url)))
        if incoming.scope.is_connected:
            reply = replace(reply, headers={**reply.headers, "Stripe-Account": incoming.scope.account})
        return reply

    def _read(self, request_id: str, request: Request, body: bytes) -> Incoming:
        headers = request.headers
        scope = authenticate(headers.get("authorization"), headers.get("stripe-account"), self._store)
        check_version(headers.get("stripe-version"))
        content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        if body and content_type != "application/x-www-form-urlencoded":
            raise invalid_request(
                "Invalid request (check that your POST content type is application/x-www-form-urlencoded). If you "
                "have any questions, we can help at https://support.stripe.com/.",
                storable=False,
            )
        key = headers.get("idempotency-key") if request.method == "POST" else None
        if key is not None:
            idempotency.check_key(key)
        return Incoming(
            id=request_id,
            scope=scope,
            method=request.method,
            path=request.url.path,
            params=parse_form(request.scope["query_string"], body),
            key=key,
            base_url=str(request.base_url).rstrip("/"),
            asgi=request.scope,
        )

    # ── Faults and idempotency around execution ──────────────────────────────────────────────────────────────────────

    async def _handle(self, incoming: Incoming, operation: Operation, ids: dict[str, str]) -> Reply:
        fault = firing_call_fault(
            self._store,
            incoming.scope.platform,
            incoming.method,
            incoming.path,
            replayed=self._kept_or_mismatch(incoming),
        )
        match fault:
            case CallFault(kind="error_before"):
                self._log(incoming, None, fault=fault)
                return Reply(closed=True)
            case CallFault(kind="rate_limit" | "server_error" | "key_in_use"):
                error = _planted_error(fault, incoming)
                self._log(incoming, error.status, fault=fault)
                return self._reply(incoming.id, error.status, dumps(error.body(incoming.log_url)))
        with self._key_in_flight(incoming):
            await self._wait(incoming, fault)
            reply = self._replay(incoming, fault) or self._execute(incoming, operation, ids, fault)
        self._wake()
        match fault:
            case CallFault(kind="drop_after_commit"):
                return Reply(closed=True)
            case CallFault(kind="hang_after_commit"):
                await hang(incoming.asgi, fault.seconds)
            case CallFault(kind="truncate"):
                return replace(reply, cut=True)
        return reply

    def _kept_or_mismatch(self, incoming: Incoming) -> bool:
        """Whether this request will be answered from its key, without execution."""
        try:
            return self._kept(incoming) is not None
        except StripeError:
            return True

    def _kept(self, incoming: Incoming) -> idempotency.Kept | None:
        if incoming.key is None:
            return None
        return idempotency.find(self._store, incoming.scope, incoming.key, incoming.path, incoming.params)

    @contextmanager
    def _key_in_flight(self, incoming: Incoming) -> Iterator[None]:
        """While the request executes, its key is in use."""
        if incoming.key is None:
            yield
            return
        holder = (incoming.scope, incoming.key)
        if holder in self._in_flight:
            raise idempotency.in_use(incoming.key)
        self._in_flight.add(holder)
        try:
            yield
        finally:
            self._in_flight.discard(holder)

    async def _wait(self, incoming: Incoming, fault: CallFault | None) -> None:
        if fault is not None and fault.kind == "hang":
            await hang(incoming.asgi, fault.seconds)
        low, high = read_settings(self._store, incoming.scope.platform).latency_ms
        if high:
            await asyncio.sleep(self._unit(incoming).chance().uniform(low, high) / 1000)

    def _replay(self, incoming: Incoming, fault: CallFault | None) -> Reply | None:
        kept = self._kept(incoming)
        if kept is None:
            return None
        self._log(incoming, kept.status, replayed=True, fault=fault)
        reply = self._reply(incoming.id, kept.status, kept.body, incoming.key, original=kept.request_id)
        return replace(reply, headers={**reply.headers, "Idempotent-Replayed": "true"})

    # ── Execution ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _execute(self, incoming: Incoming, operation: Operation, ids: dict[str, str], fault: CallFault | None) -> Reply:
        """Execute, keep the answer and log, in one transaction. Synchronous, so nothing comes between."""
        kind = fault.kind if fault is not None else None
        try:
            with self._store.transaction():
                executed, storable = kind != "server_error_stored", True
                if executed:
                    status, body, storable = self._run(incoming, operation, ids)
                if kind in ("server_error_stored", "server_error_stored_after_commit"):
                    status, body, storable = 500, dumps(_server_error().body(incoming.log_url)), True
                if storable and incoming.key is not None:
                    kept = idempotency.Kept(status, body, incoming.id)
                    idempotency.keep(self._store, incoming.scope, incoming.key, incoming.path, incoming.params, kept)
                self._log(incoming, status, executed=executed, fault=fault)
        except Exception:
            # A defect of the sandbox, not a modelled failure: nothing is kept, and the log says where.
            logger.exception("%s %s failed", incoming.method, incoming.path)
            return self._reply(incoming.id, 500, dumps(_server_error().body(incoming.log_url)))
        return self._reply(incoming.id, status, body, incoming.key, original=incoming.id)

    def _run(self, incoming: Incoming, operation: Operation, ids: dict[str, str]) -> tuple[int, str, bool]:
        """Status, body, and whether a key keeps them."""
        unit = self._unit(incoming)
        try:
            params = validate(incoming.params, {**operation.params, **EXPAND}, unmodelled=operation.unmodelled)
            paths = params.pop("expand", [])
            committed: StripeError | None = None
            with self._store.savepoint():
                try:
                    shown = expand(self._api, unit, operation.run(unit, Call(ids, params)), paths)
                except StripeError as error:
                    if not error.commits:
                        raise
                    committed = error
            if committed is not None:
                raise committed
        except StripeError as error:
            return error.status, dumps(error.body(incoming.log_url)), error.storable
        return 200, dumps(shown), True

    def _unit(self, incoming: Incoming) -> Unit:
        return Unit(
            store=self._store,
            scope=incoming.scope,
            now=self._store.clock(incoming.scope.platform),
            base_url=incoming.base_url,
            renderers=self._api.renderers,
            request_id=incoming.id,
            idempotency_key=incoming.key,
        )

    # ── Answer and log ───────────────────────────────────────────────────────────────────────────────────────────────

    def _reply(
        self, request_id: str, status: int, body: str, key: str | None = None, original: str | None = None
    ) -> Reply:
        headers = {"Request-Id": request_id, "Stripe-Version": API_VERSION}
        if key is not None and original is not None:
            headers |= {"Idempotency-Key": key, "Original-Request": original}
        return Reply(status, body.encode(), headers)

    def _log(
        self,
        incoming: Incoming,
        status: int | None,
        *,
        replayed: bool = False,
        executed: bool = False,
        fault: CallFault | None = None,
    ) -> None:
        self._store.db.execute(
            "INSERT INTO requests (platform, id, at, method, path, account, idempotency_key, status, replayed,"
            " executed, fault) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                incoming.scope.platform,
                incoming.id,
                time.time(),
                incoming.method,
                incoming.path,
                incoming.scope.account,
                incoming.key,
                status,
                replayed,
                executed,
                None if fault is None else fault.kind,
            ),
        )


def _planted_error(fault: CallFault, incoming: Incoming) -> StripeError:
    if fault.kind == "rate_limit":
        return invalid_request(
            "Request rate limit exceeded. Learn more about rate limits here https://stripe.com/docs/rate-limits.",
            code="rate_limit",
            status=429,
        )
    if fault.kind == "key_in_use":
        return idempotency.in_use(incoming.key or "")
    return _server_error()


def _server_error() -> StripeError:
    return StripeError(500, "api_error", "An unknown error occurred.")

"""The control API under /_sandbox: what a test, a demo or an operator may do to a platform's world.

JSON in and out, the same secret key as the API. Unknown fields are refused, so that a misspelt fault is no silent pass.
"""

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from stripe_sandbox import faults, settings
from stripe_sandbox.auth import authenticate
from stripe_sandbox.checks import violations
from stripe_sandbox.clock import Clock
from stripe_sandbox.errors import StripeError
from stripe_sandbox.ids import new_id
from stripe_sandbox.jsontypes import Json, loads
from stripe_sandbox.resource import Api
from stripe_sandbox.resources.payment_flow import Confirmation, confirm, finish_authentication
from stripe_sandbox.resources.payment_intents import find_intent
from stripe_sandbox.resources.webhook_endpoints import roll_secret
from stripe_sandbox.sender import Sender
from stripe_sandbox.store import Scope, Store, Stored
from stripe_sandbox.unit import Unit

Handler = Callable[[Request, Scope], Awaitable[Any]]

MAX_DELIVERIES = 100
"""By one call of `deliver`."""

_RULES: dict[str, tuple[Any, frozenset[str]]] = {
    "call": (faults.CallFault, faults.CALL_KINDS),
    "event": (faults.EventFault, faults.EVENT_KINDS),
    "payout": (faults.PayoutFault, faults.PAYOUT_KINDS),
}


class Control:
    """The handlers, over the parts that they control. `wake` tells the scheduler that something may be due."""

    def __init__(self, store: Store, api: Api, clock: Clock, sender: Sender, wake: Callable[[], None]) -> None:
        self._store = store
        self._api = api
        self._clock = clock
        self._sender = sender
        self.wake = wake

    def routes(self) -> list[Route]:
        """Every control path."""
        table: list[tuple[str, str, Handler]] = [
            ("GET", "/clock", self.clock),
            ("POST", "/clock/advance", self.advance),
            ("GET", "/settings", self.settings),
            ("POST", "/settings", self.change_settings),
            ("POST", "/payment_intents/{id}/complete_3ds", self.complete_3ds),
            ("POST", "/payment_intents/{id}/confirm", self.confirm),
            ("POST", "/webhook_endpoints/{id}/roll_secret", self.roll_secret),
            ("POST", "/events/{id}/deliver", self.deliver),
            ("GET", "/requests", self.requests),
            ("GET", "/deliveries", self.deliveries),
            ("GET", "/check", self.check),
        ]
        for target, path in (("call", "/faults"), ("event", "/event_faults"), ("payout", "/payout_faults")):
            table += [
                ("POST", path, self._planting(target)),
                ("GET", path, self._planted(target)),
                ("DELETE", path, self._removing(target)),
                ("DELETE", path + "/{id}", self._removing(target)),
            ]
        return [Route("/_sandbox" + path, self.endpoint(handler), methods=[method]) for method, path, handler in table]

    def endpoint(self, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        """A handler as a route's endpoint: authenticated, its errors in Stripe's form."""

        async def endpoint(request: Request) -> Response:
            try:
                headers = request.headers
                scope = authenticate(headers.get("authorization"), headers.get("stripe-account"), self._store)
                answer = await handler(request, scope)
            except StripeError as error:
                return JSONResponse(error.body(None), error.status)
            except ValueError as error:
                return JSONResponse({"error": {"message": str(error), "type": "invalid_request_error"}}, 400)
            finally:
                self.wake()
            return JSONResponse(answer)

        return endpoint

    # ── Time and settings ────────────────────────────────────────────────────────────────────────────────────────────

    async def clock(self, request: Request, scope: Scope) -> Json:
        """The platform's time and how far it is ahead, in seconds."""
        row = self._store.platform(scope.platform)
        return {"now": self._store.clock(scope.platform), "offset_seconds": row["clock_offset"]}

    async def advance(self, request: Request, scope: Scope) -> Json:
        """Move the platform's clock ahead by `seconds`; everything due happens."""
        seconds = (await body_fields(request, seconds=(int, float))).get("seconds")
        if seconds is None or seconds < 0:
            raise ValueError("seconds must be a number, 0 or more")
        self._clock.advance(scope.platform, seconds)
        return await self.clock(request, scope)

    async def settings(self, request: Request, scope: Scope) -> Json:
        """The platform's settings."""
        return asdict(settings.read_settings(self._store, scope.platform))

    async def change_settings(self, request: Request, scope: Scope) -> Json:
        """Change some settings."""
        return asdict(settings.write_settings(self._store, scope.platform, await json_body(request)))

    # ── The cardholder ───────────────────────────────────────────────────────────────────────────────────────────────

    async def complete_3ds(self, request: Request, scope: Scope) -> Json:
        """The cardholder passes (`succeed`) or fails 3-D Secure. Returns the PaymentIntent, declined or not."""
        outcome = (await body_fields(request, outcome=(str,))).get("outcome")
        if outcome not in ("succeed", "fail"):
            raise ValueError("outcome must be succeed or fail")
        try:
            return self.act_on_intent(
                scope, request, lambda unit, intent: finish_authentication(unit, intent, passed=outcome == "succeed")
            )
        except StripeError as error:
            if not error.commits:
                raise
            intent: Json = error.extra["payment_intent"]
            return intent

    async def confirm(self, request: Request, scope: Scope) -> Json:
        """The cardholder's client confirms. Returns the PaymentIntent, or the 402 of a decline."""
        given = await body_fields(request, payment_method=(str,), return_url=(str,))
        confirmation = Confirmation(by_client=True, **given)
        return self.act_on_intent(scope, request, lambda unit, intent: confirm(unit, intent, confirmation))

    def act_on_intent(self, scope: Scope, request: Request, act: Callable[[Unit, Stored], None]) -> Json:
        """Do something to the intent in the path, in one transaction that a decline commits."""
        committed: StripeError | None = None
        with self._store.transaction():
            unit = self.unit(scope, request)
            intent = find_intent(unit, request.path_params["id"])
            try:
                act(unit, intent)
            except StripeError as error:
                if not error.commits:
                    raise
                committed = error
        self.wake()
        if committed is not None:
            raise committed
        return intent.body

    # ── Webhooks ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def roll_secret(self, request: Request, scope: Scope) -> Json:
        """A new signing secret for an endpoint; the old ones sign too for `expire_old_after_seconds`."""
        given = await body_fields(request, expire_old_after_seconds=(int, float))
        with self._store.transaction():
            secret = roll_secret(
                self.unit(scope, request), request.path_params["id"], given.get("expire_old_after_seconds", 86_400)
            )
        return {"secret": secret}

    async def deliver(self, request: Request, scope: Scope) -> Json:
        """Send an event now, whatever the faults say. Returns each endpoint's status (null: no answer)."""
        times = (await body_fields(request, times=(int,))).get("times", 1)
        if not 1 <= times <= MAX_DELIVERIES:
            raise ValueError(f"times must be between 1 and {MAX_DELIVERIES}")
        # A platform need not know in which of its connected accounts the event happened.
        found = self._store.locate(scope, request.path_params["id"])
        where = scope if found is None else found[0]
        attempts = await self._sender.deliver_now(where, request.path_params["id"], times)
        return {"attempts": [{"endpoint": attempt.endpoint, "status": attempt.status} for attempt in attempts]}

    async def deliveries(self, request: Request, scope: Scope) -> Json:
        """How the deliveries stand; `?event=` narrows."""
        event = request.query_params.get("event")
        rows = self._store.db.execute(
            "SELECT event, endpoint, state, attempts, extra, due, last_status FROM deliveries"
            " WHERE platform = ? AND (? IS NULL OR event = ?) ORDER BY id",
            (scope.platform, event, event),
        ).fetchall()
        return {"deliveries": [{**dict(row), "extra": bool(row["extra"])} for row in rows]}

    # ── Faults ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _planting(self, target: str) -> Handler:
        async def plant(request: Request, scope: Scope) -> Json:
            rule_type, kinds = _RULES[target]
            fault = faults.parse_fault(rule_type, kinds, await json_body(request))
            return faults.plant(self._store, scope.platform, target, fault)

        return plant

    def _planted(self, target: str) -> Handler:
        async def planted(request: Request, scope: Scope) -> Json:
            return {"faults": faults.planted(self._store, scope.platform, target)}

        return planted

    def _removing(self, target: str) -> Handler:
        async def remove(request: Request, scope: Scope) -> Json:
            removed = faults.remove(self._store, scope.platform, target, request.path_params.get("id"))
            return {"removed": removed}

        return remove

    # ── The sandbox's own books ──────────────────────────────────────────────────────────────────────────────────────

    async def requests(self, request: Request, scope: Scope) -> Json:
        """The API requests received, oldest first; `?path=` and `?method=` narrow."""
        path, method = request.query_params.get("path"), request.query_params.get("method")
        rows = self._store.db.execute(
            "SELECT id, at, method, path, account, idempotency_key, status, replayed, executed, fault FROM requests"
            " WHERE platform = ? AND (? IS NULL OR path GLOB ?) AND (? IS NULL OR method = ?) ORDER BY seq",
            (scope.platform, path, path, method, method),
        ).fetchall()
        return {
            "requests": [
                {**dict(row), "replayed": bool(row["replayed"]), "executed": bool(row["executed"])} for row in rows
            ]
        }

    async def check(self, request: Request, scope: Scope) -> Json:
        """The sandbox's invariants; `violations` is empty when all hold."""
        return {"violations": violations(self._store, scope.platform)}

    def unit(self, scope: Scope, request: Request) -> Unit:
        """The unit of work of a control call; its caller opens the transaction."""
        return Unit(
            store=self._store,
            scope=scope,
            now=self._store.clock(scope.platform),
            base_url=str(request.base_url).rstrip("/"),
            renderers=self._api.renderers,
            request_id=new_id("req"),
        )


async def json_body(request: Request) -> Json:
    """The body, a JSON object; empty is {}."""
    text = await request.body()
    try:
        value = loads(text or b"{}")
    except ValueError as error:
        raise ValueError("the body is not JSON") from error
    if not isinstance(value, dict):
        raise ValueError("the body must be a JSON object")
    return value


async def body_fields(request: Request, **known: tuple[type, ...]) -> Json:
    """The body's fields, of known names and types."""
    values = await json_body(request)
    for name, value in values.items():
        if name not in known:
            raise ValueError(f"unknown field: {name}")
        if not isinstance(value, known[name]) or isinstance(value, bool):
            raise ValueError(f"invalid value for {name}: {value!r}")
    return values

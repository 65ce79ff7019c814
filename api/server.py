"""The HTTP server: where the API's parts are put together."""

import uvicorn
from fastapi import APIRouter, FastAPI
from stripe import StripeClient
from temporalio.client import Client

from activities import logs
from activities.dispatch import SagaDispatcher
from activities.stripe_client import open_client
from activities.stripe_clock import StripeClock
from activities.stripe_links import StripeLinks
from activities.stripe_reads import StripeReads
from activities.temporal_client import connect
from activities.verbs import Verbs
from api import problems
from api.edge import LastResort, NeverCached
from api.limits import BodyLimit
from api.openapi import DescribedAPI
from api.routes import (
    admin,
    connected_accounts,
    deposits,
    health,
    helping,
    me,
    offers,
    operations,
    wallet_transfers,
    wallets,
    webhooks,
    withdrawals,
)
from api.services import Services
from db.engine import Database, open_database
from domain.settings import Settings

DESCRIPTION = """Wallets, escrow and payouts for marketplaces.

- **Money** is a whole number of minor units with a lower-case ISO 4217 code: `20000` `usd` is 200.00 USD, `20000` `jpy`
  is 20,000 JPY. Never a fraction, never a string.
- **Who asks** is a JWT: `Authorization: Bearer …`. What belongs to others does not exist (404).
- **Repeating is safe.** Every `POST` that makes or changes something takes an `Idempotency-Key`. The same key and body
  always mean the same operation, answered with `Idempotent-Replayed: true`: 201 the first time, 200 when replayed, 202
  while Stripe has not answered; a refusal replays its problem. The same key with another request is refused. Three
  POSTs change nothing and take no key: the preview of a withdrawal, and the links to Stripe's pages.
- **Getting paid.** A contractor has a connected account at Stripe: `POST /v1/connect/account`, and Stripe's own form
  behind the link that it answers. `GET /v1/connect/account` says what the account may do and what is still due. Then
  `POST /v1/withdrawals` pays out to the bank; `POST /v1/withdrawals/preview` says beforehand what would be refused.
  What the bank sends back, even days after `paid`, is in the wallet again as `reversed`.
- **Operators** freeze and deactivate wallets, and help sagas that are stuck, under `/v1/admin`: always with a reason.
- **Errors** are problems (RFC 9457). `type` is stable, `remedy` says what to do. An error of form writes nothing; a
  refusal by the state of things leaves a `failed` operation, which the problem names. After a 503 send the same request
  with the same key again.
"""

STRIPE_TIMEOUT = 5.0
"""Seconds that a request waits for Stripe."""

KEEP_ALIVE = 75
"""Seconds that an idle connection stays open: longer than clients and proxies keep theirs (mostly up to 60), so that it
is they who close it. Closed by us, at the very moment when a request comes, it would lose that request its answer."""


def create_app(settings: Settings, database: Database, temporal: Client, stripe: StripeClient) -> FastAPI:
    """The application. It owns nothing that it is given; whoever made the parts closes them."""
    app = describe_app()
    app.state.services = gather(settings, database, temporal, stripe)
    return app


def gather(settings: Settings, database: Database, temporal: Client, stripe: StripeClient) -> Services:
    """What the routes are served from."""
    dispatcher = SagaDispatcher(temporal, task_queue=settings.task_queue, pacing=settings.pacing)
    return Services(
        settings=settings,
        database=database,
        temporal=temporal,
        dispatcher=dispatcher,
        verbs=Verbs(database, dispatcher),
        stripe=StripeReads(stripe),
        links=StripeLinks(stripe),
        stripe_clock=StripeClock(stripe),
    )


def describe_app() -> FastAPI:
    """The routes, without anything to serve them from."""
    app = DescribedAPI(title="Paysaga", version="1", description=DESCRIPTION, redoc_url=None, redirect_slashes=False)
    problems.install(app)
    for middleware in (BodyLimit, LastResort, NeverCached):  # From the inside out.
        app.add_middleware(middleware)
    v1 = APIRouter(prefix="/v1")
    for module in (
        deposits,
        offers,
        withdrawals,
        connected_accounts,
        wallet_transfers,
        me,
        wallets,
        operations,
        admin,
        helping,
        webhooks,
    ):
        v1.include_router(module.router)
    app.include_router(v1)
    app.include_router(health.router)
    return app


async def serve(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM. It starts without Temporal, and answers 202 until that is there."""
    logs.configure()
    temporal = await connect(settings, lazy=True)
    async with (
        open_database(settings.database_url.get_secret_value(), pool_size=settings.database_pool) as database,
        # A client waits for what the API reads from Stripe, and it is only a secret that can be fetched again.
        open_client(
            settings.stripe_secret_key.get_secret_value(), base=settings.stripe_api_base, timeout=STRIPE_TIMEOUT
        ) as stripe,
    ):
        await database.require_mode(settings.mode)
        config = uvicorn.Config(
            create_app(settings, database, temporal, stripe),
            host=settings.api_host,
            port=settings.api_port,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=15,
            timeout_keep_alive=KEEP_ALIVE,
        )
        await uvicorn.Server(config).serve()

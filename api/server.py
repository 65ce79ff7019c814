"""The HTTP server: where the API's parts are put together."""

import uvicorn
from fastapi import APIRouter, FastAPI
from stripe import StripeClient
from temporalio.client import Client

from activities import logs
from activities.dispatch import SagaDispatcher
from activities.stripe_client import open_client
from activities.stripe_reads import StripeReads
from activities.temporal_client import connect
from activities.verbs import Verbs
from api import problems
from api.limits import BodyLimit
from api.routes import deposits, health, me, operations, wallets, webhooks
from api.services import Services
from db.engine import Database, open_database
from domain.settings import Settings

DESCRIPTION = """Wallets, escrow and payouts for marketplaces.

Every `POST` that makes or changes an operation takes an `Idempotency-Key`: the same key and body always give the same
operation. Amounts are minor units. Errors are problems (RFC 9457) that say what to do.
"""


STRIPE_TIMEOUT = 5.0
"""Seconds that a request waits for Stripe."""


def create_app(settings: Settings, database: Database, temporal: Client, stripe: StripeClient) -> FastAPI:
    """The application. It owns nothing that it is given; whoever made the parts closes them."""
    dispatcher = SagaDispatcher(temporal, task_queue=settings.task_queue, pacing=settings.pacing)
    app = FastAPI(title="Paysaga", version="1", description=DESCRIPTION, redoc_url=None)
    app.state.services = Services(
        settings=settings,
        database=database,
        temporal=temporal,
        dispatcher=dispatcher,
        verbs=Verbs(database, dispatcher),
        stripe=StripeReads(stripe),
    )
    problems.install(app)
    app.add_middleware(BodyLimit)
    v1 = APIRouter(prefix="/v1")
    for module in (deposits, me, wallets, operations, webhooks):
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
        )
        await uvicorn.Server(config).serve()

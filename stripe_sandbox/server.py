"""The composition root: an ASGI application over one state file, and the process that serves it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from stripe_sandbox.clock import Clock
from stripe_sandbox.connect_control import ConnectControl
from stripe_sandbox.connection import ClosableProtocol
from stripe_sandbox.control import Control
from stripe_sandbox.gateway import Gateway
from stripe_sandbox.onboarding_page import OnboardingPage
from stripe_sandbox.resources import API
from stripe_sandbox.sender import Sender
from stripe_sandbox.store import Store
from stripe_sandbox.three_d_secure_page import ThreeDSecurePage

LONGEST_SLEEP = 60.0
"""Seconds: wall clocks can jump, so the scheduler never trusts a long one."""


def create_app(state_file: str, *, webhook_transport: httpx.AsyncBaseTransport | None = None) -> Starlette:
    """The sandbox over this SQLite file, which is made on first use.

    webhook_transport: sends the webhooks instead of the network; for tests that watch them.
    """
    store = Store(state_file)
    sender = Sender(store, API, webhook_transport)
    clock = Clock(store, API)
    control = Control(store, API, clock, sender, sender.woken.set)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        scheduler = asyncio.create_task(_schedule(clock, sender))
        try:
            yield
        finally:
            scheduler.cancel()
            await asyncio.gather(scheduler, return_exceptions=True)
            await sender.close()
            store.close()

    return Starlette(
        routes=[
            Route("/_sandbox/health", _health),
            *control.routes(),
            *ConnectControl(store, control).routes(),
            *ThreeDSecurePage(store, control).routes(),
            *OnboardingPage(store, control).routes(),
            Mount("/", Gateway(store, API, sender.woken.set)),
        ],
        lifespan=lifespan,
    )


async def _health(request: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _schedule(clock: Clock, sender: Sender) -> None:
    """Do what is due, then sleep until the next thing is, or until a change wakes us."""
    while True:
        sender.woken.clear()
        clock.run_due()
        sender.start_due()
        dues = [due for due in (clock.next_due(), sender.next_due()) if due is not None]
        wait = min([max(0.0, due - time.time()) for due in dues], default=LONGEST_SLEEP)
        try:
            await asyncio.wait_for(sender.woken.wait(), min(wait, LONGEST_SLEEP))
        except TimeoutError:
            continue


def serve(host: str, port: int, data_file: str) -> None:
    """Serve until SIGTERM or SIGINT, which end it within a second; unsent webhooks follow after a restart."""
    run(create_app(data_file), host, port)


def run(app: ASGIApp, host: str, port: int) -> None:
    """Serve an application with the protocol that planted faults need."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=ClosableProtocol,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,
        timeout_keep_alive=75,
    )
    uvicorn.Server(config).run()

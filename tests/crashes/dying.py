"""Workers and APIs that die by SIGKILL at one point of what they do, and tell of every point that they pass.

A point is the n-th time in one attempt of a step, or in one request, that something has happened which outlives the
process:

    called      nothing has happened yet
    committed   Postgres has committed something
    answered    Stripe has done something and has answered; the answer is not taken in
    told        Temporal has been told something: a start, a signal, an update

Between the last of these and what ends a step, the acknowledgement to Temporal or the answer to the client, nothing
happens that anybody but the process could see. So "before the acknowledgement" is the same point as the last of them,
"after Stripe committed" is `answered`, and "after our commit" each `committed`. A transaction that wrote nothing, and a
read from Stripe, are no points: to die there is to die at the one before.

What is here runs in the process that dies. Shipped code has no such switch.
"""

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import sqlalchemy as sa
import stripe
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.types import ASGIApp, Receive, Scope, Send
from temporalio import activity, client
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

import api.server
import worker.main
from activities.offer_ledger import OfferLedger
from activities.records import RecordActivities
from activities.temporal_client import connect
from db.engine import Database
from domain.settings import Settings

CALLED, COMMITTED, ANSWERED, TOLD = "called", "committed", "answered", "told"

VARIANTS = {OfferLedger.act.__name__: "verb", RecordActivities.record_status.__name__: "status"}
"""Activities that are as many steps as there are values of a field of their argument."""


class Step(NamedTuple):
    """What an attempt is made at. `variant` tells apart what one activity does in several ways."""

    saga: str
    """The workflow's type; of an API, the request's method."""
    name: str
    """The activity's; of an API, the request's path."""
    variant: str = ""

    @classmethod
    def of(cls, saga: str, activity: str, argument: Any) -> "Step":
        """What an activity is asked for; `argument` is its own, or that as it is written in a history."""
        if activity not in VARIANTS:
            return cls(saga, activity)
        said = argument if isinstance(argument, dict) else vars(argument)
        return cls(saga, activity, str(said[VARIANTS[activity]]))

    def __str__(self) -> str:
        return ".".join(part for part in self if part)


class Point(NamedTuple):
    """Where in a step: the `number`-th time (from 1) that `mark` was reached in one attempt."""

    step: Step
    mark: str
    number: int

    def __str__(self) -> str:
        return f"{self.step} {self.mark} {self.number}"


class Passed(NamedTuple):
    """A point that was passed, or died at. `at`: seconds on the clock that all processes of this machine share."""

    point: Point
    at: float


@dataclass(slots=True)
class _Attempt:
    step: Step
    reached: Counter[str] = field(default_factory=Counter)


_attempt: ContextVar[_Attempt | None] = ContextVar("_attempt", default=None)


class Marks:
    """What has been reached in this process, told to the test; at `deadly` the process dies."""

    def __init__(self, deadly: Point | None, told: Connection) -> None:
        self._deadly = deadly
        self._told = told

    def begin(self, step: Step) -> None:
        """From here on, what this task does is an attempt at `step`."""
        _attempt.set(_Attempt(step))
        self.reach(CALLED)

    def reach(self, mark: str) -> None:
        """It has happened, in whichever attempt this is, if in any."""
        attempt = _attempt.get()
        if attempt is None:
            return
        attempt.reached[mark] += 1
        point = Point(attempt.step, mark, attempt.reached[mark])
        # The pipe keeps this beyond the process's end.
        self._told.send(Passed(point, time.monotonic()))
        if point == self._deadly:
            os.kill(os.getpid(), signal.SIGKILL)


def serve_worker(settings: Settings, deadly: Point | None, told: Connection) -> None:
    """The worker, until it dies."""
    marks = Marks(deadly, told)
    _watch_postgres(marks)
    _watch_stripe(marks)
    vars(worker.main)["connect"] = _watched_connect(marks)
    asyncio.run(worker.main.serve(settings, around=[_Activities(marks)]))


def serve_api(settings: Settings, deadly: Point | None, told: Connection) -> None:
    """The API, until it dies."""
    marks = Marks(deadly, told)
    _watch_postgres(marks)
    _watch_stripe(marks)
    vars(api.server)["connect"] = _watched_connect(marks)
    create = api.server.create_app
    vars(api.server)["create_app"] = lambda *parts: _Requests(create(*parts), marks)
    asyncio.run(api.server.serve(settings))


# ── Where an attempt begins ──


class _Activities(Interceptor):
    def __init__(self, marks: Marks) -> None:
        self._marks = marks

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _Activity(next, self._marks)


class _Activity(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, marks: Marks) -> None:
        super().__init__(next)
        self._marks = marks

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        info = activity.info()
        assert info.workflow_type is not None
        self._marks.begin(Step.of(info.workflow_type, info.activity_type, input.args[0] if input.args else None))
        return await super().execute_activity(input)


class _Requests:
    """ASGI middleware around everything."""

    def __init__(self, app: ASGIApp, marks: Marks) -> None:
        self._app = app
        self._marks = marks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self._marks.begin(Step(scope["method"], scope["path"]))
        await self._app(scope, receive, send)


# ── What happens in it ──


def _watch_postgres(marks: Marks) -> None:
    transaction = Database.transaction

    @asynccontextmanager
    async def watched(self: Database) -> AsyncIterator[AsyncConnection]:
        async with transaction(self) as connection:
            yield connection
            wrote = (await connection.execute(sa.text("SELECT pg_current_xact_id_if_assigned()"))).scalar_one()
        if wrote is not None:
            marks.reach(COMMITTED)

    setattr(Database, "transaction", watched)  # noqa: B010 - mypy lets no method be assigned


def _watch_stripe(marks: Marks) -> None:
    request = stripe.HTTPXClient.request_async

    async def watched(self: stripe.HTTPXClient, method: str, *rest: Any, **more: Any) -> Any:
        answer = await request(self, method, *rest, **more)
        if method.lower() != "get":
            marks.reach(ANSWERED)
        return answer

    setattr(stripe.HTTPXClient, "request_async", watched)  # noqa: B010 - mypy lets no method be assigned


def _watched_connect(marks: Marks) -> Any:
    async def watched(settings: Settings, *, lazy: bool = False) -> client.Client:
        plain = await connect(settings, lazy=lazy)
        config = plain.config()
        config["interceptors"] = [_Temporal(marks)]
        return client.Client(**config)

    return watched


class _Temporal(client.Interceptor):
    def __init__(self, marks: Marks) -> None:
        self._marks = marks

    def intercept_client(self, next: client.OutboundInterceptor) -> client.OutboundInterceptor:
        return _Calls(next, self._marks)


class _Calls(client.OutboundInterceptor):
    def __init__(self, next: client.OutboundInterceptor, marks: Marks) -> None:
        super().__init__(next)
        self._marks = marks

    async def start_workflow(self, input: client.StartWorkflowInput) -> client.WorkflowHandle[Any, Any]:
        handle = await super().start_workflow(input)
        self._marks.reach(TOLD)
        return handle

    async def signal_workflow(self, input: client.SignalWorkflowInput) -> None:
        await super().signal_workflow(input)
        self._marks.reach(TOLD)

    async def start_workflow_update(self, input: client.StartWorkflowUpdateInput) -> client.WorkflowUpdateHandle[Any]:
        handle = await super().start_workflow_update(input)
        self._marks.reach(TOLD)
        return handle

    async def start_update_with_start_workflow(
        self, input: client.StartWorkflowUpdateWithStartInput
    ) -> client.WorkflowUpdateHandle[Any]:
        handle = await super().start_update_with_start_workflow(input)
        self._marks.reach(TOLD)
        return handle

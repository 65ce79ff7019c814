"""Whether this process lives, and whether it can work."""

import asyncio
from datetime import timedelta

import sqlalchemy as sa
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict
from temporalio.service import RPCError

from api import problems
from api.services import Held
from domain import errors

WITHIN = 2.0
"""Seconds that Temporal has to answer."""

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """`ok`, or there would be no answer."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "ok"}]})

    status: str = "ok"


@router.get("/healthz", response_model=Health, summary="Is the process alive?", response_description="It is.")
async def alive() -> Health:
    """Answers as long as the process can."""
    return Health()


@router.get(
    "/readyz",
    response_model=Health,
    summary="Can it take requests?",
    response_description="It can.",
    responses=problems.described(errors.Unavailable),
)
async def ready(held: Held) -> Health:
    """Answers 200 when Postgres and Temporal do. Requests may succeed without Temporal: they are then answered 202."""
    async with held.database.transaction() as connection:
        await connection.execute(sa.text("SELECT 1 FROM deployment"))
    try:
        # check_health's own timeout does not bound its connecting, if this process has not reached Temporal before.
        async with asyncio.timeout(WITHIN):
            await held.temporal.service_client.check_health(timeout=timedelta(seconds=WITHIN))
    except (RPCError, RuntimeError, TimeoutError) as error:
        raise errors.Unavailable("Temporal cannot be reached.") from error
    return Health()

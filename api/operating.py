"""Operations as clients ask for them, whatever their kind: made, answered, canceled, listed, read.

    POST ──▶ one write transaction: accepted, or refused by the state of things ──▶ its saga's first answer ──▶ 201
               └─ this key came before: 200, as it is now                             └─ none in time: 202

What is written is never taken back by what fails afterwards: the client is told 202, and the sweeper goes on.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import sqlalchemy as sa
import structlog
from fastapi import Query, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from sqlalchemy.ext.asyncio import AsyncConnection

from api import pages, problems
from api.auth import AnyUserId, Caller, Role
from api.services import Services
from db import operations, users
from db.operations import Asked
from domain import errors
from domain.operations import OperationKind
from domain.statuses import FAILED, REQUESTED

CANCEL = "cancel"

REPLAYED = {
    "Idempotent-Replayed": {
        "description": "`true` if this key was used before: nothing was done again.",
        "schema": {"type": "string", "enum": ["true"]},
    }
}
"""A response's header, for OpenAPI."""

OfUser = Annotated[AnyUserId, Query(description="For admins and services: whose.")]
"""A list's query parameter."""

Shown = TypeVar("Shown", bound=BaseModel)
Show = Callable[[sa.RowMapping], BaseModel | Awaitable[BaseModel]]
"""How a kind's operation is answered; awaited where Stripe is asked for what is never kept."""

log = structlog.get_logger()


class Nothing(BaseModel):
    """Nothing needs to be said."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{}]})


def made(
    model: type[BaseModel], kind: OperationKind, *refusals: type[errors.PaysagaError]
) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says of the answers of a route that is `make`."""
    what = kind.replace("_", " ")
    location = {"Location": {"description": f"Where to read the {what}.", "schema": {"type": "string"}}}
    return {
        200: {
            "model": model,
            "description": f"Replayed: the {what} that this key made before, as it is now.",
            "headers": REPLAYED,
        },
        201: {"headers": location},
        202: {
            "model": model,
            "description": "Accepted; it is not known yet how it begins. Read it again in a moment.",
            "headers": location | REPLAYED,
        },
        **problems.described(*refusals, errors.Forbidden, *problems.OF_ANY_POST),
    }


def answered(model: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says of the answers of a route that is `ask`, but for its refusals."""
    return {
        200: {"headers": REPLAYED},
        202: {
            "model": model,
            "description": "Accepted; how it ends is not certain yet. Read it again in a moment.",
            "headers": REPLAYED,
        },
    }


def canceled(model: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says of the answers of a route that is `cancel`."""
    return answered(model) | problems.described(errors.NotFound, errors.NotCancelable, *problems.OF_ANY_POST)


# ── Making ──


async def make(
    held: Services,
    asked: Asked,
    accept: Callable[[AsyncConnection], Awaitable[str]],
    *,
    show: Show,
    at: Callable[[str], str],
) -> Response:
    """Make an operation, or answer as before if this key has made one.

    `accept` inserts it (see `db.acceptance`) and returns its id; what it raises writes nothing. `at`: where it can be
    read.
    """
    async with held.database.transaction() as connection:
        earlier = await operations.earlier_request(connection, asked)
        operation_id = await accept(connection) if earlier is None else earlier["operation_id"]
        operation = await operations.require(connection, operation_id)
    if operation["status"] == REQUESTED:
        await held.dispatcher.first_answer(operation, within=held.settings.answer_within)
        operation = await as_it_stands(held, operation)
    headers = replayed(earlier is not None)
    if operation["status"] == FAILED:
        return refusal(operation["failure"], operation_id, headers)
    status = 202 if operation["status"] == REQUESTED else 201 if earlier is None else 200
    if status != 200:
        headers["Location"] = at(operation_id)
    shown = show(operation)
    body = shown if isinstance(shown, BaseModel) else await shown
    return JSONResponse(body.model_dump(mode="json"), status_code=status, headers=headers)


# ── Changing ──


@dataclass(frozen=True, slots=True)
class Wished:
    """What a verb is asked of, and what its saga is told. `reason` is kept, and not told: it may name people."""

    operation: sa.RowMapping
    wish: BaseModel | None = None
    reason: str | None = None


async def ask(
    held: Services,
    caller: Caller,
    asked: Asked,
    verb: str,
    find: Callable[[AsyncConnection], Awaitable[Wished]],
    *,
    show: Callable[[sa.RowMapping], BaseModel],
) -> Response:
    """Ask an operation's saga for a verb: answered once its outcome is certain.

    `find` looks for the operation and says what is wished of it; what it raises writes nothing.
    """
    async with held.database.transaction() as connection:
        wished = await find(connection)
        operation = wished.operation
        request = earlier = await earlier_use(connection, caller, asked)
        if earlier is None:
            wish = wished.wish.model_dump(mode="json", exclude_none=True) if wished.wish is not None else None
            await operations.remember_request(
                connection, asked, operation["id"], verb=verb, wish=wish, reason=wished.reason
            )
            request = await operations.earlier_request(connection, asked)
    assert request is not None, "it was there, or is written now"
    answered = request["answered_at"] is not None
    if not answered:
        answered, request = await _ask(held, request)
        operation = await as_it_stands(held, operation)
    headers = replayed(earlier is not None)
    if request["refusal"] is not None:
        return refusal(request["refusal"], operation["id"], headers)
    return JSONResponse(show(operation).model_dump(mode="json"), status_code=200 if answered else 202, headers=headers)


async def cancel(
    held: Services,
    caller: Caller,
    asked: Asked,
    kind: OperationKind,
    operation_id: str,
    *,
    show: Callable[[sa.RowMapping], BaseModel],
) -> Response:
    """Call an operation off: answered once its end is certain. Raises `NotFound`."""

    async def find(connection: AsyncConnection) -> Wished:
        return Wished(await owned(connection, caller, kind, operation_id))

    return await ask(held, caller, asked, CANCEL, find, show=show)


async def _ask(held: Services, request: sa.RowMapping) -> tuple[bool, sa.RowMapping]:
    """Whether the saga has answered, and the request as it stands.

    The request is written, so whatever happens from here on, the client is not turned away: the sweeper asks again.
    """
    asked = Asked(request["caller"], request["key"], request["fingerprint"])
    try:
        answered = await held.verbs.ask(request, within=held.settings.answer_within)
        async with held.database.transaction() as connection:
            return answered, await operations.earlier_request(connection, asked) or request
    except problems.DATABASE_LOST as error:
        log.warning("verb not answered yet", operation_id=request["operation_id"], error=type(error).__name__)
        return False, request


# ── Reading ──


async def read(held: Services, caller: Caller, kind: OperationKind, operation_id: str) -> sa.RowMapping:
    """One operation of this kind. Raises `NotFound`."""
    async with held.database.transaction() as connection:
        return await owned(connection, caller, kind, operation_id)


async def listed(
    held: Services,
    caller: Caller,
    show: Callable[[sa.RowMapping], Shown],
    *,
    kind: OperationKind | None,
    user_id: str | None,
    limit: int,
    cursor: str | None,
) -> pages.Page[Shown]:
    """A page, newest first: one's own, or for admins and services everybody's. Raises `InvalidField`."""
    owner, before = caller.whose(user_id), pages.decode(cursor, str)
    async with held.database.transaction() as connection:
        rows = await operations.page(
            connection, user_id=owner, kind=kind, limit=limit + 1, before_id=str(before[0]) if before else None
        )
    shown = rows[:limit]
    return pages.Page(
        data=[show(row) for row in shown],
        next_cursor=pages.encode([shown[-1]["id"]]) if len(rows) > limit else None,
    )


async def owned(connection: AsyncConnection, caller: Caller, kind: OperationKind, operation_id: str) -> sa.RowMapping:
    """The operation, if it is of this kind and exists for the caller. Raises `NotFound`."""
    row = await operations.get(connection, operation_id)
    return caller.owned(row if row is not None and row["kind"] == kind else None, kind.replace("_", " "))


async def as_it_stands(held: Services, operation: sa.RowMapping) -> sa.RowMapping:
    """The operation by now; or as it was, if Postgres has gone: it is written, so the client is not turned away."""
    try:
        async with held.database.transaction() as connection:
            return await operations.require(connection, operation["id"])
    except problems.DATABASE_LOST as error:
        log.warning("operation not read again", operation_id=operation["id"], error=type(error).__name__)
        return operation


# ── What the answers have in common ──


async def earlier_use(connection: AsyncConnection, caller: Caller, asked: Asked) -> sa.RowMapping | None:
    """The request that used this key before; an admin may also have used it on a wallet.

    Raises `IdempotencyKeyReused` if it was for something else.
    """
    earlier = await operations.earlier_request(connection, asked)
    if caller.role is Role.ADMIN:
        await users.earlier_wallet_action(connection, asked)
    return earlier


def replayed(earlier: bool) -> dict[str, str]:
    """The header that says that nothing was done again."""
    return {"Idempotent-Replayed": "true"} if earlier else {}


def refusal(failure: dict[str, Any], operation_id: str, headers: dict[str, str]) -> Response:
    """An operation's, or a verb's, refusal as its problem."""
    refused = problems.refusal(failure, operation_id)
    refused.headers.update(headers)
    return refused

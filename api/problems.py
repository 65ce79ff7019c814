"""Every refusal as `application/problem+json` (RFC 9457), with a stable `type` and a remedy."""

from typing import Any

import asyncpg
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from domain import errors
from domain.operations import Failure

MEDIA_TYPE = "application/problem+json"

TYPE_BASE = "https://paysaga.dev/problems/"
"""A problem's `type` is this and its code: a name, not necessarily a page."""

RETRY_AFTER = 2
"""Seconds after which a request that could not be taken may come again."""

log = structlog.get_logger()

STATUS: dict[type[errors.PaysagaError], int] = {
    errors.MalformedRequest: 400,
    errors.IdempotencyKeyMissing: 400,
    errors.IdempotencyKeyMalformed: 400,
    errors.WebhookRefused: 400,
    errors.Unauthenticated: 401,
    errors.CardDeclined: 402,
    errors.PaymentRefused: 402,
    errors.AwaitingFunds: 402,
    errors.ActionRequired: 402,
    errors.Forbidden: 403,
    errors.NotTheParty: 403,
    errors.NotFound: 404,
    errors.MethodNotAllowed: 405,
    errors.WalletDeactivated: 409,
    errors.WalletFrozen: 409,
    errors.ReceivableOpen: 409,
    errors.NotWithdrawable: 409,
    errors.ProfileIncomplete: 409,
    errors.AccountExists: 409,
    errors.NoConnectedAccount: 409,
    errors.AccountNotAble: 409,
    errors.NotResumable: 409,
    errors.Compensated: 409,
    errors.ApprovalNeeded: 403,
    errors.ApprovalRefused: 409,
    errors.VerbNotPossible: 409,
    errors.EvidenceAgainst: 409,
    errors.OutcomeUnknown: 409,
    errors.NotCancelable: 409,
    errors.WrongState: 409,
    errors.MilestoneReleased: 409,
    errors.SplitMismatch: 409,
    errors.BodyTooLarge: 413,
    errors.IdempotencyKeyReused: 422,
    errors.InvalidField: 422,
    errors.CurrencyNotHeld: 422,
    errors.Unavailable: 503,
}
"""The HTTP status of each refusal that a client can meet."""

DATABASE_LOST = (DBAPIError, PoolTimeout, OSError, asyncpg.PostgresError, asyncpg.InterfaceError)
"""What says that Postgres could not be asked, or that what became of a commit is unknown."""

MOST_FIELDS = 20
"""Of a form's errors, as many are told."""

BY_CODE = {refusal.code: refusal for refusal in STATUS}


class FieldError(BaseModel):
    """What is wrong with one field."""

    field: str
    detail: str


class Problem(BaseModel):
    """RFC 9457, with what to do about it."""

    type: str = Field(description="Stable: what a client's code may tell problems apart by.")
    title: str = Field(description="What `type` means, for people.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What is wrong with this request.")
    remedy: str = Field(description="What to do about it.")
    operation_id: str | None = Field(default=None, description="The operation that was refused, if one was made.")
    decline_code: str | None = Field(default=None, description="The card network's reason.")
    errors: list[FieldError] | None = Field(
        default=None, description=f"The fields that are wrong, {MOST_FIELDS} of them."
    )


class ProblemResponse(JSONResponse):
    """A problem as it goes over the wire."""

    media_type = MEDIA_TYPE


def respond(error: errors.PaysagaError, **more: Any) -> ProblemResponse:
    """The answer for `error`."""
    status = STATUS[type(error)]
    if isinstance(error, errors.InvalidField):
        more = {"errors": [{"field": error.field, "detail": error.detail}]} | more
    problem = Problem(
        type=f"{TYPE_BASE}{error.code}",
        title=error.title,
        status=status,
        detail=error.detail,
        remedy=error.remedy,
        **more,
    )
    headers = {}
    if status == 503:
        headers["Retry-After"] = str(RETRY_AFTER)
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return ProblemResponse(problem.model_dump(exclude_none=True), status_code=status, headers=headers)


def refusal(failure: dict[str, Any], operation_id: str) -> ProblemResponse:
    """The answer for an operation, or a verb, that was refused: the same each time it is asked for."""
    kept = Failure.model_validate(failure)
    error = BY_CODE.get(kept.code, errors.PaymentRefused)(kept.detail)
    return respond(error, operation_id=operation_id, decline_code=kept.decline_code)


OF_ANY_CALLER = (errors.Unauthenticated, errors.Unavailable)
"""What any route that takes a token may answer."""

OF_ANY_BODY = (errors.MalformedRequest, errors.BodyTooLarge, errors.InvalidField)
"""What any route that takes a body may answer."""

OF_ANY_POST = (
    *OF_ANY_BODY,
    errors.IdempotencyKeyMissing,
    errors.IdempotencyKeyMalformed,
    errors.IdempotencyKeyReused,
    *OF_ANY_CALLER,
)
"""What any route that takes an Idempotency-Key may answer."""


def described(*refusals: type[errors.PaysagaError]) -> dict[int | str, dict[str, Any]]:
    """What a route's OpenAPI says of these refusals: one example each."""
    responses: dict[int | str, dict[str, Any]] = {}
    for one in refusals:
        example = _example(one)
        said = responses.setdefault(
            example["status"],
            {
                "description": one.title,
                "headers": _HEADERS.get(example["status"], {}),
                "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": {}}},
            },
        )
        said["content"][MEDIA_TYPE]["examples"][one.code] = {"summary": one.title, "value": example}
        said["description"] = "; ".join(told["summary"] for told in said["content"][MEDIA_TYPE]["examples"].values())
    return responses


_HEADERS: dict[int, dict[str, Any]] = {
    401: {"WWW-Authenticate": {"description": "`Bearer`", "schema": {"type": "string"}}},
    503: {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}},
}


def _example(refused: type[errors.PaysagaError]) -> dict[str, Any]:
    """A problem as a client may meet it."""
    more: dict[str, Any] = {}
    detail = (refused.__doc__ or refused.title).splitlines()[0]
    if refused is errors.InvalidField:
        detail = "currency: 'xyz' is not a currency that wallets are held in."
        more["errors"] = [{"field": "currency", "detail": "'xyz' is not a currency that wallets are held in."}]
    if issubclass(refused, (errors.StateRefusal, errors.PaymentRefused)):
        more["operation_id"] = "dep_06jk0zf9q8swdt7y4p3vm1b2qr"
    if refused is errors.CardDeclined:
        more["decline_code"] = "insufficient_funds"
    return {
        "type": f"{TYPE_BASE}{refused.code}",
        "title": refused.title,
        "status": STATUS[refused],
        "detail": detail,
        "remedy": refused.remedy,
        **more,
    }


def install(app: FastAPI) -> None:
    """Answer every error as a problem. What is not expected here is `api.edge.LastResort`'s."""

    @app.exception_handler(errors.PaysagaError)
    async def paysaga_error(_: Request, error: errors.PaysagaError) -> ProblemResponse:
        return respond(error)

    @app.exception_handler(RequestValidationError)
    async def form_error(_: Request, error: RequestValidationError) -> ProblemResponse:
        wrong = [{"field": _field(fault["loc"]), "detail": fault["msg"]} for fault in error.errors()[:MOST_FIELDS]]
        first = wrong[0]["field"]
        return respond(
            errors.InvalidField(first, "; ".join(f"{one['field']}: {one['detail']}" for one in wrong)), errors=wrong
        )

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> ProblemResponse:
        if error.status_code == 405:
            refused = respond(errors.MethodNotAllowed(f"{request.url.path} does not take {request.method}."))
            refused.headers.update(error.headers or {})
            return refused
        if error.status_code == 404:
            return respond(errors.NotFound(f"There is nothing at {request.url.path}."))
        return respond(errors.MalformedRequest(str(error.detail)))

    async def database_lost(_: Request, error: Exception) -> ProblemResponse:
        log.warning("request not taken", error=type(error).__name__)
        return respond(errors.Unavailable("The database cannot be asked now, or did not say whether it has committed."))

    for lost in DATABASE_LOST:
        app.add_exception_handler(lost, database_lost)


def _field(location: tuple[str | int, ...]) -> str:
    """`('body', 'amount')` as the client wrote it: `amount`."""
    return ".".join(str(part) for part in location[1:])[:100] or str(location[0])

"""Every refusal as `application/problem+json` (RFC 9457), with a stable `type` and a remedy."""

from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from domain import errors
from domain.operations import Failure

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
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.MethodNotAllowed: 405,
    errors.WalletDeactivated: 409,
    errors.NotCancelable: 409,
    errors.BodyTooLarge: 413,
    errors.IdempotencyKeyReused: 422,
    errors.InvalidField: 422,
    errors.Unavailable: 503,
}
"""The HTTP status of each refusal that a client can meet."""

BY_CODE = {refusal.code: refusal for refusal in STATUS}


class FieldError(BaseModel):
    """What is wrong with one field."""

    field: str
    detail: str


class Problem(BaseModel):
    """RFC 9457, with what to do about it."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": f"{TYPE_BASE}idempotency-key-missing",
                "title": "Idempotency-Key is missing",
                "status": 400,
                "detail": "Every POST needs an Idempotency-Key.",
                "remedy": errors.IdempotencyKeyMissing.remedy,
            }
        }
    )

    type: str
    title: str
    status: int
    detail: str
    remedy: str
    operation_id: str | None = Field(default=None, description="The operation that was refused, if one was made.")
    decline_code: str | None = Field(default=None, description="The card network's reason.")
    errors: list[FieldError] | None = Field(default=None, description="The fields that are wrong.")


class ProblemResponse(JSONResponse):
    """A problem as it goes over the wire."""

    media_type = "application/problem+json"


def respond(error: errors.PaysagaError, **more: Any) -> ProblemResponse:
    """The answer for `error`."""
    status = STATUS[type(error)]
    if isinstance(error, errors.InvalidField):
        more["errors"] = [{"field": error.field, "detail": error.detail}]
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


def described(*refusals: type[errors.PaysagaError]) -> dict[int | str, dict[str, Any]]:
    """What a route's OpenAPI says of these refusals: one example each."""
    responses: dict[int | str, dict[str, Any]] = {}
    for one in refusals:
        status = STATUS[one]
        described = responses.setdefault(
            status, {"model": Problem, "description": one.title, "content": {"application/problem+json": {}}}
        )
        examples = described["content"]["application/problem+json"].setdefault("examples", {})
        examples[one.code] = {
            "summary": one.title,
            "value": {
                "type": f"{TYPE_BASE}{one.code}",
                "title": one.title,
                "status": status,
                "detail": (one.__doc__ or one.title).splitlines()[0],
                "remedy": one.remedy,
            },
        }
    return responses


def install(app: FastAPI) -> None:
    """Answer every error as a problem; nothing leaves as a bare 500."""

    @app.exception_handler(errors.PaysagaError)
    async def paysaga_error(_: Request, error: errors.PaysagaError) -> ProblemResponse:
        return respond(error)

    @app.exception_handler(RequestValidationError)
    async def form_error(_: Request, error: RequestValidationError) -> ProblemResponse:
        faults = error.errors()
        if any(fault["type"] == "json_invalid" for fault in faults):
            return respond(errors.MalformedRequest("The body is not valid JSON."))
        wrong = [{"field": _field(fault["loc"]), "detail": fault["msg"]} for fault in faults]
        problem = errors.InvalidField(wrong[0]["field"], "; ".join(f"{one['field']}: {one['detail']}" for one in wrong))
        answer = respond(problem)
        content = Problem.model_validate_json(bytes(answer.body)).model_copy(
            update={"errors": [FieldError.model_validate(one) for one in wrong]}
        )
        return ProblemResponse(content.model_dump(exclude_none=True), status_code=answer.status_code)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> ProblemResponse:
        if error.status_code == 405:
            return respond(errors.MethodNotAllowed(f"{request.url.path} does not take {request.method}."))
        if error.status_code == 404:
            return respond(errors.NotFound(f"There is nothing at {request.url.path}."))
        return respond(errors.MalformedRequest(str(error.detail)))

    @app.exception_handler(PoolTimeout)
    async def pool_exhausted(_: Request, error: PoolTimeout) -> ProblemResponse:
        return _unavailable(error, "All connections to the database are busy.")

    @app.exception_handler(OSError)
    async def not_reachable(_: Request, error: OSError) -> ProblemResponse:
        return _unavailable(error, "The database cannot be reached.")

    @app.exception_handler(DBAPIError)
    async def database_error(_: Request, error: DBAPIError) -> ProblemResponse:
        return _unavailable(error, "The database did not take the request, or whether it did is unknown.")

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> ProblemResponse:
        log.exception("unexpected error", path=request.url.path, error=type(error).__name__)
        return _unavailable(error, "Something unexpected happened; it was logged.")


def _unavailable(error: Exception, detail: str) -> ProblemResponse:
    log.warning("request not taken", error=type(error).__name__, detail=detail)
    return respond(errors.Unavailable(detail))


def _field(location: tuple[str | int, ...]) -> str:
    """`('body', 'amount')` as the client wrote it: `amount`."""
    return ".".join(str(part) for part in location[1:]) or str(location[0])

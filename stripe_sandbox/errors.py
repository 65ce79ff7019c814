"""Stripe's errors, as exceptions that know how Stripe would answer them.

One class: Stripe's own taxonomy is the `type` field, and callers differ only by the constructor they use.
Sources: https://docs.stripe.com/api/errors and https://docs.stripe.com/error-codes.
"""

from typing import Any

from stripe_sandbox.jsontypes import Json


class StripeError(Exception):
    """An answer other than 200.

    storable: whether an `Idempotency-Key` keeps this answer. Stripe keeps what happened once execution began; it
        does not keep parameter validation failures, 401, 409 (key in use) and 429.
    commits: whether what the operation changed before raising stays. A decline leaves a failed charge behind.
    """

    def __init__(
        self,
        status: int,
        error_type: str,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        storable: bool = True,
        commits: bool = False,
        extra: Json | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.error_type = error_type
        self.message = message
        self.code = code
        self.param = param
        self.storable = storable
        self.commits = commits
        self.extra: Json = extra or {}

    def body(self, request_log_url: str | None) -> Json:
        """Stripe's error JSON. Absent means absent here: Stripe omits what does not apply."""
        error: Json = dict(self.extra)
        if self.code is not None:
            error["code"] = self.code
            error["doc_url"] = doc_url(self.code)
        error["message"] = self.message
        if self.param is not None:
            error["param"] = self.param
        if request_log_url is not None:
            error["request_log_url"] = request_log_url
        error["type"] = self.error_type
        return {"error": error}


def doc_url(code: str) -> str:
    """Where Stripe documents an error code."""
    return f"https://stripe.com/docs/error-codes/{code.replace('_', '-')}"


def invalid_request(
    message: str, *, code: str | None = None, param: str | None = None, status: int = 400, **kwargs: Any
) -> StripeError:
    """A request that Stripe understood and refuses, by state or by content."""
    return StripeError(status, "invalid_request_error", message, code=code, param=param, **kwargs)


def invalid_param(message: str, param: str, code: str | None = None) -> StripeError:
    """A parameter that fails validation: refused before execution, so no idempotency key keeps it."""
    return invalid_request(message, code=code, param=param, storable=False)


def not_modelled(what: str, param: str) -> StripeError:
    """Stripe knows this, the sandbox does not: refuse it rather than ignore it and pretend."""
    return invalid_request(f"The Stripe sandbox does not model {what}.", param=param, storable=False)


def resource_missing(kind: str, object_id: str, param: str, *, in_path: bool) -> StripeError:
    """404 when the id is in the path, 400 when it is a parameter: so does Stripe."""
    return invalid_request(
        f"No such {kind}: '{object_id}'", code="resource_missing", param=param, status=404 if in_path else 400
    )


def no_access(account: str, key: str = "sk_test_********") -> StripeError:
    """403: the account does not exist, was never the platform's, or has withdrawn its access. `key` is redacted."""
    return invalid_request(
        f"The provided key '{key}' does not have access to account '{account}' (or that account does not exist). "
        "Application access may have been revoked.",
        code="account_invalid",
        status=403,
        storable=False,
    )


def unrecognized_url(method: str, path: str) -> StripeError:
    """A path, or a method on it, that is no operation of the API."""
    return invalid_request(
        f"Unrecognized request URL ({method}: {path}). Please see https://stripe.com/docs or we can help at "
        "https://support.stripe.com/.",
        status=404,
        storable=False,
    )

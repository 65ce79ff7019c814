"""Who calls: API keys, `Stripe-Account`, `Stripe-Version`."""

import base64
import binascii
import re

from stripe_sandbox.errors import StripeError, invalid_request, no_access
from stripe_sandbox.events import API_VERSION
from stripe_sandbox.ids import derived_id
from stripe_sandbox.store import Scope, Store

_SECRET_KEY = re.compile(r"sk_test_([A-Za-z0-9_]{4,200})")


def authenticate(authorization: str | None, account: str | None, store: Store) -> Scope:
    """The account that a request acts on. Raises 401 for a missing or malformed key, 403 for a foreign account."""
    key = _key(authorization)
    if key is None:
        raise _unauthorized(
            "You did not provide an API key. You need to provide your API key in the Authorization header, using "
            "Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY'). See "
            "https://stripe.com/docs/api#authentication for details, or we can help at https://support.stripe.com/."
        )
    if key.startswith("pk_"):
        raise _unauthorized(
            "This API call cannot be made with a publishable API key. Please use a secret API key. You can find a "
            "list of your API keys at https://dashboard.stripe.com/account/apikeys.",
            code="secret_key_required",
        )
    match = _SECRET_KEY.fullmatch(key)
    if match is None:
        raise _unauthorized(f"Invalid API Key provided: {_redacted(key)}")
    # The key itself is not kept: the account's id is a digest of it.
    platform = derived_id("acct", match[1])
    store.platform(platform)
    if account is None or account == platform:
        return Scope(platform, platform)
    connected = store.find(Scope(platform, platform), account)
    if connected is None or connected.kind != "account" or connected.deleted:
        raise no_access(account, _redacted(key))
    return Scope(platform, account)


def check_version(version: str | None) -> None:
    """Refuse a `Stripe-Version` that the sandbox does not speak, rather than answer in another one's shapes."""
    if version not in (None, API_VERSION):
        raise invalid_request(
            f"Invalid Stripe API version: {version}. The Stripe sandbox speaks only {API_VERSION}.", storable=False
        )


def _key(authorization: str | None) -> str | None:
    scheme, _, value = (authorization or "").partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer":
        return value or None
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode("ascii").partition(":")[0] or None
        except (binascii.Error, UnicodeDecodeError):
            return None
    return None


def _unauthorized(message: str, code: str | None = None) -> StripeError:
    return StripeError(401, "invalid_request_error", message, code=code, storable=False)


def _redacted(key: str) -> str:
    return key[:8] + "*" * max(0, len(key) - 12) + key[-4:] if len(key) > 12 else "*" * len(key)

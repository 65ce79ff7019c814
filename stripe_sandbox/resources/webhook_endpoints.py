"""Webhook endpoints, of the platform and for Connect. https://docs.stripe.com/api/webhook_endpoints"""

from typing import Any

from stripe_sandbox.errors import invalid_param
from stripe_sandbox.events import API_VERSION
from stripe_sandbox.jsontypes import Json
from stripe_sandbox.params import (
    Params,
    array,
    boolean,
    clearable,
    merge_metadata,
    metadata,
    optional,
    required,
    string,
    url,
)
from stripe_sandbox.resource import Call, Operation, Resource, listing, retrieve
from stripe_sandbox.signing import new_secret
from stripe_sandbox.unit import Unit

MAX_ENDPOINTS = 16
"""Of one account, as at Stripe."""


def _event_type(name: str, raw: Any) -> str:
    """`*`, or one exact type: Stripe knows no families here."""
    value: str = string(pattern=r"\*|[a-z0-9_]+(\.[a-z0-9_]+)+")(name, raw)
    return value


def _api_version(name: str, raw: Any) -> str:
    if raw != API_VERSION:
        raise invalid_param(f"Invalid API version: {raw}. The Stripe sandbox speaks only {API_VERSION}.", name)
    return API_VERSION


_PARAMS: Params = {
    "description": clearable(string()),
    "enabled_events": required(array(_event_type)),
    "metadata": clearable(metadata),
    "url": required(url),
}


def _create(unit: Unit, call: Call) -> Json:
    given = call.params
    if len(unit.all("webhook_endpoint")) >= MAX_ENDPOINTS:
        raise invalid_param(f"You have reached the maximum of {MAX_ENDPOINTS} test webhook endpoints.", "url")
    secret = new_secret()
    endpoint = unit.add(
        "webhook_endpoint",
        "we",
        {
            "api_version": given.get("api_version"),
            "application": None,
            "description": given.get("description"),
            "enabled_events": given["enabled_events"],
            "metadata": merge_metadata({}, given.get("metadata")),
            "status": "enabled",
            "url": given["url"],
        },
        # `expires` is a time on the platform's clock; None for the secret in force.
        {"connect": given.get("connect", False), "secrets": [{"value": secret, "expires": None}]},
    )
    # Shown at creation and never again.
    return {**endpoint.body, "secret": secret}


def _update(unit: Unit, call: Call) -> Json:
    endpoint = unit.get("webhook_endpoint", call.path["webhook_endpoint"], in_path=True)
    changes = dict(call.params)
    if "metadata" in changes:
        changes["metadata"] = merge_metadata(endpoint.body["metadata"], changes["metadata"])
    if "disabled" in changes:
        changes["status"] = "disabled" if changes.pop("disabled") else "enabled"
    unit.change(endpoint, **changes)
    return endpoint.body


def _delete(unit: Unit, call: Call) -> Json:
    endpoint = unit.get("webhook_endpoint", call.path["webhook_endpoint"], in_path=True)
    unit.store.db.execute(
        "DELETE FROM deliveries WHERE platform = ? AND endpoint = ? AND state <> 'succeeded'",
        (unit.scope.platform, endpoint.id),
    )
    endpoint.deleted = True
    unit.store.save(endpoint)
    return {"id": endpoint.id, "object": "webhook_endpoint", "deleted": True}


def roll_secret(unit: Unit, endpoint_id: str, expire_old_after: float) -> str:
    """Put a new secret in force; the earlier ones keep signing too for so many seconds of the platform's clock."""
    endpoint = unit.get("webhook_endpoint", endpoint_id, in_path=True)
    expires = unit.now + expire_old_after
    for secret in endpoint.private["secrets"]:
        secret["expires"] = expires if secret["expires"] is None else min(secret["expires"], expires)
    value = new_secret()
    endpoint.private["secrets"].append({"value": value, "expires": None})
    unit.store.save(endpoint)
    return value


RESOURCE = Resource(
    kind="webhook_endpoint",
    operations=(
        Operation(
            "POST",
            "/v1/webhook_endpoints",
            _create,
            {**_PARAMS, "api_version": optional(_api_version), "connect": optional(boolean)},
        ),
        listing("/v1/webhook_endpoints", "webhook_endpoint", {}),
        retrieve("/v1/webhook_endpoints/{webhook_endpoint}", "webhook_endpoint"),
        Operation(
            "POST",
            "/v1/webhook_endpoints/{webhook_endpoint}",
            _update,
            {
                **_PARAMS,
                "disabled": optional(boolean),
                "enabled_events": optional(array(_event_type)),
                "url": optional(url),
            },
        ),
        Operation("DELETE", "/v1/webhook_endpoints/{webhook_endpoint}", _delete),
    ),
)

"""The Events API: 30 days of what happened. https://docs.stripe.com/api/events"""

from typing import Any

from stripe_sandbox.errors import invalid_param, resource_missing
from stripe_sandbox.events import RETENTION_SECONDS, delivery_success, render_event
from stripe_sandbox.jsontypes import Json
from stripe_sandbox.params import array, boolean, optional, string
from stripe_sandbox.resource import CREATED, Call, ListFilter, Operation, Resource, listing
from stripe_sandbox.store import Filter
from stripe_sandbox.unit import Unit


def _retained(unit: Unit, call: Call) -> list[Filter]:
    if "type" in call.params and "types" in call.params:
        raise invalid_param("You may pass either `type` or `types`, but not both.", "types", "parameters_exclusive")
    return [Filter("created > ?", (unit.timestamp - RETENTION_SECONDS,))]


def _of_type(pattern: str) -> Filter:
    # GLOB's other special characters appear in no event type.
    return Filter("json_extract(body, '$.type') GLOB ?", (pattern,))


def _of_types(types: list[Any]) -> Filter:
    return Filter(f"json_extract(body, '$.type') IN ({','.join('?' * len(types))})", tuple(types))


def _retrieve(unit: Unit, call: Call) -> Json:
    event = unit.get("event", call.path["event"], in_path=True)
    if event.body["created"] <= unit.timestamp - RETENTION_SECONDS:
        raise resource_missing("event", event.id, "id", in_path=True)
    return unit.show(event)


RESOURCE = Resource(
    kind="event",
    render=render_event,
    operations=(
        listing(
            "/v1/events",
            "event",
            {
                "created": CREATED,
                "delivery_success": ListFilter(optional(boolean), delivery_success),
                "type": ListFilter(optional(string()), _of_type),
                "types": ListFilter(optional(array(string(), max_items=20)), _of_types),
            },
            always=_retained,
        ),
        Operation("GET", "/v1/events/{event}", _retrieve),
    ),
)

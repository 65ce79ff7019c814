"""Recording that something happened: the event object and the deliveries it owes, in the change's own transaction."""

import time
from fnmatch import fnmatchcase

from stripe_sandbox.faults import EventFault, firing_event_faults
from stripe_sandbox.jsontypes import Json
from stripe_sandbox.store import Filter, Scope, Stored
from stripe_sandbox.unit import Unit

API_VERSION = "2026-10-28.endive"

RETENTION_SECONDS = 30 * 86_400
"""How long the Events API shows an event."""

OVERTAKE_SECONDS = 0.05
"""How far behind the next event a held one (`reorder`) is sent."""


def publish(unit: Unit, event_type: str, shown: Json, previous: Json | None = None) -> None:
    """Record an event about an object, as shown now, and plan its webhooks."""
    faults = firing_event_faults(unit.store, unit.scope.platform, event_type)
    _publish_once(unit, event_type, shown, previous, faults)
    for fault in faults:
        if fault.kind == "new_id":
            for _ in range(fault.copies):
                _publish_once(unit, event_type, shown, previous, [other for other in faults if other is not fault])


def updated(unit: Unit, event_type: str, stored: Stored, **changes: object) -> None:
    """Change an object and publish its `*.updated` event, unless nothing changed."""
    previous = unit.change(stored, **changes)
    if previous:
        publish(unit, event_type, unit.show(stored), previous)


def _publish_once(unit: Unit, event_type: str, shown: Json, previous: Json | None, faults: list[EventFault]) -> None:
    data: Json = {"object": shown}
    if previous is not None:
        data["previous_attributes"] = previous
    body: Json = {
        "api_version": API_VERSION,
        "data": data,
        "pending_webhooks": 0,
        "request": {"id": unit.request_id, "idempotency_key": unit.idempotency_key},
        "type": event_type,
    }
    if unit.scope.is_connected:
        body["account"] = unit.scope.account
    event = unit.add("event", "evt", body)
    _plan_deliveries(unit, event, faults)


def _plan_deliveries(unit: Unit, event: Stored, faults: list[EventFault]) -> None:
    if _disconnected(unit):
        return
    for endpoint in endpoints_for(unit, event.body["type"]):
        _plan_delivery(unit, event, endpoint, faults)


def _disconnected(unit: Unit) -> bool:
    """Whether the account has left the platform's reach: nobody hears any more of what happens in it."""
    platform = Scope(unit.scope.platform, unit.scope.platform)
    account = unit.store.find(platform, unit.scope.account) if unit.scope.is_connected else None
    return account is not None and account.deleted


def _plan_delivery(unit: Unit, event: Stored, endpoint: Stored, faults: list[EventFault]) -> None:
    settings = unit.settings
    chance = unit.chance()
    low, high = settings.delivery_delay_ms
    due = time.time() + chance.uniform(low, high) / 1000
    if settings.shuffle:
        # Without any delay, chance must still be able to turn two events round.
        due += chance.uniform(0, 0.02)
    else:
        due = max(due, _latest_due(unit, endpoint) + 0.001)
    copies = int(chance.random() < settings.duplicate_rate)
    state, corrupt, held = "pending", 0, 0
    for fault in faults:
        match fault.kind:
            case "drop":
                state = "dropped"
            case "duplicate":
                copies += fault.copies
            case "delay":
                due += fault.seconds
            case "corrupt_signature":
                corrupt = fault.copies
            case "reorder":
                held, due = 1, due + fault.seconds
    if not held and state == "pending":
        _release_held(unit, endpoint, due + OVERTAKE_SECONDS)
    _insert(unit, event, endpoint, state=state, due=due, corrupt=corrupt, held=held, extra=0)
    if state == "pending":
        for _ in range(copies):
            later = due + chance.uniform(0, max(high, 20)) / 1000
            _insert(unit, event, endpoint, state=state, due=later, corrupt=corrupt, held=held, extra=1)


def _insert(
    unit: Unit, event: Stored, endpoint: Stored, *, state: str, due: float, corrupt: int, held: int, extra: int
) -> None:
    unit.store.db.execute(
        "INSERT INTO deliveries (platform, account, event, endpoint, state, due, corrupt, held, extra)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (*unit.scope, event.id, endpoint.id, state, due, corrupt, held, extra),
    )


def _latest_due(unit: Unit, endpoint: Stored) -> float:
    row = unit.store.db.execute(
        "SELECT max(due) AS due FROM deliveries WHERE platform = ? AND endpoint = ? AND state = 'pending'"
        " AND attempts = 0",
        (unit.scope.platform, endpoint.id),
    ).fetchone()
    return row["due"] or 0.0


def _release_held(unit: Unit, endpoint: Stored, due: float) -> None:
    unit.store.db.execute(
        "UPDATE deliveries SET held = 0, due = ? WHERE platform = ? AND endpoint = ? AND state = 'pending' AND held",
        (due, unit.scope.platform, endpoint.id),
    )


# ── Who hears of it ──────────────────────────────────────────────────────────────────────────────────────────────────


def endpoints_for(unit: Unit, event_type: str) -> list[Stored]:
    """The enabled endpoints that want this event.

    An account's own endpoints hear of its own events; a platform's Connect endpoints hear of its connected accounts'.
    """
    own = [endpoint for endpoint in _endpoints(unit, unit.scope) if not endpoint.private["connect"]]
    if unit.scope.is_connected:
        platform = Scope(unit.scope.platform, unit.scope.platform)
        own += [endpoint for endpoint in _endpoints(unit, platform) if endpoint.private["connect"]]
    return [endpoint for endpoint in own if _wants(endpoint, event_type)]


def _endpoints(unit: Unit, scope: Scope) -> list[Stored]:
    page, _ = unit.store.page(scope, "webhook_endpoint", [], limit=100)
    return page[::-1]


def _wants(endpoint: Stored, event_type: str) -> bool:
    enabled = endpoint.body["enabled_events"]
    return endpoint.body["status"] == "enabled" and any(fnmatchcase(event_type, pattern) for pattern in enabled)


# ── How it stands ────────────────────────────────────────────────────────────────────────────────────────────────────


def render_event(unit: Unit, event: Stored) -> Json:
    """The event with the number of endpoints that have not answered 2xx."""
    row = unit.store.db.execute(
        "SELECT count(*) AS pending FROM deliveries WHERE platform = ? AND event = ? AND NOT extra"
        " AND state <> 'succeeded'",
        (unit.scope.platform, event.id),
    ).fetchone()
    return {**event.body, "pending_webhooks": row["pending"]}


def delivery_success(wanted: bool) -> Filter:
    """Events whose every webhook arrived; or those with one that is pending, given up or was never tried."""
    undelivered = (
        "EXISTS (SELECT 1 FROM deliveries WHERE deliveries.platform = objects.platform"
        " AND deliveries.event = objects.id AND NOT extra AND state <> 'succeeded')"
    )
    return Filter(f"NOT {undelivered}" if wanted else undelivered, ())

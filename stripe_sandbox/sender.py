"""Sending webhooks: one attempt at a time for each delivery, again with backoff until it is answered 2xx.

Retries follow `RETRY_AFTER` and end three days after the event, on the platform's clock. Every attempt is signed afresh
with the real time.
"""

import asyncio
import logging
import sqlite3
import time
from typing import NamedTuple

import httpx

from stripe_sandbox.events import endpoints_for
from stripe_sandbox.jsontypes import dumps
from stripe_sandbox.resource import Api
from stripe_sandbox.settings import read_settings
from stripe_sandbox.signing import signature_header
from stripe_sandbox.store import Scope, Store, Stored
from stripe_sandbox.unit import Unit

logger = logging.getLogger(__name__)

RETRY_AFTER = (1, 2, 5, 10, 30, 60, 300, 1800, 7200, 18_000, 36_000)
"""Seconds after the first, second, … failed attempt; the last one repeats. Stripe starts slower; tests cannot wait."""

GIVE_UP_AFTER = 3 * 86_400
"""Seconds on the platform's clock since the event."""

MAX_CONCURRENT = 32


class Attempt(NamedTuple):
    """What an endpoint answered. status None: nothing."""

    endpoint: str
    status: int | None

    @property
    def succeeded(self) -> bool:
        """Whether the endpoint has taken the event."""
        return self.status is not None and 200 <= self.status < 300


class Sender:
    """Makes the deliveries that are due. `transport` lets tests watch what is sent."""

    def __init__(self, store: Store, api: Api, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._store = store
        self._api = api
        self._client = httpx.AsyncClient(transport=transport, follow_redirects=False, trust_env=False)
        self._active: dict[int, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.woken = asyncio.Event()

    async def close(self) -> None:
        """Stop. What was under way stays pending in the file."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._client.aclose()

    # ── Choosing what to send ────────────────────────────────────────────────────────────────────────────────────────

    def start_due(self) -> None:
        """Start sending what is due and not under way."""
        rows = self._store.db.execute(
            "SELECT * FROM deliveries WHERE state = 'pending' AND due <= ? ORDER BY due, id LIMIT ?",
            (time.time(), 4 * MAX_CONCURRENT),
        ).fetchall()
        for row in rows:
            if len(self._active) >= MAX_CONCURRENT:
                return
            if row["id"] in self._active or self._must_wait(row):
                continue
            self._active[row["id"]] = row["endpoint"]
            task = asyncio.create_task(self._deliver(row))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _must_wait(self, row: sqlite3.Row) -> bool:
        """Unshuffled, an endpoint gets one event after the other."""
        in_order = not read_settings(self._store, row["platform"]).shuffle
        return in_order and row["endpoint"] in self._active.values()

    def next_due(self) -> float | None:
        """Real time when the next delivery becomes due; what is due already is under way or waits to be woken."""
        due: float | None = self._store.db.execute(
            "SELECT min(due) AS due FROM deliveries WHERE state = 'pending' AND due > ?", (time.time(),)
        ).fetchone()["due"]
        return due

    # ── Sending ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _deliver(self, row: sqlite3.Row) -> None:
        try:
            unit = self._unit(row["platform"], row["account"])
            event = unit.get("event", row["event"])
            endpoint = self._endpoint(row)
            if endpoint is None or endpoint.body["status"] != "enabled":
                self._record_given_up(row)
                return
            attempt = await self._attempt(unit, event, endpoint, corrupt=row["attempts"] < row["corrupt"])
            self._record(row, event, attempt)
        except Exception:
            logger.exception("delivery %s failed", row["id"])
            self._record_given_up(row)
        finally:
            del self._active[row["id"]]
            self.woken.set()

    async def _attempt(self, unit: Unit, event: Stored, endpoint: Stored, *, corrupt: bool = False) -> Attempt:
        payload = dumps(unit.show(event)).encode()
        secrets = [
            secret["value"]
            for secret in endpoint.private["secrets"]
            if secret["expires"] is None or secret["expires"] > unit.now
        ]
        if corrupt:
            secrets = [f"{secret}-corrupted" for secret in secrets]
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
            "Stripe-Signature": signature_header(payload, secrets, int(time.time())),
        }
        timeout = unit.settings.delivery_timeout_ms / 1000
        try:
            answer = await self._client.post(endpoint.body["url"], content=payload, headers=headers, timeout=timeout)
        except (httpx.HTTPError, httpx.InvalidURL):
            return Attempt(endpoint.id, None)
        return Attempt(endpoint.id, answer.status_code)

    async def deliver_now(self, scope: Scope, event_id: str, times: int) -> list[Attempt]:
        """Send an event to every endpoint that wants it, whatever the faults say; a 2xx settles what it owes."""
        unit = self._unit(*scope)
        event = unit.get("event", event_id, in_path=True)
        attempts = []
        for _ in range(times):
            for endpoint in endpoints_for(unit, event.body["type"]):
                attempt = await self._attempt(unit, event, endpoint)
                attempts.append(attempt)
                if attempt.succeeded:
                    self._store.db.execute(
                        "UPDATE deliveries SET state = 'succeeded', last_status = ?, attempts = attempts + 1"
                        " WHERE platform = ? AND event = ? AND endpoint = ? AND state <> 'succeeded'",
                        (attempt.status, scope.platform, event.id, endpoint.id),
                    )
        return attempts

    # ── Recording ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _record(self, row: sqlite3.Row, event: Stored, attempt: Attempt) -> None:
        made = row["attempts"] + 1
        wait = RETRY_AFTER[min(made, len(RETRY_AFTER)) - 1]
        age = self._store.clock(row["platform"]) - event.body["created"]
        if attempt.succeeded:
            state = "succeeded"
        elif row["extra"] or age + wait > GIVE_UP_AFTER:
            state = "failed"
        else:
            state = "pending"
        self._store.db.execute(
            # Only a pending row: the event may have been delivered by hand meanwhile.
            "UPDATE deliveries SET state = ?, attempts = ?, last_status = ?, due = ?"
            " WHERE id = ? AND state = 'pending'",
            (state, made, attempt.status, time.time() + wait, row["id"]),
        )

    def _record_given_up(self, row: sqlite3.Row) -> None:
        self._store.db.execute("UPDATE deliveries SET state = 'failed' WHERE id = ?", (row["id"],))

    def _endpoint(self, row: sqlite3.Row) -> Stored | None:
        """The endpoint of the account where the event happened, or the platform's, for Connect."""
        for account in (row["account"], row["platform"]):
            endpoint = self._store.find(Scope(row["platform"], account), row["endpoint"])
            if endpoint is not None and not endpoint.deleted:
                return endpoint
        return None

    def _unit(self, platform: str, account: str) -> Unit:
        return Unit(
            store=self._store,
            scope=Scope(platform, account),
            now=self._store.clock(platform),
            base_url="",
            renderers=self._api.renderers,
        )

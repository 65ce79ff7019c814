"""The unit of work: what an operation, a job or a control call may do to one account's objects.

It lives inside one SQLite transaction that its caller opens. Operations never see the database, the clock's source or
the HTTP request.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from stripe_sandbox.errors import resource_missing
from stripe_sandbox.ids import new_id
from stripe_sandbox.jsontypes import Json
from stripe_sandbox.settings import Settings, read_settings
from stripe_sandbox.store import Filter, Scope, Store, Stored

Render = Callable[["Unit", Stored], Json]


@dataclass(frozen=True)
class Unit:
    """One transaction's view of one account.

    now: Unix seconds on the platform's clock; in a job that became due in the past, the time when it was due.
    base_url: how clients reach this server, for the URLs it hands out (the 3-D Secure page).
    renderers: for kinds whose shown form is more than their stored body.
    request_id, idempotency_key: of the API request that caused this, None in jobs; events carry them.
    """

    store: Store
    scope: Scope
    now: float
    base_url: str
    renderers: Mapping[str, Render]
    request_id: str | None = None
    idempotency_key: str | None = None

    @property
    def timestamp(self) -> int:
        """Now, as Stripe writes times: whole Unix seconds."""
        return int(self.now)

    @property
    def settings(self) -> Settings:
        """The platform's settings."""
        return read_settings(self.store, self.scope.platform)

    def at(self, account: str) -> "Unit":
        """The same transaction's view of another account of the platform."""
        return replace(self, scope=Scope(self.scope.platform, account))

    @property
    def platform(self) -> "Unit":
        """The view of the platform's own account."""
        return self.at(self.scope.platform)

    def chance(self) -> random.Random:
        """A fresh generator for one decision: the platform's seed and a counter determine it."""
        ordinal = self.store.next_ordinal(self.scope.platform)
        return random.Random(f"{self.settings.seed}/{ordinal}")

    # ── Objects ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def add(self, kind: str, prefix: str, body: Json, private: Json | None = None) -> Stored:
        """A new object. `id`, `object`, `created` and `livemode` are filled in."""
        base: Json = {"id": new_id(prefix), "object": kind, "created": self.timestamp, "livemode": False}
        stored = Stored(kind, {**base, **body}, private or {})
        self.store.insert(self.scope, stored, stored.body["created"])
        return stored

    def find(self, kind: str, object_id: str) -> Stored | None:
        """The live object of this kind, or None."""
        stored = self.store.find(self.scope, object_id)
        return None if stored is None or stored.kind != kind or stored.deleted else stored

    def get(self, kind: str, object_id: str, param: str = "id", *, in_path: bool = False) -> Stored:
        """The live object, or Stripe's resource_missing about `param`."""
        stored = self.find(kind, object_id)
        if stored is None:
            raise resource_missing(kind, object_id, param, in_path=in_path)
        return stored

    def all(self, kind: str, *filters: Filter) -> list[Stored]:
        """Every live object of a kind, oldest first."""
        page, _ = self.store.page(self.scope, kind, list(filters), limit=1_000_000)
        return page[::-1]

    def change(self, stored: Stored, **changes: object) -> Json:
        """Set fields and save. Returns their earlier values, in the form of an event's `previous_attributes`."""
        previous = {
            name: _previous(stored.body.get(name), value)
            for name, value in changes.items()
            if stored.body.get(name) != value
        }
        stored.body.update(changes)
        self.store.save(stored)
        return previous

    def show(self, stored: Stored) -> Json:
        """The object as the API shows it."""
        render = self.renderers.get(stored.kind)
        return stored.body if render is None else render(self, stored)

    # ── Time ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def later(self, seconds: float, job: str, **payload: object) -> None:
        """Have a job done `seconds` from now on the platform's clock."""
        offset = self.store.platform(self.scope.platform)["clock_offset"]
        self.store.add_job(self.scope, self.now + seconds - offset, job, payload)


def _previous(old: object, new: object) -> object:
    """Of a record (metadata, an address) only the keys that changed; of anything else the old value."""
    if isinstance(old, dict) and isinstance(new, dict):
        return {key: old.get(key) for key in {**old, **new} if old.get(key) != new.get(key)}
    return old

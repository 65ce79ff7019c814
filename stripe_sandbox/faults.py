"""Faults that a test plants: by call (what happens to a request), by event (what happens to its webhooks), and for
payouts (what the bank does).
"""

import sqlite3
from dataclasses import asdict, dataclass, fields
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from stripe_sandbox.banks import FAILURE_MESSAGES
from stripe_sandbox.jsontypes import Json, dumps, loads
from stripe_sandbox.store import Store

BEFORE_EXECUTION = frozenset({"error_before", "rate_limit", "server_error", "hang", "key_in_use"})
"""Kinds that act on any request that arrives, and keep it from executing (a hang: for a while)."""

INSTEAD_OF_EXECUTION = frozenset({"server_error_stored", "server_error_stored_after_commit"})
"""Kinds that need an execution: a request that is replayed from its key passes them by, uncounted."""

AFTER_COMMIT = frozenset({"drop_after_commit", "hang_after_commit", "truncate"})
"""Kinds that spoil the answer of what was executed, or replayed."""

CALL_KINDS = BEFORE_EXECUTION | INSTEAD_OF_EXECUTION | AFTER_COMMIT

PAYOUT_KINDS = frozenset({"fail", "fail_late", "hold"})

EVENT_KINDS = frozenset({"drop", "duplicate", "delay", "reorder", "corrupt_signature", "new_id"})


@dataclass(frozen=True)
class CallFault:
    """A fault for requests that match.

    method, path: of the request; `*` matches anything, also within the path.
    times: how often it fires (None: always), after letting `skip` matches pass.
    seconds: of a hang.
    """

    kind: str
    method: str = "*"
    path: str = "*"
    times: int | None = 1
    skip: int = 0
    seconds: float = 30.0


@dataclass(frozen=True)
class EventFault:
    """A fault for events whose type matches.

    drop: recorded, never delivered. duplicate: `copies` more deliveries. delay: `seconds` later. reorder: held until
    the platform's next event was sent, at most `seconds`. corrupt_signature: the first `copies` attempts are signed
    wrongly. new_id: `copies` more events, with ids of their own, for the same change.
    """

    kind: str
    type: str = "*"
    times: int | None = 1
    skip: int = 0
    copies: int = 1
    seconds: float = 2.0


@dataclass(frozen=True)
class PayoutFault:
    """A fate for the next payouts, of accounts that match.

    fail: with `failure_code`, when it should arrive. fail_late: it is paid, and fails `seconds` later on the
    platform's clock. hold: it stays in transit until a control call moves it.
    """

    kind: str
    account: str = "*"
    times: int | None = 1
    skip: int = 0
    seconds: float = 0.0
    failure_code: str = "could_not_process"


Fault = TypeVar("Fault", CallFault, EventFault, PayoutFault)


def parse_fault(rule_type: type[Fault], kinds: frozenset[str], values: Json) -> Fault:
    """A fault from JSON. Raises ValueError for unknown fields, kinds and wrong types."""
    known = {field.name for field in fields(rule_type)}
    for name, value in values.items():
        if name not in known:
            raise ValueError(f"unknown field: {name}")
        if not _fits(name, value):
            raise ValueError(f"invalid value for {name}: {value!r}")
    if values.get("kind") not in kinds:
        raise ValueError(f"kind must be one of {', '.join(sorted(kinds))}")
    return rule_type(**values)


def _fits(name: str, value: Any) -> bool:
    if name == "failure_code":
        return value in FAILURE_MESSAGES
    if name in ("account", "kind", "method", "path", "type"):
        return isinstance(value, str)
    if isinstance(value, bool):
        return False
    if name == "times":
        return value is None or (isinstance(value, int) and value > 0)
    if name == "seconds":
        return isinstance(value, (int, float)) and value >= 0
    return isinstance(value, int) and value >= 0


def plant(store: Store, platform: str, target: str, fault: CallFault | EventFault | PayoutFault) -> Json:
    """Keep a fault. `target` is "call", "event" or "payout"."""
    row = store.db.execute(
        "INSERT INTO faults (platform, target, rule) VALUES (?, ?, ?) RETURNING *",
        (platform, target, dumps(asdict(fault))),
    ).fetchone()
    return _shown(row)


def planted(store: Store, platform: str, target: str) -> list[Json]:
    """The faults with how often each was seen and fired."""
    return [_shown(row) for row in _rows(store, platform, target)]


def remove(store: Store, platform: str, target: str, fault_id: str | None) -> int:
    """Remove one fault, or all. Returns how many went."""
    if fault_id is None:
        cursor = store.db.execute("DELETE FROM faults WHERE platform = ? AND target = ?", (platform, target))
    else:
        cursor = store.db.execute(
            "DELETE FROM faults WHERE platform = ? AND target = ? AND id = ?", (platform, target, fault_id)
        )
    return cursor.rowcount


def firing_call_fault(store: Store, platform: str, method: str, path: str, *, replayed: bool) -> CallFault | None:
    """The first planted fault that fires for this request; counts it."""
    for row in _rows(store, platform, "call"):
        fault = CallFault(**loads(row["rule"]))
        if replayed and fault.kind in INSTEAD_OF_EXECUTION:
            continue
        matches = fault.method in ("*", method) and fnmatchcase(path, fault.path)
        if matches and _fires(store, row, fault):
            return fault
    return None


def firing_event_faults(store: Store, platform: str, event_type: str) -> list[EventFault]:
    """Every planted fault that fires for this event, in the order of planting; counts them."""
    rules = [(row, EventFault(**loads(row["rule"]))) for row in _rows(store, platform, "event")]
    return [fault for row, fault in rules if fnmatchcase(event_type, fault.type) and _fires(store, row, fault)]


def firing_payout_fault(store: Store, platform: str, account: str) -> PayoutFault | None:
    """The first planted fault that fires for a new payout of this account; counts it."""
    for row in _rows(store, platform, "payout"):
        fault = PayoutFault(**loads(row["rule"]))
        if fnmatchcase(account, fault.account) and _fires(store, row, fault):
            return fault
    return None


def _rows(store: Store, platform: str, target: str) -> list[sqlite3.Row]:
    return store.db.execute(
        "SELECT * FROM faults WHERE platform = ? AND target = ? ORDER BY id", (platform, target)
    ).fetchall()


def _fires(store: Store, row: sqlite3.Row, fault: CallFault | EventFault | PayoutFault) -> bool:
    """Count a match; whether the fault acts on it."""
    fires = row["seen"] >= fault.skip and (fault.times is None or row["fired"] < fault.times)
    store.db.execute("UPDATE faults SET seen = seen + 1, fired = fired + ? WHERE id = ?", (int(fires), row["id"]))
    return fires


def _shown(row: sqlite3.Row) -> Json:
    return {"id": str(row["id"]), **loads(row["rule"]), "seen": row["seen"], "fired": row["fired"]}

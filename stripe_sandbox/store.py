"""The sandbox's state: one SQLite file, one connection, no knowledge of what the objects mean.

Rows belong to a *platform* (one API key) and, inside it, to an *account*: the platform's own, or one connected to it
(`Stripe-Account`). Times called `due` are real Unix seconds, so one index finds what is due for every platform;
advancing a platform's clock moves its rows nearer.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from stripe_sandbox.jsontypes import Json, dumps, loads

SCHEMA = """
CREATE TABLE IF NOT EXISTS platforms (
    id           TEXT PRIMARY KEY,
    clock_offset REAL NOT NULL DEFAULT 0,   -- seconds that this platform's clock is ahead of real time
    settings     TEXT NOT NULL DEFAULT '{}',
    ordinal      INTEGER NOT NULL DEFAULT 0 -- counts random decisions, so that a seed repeats them
) STRICT;

CREATE TABLE IF NOT EXISTS objects (
    seq      INTEGER PRIMARY KEY AUTOINCREMENT, -- creation order, which is list order
    platform TEXT NOT NULL,
    account  TEXT NOT NULL,
    kind     TEXT NOT NULL,
    id       TEXT NOT NULL,
    created  INTEGER NOT NULL,
    deleted  INTEGER NOT NULL DEFAULT 0,
    body     TEXT NOT NULL,                     -- as the API shows it, nothing expanded
    private  TEXT NOT NULL,                     -- what the API never shows (a card's behaviour, a 3-D Secure token)
    UNIQUE (id, platform, account)
) STRICT;
CREATE INDEX IF NOT EXISTS objects_listed ON objects (platform, account, kind, seq);
CREATE INDEX IF NOT EXISTS objects_by_customer ON objects (platform, account, kind, json_extract(body, '$.customer'));
CREATE INDEX IF NOT EXISTS objects_by_payment_intent
    ON objects (platform, account, kind, json_extract(body, '$.payment_intent'));
CREATE INDEX IF NOT EXISTS objects_by_transfer ON objects (platform, account, kind, json_extract(body, '$.transfer'));

CREATE TABLE IF NOT EXISTS balances (
    platform  TEXT NOT NULL,
    account   TEXT NOT NULL,
    currency  TEXT NOT NULL,
    pending   INTEGER NOT NULL DEFAULT 0,   -- minor units
    available INTEGER NOT NULL DEFAULT 0,   -- minor units
    PRIMARY KEY (platform, account, currency)
) STRICT;

CREATE TABLE IF NOT EXISTS idempotency (
    platform    TEXT NOT NULL,
    account     TEXT NOT NULL,
    key         TEXT NOT NULL,
    endpoint    TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    status      INTEGER NOT NULL,
    body        TEXT NOT NULL,
    request_id  TEXT NOT NULL,
    created     REAL NOT NULL,              -- the platform's clock
    PRIMARY KEY (platform, account, key)
) STRICT;

CREATE TABLE IF NOT EXISTS jobs (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    platform TEXT NOT NULL,
    account  TEXT NOT NULL,
    due      REAL NOT NULL,
    kind     TEXT NOT NULL,
    payload  TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS jobs_due ON jobs (due);

CREATE TABLE IF NOT EXISTS deliveries (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    platform    TEXT NOT NULL,
    account     TEXT NOT NULL,              -- where the event happened
    event       TEXT NOT NULL,
    endpoint    TEXT NOT NULL,
    state       TEXT NOT NULL,              -- pending, succeeded, failed (given up), dropped (never tried)
    due         REAL NOT NULL,
    attempts    INTEGER NOT NULL DEFAULT 0,
    extra       INTEGER NOT NULL DEFAULT 0, -- a doubled delivery: tried once, not counted
    corrupt     INTEGER NOT NULL DEFAULT 0, -- how many first attempts get a wrong signature
    held        INTEGER NOT NULL DEFAULT 0, -- waits for the next event to overtake it
    last_status INTEGER                     -- of the last attempt; null when there was no answer
) STRICT;
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (due) WHERE state = 'pending';
CREATE INDEX IF NOT EXISTS deliveries_of_event ON deliveries (platform, event);
CREATE INDEX IF NOT EXISTS deliveries_to_endpoint ON deliveries (platform, endpoint, state);

CREATE TABLE IF NOT EXISTS faults (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    platform TEXT NOT NULL,
    target   TEXT NOT NULL,                 -- call or event
    rule     TEXT NOT NULL,
    seen     INTEGER NOT NULL DEFAULT 0,    -- how often it matched, skipped ones included
    fired    INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX IF NOT EXISTS faults_of_platform ON faults (platform, target);

CREATE TABLE IF NOT EXISTS requests (
    seq             INTEGER PRIMARY KEY AUTOINCREMENT,
    platform        TEXT NOT NULL,
    id              TEXT NOT NULL,
    at              REAL NOT NULL,          -- real time
    method          TEXT NOT NULL,
    path            TEXT NOT NULL,
    account         TEXT NOT NULL,
    idempotency_key TEXT,
    status          INTEGER,                -- null: the connection was closed before execution
    replayed        INTEGER NOT NULL,
    executed        INTEGER NOT NULL,
    fault           TEXT
) STRICT;
CREATE INDEX IF NOT EXISTS requests_of_platform ON requests (platform, seq);
"""


class Scope(NamedTuple):
    """Whose data: a platform, and the account in it (the platform's own id, or a connected account's)."""

    platform: str
    account: str

    @property
    def is_connected(self) -> bool:
        """Whether this is a connected account rather than the platform itself."""
        return self.platform != self.account


@dataclass
class Stored:
    """An object: `body` is what the API shows, `private` what it never shows."""

    kind: str
    body: Json
    private: Json = field(default_factory=dict)
    seq: int = 0
    deleted: bool = False

    @property
    def id(self) -> str:
        """The object's id."""
        object_id: str = self.body["id"]
        return object_id


class Filter(NamedTuple):
    """One SQL condition of a list, with its arguments."""

    sql: str
    arguments: tuple[Any, ...]


class Store:
    """Typed access to the file. Synchronous on purpose: a statement takes microseconds, and nothing can interleave."""

    def __init__(self, path: str) -> None:
        self.db = sqlite3.connect(path, isolation_level=None, cached_statements=256)
        self.db.row_factory = sqlite3.Row
        self.db.execute("PRAGMA journal_mode = WAL")
        # A killed process loses nothing with NORMAL; only a power cut could, and a sandbox may be lost to one.
        self.db.execute("PRAGMA synchronous = NORMAL")
        self.db.execute("PRAGMA busy_timeout = 5000")
        self.db.executescript(SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self.db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing."""
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.db.execute("ROLLBACK")
            raise
        self.db.execute("COMMIT")

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Inside a transaction: undo only what this block did when it raises."""
        self.db.execute("SAVEPOINT part")
        try:
            yield
        except BaseException:
            self.db.execute("ROLLBACK TO part")
            self.db.execute("RELEASE part")
            raise
        self.db.execute("RELEASE part")

    # ── Objects ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def insert(self, scope: Scope, stored: Stored, created: int) -> None:
        """Keep a new object."""
        cursor = self.db.execute(
            "INSERT INTO objects (platform, account, kind, id, created, body, private) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (*scope, stored.kind, stored.id, created, dumps(stored.body), dumps(stored.private)),
        )
        stored.seq = cursor.lastrowid or 0

    def save(self, stored: Stored) -> None:
        """Keep what changed in an object."""
        self.db.execute(
            "UPDATE objects SET body = ?, private = ?, deleted = ? WHERE seq = ?",
            (dumps(stored.body), dumps(stored.private), int(stored.deleted), stored.seq),
        )

    def find(self, scope: Scope, object_id: str) -> Stored | None:
        """The object with this id, deleted ones included."""
        row = self.db.execute(
            "SELECT seq, kind, deleted, body, private FROM objects WHERE platform = ? AND account = ? AND id = ?",
            (*scope, object_id),
        ).fetchone()
        return None if row is None else _stored(row)

    def locate(self, scope: Scope, object_id: str) -> tuple[Scope, Stored] | None:
        """The object with this id in any account of the platform, this scope's before others', and where it is."""
        row = self.db.execute(
            "SELECT account, seq, kind, deleted, body, private FROM objects WHERE platform = ? AND id = ?"
            " ORDER BY account <> ? LIMIT 1",
            (scope.platform, object_id, scope.account),
        ).fetchone()
        return None if row is None else (Scope(scope.platform, row["account"]), _stored(row))

    def page(
        self,
        scope: Scope,
        kind: str,
        filters: list[Filter],
        *,
        limit: int,
        after: int | None = None,
        before: int | None = None,
    ) -> tuple[list[Stored], bool]:
        """Newest first, and whether there are more in that direction. `after` and `before` are sequence numbers."""
        conditions = [
            Filter("platform = ? AND account = ? AND kind = ? AND deleted = 0", (*scope, kind)),
            *filters,
        ]
        if after is not None:
            conditions.append(Filter("seq < ?", (after,)))
        if before is not None:
            conditions.append(Filter("seq > ?", (before,)))
        where = " AND ".join(condition.sql for condition in conditions)
        arguments = [argument for condition in conditions for argument in condition.arguments]
        order = "ASC" if before is not None else "DESC"
        rows = self.db.execute(
            # The conditions are the sandbox's own text; what a client sent travels as arguments.
            f"SELECT seq, kind, deleted, body, private FROM objects WHERE {where} ORDER BY seq {order} LIMIT ?",
            (*arguments, limit + 1),
        ).fetchall()
        page = [_stored(row) for row in rows[:limit]]
        if before is not None:
            page.reverse()
        return page, len(rows) > limit

    # ── Platforms, jobs ──────────────────────────────────────────────────────────────────────────────────────────────

    def platform(self, platform: str) -> sqlite3.Row:
        """The platform's row, made on first use."""
        row: sqlite3.Row | None = self.db.execute("SELECT * FROM platforms WHERE id = ?", (platform,)).fetchone()
        if row is None:
            self.db.execute("INSERT INTO platforms (id) VALUES (?)", (platform,))
            return self.platform(platform)
        return row

    def clock(self, platform: str) -> float:
        """The platform's time: real time plus its offset, in Unix seconds."""
        offset: float = self.platform(platform)["clock_offset"]
        return time.time() + offset

    def next_ordinal(self, platform: str) -> int:
        """A number that counts up, for random decisions that a seed must be able to repeat."""
        row = self.db.execute(
            "UPDATE platforms SET ordinal = ordinal + 1 WHERE id = ? RETURNING ordinal", (platform,)
        ).fetchone()
        ordinal: int = row["ordinal"]
        return ordinal

    def add_job(self, scope: Scope, due: float, kind: str, payload: Json) -> None:
        """Something for the scheduler to do at real time `due`."""
        self.db.execute(
            "INSERT INTO jobs (platform, account, due, kind, payload) VALUES (?, ?, ?, ?, ?)",
            (*scope, due, kind, dumps(payload)),
        )


def _stored(row: sqlite3.Row) -> Stored:
    return Stored(row["kind"], loads(row["body"]), loads(row["private"]), row["seq"], bool(row["deleted"]))

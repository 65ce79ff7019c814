"""Doing what is due: the jobs that resources left for later, and the advancing of a platform's clock."""

import logging
import sqlite3
import time

from stripe_sandbox.jsontypes import loads
from stripe_sandbox.resource import Api
from stripe_sandbox.store import Scope, Store
from stripe_sandbox.unit import Unit

logger = logging.getLogger(__name__)

RETRY_SECONDS = 5
"""When a job that raised is tried again: a defect of the sandbox must show in the log without stopping the rest."""


class Clock:
    """Runs due jobs, each in its own transaction."""

    def __init__(self, store: Store, api: Api) -> None:
        self._store = store
        self._api = api

    def run_due(self, platform: str | None = None) -> None:
        """Do every job that is due (of one platform, or of all) in the order of their times."""
        while (row := self._first_due(platform)) is not None:
            try:
                with self._store.transaction():
                    self._run(row)
            except Exception:
                logger.exception("job %s failed", row["kind"])
                self._store.db.execute("UPDATE jobs SET due = ? WHERE id = ?", (time.time() + RETRY_SECONDS, row["id"]))

    def _first_due(self, platform: str | None) -> sqlite3.Row | None:
        row: sqlite3.Row | None = self._store.db.execute(
            "SELECT * FROM jobs WHERE due <= ? AND (? IS NULL OR platform = ?) ORDER BY due, id LIMIT 1",
            (time.time(), platform, platform),
        ).fetchone()
        return row

    def _run(self, row: sqlite3.Row) -> None:
        self._store.db.execute("DELETE FROM jobs WHERE id = ?", (row["id"],))
        offset = self._store.platform(row["platform"])["clock_offset"]
        unit = Unit(
            store=self._store,
            scope=Scope(row["platform"], row["account"]),
            # The time when it was due, not when it is done: what it makes is dated as if nobody had slept.
            now=row["due"] + offset,
            base_url="",
            renderers=self._api.renderers,
        )
        self._api.jobs[row["kind"]](unit, loads(row["payload"]))

    def next_due(self) -> float | None:
        """Real time when the next job is due."""
        due: float | None = self._store.db.execute("SELECT min(due) AS due FROM jobs").fetchone()["due"]
        return due

    def advance(self, platform: str, seconds: float) -> None:
        """Move a platform's clock ahead and do what thereby became due; webhooks become due but are not awaited."""
        with self._store.transaction():
            self._store.db.execute(
                "UPDATE platforms SET clock_offset = clock_offset + ? WHERE id = ?", (seconds, platform)
            )
            for table in ("jobs", "deliveries"):
                self._store.db.execute(
                    f"UPDATE {table} SET due = due - ? WHERE platform = ?",
                    (seconds, platform),
                )
        self.run_due(platform)

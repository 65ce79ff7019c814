"""What docs/deployment.md says of backups and restoring.

A physical backup goes on where it was taken, a logical one hides the past; and what Temporal has forgotten is resumed.
"""

import asyncio
import json
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest
from pydantic import SecretStr
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest

from cli.audit import look
from cli.stack.accounts import Account
from cli.stack.files import write_private
from cli.stack.options import StackOptions
from cli.stack.ports import free_port
from cli.stack.postgres import Postgres
from cli.stack.postgres_binaries import find
from cli.stack.supervisor import Stack
from cli.tokens import development_token
from db.invariants import Invariant
from tests.auditing import assert_clean, audited
from tests.world import World, until

HIDDEN = "SELECT count(*) FROM ledger_transactions WHERE xid >= pg_snapshot_xmin(pg_current_snapshot())"
"""What readers that page or stream do not see yet, as if it were not certain to be committed."""


async def run(program: str, *arguments: str) -> None:
    """One of Postgres's own programs."""
    process = await asyncio.create_subprocess_exec(
        str(find().folder / program), *arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    _, said = await process.communicate()
    assert process.returncode == 0, said.decode()


async def value(url: str, sql: str) -> Any:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


@asynccontextmanager
async def with_a_deposit(data: Path) -> AsyncIterator[Stack]:
    """A whole Paysaga in which a customer has deposited 50.00 USD."""
    options = StackOptions(data=data, ports=free_ports(), embedded_only=True, fsync=False, temporary=True)
    async with Stack(options) as stack, httpx.AsyncClient(base_url=stack.api_url, timeout=60, trust_env=False) as http:
        bearer = {"Authorization": f"Bearer {development_token('alice', 'customer', 600, data)}"}
        wanted = {"amount": 5_000, "currency": "usd", "payment_method": "pm_card_visa"}
        assert stack.superuser_database_url is not None
        await live_long(stack.superuser_database_url)
        made = await http.post("/v1/deposits", json=wanted, headers=bearer | {"Idempotency-Key": "one"})

        async def closed() -> bool:
            operation = (await http.get(f"/v1/operations/{made.json()['id']}", headers=bearer)).json()
            return operation["closed_at"] is not None

        await until(closed)
        yield stack


def free_ports() -> dict[str, int]:
    ports: dict[str, int] = {}
    for name in ("api", "temporal", "ui", "postgres", "sandbox"):
        ports[name] = free_port(besides=ports.values())
    return ports


async def live_long(superuser_url: str) -> None:
    """Some thousand transactions, as any database has had that is worth a backup."""
    sql = "DO $$ BEGIN FOR each IN 1..5000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$"
    connection = await asyncpg.connect(superuser_url)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


@asynccontextmanager
async def restored(source: Postgres, folder: Path) -> AsyncIterator[Postgres]:
    """A physical backup, taken while the source runs, served on another port: as pg_basebackup has it, no more."""
    place = Path(tempfile.mkdtemp(prefix="paysaga-restored-", dir="/var/tmp"))
    await run(
        "pg_basebackup", "--dbname", source.superuser_url, "--pgdata", str(place / "cluster"), "--checkpoint=fast"
    )
    adopt(place, folder, source)
    async with Postgres(folder, fsync=False, temporary=True) as postgres:
        yield postgres


def adopt(place: Path, folder: Path, source: Postgres) -> None:
    """Lets `Postgres(folder)` serve the cluster in `place`, with the passwords of the source."""
    if (account := Account.for_postgres()) is not None:
        account.give(place)
        for path in place.rglob("*"):
            os.chown(path, account.uid, account.gid, follow_symlinks=False)
    folder.mkdir()
    cluster = json.loads((source.folder / "cluster.json").read_text())
    write_private(folder / "cluster.json", json.dumps(cluster | {"location": str(place / "cluster")}))


@pytest.mark.long
async def test_a_physical_backup_goes_on_and_a_logical_one_hides_the_past(tmp_path: Path) -> None:
    async with with_a_deposit(tmp_path / "data") as stack:
        source = Postgres(tmp_path / "data" / "postgres", port=urlsplit(stack.database_url).port or 0)
        newest = await value(source.superuser_url, "SELECT max(xid)::text::bigint FROM ledger_transactions")
        assert await value(source.superuser_url, HIDDEN) == 0

        # A physical backup counts on from where it was taken: all is seen, and the audit finds nothing.
        async with restored(source, tmp_path / "restored") as physical:
            assert await value(physical.superuser_url, "SELECT pg_current_xact_id()::text::bigint") > newest
            assert await value(physical.superuser_url, HIDDEN) == 0
            report = await look(stack.settings.model_copy(update={"database_url": SecretStr(physical.service_url)}))
            assert report.total == 0
            assert await value(physical.superuser_url, "SELECT count(*) FROM ledger_transactions") == 2

        # A logical one brings the same rows, into a cluster that counts from its beginning: nobody is shown them.
        dump = tmp_path / "dump.sql"
        await run("pg_dump", "--dbname", source.superuser_url, "--file", str(dump))
        async with Postgres(tmp_path / "logical", fsync=False, temporary=True) as logical:
            await value(logical.superuser_url, "CREATE ROLE paysaga_app")
            quiet = ("--quiet", "--no-psqlrc", "--set", "ON_ERROR_STOP=1")
            await run("psql", *quiet, "--dbname", logical.superuser_url, "--file", str(dump))
            assert await value(logical.superuser_url, "SELECT count(*) FROM ledger_transactions") == 2
            assert await value(logical.superuser_url, HIDDEN) == 2


@pytest.mark.long
async def test_a_saga_that_temporal_has_forgotten_is_resumed(world: World) -> None:
    # Given a deposit whose saga is not in the Temporal that was restored, and which was paid meanwhile
    deposit = await world.accepted_deposit(5_000)
    await world.temporal.workflow_service.delete_workflow_execution(
        DeleteWorkflowExecutionRequest(
            namespace=world.temporal.namespace, workflow_execution=WorkflowExecution(workflow_id=deposit["id"])
        )
    )
    # By then it is no longer new
    await world.sql("UPDATE deployment SET clock_offset = interval '10 minutes'")
    await world.sandbox.pay(deposit["payment_intent"], "pm_card_visa")

    # Then the audit names it
    async def named() -> bool:
        found = [(each.invariant, each.where) for each in (await audited(world)).violations]
        return (Invariant.OPERATION_WITHOUT_WORKFLOW, deposit["id"]) in found

    await until(named)

    # And resumed, it finds what it had made at Stripe, and ends as if nothing had been
    assert (await world.admin(f"operations/{deposit['id']}/resume")).status_code == 200
    assert (await world.closed(deposit["id"]))["status"] == "succeeded"
    assert len(await world.sandbox.listed("payment_intents")) == 1
    assert await world.available() == 5_000
    await world.settled_events()
    await assert_clean(world)

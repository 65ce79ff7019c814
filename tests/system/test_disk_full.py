"""The disk of Postgres is full while money moves, and has room again."""

import asyncio
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import asyncpg
import httpx
import pytest

from cli.stack.errors import StackError
from cli.stack.postgres import Postgres
from cli.stack.temporal import TemporalServer
from tests.auditing import assert_clean
from tests.processes import running
from tests.servers import DYNAMIC_CONFIG, prepared
from tests.world import World, open_world, until

pytestmark = pytest.mark.system

SIZE = "160m"
"""Of the disk: a cluster, its template, a copy of it, and 64 MB of log."""


@contextmanager
def small_disk(where: Path) -> Iterator[Path]:
    """A disk of its own. Fails where there can be none: a machine that cannot fill a disk has shown nothing."""
    where.chmod(0o755)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=755", "tmpfs", str(where)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert mounted.returncode == 0, f"This test needs a disk to fill, and root to mount one: {mounted.stderr}"
    try:
        yield where
    finally:
        subprocess.run(["umount", str(where)], check=True)


def fill(disk: Path) -> Path:
    """Take all the room that is left."""
    filler = disk / "filler"
    with filler.open("wb") as file, suppress(OSError):
        while True:
            file.write(bytes(1 << 16))
            file.flush()
    assert shutil.disk_usage(disk).free < 1 << 16
    return filler


@asynccontextmanager
async def kept_running(postgres: Postgres) -> AsyncIterator[None]:
    """As `paysaga up` does: Postgres is started again when it ends by itself."""

    async def watch() -> None:
        while True:
            await postgres.child.wait()
            while True:
                await asyncio.sleep(0.5)
                try:
                    await postgres.start()
                    break
                except StackError:
                    # There is no room yet to start in.
                    continue

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


class Crowd:
    """Customers who ask, each with a key of their own, until an answer says what became of it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.acknowledged: dict[str, str] = {}
        """The operation that each key was answered with."""
        self.refused = 0
        self.over = asyncio.Event()

    async def ask(self, number: int) -> None:
        """One customer or contractor: deposits, withdrawals and offers in turn, until it is over."""
        count = 0
        while not self.over.is_set():
            count += 1
            key = f"{number}-{count}"
            while key not in self.acknowledged:
                await self._once(key, count)
            await asyncio.sleep(0.1)

    async def _once(self, key: str, count: int) -> None:
        world = self.world
        match count % 3:
            case 0:
                answer = await world.deposit(2_000, key=key, payment_method="pm_card_bypassPending")
            case 1:
                answer = await world.withdraw(1_000, key=key)
            case _:
                answer = await world.offer(1_000, key=key)
        self.hear(key, answer)
        if answer.status_code == 503:
            await asyncio.sleep(0.3)

    def hear(self, key: str, answer: httpx.Response) -> None:
        """201 and 200 and 202 are promises; 503 is a problem that says when to come again; there is nothing else."""
        if answer.status_code == 503:
            self.refused += 1
            assert answer.headers["content-type"] == "application/problem+json"
            assert int(answer.headers["Retry-After"]) > 0
            return
        assert answer.status_code in (200, 201, 202), answer.text
        self.acknowledged[key] = answer.json()["id"]


async def test_f37_disk_full(tmp_path: Path, sandbox_url: str) -> None:
    # Where the user that Postgres runs as can reach it, or it would have its files elsewhere.
    with tempfile.TemporaryDirectory(dir="/var/tmp") as place, small_disk(Path(place)) as disk:
        async with (
            # Its own log is elsewhere, as an operator's would be.
            Postgres(disk / "postgres", temporary=True) as postgres,
            TemporalServer(tmp_path / "temporal", dynamic_config=DYNAMIC_CONFIG) as temporal,
        ):
            assert (disk / "postgres" / "cluster").is_dir()
            servers = await prepared(postgres, temporal.address, sandbox_url)
            async with (
                open_world(servers, worker=False, answer_within=5.0) as world,
                running(world.settings, "cli.main", "worker"),
                kept_running(postgres),
            ):
                await world.onboarded()
                await world.funded(amount=100_000)
                paid = await world.deposit(100_000, payment_method="pm_card_bypassPending")
                await world.closed(paid.json()["id"])
                await world.settled_events()
                crowd = Crowd(world)
                asking = [asyncio.create_task(crowd.ask(number)) for number in range(4)]

                # Given money that moves
                await until(lambda: _many(crowd, 8))

                # When there is no room any more
                filler = fill(disk)
                # Postgres writes on into the log that it has; the next piece of it is what there is no room for.
                with suppress(asyncpg.PostgresError, OSError, asyncpg.InterfaceError):
                    await world.sql("SELECT pg_switch_wal(), pg_sleep(1), pg_switch_wal()")
                await until(lambda: _refused(crowd, 20))
                # Then nobody is told that it was done, and no webhook is taken that is not stored
                promised = len(crowd.acknowledged)
                untold = await world.sandbox.control("GET", "deliveries")
                assert any(one["state"] == "pending" for one in untold["deliveries"])

                # When there is room again
                filler.unlink()
                await until(lambda: _many(crowd, promised + 8))
                crowd.over.set()
                await asyncio.gather(*asking)

                # Then everything ends by itself, and each promise was kept once
                assert len(set(crowd.acknowledged.values())) == len(crowd.acknowledged)
                for operation_id in crowd.acknowledged.values():
                    if operation_id.startswith("off_"):
                        held = await world.until(operation_id, lambda now: now["status"] != "requested")
                        if held["status"] == "held":
                            await _decline(world, operation_id)
                    assert (await world.closed(operation_id))["needs_attention"] is False
                await world.settled_events()
                kept = {
                    row["key"]: row["operation_id"] for row in await world.sql("SELECT key, operation_id FROM requests")
                }
                assert crowd.acknowledged.items() <= kept.items()
                await _happened_once(world)
                await assert_clean(world)


async def _decline(world: World, offer_id: str) -> None:
    async def declined() -> bool:
        return (await world.act(offer_id, "decline", user="carl", key=f"decline-{offer_id}")).status_code == 200

    await until(declined)


async def _happened_once(world: World) -> None:
    """Of each operation, Stripe has one payment or one transfer, and the books say the same."""
    rows = await world.sql("SELECT id, kind, status FROM operations")
    paid = [row["id"] for row in rows if row["kind"] == "deposit" and row["status"] == "succeeded"]
    at_stripe = [found["metadata"]["operation_id"] for found in await world.sandbox.listed("payment_intents")]
    assert sorted(paid) == sorted(at_stripe)
    withdrawn = [row["id"] for row in rows if row["kind"] == "withdrawal" and row["status"] == "paid"]
    transferred = [found["metadata"]["operation_id"] for found in await world.sandbox.listed("transfers")]
    assert sorted(withdrawn) == sorted(transferred)


async def _many(crowd: Crowd, number: int) -> bool:
    return len(crowd.acknowledged) >= number


async def _refused(crowd: Crowd, number: int) -> bool:
    return crowd.refused >= number

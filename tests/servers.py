"""Postgres, Temporal and the Stripe sandbox for tests, and a proxy that loses connections."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import asyncpg

from activities.temporal_client import connect
from cli.chaos.proxies import Connection, Loss, Proxy
from cli.stack.postgres import Postgres
from cli.stack.preparation import prepare_database
from cli.stack.temporal import TemporalServer
from tests.shared_servers import Addresses, guard
from tests.stripe_sandbox.process import SandboxProcess
from tests.world import TEMPLATE, Servers, settings_for
from worker.temporal_setup import prepare_namespace

SUGGESTED_HISTORY = 250
"""Events after which Temporal would have a workflow begin a new run of itself: its own default is 4096."""

DYNAMIC_CONFIG = (
    "frontend.WorkflowTimeSkippingEnabled=true",
    f"limit.historyCount.suggestContinueAsNew={SUGGESTED_HISTORY}",
)


@asynccontextmanager
async def shared(folder: Path) -> AsyncIterator[Addresses]:
    """What all processes of a session share. Every answer of the sandbox is held against Stripe's own API description.

    Raises `AssertionError` at the end if one had a wrong shape, or if the sandbox has logged anything.
    """
    sandbox = SandboxProcess(folder)
    sandbox.start()
    try:
        async with TemporalServer(folder / "temporal", dynamic_config=DYNAMIC_CONFIG) as temporal:
            yield Addresses(temporal=temporal.address, sandbox=sandbox.url, sandbox_data=str(sandbox.data))
    finally:
        sandbox.stop()
    assert sandbox.complaints() == ""


@asynccontextmanager
async def postgres_of_its_own(folder: Path, addresses: Addresses) -> AsyncIterator[Servers]:
    """Postgres with a migrated template database, beside what is shared."""
    with _quick_folder(folder) as quick:
        async with Postgres(quick / "postgres", fsync=False, temporary=True) as postgres:
            yield await prepared(postgres, addresses.temporal, addresses.sandbox)


@asynccontextmanager
async def running_servers(
    folder: Path, sandbox_url: str, *, durable: bool = False
) -> AsyncIterator[tuple[Servers, Postgres, TemporalServer]]:
    """Postgres and Temporal for a test that ends them. `durable` survives a SIGKILL of Postgres."""
    with _quick_folder(folder) as quick:
        async with (
            Postgres(quick / "postgres", fsync=durable, temporary=True) as postgres,
            TemporalServer(quick / "temporal", dynamic_config=DYNAMIC_CONFIG) as temporal,
        ):
            yield await prepared(postgres, temporal.address, sandbox_url), postgres, temporal


async def prepared(postgres: Postgres, temporal_address: str, sandbox_url: str) -> Servers:
    """A migrated template in that Postgres, a namespace in that Temporal."""
    await prepare_database(postgres.owner_url, service="paysaga_service")
    admin = await asyncpg.connect(postgres.url("postgres", "postgres"))
    await admin.execute(f"ALTER DATABASE paysaga RENAME TO {TEMPLATE}")
    await admin.close()
    found = Servers(
        superuser_url=lambda database: postgres.url("postgres", database),
        owner_url=lambda database: postgres.url("paysaga_owner", database),
        database_url=lambda database: postgres.url("paysaga_service", database),
        temporal_address=temporal_address,
        sandbox_url=sandbox_url,
    )
    settings = settings_for(found, TEMPLATE, 0, "sk_test_session")
    await prepare_namespace(await connect(settings), settings)
    return found


@contextmanager
def _quick_folder(folder: Path) -> Iterator[Path]:
    """A folder in memory, else in `folder`: each test copies a database, which is mostly writing files.

    What runs there ends with the session, though this process be killed.
    """
    memory = Path("/dev/shm")
    place = memory if memory.is_dir() else folder
    quick = Path(tempfile.mkdtemp(prefix="paysaga-test-", dir=place))
    guard(quick)
    # Postgres runs as a user of its own when we are root.
    quick.chmod(0o755)
    yield quick
    # Only when all has ended well: the guard must find the pid files of what is left.
    shutil.rmtree(quick)


class CommitCutter(Proxy):
    """A proxy before Postgres that can lose a connection at a COMMIT: before the server hears it, or after it did.

    `arm` picks the transaction: the next one in which the client sent `marker`.
    """

    def __init__(self, target: int) -> None:
        super().__init__(target)
        self._marker: bytes | None = None
        self._loss = Loss.REQUEST
        self._transactions: dict[Connection, bytes] = {}

    def arm(self, marker: str, *, server_hears: bool) -> None:
        """Cut the next commit of a transaction that sent `marker`."""
        self._marker, self._loss = marker.encode(), Loss.ANSWER if server_hears else Loss.REQUEST

    def loses(self, connection: Connection, sent: bytes) -> Loss | None:
        """Lose the commit that `arm` has picked."""
        transaction = self._transactions.get(connection, b"") + sent
        committed = b"COMMIT" in sent
        self._transactions[connection] = b"" if committed else transaction
        if committed and self._marker is not None and self._marker in transaction:
            self._marker = None
            return self._loss
        return None

"""Postgres and Temporal over TLS, both behind a proxy that terminates it: certificates are checked, and by whom.

Both services speak plain TCP here, so whatever arrives has come through the proxy's TLS.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import httpx
import pytest
import trustme
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest

from cli.settings import settings_from
from cli.stack.errors import BadSettings, StackError
from cli.stack.options import StackOptions
from cli.stack.postgres import OWNER, SERVICE, Postgres
from cli.stack.preparation import connect_temporal, prepare_database
from cli.stack.supervisor import Stack
from cli.stack.temporal import NAMESPACE, TemporalServer

SSL_REQUEST = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")
"""What a Postgres client sends before TLS; the server answers one byte, `S` for yes."""

Greeting = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Authority:
    """Signs the proxy's certificate, for 127.0.0.1 or for somebody else."""

    ca: trustme.CA
    file: Path

    def server(self, name: str = "127.0.0.1") -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.ca.issue_cert(name).configure_cert(context)
        context.set_alpn_protocols(["h2"])
        return context


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    ca = trustme.CA()
    file = tmp_path / "authority.pem"
    ca.cert_pem.write_to_path(file)
    return Authority(ca, file)


@pytest.fixture
def stranger(tmp_path: Path) -> Authority:
    """An authority that signed nothing here."""
    ca = trustme.CA()
    file = tmp_path / "stranger.pem"
    ca.cert_pem.write_to_path(file)
    return Authority(ca, file)


async def greet_as_postgres(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    assert await reader.readexactly(8) == SSL_REQUEST
    writer.write(b"S")
    await writer.drain()


@asynccontextmanager
async def tls_proxy(target: int, context: ssl.SSLContext, greet: Greeting | None = None) -> AsyncIterator[int]:
    """Terminates TLS in front of the local port `target`; yields its own port."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        with suppress(OSError):
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            # A client that refuses our certificate ends the handshake: that is its error to tell.
            with suppress(OSError, asyncio.IncompleteReadError):
                if greet:
                    await greet(reader, writer)
                await writer.start_tls(context)
                inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", target)
                await asyncio.gather(pump(reader, inner_writer), pump(inner_reader, writer))
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()


def through(url: str, port: int, parameters: str) -> str:
    """The same login by way of the proxy."""
    parts = urlsplit(url)
    where = f"{parts.username}:{parts.password}@127.0.0.1:{port}"
    return urlunsplit((parts.scheme, where, parts.path, parameters, ""))


async def test_postgres_is_migrated_and_used_over_tls(postgres: Postgres, authority: Authority) -> None:
    async with tls_proxy(postgres.port, authority.server(), greet_as_postgres) as port:
        verified = f"sslmode=verify-full&sslrootcert={authority.file}"

        await prepare_database(through(postgres.owner_url, port, verified), service=SERVICE)

        connection = await asyncpg.connect(
            through(postgres.service_url, port, verified), server_settings={"role": "paysaga_app"}
        )
        assert await connection.fetchval("SELECT count(*) FROM operations") == 0
        await connection.close()


async def test_a_postgres_that_another_authority_vouches_for_is_refused(
    postgres: Postgres, authority: Authority, stranger: Authority
) -> None:
    async with tls_proxy(postgres.port, authority.server(), greet_as_postgres) as port:
        url = through(postgres.owner_url, port, f"sslmode=verify-full&sslrootcert={stranger.file}")

        with pytest.raises(StackError, match="certificate verify failed"):
            await prepare_database(url)


async def test_a_postgres_of_another_name_is_refused(postgres: Postgres, authority: Authority) -> None:
    async with tls_proxy(postgres.port, authority.server("db.example"), greet_as_postgres) as port:
        url = through(postgres.owner_url, port, f"sslmode=verify-full&sslrootcert={authority.file}")

        with pytest.raises(StackError, match="IP address mismatch"):
            await prepare_database(url)


async def test_a_wrong_login_is_told_without_its_password(postgres: Postgres) -> None:
    with pytest.raises(StackError, match=r"password authentication failed .*login of DATABASE_URL") as caught:
        await prepare_database(f"postgresql://{OWNER}:geheim@127.0.0.1:{postgres.port}/paysaga")

    assert "geheim" not in str(caught.value)


@pytest.mark.long
async def test_the_whole_stack_on_services_behind_tls(tmp_path: Path, postgres: Postgres, authority: Authority) -> None:
    async with (
        TemporalServer(tmp_path / "temporal") as temporal,
        tls_proxy(temporal.port, authority.server()) as temporal_port,
        tls_proxy(postgres.port, authority.server(), greet_as_postgres) as postgres_port,
    ):
        environment = {
            "DATABASE_URL": through(
                postgres.owner_url, postgres_port, f"sslmode=verify-full&sslrootcert={authority.file}"
            ),
            "TEMPORAL_ADDRESS": f"127.0.0.1:{temporal_port}",
            "TEMPORAL_TLS": "true",
            "TEMPORAL_TLS_CA_FILE": str(authority.file),
        }

        async with Stack(StackOptions(data=tmp_path / "data", environment=environment)) as stack:
            assert [part.name for part in stack.parts] == ["sandbox", "worker", "api"]
            assert stack.ui_url is None
            assert stack.superuser_database_url is None
            async with httpx.AsyncClient() as http:
                assert (await http.get(f"{stack.api_url}/readyz")).status_code == 200


async def test_temporal_over_tls(tmp_path: Path, authority: Authority, stranger: Authority) -> None:
    async with TemporalServer(tmp_path / "temporal") as temporal, tls_proxy(temporal.port, authority.server()) as port:
        environment = {
            "DATABASE_URL": "postgresql://unused",
            "STRIPE_SECRET_KEY": "sk_test_unused",
            "TEMPORAL_ADDRESS": f"127.0.0.1:{port}",
            "TEMPORAL_TLS": "true",
            "TEMPORAL_TLS_CA_FILE": str(authority.file),
        }

        client = await connect_temporal(settings_from(environment))
        described = await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=NAMESPACE))
        assert described.namespace_info.name == NAMESPACE

        for wrong in ({"TEMPORAL_TLS_CA_FILE": str(stranger.file)}, {"TEMPORAL_TLS": "false"}):
            with pytest.raises(StackError, match=rf"Temporal at 127\.0\.0\.1:{port} does not answer"):
                await connect_temporal(settings_from(environment | wrong))
        with pytest.raises(BadSettings, match="TEMPORAL_TLS_CA_FILE: Path does not point to a file"):
            await connect_temporal(settings_from(environment | {"TEMPORAL_TLS_CA_FILE": "/nowhere.pem"}))

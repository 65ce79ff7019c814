"""What Postgres and Temporal must hold before the API and the worker start. Every step may be repeated."""

import asyncio
from urllib.parse import urlsplit

import asyncpg
from sqlalchemy.exc import DBAPIError
from temporalio.client import Client
from temporalio.service import RPCError

from activities.temporal_client import connect
from cli.stack.errors import BadSettings, DataUnusable, StackError
from db.engine import APP_ROLE, WrongDeployment
from db.migrate import claim, upgrade
from domain.settings import Mode, Settings
from worker.temporal_setup import prepare


async def prepare_database(owner_url: str, *, mode: Mode = Mode.DEVELOPMENT, service: str | None = None) -> None:
    """Migrates to the newest schema, claims it for `mode`, and lets the login `service` act as the application's role.

    Without `service` the login of `owner_url` itself is let: a deployment with one login. Raises `StackError`.
    """
    where = urlsplit(owner_url)
    try:
        await asyncio.to_thread(upgrade, owner_url)
        await asyncio.to_thread(claim, owner_url, mode)
        await _let(service, owner_url)
    except WrongDeployment as error:
        raise DataUnusable(f"{error} Use another database, or the mode that this one is for.") from error
    except (OSError, TimeoutError, DBAPIError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        reason = error.orig if isinstance(error, DBAPIError) else error
        raise StackError(
            f"Postgres at {where.hostname}:{where.port or 5432} could not be prepared ({reason}): see that it runs,"
            " and that the login of DATABASE_URL owns the database and may create roles."
        ) from error


async def _let(service: str | None, owner_url: str) -> None:
    connection = await asyncpg.connect(owner_url, timeout=10)
    try:
        login = service or await connection.fetchval("SELECT current_user")
        if not await connection.fetchval("SELECT pg_has_role($1, $2, 'SET')", login, APP_ROLE):
            grant = await connection.fetchval("SELECT format('GRANT %I TO %I', $1::text, $2::text)", APP_ROLE, login)
            await connection.execute(grant)
    finally:
        await connection.close()


async def connect_temporal(settings: Settings) -> Client:
    """A client of the Temporal that the settings name. Raises `StackError`."""
    try:
        return await connect(settings)
    except OSError as error:
        raise BadSettings(
            f"TEMPORAL_TLS_CA_FILE={settings.temporal_tls_ca_file} cannot be read: {error.strerror}."
        ) from error
    except RuntimeError as error:
        raise StackError(
            f"Temporal at {settings.temporal_address} does not answer ({error}): see that it runs, and whether it"
            " wants TEMPORAL_TLS."
        ) from error


async def prepare_temporal(settings: Settings) -> None:
    """Sees to the namespace, its retention, search attributes and schedules. Raises `StackError`."""
    try:
        await prepare(await connect_temporal(settings), settings)
    except RPCError as error:
        raise StackError(
            f"Temporal at {settings.temporal_address} could not be prepared ({error}): see that its namespace"
            f" `{settings.temporal_namespace}` exists and that this client may change it."
        ) from error

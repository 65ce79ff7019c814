"""Running one of our servers in the foreground, its expected failures told in a sentence."""

import asyncio
from collections.abc import Coroutine
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from cli.stack.errors import DataUnusable, StackError
from db.engine import WrongDeployment
from domain.settings import Settings


def serve_until_told(server: Coroutine[Any, Any, None], settings: Settings) -> None:
    """Runs the server until a signal ends it. Raises `StackError` when Postgres or Temporal is not what it needs."""
    try:
        asyncio.run(server)
    except WrongDeployment as error:
        raise DataUnusable(f"{error} Use another database, or the mode that this one is for.") from error
    except (ConnectionError, TimeoutError, asyncpg.PostgresError) as error:
        where = urlsplit(settings.database_url.get_secret_value())
        raise StackError(
            f"Postgres at {where.hostname}:{where.port or 5432} refused ({error}): see that it runs, that DATABASE_URL"
            " is right, and that `paysaga migrate` has prepared it."
        ) from error
    except RuntimeError as error:
        # The only sign that Temporal's client gives of a server that is not there.
        if not str(error).startswith("Failed client connect"):
            raise
        raise StackError(
            f"Temporal at {settings.temporal_address} does not answer ({error}): see that it runs, and whether it"
            " wants TEMPORAL_TLS."
        ) from error

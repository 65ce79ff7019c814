"""Where the story is told: the addresses and keys of one stack, read from what it keeps in its data directory."""

import fcntl
from dataclasses import dataclass
from itertools import count, takewhile
from pathlib import Path
from typing import Self
from urllib.parse import quote

import httpx

from cli.settings import settings_from
from cli.stack.data import DataDirectory
from cli.stack.errors import StackError
from cli.stack.parts import called
from domain.settings import Mode, Settings


@dataclass(frozen=True)
class Place:
    """A stack that runs in development, with the Stripe sandbox."""

    data: Path
    settings: Settings
    """Those of its API and worker."""
    api_urls: tuple[str, ...]
    """Of every API that it has."""
    sandbox_url: str
    ui_url: str | None
    """None for a Temporal that is not the stack's own."""

    @classmethod
    def of(cls, data: Path) -> Self:
        """The stack that runs on `data`. Raises `StackError` when the story cannot be told there."""
        directory = DataDirectory(data)
        ports = directory.load().ports
        settings = settings_from(directory.load_environment())
        if settings.mode is not Mode.DEVELOPMENT or settings.jwt_secret is None:
            raise StackError(
                f"The demo makes up users and their tokens, and the stack on {data} runs in mode {settings.mode}:"
                " use one in development, or leave --data out."
            )
        sandbox_url = f"http://127.0.0.1:{ports['sandbox']}"
        if settings.stripe_api_base != sandbox_url:
            raise StackError(
                f"The demo plays cardholders at the Stripe sandbox, and the stack on {data} uses"
                f" {settings.stripe_api_base}: start one without STRIPE_SECRET_KEY, or leave --data out."
            )
        own_temporal = settings.temporal_address == f"127.0.0.1:{ports['temporal']}"
        return cls(
            data=data,
            settings=settings,
            api_urls=tuple(
                f"http://127.0.0.1:{ports[name]}"
                for name in takewhile(ports.__contains__, (called("api", index) for index in count()))
            ),
            sandbox_url=sandbox_url,
            ui_url=f"http://127.0.0.1:{ports['ui']}" if own_temporal else None,
        )

    @classmethod
    async def running(cls, data: Path) -> Self:
        """The stack on `data`, which somebody else has started. Raises `StackError` when none runs there."""
        if not _held(data):
            raise StackError(
                f"No stack runs on {data}: start one with `paysaga up --data {data}`, or leave --data out and the demo"
                " starts its own."
            )
        starting = StackError(f"The stack on {data} is not ready: wait until `paysaga up` says so.")
        if not (data / "environment").exists():
            raise starting
        place = cls.of(data)
        try:
            async with httpx.AsyncClient(timeout=10, trust_env=False) as http:
                ready = all([(await http.get(f"{url}/readyz")).is_success for url in place.api_urls])
        except httpx.TransportError as error:
            raise starting from error
        if not ready:
            raise starting
        return place

    @property
    def api_url(self) -> str:
        """The first API's."""
        return self.api_urls[0]

    def workflow_url(self, operation_id: str) -> str | None:
        """The operation's saga in the Temporal UI."""
        return f"{self._workflows}/{operation_id}" if self.ui_url else None

    def kind_url(self, kind: str) -> str | None:
        """All sagas of a kind in the Temporal UI."""
        query = quote(f'PaysagaKind="{kind}"')
        return f"{self._workflows}?query={query}" if self.ui_url else None

    @property
    def _workflows(self) -> str:
        return f"{self.ui_url}/namespaces/{self.settings.temporal_namespace}/workflows"


def _held(data: Path) -> bool:
    """Whether a stack holds the directory's lock: the only sign of life that cannot outlive it."""
    try:
        with (data / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False

"""Answering, or not: closing a connection without an answer, and cutting a body short.

ASGI has no word for either, so the server's protocol class puts the transport into the request's scope.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope
from uvicorn.protocols.http.h11_impl import H11Protocol

CONNECTION = "stripe_sandbox.connection"
"""The key of the scope under which a request finds its connection."""


class ServerStopping(Exception):
    """The server ends while a request hangs."""


@dataclass
class Connection:
    """The transport, and whether the server wants to end."""

    transport: asyncio.Transport
    stopping: asyncio.Event = field(default_factory=asyncio.Event)


class ClosableProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 protocol, with its connection handed to the application."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Wrap the application, once for each connection."""
        super().connection_made(transport)
        self._connection = Connection(transport)
        self.app = _with_connection(self.app, self._connection)

    def shutdown(self) -> None:
        """The server ends."""
        self._connection.stopping.set()
        super().shutdown()


def _with_connection(app: Any, connection: Connection) -> Any:
    async def wrapped(scope: AsgiScope, receive: Receive, send: Send) -> None:
        scope[CONNECTION] = connection
        await app(scope, receive, send)

    return wrapped


async def hang(scope: AsgiScope, seconds: float) -> None:
    """Keep a request waiting. Raises ServerStopping when the server ends first: no end of it may wait for a fault."""
    connection: Connection = scope[CONNECTION]
    try:
        await asyncio.wait_for(connection.stopping.wait(), seconds)
    except TimeoutError:
        return
    raise ServerStopping


@dataclass(frozen=True)
class Reply:
    """An answer. `closed`: none is given, the connection closes. `cut`: only half of the body is sent."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    closed: bool = False
    cut: bool = False

    async def send(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Send it, or spoil it as asked."""
        if self.closed:
            await _close(scope, receive)
            return
        headers = {"content-type": "application/json", "content-length": str(len(self.body)), **self.headers}
        await send(
            {
                "type": "http.response.start",
                "status": self.status,
                "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()],
            }
        )
        if self.cut:
            await send({"type": "http.response.body", "body": self.body[: len(self.body) // 2], "more_body": True})
            await _close(scope, receive)
            return
        await send({"type": "http.response.body", "body": self.body})


async def _close(scope: AsgiScope, receive: Receive) -> None:
    """Close the connection once what was written is flushed, and wait until the server has noticed."""
    connection: Connection = scope[CONNECTION]
    connection.transport.close()
    while (await receive())["type"] != "http.disconnect":
        pass

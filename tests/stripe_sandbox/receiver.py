"""A webhook endpoint that a test runs: it keeps what it gets and answers what it is told to."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Received:
    """One delivery: the raw body and the headers, by lower-case name."""

    body: bytes
    headers: dict[str, str]
    at: float = field(default_factory=time.monotonic)

    @property
    def event(self) -> dict[str, Any]:
        """The event in the body."""
        event: dict[str, Any] = json.loads(self.body)
        return event

    @property
    def signature(self) -> str:
        """The `Stripe-Signature` header."""
        return self.headers["stripe-signature"]


class Receiver:
    """Answers 200, or first the statuses in `answers`; None closes the connection without an answer."""

    def __init__(self) -> None:
        self.url = ""
        self.received: list[Received] = []
        self.answers: list[int | None] = []

    def of(self, event_type: str) -> list[Received]:
        """The deliveries of a type, in the order of their arrival."""
        return [received for received in self.received if received.event["type"] == event_type]

    def types(self) -> list[str]:
        """The types of everything received, in order."""
        return [received.event["type"] for received in self.received]

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            pairs = (line.split(": ", 1) for line in head[1:] if line)
            headers = {name.lower(): value for name, value in pairs}
            body = await reader.readexactly(int(headers["content-length"]))
            self.received.append(Received(body, headers))
            status = self.answers.pop(0) if self.answers else 200
            if status is not None:
                writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A receiver on a free port."""
    receiver = Receiver()
    server = await asyncio.start_server(receiver._handle, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/webhooks"
    try:
        yield receiver
    finally:
        server.close()
        await server.wait_closed()


async def eventually(probe: Callable[[], Any] | Callable[[], Awaitable[Any]], seconds: float = 90.0) -> Any:
    """Poll until the probe's answer is true; returns it. Fails after the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        found = probe()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)

"""A client that costs next to nothing, so that nearly all that is spent is spent by the server.

One connection a client, kept alive, one request at a time. httpx spends about as much CPU on a request as the API does
on a read, and both share this machine's cores.
"""

import asyncio
import json
from collections.abc import Container, Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit


class UnexpectedAnswer(Exception):
    """An answer with another status than the one that must come."""


class Connection:
    """HTTP/1.1 to one of our own servers. Usable as `async with Connection(url) as http`."""

    def __init__(self, url: str, headers: Mapping[str, str] | None = None) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self._host, self._port = parts.hostname, parts.port
        self._headers = {"Host": f"{self._host}:{self._port}", **(headers or {})}
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        status: Container[int] = (200,),
    ) -> Any:
        """The answer's JSON. `body` is sent as JSON, or as it is if it is bytes. Raises `UnexpectedAnswer`."""
        found, content = await self.exchange(method, path, body, headers=headers)
        if found not in status:
            raise UnexpectedAnswer(f"{method} {path} answered {found}: {content[:200].decode(errors='replace')}")
        return json.loads(content) if content else None

    async def exchange(
        self, method: str, path: str, body: Any = None, *, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """The answer's status and body. Raises `OSError` or `EOFError` when no whole answer comes."""
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in {**self._headers, **(headers or {})}.items()]
        if content or method != "GET":
            lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
        try:
            if self._reader is not None and self._reader.at_eof():
                self.close()  # Servers end a connection that was idle for some seconds.
            if self._writer is None:
                self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
            assert self._reader is not None
            self._writer.write("\r\n".join([*lines, "", ""]).encode() + content)
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *rest = head.split("\r\n")
            fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
            answer = await self._reader.readexactly(int(fields.get("content-length", "0")))
        except BaseException:
            # Whatever is half read belongs to no later request.
            self.close()
            raise
        if fields.get("connection", "").lower() == "close":
            self.close()
        return int(first.split(" ")[1]), answer

    def close(self) -> None:
        """Ends the connection; the next request opens another."""
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None

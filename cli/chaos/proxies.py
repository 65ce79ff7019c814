"""A TCP proxy before one of our servers that can behave as networks do.

It forwards connections to a port of this machine. Told to, it cuts the ones there are, turns new ones away, lets
nothing through for a while, or loses an answer: the server hears the request and the client never hears what came of
it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum, auto


class Loss(Enum):
    """What of an exchange is lost, with the connection."""

    REQUEST = auto()
    """The server does not hear what the client sent."""
    ANSWER = auto()
    """The server hears it, and the client does not hear the answer."""


class _End(asyncio.Protocol):
    """The proxy's end of a connection to the client, or to the server."""

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection
        self.other: _End
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Both ends are needed before anything is read."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._connection.made(self)

    def data_received(self, data: bytes) -> None:
        """To the other end, unless it is to be lost."""
        self._connection.received(self, data)

    def eof_received(self) -> bool:
        """One side has said all it had to say; the other may go on."""
        if self.other.transport is not None and self.other.transport.can_write_eof():
            self.other.transport.write_eof()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        """Half a connection is none."""
        self._connection.cut()

    def pause_writing(self) -> None:
        """More has come than this end's peer takes."""
        self._connection.read_from(self.other, False)

    def resume_writing(self) -> None:
        """It has taken it."""
        self._connection.read_from(self.other, True)


class Connection:
    """A client's connection, and the one to the server that was opened for it."""

    def __init__(self, proxy: "Proxy") -> None:
        self._proxy = proxy
        self.client, self.server = _End(self), _End(self)
        self.client.other, self.server.other = self.server, self.client
        self._losing_answer = False
        self._over = False

    def made(self, end: _End) -> None:
        """One of the two ends is there."""
        assert end.transport is not None
        if end is self.client:
            self._proxy.taken(self)
            end.transport.pause_reading()
        elif self._over:
            end.transport.abort()
        else:
            self.read_from(self.client, True)
            self.read_from(self.server, True)

    def received(self, end: _End, data: bytes) -> None:
        """Something came; it goes on, or everything ends."""
        other = end.other.transport
        if other is None:
            return
        if end is self.server:
            if self._losing_answer:
                self._proxy.lost += 1
                self.cut()
                return
        elif not self._losing_answer:
            loss = self._proxy.loses(self, data)
            if loss is Loss.REQUEST:
                self._proxy.lost += 1
                self.cut()
                return
            self._losing_answer = loss is Loss.ANSWER
        other.write(data)

    def read_from(self, end: _End, wanted: bool) -> None:
        """Go on reading from an end, or stop; both need the other end, and nothing is read while all is stalled."""
        if end.transport is None or end.transport.is_closing():
            return
        if wanted and end.other.transport is not None and not self._proxy.stalled:
            end.transport.resume_reading()
        elif not wanted:
            end.transport.pause_reading()

    def cut(self) -> None:
        """End both halves at once, as if the network had."""
        if not self._over:
            self._over = True
            self._proxy.gone(self)
            for end in (self.client, self.server):
                if end.transport is not None:
                    end.transport.abort()


class Proxy:
    """Forwards to `target`, which may be named later, from `port`, which is known while it runs."""

    def __init__(self, target: int = 0) -> None:
        self.target = target
        self.port = 0
        self.lost = 0
        """Exchanges that were lost."""
        self.turned_away = 0
        """Connections that were refused."""
        self.stalled = False
        self._refusing = False
        self._connections: set[Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._to_lose = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Forward connections while the block runs."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Connection(self).client, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            server.close()
            self.cut()
            for task in self._opening:
                task.cancel()
            await asyncio.gather(*self._opening, return_exceptions=True)

    # ── What the network does ──

    def down(self) -> int:
        """End every connection and turn new ones away, until `up`; how many there were."""
        self._refusing = True
        return self.cut()

    def up(self) -> None:
        """Take connections again."""
        self._refusing = False

    def cut(self) -> int:
        """End every connection there is; how many there were."""
        connections = list(self._connections)
        for connection in connections:
            connection.cut()
        return len(connections)

    def stall(self, stalled: bool) -> int:
        """Let nothing through, or let everything through again; how many connections that concerns."""
        self.stalled = stalled
        for connection in self._connections:
            for end in (connection.client, connection.server):
                connection.read_from(end, not stalled)
        return len(self._connections)

    def lose_answers(self, count: int) -> None:
        """Lose the answers to the next `count` things that clients send; 0: to none any more."""
        self._to_lose = count

    def loses(self, connection: Connection, sent: bytes) -> Loss | None:
        """What of this exchange is lost, if anything. For whoever picks by what was `sent`."""
        if self._to_lose > 0:
            self._to_lose -= 1
            return Loss.ANSWER
        return None

    # ── Connections ──

    def taken(self, connection: Connection) -> None:
        """A client has connected."""
        if self._refusing:
            self.turned_away += 1
            assert connection.client.transport is not None
            connection.client.transport.abort()
            return
        self._connections.add(connection)
        task = asyncio.get_running_loop().create_task(self._open(connection))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    def gone(self, connection: Connection) -> None:
        """A connection has ended."""
        self._connections.discard(connection)

    async def _open(self, connection: Connection) -> None:
        try:
            loop = asyncio.get_running_loop()
            await loop.create_connection(lambda: connection.server, "127.0.0.1", self.target)
        except OSError:
            connection.cut()

"""The proxy: it forwards, cuts, turns away, stalls, and loses an answer after the server has heard the request."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from cli.chaos.proxies import Proxy

pytestmark = pytest.mark.long

SOON = 0.3
"""Seconds in which something must not come."""


class Echo:
    """A server that answers what it hears, and remembers it."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100_000):
            self.heard.append(data)
            writer.write(data)
        writer.close()


@asynccontextmanager
async def proxied() -> AsyncIterator[tuple[Echo, Proxy]]:
    """A server, and a proxy before it."""
    echo = Echo()
    async with await asyncio.start_server(echo.serve, "127.0.0.1", 0) as server:
        echo.port = server.sockets[0].getsockname()[1]
        proxy = Proxy(echo.port)
        async with proxy.running():
            yield echo, proxy


class Client:
    """A connection through a proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self._writer = reader, writer

    @classmethod
    @asynccontextmanager
    async def of(cls, proxy: Proxy) -> AsyncIterator["Client"]:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        try:
            yield cls(reader, writer)
        finally:
            writer.transport.abort()

    def say(self, text: bytes) -> None:
        self._writer.write(text)

    async def ask(self, text: bytes) -> bytes:
        self.say(text)
        return await asyncio.wait_for(self.reader.readexactly(len(text)), 5)

    async def lost(self) -> bool:
        """Whether the connection has gone."""
        try:
            return await asyncio.wait_for(self.reader.read(1), 5) == b""
        except ConnectionError:
            return True


async def test_what_is_said_passes_both_ways() -> None:
    async with proxied() as (echo, proxy), Client.of(proxy) as client:
        assert await client.ask(b"hello") == b"hello"
        much = b"x" * 5_000_000
        assert await client.ask(much) == much
        assert b"".join(echo.heard) == b"hello" + much


async def test_who_has_said_everything_is_still_answered() -> None:
    async with proxied() as (_, proxy):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"bye")
        writer.write_eof()
        assert await asyncio.wait_for(reader.read(), 5) == b"bye"
        writer.close()


async def test_connections_are_cut_and_new_ones_can_be_made() -> None:
    async with proxied() as (_, proxy), Client.of(proxy) as client:
        await client.ask(b"hello")

        assert proxy.cut() == 1

        assert await client.lost()
        assert proxy.cut() == 0
        async with Client.of(proxy) as another:
            assert await another.ask(b"again") == b"again"


async def test_new_connections_are_turned_away() -> None:
    async with proxied() as (echo, proxy), Client.of(proxy) as client:
        await client.ask(b"hello")
        assert proxy.down() == 1
        assert await client.lost()

        async with Client.of(proxy) as another:
            another.say(b"anybody?")
            assert await another.lost()
        assert proxy.turned_away == 1
        assert echo.heard == [b"hello"]

        proxy.up()
        async with Client.of(proxy) as another:
            assert await another.ask(b"again") == b"again"


async def test_stalled_nothing_passes_and_then_everything_does() -> None:
    async with proxied() as (echo, proxy), Client.of(proxy) as client:
        await client.ask(b"hello")
        assert proxy.stall(True) == 1

        client.say(b"late")
        async with Client.of(proxy) as another:
            another.say(b"later")
            await asyncio.sleep(SOON)
            assert echo.heard == [b"hello"]

            assert proxy.stall(False) == 2
            assert await asyncio.wait_for(client.reader.readexactly(4), 5) == b"late"
            assert await asyncio.wait_for(another.reader.readexactly(5), 5) == b"later"


async def test_an_answer_is_lost_after_the_server_has_heard() -> None:
    async with proxied() as (echo, proxy), Client.of(proxy) as client:
        proxy.lose_answers(1)
        client.say(b"pay")

        assert await client.lost()
        assert echo.heard == [b"pay"]
        assert proxy.lost == 1
        async with Client.of(proxy) as another:
            assert await another.ask(b"pay") == b"pay"


async def test_a_server_that_is_not_there_is_a_connection_that_is_lost() -> None:
    proxy = Proxy(1)
    async with proxy.running(), Client.of(proxy) as client:
        assert await client.lost()


async def test_the_proxy_ends_with_its_connections() -> None:
    async with proxied() as (_, proxy), Client.of(proxy) as client:
        await client.ask(b"hello")
        ending = Proxy(proxy.port)
        async with ending.running(), Client.of(ending) as through_two:
            assert await through_two.ask(b"two") == b"two"
        assert ending.cut() == 0
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", ending.port)

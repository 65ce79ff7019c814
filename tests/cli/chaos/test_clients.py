"""Clients of chaos: told nothing, they ask again under the same key; and everything is written down."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cli.chaos import clients
from cli.chaos.clients import Answer, BrokenOff, Clients, User
from cli.chaos.record import Record

pytestmark = pytest.mark.long

SHOP = User("shop", "service")


class Server:
    """Answers as told, one after the other; None: it ends the connection instead."""

    def __init__(self, *answers: tuple[int, Any] | None) -> None:
        self._answers = list(answers)
        self.keys: list[str] = []
        self.port = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Server"]:
        async with await asyncio.start_server(self._serve, "127.0.0.1", 0) as server:
            self.port = server.sockets[0].getsockname()[1]
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            fields = dict(line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:] if line)
            await reader.readexactly(int(fields["content-length"]))
            self.keys.append(fields["idempotency-key"])
            answer = self._answers.pop(0)
            if answer is None:
                break
            body = answer[1] if isinstance(answer[1], bytes) else json.dumps(answer[1]).encode()
            writer.write(f"HTTP/1.1 {answer[0]} X\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        writer.close()


@pytest.fixture(autouse=True)
def _a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAYSAGA_JWT_SECRET", "0123456789abcdef0123456789abcdef")


@pytest.fixture(autouse=True)
def _no_second_thoughts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody gives up, nobody asks again who was told: unless a test says so."""
    monkeypatch.setattr(clients, "GIVES_UP", 0.0)
    monkeypatch.setattr(clients, "ASKS_TWICE", 0.0)


async def ask(server: Server, folder: Path) -> tuple[Answer, Record]:
    """One deposit asked of the server."""
    url = f"http://127.0.0.1:{server.port}"
    with Record(folder / "requests.jsonl") as record:
        everybody = Clients([url], record, folder)
        try:
            body = {"amount": 1_000, "currency": "usd"}
            return await everybody.ask(SHOP, "/v1/deposits", body, random.Random(1), what="deposit", of="ann"), record
        finally:
            everybody.close()


def problem(code: str, **more: str) -> dict[str, str]:
    return {"type": f"https://paysaga.dev/problems/{code}", **more}


async def test_told_nothing_a_client_asks_again_under_the_same_key(tmp_path: Path) -> None:
    server = Server(None, (503, problem("unavailable")), (201, {"id": "dep_1"}))
    async with server.running():
        answer, record = await ask(server, tmp_path)

    assert answer.accepted
    assert answer.body == {"id": "dep_1"}
    assert len(server.keys) == 3
    assert len(set(server.keys)) == 1
    [request] = record.requests
    assert [attempt.status for attempt in request.attempts] == [None, 503, 201]
    assert (request.user, request.operations, request.unknown) == ("ann", ["dep_1"], False)


async def test_a_refusal_is_the_last_word(tmp_path: Path) -> None:
    async with Server((402, problem("card-declined", operation_id="dep_1"))).running() as server:
        answer, _ = await ask(server, tmp_path)

    assert not answer.accepted
    [attempt] = answer.request.attempts
    assert (attempt.code, attempt.operation, attempt.typed) == ("card-declined", "dep_1", True)


async def test_what_is_no_problem_of_the_api_is_marked(tmp_path: Path) -> None:
    server = Server((500, b"Internal Server Error"), (409, {"detail": "no"}))
    async with server.running():
        answer, _ = await ask(server, tmp_path)

    assert [attempt.typed for attempt in answer.request.attempts] == [False, False]


async def test_a_client_may_give_up_and_never_know(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "GIVES_UP", 1.0)
    async with Server(None).running() as server:
        with pytest.raises(BrokenOff):
            await ask(server, tmp_path)

    [begun, sending, unanswered] = [json.loads(line) for line in (tmp_path / "requests.jsonl").read_text().splitlines()]
    assert (begun["what"], begun["user"], begun["body"]["amount"]) == ("deposit", "ann", 1_000)
    assert sending["sending"] == unanswered["no answer"] == 1


async def test_a_client_may_ask_again_though_it_was_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "ASKS_TWICE", 1.0)
    async with Server((201, {"id": "dep_1"}), (200, {"id": "dep_2"})).running() as server:
        answer, _ = await ask(server, tmp_path)

    assert answer.request.operations == ["dep_1", "dep_2"]


async def test_what_is_sent_is_written_before_it_is_sent(tmp_path: Path) -> None:
    """A run that is killed leaves a record of what was under way."""
    written: list[str] = []

    class Reading(Server):
        async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            written.extend((tmp_path / "requests.jsonl").read_text().splitlines())
            await super()._serve(reader, writer)

    async with Reading((201, {"id": "dep_1"})).running() as server:
        await ask(server, tmp_path)

    assert [list(json.loads(line))[:2] for line in written] == [["number", "what"], ["number", "sending"]]

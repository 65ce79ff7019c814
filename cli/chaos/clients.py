"""Clients of the API. Told nothing, they ask again under the same key; some give up, and never learn what came."""

import asyncio
import json
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.chaos.record import Attempt, Record, Request
from cli.http import Connection
from cli.tokens import development_token

WAITS = 9.0
"""Seconds that a client waits for an answer."""

ACCEPTED = 202
"""It is written, and not certain yet how it ends."""

GIVES_UP = 0.15
"""Share of clients who, told nothing, do not ask again."""

ASKS_TWICE = 0.05
"""Share of clients who, told, ask again all the same."""

ATTEMPTS = 40
"""At most, of one request: enough to outlast everything that is done to the stack here."""

TOKEN_LASTS = 24 * 3600
"""Seconds."""

_PROBLEM = "https://paysaga.dev/problems/"


class BrokenOff(Exception):
    """A client cannot go on: it was told nothing and has given up, or was told what cannot be."""


@dataclass(frozen=True)
class User:
    """Somebody with a token."""

    id: str
    role: str


@dataclass(frozen=True)
class Answer:
    """What a request came to. `body` is the last answer's."""

    request: Request
    body: dict[str, Any]

    @property
    def accepted(self) -> bool:
        """Done, or it will be."""
        return self.request.acknowledged and not self.request.refused


class Clients:
    """Everybody who asks the API, at any of its addresses."""

    def __init__(self, urls: Sequence[str], record: Record, data: Path) -> None:
        self._urls = urls
        self._record = record
        self._data = data
        self._tokens: dict[User, str] = {}
        self._idle: defaultdict[str, list[Connection]] = defaultdict(list)
        self._turn = 0
        self.attempts = 0

    async def ask(
        self,
        user: User,
        path: str,
        body: dict[str, Any],
        chance: random.Random,
        *,
        what: str,
        of: str | None = None,
        about: str | None = None,
        stubborn: bool = False,
    ) -> Answer:
        """POST, until it is known what came of it. Raises `BrokenOff` if the client gives up before; stubborn: never.

        `what`, `of` and `about` are the record's: the kind or the verb, whose operation it is, and which one.
        """
        number, key = len(self._record.requests), f"{chance.getrandbits(64):016x}"
        request = self._record.begin(
            what=what, caller=user.id, key=f"{number}-{key}", path=path, body=body, user=of or user.id, about=about
        )
        pause = 0.2
        for _ in range(ATTEMPTS):
            attempt, said = await self._send(user, request)
            # A verb that is accepted may still be refused. What it leads to is asked for only when that is certain.
            open_ended = about is not None and attempt.status == ACCEPTED
            if (attempt.accepted and not open_ended) or attempt.refused:
                if chance.random() < ASKS_TWICE:
                    await self._send(user, request)
                return Answer(request, said)
            if not (stubborn or open_ended) and chance.random() < GIVES_UP:
                break
            await asyncio.sleep(pause * chance.uniform(0.5, 1.5))
            pause = min(pause * 2, 3.0)
        raise BrokenOff(f"{what} by {user.id}: no answer")

    async def read(self, user: User, path: str) -> Any:
        """GET, once. Raises `OSError`, `EOFError` or `TimeoutError` when nothing comes, `BrokenOff` for a refusal."""
        status, content = await self._exchange(user, "GET", path)
        if status != 200:
            raise BrokenOff(f"GET {path} answered {status}: {content[:200].decode(errors='replace')}")
        return json.loads(content)

    async def put(self, user: User, path: str, body: dict[str, Any]) -> None:
        """PUT, which can be repeated at will, until it is taken."""
        for _ in range(ATTEMPTS):
            try:
                status, _ = await self._exchange(user, "PUT", path, body)
            except (OSError, EOFError, TimeoutError):
                status = 503
            if status == 200:
                return
            await asyncio.sleep(0.5)
        raise BrokenOff(f"PUT {path}: no answer")

    def close(self) -> None:
        """Ends every connection."""
        for connections in self._idle.values():
            for connection in connections:
                connection.close()

    async def _send(self, user: User, request: Request) -> tuple[Attempt, dict[str, Any]]:
        self.attempts += 1
        attempt = self._record.sending(request)
        headers = {"Idempotency-Key": request.key}
        try:
            status, content = await self._exchange(user, "POST", request.path, request.body, headers)
        except (OSError, EOFError, TimeoutError) as error:
            self._record.unanswered(request, f"{type(error).__name__}: {error}")
            return attempt, {}
        said = _read(content)
        attempt.status = status
        if status >= 400:
            attempt.code = str(said.get("type", "")).removeprefix(_PROBLEM) or None
            attempt.typed = str(said.get("type", "")).startswith(_PROBLEM)
            attempt.operation = said.get("operation_id") if request.about is None else None
        elif request.about is None:
            attempt.operation = said.get("id")
        self._record.answered(request, attempt)
        return attempt, said

    async def _exchange(
        self, user: User, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        authorization = {"Authorization": f"Bearer {self._token(user)}"}
        with self._connection() as connection:
            async with asyncio.timeout(WAITS):
                return await connection.exchange(method, path, body, headers={**authorization, **(headers or {})})

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        """One that nobody uses, to each of the APIs in turn."""
        self._turn += 1
        url = self._urls[self._turn % len(self._urls)]
        connection = self._idle[url].pop() if self._idle[url] else Connection(url)
        try:
            yield connection
        finally:
            # One that has broken was closed, and opens anew when it is next used.
            self._idle[url].append(connection)

    def _token(self, user: User) -> str:
        if user not in self._tokens:
            self._tokens[user] = development_token(user.id, user.role, TOKEN_LASTS, self._data)
        return self._tokens[user]


def _read(content: bytes) -> dict[str, Any]:
    """The answer's JSON object; empty where it is none, which is no typed answer."""
    try:
        said = json.loads(content)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}

"""What a chapter is told with: people, sentences, waiting, and expectations.

A chapter is a module in `chapters/` with a `TITLE` and `async def tell(story)`. What it expects it writes down as
integer literals, in minor units, computed by hand: the code under demonstration must not be its own judge.
"""

import asyncio
import secrets
import textwrap
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle, zip_longest
from typing import Any

import httpx
from rich.console import Console
from rich.json import JSON
from rich.markup import escape
from rich.text import Text

from cli.demo.errors import StoryBroken, told_by, unexpected
from cli.demo.outside import Outside
from cli.demo.place import Place
from cli.tokens import development_token

Json = dict[str, Any]

Bookings = Sequence[tuple[str, dict[str, int]]]
"""An operation's ledger transactions: step, and the signed minor units by account (credits positive).

An account of somebody else than the person whose operation it is has their name: `wallet_available (Erin)`.
"""

TOKEN_LASTS = 3600
"""Seconds."""

ANSWERED_WITHIN = 20.0
"""Seconds in which a write must be done, not only promised."""

LOOK_EVERY = 0.1
"""Seconds between two looks at an operation that is waited for."""


@dataclass(frozen=True)
class Person:
    """A user of the marketplace, made up for one telling."""

    name: str
    user_id: str
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Expectation:
    """Something that must be so, and what was found."""

    what: str
    expected: object
    found: object

    @property
    def met(self) -> bool:
        """Whether it is so."""
        return self.found == self.expected

    def __str__(self) -> str:
        return f"{self.what}: expected {self.expected}, found {self.found}"


@dataclass(frozen=True, slots=True)
class Said:
    """A sentence, and the seconds into the story when it was said."""

    at: float
    text: str


@dataclass
class Chapter:
    """A chapter as it was told. `seconds` is how long that took."""

    title: str
    seconds: float = 0.0
    said: list[Said] = field(default_factory=list)


class Story:
    """One telling. What the chapters declare here is compared at its end.

    Requests go to every API in turn: each must know at once what another has answered.
    """

    def __init__(self, place: Place, apis: Sequence[httpx.AsyncClient], outside: Outside, console: Console) -> None:
        self.place = place
        self.outside = outside
        self.chapters: list[Chapter] = []
        self.expectations: list[Expectation] = []
        """Those that were compared while it was told."""
        self.operations: dict[str, Person] = {}
        """Whose each operation is, in the order of the story."""
        self.bookings: dict[str, Bookings] = {}
        """By operation: what the ledger must hold of it in the end."""
        self.balances: dict[tuple[Person, str], int] = {}
        """By person and currency: what must be available in the end."""
        self.requests: Counter[str] = Counter()
        """How many each API has answered, by its URL."""
        self._apis = cycle(apis)
        self._console = console
        self._run = secrets.token_hex(3)
        self._people: dict[str, Person] = {}
        self._began = time.monotonic()

    # ── People and what they do ──

    def person(self, name: str, role: str = "customer") -> Person:
        """Somebody in a role. `Alice` is the same one throughout a telling, and another in the next."""
        if name not in self._people:
            user_id = f"{name.lower()}-{self._run}"
            token = development_token(user_id, role, TOKEN_LASTS, self.place.data)
            self._people[name] = Person(name, user_id, token)
        return self._people[name]

    async def post(self, person: Person, path: str, body: Json, *, status: int) -> Json:
        """A write in the person's name, answered with `status`. Raises `StoryBroken` for any other answer.

        202 only promises that it will be seen to: asked again with the same key, the API says what became of it.
        """
        headers = _headers(person) | {"Idempotency-Key": str(uuid.uuid4())}
        answer = await self._ask("POST", path, headers, body)
        deadline = time.monotonic() + ANSWERED_WITHIN
        while answer.status_code == httpx.codes.ACCEPTED and time.monotonic() < deadline:
            await asyncio.sleep(LOOK_EVERY)
            answer = await self._ask("POST", path, headers, body)
            if answer.status_code == httpx.codes.OK:
                status = answer.status_code  # What an earlier request has made is not made, and is answered 200.
        found: Json = _body(answer, status)
        return found

    async def put(self, person: Person, path: str, body: Json) -> Json:
        """A replacement in the person's name. Raises `StoryBroken` unless it is answered 200."""
        found: Json = _body(await self._ask("PUT", path, _headers(person), body), 200)
        return found

    async def get(self, person: Person, path: str) -> Any:
        """A read in the person's name. Raises `StoryBroken` unless it is answered 200."""
        return _body(await self._ask("GET", path, _headers(person)), 200)

    async def _ask(self, method: str, path: str, headers: dict[str, str], body: Json | None = None) -> httpx.Response:
        api = next(self._apis)
        with told_by("The API", api):
            answer = await api.request(method, path, json=body, headers=headers)
        self.requests[str(api.base_url).rstrip("/")] += 1
        return answer

    def follow(self, person: Person, operation_id: str) -> None:
        """Show this operation's entries and link when the story has ended."""
        self.operations[operation_id] = person

    async def operation(self, operation_id: str) -> Json:
        """An operation that the story follows, with all that is recorded of it."""
        found: Json = await self.get(self.operations[operation_id], f"/v1/operations/{operation_id}")
        return found

    async def until(
        self, operation_id: str, reached: Callable[[Json], bool], *, waiting: str, within: float = 20.0
    ) -> Json:
        """The operation, once `reached` holds of it: `waiting` says for what. Raises `StoryBroken` after `within` s."""
        deadline = time.monotonic() + within
        with self._console.status(escape(waiting)):
            while not reached(operation := await self.operation(operation_id)):
                if time.monotonic() > deadline:
                    where = (
                        self.place.workflow_url(operation_id) or f"{self.place.api_url}/v1/operations/{operation_id}"
                    )
                    raise StoryBroken(
                        f"{operation_id} is still {operation['status']} and open after {within:.0f} s: see in the"
                        f" worker's log why, and with --keep or a stack of your own the saga itself at {where}."
                    )
                await asyncio.sleep(LOOK_EVERY)
        return operation

    async def until_closed(self, operation_id: str, *, waiting: str, within: float = 20.0) -> Json:
        """The operation, once its saga has ended. Raises `StoryBroken`."""
        return await self.until(operation_id, lambda now: now["closed_at"] is not None, waiting=waiting, within=within)

    # ── What must be so ──

    def expect(self, what: str, expected: object, found: object) -> None:
        """Compare now. The story goes on either way."""
        self.expectations.append(Expectation(what, expected, found))

    def expect_bookings(self, operation_id: str, bookings: Bookings) -> None:
        """In the end the ledger must hold exactly these transactions of the operation, in this order."""
        self.bookings[operation_id] = bookings

    def expect_balance(self, person: Person, currency: str, available: int) -> None:
        """In the end this much must be available to the person, in minor units, and nothing anywhere else."""
        self.balances[person, currency] = available

    # ── Telling ──

    @contextmanager
    def chapter(self, title: str, number: int, of: int) -> Iterator[None]:
        """What is told inside belongs to this chapter."""
        chapter, began = Chapter(title), time.monotonic()
        self.chapters.append(chapter)
        self._console.print(f"\n[bold cyan]Chapter {number} of {of}: {escape(title)}[/bold cyan]", soft_wrap=True)
        yield
        chapter.seconds = time.monotonic() - began

    def say(self, text: str) -> None:
        """One plain sentence."""
        at = time.monotonic() - self._began
        self.chapters[-1].said.append(Said(at, text))
        clock = f"{at:6.1f} s  "
        wrapped = textwrap.wrap(text, self._console.width - len(clock), break_long_words=False, break_on_hyphens=False)
        for margin, line in zip_longest([clock], wrapped, fillvalue=" " * len(clock)):
            self._line(Text.assemble((margin, "dim"), line))

    def show(self, document: Json) -> None:
        """A JSON document, as it was received."""
        for line in JSON.from_data(document).text.split():
            self._line(Text(" " * 10) + line)

    def _line(self, line: Text) -> None:
        self._console.print(line, soft_wrap=True)


def _headers(person: Person) -> dict[str, str]:
    return {"Authorization": f"Bearer {person.token}"}


def _body(answer: httpx.Response, status: int) -> Any:
    if answer.status_code != status:
        raise unexpected("The API", answer)
    return answer.json()

"""Every route that changes something, with its API killed at each point of a request: repeated, it is done once."""

from typing import Any, NamedTuple

import httpx
import pytest

from tests.crashes.books import difference, until_settled
from tests.crashes.dying import Point, Step, serve_api
from tests.crashes.mortal import Mortal, mortal
from tests.crashes.requests import GIVEN, Asked, Delivered
from tests.world import BRISK, Servers, World, open_world, until

pytestmark = pytest.mark.crash

PACING = BRISK.model_copy(update={"funds_poll": 3_600.0, "saga_retries": (3_600.0,)})
"""Nothing comes to a saga's mind by itself while its API is away."""


class Run(NamedTuple):
    """One request: the API that it was made of, what it is answered for good, and what there was in the end."""

    api: Mortal
    marks: list[tuple[str, int]]
    answer: tuple[Any, ...]
    books: list[str]


async def _run(servers: Servers, route: str, mark: tuple[str, int] | None, wanted: list[str] | None) -> Run:
    async with open_world(servers, pacing=PACING, api=False) as world:
        async with world.serving():
            asked = await GIVEN[route](world)
        method, path = route.split(" ") if isinstance(asked, Delivered) else (asked.method, asked.path)
        step = Step(method, path)
        async with mortal(serve_api, world.settings, None if mark is None else Point(step, *mark)) as api:
            await until(lambda: _is_up(world))
            answer = await _insist(world, asked)
            marks = [(point.mark, point.number) for point in api.points if point.step == step]
            found = await until_settled(world, wanted)
            if isinstance(asked, Asked):
                # What the client hears who never got the answer, and asks again when all is over.
                answer = await asked.by(world)
            return Run(api, marks, _said(answer), found)


async def _insist(world: World, asked: Asked | Delivered) -> httpx.Response:
    """A client that asks again with the same key until it knows."""
    answers: list[httpx.Response] = []

    async def is_answered() -> bool:
        try:
            answers.append(await asked.by(world))
        except httpx.TransportError:
            return False
        return answers[-1].status_code not in (202, 503)

    await until(is_answered)
    return answers[-1]


def _said(answer: httpx.Response) -> tuple[Any, ...]:
    said = answer.json() if answer.content else {}
    return answer.status_code, answer.headers.get("Idempotent-Replayed"), said.get("status"), said.get("code")


async def _is_up(world: World) -> bool:
    try:
        return (await world.http.get("/healthz")).is_success
    except httpx.TransportError:
        return False


async def test_f35_api_killed_at_each_point_of(route: str, servers: Servers, record_property: Any) -> None:
    calm = await _run(servers, route, None, None)
    assert calm.api.death is None
    for mark in calm.marks:
        run = await _run(servers, route, mark, calm.books)
        point = f"{route} {mark[0]} {mark[1]}"
        assert run.api.death is not None, f"never came by {point}"
        assert run.books == calm.books, f"killed at {point}:\n{difference(run.books, calm.books)}"
        assert run.answer == calm.answer
        assert calm.answer[0] < 300
        record_property("recovery", (point, run.api.recovery))

"""Every step of every saga, with its worker killed at each of its points: the world ends as it does without that."""

from collections.abc import Awaitable, Callable

import pytest

from activities.sweeps import VERB_WITHIN
from tests.crashes.books import difference, until_settled
from tests.crashes.dying import Point, serve_worker
from tests.crashes.matrix import Case
from tests.crashes.mortal import Mortal, mortal
from tests.histories.scenarios import PATIENT, SCENARIOS
from tests.world import BRISK, Servers, open_world

pytestmark = pytest.mark.crash

QUICK = {
    "http_timeout": 2.0,
    "start_to_close": 3.0,
    "activity_first_retry": 0.05,
    "activity_longest_retry": 0.2,
    # A slow machine lets attempts time out that nobody has killed.
    "saga_retries": BRISK.saga_retries,
    "absent_apart": BRISK.absent_apart,
    # Temporal takes a second for each timer that is skipped, and a scenario skips ten days of polls.
    "paid_poll": 864_000.0,
}
"""What finds a dead worker's step again soon. The other waits are the scenario's own."""

SWEEPING = {"start_to_close": VERB_WITHIN + 1}
"""A sweep waits for sagas, which its own attempt must outlast."""

TRIES = 3
"""How often a point is looked for that not every run comes by: what Stripe tells comes when it comes."""

Run = tuple[Mortal, list[str]]
"""The worker of one run of a scenario, and what there was in the end."""


async def _run(servers: Servers, scenario: str, deadly: Point | None, wanted: list[str] | None) -> Run:
    play, usual = SCENARIOS[scenario]
    more = SWEEPING if scenario == "sweep" else {"saga_retries": PATIENT.saga_retries} if usual == PATIENT else {}
    pacing = usual.model_copy(update=QUICK | more)
    async with (
        open_world(servers, pacing=pacing, worker=False) as world,
        mortal(serve_worker, world.settings, deadly) as worker,
    ):
        await play(world)
        return worker, await until_settled(world, wanted)


@pytest.fixture(scope="session")
def undisturbed(servers: Servers) -> Callable[[str], Awaitable[Run]]:
    """A scenario in which nobody dies, run once a session: where its steps can be died in, and how it ends."""
    runs: dict[str, Run] = {}

    async def run(scenario: str) -> Run:
        if scenario not in runs:
            runs[scenario] = await _run(servers, scenario, None, None)
        return runs[scenario]

    return run


async def test_f34_worker_killed_at_each_point_of(
    case: Case,
    servers: Servers,
    undisturbed: Callable[[str], Awaitable[Run]],
    record_property: Callable[[str, object], None],
) -> None:
    calm, wanted = await undisturbed(case.scenario)
    assert calm.death is None
    points = [point for point in calm.points if point.step == case.step]
    assert points, f"{case.scenario} comes by {case.step} no more: what its history was recorded for is gone"
    for point in points:
        for _ in range(TRIES):
            worker, found = await _run(servers, case.scenario, point, wanted)
            assert found == wanted, f"killed at {point}:\n{difference(found, wanted)}"
            if worker.death is not None:
                break
        assert worker.death is not None, f"never came by {point}"
        record_property("recovery", (str(point), worker.recovery))

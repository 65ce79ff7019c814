"""Which steps of which sagas there are to die in: derived from the recorded histories, so that nobody lists them.

A saga's histories hold every way that it can go (tests/histories), and with that every step that it takes. Each step is
died in during the first scenario that takes it; a scenario that is added brings its new steps here by itself.
"""

import json
import random
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import NamedTuple, TypeVar

from tests.crashes.dying import Step
from tests.histories.kept import recorded
from tests.histories.scenarios import SCENARIOS

Thing = TypeVar("Thing")


class Case(NamedTuple):
    """A step, and the scenario in which its worker dies."""

    step: Step
    scenario: str

    def __str__(self) -> str:
        return f"{self.step}-in-{self.scenario}"


@cache
def steps(scenario: str) -> tuple[Step, ...]:
    """What a scenario's saga had done, in order, as its history tells."""
    begun, *events = recorded(scenario).events
    saga = begun.workflow_execution_started_event_attributes.workflow_type.name
    found = []
    for event in events:
        if event.HasField("activity_task_scheduled_event_attributes"):
            scheduled = event.activity_task_scheduled_event_attributes
            arguments = [json.loads(payload.data) for payload in scheduled.input.payloads]
            found.append(Step.of(saga, scheduled.activity_type.name, arguments[0] if arguments else None))
    return tuple(found)


@cache
def cases() -> tuple[Case, ...]:
    """Every step once."""
    found: dict[Step, Case] = {}
    for scenario in SCENARIOS:
        for step in steps(scenario):
            found.setdefault(step, Case(step, scenario))
    return tuple(found.values())


def sample(things: Sequence[Thing], size: int | None, seed: int) -> Sequence[Thing]:
    """`size` of them, one out of each of as many equal stretches, so that no saga is left out; all, if that is None."""
    if size is None or size >= len(things):
        return things
    chance = random.Random(seed)
    edges = [round(number * len(things) / size) for number in range(size + 1)]
    return [things[chance.randrange(start, end)] for start, end in pairwise(edges)]

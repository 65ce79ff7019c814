"""Nothing can be added that has no point in the crash matrix: a step without a scenario, a route without a request."""

import ast

from domain.offers import OfferVerb
from tests.architecture.source import decorated, modules
from tests.crashes.dying import Step
from tests.crashes.matrix import cases, sample, steps
from tests.crashes.requests import GIVEN, routes
from tests.histories.kept import FOLDER
from tests.histories.scenarios import SCENARIOS

ADD = "add a scenario that takes it to tests/histories/scenarios.py, and record its history"

ACTIVITIES = {
    definition.name for module in modules("activities") for definition, _ in decorated(module, "activity.defn")
}


def workflows() -> dict[str, ast.AST]:
    """Every workflow by its type."""
    return {
        str(word.value.value): definition
        for module in modules("workflows")
        for definition, written in decorated(module, "workflow.defn")
        if isinstance(written, ast.Call)
        for word in written.keywords
        if word.arg == "name" and isinstance(word.value, ast.Constant)
    }


def test_every_activity_and_every_workflow_is_died_in() -> None:
    assert {case.step.name for case in cases()} == ACTIVITIES, ADD
    assert {case.step.saga for case in cases()} == set(workflows()), ADD


def test_every_step_that_a_saga_names_is_died_in_there() -> None:
    died_in = {(case.step.saga, case.step.name) for case in cases()}
    named = {
        (saga, node.attr)
        for saga, definition in workflows().items()
        for node in ast.walk(definition)
        if isinstance(node, ast.Attribute) and node.attr in ACTIVITIES
    }

    assert len(named) >= 30
    assert named - died_in == set(), ADD


def test_every_recorded_step_is_died_in() -> None:
    assert {file.stem for file in FOLDER.iterdir()} == set(SCENARIOS)
    assert {step for name in SCENARIOS for step in steps(name)} == {case.step for case in cases()}


def test_every_verb_is_died_in() -> None:
    assert {case.step for case in cases()} >= {Step("Offer", "act", verb) for verb in OfferVerb}, ADD


def test_every_route_that_changes_something_is_died_in() -> None:
    assert set(GIVEN) == set(routes()), "say in tests/crashes/requests.py how the route is asked for"


def test_a_sample_leaves_out_no_stretch_and_is_the_same_again() -> None:
    numbers = range(75)

    assert sample(numbers, None, 1) == sample(numbers, 100, 1) == numbers
    for seed in range(20):
        assert [number // 15 for number in sample(numbers, 5, seed)] == [0, 1, 2, 3, 4]
        assert sample(numbers, 5, seed) == sample(numbers, 5, seed)
    assert len({tuple(sample(numbers, 5, seed)) for seed in range(20)}) > 10

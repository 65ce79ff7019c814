"""Chaos finds what is wrong: workers that each lack one defence are caught, and the whole one is not, by the same run.

Each trial is a short run of chaos with what provokes the mistake and little else. A worker that lacks nothing lives
through each of them without a finding, so that no mutant is caught by the trial itself.
"""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import asyncpg
import pytest

from cli.chaos.faults.kinds import FaultKind
from cli.chaos.judge import FindingKind
from cli.chaos.plan import Plan
from cli.chaos.report import Report
from cli.chaos.run import Chaos, Progress, Standing, make_folder
from cli.stack.options import PAYSAGA
from cli.stack.supervisor import Stack
from db.invariants import Invariant
from tests.mutants import accidents
from tests.mutants.accidents import Accident
from tests.mutants.worker import MUTANTS

pytestmark = pytest.mark.mutants

SEED = 4711

CLIENTS = 12

WHOLE: Sequence[str] = (*PAYSAGA, "worker")


@dataclass(frozen=True)
class Trial:
    """What a worker has to live through."""

    mix: Mapping[str, int]
    seconds: float
    faults: frozenset[FaultKind] = frozenset()
    accident: Accident | None = None


TRIALS: Mapping[str, Trial] = {
    "stripe-says-nothing": Trial(
        mix={"deposit-at-once": 1, "withdrawal": 2},
        seconds=10,
        faults=frozenset({FaultKind.STRIPE_LOST, FaultKind.STRIPE_TIMEOUT}),
    ),
    "sagas-are-reset": Trial(mix={"withdrawal": 1}, seconds=10, accident=accidents.sagas_are_reset),
    "sagas-are-canceled": Trial(mix={"withdrawal": 1}, seconds=10, accident=accidents.sagas_are_canceled),
    "ended-sagas-are-reset": Trial(mix={"withdrawal": 1}, seconds=10, accident=accidents.ended_sagas_are_reset),
    "ledger-is-locked": Trial(
        mix={"deposit-at-once": 1, "withdrawals-at-once": 1}, seconds=10, accident=accidents.ledger_is_locked
    ),
    "events-come-late": Trial(
        mix={"deposit-at-once": 1},
        seconds=15,
        faults=frozenset({FaultKind.TEMPORAL_FROZEN, FaultKind.WEBHOOKS_LATE}),
    ),
}


@dataclass(frozen=True)
class Case:
    """A mutant, what brings it down, and as what the judge must find it."""

    mutant: str
    trial: str
    found_as: FindingKind
    of_the_audit: Invariant | None = None
    """Which of its rows, where the audit has found it."""
    taken_out: tuple[str, ...] = ()
    """Of the database, by its superuser: what would keep the mutant from doing harm."""


CASES = (
    Case("random-key", "stripe-says-nothing", FindingKind.DOUBLED_AT_STRIPE),
    Case("doubt-is-failure", "stripe-says-nothing", FindingKind.LIVE_AT_STRIPE),
    Case("key-of-the-run", "sagas-are-reset", FindingKind.DOUBLED_AT_STRIPE),
    Case("cancel-is-failure", "sagas-are-canceled", FindingKind.LIVE_AT_STRIPE),
    Case("closed-is-sent", "ended-sagas-are-reset", FindingKind.LIVE_AT_STRIPE),
    Case(
        "look-then-insert",
        "ledger-is-locked",
        FindingKind.AUDIT,
        Invariant.STEP_POSTED_TWICE,
        ("ALTER TABLE ledger_transactions DROP CONSTRAINT ledger_transactions_operation_id_step_generation_key",),
    ),
    Case(
        "balance-without-lock",
        "ledger-is-locked",
        FindingKind.AUDIT,
        Invariant.FORBIDDEN_NEGATIVE,
        ("ALTER TABLE ledger_balances DROP CONSTRAINT never_negative",),
    ),
    Case("closed-saga-again", "events-come-late", FindingKind.DOUBLED_AT_STRIPE),
)


def test_every_mutant_is_tried() -> None:
    assert {case.mutant for case in CASES} | {"nothing-recorded"} == set(MUTANTS)
    assert {case.trial for case in CASES} == set(TRIALS)


@pytest.mark.parametrize("case", CASES, ids=[case.mutant for case in CASES])
async def test_a_mutant_is_caught(case: Case) -> None:
    report = await _run(TRIALS[case.trial], _mutant(case.mutant), taken_out=case.taken_out, heals_within=40)

    found = [finding.what for finding in report.findings if finding.kind is case.found_as]
    assert any(what.startswith(case.of_the_audit or "") for what in found), report.findings


@pytest.mark.parametrize("trial", TRIALS)
async def test_a_worker_that_lacks_nothing_is_not(trial: str) -> None:
    report = await _run(TRIALS[trial], WHOLE, heals_within=600)

    assert report.findings == []


async def test_steps_of_which_nothing_is_recorded_do_no_harm_to_a_saga_that_ends_once() -> None:
    """So what the mutant `closed-saga-again` is caught for is that a closed saga runs again."""
    report = await _run(TRIALS["events-come-late"], _mutant("nothing-recorded"), heals_within=600)

    assert report.findings == []


def _mutant(name: str) -> Sequence[str]:
    return (sys.executable, "-P", "-m", "tests.mutants.worker", name)


async def _run(
    trial: Trial, worker_program: Sequence[str], *, taken_out: Sequence[str] = (), heals_within: float
) -> Report:
    plan = Plan(
        seconds=trial.seconds,
        longest=120,
        seed=SEED,
        faults=trial.faults,
        mix=trial.mix,
        clients=CLIENTS,
        heals_within=heals_within,
        worker_program=worker_program,
    )
    phases = Phases()
    chaos = Chaos(plan, make_folder(), progress=phases)
    try:
        async with asyncio.TaskGroup() as tasks:
            beside = tasks.create_task(_beside(chaos.stack, phases, trial.accident, taken_out))
            report = await chaos.run()
            assert beside.done(), "what should happen under load never did"
    finally:
        chaos.delete()
    return report


class Phases(Progress):
    """How far a run has come, for what goes on beside it."""

    def __init__(self) -> None:
        self._reached: dict[str, asyncio.Event] = {}

    def stands(self, standing: Standing) -> None:
        """It has come so far."""
        self.reached(standing.doing).set()

    async def reach(self, phase: str) -> None:
        """Returns when the run has come to this phase."""
        await self.reached(phase).wait()

    def reached(self, phase: str) -> asyncio.Event:
        """Is set once the run has come to this phase."""
        return self._reached.setdefault(phase, asyncio.Event())


async def _beside(stack: Stack, phases: Phases, accident: Accident | None, taken_out: Sequence[str]) -> None:
    """Takes out of the database what the mutant must lack, and lets the accident happen while there is load."""
    await phases.reach("making the first users")
    if taken_out:
        assert stack.superuser_database_url is not None, "the stack has a Postgres of its own"
        connection = await asyncpg.connect(stack.superuser_database_url)
        for statement in taken_out:
            await connection.execute(statement)
        await connection.close()
    if accident is None:
        return
    await phases.reach("load and faults")
    await accident(stack, phases.reached("healing"))

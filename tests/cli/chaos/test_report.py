"""What a run tells: as tables, and as JSON."""

import io
import json

import pytest
from rich.console import Console

from cli.chaos.judge import Finding, FindingKind, judge
from cli.chaos.plan import Plan
from cli.chaos.printing import print_report
from cli.chaos.report import Report
from tests.cli.chaos.planting import evidence

pytestmark = pytest.mark.long


def report() -> Report:
    """Of the planted run."""
    told = Report(Plan(seed=42), findings=judge(evidence()), ways={"worker → postgres": 2}, attempts=25)
    told.cores, told.busy, told.stolen = 2, 0.7, 0.25
    told.take(evidence())
    return told


def printed(told: Report) -> str:
    console = Console(file=io.StringIO(), width=200)
    print_report(told, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_run_without_findings_is_well() -> None:
    told = json.loads(json.dumps(report().as_json()))

    assert told["ok"] is True
    assert told["findings"] == []
    assert told["operations"]["offer"] == {"completed": 1, "resolved": 1, "declined": 1}
    assert told["sagas_ended"] == 11
    assert (told["requests"], told["unknown"], told["refused"]) == (22, 2, 4)
    assert told["faults"] == {"worker-killed": 3}
    assert told["ways"] == {"worker → postgres": 2}
    assert told["plan"]["seed"] == 42
    assert "worker-killed" in told["plan"]["faults"]
    assert told["scaled"]["paid_watch"] == {"default": 864_000.0, "here": 15.0}
    assert (told["busy"], told["stolen"]) == (0.7, 0.25)
    said = printed(report())
    assert "Of the time of 2 cores 70% was used and 25% taken away" in said
    assert "chaos: nothing found; 11 sagas, 3 faults, seed 42" in said


def test_findings_are_told_with_where_and_what() -> None:
    told = report()
    told.findings = [Finding(FindingKind.LOST, f"wd_{number}", "is [gone]") for number in range(40)]

    assert told.as_json()["ok"] is False
    assert told.as_json()["findings"][0] == {"kind": "lost", "where": "wd_0", "what": "is [gone]"}
    said = printed(told)
    assert "is [gone]" in said
    assert "and 10 more: --json has them all" in said
    assert "chaos: 40 findings" in said

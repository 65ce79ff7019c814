"""`paysaga bench`: it measures everything, its figures say their units, and it leaves nothing behind.

No figure is held against a bound: what this machine can do today is no matter of right or wrong.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.bench.load import Run, percentile
from cli.bench.report import Load
from cli.stack.processes import started_at

UNITS = ("ms", "seconds", "per_second", "per_second_without_sandbox", "mib")

COUNTS = {
    *("clients", "done", "errors", "violations", "cores", "ledger_entries"),
    *("history_events", "stripe_calls", "sql_queries", "sql_transactions"),
}

RATIOS = {"to_bare", "to_twin"}


def numbers(thing: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Every number, with the name that says its unit: its own, or that of the mapping by part that it is in."""
    if isinstance(thing, dict):
        for key, each in thing.items():
            yield from numbers(each, name if name.endswith(UNITS) else key)
    elif isinstance(thing, list):
        for each in thing:
            yield from numbers(each, name)
    elif isinstance(thing, int | float) and not isinstance(thing, bool):
        yield name, thing


@pytest.mark.long
def test_the_bench_measures_everything_without_an_error(tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    # A database and a Stripe account that are no concern of the bench's.
    elsewhere = {"DATABASE_URL": "postgresql://u@127.0.0.1:1/d", "STRIPE_SECRET_KEY": "sk_live_real"}

    ended = subprocess.run(
        [sys.executable, "-P", "-m", "cli.main", "bench", "--quick", "--json"],
        env={**os.environ, **elsewhere, "TMPDIR": str(temporary)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )

    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert (found["ok"], found["errors"], found["violations"]) == (True, [], 0)
    assert {load["what"] for load in found["loads"]} >= {
        *("bare workflow", "deposit's no-op twin", "deposit", "offer", "withdrawal"),
        *("wallet reads", "webhooks, saga told", "webhooks, nobody waits"),
        *("ledger postings, cold wallets", "ledger postings, one hot account"),
        *("row updates, a row each", "row updates, all one row"),
    }
    assert all(load["done"] > 0 and load["per_second"] > 0 and load["p95_ms"] > 0 for load in found["loads"])
    deposit = next(load for load in found["loads"] if load["what"] == "deposit" and load["clients"] > 1)
    assert deposit["to_bare"] > 0
    assert deposit["to_twin"] > 0
    assert all(deposit["cpu_ms"][part] > 0 for part in ("api", "worker", "postgres", "temporal", "sandbox", "bench"))
    costs = {cost["what"]: cost for cost in found["costs"]}
    assert costs["deposit"]["history_events"] > 40
    assert costs["deposit"]["stripe_calls"] >= 3
    assert costs["deposit"]["sql_queries"] > costs["deposit"]["sql_transactions"] > 5
    assert costs["deposit's no-op twin"]["history_events"] > 40
    assert costs["deposit's no-op twin"]["stripe_calls"] == 0
    [grown] = found["growth"]
    assert grown["ledger_entries"] >= 1_000
    assert all(seen["peak_mib"] >= seen["start_mib"] > 10 for seen in found["memory"].values())
    assert set(found["memory"]) == {"api", "worker"}
    assert len(found["aims"]) == 10
    aims = found.pop("aims")
    assert all(aim["unit"] in ("", "ms") for aim in aims)
    assert [name for name, _ in numbers(found) if not name.endswith(UNITS) and name not in COUNTS | RATIOS] == []


@pytest.mark.long
def test_the_bench_ends_its_stack_when_it_is_interrupted(tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    bench = subprocess.Popen(
        [sys.executable, "-P", "-m", "cli.main", "bench", "--quick"],
        env={**os.environ, "TMPDIR": str(temporary)},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert bench.stdout is not None
        for line in bench.stdout:
            if "contractors onboard" in line:
                break
        identities = [json.loads(file.read_text()) for file in temporary.glob("*/data/run/*.pid")]
        assert len(identities) == 6

        bench.terminate()
        said = bench.communicate(timeout=60)[0]
    finally:
        bench.kill()

    assert bench.returncode == 130, said
    assert [each for each in identities if started_at(each["pid"]) == each["started"]] == []


def test_percentiles_are_values_that_were_measured() -> None:
    assert percentile([], 0.95) == 0
    assert percentile([3.0], 0.5) == 3
    assert percentile([float(each) for each in range(100, 0, -1)], 0.95) == 95
    assert percentile([1.0, 2.0], 0.99) == 2


def test_a_part_taken_out_gives_its_time_back() -> None:
    run = Run(clients=2, seconds=10.0, stages={"answered": [0.1] * 20, "credited": [0.2] * 20}, cpu={"sandbox": 0.0})

    assert run.rate() == run.rate(without="sandbox") == 2.0

    run.cpu = {"sandbox": 5.0, "api": 3.0}
    assert run.rate(without="sandbox") > 2.0
    load = Load.of("deposit", run, "credited")
    assert (load.done, load.p95_ms, load.answered_p95_ms) == (20, 200.0, 100.0)
    assert load.cpu_ms == {"sandbox": 250.0, "api": 150.0}

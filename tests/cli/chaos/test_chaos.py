"""`paysaga chaos`: a whole run finds nothing, on a stack that is broken by every kind of fault; and what is typed.

A run goes on here until every fault has struck, and has all the time that it needs to heal: on a machine that does much
else besides, each takes longer, and nothing of that is right or wrong.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.chaos.command import INTERRUPTED, Wishes, run_chaos
from cli.chaos.faults.kinds import FaultKind
from cli.chaos.plan import Plan
from cli.chaos.run import RECORD, Chaos, make_folder
from cli.chaos.workload import Workload
from cli.main import app
from cli.stack.errors import BadSettings
from cli.stack.processes import started_at

pytestmark = pytest.mark.long

COMMAND = [sys.executable, "-P", "-m", "cli.main", "chaos"]


@pytest.fixture
def temporary() -> Iterator[Path]:
    """Where a command makes its folders. Postgres's user must be able to enter, so it is none of pytest's."""
    with tempfile.TemporaryDirectory(prefix="paysaga-test-") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


@pytest.mark.long
async def test_every_kind_of_fault_strikes_and_nothing_is_found() -> None:
    chaos = Chaos(Plan(seconds=20, longest=600, seed=4711, heals_within=600), make_folder())
    try:
        report = await chaos.run()
        written = [json.loads(line) for line in (chaos.folder / RECORD).read_text().splitlines()]
    finally:
        chaos.delete()

    assert report.findings == []
    assert all(report.faults[kind] > 0 for kind in FaultKind)
    assert set(report.operations) == {"deposit", "wallet_transfer", "offer", "withdrawal", "connected_account"}
    assert report.sagas_ended > 40
    assert report.snapshots > 50
    assert report.replayed >= report.workflows > 40
    assert sum("what" in line for line in written) == report.requests
    assert not chaos.folder.exists()


@pytest.mark.long
def test_chosen_faults_and_lives_as_they_are_typed_in_json(temporary: Path) -> None:
    """Without what cannot be chosen there, as the command prints it: one JSON object alone on stdout."""
    ended = subprocess.run(
        [*COMMAND, "--seconds", "5", "--seed", "7", "--json"],
        env={**os.environ, "TMPDIR": str(temporary), "DATABASE_URL": "postgresql://u@127.0.0.1:1/d"},
        cwd=temporary,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )

    told = json.loads(ended.stdout)
    # Five seconds are too short for every fault to strike: that, too, is found, and told.
    assert ended.returncode == 1
    assert told["ok"] is False
    never = {finding["where"] for finding in told["findings"] if finding["kind"] == "fault-never-struck"}
    assert never == {kind for kind, count in told["faults"].items() if count == 0} != set()
    assert (told["plan"]["seed"], told["plan"]["seconds"]) == (7, 5)
    assert told["scaled"]["absent_apart"] == {"default": 1800.0, "here": 20.0}
    assert "seed 7" in ended.stderr
    [kept] = temporary.glob("paysaga-chaos-*")
    assert f"Kept in {kept}" in ended.stderr
    assert (kept / RECORD).exists()
    assert (kept / "data" / "postgres" / "cluster").exists()


@pytest.mark.long
def test_ctrl_c_ends_it_and_leaves_nothing(temporary: Path) -> None:
    chaos = subprocess.Popen(
        [*COMMAND, "--seconds", "600"],
        env={**os.environ, "TMPDIR": str(temporary)},
        cwd=temporary,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        assert chaos.stdout is not None
        for line in chaos.stdout:
            if "load and faults" in line:
                break
        identities = [json.loads(file.read_text()) for file in temporary.glob("*/data/run/*.pid")]
        assert len(identities) >= 5

        chaos.send_signal(signal.SIGINT)
        said = chaos.communicate(timeout=120)[0]
    finally:
        chaos.kill()

    assert chaos.returncode == INTERRUPTED, said
    assert [each for each in identities if started_at(each["pid"]) == each["started"]] == []
    assert list(temporary.glob("paysaga-chaos-*")) == []


@pytest.mark.parametrize(
    "typed", [["--seconds", "1"], ["--seconds", "soon"], ["--seed", "x"], ["--seconds", "1e9"], ["more"]]
)
def test_what_cannot_be_meant_is_refused(typed: list[str]) -> None:
    assert CliRunner().invoke(app, ["chaos", *typed]).exit_code == 2


def test_help_says_what_the_exit_code_means() -> None:
    said = CliRunner().invoke(app, ["chaos", "--help"], env={"COLUMNS": "200"}).output

    assert "Exit 0" in said
    assert "--seed" in said


@pytest.mark.parametrize("mode", ["staging", "live"])
def test_it_is_for_development_alone(mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAYSAGA_MODE", mode)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    with pytest.raises(BadSettings, match=f"PAYSAGA_MODE is {mode}: unset it"):
        run_chaos(Wishes(Plan()))

    assert list(tmp_path.iterdir()) == []


def test_a_mix_of_lives_that_there_are_not_is_refused() -> None:
    nobody: Any = None
    with pytest.raises(ValueError, match="no such lives: refund"):
        Workload(nobody, seed=1, mix={"withdrawal": 1, "refund": 1}, clients=1)

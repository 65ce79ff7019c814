"""A pytest that is ended from outside takes its servers along."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cli.stack.processes import started_at
from tests.cli.upping import wait
from tests.processes import ROOT

pytestmark = pytest.mark.system

WAITING = """
import asyncio
from pathlib import Path

import pytest


@pytest.mark.parametrize("name", ["one", "two"])
async def test_waits(world, name):
    (Path(__file__).parent / name).touch()
    await asyncio.sleep(3600)
"""

Identity = tuple[int, str]
"""A pid, and when that process started."""


def descendants(pid: int) -> dict[Identity, str]:
    """Every process that `pid` has begun, directly or not, and its name."""
    parents: dict[int, list[tuple[int, str]]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            number, _, rest = stat.read_text().partition(" (")
        except OSError:
            continue
        name, _, fields = rest.rpartition(") ")
        parents.setdefault(int(fields.split()[1]), []).append((int(number), name))
    found = {}
    unvisited = [pid]
    while unvisited:
        for child, name in parents.get(unvisited.pop(), []):
            if (started := started_at(child)) is not None:
                found[child, started] = name
                unvisited.append(child)
    return found


def _hears_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize(("processes", "number"), [(2, signal.SIGTERM), (2, signal.SIGINT), (0, signal.SIGKILL)])
def test_a_signal_to_the_group_leaves_nothing(tmp_path: Path, processes: int, number: signal.Signals) -> None:
    # Given a pytest whose tests are under way
    waiting = tmp_path / "test_waiting.py"
    waiting.write_text(WAITING)
    command = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), "-p", "tests.conftest"]
    with (tmp_path / "log.txt").open("wb") as log:
        session = subprocess.Popen(
            [*command, "-n", str(processes), "-m", "", str(waiting)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            process_group=0,
            # Begun in the background of a shell, this process ignores SIGINT, and would hand that on.
            preexec_fn=_hears_ctrl_c,
        )
    at_work = [tmp_path / "one", tmp_path / "two"][: max(1, processes)]
    try:
        wait(lambda: session.poll() is not None or all(one.exists() for one in at_work), 120)
        assert session.poll() is None, (tmp_path / "log.txt").read_text()
        begun = descendants(session.pid)
        names = list(begun.values())
        assert names.count("temporal") == 1, names
        assert names.count("postgres") >= len(at_work), names

        # When all of it is told to end
        os.killpg(session.pid, number)
        status = session.wait(120)

        # Then nothing is left: no server of all, and no Postgres of one of its processes
        assert status != 0
        wait(lambda: not any(started_at(pid) == started for pid, started in begun), 60)
    finally:
        if session.poll() is None:
            session.kill()

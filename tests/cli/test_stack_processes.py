"""Children are ended; orphans are ended by their identity, and strangers never."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from cli.stack.processes import Child, started_at

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"


def child_in(folder: Path) -> Child:
    ladder = ((signal.SIGTERM, 0.2), (signal.SIGKILL, 5.0))
    return Child("part", log=folder / "part.log", pid_file=folder / "part.pid", ladder=ladder)


async def test_a_child_that_ignores_the_polite_signal_is_killed(tmp_path: Path) -> None:
    child = child_in(tmp_path)
    child.spawn([sys.executable, "-c", STUBBORN], env=os.environ, cwd=tmp_path)
    while "up" not in child.log.read_text():  # noqa: ASYNC110  # nothing but the file tells when it is up
        await asyncio.sleep(0.01)

    await child.end()

    assert child.exit_status == -signal.SIGKILL
    assert not (tmp_path / "part.pid").exists()


async def test_an_orphan_of_an_earlier_supervisor_is_ended(tmp_path: Path) -> None:
    # Given a supervisor that dies before its child
    dying = (
        "import os, pathlib, sys; from cli.stack.processes import Child\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "child = Child('part', log=folder / 'part.log', pid_file=folder / 'part.pid')\n"
        "child.spawn(['sleep', '60'], env=os.environ, cwd=folder)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    await asyncio.to_thread(subprocess.run, [sys.executable, "-c", dying, str(tmp_path)], check=False)
    orphan = json.loads((tmp_path / "part.pid").read_text())["pid"]
    assert started_at(orphan) is not None

    # When the next one looks
    child = child_in(tmp_path)

    # Then it ends the orphan, once
    assert await child.end_orphan() is True
    assert started_at(orphan) is None
    assert await child.end_orphan() is False


async def test_a_stranger_with_the_orphans_pid_is_left_alone(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    (tmp_path / "part.pid").write_text(json.dumps({"pid": sleeper.pid, "started": "long ago"}))

    assert await child_in(tmp_path).end_orphan() is False

    assert sleeper.poll() is None


async def test_a_pid_file_that_cannot_be_read_names_nobody(tmp_path: Path) -> None:
    (tmp_path / "part.pid").write_text("{")

    assert await child_in(tmp_path).end_orphan() is False


def test_a_zombie_has_ended() -> None:
    process = subprocess.Popen(["true"])
    deadline = time.monotonic() + 5
    while started_at(process.pid) is not None and time.monotonic() < deadline:
        time.sleep(0.01)

    assert started_at(process.pid) is None
    assert process.wait() == 0


def test_a_process_keeps_its_starting_time(sleeper: subprocess.Popen[bytes]) -> None:
    first = started_at(sleeper.pid)
    time.sleep(0.05)

    assert first is not None
    assert started_at(sleeper.pid) == first
    assert started_at(os.getpid()) != first

"""`paysaga up` as a process, and the parts that it runs."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from cli.stack.processes import started_at


class Up:
    """One `paysaga up` on a data directory, and what it has printed."""

    def __init__(self, data: Path, *arguments: str, **environment: str) -> None:
        self._printed = data.with_suffix(f".{time.monotonic_ns()}.txt")
        with self._printed.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "cli.main", "up", "--data", str(data), *arguments],
                env={**os.environ, **environment},
                cwd=data.parent,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def printed(self) -> str:
        return self._printed.read_text()

    def wait_for(self, text: str, seconds: float = 60) -> None:
        wait(lambda: text in self.printed or self.process.poll() is not None, seconds)
        assert text in self.printed, self.printed

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)


def wait(true: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def identities(data: Path) -> dict[str, tuple[int, str]]:
    """Pid and start of every part, by name."""
    found = {}
    for file in (data / "run").glob("*.pid"):
        identity = json.loads(file.read_text())
        found[file.stem] = (identity["pid"], identity["started"])
    return found


def alive(parts: dict[str, tuple[int, str]]) -> set[str]:
    return {name for name, (pid, started) in parts.items() if started_at(pid) == started}

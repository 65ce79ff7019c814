"""Child processes, each with a session of its own, a log file and a pid file.

A pid alone does not name a process: after a crash the number may belong to a stranger. The pid file therefore holds
the moment the process started as well, and only a process that matches both is ever sent a signal.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from cli.stack.accounts import Account
from cli.stack.errors import PartFailed
from cli.stack.files import write_private

Ladder = tuple[tuple[signal.Signals, float], ...]

GENTLY: Ladder = ((signal.SIGTERM, 20.0), (signal.SIGKILL, 5.0))
"""How a process is ended: a signal, the seconds it has, and the next signal if that was not enough."""

_POLL = 0.02
"""Seconds between two looks at a process. Polling works the same for children and for orphans, on any event loop."""


def started_at(pid: int) -> str | None:
    """When the process with this pid started, as an opaque text; None when there is none, or only its zombie."""
    if sys.platform == "linux":
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except (FileNotFoundError, ProcessLookupError):
            return None
        # The second field, the command in parentheses, may itself contain spaces and parentheses.
        state, *fields = stat.rpartition(")")[2].split()
        return None if state in "ZX" else f"{boot}/{fields[18]}"
    listed = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False, env={"LC_ALL": "C"}
    ).stdout.split(maxsplit=1)
    return None if len(listed) < 2 or listed[0].startswith("Z") else listed[1].strip()


async def _gone(pid: int, started: str, patience: float) -> None:
    """Waits until that process has ended, for at most `patience` seconds."""
    deadline = time.monotonic() + patience
    while True:
        if started_at(pid) != started or time.monotonic() > deadline:
            return
        await asyncio.sleep(_POLL)


class Child:
    """One program, run as a child process in a session of its own.

    Its output goes to `log`. Its identity goes to `pid_file`, so that a later supervisor can end it if this one is
    killed before it could.
    """

    def __init__(self, name: str, *, log: Path, pid_file: Path, ladder: Ladder = GENTLY) -> None:
        self.name = name
        self.log = log
        self._pid_file = pid_file
        self._ladder = ladder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The pid of the last process started here, running or not."""
        return self._process.pid if self._process else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_status(self) -> int | None:
        """The exit code, or minus the signal that ended it; None while it runs."""
        return self._process.poll() if self._process else None

    def spawn(self, argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, account: Account | None = None) -> None:
        """Starts the program, as `account` if there is one. Returns at once; readiness is the caller's to await."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                argv,
                env=dict(env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C in the terminal reaches the supervisor alone, which then ends the parts in order.
                start_new_session=True,
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=[] if account else None,
            )
        identity = {"pid": self._process.pid, "started": started_at(self._process.pid)}
        write_private(self._pid_file, json.dumps(identity))

    async def wait(self) -> int:
        """Waits until the process has ended; returns its exit status."""
        assert self._process is not None, f"{self.name} was never started"
        while True:
            status = self._process.poll()
            if status is not None:
                return status
            await asyncio.sleep(_POLL)

    async def end(self) -> None:
        """Ends the process, at first politely. Does nothing when there is none."""
        for number, patience in self._ladder:
            if not self.running:
                break
            assert self._process is not None
            self._process.send_signal(number)
            with suppress(TimeoutError):
                await asyncio.wait_for(self.wait(), patience)
        self._pid_file.unlink(missing_ok=True)

    def kill(self) -> None:
        """SIGKILL, and nothing cleaned up."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    async def end_orphan(self) -> bool:
        """Ends the process that an earlier supervisor left running. Returns whether there was one."""
        try:
            identity = json.loads(self._pid_file.read_text())
            pid, started = int(identity["pid"]), str(identity["started"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return False
        found = started_at(pid) == started
        for number, patience in self._ladder:
            if started_at(pid) != started:
                break
            with suppress(ProcessLookupError):
                os.kill(pid, number)
            await _gone(pid, started, patience)
        self._pid_file.unlink(missing_ok=True)
        return found

    def check_alive(self) -> None:
        """Raises `PartFailed` when the process has ended: for whoever waits until it is ready."""
        if not self.running:
            raise PartFailed(self.name, f"ended with status {self.exit_status} while it was starting", self.log)

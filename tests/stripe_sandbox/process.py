"""A sandbox process that a test starts, kills and starts again."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

ROOT = Path(__file__).parent.parent.parent


class SandboxProcess:
    """The checked sandbox over one state file, on one port."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "sandbox.sqlite"
        self.violations = folder / "violations.txt"
        self._log = folder / "log.txt"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [sys.executable, "-m", "tests.stripe_sandbox.checked_server", "--port", str(self.port)]
        command += ["--data", str(self.data), "--violations", str(self.violations)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, env=os.environ)
        deadline = time.monotonic() + 90
        while True:
            try:
                httpx.get(f"{self.url}/_sandbox/health").raise_for_status()
                return
            except httpx.HTTPError:
                assert self._process.poll() is None, self._log.read_text()
                assert time.monotonic() < deadline, "the sandbox does not answer"
                time.sleep(0.03)

    def kill(self) -> None:
        """SIGKILL: it gets no chance to tidy up."""
        self._end(signal.SIGKILL)

    def stop(self) -> float:
        """SIGTERM. Returns how many seconds it took to end."""
        started = time.monotonic()
        self._end(signal.SIGTERM)
        return time.monotonic() - started

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(timeout=60)
            self._process = None

    def complaints(self) -> str:
        """What was wrong with the shapes it answered, and what it logged: both must be empty."""
        return self.violations.read_text() + self._log.read_text()

"""What the processes of one test session share: a Temporal server, and a Stripe sandbox whose every answer is checked.

pytest's main process begins a small process, which starts the servers when the first test wants them and ends them with
pytest, however that ends: a signal to pytest's process group does not reach it. Postgres is not shared: a wallet's
statement ends where the oldest transaction of the whole server began, so one test's open transaction would hide
another's entries. But what a killed pytest leaves of those is ended here too.
"""

import asyncio
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent

READY_WITHIN = 120.0
"""Seconds."""

_joined: list[Path] = []
"""The folder of the session this process is one of. No variable of the environment: tests clear that."""


@dataclass(frozen=True)
class Addresses:
    """Where they are: `host:port` of Temporal, the sandbox's URL and the path of its state file."""

    temporal: str
    sandbox: str
    sandbox_data: str


class SharedServers:
    """The process that runs them, as pytest's main process holds it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._log = folder / "log.txt"
        join(folder)
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.shared_servers", str(folder)],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def end(self) -> str | None:
        """End them. Returns what was wrong with them, if anything."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self._log.read_text() if self._process.wait(timeout=120) != 0 else None


def join(folder: Path) -> None:
    """Make this process one of the session's."""
    _joined[:] = [folder]


def session() -> Path:
    """The folder by which the processes of this session find each other."""
    [folder] = _joined
    return folder


def addresses() -> Addresses:
    """Where the servers are, once they run: whoever asks first makes them start."""
    folder = session()
    (folder / "wanted").touch()
    deadline = time.monotonic() + READY_WITHIN
    while not (found := folder / "addresses.json").exists():
        assert time.monotonic() < deadline, (folder / "log.txt").read_text()
        time.sleep(0.05)
    return Addresses(**json.loads(found.read_text()))


def guard(folder: Path) -> None:
    """Whatever has a pid file in `folder` ends with the session at the latest, and `folder` is deleted then."""
    with tempfile.NamedTemporaryFile("w", dir=session(), suffix=".guarded", delete=False) as file:
        file.write(str(folder))


def _end_what_is_left(session: Path) -> None:
    for file in session.glob("*.guarded"):
        left = Path(file.read_text())
        # Whoever came to its own end has deleted its folder.
        if left.exists():
            from cli.stack.postgres import FAST_THEN_IMMEDIATE
            from cli.stack.processes import Child

            for pid_file in left.rglob("*.pid"):
                orphan = Child(pid_file.stem, log=session / "log.txt", pid_file=pid_file, ladder=FAST_THEN_IMMEDIATE)
                asyncio.run(orphan.end_orphan())
            shutil.rmtree(left)


async def _serve(folder: Path, over: threading.Event) -> None:
    # Until here SIGTERM ends this process and leaves nothing behind.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    # Importing all that takes seconds, which a session that wants no servers is spared.
    from tests.servers import shared

    async with shared(folder) as found:
        written = folder / "addresses.json.new"
        written.write_text(json.dumps(asdict(found)))
        written.rename(folder / "addresses.json")
        await asyncio.to_thread(over.wait)


def main() -> None:
    """Serve until stdin ends, which it does when pytest's main process does, or until SIGTERM."""
    folder, over = Path(sys.argv[1]), threading.Event()

    def listen() -> None:
        sys.stdin.read()
        over.set()

    threading.Thread(target=listen, daemon=True).start()
    while not over.wait(0.05):
        if (folder / "wanted").exists():
            asyncio.run(_serve(folder, over))
            break
    _end_what_is_left(folder)


if __name__ == "__main__":
    main()

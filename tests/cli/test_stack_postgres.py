"""The embedded Postgres: who may log in, where its files are, and what a crash leaves."""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import asyncpg
import pytest

from cli.stack.accounts import Account
from cli.stack.errors import DataUnusable, PartFailed
from cli.stack.postgres import OWNER, SERVICE, Postgres
from cli.stack.processes import started_at

pytestmark = pytest.mark.long


async def query(url: str, sql: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


def user_of(pid: int) -> int:
    return int(subprocess.run(["ps", "-o", "uid=", "-p", str(pid)], capture_output=True, check=True).stdout)


async def test_the_owner_owns_the_database_and_nobody_but_the_superuser_is_super(postgres: Postgres) -> None:
    mine = "SELECT pg_catalog.pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()"
    able = "SELECT (rolsuper, rolcreaterole, rolcreatedb)::text FROM pg_roles WHERE rolname = current_user"

    assert await query(postgres.service_url, mine) == OWNER
    assert await query(postgres.owner_url, able) == "(f,t,f)"
    assert await query(postgres.service_url, able) == "(f,f,f)"
    assert await query(postgres.superuser_url, able) == "(t,t,t)"


async def test_a_password_is_always_asked_for(postgres: Postgres) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(f"postgresql://{SERVICE}:guess@127.0.0.1:{postgres.port}/paysaga")


async def test_it_listens_on_one_local_address_and_no_socket_file(postgres: Postgres) -> None:
    assert await query(postgres.superuser_url, "SHOW listen_addresses") == "127.0.0.1"
    assert await query(postgres.superuser_url, "SHOW unix_socket_directories") == ""
    assert await query(postgres.superuser_url, "SHOW server_encoding") == "UTF8"
    assert await query(postgres.superuser_url, "SELECT datcollate FROM pg_database LIMIT 1") == "C"


async def test_its_secrets_are_closed_to_other_users(postgres: Postgres) -> None:
    assert (postgres.folder / "cluster.json").stat().st_mode & 0o777 == 0o600


async def test_it_runs_as_an_account_that_is_not_root(postgres: Postgres) -> None:
    account = Account.for_postgres()
    assert postgres.child.pid is not None

    assert user_of(postgres.child.pid) == (account.uid if account else os.geteuid())


@pytest.mark.parametrize("closed", [False, True])
def test_its_files_are_where_its_account_can_reach_them(closed: bool) -> None:
    account = Account.for_postgres()
    with tempfile.TemporaryDirectory() as made:
        above = Path(made)
        above.chmod(0o700 if closed else 0o711)
        postgres = Postgres(above / "postgres", fsync=False, temporary=True)

        asyncio.run(postgres.start())
        location = json.loads((postgres.folder / "cluster.json").read_text())["location"]
        files = Path(location or postgres.folder / "cluster")
        asyncio.run(postgres.child.end())

        assert (files / "PG_VERSION").exists()
        assert files.stat().st_mode & 0o777 == 0o700
        assert files.stat().st_uid == (account.uid if account else os.geteuid())
        # Only an account that cannot pass through needs another place, and the data directory says which.
        assert (location is not None) == (closed and account is not None)
        postgres.delete()
        assert not files.exists()


async def test_data_survive_an_end_and_a_kill(tmp_path: Path) -> None:
    first = Postgres(tmp_path / "postgres", fsync=False, temporary=False)
    async with first:
        await query(first.owner_url, "CREATE TABLE kept AS SELECT 1 AS n")

    second = Postgres(tmp_path / "postgres", fsync=False)
    await second.start()
    await query(second.owner_url, "INSERT INTO kept VALUES (2)")
    second.kill()

    async with Postgres(tmp_path / "postgres", fsync=False, temporary=True) as third:
        assert await query(third.owner_url, "SELECT sum(n) FROM kept") == 3


async def test_an_orphan_is_ended_and_its_data_are_there(tmp_path: Path) -> None:
    # Given a supervisor that is killed while its Postgres runs
    dying = (
        "import asyncio, asyncpg, os, pathlib, sys; from cli.stack.postgres import Postgres\n"
        "async def main():\n"
        "    postgres = Postgres(pathlib.Path(sys.argv[1]), fsync=False)\n"
        "    await postgres.start()\n"
        "    connection = await asyncpg.connect(postgres.owner_url)\n"
        "    await connection.execute('CREATE TABLE kept AS SELECT 7 AS n')\n"
        "    os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())\n"
    )
    await asyncio.to_thread(subprocess.run, [sys.executable, "-c", dying, str(tmp_path / "postgres")], check=False)
    orphan = json.loads((tmp_path / "postgres" / "postgres.pid").read_text())["pid"]
    assert started_at(orphan) is not None

    # When the next one starts
    async with Postgres(tmp_path / "postgres", fsync=False, temporary=True) as postgres:
        # Then the orphan is gone and what it had committed is not
        assert started_at(orphan) is None
        assert await query(postgres.owner_url, "SELECT n FROM kept") == 7


async def test_a_cluster_of_another_version_is_refused_before_it_is_touched(tmp_path: Path) -> None:
    postgres = Postgres(tmp_path / "postgres", fsync=False, temporary=True)
    async with postgres:
        version = Path(str(await query(postgres.superuser_url, "SHOW data_directory"))) / "PG_VERSION"
        await postgres.child.end()
        version.write_text("14\n")

        with pytest.raises(DataUnusable, match=r"made by Postgres 14, and .* name a folder of Postgres 14"):
            await postgres.start()


async def test_files_that_are_gone_are_not_replaced_by_an_empty_database(tmp_path: Path) -> None:
    gone = tmp_path / "gone" / "cluster"
    folder = tmp_path / "postgres"
    folder.mkdir()
    (folder / "cluster.json").write_text(json.dumps({"location": str(gone), "passwords": {}}))

    with pytest.raises(DataUnusable, match="which is gone: bring it back"):
        await Postgres(folder).start()


async def test_a_port_that_is_taken_ends_with_what_postgres_said(tmp_path: Path) -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as taken:
        port = taken.sockets[0].getsockname()[1]
        postgres = Postgres(tmp_path / "postgres", port=port, fsync=False, temporary=True)
        with pytest.raises(PartFailed, match="Address already in use"):
            await postgres.start()
    await postgres.stop()

"""`paysaga up` from outside: it starts, is killed and starts again, ends cleanly, and refuses in one sentence."""

import asyncio
import os
import re
import signal
import socket
import time
from pathlib import Path

import asyncpg
import httpx
import pytest

from cli.stack.data import DataDirectory
from cli.stack.ports import free_port
from cli.stack.postgres import Postgres
from tests.cli.upping import Up, alive, identities, wait

pytestmark = pytest.mark.long


def run_sql(url: str, sql: str) -> object:
    async def run() -> object:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval(sql)
        finally:
            await connection.close()

    return asyncio.run(run())


def test_it_starts_is_killed_continues_and_ends(data: Path) -> None:
    parts = {"postgres", "temporal", "sandbox", "api", "worker"}

    # Given a stack that runs
    first = Up(data)
    first.wait_for("ready in")
    before = identities(data)
    assert alive(before) == parts
    remembered = DataDirectory(data).load()
    ready = f"http://127.0.0.1:{remembered.ports['api']}/readyz"
    assert httpx.get(ready).status_code == 200
    for name in ("temporal", "ui", "postgres", "sandbox", "api"):
        assert str(remembered.ports[name]) in first.printed
    owner = Postgres(data / "postgres", port=remembered.ports["postgres"]).owner_url
    run_sql(owner, "CREATE TABLE kept AS SELECT 7 AS n")

    # A second one on the same directory is refused and does no harm
    second = Up(data)
    assert second.process.wait(30) == 1
    assert re.fullmatch(r"paysaga: A stack already runs on .*\(process \d+\): end it, or name .*\n", second.printed)
    assert alive(before) == parts

    # When it is killed without a chance to end anything
    first.end(signal.SIGKILL)
    assert alive(before) == parts

    # Then the next one ends the orphans and continues with the same data, secrets and ports, but for the one asked for
    port = free_port()
    third = Up(data, "--port", str(port))
    third.wait_for("ready in")
    assert alive(before) == set()
    after = identities(data)
    assert alive(after) == parts
    ready = f"http://127.0.0.1:{port}/readyz"
    assert httpx.get(ready).status_code == 200
    assert run_sql(owner, "SELECT n FROM kept") == 7
    state = DataDirectory(data).load()
    assert state.ports == remembered.ports | {"api": port}
    assert (state.jwt_secret, state.stripe_key) == (remembered.jwt_secret, remembered.stripe_key)

    # And the same two webhook endpoints now point at the new port
    for kind, path in (("platform", "/v1/webhooks/stripe"), ("connect", "/v1/webhooks/stripe/connect")):
        endpoint = remembered.endpoints[kind]
        assert state.endpoints[kind] == endpoint.model_copy(update={"url": f"http://127.0.0.1:{port}{path}"})
    listed = httpx.get(
        f"http://127.0.0.1:{state.ports['sandbox']}/v1/webhook_endpoints",
        headers={"Authorization": f"Bearer {state.stripe_key}"},
    ).json()
    assert {(endpoint["id"], endpoint["url"]) for endpoint in listed["data"]} == {
        (endpoint.id, endpoint.url) for endpoint in state.endpoints.values()
    }

    # A part that dies comes back
    os.kill(after["worker"][0], signal.SIGKILL)
    third.wait_for("worker ended by itself (signal 9); starting it again")
    wait(lambda: third.printed.count("✓ worker") == 2)

    # And a polite signal ends everything
    after = identities(data)
    began = time.monotonic()
    assert third.end() == 0
    assert time.monotonic() - began < 15
    assert alive(after) == set()
    assert identities(data) == {}
    with pytest.raises(httpx.ConnectError):
        httpx.get(ready)


def test_ctrl_c_ends_it_cleanly_while_it_starts(data: Path) -> None:
    up = Up(data)
    wait(lambda: bool(identities(data)))
    parts = identities(data)

    assert up.end(signal.SIGINT) == 0

    assert alive(parts) == set()
    assert identities(data) == {}
    assert "Traceback" not in up.printed


def refused(data: Path, *arguments: str, **environment: str) -> tuple[int, str]:
    """The exit code and what was printed; nothing may be left running."""
    up = Up(data, *arguments, **environment)
    status = up.process.wait(60)
    assert identities(data) == {}
    assert "Traceback" not in up.printed
    return status, up.printed


def test_a_port_that_was_asked_for_and_is_taken(data: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, printed = refused(data, "--port", str(port))

    assert (status, printed) == (
        1,
        f"paysaga: Port {port} for the api is in use: end what uses it, or ask for another.\n",
    )


def test_no_postgres_where_the_setting_says(data: Path) -> None:
    status, printed = refused(data, PAYSAGA_POSTGRES_BIN="/nowhere")

    assert status == 1
    assert "paysaga: PAYSAGA_POSTGRES_BIN=/nowhere holds no `postgres`" in printed


def test_settings_that_cannot_be_meant(data: Path) -> None:
    status, printed = refused(data, PAYSAGA_MODE="live")

    assert status == 2
    assert "PAYSAGA_MODE=live needs a live STRIPE_SECRET_KEY" in printed


def test_services_of_the_outside_that_do_not_answer(data: Path) -> None:
    nobody = "127.0.0.1:1"

    status, printed = refused(
        data, DATABASE_URL=f"postgresql://u:geheim@{nobody}/d", TEMPORAL_ADDRESS=nobody, STRIPE_SECRET_KEY="sk_test_1"
    )

    assert status == 1
    assert f"at {nobody} " in printed
    assert "geheim" not in printed

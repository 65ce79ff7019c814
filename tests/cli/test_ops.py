"""`paysaga ops` as an operator runs it, against an API that runs."""

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cli.stack.ports import free_port
from domain.ids import new_id
from tests.world import Servers, World, open_world

pytestmark = pytest.mark.long


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    status: int
    printed: str
    complained: str

    @property
    def said(self) -> Any:
        return json.loads(self.printed)


async def ops(world: World, *arguments: str, who: str = "olivia", api: str | None = None) -> Ran:
    """Run the command as an admin."""
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "cli.main", "ops",
        "--api", api or f"http://127.0.0.1:{world.settings.api_port}", *arguments,
        env=os.environ | {"PAYSAGA_TOKEN": world.token(who, "admin")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    printed, complained = await running.communicate()
    assert running.returncode is not None
    return Ran(running.returncode, printed.decode(), complained.decode())


async def test_an_operator_gives_a_deposit_up(servers: Servers) -> None:
    async with open_world(servers, approval_limits={}) as world:
        deposit = (await world.accepted_deposit())["id"]

        # Given that it takes two
        alone = await ops(world, "compensate", deposit, "--reason", "case 4711")
        assert alone.status == 1
        assert "An approval is needed: To compensate" in alone.complained
        asked = await ops(world, "ask", deposit, "compensate", "--reason", "case 4711")
        approval = asked.said["id"]
        assert [one["id"] for one in (await ops(world, "awaited", who="oscar")).said["data"]] == [approval]
        assert (await ops(world, "approve", approval, "--reason", "I saw it too", who="oscar")).status == 0

        # When it is given up, and asked again with the same key how that ended
        act = ("compensate", deposit, "--reason", "case 4711", "--approval", approval, "--key", "case-4711")
        done = [await ops(world, *act) for _ in "ab"]

        assert [ran.status for ran in done] == [0, 0]
        assert (await world.closed(deposit))["status"] == "canceled"
        kept = (await ops(world, "actions", deposit)).said
        assert [(one["actor"], one["refusal"] is None) for one in kept] == [("olivia", False), ("olivia", True)]


async def test_every_verb_reaches_its_route(world: World) -> None:
    unknown = new_id("wd")
    for verb, more in (
        ("retry", ()),
        ("resume", ()),
        ("compensate", ()),
        ("write-off", ()),
        ("adopt", ("--step", "create_transfer", "--object", "tr_1")),
        ("ask", ("adopt", "--step", "create_transfer", "--object", "tr_1")),
    ):
        ran = await ops(world, verb, unknown, *more, "--reason", "x")
        assert (ran.status, ran.printed) == (1, "")
        assert "There is no such operation" in ran.complained, ran.complained
    kept = await world.sql("SELECT verb FROM operator_actions WHERE operation_id = $1", unknown)
    assert sorted(row["verb"] for row in kept) == ["adopt", "compensate", "resume", "retry", "write_off"]


async def test_an_api_that_is_not_there(world: World) -> None:
    ran = await ops(world, "retry", "dep_x", "--reason", "x", "--key", "k1", api=f"http://127.0.0.1:{free_port()}")

    assert ran.status == 2
    assert "did not answer (ConnectError). Ask again with --key k1" in ran.complained
    assert "Traceback" not in ran.complained


@pytest.mark.parametrize("verb", ["retry", "adopt", "approve"])
async def test_help_needs_no_stack(tmp_path: Path, verb: str) -> None:
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "cli.main", "ops", verb, "--help", cwd=tmp_path, stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await running.communicate()

    assert running.returncode == 0
    assert b"--reason" in printed

"""`paysaga audit`, as it is typed."""

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from cli.stack.data import DataDirectory
from db.invariants import Invariant
from tests.auditing import assert_clean
from tests.world import World

pytestmark = pytest.mark.long

ROOT = Path(__file__).parent.parent.parent

NOWHERE = "127.0.0.1:1"
"""A port that nobody listens on."""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


def environment(world: World) -> dict[str, str]:
    """What a worker of this world would be started with."""
    settings = world.settings
    return {
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "TEMPORAL_ADDRESS": settings.temporal_address,
        "TEMPORAL_NAMESPACE": settings.temporal_namespace,
        "STRIPE_SECRET_KEY": settings.stripe_secret_key.get_secret_value(),
        "STRIPE_API_BASE": settings.stripe_api_base,
    }


async def paysaga_audit(variables: dict[str, str], *arguments: str) -> Ended:
    """Run the real command with these variables and no others of ours."""
    ours = ("DATABASE_", "PAYSAGA_", "STRIPE_", "TEMPORAL_")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "cli.main", "audit", *arguments),
        cwd=ROOT,
        env=clean | variables,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())


async def test_healthy_world_has_no_violations(world: World) -> None:
    await assert_clean(world)

    deposit = await world.accepted_deposit(20_000, payment_method="pm_card_authenticationRequired")
    await assert_clean(world)
    await world.sandbox.complete_3ds(deposit["payment_intent"])
    await world.closed(deposit["id"])
    await world.accepted_deposit(5_000)  # and another customer still has to pay

    ended = await paysaga_audit(environment(world))

    assert ended == Ended(
        0, "solvency: shortfall of 6.10 USD (holds 193.90 USD, owes 200.00 USD)\naudit: 0 violations\n", ""
    )


async def test_surplus_is_told(world: World, paid: str) -> None:
    await world.sql("UPDATE ledger_account_kinds SET nature = 'clearing' WHERE kind = 'wallet_available'")

    ended = await paysaga_audit(environment(world))

    assert ended.out.startswith("solvency: surplus of ")


async def test_violations_are_a_table_and_exit_1(world: World, paid: str) -> None:
    await world.sql("UPDATE ledger_balances SET balance = balance + 1")

    ended = await paysaga_audit(environment(world))

    assert ended.code == 1
    *_, row, last = ended.out.splitlines()
    assert row.split()[0] == Invariant.WRONG_BALANCE
    assert "balance 20001, but its entries sum to 20000" in row
    assert last == "audit: 1 violation"


async def test_json(world: World, paid: str) -> None:
    await world.sql("UPDATE ledger_balances SET balance = balance + 1")

    ended = await paysaga_audit(environment(world), "--json")

    assert ended.code == 1
    report = json.loads(ended.out)
    assert report["total"] == 1
    assert report["counts"] == {invariant: int(invariant == Invariant.WRONG_BALANCE) for invariant in Invariant}
    assert report["violations"][0].keys() == {"invariant", "where", "what", "look_at"}
    assert report["solvency"] == [{"currency": "usd", "held": 19_390, "owed": 20_000}]


async def test_settings_come_from_the_stack_where_the_shell_names_no_database(world: World, tmp_path: Path) -> None:
    DataDirectory(tmp_path).save_environment(environment(world))

    # Then the shell's other variables must not point it at another deployment's parts.
    ended = await paysaga_audit({"TEMPORAL_ADDRESS": NOWHERE}, "--data", str(tmp_path))

    assert (ended.code, ended.out) == (0, "audit: 0 violations\n")


async def test_what_cannot_be_reached_is_exit_2(world: World) -> None:
    cases = {
        "Postgres cannot be read": {"DATABASE_URL": f"postgresql://paysaga@{NOWHERE}/paysaga"},
        f"Temporal at {NOWHERE} cannot be asked": {"TEMPORAL_ADDRESS": NOWHERE},
        f"Temporal at {world.settings.temporal_address} cannot be asked": {"TEMPORAL_NAMESPACE": "another"},
        f"Stripe at http://{NOWHERE} cannot be read": {"STRIPE_API_BASE": f"http://{NOWHERE}"},
        "belongs to a development deployment": {"PAYSAGA_MODE": "staging", "PAYSAGA_JWT_PUBLIC_KEY": "any"},
    }

    ended = await asyncio.gather(*(paysaga_audit(environment(world) | changed) for changed in cases.values()))

    for said, how in zip(cases, ended, strict=True):
        assert (how.code, how.out) == (2, ""), how
        assert how.err.startswith("paysaga: ")
        assert said in how.err
        assert len(how.err.splitlines()) == 1


async def test_without_settings_it_says_which_are_missing(tmp_path: Path) -> None:
    ended = await paysaga_audit({}, "--data", str(tmp_path))

    assert ended.code == 2
    assert "DATABASE_URL is missing" in ended.err

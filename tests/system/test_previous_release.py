"""Code of the release before on today's schema: alone, and beside today's in the middle of a rolling deploy.

The release before is what was there when the newest migration came. Its code is taken from Git.
"""

import asyncio
import io
import subprocess
import sys
import tarfile
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from cli.stack.ports import free_port
from tests.auditing import assert_clean
from tests.processes import ROOT, running, running_api
from tests.world import Servers, World, open_world

pytestmark = pytest.mark.system

VERSIONS = "db/migrations/versions"


def git(*arguments: str) -> bytes:
    """What Git says of this checkout."""
    said = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False)
    assert said.returncode == 0, f"The release before is in Git's history: test in a clone. {said.stderr.decode()}"
    return said.stdout


def commit_of_the_release_before() -> str:
    """The last commit without the newest migration."""
    shallow = git("rev-parse", "--is-shallow-repository").strip() == b"true"
    assert not shallow, "The release before is not in a shallow clone: `git fetch --unshallow` first."
    newest = max((ROOT / VERSIONS).glob("[0-9]*.py")).relative_to(ROOT)
    added = git("log", "--diff-filter=A", "--format=%H", "-1", "--", str(newest)).decode().strip()
    # A migration that is not committed yet comes after everything that is.
    return git("rev-parse", f"{added}^" if added else "HEAD").decode().strip()


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the release before."""
    folder = tmp_path_factory.mktemp("before")
    with tarfile.open(fileobj=io.BytesIO(git("archive", commit_of_the_release_before()))) as archive:
        archive.extractall(folder, filter="data")
    ours, theirs = ({file.name for file in (root / VERSIONS).glob("[0-9]*.py")} for root in (ROOT, folder))
    assert len(ours - theirs) == 1, (ours, theirs)
    assert theirs < ours
    # What `running` does: the packages come from there, although today's are installed.
    imported = "import api.server as a, worker.main as w, db.tables as t; print(a.__file__, w.__file__, t.__file__)"
    found = subprocess.run([sys.executable, "-c", imported], cwd=folder, capture_output=True, text=True, check=True)
    assert all(Path(path).is_relative_to(folder) for path in found.stdout.split()), found.stdout
    return folder


def knows_offers(code: Path) -> bool:
    """Whether that release has offers."""
    return (code / "workflows" / "offer.py").exists()


async def journeys(world: World, name: str, *, offers: bool) -> None:
    """Deposits, withdrawals and offers to their ends, of users who are called after `name`."""
    alice, carl = f"alice-{name}", f"carl-{name}"
    # A deposit by 3-D Secure, one that is declined, one that is called off
    asked = await world.accepted_deposit(user=alice, payment_method="pm_card_authenticationRequired")
    under_way = await world.until(asked["id"], lambda now: now["status"] == "awaiting_payment")
    await world.sandbox.complete_3ds(under_way["details"]["payment_intent"])
    assert (await world.closed(asked["id"]))["status"] == "succeeded"
    declined = await world.deposit(user=alice, payment_method="pm_card_chargeDeclined")
    assert declined.status_code in (202, 402), declined.text
    called_off = await world.accepted_deposit(user=alice)
    await world.call("POST", f"/v1/deposits/{called_off['id']}/cancel", user=alice)
    assert (await world.closed(called_off["id"]))["status"] == "canceled"
    # A withdrawal that is paid, and one that the bank refuses
    await world.onboarded(carl)
    await world.funded(carl, 20_000)
    paid = await world.accepted_withdrawal(user=carl)
    assert (await world.closed(paid))["status"] == "paid"
    await world.sandbox.payout_fault("fail")
    refused = await world.accepted_withdrawal(user=carl)
    assert (await world.closed(refused))["status"] == "reversed"
    if offers:
        offer = await world.held_offer(user=alice, contractor=carl)
        await world.acted(offer, "accept", user=carl)
        await world.acted(offer, "deliver", user=carl)
        await world.acted(offer, "complete", user=alice)
        assert (await world.closed(offer))["status"] == "completed"


async def test_f42_the_release_before_runs_on_todays_schema(servers: Servers, before: Path) -> None:
    async with (
        open_world(servers, worker=False, api=False) as world,
        running_api(world.settings, code=before),
        running(world.settings, "cli.main", "worker", code=before),
    ):
        await journeys(world, "old", offers=knows_offers(before))
        await world.settled_events()
        # Today's audit looks at what yesterday's code has written.
        await assert_clean(world)


async def test_f42_both_releases_at_once(servers: Servers, before: Path) -> None:
    async with AsyncExitStack() as new, open_world(servers, worker=False, api=False) as world:
        async with AsyncExitStack() as old:
            # Given the release before, with a deposit and a withdrawal under way
            await old.enter_async_context(running_api(world.settings, code=before))
            await old.enter_async_context(running(world.settings, "cli.main", "worker", code=before))
            await world.onboarded("dora")
            await world.funded("dora", 20_000)
            await world.sandbox.payout_fault("hold")
            out = await world.accepted_withdrawal(user="dora")
            await world.until(out, lambda now: now["status"] == "paying_out")
            unpaid = await world.accepted_deposit(user="dave")

            # When today's worker and API come beside them
            await new.enter_async_context(world.inhabited_by_a_worker())
            http = await new.enter_async_context(world.serving(port=free_port()))
            todays = World(
                settings=world.settings,
                superuser_url=world.superuser_url,
                sandbox=world.sandbox,
                temporal=world.temporal,
                http=http,
            )
            # Then whichever API is asked, and whichever worker takes a step
            offers = knows_offers(before)
            await asyncio.gather(journeys(world, "old", offers=offers), journeys(todays, "new", offers=offers))

        # When the old ones are gone
        await new.enter_async_context(world.serving())
        # Then today's end what is left
        await world.sandbox.pay(unpaid["payment_intent"], "pm_card_visa")
        assert (await world.closed(unpaid["id"]))["status"] == "succeeded"
        payout = (await world.operation(out))["details"]["payout"]
        await world.sandbox.control("POST", f"payouts/{payout}/pay")
        assert (await world.closed(out))["status"] == "paid"
        await world.settled_events()
        await assert_clean(world)

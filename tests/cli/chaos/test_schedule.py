"""When what goes wrong in chaos: every kind has its turn, and at the end everything is taken back."""

import asyncio
import random
from collections import Counter
from collections.abc import Mapping

import pytest

from cli.chaos.faults import network as lines
from cli.chaos.faults import processes, stripe
from cli.chaos.faults.kinds import FaultKind
from cli.chaos.faults.network import WAYS, Network
from cli.chaos.faults.schedule import Schedule, Timed
from cli.chaos.plan import PACING, SETTINGS, environment, scaling
from domain.pacing import Pacing
from domain.settings import Settings

pytestmark = pytest.mark.long

KILLED, FROZEN, CUT = FaultKind.WORKER_KILLED, FaultKind.WORKER_FROZEN, FaultKind.CONNECTIONS_CUT


class Group:
    """Faults that only count themselves. `idle`: how often they find nothing to strike."""

    def __init__(self, *kinds: FaultKind, idle: int = 0, fails: bool = False) -> None:
        self.kinds = kinds
        self.healed = 0
        self.tried: list[FaultKind] = []
        self._idle, self._fails = idle, fails
        self._struck: Counter[FaultKind] = Counter()

    async def strike(self, kind: FaultKind, chance: random.Random) -> bool:
        if self._fails:
            raise RuntimeError("it cannot strike")
        self.tried.append(kind)
        self._idle -= 1
        if self._idle >= 0:
            return False
        self._struck[kind] += 1
        return True

    async def heal(self) -> None:
        self.healed += 1

    async def struck(self) -> Mapping[FaultKind, int]:
        return self._struck


async def test_each_kind_strikes_before_one_strikes_twice() -> None:
    group = Group(KILLED, FROZEN)

    await Schedule([Timed(group, rests=0.01)], [KILLED, FROZEN], seed=1).run(0.3)

    assert set(group.tried[:2]) == {KILLED, FROZEN}
    assert len(group.tried) > 4
    assert group.healed == 1


async def test_a_fault_that_found_nothing_is_tried_again() -> None:
    group = Group(KILLED, FROZEN, idle=3)

    await Schedule([Timed(group, rests=0.01)], [KILLED, FROZEN], seed=1).run(0.3)

    assert len(set(group.tried[:4])) == 1


async def test_only_what_is_wanted_strikes() -> None:
    both, other = Group(KILLED, FROZEN), Group(CUT)
    schedule = Schedule([Timed(both, rests=0.01), Timed(other, rests=0.01)], [KILLED], seed=1)

    await schedule.run(0.2)

    assert set(both.tried) == {KILLED}
    assert other.tried == []
    assert set(await schedule.struck()) == {KILLED}


async def test_it_goes_on_until_each_kind_has_struck() -> None:
    slow = Group(KILLED, idle=30)
    schedule = Schedule([Timed(slow, rests=0.02)], [KILLED], seed=1)

    await schedule.run(0.05, longest=60)

    assert (await schedule.struck())[KILLED] >= 1


async def test_a_fault_that_cannot_strike_ends_the_run() -> None:
    with pytest.raises(RuntimeError, match="it cannot strike"):
        await Schedule([Timed(Group(KILLED, fails=True), rests=0.01)], [KILLED], seed=1).run(60)


async def test_nothing_wanted_is_nothing_done() -> None:
    await Schedule([Timed(Group(KILLED), rests=0.01)], [], seed=1).run(0.05)


# ── The network ──


async def test_every_part_is_told_its_own_way() -> None:
    network = Network(apis=2)
    async with network.running():
        told = {network.route(part, service, 1_000) for part, service in WAYS}
        again = {network.route(part, service, 1_000) for part, service in WAYS}
        second = network.route("sandbox", "api", 2_000)

        assert len(told) == len(WAYS)
        assert again == told
        assert second not in told
        with pytest.raises(ValueError, match="no way left"):
            network.route("sandbox", "api", 3_000)


@pytest.mark.parametrize("kind", Network.kinds)
async def test_the_network_strikes_where_something_passes(kind: FaultKind, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault on a way that nobody uses has not struck."""
    monkeypatch.setattr(lines, "LASTS", (0.2, 0.4))
    monkeypatch.setattr(lines, "WAITS_FOR_LOSS", 0.5)

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    network, chance = Network(apis=1), random.Random(1)
    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server, network.running():
        assert not await network.strike(kind, chance)
        port = server.sockets[0].getsockname()[1]
        users = [asyncio.create_task(_use(network.route(part, service, port))) for part, service in WAYS]
        await asyncio.sleep(0.2)

        assert await network.strike(kind, chance)

        for user in users:
            user.cancel()
        await asyncio.gather(*users, return_exceptions=True)
        assert await network.struck() == {kind: 1}
        assert sum(network.where.values()) == 1
        await _use(network.route("worker", "postgres", port), times=1)


async def _use(port: int, times: int = 1_000_000) -> None:
    """Says something again and again, on a new connection where one was lost."""
    for _ in range(times):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            for _ in range(times):
                writer.write(b"x")
                assert await reader.readexactly(1) == b"x"
                await asyncio.sleep(0.02)
        except (OSError, EOFError):
            await asyncio.sleep(0.02)
        finally:
            writer.transport.abort()


# ── How far it is scaled down ──


def test_what_is_scaled_is_told_and_read() -> None:
    told = scaling()

    assert told["absent_apart"] == (Pacing().absent_apart, PACING.absent_apart)
    assert set(SETTINGS) <= set(told)
    variables = environment()
    assert Pacing.model_validate_json(variables["PAYSAGA_PACING"]) == PACING
    assert {name.removeprefix("PAYSAGA_").lower() for name in variables} <= set(Settings.model_fields)


def test_nothing_that_is_sent_outlives_the_certainty_that_it_was_not_done() -> None:
    """Frozen, then stalled, then hanging: what is then done must come before a second try may count on its absence."""
    assert processes.FROZEN[1] + lines.LASTS[1] + stripe.SILENCE[1] < PACING.absent_apart

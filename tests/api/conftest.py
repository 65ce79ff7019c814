"""One world for each of these modules: what a test makes belongs to users of its own."""

from collections.abc import AsyncIterator

import pytest

from tests.api.contract import Contract
from tests.world import Servers, World, open_world


@pytest.fixture(scope="module")
async def world(servers: Servers) -> AsyncIterator[World]:
    """A Paysaga whose every answer is held against its OpenAPI document."""
    async with open_world(servers) as made:
        await hold_to_contract(made)
        yield made


_contracts: list[Contract] = []


async def hold_to_contract(world: World) -> None:
    """From now on every answer to `world.http` is checked."""
    if not _contracts:  # The document is the same in every world, and takes a while to make.
        _contracts.append(Contract((await world.http.get("/openapi.json")).json()))
    world.http.event_hooks["response"].append(_contracts[0].check)

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


async def hold_to_contract(world: World) -> Contract:
    """From now on every answer to `world.http` is checked."""
    contract = Contract((await world.http.get("/openapi.json")).json())
    world.http.event_hooks["response"].append(contract.check)
    return contract

"""What is taken back, and in which order."""

import pytest

from workflows.compensation import Compensation


async def test_the_newest_is_taken_back_first_and_each_once() -> None:
    done: list[str] = []

    async def undo_reserve() -> None:
        done.append("reserve")

    async def undo_transfer() -> None:
        done.append("transfer")

    compensation = Compensation()
    compensation.register(undo_reserve)
    compensation.register(undo_transfer)

    await compensation.run()
    await compensation.run()

    assert done == ["transfer", "reserve"]


async def test_what_could_not_be_taken_back_is_not_forgotten() -> None:
    tries = 0

    async def undo() -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise RuntimeError

    compensation = Compensation()
    compensation.register(undo)
    with pytest.raises(RuntimeError):
        await compensation.run()

    await compensation.run()

    assert tries == 2

"""Taking back what a saga has done, in the one place where that is decided.

    register A ── do A ── register B ── do B ── refused, or called off
                                                      │
                              undo A ◀── undo B ◀─────┘      newest first

A step's undo is registered before the step, since what died on the way may have been done; so each undo is safe if its
step never ran, and may run twice. Nothing is undone while it is not known how the last step ended: a step returns, or
raises `StepRefused`, once that is certain (`workflows.saga`), and is never cut off.
"""

from collections.abc import Awaitable, Callable

Undo = Callable[[], Awaitable[None]]


class Compensation:
    """What one run of a saga would have to take back."""

    def __init__(self) -> None:
        self._undos: list[Undo] = []

    def register(self, undo: Undo) -> None:
        """Before the step that `undo` takes back."""
        self._undos.append(undo)

    async def run(self) -> None:
        """Take everything back, newest first. What is taken back stays so: it is not tried a second time."""
        while self._undos:
            await self._undos[-1]()
            self._undos.pop()

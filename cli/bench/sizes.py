"""How much is measured: enough for figures to compare, or just enough to see that the bench runs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """How many of each; `clients` is how many do it at once where one alone is not meant."""

    name: str
    clients: int
    rounds: int
    """How often yardsticks and deposits take turns: what else happens on the machine then hits both."""
    alone: int
    """Lives one after the other, of each kind."""
    together: int
    """Lives by all clients, of each kind and round."""
    requests: int
    """Reads, and webhooks, by all clients; a tenth of it by one."""
    postings: int
    growth: tuple[int, ...]
    """Sizes of the ledger, in entries, at which reads, webhooks and postings are measured."""


FULL = Size(
    name="full",
    clients=20,
    rounds=3,
    alone=20,
    together=80,
    requests=2_000,
    postings=2_000,
    growth=(1_000, 10_000, 100_000, 1_000_000),
)

QUICK = Size(
    name="quick",
    clients=4,
    rounds=1,
    alone=2,
    together=4,
    requests=40,
    postings=40,
    growth=(1_000,),
)
"""For a test that the bench runs. Its figures mean nothing."""

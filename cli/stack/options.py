"""What a stack is asked to be, and which services of the outside it uses instead of its own."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_OUTSIDE = ("DATABASE_URL", "TEMPORAL_ADDRESS", "STRIPE_SECRET_KEY")

_EMBEDDED_REPLACES = {
    "DATABASE_URL": (),
    "TEMPORAL_ADDRESS": ("TEMPORAL_NAMESPACE", "TEMPORAL_TLS", "TEMPORAL_TLS_CA_FILE", "TEMPORAL_API_KEY"),
    "STRIPE_SECRET_KEY": ("STRIPE_API_BASE", "STRIPE_WEBHOOK_SECRETS", "STRIPE_CONNECT_WEBHOOK_SECRETS"),
}
"""Variables that belong to a service of the outside, and would mislead our processes when it is not used."""

PAYSAGA = (sys.executable, "-P", "-m", "cli.main")
"""Our own command. -P: a folder named `api` or `domain` where the user happens to stand must not be imported for ours.
"""

MOST_APIS = 8
"""Each has two webhook endpoints at the Stripe sandbox, which allows sixteen, as Stripe does."""


Route = Callable[[str, str, int], int]
"""`(part, service, port)`: the port at which the part is told that the service listens, which is at `port`."""


def directly(part: str, service: str, port: int) -> int:
    """Every part is told where the others are."""
    return port


@dataclass(frozen=True)
class StackOptions:
    """`Stack(StackOptions(data=Path(".paysaga")))` is what `paysaga up` runs."""

    data: Path
    """Everything the stack keeps; a second run on it continues where the first ended."""

    ports: Mapping[str, int] = field(default_factory=dict)
    """Ports that must be these: `api`, `temporal`, `ui`, `postgres`, `sandbox`. The others are chosen."""

    apis: int = 1
    """How many APIs; from the second on each takes the port after the one before, if that is free."""

    workers: int = 1
    """How many workers, all on one task queue."""

    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables for the processes, over those of this process: `PAYSAGA_PACING__POLLS=[0.1]`."""

    embedded_only: bool = False
    """Ignore `DATABASE_URL`, `TEMPORAL_ADDRESS` and `STRIPE_SECRET_KEY`, wherever they are set."""

    api_and_worker: bool = True
    """False leaves the API and the worker to the caller: everything around them runs and is prepared."""

    fsync: bool = True
    """False gives up Postgres's durability against a power cut, for speed."""

    worker_program: Sequence[str] = (*PAYSAGA, "worker")
    """What a worker is: any program that reads the same variables and polls the same task queue."""

    route: Route = directly
    """Another one puts something between two parts: between `api` or `worker` and `postgres`, `temporal` or `sandbox`,
    and between `sandbox` and `api`, for webhooks. What is not the stack's own is not asked for."""

    temporary: bool = False
    """Delete Postgres's files at the end, wherever they are. The rest of `data` is the caller's to delete."""

    def surroundings(self) -> dict[str, str]:
        """This process's variables and the extra ones, without those that only services not used would need."""
        variables = {**os.environ, **self.environment}
        for service in _OUTSIDE:
            if self.embedded_only or not variables.get(service):
                for name in (service, *_EMBEDDED_REPLACES[service]):
                    variables.pop(name, None)
        return variables

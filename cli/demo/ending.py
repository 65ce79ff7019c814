"""How the story ended: what was found, held against what the chapters declared, and all of it as one JSON object."""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from activities.audit import Report
from cli.audit import look
from cli.demo.place import Place
from cli.demo.story import Bookings, Chapter, Expectation, Json, Person, Story


@dataclass(frozen=True)
class Ending:
    """Everything that is printed, and by which the command succeeds or not."""

    chapters: Sequence[Chapter]
    operations: Sequence[tuple[Person, Json]]
    """As `GET /v1/operations/{id}` shows them, in the order of the story."""
    wallets: Sequence[tuple[Person, Json]]
    """As `GET /v1/wallets` shows them."""
    expectations: Sequence[Expectation]
    audit: Report
    seconds: float
    """Since the command began, the stack's start included."""
    requests: Mapping[str, int] = field(default_factory=dict)
    """How many each API has answered, by its URL."""

    @property
    def unmet(self) -> list[Expectation]:
        """What is not as computed by hand."""
        return [expectation for expectation in self.expectations if not expectation.met]

    @property
    def well(self) -> bool:
        """Whether all is as it must be."""
        return not self.unmet and self.audit.total == 0

    def as_json(self, place: Place) -> dict[str, Any]:
        """One JSON object. Amounts are minor units, durations seconds."""
        kinds = sorted({operation["kind"] for _, operation in self.operations})
        return {
            "ok": self.well,
            "seconds": round(self.seconds, 3),
            "stack": {"data": str(place.data), "api": place.api_url, "stripe_sandbox": place.sandbox_url},
            "requests": dict(self.requests),
            "chapters": [asdict(chapter) for chapter in self.chapters],
            "balances": [{"name": person.name, **wallet} for person, wallet in self.wallets],
            "operations": [{"name": person.name, **operation} for person, operation in self.operations],
            "links": {
                "temporal_ui": place.ui_url,
                "kinds": {kind: place.kind_url(kind) for kind in kinds},
                "operations": {
                    operation["id"]: place.workflow_url(operation["id"]) for _, operation in self.operations
                },
            },
            "expectations": [{**asdict(expectation), "met": expectation.met} for expectation in self.expectations],
            "audit": self.audit.model_dump(mode="json"),
        }


async def reach_ending(story: Story, began: float) -> Ending:
    """Reads once more what the story made, compares it, and audits. `began` is by `time.monotonic()`.

    Raises `StoryBroken`, and `AuditImpossible`.
    """
    operations = [(person, await story.operation(id)) for id, person in story.operations.items()]
    # Also those who had no operation of their own, such as who was only made an offer.
    people = dict.fromkeys([*story.operations.values(), *(person for person, _ in story.balances)])
    wallets = [(person, wallet) for person in people for wallet in await story.get(person, "/v1/wallets")]
    return Ending(
        chapters=story.chapters,
        operations=operations,
        wallets=wallets,
        expectations=[*story.expectations, *compare(story.bookings, story.balances, operations, wallets)],
        audit=await look(story.place.settings),
        seconds=time.monotonic() - began,
        requests=story.requests,
    )


def compare(
    bookings: Mapping[str, Bookings],
    balances: Mapping[tuple[Person, str], int],
    operations: Sequence[tuple[Person, Json]],
    wallets: Sequence[tuple[Person, Json]],
) -> list[Expectation]:
    """What the chapters declared, held against what the API shows: no operation and no wallet goes undeclared.

    `bookings` and `balances` are as in `Story`; `operations` and `wallets` as in `Ending`.
    """
    names = owners(operations, wallets)
    compared = [
        Expectation(
            f"what the ledger holds of {called(person, operation)}",
            bookings.get(operation["id"]),
            booked(operation, person, names),
        )
        for person, operation in operations
    ]
    held = {(person, wallet["currency"]): wallet for person, wallet in wallets}
    for person, currency in dict.fromkeys([*balances, *held]):
        available = balances.get((person, currency))
        wallet = held.get((person, currency))
        compared.append(
            Expectation(
                f"what {person.name}'s wallet holds, in minor units of {currency}",
                {"available": available, "escrow": 0, "in_transit": 0},
                wallet and {part: wallet[part] for part in ("available", "escrow", "in_transit")},
            )
        )
    return compared


def booked(operation: Json, person: Person, names: Mapping[str, str]) -> list[tuple[str, dict[str, int]]]:
    """An operation's ledger transactions as `Bookings` has them; `names` as `owners` gives them."""
    found = []
    for posting in operation["postings"]:
        amounts: dict[str, int] = defaultdict(int)
        for entry in posting["entries"]:
            owner = names.get(entry["owner"], entry["owner"])
            whose = f" ({owner})" if owner not in ("", person.name) else ""
            amounts[entry["account"] + whose] += entry["amount"]
        found.append((posting["step"], dict(amounts)))
    return found


def owners(operations: Sequence[tuple[Person, Json]], wallets: Sequence[tuple[Person, Json]]) -> dict[str, str]:
    """The name of whom a ledger account belongs to, by its owner there: a wallet's id, or a connected account's."""
    accounts = {operation["details"].get("stripe_account"): person.name for person, operation in operations}
    return accounts | {wallet["id"]: person.name for person, wallet in wallets}


def called(person: Person, operation: Json) -> str:
    """An operation in words: `Erin's withdrawal`."""
    return f"{person.name}'s {operation['kind'].replace('_', ' ')}"

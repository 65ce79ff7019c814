"""Stripe's own failures: of calls, of banks, and of its webhooks. The sandbox has them all; here they are planted."""

import random
from collections import Counter
from collections.abc import Mapping
from typing import Any

from cli.chaos.faults.kinds import FaultKind
from cli.chaos.outside import Json, Outside

SILENCE = (4.2, 5.0)
"""Seconds that a hanging call takes: longer than anybody here waits for Stripe."""

_WRITES = ("*/payment_intents", "*/payment_intents", "*/transfers", "*/payouts", "*/reversals", "*/accounts", "*")
"""Paths of POSTs, as often as they are struck."""

_TYPES = ("payment_intent.*", "charge.updated", "payout.*", "account.*", "*")


_CALLS = {
    FaultKind.STRIPE_TIMEOUT: "hang_after_commit",
    FaultKind.STRIPE_SLOW: "hang",
    FaultKind.STRIPE_LOST: "drop_after_commit",
    FaultKind.STRIPE_TRUNCATED: "truncate",
    FaultKind.STRIPE_STORED_500: "server_error_stored",
    FaultKind.STRIPE_STORED_500_DONE: "server_error_stored_after_commit",
    FaultKind.STRIPE_429: "rate_limit",
    FaultKind.STRIPE_KEY_IN_USE: "key_in_use",
}

_PAYOUTS = {FaultKind.PAYOUT_FAILED: "fail", FaultKind.PAYOUT_FAILED_LATE: "fail_late"}

_EVENTS = {
    FaultKind.WEBHOOKS_DUPLICATED: "duplicate",
    FaultKind.WEBHOOKS_RENAMED: "new_id",
    FaultKind.WEBHOOKS_REORDERED: "reorder",
    FaultKind.WEBHOOKS_DROPPED: "drop",
    FaultKind.WEBHOOKS_LATE: "delay",
    FaultKind.WEBHOOKS_MISSIGNED: "corrupt_signature",
}

LATE_PAYOUT = (0.5, 20.0)
"""Seconds after which a payout that was paid fails: also when nobody watches it any more."""


class StripeFaults:
    """Faults that are planted at the sandbox, and strike when something comes by. `path` is where it keeps them."""

    def __init__(self, outside: Outside, path: str, kinds: Mapping[FaultKind, str]) -> None:
        self.kinds = tuple(kinds)
        self._outside = outside
        self._path = path
        self._names = kinds
        self._kinds = {name: kind for kind, name in kinds.items()}
        self._spent: Counter[FaultKind] = Counter()

    async def strike(self, kind: FaultKind, chance: random.Random) -> bool:
        """Plant one, at something that will come by. Whether it strikes is seen later."""
        await self._clear_away()
        await self._outside.control("POST", self._path, {"kind": self._names[kind], **_how(kind, chance)})
        return True

    async def heal(self) -> None:
        """What has not struck yet never will."""
        for planted in await self._planted():
            await self._remove(planted)

    async def struck(self) -> Mapping[FaultKind, int]:
        """How often each kind has struck."""
        found = self._spent.copy()
        for planted in await self._planted():
            found[self._kinds[planted["kind"]]] += planted["fired"]
        return found

    async def _clear_away(self) -> None:
        """The sandbox looks at every planted fault with every call: those that are spent only cost time."""
        for planted in await self._planted():
            if planted["fired"] >= planted["times"]:
                await self._remove(planted)

    async def _remove(self, planted: Json) -> None:
        await self._outside.control("DELETE", f"{self._path}/{planted['id']}")
        self._spent[self._kinds[planted["kind"]]] += planted["fired"]

    async def _planted(self) -> list[Json]:
        found: list[Json] = (await self._outside.control("GET", self._path))["faults"]
        return found


def calls(outside: Outside) -> StripeFaults:
    """Faults of single calls."""
    return StripeFaults(outside, "faults", _CALLS)


def payouts(outside: Outside) -> StripeFaults:
    """Faults of banks."""
    return StripeFaults(outside, "payout_faults", _PAYOUTS)


def events(outside: Outside) -> StripeFaults:
    """Faults of webhooks."""
    return StripeFaults(outside, "event_faults", _EVENTS)


def _how(kind: FaultKind, chance: random.Random) -> dict[str, Any]:
    if kind in _CALLS:
        return {"method": "POST", "path": chance.choice(_WRITES), "seconds": chance.uniform(*SILENCE)}
    if kind is FaultKind.PAYOUT_FAILED:
        return {"failure_code": chance.choice(["account_closed", "no_account", "could_not_process"])}
    if kind is FaultKind.PAYOUT_FAILED_LATE:
        return {"failure_code": "account_closed", "seconds": chance.uniform(*LATE_PAYOUT)}
    return {
        "type": chance.choice(_TYPES),
        "times": chance.randint(2, 6),
        "copies": chance.randint(1, 3),
        "seconds": chance.uniform(1.0, 12.0),
    }

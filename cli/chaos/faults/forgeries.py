"""Webhooks that Stripe has not sent: of payments that nobody has made."""

import asyncio
import hashlib
import hmac
import json
import random
import secrets
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from cli.chaos.faults.kinds import FaultKind
from cli.http import Connection

WAITS = 4.0
"""Seconds for an answer."""

REFUSED = 400
"""What the API answers whoever is not Stripe."""

AWAY = 500
"""From here on the API has said nothing about the event."""


class Forgeries:
    """Somebody who knows everything but the signing secret. `payments` names PaymentIntents to lie about."""

    kinds: tuple[FaultKind, ...] = (FaultKind.WEBHOOKS_FORGED,)

    def __init__(self, urls: Sequence[str], payments: Callable[[], Mapping[str, str]]) -> None:
        self._urls = urls
        self._payments = payments
        self._struck: Counter[FaultKind] = Counter()
        self.taken: list[str] = []

    async def strike(self, kind: FaultKind, chance: random.Random) -> bool:
        """Tell an API that a deposit is paid; whether it has heard it."""
        payments = self._payments()
        if not payments:
            return False
        operation = chance.choice(sorted(payments))
        thing = {
            "id": payments[operation],
            "object": "payment_intent",
            "status": "succeeded",
            "metadata": {"operation_id": operation},
        }
        event = {
            "id": f"evt_forged_{chance.getrandbits(48):x}",
            "object": "event",
            "type": "payment_intent.succeeded",
            "livemode": False,
            "created": int(time.time()),
            "data": {"object": thing},
        }
        body = json.dumps(event).encode()
        async with Connection(chance.choice(self._urls)) as connection:
            try:
                async with asyncio.timeout(WAITS):
                    status, _ = await connection.exchange(
                        "POST", "/v1/webhooks/stripe", body, headers={"Stripe-Signature": _signature(body)}
                    )
            except (OSError, EOFError, TimeoutError):
                return False
        if status >= AWAY:
            return False
        self._struck[kind] += 1
        if status != REFUSED:
            self.taken.append(f"{event['id']} about {operation} was answered {status}")
        return True

    async def heal(self) -> None:
        """There is nothing to take back."""

    async def struck(self) -> Mapping[FaultKind, int]:
        """How often the API has heard one."""
        return self._struck


def _signature(body: bytes) -> str:
    now = int(time.time())
    made = hmac.new(secrets.token_bytes(32), f"{now}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={now},v1={made}"

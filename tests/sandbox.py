"""The Stripe sandbox, seen from a test: the world outside Paysaga."""

import asyncio
import time
from typing import Any

import httpx


class Sandbox:
    """One platform account at the sandbox. Every method raises on an answer that is not 2xx."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url
        self.key = key
        # Not verified, because it is plain HTTP: else each client would read all the authorities' certificates.
        self._http = httpx.AsyncClient(
            base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=30, verify=False
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def control(self, method: str, path: str, /, **body: Any) -> dict[str, Any]:
        """A call of the control API."""
        return _json(await self._http.request(method, f"/_sandbox/{path}", json=body or None))

    async def get(self, path: str, **query: str | int) -> dict[str, Any]:
        """A read through Stripe's own API."""
        return _json(await self._http.get(f"/v1/{path}", params=query))

    async def post(self, path: str, **form: str | int) -> dict[str, Any]:
        """A write through Stripe's own API, as somebody makes it on the Dashboard."""
        return _json(await self._http.post(f"/v1/{path}", data=form))

    async def listed(self, path: str, **query: str | int) -> list[dict[str, Any]]:
        """All of a list, newest first."""
        page = await self.get(path, limit=100, **query)
        found: list[dict[str, Any]] = page["data"]
        while page["has_more"]:
            page = await self.get(path, limit=100, starting_after=found[-1]["id"], **query)
            found += page["data"]
        return found

    async def of_account(self, stripe_account: str, path: str, **query: str | int) -> Any:
        """A connected account's own: its balance, or all of a list, newest first."""
        headers = {"Stripe-Account": stripe_account}
        found = _json(await self._http.get(f"/v1/{path}", params=query, headers=headers))
        return found["data"] if found["object"] == "list" else found

    async def payout_fault(self, kind: str, **more: Any) -> None:
        """Let the next payout `fail` at its bank, `fail_late` after it was paid, or stand still until told (`hold`)."""
        await self.control("POST", "payout_faults", kind=kind, **more)

    async def register_webhook(self, url: str, *, connect: bool) -> str:
        """Have events delivered to `url`; the endpoint's signing secret."""
        form = {"url": url, "enabled_events[0]": "*", "connect": "true" if connect else "false"}
        return str(_json(await self._http.post("/v1/webhook_endpoints", data=form))["secret"])

    async def fault(self, method: str, path: str, kind: str, *, times: int = 1, **more: Any) -> None:
        """Let the next `times` calls of `path` go wrong."""
        await self.control("POST", "faults", method=method, path=path, kind=kind, times=times, **more)

    async def faults_fired(self) -> int:
        """How often a call went wrong on purpose."""
        return sum(fault["fired"] for fault in (await self.control("GET", "faults"))["faults"])

    async def event_fault(self, event_type: str, kind: str, **more: Any) -> None:
        """Let all deliveries of these events go wrong from now on."""
        await self.control("POST", "event_faults", type=event_type, kind=kind, times=None, **more)

    async def complete_3ds(self, payment_intent: str, outcome: str = "succeed") -> None:
        """The cardholder answers their bank."""
        await self.control("POST", f"payment_intents/{payment_intent}/complete_3ds", outcome=outcome)

    async def pay(self, payment_intent: str, payment_method: str) -> dict[str, Any]:
        """The customer's browser confirms with a card; a decline's answer comes back too."""
        answer = await self._http.post(
            f"/_sandbox/payment_intents/{payment_intent}/confirm", json={"payment_method": payment_method}
        )
        assert answer.status_code in (200, 402), answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def deliver(self, event_id: str, *, times: int = 1) -> list[int | None]:
        """Send an event now; the statuses that the endpoints answered with."""
        attempts = (await self.control("POST", f"events/{event_id}/deliver", times=times))["attempts"]
        return [attempt["status"] for attempt in attempts]

    async def events(self, event_type: str) -> list[dict[str, Any]]:
        """The events of a type, newest first."""
        return await self.listed("events", type=event_type)

    async def until_event(self, event_type: str) -> dict[str, Any]:
        """The newest event of a type, once there is one."""
        deadline = time.monotonic() + 90
        while not (found := await self.events(event_type)):
            assert time.monotonic() < deadline, f"no {event_type}"
            await asyncio.sleep(0.05)
        return found[0]

    async def requests(self, path: str, method: str = "POST") -> list[dict[str, Any]]:
        """What the sandbox was asked."""
        found: list[dict[str, Any]] = (await self.control("GET", f"requests?path={path}&method={method}"))["requests"]
        return found


def _json(answer: httpx.Response) -> dict[str, Any]:
    assert answer.is_success, f"{answer.request.method} {answer.request.url}: {answer.status_code} {answer.text}"
    found: dict[str, Any] = answer.json()
    return found

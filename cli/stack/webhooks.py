"""The stack's webhook endpoints at the Stripe sandbox, registered as one would register them at Stripe.

Each API has two of its own, so every event comes to every API: what one misses the other hears, and what both hear is
stored once. Before Stripe itself there would be one URL, with a balancer behind it.
"""

from collections.abc import Sequence
from typing import Any

import httpx

from cli.stack.data import Endpoint
from cli.stack.errors import StackError
from cli.stack.parts import called

_PATHS = {"platform": "/v1/webhooks/stripe", "connect": "/v1/webhooks/stripe/connect"}


async def register(
    sandbox_url: str, stripe_key: str, api_urls: Sequence[str], known: dict[str, Endpoint]
) -> dict[str, Endpoint]:
    """Sees to it that every API's endpoints exist and point at it; returns them with their secrets.

    They are called `platform` and `connect`, and those of further APIs `platform-2`, `connect-2`, …; `known` are those
    of the last run. Raises `StackError` when the sandbox refuses.
    """
    endpoints: dict[str, Endpoint] = {}
    wanted = {
        called(kind, index): (kind, api_url + path)
        for index, api_url in enumerate(api_urls)
        for kind, path in _PATHS.items()
    }
    async with httpx.AsyncClient(
        base_url=sandbox_url, headers={"Authorization": f"Bearer {stripe_key}"}, timeout=10, trust_env=False
    ) as http:
        listed = await _ask(http, "GET", "/v1/webhook_endpoints", {"limit": "100"})
        there = {str(endpoint["id"]): endpoint for endpoint in listed["data"]}
        # A run killed between registering and remembering leaves one whose secret nobody knows; one that had more APIs
        # leaves theirs.
        ours = {endpoint.id for name, endpoint in known.items() if name in wanted}
        for id, endpoint_there in there.items():
            if id not in ours and str(endpoint_there["url"]).endswith(tuple(_PATHS.values())):
                await _ask(http, "DELETE", f"/v1/webhook_endpoints/{id}", {})
        for name, (kind, url) in wanted.items():
            endpoint = known.get(name)
            if endpoint is None or endpoint.id not in there:
                form = {"url": url, "enabled_events[0]": "*"} | ({"connect": "true"} if kind == "connect" else {})
                made = await _ask(http, "POST", "/v1/webhook_endpoints", form)
                endpoint = Endpoint(id=made["id"], url=url, secret=made["secret"])
            elif there[endpoint.id]["url"] != url:
                await _ask(http, "POST", f"/v1/webhook_endpoints/{endpoint.id}", {"url": url})
                endpoint = endpoint.model_copy(update={"url": url})
            endpoints[name] = endpoint
    return endpoints


async def _ask(http: httpx.AsyncClient, method: str, path: str, form: dict[str, str]) -> Any:
    try:
        if method == "GET":
            answer = await http.get(path, params=form)
        else:
            answer = await http.request(method, path, data=form)
    except httpx.TransportError as error:
        raise StackError(f"The Stripe sandbox did not answer {method} {path} ({error}): see its log.") from error
    if answer.status_code != 200:
        raise StackError(f"The Stripe sandbox refused {method} {path} with {answer.status_code}: {answer.text[:500]}")
    return answer.json()

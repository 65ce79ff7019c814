"""A request for each route that may change something, in a world in which it is granted."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, NamedTuple

import httpx

from api.server import describe_app
from tests.stuck import quiet, short_of, transfer_by_hand, transfer_in_doubt
from tests.world import World, until

CONTRACTOR: dict[str, Any] = {"user": "carl", "role": "contractor"}
ADMIN: dict[str, Any] = {"user": "root", "role": "admin"}
WHY = {"reason": "support case 4711"}


class Asked(NamedTuple):
    """One request, as its client makes it, and makes it again."""

    path: str
    body: dict[str, Any] | None = None
    user: str = "alice"
    role: str = "customer"
    method: str = "POST"

    async def by(self, world: World) -> httpx.Response:
        """With the same key each time."""
        return await world.call(self.method, self.path, self.body, user=self.user, role=self.role, key="once")


class Delivered(NamedTuple):
    """One event, as Stripe sends it, and sends it again until it is taken."""

    event: str

    async def by(self, world: World) -> httpx.Response:
        """What the sandbox's sending came to."""
        [status] = await world.sandbox.deliver(self.event)
        return httpx.Response(status or 503)


Given = Callable[[World], Awaitable[Asked | Delivered]]


def routes() -> list[str]:
    """Every route of the API that is not only read."""
    paths = describe_app().openapi()["paths"]
    return [f"{method.upper()} {path}" for path, methods in paths.items() for method in methods if method != "get"]


# ── Making ──


async def _deposit(_: World) -> Asked:
    return Asked("/v1/deposits", {"amount": 20_000, "currency": "usd", "payment_method": "pm_card_visa"})


async def _offer(world: World) -> Asked:
    await world.closed((await world.deposit(payment_method="pm_card_bypassPending")).json()["id"])
    return Asked("/v1/offers", {"contractor_id": "carl", "amount": 10_000, "currency": "usd"})


async def _withdrawal(world: World) -> Asked:
    await world.onboarded()
    await world.funded()
    return Asked("/v1/withdrawals", {"amount": 8_000, "currency": "usd"}, **CONTRACTOR)


async def _preview(world: World) -> Asked:
    return (await _withdrawal(world))._replace(path="/v1/withdrawals/preview")


async def _wallet_transfer(world: World) -> Asked:
    await world.closed((await world.deposit(user="clara", payment_method="pm_card_bypassPending")).json()["id"])
    body = {"from_user_id": "clara", "to_user_id": "carl", "amount": 8_000, "currency": "usd"}
    return Asked("/v1/wallet-transfers", body, "shop", "service")


async def _account(world: World) -> Asked:
    profile = {"email": "carl@example.com", "name": "Carl", "country": "US"}
    assert (await world.call("PUT", "/v1/me", profile, **CONTRACTOR)).is_success
    urls = {"return_url": "http://localhost/done", "refresh_url": "http://localhost/again"}
    return Asked("/v1/connect/account", urls, **CONTRACTOR)


async def _link(which: str, world: World) -> Asked:
    await world.onboarded()
    return Asked(f"/v1/connect/account/{which}", {}, **CONTRACTOR)


async def _profile(_: World) -> Asked:
    return Asked("/v1/me", {"email": "alice@example.com", "name": "Alice", "country": "US"}, method="PUT")


# ── Changing ──


async def _cancel_deposit(world: World) -> Asked:
    return Asked(f"/v1/deposits/{(await world.accepted_deposit())['id']}/cancel")


async def _cancel_withdrawal(world: World) -> Asked:
    await world.onboarded()
    await world.funded()
    await world.sandbox.control("POST", "adjust_balance", amount=-19_000)
    withdrawal = await world.accepted_withdrawal()
    await world.until(withdrawal, lambda now: now["status"] == "awaiting_funds")
    return Asked(f"/v1/withdrawals/{withdrawal}/cancel", **CONTRACTOR)


_Acts = tuple[tuple[str, str, dict[str, Any]], ...]
_ACCEPTED: _Acts = (("accept", "carl", {}),)
_CANCEL_ASKED: _Acts = (*_ACCEPTED, ("cancel", "alice", {}))
_DELIVERED: _Acts = (*_ACCEPTED, ("deliver", "carl", {}))
_CONTESTED: _Acts = (*_ACCEPTED, ("contest", "alice", WHY))


async def _verb(verb: str, user: str, body: dict[str, Any] | None, before: _Acts, world: World) -> Asked:
    offer = await world.held_offer(milestones=[6_000])
    for earlier, party, said in before:
        await world.acted(offer, earlier, said, user=party)
    return Asked(f"/v1/offers/{offer}/{verb}", body or {}, user, "contractor" if user == "carl" else "customer")


async def _resolve(world: World) -> Asked:
    contested = await _verb("resolve", "root", WHY | {"to_contractor": 6_000, "to_customer": 4_000}, _CONTESTED, world)
    return contested._replace(path=contested.path.replace("/v1/offers", "/v1/admin/offers"), role="admin")


async def _retry(world: World) -> Asked:
    return Asked(f"/v1/admin/operations/{(await world.accepted_deposit())['id']}/retry", WHY, **ADMIN)


async def _resume(world: World) -> Asked:
    deposit = (await world.accepted_deposit())["id"]
    await world.workflow(deposit).terminate()
    return Asked(f"/v1/admin/operations/{deposit}/resume", WHY, **ADMIN)


async def _compensate(world: World) -> Asked:
    return Asked(f"/v1/admin/operations/{(await world.accepted_deposit())['id']}/compensate", WHY, **ADMIN)


async def _adopt(world: World) -> Asked:
    withdrawal, account = await transfer_in_doubt(world)
    made = await transfer_by_hand(world, account, withdrawal)
    await quiet(world)
    what = WHY | {"step": "create_transfer", "stripe_id": made}
    return Asked(f"/v1/admin/operations/{withdrawal}/adopt", what, **ADMIN)


async def _write_off(world: World) -> Asked:
    withdrawal = await short_of(world, 3_000)
    return Asked(f"/v1/admin/operations/{withdrawal}/write-off", WHY, **ADMIN)


async def _ask_approval(world: World) -> Asked:
    deposit = (await world.accepted_deposit())["id"]
    return Asked(f"/v1/admin/operations/{deposit}/approvals", WHY | {"verb": "compensate"}, **ADMIN)


async def _approve(world: World) -> Asked:
    deposit = (await world.accepted_deposit())["id"]
    await world.sql("UPDATE operations SET amount = 200000 WHERE id = $1", deposit)
    approval = await world.approval(deposit, "compensate", admin="olivia")
    await world.sql("UPDATE operations SET amount = 20000 WHERE id = $1", deposit)
    return Asked(f"/v1/admin/approvals/{approval}/approve", WHY, **ADMIN)


async def _act(verb: str, world: World) -> Asked:
    """An act that changes something, on a wallet that exists."""
    await world.accepted_deposit()
    wallet = (await world.wallet("alice"))["id"]
    before = {"unfreeze": "freeze", "activate": "deactivate"}.get(verb)
    if before is not None:
        assert (await world.admin(f"wallets/{wallet}/{before}")).is_success
    return Asked(f"/v1/admin/wallets/{wallet}/{verb}", WHY, **ADMIN)


# ── Hearing from Stripe ──


async def _platform_event(world: World) -> Delivered:
    deposit = await world.accepted_deposit()
    await world.sandbox.event_fault("*", "drop")
    await world.sandbox.pay(deposit["payment_intent"], "pm_card_visa")
    return Delivered((await world.sandbox.until_event("payment_intent.succeeded"))["id"])


async def _connect_event(world: World) -> Delivered:
    asked = await _account(world)
    made = (await asked.by(world)).json()
    account = (await world.until(made["id"], lambda now: "stripe_account" in now["details"]))["details"]

    async def told() -> list[str]:
        events = await world.sandbox.of_account(account["stripe_account"], "events", type="account.updated")
        return [event["id"] for event in events]

    await world.sandbox.event_fault("*", "drop")
    before = await told()
    await world.sandbox.control("POST", f"accounts/{account['stripe_account']}/complete_onboarding")
    await until(lambda: _are_more(told, before))
    return Delivered((await told())[0])


async def _are_more(told: Callable[[], Awaitable[list[str]]], before: list[str]) -> bool:
    return len(await told()) > len(before)


GIVEN: dict[str, Given] = {
    "POST /v1/deposits": _deposit,
    "POST /v1/deposits/{deposit_id}/cancel": _cancel_deposit,
    "POST /v1/offers": _offer,
    "POST /v1/offers/{offer_id}/accept": partial(_verb, "accept", "carl", None, ()),
    "POST /v1/offers/{offer_id}/decline": partial(_verb, "decline", "carl", None, ()),
    "POST /v1/offers/{offer_id}/cancel": partial(_verb, "cancel", "alice", None, ()),
    "POST /v1/offers/{offer_id}/agree-cancel": partial(_verb, "agree-cancel", "carl", None, _CANCEL_ASKED),
    "POST /v1/offers/{offer_id}/deliver": partial(_verb, "deliver", "carl", None, _ACCEPTED),
    "POST /v1/offers/{offer_id}/complete": partial(_verb, "complete", "alice", None, _DELIVERED),
    "POST /v1/offers/{offer_id}/release": partial(_verb, "release", "alice", {"milestone": 1}, _ACCEPTED),
    "POST /v1/offers/{offer_id}/contest": partial(_verb, "contest", "alice", WHY, _ACCEPTED),
    "POST /v1/withdrawals": _withdrawal,
    "POST /v1/withdrawals/preview": _preview,
    "POST /v1/withdrawals/{withdrawal_id}/cancel": _cancel_withdrawal,
    "POST /v1/connect/account": _account,
    "POST /v1/connect/account/link": partial(_link, "link"),
    "POST /v1/connect/account/login-link": partial(_link, "login-link"),
    "POST /v1/wallet-transfers": _wallet_transfer,
    "PUT /v1/me": _profile,
    "POST /v1/admin/wallets/{wallet_id}/freeze": partial(_act, "freeze"),
    "POST /v1/admin/wallets/{wallet_id}/unfreeze": partial(_act, "unfreeze"),
    "POST /v1/admin/wallets/{wallet_id}/activate": partial(_act, "activate"),
    "POST /v1/admin/wallets/{wallet_id}/deactivate": partial(_act, "deactivate"),
    "POST /v1/admin/offers/{offer_id}/resolve": _resolve,
    "POST /v1/admin/operations/{operation_id}/retry": _retry,
    "POST /v1/admin/operations/{operation_id}/resume": _resume,
    "POST /v1/admin/operations/{operation_id}/adopt": _adopt,
    "POST /v1/admin/operations/{operation_id}/compensate": _compensate,
    "POST /v1/admin/operations/{operation_id}/write-off": _write_off,
    "POST /v1/admin/operations/{operation_id}/approvals": _ask_approval,
    "POST /v1/admin/approvals/{approval_id}/approve": _approve,
    "POST /v1/webhooks/stripe": _platform_event,
    "POST /v1/webhooks/stripe/connect": _connect_event,
}
"""By route."""

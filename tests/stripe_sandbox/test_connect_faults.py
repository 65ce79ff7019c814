"""The faults by call and by event, on what Connect writes; and a process that dies while a payout is under way."""

from typing import Any

import httpx
import pytest

from tests.stripe_sandbox.conftest import Platform, random_key
from tests.stripe_sandbox.connect import on, payout_is, transfer_to
from tests.stripe_sandbox.process import SandboxProcess
from tests.stripe_sandbox.receiver import Receiver, eventually

KINDS = {
    # kind: executed at the first call, executed after the second, its status
    "error_before": (False, True, 200),
    "rate_limit": (False, True, 200),
    "server_error_stored": (False, False, 500),
    "server_error_stored_after_commit": (True, True, 500),
    "drop_after_commit": (True, True, 200),
    "truncate": (True, True, 200),
}

Write = tuple[str, dict[str, Any], dict[str, str]]
"""Path, form, headers."""


async def _account_creation(platform: Platform) -> Write:
    return "/v1/accounts", {"type": "express"}, {}


async def _transfer(platform: Platform) -> Write:
    await platform.fund(100)
    account = (await platform.account()).id
    return "/v1/transfers", {"amount": 100, "currency": "usd", "destination": account}, {}


async def _reversal(platform: Platform) -> Write:
    await platform.fund(100)
    transfer = await transfer_to(platform, (await platform.account()).id, 100)
    return f"/v1/transfers/{transfer.id}/reversals", {"amount": 100}, {}


async def _payout(platform: Platform) -> Write:
    account = (await platform.account()).id
    await platform.fund(100, account=account)
    return "/v1/payouts", {"amount": 100, "currency": "usd"}, {"Stripe-Account": account}


async def _external_account(platform: Platform) -> Write:
    account = (await platform.account(onboarded=False)).id
    return f"/v1/accounts/{account}/external_accounts", {"external_account": "btok_us"}, {}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("writing", [_account_creation, _transfer, _reversal, _payout, _external_account])
async def test_faults_by_call(platform: Platform, writing: Any, kind: str) -> None:
    path, form, headers = await writing(platform)
    headers = {**headers, "Idempotency-Key": "key"}

    async def made() -> int:
        return len((await platform.http.get(path, headers=headers)).json()["data"])

    before = await made()
    await platform.control("faults", method="POST", path=path, kind=kind)
    try:
        first = await platform.http.post(path, data=form, headers=headers)
        assert first.status_code in (429, 500)
    except httpx.TransportError:
        assert kind in ("error_before", "drop_after_commit", "truncate")
    executed, executed_after, status = KINDS[kind]
    assert await made() - before == executed
    again = await platform.http.post(path, data=form, headers=headers)
    assert (again.status_code, await made() - before) == (status, executed_after)
    assert (await platform.look("faults"))["faults"][0]["fired"] == 1
    await platform.assert_sound()


async def test_faults_by_event(platform: Platform, receiver: Receiver) -> None:
    await platform.control("settings", duplicate_rate=0, delivery_delay_ms=0)
    await platform.listen(receiver, connect=True)
    account = (await platform.account()).id
    await platform.fund(100, account=account)
    await platform.control("event_faults", type="payout.paid", kind="drop")
    await platform.control("event_faults", type="payout.created", kind="duplicate", copies=2)
    await platform.control("event_faults", type="payout.updated", kind="new_id")
    payout = await platform.v1.payouts.create_async({"amount": 100, "currency": "usd"}, on(account))
    await payout_is(platform, account, payout.id, "paid")
    await eventually(lambda: len(receiver.of("payout.created")) == 3)
    await eventually(lambda: len({each.event["id"] for each in receiver.of("payout.updated")}) == 2)
    assert receiver.of("payout.paid") == []
    missing = await platform.v1.events.list_async({"delivery_success": False}, on(account))
    assert [event.type for event in missing.data] == ["payout.paid"]


@pytest.mark.long
async def test_a_payout_under_way_survives_sigkill(own_process: SandboxProcess, receiver: Receiver) -> None:
    key = random_key()
    platform = Platform(own_process.url, key)
    await platform.control("settings", payout_arrival_delay_ms=700, payout_transit_delay_ms=0)
    await platform.listen(receiver, "payout.paid", connect=True)
    account = (await platform.account()).id
    await platform.control("payout_faults", kind="fail_late", seconds=86_400)
    await platform.fund(100, account=account)
    payout = await platform.v1.payouts.create_async({"amount": 100, "currency": "usd"}, on(account))
    own_process.kill()
    await platform.close()

    own_process.start()
    platform = Platform(own_process.url, key)
    await payout_is(platform, account, payout.id, "paid")
    await eventually(lambda: receiver.of("payout.paid"))
    await platform.advance(86_401)
    await payout_is(platform, account, payout.id, "failed")
    assert (await platform.v1.accounts.retrieve_async(account)).payouts_enabled is False
    await platform.assert_sound()
    await platform.close()

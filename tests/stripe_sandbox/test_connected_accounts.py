"""What happens to a connected account: onboarding on the page and by control call, restrictions, its end."""

from typing import Any

import httpx
import pytest
import stripe

from tests.stripe_sandbox.conftest import Platform, express_account
from tests.stripe_sandbox.connect import on, refused
from tests.stripe_sandbox.receiver import Receiver, eventually

BACK = "https://shop.example/return?seller=7"
REFRESH = "https://shop.example/refresh"


async def _events(platform: Platform, account: str) -> list[str]:
    """The types of the account's events, oldest first."""
    page = await platform.v1.events.list_async({"limit": 100}, on(account))
    return [event.type for event in reversed(page.data)]


async def _link(platform: Platform, account: str) -> str:
    given = {"account": account, "type": "account_onboarding", "refresh_url": REFRESH, "return_url": BACK}
    return str((await platform.v1.account_links.create_async(given)).url)


# ── Onboarding ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_onboarding_enables_it(platform: Platform, receiver: Receiver) -> None:
    await platform.control("settings", duplicate_rate=0)
    await platform.listen(receiver, connect=True)
    account = (await platform.v1.accounts.create_async(express_account())).id
    done = await platform.control(f"accounts/{account}/complete_onboarding")
    assert (done["details_submitted"], done["payouts_enabled"]) == (True, True)
    assert done["capabilities"] == {"transfers": "active"}
    assert (done["requirements"]["currently_due"], done["requirements"]["disabled_reason"]) == ([], None)
    assert done["external_accounts"]["data"][0]["last4"] == "6789"
    assert await _events(platform, account) == [
        "account.application.authorized",
        "capability.updated",
        "account.updated",
        "account.external_account.created",
        "capability.updated",
        "account.updated",
    ]
    await eventually(lambda: len(receiver.received) == 6)
    assert {received.event["account"] for received in receiver.received} == {account}
    previous = [received.event["data"]["previous_attributes"] for received in receiver.of("account.updated")]
    assert any(each.get("capabilities") == {"transfers": "inactive"} and "payouts_enabled" in each for each in previous)
    assert (await platform.v1.events.list_async({"type": "account.updated"})).data == []


async def test_onboarding_can_leave_the_bank_for_later(platform: Platform) -> None:
    account = (await platform.v1.accounts.create_async(express_account())).id
    done = await platform.control(f"accounts/{account}/complete_onboarding", account_number=None)
    assert (done["capabilities"]["transfers"], done["payouts_enabled"]) == ("active", False)
    assert done["requirements"]["currently_due"] == ["external_account"]
    refusal = await platform.http.post(
        f"/_sandbox/accounts/{account}/bank_account", json={"account_number": "123", "iban": "x"}
    )
    assert refusal.status_code == 400
    done = await platform.control(f"accounts/{account}/bank_account", account_number="DE89370400440532013000",
                                  country="DE", currency="eur")  # fmt: skip
    assert (done["payouts_enabled"], done["external_accounts"]["data"][0]["currency"]) == (True, "eur")


@pytest.mark.parametrize("bank", ["000123456789", "000111111113"])
async def test_the_page_onboards_and_leads_back(platform: Platform, bank: str) -> None:
    account = (await platform.account(onboarded=False)).id
    url = await _link(platform, account)
    async with httpx.AsyncClient(base_url=platform.url) as browser:
        page = await browser.get(url)
        assert page.status_code == 200
        assert account in page.text
        action = page.text.partition('action="')[2].partition('"')[0]
        assert (await browser.post(action, data={"outcome": "complete", "account_number": "1"})).status_code == 400
        answer = await browser.post(action, data={"outcome": "complete", "account_number": bank})
        assert (answer.status_code, answer.headers["location"]) == (303, BACK)
        assert (await browser.post(action, data={"outcome": "complete", "account_number": bank})).status_code == 404
    shown = await platform.v1.accounts.retrieve_async(account)
    assert (shown.capabilities.transfers, shown.payouts_enabled) == ("active", True)
    assert shown.external_accounts.data[0].last4 == bank[-4:]


async def test_leaving_the_page_leads_back_too_and_changes_nothing(platform: Platform) -> None:
    account = (await platform.account(onboarded=False)).id
    async with httpx.AsyncClient(base_url=platform.url) as browser:
        page = await browser.get(await _link(platform, account))
        action = page.text.partition('action="')[2].partition('"')[0]
        answer = await browser.post(action, data={"outcome": "leave"})
        assert (answer.status_code, answer.headers["location"]) == (303, BACK)
    assert (await platform.v1.accounts.retrieve_async(account)).details_submitted is False


async def test_a_link_opens_once_and_not_for_long(platform: Platform) -> None:
    account = (await platform.account(onboarded=False)).id
    url, late = await _link(platform, account), await _link(platform, account)
    async with httpx.AsyncClient() as browser:
        assert (await browser.get(url)).status_code == 200
        again = await browser.get(url)
        assert (again.status_code, again.headers["location"]) == (303, REFRESH)
        await platform.advance(301)
        expired = await browser.get(late)
        assert (expired.status_code, expired.headers["location"]) == (303, REFRESH)
        for wrong in (url.partition("?")[0], url + "~", url.replace("alink_", "alink_x")):
            assert (await browser.get(wrong)).status_code == 404


async def test_a_login_link_opens_the_dashboard(platform: Platform) -> None:
    account = (await platform.account()).id
    await platform.fund(1234, account=account)
    link = await platform.v1.accounts.login_links.create_async(account)
    assert link.object == "login_link"
    async with httpx.AsyncClient() as browser:
        assert "$12.34 usd" in (await browser.get(link.url)).text
        assert (await browser.get(link.url + "~")).status_code == 404


# ── Restrictions ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_restriction_and_its_end(platform: Platform) -> None:
    account = (await platform.account()).id
    await platform.fund(1000)
    await platform.fund(1000, account=account)
    name = "individual.verification.document"
    restricted = await platform.control(f"accounts/{account}/restrict", requirements=[name], current_deadline=1)
    requirements = restricted["requirements"]
    assert (requirements["currently_due"], requirements["past_due"]) == ([name], [name])
    assert (requirements["disabled_reason"], requirements["current_deadline"]) == ("requirements.past_due", 1)
    assert (restricted["capabilities"]["transfers"], restricted["payouts_enabled"]) == ("inactive", False)
    capability = await platform.v1.accounts.capabilities.retrieve_async(account, "transfers")
    assert capability.requirements.currently_due == [name]
    transfer = {"amount": 1, "currency": "usd", "destination": account}
    assert (
        await refused(platform.v1.transfers.create_async(transfer))
    ).code == "insufficient_capabilities_for_transfer"
    payout = {"amount": 1, "currency": "usd"}
    assert (await refused(platform.v1.payouts.create_async(payout, on(account)))).code == "payouts_not_allowed"
    lifted = await platform.control(f"accounts/{account}/lift_restriction")
    assert (lifted["capabilities"]["transfers"], lifted["payouts_enabled"]) == ("active", True)
    await platform.v1.transfers.create_async(transfer)
    await platform.v1.payouts.create_async(payout, on(account))
    assert (await _events(platform, account)).count("capability.updated") == 4


async def test_payouts_alone_can_be_disabled(platform: Platform) -> None:
    account = (await platform.account()).id
    restricted = await platform.control(f"accounts/{account}/restrict", disable=["payouts"], disabled_reason="listed")
    assert (restricted["capabilities"]["transfers"], restricted["payouts_enabled"]) == ("active", False)
    assert restricted["requirements"]["disabled_reason"] == "listed"


async def test_a_requirement_that_disables_nothing_yet(platform: Platform) -> None:
    account = (await platform.account()).id
    asked = await platform.control(f"accounts/{account}/restrict", requirements=["individual.id_number"], disable=[])
    assert (asked["requirements"]["currently_due"], asked["requirements"]["past_due"]) == (["individual.id_number"], [])
    assert (asked["requirements"]["disabled_reason"], asked["payouts_enabled"]) == (None, True)


async def test_pending_verification_makes_a_capability_pending(platform: Platform) -> None:
    account = (await platform.account()).id
    asked = await platform.control(f"accounts/{account}/restrict", pending_verification=["individual.id_number"])
    assert (asked["capabilities"]["transfers"], asked["requirements"]["disabled_reason"]) == (
        "pending",
        "requirements.pending_verification",
    )


@pytest.mark.parametrize(
    "body", [{"disable": ["charges"]}, {"requirements": [1]}, {"requirements": "x"}, {"reason": "x"}]
)
async def test_a_wrong_restriction_is_refused(platform: Platform, connected: str, body: dict[str, Any]) -> None:
    assert (await platform.http.post(f"/_sandbox/accounts/{connected}/restrict", json=body)).status_code == 400


async def test_the_owner_changes_the_payout_schedule(platform: Platform) -> None:
    account = (await platform.account()).id
    changed = await platform.control(f"accounts/{account}/payout_schedule", interval="monthly", monthly_anchor=3)
    assert changed["settings"]["payouts"]["schedule"] == {"delay_days": 2, "interval": "monthly", "monthly_anchor": 3}
    assert (await _events(platform, account))[-1] == "account.updated"
    for wrong in ({"interval": "weekly"}, {"interval": "hourly"}, {"interval": "manual", "weekly_anchor": "friday"}):
        path = f"/_sandbox/accounts/{account}/payout_schedule"
        assert (await platform.http.post(path, json=wrong)).status_code == 400


# ── The end ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_deauthorized_account_is_out_of_reach(platform: Platform, receiver: Receiver) -> None:
    await platform.control("settings", duplicate_rate=0, delivery_delay_ms=0)
    account = (await platform.account()).id
    await platform.fund(1000)
    transfer = await platform.v1.transfers.create_async({"amount": 500, "currency": "usd", "destination": account})
    payout = await platform.v1.payouts.create_async({"amount": 500, "currency": "usd"}, on(account))
    await platform.listen(receiver, connect=True)
    await platform.control(f"accounts/{account}/deauthorize")
    await eventually(lambda: receiver.of("account.application.deauthorized"))
    event = receiver.of("account.application.deauthorized")[0].event
    assert (event["account"], event["data"]["object"]["object"]) == (account, "application")
    for call in (
        platform.v1.accounts.retrieve_async(account),
        platform.v1.accounts.update_async(account, {"metadata": {"a": "1"}}),
        platform.v1.balance.retrieve_async({}, on(account)),
        platform.v1.payouts.retrieve_async(payout.id, {}, on(account)),
        platform.v1.transfers.reversals.create_async(transfer.id, {"amount": 1}),
    ):
        with pytest.raises(stripe.PermissionError) as caught:
            await call
        error: Any = caught.value
        assert (error.http_status, error.error.code) == (403, "account_invalid")
    error = await refused(platform.v1.transfers.create_async({"amount": 1, "currency": "usd", "destination": account}))
    assert (error.code, error.param) == ("resource_missing", "destination")
    assert (await platform.http.post(f"/_sandbox/accounts/{account}/deauthorize")).status_code == 403
    shown = await platform.v1.transfers.retrieve_async(transfer.id, {"expand": ["destination"]})
    assert shown.destination == account
    # What is under way goes on, unheard.
    await platform.advance(60)
    await platform.fund(1)
    assert receiver.types() == ["account.application.deauthorized"]
    await platform.assert_sound()
    assert (await platform.control(f"events/{event['id']}/deliver", times=1))["attempts"][0]["status"] == 200


async def test_a_deleted_account_is_out_of_reach(platform: Platform) -> None:
    account = (await platform.account()).id
    assert (await platform.v1.accounts.delete_async(account)).deleted is True
    assert (await platform.v1.accounts.list_async({})).data == []
    with pytest.raises(stripe.PermissionError):
        await platform.v1.accounts.retrieve_async(account)


async def test_platforms_do_not_share_accounts(platform: Platform, connected: str) -> None:
    other = Platform(platform.url, platform.key + "0")
    with pytest.raises(stripe.PermissionError):
        await other.v1.accounts.retrieve_async(connected)
    assert (await other.http.post(f"/_sandbox/accounts/{connected}/deauthorize")).status_code == 403
    await other.close()


# ── Bank accounts, capabilities ──────────────────────────────────────────────────────────────────────────────────────


async def test_external_accounts(platform: Platform) -> None:
    account = (await platform.account()).id
    external = platform.v1.accounts.external_accounts
    second = await external.create_async(
        account, {"external_account": "btok_us_noAccount", "metadata": {"a": "1"}, "default_for_currency": True}
    )
    assert (second.default_for_currency, second.last4, second.metadata.to_dict()) == (True, "1116", {"a": "1"})
    page = await external.list_async(account, {"object": "bank_account"})
    assert [bank.default_for_currency for bank in page.data] == [True, False]
    assert page.url == f"/v1/accounts/{account}/external_accounts"
    first = page.data[1].id
    assert (await refused(external.delete_async(account, second.id))).http_status == 400
    changed = await external.update_async(account, first, {"default_for_currency": True, "metadata": {"b": "2"}})
    assert (changed.default_for_currency, changed.metadata.to_dict()) == (True, {"b": "2"})
    assert (await external.delete_async(account, second.id)).deleted is True
    assert (await refused(external.retrieve_async(account, second.id))).http_status == 404
    assert (await external.retrieve_async(account, first)).account == account
    types = await _events(platform, account)
    assert {f"account.external_account.{what}" for what in ("created", "updated", "deleted")} <= set(types)
    for token, code in (("btok_none", "resource_missing"), ("tok_visa_debit", None)):
        error = await refused(external.create_async(account, {"external_account": token}))
        assert (error.http_status, error.code) == (400, code)


async def test_card_payments_make_charges_enabled(platform: Platform) -> None:
    account = (await platform.account()).id
    wanted = {"capabilities": {"card_payments": {"requested": True}}}
    shown = await platform.v1.accounts.update_async(account, wanted)
    assert (shown.charges_enabled, shown.capabilities.card_payments) == (True, "active")
    found = await platform.v1.accounts.capabilities.update_async(account, "card_payments", {"requested": False})
    assert (found.status, found.requested) == ("unrequested", False)
    assert (await platform.http.get(f"/v1/accounts/{account}/capabilities/none")).status_code == 404


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"type": "custom"},
        {"type": "express", "capabilities[treasury][requested]": "true"},
        {"type": "express", "individual[first_name]": "Ann"},
        {"type": "express", "settings[branding][primary_color]": "#ffffff"},
        {"type": "express", "settings[payouts][schedule][weekly_payout_days][]": "monday"},
    ],
)
async def test_what_is_not_modelled_is_refused(platform: Platform, params: dict[str, str]) -> None:
    answer = await platform.post("/v1/accounts", **params)
    assert answer.status_code == 400
    assert "does not model" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "params",
    [
        {"capabilities[card_payments][requested]": "true"},
        {"settings[payouts][schedule][interval]": "weekly"},
        {"settings[payouts][schedule][day]": "1"},
        {"email": "nobody"},
        {"default_currency": "xyz"},
    ],
)
async def test_what_stripe_refuses(platform: Platform, params: dict[str, str]) -> None:
    answer = await platform.post("/v1/accounts", type="express", **params)
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")
    assert (await platform.v1.accounts.list_async({})).data == []


async def test_a_connected_account_connects_nobody(platform: Platform, connected: str) -> None:
    answer = await platform.http.post("/v1/accounts", data={"type": "express"}, headers={"Stripe-Account": connected})
    assert answer.status_code == 400
    given = {"amount": 1, "currency": "usd", "destination": connected}
    assert (await refused(platform.v1.transfers.create_async(given, on(connected)))).code == "resource_missing"

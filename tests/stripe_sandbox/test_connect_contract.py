"""Stripe's contract for Connect, by its official SDK. Everything here can also run against Stripe's test mode.

What needs an onboarded account is elsewhere: nobody can onboard an Express account by API.
"""

import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest
import stripe

from tests.stripe_sandbox.conftest import Account, express_account
from tests.stripe_sandbox.connect import refused

DETAILS = {
    "object": "bank_account",
    "country": "US",
    "currency": "usd",
    "account_number": "000123456789",
    "routing_number": "110000000",
}


@pytest.fixture
async def express(stripe_account: Account) -> AsyncIterator[Any]:
    """An Express account to which nothing has happened."""
    account = await stripe_account.v1.accounts.create_async(
        express_account(email="ann@example.com", metadata={"seller": "s_1"})
    )
    yield account
    deleted = await stripe_account.v1.accounts.delete_async(account.id)
    assert deleted.deleted is True


async def forbidden(call: Any) -> Any:
    """The error object of a call that Stripe forbids."""
    with pytest.raises(stripe.PermissionError) as caught:
        await call
    assert caught.value.http_status == 403
    return caught.value.error


class TestAccounts:
    async def test_a_new_express_account_can_do_nothing(self, express: Any) -> None:
        assert (express.type, express.country, express.default_currency) == ("express", "US", "usd")
        assert (express.email, express.metadata.to_dict()) == ("ann@example.com", {"seller": "s_1"})
        assert express.capabilities.transfers == "inactive"
        assert (express.charges_enabled, express.payouts_enabled, express.details_submitted) == (False, False, False)
        assert express.requirements.disabled_reason == "requirements.past_due"
        assert "external_account" in express.requirements.currently_due
        assert express.external_accounts.data == []
        assert express.settings.payouts.schedule.interval == "manual"

    async def test_payouts_are_daily_unless_told(self, stripe_account: Account) -> None:
        given = express_account(country="DE")
        del given["settings"]
        account = await stripe_account.v1.accounts.create_async(given)
        assert (account.settings.payouts.schedule.interval, account.default_currency) == ("daily", "eur")
        await stripe_account.v1.accounts.delete_async(account.id)

    async def test_retrieve_update_list(self, stripe_account: Account, express: Any) -> None:
        accounts = stripe_account.v1.accounts
        changed = await accounts.update_async(
            express.id,
            {
                "metadata": {"seller": "", "note": "x"},
                "settings": {"payouts": {"schedule": {"interval": "weekly", "weekly_anchor": "friday"}}},
            },
        )
        assert changed.metadata.to_dict() == {"note": "x"}
        assert changed.settings.payouts.schedule.to_dict() == {
            "delay_days": 2,
            "interval": "weekly",
            "weekly_anchor": "friday",
        }
        assert (await accounts.retrieve_async(express.id)).metadata.to_dict() == {"note": "x"}
        page = await accounts.list_async({"created": {"gte": express.created}})
        assert express.id in [each.id for each in page.data]

    async def test_own_account(self, stripe_account: Account) -> None:
        own = await stripe_account.v1.accounts.retrieve_current_async()
        assert own.id.startswith("acct_")
        assert (await stripe_account.v1.accounts.retrieve_async(own.id)).id == own.id

    async def test_a_connected_account_is_its_own(self, stripe_account: Account, express: Any) -> None:
        own = await stripe_account.v1.accounts.retrieve_current_async({}, {"stripe_account": express.id})
        assert own.id == express.id

    async def test_an_unknown_account_is_forbidden(self, stripe_account: Account) -> None:
        error = await forbidden(stripe_account.v1.accounts.retrieve_async("acct_1PgafTB7WZ01zgkW"))
        assert (error.type, error.code) == ("invalid_request_error", "account_invalid")

    async def test_capabilities(self, stripe_account: Account, express: Any) -> None:
        capabilities = stripe_account.v1.accounts.capabilities
        found = await capabilities.retrieve_async(express.id, "transfers")
        assert (found.status, found.requested, found.account) == ("inactive", True, express.id)
        assert found.requested_at >= express.created
        page = await capabilities.list_async(express.id)
        assert [each.id for each in page.data] == ["transfers"]

    async def test_a_country_that_is_none(self, stripe_account: Account) -> None:
        error = await refused(stripe_account.v1.accounts.create_async(express_account(country="XX")))
        assert (error.http_status, error.param) == (400, "country")


class TestLinks:
    async def test_an_account_link(self, stripe_account: Account, express: Any) -> None:
        link = await stripe_account.v1.account_links.create_async(
            {
                "account": express.id,
                "type": "account_onboarding",
                "refresh_url": "https://example.com/refresh",
                "return_url": "https://example.com/return",
            }
        )
        assert link.object == "account_link"
        assert 0 < link.expires_at - link.created <= 600
        assert link.url.startswith("http")

    async def test_an_account_link_needs_its_urls(self, stripe_account: Account, express: Any) -> None:
        error = await refused(
            stripe_account.v1.account_links.create_async({"account": express.id, "type": "account_onboarding"})
        )
        assert error.http_status == 400

    async def test_express_accounts_have_no_links_for_updates(self, stripe_account: Account, express: Any) -> None:
        given = {"refresh_url": "https://example.com/refresh", "return_url": "https://example.com/return"}
        error = await refused(
            stripe_account.v1.account_links.create_async({"account": express.id, "type": "account_update", **given})
        )
        assert error.http_status == 400

    async def test_no_login_link_before_onboarding(self, stripe_account: Account, express: Any) -> None:
        error = await refused(stripe_account.v1.accounts.login_links.create_async(express.id))
        assert error.http_status == 400


class TestTransfers:
    async def test_an_account_that_was_not_onboarded_gets_none(self, stripe_account: Account, express: Any) -> None:
        error = await refused(
            stripe_account.v1.transfers.create_async({"amount": 100, "currency": "usd", "destination": express.id})
        )
        assert (error.http_status, error.code) == (400, "insufficient_capabilities_for_transfer")

    async def test_an_unknown_destination(self, stripe_account: Account) -> None:
        given = {"amount": 100, "currency": "usd", "destination": "acct_1PgafTB7WZ01zgkW"}
        error = await refused(stripe_account.v1.transfers.create_async(given))
        assert (error.http_status, error.code, error.param) == (400, "resource_missing", "destination")

    @pytest.mark.parametrize(
        ("given", "code", "param"),
        [
            ({"currency": "usd", "destination": "acct_1", "amount": 0}, "parameter_invalid_integer", "amount"),
            ({"destination": "acct_1", "amount": 1}, "parameter_missing", "currency"),
            ({"currency": "usd", "amount": 1}, "parameter_missing", "destination"),
            ({"currency": "usd", "destination": "acct_1", "amount": 1, "to": "x"}, "parameter_unknown", "to"),
        ],
    )
    async def test_wrong_parameters(self, stripe_account: Account, given: Any, code: str, param: str) -> None:
        error = await refused(stripe_account.v1.transfers.create_async(given))
        assert (error.http_status, error.code, error.param) == (400, code, param)

    async def test_unknown_transfers_and_reversals(self, stripe_account: Account) -> None:
        transfers = stripe_account.v1.transfers
        for call in (
            transfers.retrieve_async("tr_doesNotExist"),
            transfers.update_async("tr_doesNotExist", {"metadata": {"a": "1"}}),
            transfers.reversals.create_async("tr_doesNotExist", {"amount": 1}),
            transfers.reversals.list_async("tr_doesNotExist"),
        ):
            error = await refused(call)
            assert (error.http_status, error.code) == (404, "resource_missing")

    async def test_a_group_without_transfers(self, stripe_account: Account) -> None:
        page = await stripe_account.v1.transfers.list_async({"transfer_group": secrets.token_hex(8)})
        assert (page.data, page.has_more) == ([], False)


class TestPayouts:
    async def test_an_account_that_was_not_onboarded_gets_none(self, stripe_account: Account, express: Any) -> None:
        options = {"stripe_account": express.id}
        error = await refused(stripe_account.v1.payouts.create_async({"amount": 100, "currency": "usd"}, options))
        assert error.http_status == 400

    async def test_its_balance_is_nothing(self, stripe_account: Account, express: Any) -> None:
        balance = await stripe_account.v1.balance.retrieve_async({}, {"stripe_account": express.id})
        assert {each.amount for each in [*balance.available, *balance.pending]} == {0}

    async def test_unknown_payouts(self, stripe_account: Account) -> None:
        for call in (
            stripe_account.v1.payouts.retrieve_async("po_doesNotExist"),
            stripe_account.v1.payouts.cancel_async("po_doesNotExist"),
        ):
            error = await refused(call)
            assert (error.http_status, error.code) == (404, "resource_missing")

    async def test_a_foreign_account_is_forbidden(self, stripe_account: Account) -> None:
        given, options = {"amount": 100, "currency": "usd"}, {"stripe_account": "acct_1PgafTB7WZ01zgkW"}
        error = await forbidden(stripe_account.v1.payouts.create_async(given, options))
        assert error.code == "account_invalid"


class TestExternalAccounts:
    async def test_an_account_can_be_made_with_one(self, stripe_account: Account) -> None:
        account = await stripe_account.v1.accounts.create_async(express_account(external_account=DETAILS))
        (bank,) = account.external_accounts.data
        assert (bank.object, bank.last4, bank.status, bank.currency) == ("bank_account", "6789", "new", "usd")
        assert (bank.routing_number, bank.default_for_currency) == ("110000000", True)
        assert account.payouts_enabled is False
        await stripe_account.v1.accounts.delete_async(account.id)

    async def test_a_number_that_is_no_test_number(self, stripe_account: Account) -> None:
        given = express_account(external_account={**DETAILS, "account_number": "000999999990"})
        error = await refused(stripe_account.v1.accounts.create_async(given))
        assert (error.http_status, error.code) == (400, "account_number_invalid")

"""Stripe's contract, by its official SDK. Everything here can also run against Stripe's test mode."""

import asyncio
import secrets
from typing import Any

import pytest
import stripe

from tests.stripe_sandbox.conftest import Account, card_payment


def _error(error: Any) -> Any:
    """The error object of the answer."""
    return error.error


def _intent_of(error: Any) -> Any:
    """The PaymentIntent that an error carries."""
    return error.error.payment_intent


async def _refused(call: Any) -> Any:
    """The error object of a call that Stripe refuses with 400 or 404."""
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await call
    return caught.value


class TestRequests:
    async def test_without_a_key_it_answers_401(self, stripe_account: Account) -> None:
        answer = await stripe_account.http.get("/v1/customers", headers={"Authorization": ""})
        assert answer.status_code == 401
        assert answer.json()["error"]["type"] == "invalid_request_error"

    async def test_with_a_malformed_key_it_answers_401(self, stripe_account: Account) -> None:
        answer = await stripe_account.http.get("/v1/customers", headers={"Authorization": "Bearer nonsense"})
        assert answer.status_code == 401
        assert answer.json()["error"]["message"].startswith("Invalid API Key provided")

    async def test_unknown_path_is_a_stripe_shaped_404(self, stripe_account: Account) -> None:
        answer = await stripe_account.http.get("/v1/no_such_thing")
        assert answer.status_code == 404
        assert answer.json()["error"]["message"].startswith("Unrecognized request URL (GET: /v1/no_such_thing)")
        assert answer.headers["request-id"].startswith("req_")

    async def test_unknown_parameter_is_refused_by_name(self, stripe_account: Account) -> None:
        error = await _refused(stripe_account.v1.customers.create_async({"shoe_size": "43"}))
        assert (error.http_status, error.code, error.param) == (400, "parameter_unknown", "shoe_size")

    async def test_unknown_nested_parameter_is_refused_by_its_full_name(self, stripe_account: Account) -> None:
        error = await _refused(stripe_account.v1.customers.create_async({"address": {"planet": "Mars"}}))
        assert (error.code, error.param) == ("parameter_unknown", "address[planet]")

    async def test_missing_parameter(self, stripe_account: Account) -> None:
        error = await _refused(stripe_account.v1.payment_intents.create_async({"currency": "usd"}))
        assert (error.code, error.param) == ("parameter_missing", "amount")

    @pytest.mark.parametrize("amount", ["abc", "1.5", "1e3", "true"])
    async def test_an_amount_that_is_no_integer(self, stripe_account: Account, amount: str) -> None:
        error = await _refused(stripe_account.v1.payment_intents.create_async({"amount": amount, "currency": "usd"}))
        assert (error.http_status, error.code, error.param) == (400, "parameter_invalid_integer", "amount")

    async def test_a_wrong_boolean(self, stripe_account: Account) -> None:
        given = {"amount": 1000, "currency": "usd", "confirm": "perhaps"}
        error = await _refused(stripe_account.v1.payment_intents.create_async(given))
        assert (error.http_status, error.param) == (400, "confirm")

    async def test_an_empty_value_for_what_cannot_be_unset(self, stripe_account: Account) -> None:
        error = await _refused(stripe_account.v1.payment_intents.create_async({"amount": "", "currency": "usd"}))
        assert (error.code, error.param) == ("parameter_invalid_empty", "amount")

    async def test_a_json_body_is_refused(self, stripe_account: Account) -> None:
        answer = await stripe_account.http.post("/v1/customers", json={"name": "Ann"})
        assert answer.status_code == 400

    async def test_an_account_that_is_not_connected_is_refused(self, stripe_account: Account) -> None:
        with pytest.raises(stripe.PermissionError) as caught:
            await stripe_account.v1.customers.list_async({}, {"stripe_account": "acct_doesNotExist"})
        assert (caught.value.http_status, _error(caught.value).code) == (403, "account_invalid")


class TestIdempotency:
    async def test_the_same_request_gets_the_same_answer(self, stripe_account: Account) -> None:
        key = secrets.token_hex(8)
        first = await stripe_account.post("/v1/customers", key, name="Ann")
        again = await stripe_account.post("/v1/customers", key, name="Ann")
        assert again.content == first.content
        assert again.headers["idempotent-replayed"] == "true"
        assert "idempotent-replayed" not in first.headers
        assert again.headers["original-request"] == first.headers["request-id"]

    async def test_other_parameters_under_the_same_key_are_refused(self, stripe_account: Account) -> None:
        key = secrets.token_hex(8)
        await stripe_account.v1.customers.create_async({"name": "Ann"}, {"idempotency_key": key})
        with pytest.raises(stripe.IdempotencyError) as caught:
            await stripe_account.v1.customers.create_async({"name": "Bob"}, {"idempotency_key": key})
        assert caught.value.http_status == 400

    async def test_another_endpoint_under_the_same_key_is_refused(self, stripe_account: Account) -> None:
        key = secrets.token_hex(8)
        await stripe_account.v1.customers.create_async({}, {"idempotency_key": key})
        given = {"amount": 1000, "currency": "usd"}
        with pytest.raises(stripe.IdempotencyError):
            await stripe_account.v1.payment_intents.create_async(given, {"idempotency_key": key})

    async def test_a_decline_is_replayed(self, stripe_account: Account) -> None:
        key = secrets.token_hex(8)
        errors = []
        for _ in range(2):
            with pytest.raises(stripe.CardError) as caught:
                await stripe_account.v1.payment_intents.create_async(
                    card_payment("pm_card_visa_chargeDeclined"), {"idempotency_key": key}
                )
            errors.append(caught.value)
        assert _intent_of(errors[0]).id == _intent_of(errors[1]).id

    async def test_a_validation_failure_is_not_kept(self, stripe_account: Account) -> None:
        key = secrets.token_hex(8)
        refused = await stripe_account.post("/v1/customers", key, shoe_size="43")
        assert refused.status_code == 400
        accepted = await stripe_account.post("/v1/customers", key, name="Ann")
        assert accepted.status_code == 200


class TestCustomers:
    async def test_create_update_retrieve_delete(self, stripe_account: Account) -> None:
        customers = stripe_account.v1.customers
        made = await customers.create_async(
            {"name": "Ann", "email": "ann@example.com", "address": {"city": "Bern"}, "metadata": {"a": "1", "b": "2"}}
        )
        assert made.address.city == "Bern"
        assert made.address.line1 is None
        changed = await customers.update_async(made.id, {"name": "", "metadata": {"a": "", "c": "3"}})
        assert changed.name is None
        assert changed.metadata.to_dict() == {"b": "2", "c": "3"}
        cleared = await customers.update_async(made.id, {"metadata": ""})
        assert cleared.metadata.to_dict() == {}
        deleted = await customers.delete_async(made.id)
        assert deleted.deleted is True
        assert (await customers.retrieve_async(made.id)).deleted is True

    async def test_unknown_customer_is_missing(self, stripe_account: Account) -> None:
        error = await _refused(stripe_account.v1.customers.retrieve_async("cus_doesNotExist"))
        assert (error.http_status, error.code, error.param) == (404, "resource_missing", "id")

    async def test_unknown_customer_as_a_parameter_is_a_400(self, stripe_account: Account) -> None:
        given = {"amount": 1000, "currency": "usd", "customer": "cus_doesNotExist"}
        error = await _refused(stripe_account.v1.payment_intents.create_async(given))
        assert (error.http_status, error.code, error.param) == (400, "resource_missing", "customer")

    async def test_metadata_limits(self, stripe_account: Account) -> None:
        for metadata in ({"k" * 41: "v"}, {"k": "v" * 501}, {str(n): "v" for n in range(51)}):
            error = await _refused(stripe_account.v1.customers.create_async({"metadata": metadata}))
            assert error.http_status == 400


class TestPages:
    async def test_cursors_walk_both_ways(self, stripe_account: Account) -> None:
        customer = await stripe_account.v1.customers.create_async({})
        intents = stripe_account.v1.payment_intents
        ids: list[str] = []
        for _ in range(5):
            made = await intents.create_async({"amount": 1000, "currency": "usd", "customer": customer.id})
            ids.insert(0, made.id)
        first = await intents.list_async({"customer": customer.id, "limit": 2})
        assert ([each.id for each in first.data], first.has_more) == (ids[:2], True)
        second = await intents.list_async({"customer": customer.id, "limit": 3, "starting_after": ids[1]})
        assert ([each.id for each in second.data], second.has_more) == (ids[2:], False)
        back = await intents.list_async({"customer": customer.id, "limit": 2, "ending_before": ids[3]})
        assert ([each.id for each in back.data], back.has_more) == (ids[1:3], True)
        walked = [each.id async for each in first.auto_paging_iter()]
        assert walked == ids

    async def test_a_page_by_time_of_creation(self, stripe_account: Account) -> None:
        customer = await stripe_account.v1.customers.create_async({})
        made = await stripe_account.v1.payment_intents.create_async(
            {"amount": 1000, "currency": "usd", "customer": customer.id}
        )
        for bounds, expected in (({"gte": made.created}, 1), ({"gt": made.created}, 0), ({"lt": made.created}, 0)):
            page = await stripe_account.v1.payment_intents.list_async({"customer": customer.id, "created": bounds})
            assert len(page.data) == expected

    @pytest.mark.parametrize("limit", [0, 101])
    async def test_a_limit_out_of_range(self, stripe_account: Account, limit: int) -> None:
        error = await _refused(stripe_account.v1.customers.list_async({"limit": limit}))
        assert (error.http_status, error.param) == (400, "limit")

    async def test_an_unknown_cursor(self, stripe_account: Account) -> None:
        error = await _refused(stripe_account.v1.customers.list_async({"starting_after": "cus_doesNotExist"}))
        assert (error.code, error.param) == ("resource_missing", "starting_after")


class TestExpand:
    async def test_nested_and_in_lists(self, stripe_account: Account) -> None:
        customer = await stripe_account.v1.customers.create_async({"name": "Ann"})
        made = await stripe_account.v1.payment_intents.create_async(
            card_payment(customer=customer.id, expand=["latest_charge.customer", "customer", "payment_method"])
        )
        assert made.customer.name == "Ann"
        assert made.latest_charge.customer.name == "Ann"
        assert made.payment_method.card.last4 == "4242"
        page = await stripe_account.v1.payment_intents.list_async(
            {"customer": customer.id, "expand": ["data.latest_charge.payment_intent"]}
        )
        assert page.data[0].latest_charge.payment_intent.id == made.id

    async def test_what_cannot_be_expanded_is_refused(self, stripe_account: Account) -> None:
        error = await _refused(stripe_account.v1.customers.create_async({"expand": ["email"]}))
        assert error.http_status == 400
        assert "cannot be expanded" in str(error)

    async def test_more_than_four_levels_are_refused(self, stripe_account: Account) -> None:
        path = "latest_charge.payment_intent.latest_charge.payment_intent.customer"
        error = await _refused(stripe_account.v1.payment_intents.create_async(card_payment(expand=[path])))
        assert error.http_status == 400


class TestPaymentMethods:
    async def test_attach_list_detach(self, stripe_account: Account) -> None:
        customer = await stripe_account.v1.customers.create_async({})
        attached = await stripe_account.v1.payment_methods.attach_async("pm_card_mastercard", {"customer": customer.id})
        assert (attached.card.brand, attached.customer) == ("mastercard", customer.id)
        saved = await stripe_account.v1.customers.payment_methods.list_async(customer.id)
        assert [each.id for each in saved.data] == [attached.id]
        detached = await stripe_account.v1.payment_methods.detach_async(attached.id)
        assert detached.customer is None
        error = await _refused(stripe_account.v1.payment_methods.attach_async(attached.id, {"customer": customer.id}))
        assert error.http_status == 400

    async def test_attaching_a_declined_card_is_a_decline(self, stripe_account: Account) -> None:
        customer = await stripe_account.v1.customers.create_async({})
        with pytest.raises(stripe.CardError) as caught:
            await stripe_account.v1.payment_methods.attach_async(
                "pm_card_visa_chargeDeclined", {"customer": customer.id}
            )
        assert caught.value.code == "card_declined"

    async def test_a_card_of_another_customer_is_refused(self, stripe_account: Account) -> None:
        owner = await stripe_account.v1.customers.create_async({})
        other = await stripe_account.v1.customers.create_async({})
        saved = await stripe_account.v1.payment_methods.attach_async("pm_card_visa", {"customer": owner.id})
        for params in ({}, {"customer": other.id}):
            error = await _refused(stripe_account.v1.payment_intents.create_async(card_payment(saved.id, **params)))
            assert error.http_status == 400


class TestPaymentIntents:
    async def test_a_payment_in_one_call(self, stripe_account: Account) -> None:
        intent = await stripe_account.v1.payment_intents.create_async(
            card_payment(metadata={"operation": "dep_1"}, description="Deposit", transfer_group="group")
        )
        assert (intent.status, intent.amount_received) == ("succeeded", 20_000)
        charge = await stripe_account.v1.charges.retrieve_async(intent.latest_charge)
        assert (charge.status, charge.captured, charge.amount) == ("succeeded", True, 20_000)
        assert (charge.metadata.to_dict(), charge.description) == ({"operation": "dep_1"}, "Deposit")
        assert charge.transfer_group == "group"

    async def test_the_fee_follows(self, stripe_account: Account) -> None:
        intent = await stripe_account.v1.payment_intents.create_async(card_payment())
        for _ in range(200):
            charge = await stripe_account.v1.charges.retrieve_async(
                intent.latest_charge, {"expand": ["balance_transaction"]}
            )
            if charge.balance_transaction is not None:
                break
            await asyncio.sleep(0.05)
        transaction = charge.balance_transaction
        assert (transaction.amount, transaction.type) == (20_000, "charge")
        assert transaction.net == 20_000 - transaction.fee
        assert sum(detail.amount for detail in transaction.fee_details) == transaction.fee
        listed = await stripe_account.v1.balance_transactions.list_async({"source": charge.id})
        assert [each.id for each in listed.data] == [transaction.id]

    async def test_statuses_from_create_to_cancel(self, stripe_account: Account) -> None:
        intents = stripe_account.v1.payment_intents
        intent = await intents.create_async({"amount": 1000, "currency": "usd"})
        assert intent.status == "requires_payment_method"
        assert intent.client_secret.startswith(f"{intent.id}_secret_")
        assert intent.automatic_payment_methods.enabled is True
        intent = await intents.update_async(intent.id, {"amount": 1500, "payment_method": "pm_card_visa"})
        assert (intent.status, intent.amount) == ("requires_confirmation", 1500)
        intent = await intents.cancel_async(intent.id, {"cancellation_reason": "abandoned"})
        assert (intent.status, intent.cancellation_reason) == ("canceled", "abandoned")

    async def test_a_server_confirming_automatic_methods_needs_a_return_url(self, stripe_account: Account) -> None:
        given = {"amount": 1000, "currency": "usd", "payment_method": "pm_card_visa", "confirm": True}
        error = await _refused(stripe_account.v1.payment_intents.create_async(given))
        assert "return_url" in str(error)
        never = {"automatic_payment_methods": {"enabled": True, "allow_redirects": "never"}}
        intent = await stripe_account.v1.payment_intents.create_async({**given, **never})
        assert intent.status == "succeeded"

    async def test_a_succeeded_intent_refuses_cancel_confirm_and_another_amount(self, stripe_account: Account) -> None:
        intents = stripe_account.v1.payment_intents
        intent = await intents.create_async(card_payment())
        for call in (
            intents.cancel_async(intent.id),
            intents.confirm_async(intent.id, {"payment_method": "pm_card_visa"}),
            intents.update_async(intent.id, {"amount": 1}),
        ):
            error = await _refused(call)
            assert (error.http_status, error.code) == (400, "payment_intent_unexpected_state")
            assert error.error.payment_intent.status == "succeeded"

    async def test_confirming_without_a_payment_method_is_refused(self, stripe_account: Account) -> None:
        intents = stripe_account.v1.payment_intents
        intent = await intents.create_async({"amount": 1000, "currency": "usd"})
        error = await _refused(intents.confirm_async(intent.id))
        assert error.code == "payment_intent_unexpected_state"

    @pytest.mark.parametrize(
        ("card", "code", "decline_code"),
        [
            ("pm_card_visa_chargeDeclined", "card_declined", "generic_decline"),
            ("pm_card_visa_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
            ("pm_card_visa_chargeDeclinedLostCard", "card_declined", "lost_card"),
            ("pm_card_chargeDeclinedExpiredCard", "expired_card", None),
            ("pm_card_chargeDeclinedIncorrectCvc", "incorrect_cvc", None),
            ("pm_card_chargeDeclinedProcessingError", "processing_error", None),
        ],
    )
    async def test_declines(self, stripe_account: Account, card: str, code: str, decline_code: str | None) -> None:
        with pytest.raises(stripe.CardError) as caught:
            await stripe_account.v1.payment_intents.create_async(card_payment(card))
        error = caught.value
        assert (error.http_status, error.code) == (402, code)
        assert getattr(error.error, "decline_code", None) == decline_code
        intent = await stripe_account.v1.payment_intents.retrieve_async(_intent_of(error).id)
        assert (intent.status, intent.payment_method) == ("requires_payment_method", None)
        assert intent.last_payment_error.code == code
        charge = await stripe_account.v1.charges.retrieve_async(intent.latest_charge)
        assert (charge.status, charge.paid, charge.failure_code) == ("failed", False, code)

    async def test_another_card_after_a_decline(self, stripe_account: Account) -> None:
        intents = stripe_account.v1.payment_intents
        with pytest.raises(stripe.CardError) as caught:
            await intents.create_async(card_payment("pm_card_visa_chargeDeclined"))
        intent = await intents.confirm_async(_intent_of(caught.value).id, {"payment_method": "pm_card_visa"})
        assert (intent.status, intent.last_payment_error) == ("succeeded", None)
        charges = await stripe_account.v1.charges.list_async({"payment_intent": intent.id})
        assert [charge.status for charge in charges.data] == ["succeeded", "failed"]

    async def test_three_d_secure_redirects(self, stripe_account: Account) -> None:
        intent = await stripe_account.v1.payment_intents.create_async(
            card_payment("pm_card_authenticationRequired", return_url="https://example.com/back")
        )
        assert (intent.status, intent.next_action.type) == ("requires_action", "redirect_to_url")
        assert intent.next_action.redirect_to_url.return_url == "https://example.com/back"
        assert intent.latest_charge is None

    async def test_three_d_secure_in_the_sdk_without_a_return_url(self, stripe_account: Account) -> None:
        intent = await stripe_account.v1.payment_intents.create_async(card_payment("pm_card_authenticationRequired"))
        assert (intent.status, intent.next_action.type) == ("requires_action", "use_stripe_sdk")
        canceled = await stripe_account.v1.payment_intents.cancel_async(intent.id)
        assert (canceled.status, canceled.next_action) == ("canceled", None)

    @pytest.mark.parametrize("how", [{"off_session": True}, {"error_on_requires_action": True}])
    async def test_three_d_secure_with_nobody_there_is_a_decline(
        self, stripe_account: Account, how: dict[str, Any]
    ) -> None:
        customer = await stripe_account.v1.customers.create_async({})
        given = card_payment("pm_card_authenticationRequired", customer=customer.id, **how)
        with pytest.raises(stripe.CardError) as caught:
            await stripe_account.v1.payment_intents.create_async(given)
        assert caught.value.code == "authentication_required"

    async def test_setup_future_usage_saves_the_card(self, stripe_account: Account) -> None:
        customer = await stripe_account.v1.customers.create_async({})
        intent = await stripe_account.v1.payment_intents.create_async(
            card_payment(customer=customer.id, setup_future_usage="off_session")
        )
        saved = await stripe_account.v1.customers.payment_methods.list_async(customer.id)
        assert [each.id for each in saved.data] == [intent.payment_method]

    @pytest.mark.parametrize(
        ("amount", "currency", "code"),
        [
            (0, "usd", "parameter_invalid_integer"),
            (-1, "usd", "parameter_invalid_integer"),
            (49, "usd", "amount_too_small"),
            (100_000_000, "usd", "amount_too_large"),
            (49, "jpy", "amount_too_small"),
        ],
    )
    async def test_amounts_out_of_bounds(self, stripe_account: Account, amount: int, currency: str, code: str) -> None:
        error = await _refused(stripe_account.v1.payment_intents.create_async({"amount": amount, "currency": currency}))
        assert (error.http_status, error.code, error.param) == (400, code, "amount")

    async def test_an_unknown_currency(self, stripe_account: Account) -> None:
        error = await _refused(stripe_account.v1.payment_intents.create_async({"amount": 1000, "currency": "xyz"}))
        assert (error.http_status, error.param) == (400, "currency")

    async def test_a_three_decimal_amount_is_a_multiple_of_ten(self, stripe_account: Account) -> None:
        error = await _refused(stripe_account.v1.payment_intents.create_async({"amount": 5005, "currency": "kwd"}))
        assert (error.http_status, error.param) == (400, "amount")


class TestEventsAndEndpoints:
    async def test_events_tell_what_happened(self, stripe_account: Account) -> None:
        intent = await stripe_account.v1.payment_intents.create_async(card_payment())
        for _ in range(200):
            page = await stripe_account.v1.events.list_async({"type": "payment_intent.*", "limit": 20})
            mine = [event for event in page.data if event.data.object.id == intent.id]
            if len(mine) == 2:
                break
            await asyncio.sleep(0.05)
        assert {event.type for event in mine} == {"payment_intent.created", "payment_intent.succeeded"}
        event = await stripe_account.v1.events.retrieve_async(mine[0].id)
        assert event.request.id.startswith("req_")
        assert event.request.idempotency_key is not None

    async def test_an_endpoint_shows_its_secret_once(self, stripe_account: Account) -> None:
        endpoints = stripe_account.v1.webhook_endpoints
        made = await endpoints.create_async(
            {"url": "https://example.com/hooks", "enabled_events": ["charge.succeeded"], "metadata": {"a": "1"}}
        )
        try:
            assert made.secret.startswith("whsec_")
            again = await endpoints.retrieve_async(made.id)
            assert "secret" not in again.to_dict()
            changed = await endpoints.update_async(made.id, {"disabled": True, "enabled_events": ["*"]})
            assert (changed.status, changed.enabled_events) == ("disabled", ["*"])
        finally:
            deleted = await endpoints.delete_async(made.id)
        assert deleted.deleted is True

    async def test_balance_shows_each_currency(self, stripe_account: Account) -> None:
        balance = await stripe_account.v1.balance.retrieve_async()
        assert balance.object == "balance"
        assert all(amount.currency for amount in [*balance.available, *balance.pending])

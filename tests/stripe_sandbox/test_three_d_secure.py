"""3-D Secure: by control call, and on the bank's page."""

from typing import Any

import httpx
import pytest

from tests.stripe_sandbox.conftest import Platform

BACK = "https://shop.example/back?order=7"


async def _asked(platform: Platform, card: str = "pm_card_authenticationRequired", **params: Any) -> Any:
    intent = await platform.pay(card, **params)
    assert intent.status == "requires_action"
    return intent


async def _types(platform: Platform) -> list[str]:
    events = (await platform.v1.events.list_async({"limit": 100})).data
    return [event.type for event in reversed(events)]


async def test_passing_it_succeeds(platform: Platform) -> None:
    intent = await _asked(platform)
    done = await platform.control(f"payment_intents/{intent.id}/complete_3ds", outcome="succeed")
    assert (done["status"], done["next_action"]) == ("succeeded", None)
    charge = await platform.v1.charges.retrieve_async(done["latest_charge"])
    assert charge.payment_method_details.card.three_d_secure.result == "authenticated"
    assert (await _types(platform))[:4] == [
        "payment_intent.created",
        "payment_intent.requires_action",
        "charge.succeeded",
        "payment_intent.succeeded",
    ]
    again = await platform.http.post(f"/_sandbox/payment_intents/{intent.id}/complete_3ds", json={"outcome": "succeed"})
    assert again.json()["error"]["code"] == "payment_intent_unexpected_state"


async def test_failing_it_asks_for_another_payment_method(platform: Platform) -> None:
    intent = await _asked(platform)
    done = await platform.control(f"payment_intents/{intent.id}/complete_3ds", outcome="fail")
    assert (done["status"], done["latest_charge"]) == ("requires_payment_method", None)
    assert done["last_payment_error"]["code"] == "payment_intent_authentication_failure"
    assert (await _types(platform))[-1] == "payment_intent.payment_failed"
    paid = await platform.control(f"payment_intents/{intent.id}/confirm", payment_method="pm_card_visa")
    assert paid["status"] == "succeeded"


async def test_a_card_can_be_declined_after_it(platform: Platform) -> None:
    intent = await _asked(platform, "pm_card_threeDSecureRequiredChargeDeclined")
    done = await platform.control(f"payment_intents/{intent.id}/complete_3ds", outcome="succeed")
    assert done["status"] == "requires_payment_method"
    assert done["last_payment_error"]["decline_code"] == "generic_decline"


async def test_the_clients_confirmation_can_be_declined_and_repeated(platform: Platform) -> None:
    intent = await platform.v1.payment_intents.create_async({"amount": 1000, "currency": "usd"})
    path = f"/_sandbox/payment_intents/{intent.id}/confirm"
    declined = await platform.http.post(path, json={"payment_method": "pm_card_chargeDeclined"})
    assert (declined.status_code, declined.json()["error"]["code"]) == (402, "card_declined")
    asked = await platform.control(
        f"payment_intents/{intent.id}/confirm", payment_method="pm_card_threeDSecure2Required"
    )
    assert (asked["status"], asked["next_action"]["type"]) == ("requires_action", "use_stripe_sdk")
    assert (await platform.http.post(path, json={"payment_method": "pm_nope"})).status_code == 400
    assert (await platform.http.post(path, json={"card": "x"})).status_code == 400


@pytest.mark.parametrize(("button", "status"), [("succeed", "succeeded"), ("fail", "requires_payment_method")])
async def test_the_page_sends_the_cardholder_back(platform: Platform, button: str, status: str) -> None:
    intent = await _asked(platform, return_url=BACK)
    url = intent.next_action.redirect_to_url.url
    async with httpx.AsyncClient() as browser:
        page = await browser.get(url)
        assert page.status_code == 200
        assert "$200.00 usd" in page.text
        assert "Complete" in page.text
        assert "Fail" in page.text
        answer = await browser.post(url, data={"outcome": button})
        assert answer.status_code == 303
        back = httpx.URL(answer.headers["location"])
        assert (back.host, back.params["order"], back.params["payment_intent"]) == ("shop.example", "7", intent.id)
        assert back.params["redirect_status"] == ("succeeded" if button == "succeed" else "failed")
        assert back.params["payment_intent_client_secret"] == intent.client_secret
        assert (await browser.get(url)).status_code == 404
    assert (await platform.v1.payment_intents.retrieve_async(intent.id)).status == status


async def test_the_page_needs_its_token(platform: Platform) -> None:
    intent = await _asked(platform, return_url=BACK)
    url = intent.next_action.redirect_to_url.url
    async with httpx.AsyncClient() as browser:
        for wrong in (url.partition("?")[0], url[:-1] + "~", url.replace(intent.id, "pi_other"), url + "é"):
            assert (await browser.get(wrong)).status_code == 404
            assert (await browser.post(wrong, data={"outcome": "succeed"})).status_code == 404
        assert (await browser.post(url, data={"outcome": "maybe"})).status_code == 400
    assert (await platform.v1.payment_intents.retrieve_async(intent.id)).status == "requires_action"


async def test_canceling_closes_the_page(platform: Platform) -> None:
    intent = await _asked(platform, return_url=BACK)
    await platform.v1.payment_intents.cancel_async(intent.id)
    async with httpx.AsyncClient() as browser:
        assert (await browser.get(intent.next_action.redirect_to_url.url)).status_code == 404


async def test_numbers_behave_as_their_tokens(platform: Platform) -> None:
    typed = {"exp_month": 12, "exp_year": 2040, "cvc": "123"}
    for number, status in (("4242424242424242", "succeeded"), ("4000002760003184", "requires_action")):
        intent = await platform.v1.payment_intents.create_async(
            {
                "amount": 1000,
                "currency": "usd",
                "confirm": True,
                "allowed_payment_method_types": ["card"],
                "payment_method_data": {"type": "card", "card": {"number": number, **typed}},
            }
        )
        assert intent.status == status


@pytest.mark.parametrize(
    ("card", "code"),
    [
        ({"number": "4242424242424241"}, "incorrect_number"),
        ({"exp_year": 2001}, "invalid_expiry_year"),
        ({"exp_month": 13}, "invalid_expiry_month"),
        ({"cvc": "1"}, "invalid_cvc"),
    ],
)
async def test_mistyped_cards(platform: Platform, card: dict[str, Any], code: str) -> None:
    typed: dict[str, Any] = {"number": "4242424242424242", "exp_month": 12, "exp_year": 2040, "cvc": "123", **card}
    form: dict[str, Any] = {"type": "card", **{f"card[{name}]": value for name, value in typed.items()}}
    answer = await platform.post("/v1/payment_methods", **form)
    assert (answer.status_code, answer.json()["error"]["code"]) == (402, code)


async def test_legacy_tokens_describe_a_card_and_are_no_payment_method(platform: Platform) -> None:
    made = await platform.post("/v1/payment_methods", **{"type": "card", "card[token]": "tok_mastercard"})
    assert made.json()["card"]["brand"] == "mastercard"
    refused = await platform.post("/v1/payment_intents", amount=1000, currency="usd", payment_method="tok_visa")
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "resource_missing")


async def test_a_number_that_is_no_test_card_is_declined(platform: Platform) -> None:
    form: dict[str, Any] = {
        "type": "card",
        "card[number]": "4111111111111111",
        "card[exp_month]": 1,
        "card[exp_year]": 2040,
    }
    method = (await platform.post("/v1/payment_methods", **form)).json()["id"]
    answer = await platform.post(
        "/v1/payment_intents", amount=1000, currency="usd", payment_method=method, confirm="true", return_url=BACK
    )
    assert answer.json()["error"]["decline_code"] == "test_mode_live_card"

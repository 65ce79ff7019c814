"""The oracle bites: what is wrong in a shape, it finds; and the checked server lets none through."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.stripe_sandbox.checked_server import CheckedResponses, Violations
from tests.stripe_sandbox.conftest import Platform
from tests.stripe_sandbox.oracle import check_event, check_response

PATH = "/v1/payment_intents"

Spoil = Callable[[dict[str, Any]], Any]


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda intent: intent.update(colour="red"), "colour is unknown"),
        (lambda intent: intent.pop("status"), "status is missing"),
        (lambda intent: intent.pop("canceled_at"), "canceled_at is missing"),
        (lambda intent: intent.update(amount="1000"), "amount: '1000' is no integer"),
        (lambda intent: intent.update(amount=True), "amount: True is no integer"),
        (lambda intent: intent.update(amount=None), "amount: None is no integer"),
        (lambda intent: intent.update(status="paid"), "status: 'paid' is none of"),
        (lambda intent: intent.update(payment_method_types="card"), "payment_method_types: 'card' is no array"),
        (lambda intent: intent["metadata"].update(a=1), "metadata.a: 1 is no string"),
        (lambda intent: intent["latest_charge"]["outcome"].update(luck=1), "latest_charge.outcome.luck is unknown"),
        (lambda intent: intent["latest_charge"].pop("paid"), "latest_charge.paid is missing"),
    ],
)
async def test_a_spoilt_shape_is_found(platform: Platform, spoil: Spoil, expected: str) -> None:
    intent = (await platform.pay(expand=["latest_charge"])).to_dict()
    assert check_response("POST", PATH, 200, intent) == []
    spoilt = copy.deepcopy(intent)
    spoil(spoilt)
    assert any(expected in problem for problem in check_response("POST", PATH, 200, spoilt))


async def test_lists_errors_and_events_are_checked(platform: Platform) -> None:
    await platform.pay()
    page = (await platform.http.get("/v1/events")).json()
    assert check_response("GET", "/v1/events", 200, page) == []
    page["data"][0]["data"]["object"]["colour"] = "red"
    assert "colour is unknown" in check_response("GET", "/v1/events", 200, page)[0]
    assert check_event(page["data"][0]) != []
    del page["has_more"]
    assert any("has_more is missing" in problem for problem in check_response("GET", "/v1/events", 200, page))
    assert check_response("GET", "/v1/nonsense", 200, {})
    assert check_response("GET", PATH, 400, {"error": {"type": "strange_error"}})
    assert check_response("GET", PATH, 400, {"error": {"type": "api_error", "hint": "x"}})


async def test_the_checked_server_answers_500_and_notes_it(tmp_path: Path) -> None:
    async def wrong(scope: Scope, receive: Receive, send: Send) -> None:
        await JSONResponse({"object": "balance", "livemode": False})(scope, receive, send)

    app: ASGIApp = CheckedResponses(wrong, Violations(tmp_path / "violations.txt"))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://sandbox") as http:
        answer = await http.get("/v1/balance")
        assert answer.status_code == 500
        assert "available is missing" in answer.text
        assert (await http.get("/_sandbox/anything")).status_code == 200
    assert (tmp_path / "violations.txt").read_text() == answer.text


async def test_every_kind_of_answer_was_seen_to_be_right(platform: Platform) -> None:
    """One of each kind that exists, straight from the wire: the server would have answered 500."""
    customer = (await platform.v1.customers.create_async({"shipping": {"name": "A", "address": {"city": "B"}}})).id
    await platform.v1.payment_methods.attach_async("pm_card_visa", {"customer": customer})
    await platform.pay(customer=customer, capture_method="automatic")
    account = (await platform.account()).id
    await platform.fund(1000)
    await platform.v1.transfers.create_async({"amount": 100, "currency": "usd", "destination": account})
    await platform.v1.payouts.create_async({"amount": 100, "currency": "usd"})
    kinds = "accounts balance_transactions charges customers events payment_intents payouts transfers webhook_endpoints"
    for path in kinds.split():
        page = json.loads((await platform.http.get(f"/v1/{path}")).content)
        assert page["object"] == "list"
        assert page["url"] == f"/v1/{path}"
        for shown in page["data"][:1]:
            assert (await platform.http.get(f"/v1/{path}/{shown['id']}")).status_code == 200
    saved = (await platform.http.get(f"/v1/customers/{customer}/payment_methods")).json()
    assert saved["url"] == f"/v1/customers/{customer}/payment_methods"
    assert (await platform.http.get("/v1/balance")).status_code == 200

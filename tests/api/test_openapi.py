"""The OpenAPI document is complete: a client can be written from it alone."""

from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from api.problems import STATUS, TYPE_BASE
from domain.errors import MethodNotAllowed
from tests.api.contract import PROBLEM, Contract
from tests.world import World

Route = dict[str, Any]

CHANGE_NOTHING = {
    "POST /v1/withdrawals/preview",
    "POST /v1/connect/account/link",
    "POST /v1/connect/account/login-link",
}
"""POSTs that may be repeated without a key."""


@pytest.fixture(scope="module")
async def contract(world: World) -> Contract:
    return Contract((await world.http.get("/openapi.json")).json())


def _routes(contract: Contract) -> Iterator[tuple[str, Route]]:
    for path, methods in contract.document["paths"].items():
        for method, route in methods.items():
            yield f"{method.upper()} {path}", route


async def test_every_route_is_described(contract: Contract) -> None:
    routes = dict(_routes(contract))
    assert set(routes) == {
        "POST /v1/deposits", "GET /v1/deposits", "GET /v1/deposits/{deposit_id}",
        "POST /v1/deposits/{deposit_id}/cancel", "GET /v1/me", "PUT /v1/me", "GET /v1/wallets",
        "GET /v1/wallets/{wallet_id}", "GET /v1/wallets/{wallet_id}/transactions", "GET /v1/operations",
        "GET /v1/operations/{operation_id}", "POST /v1/webhooks/stripe", "POST /v1/webhooks/stripe/connect",
        "POST /v1/withdrawals", "GET /v1/withdrawals", "GET /v1/withdrawals/{withdrawal_id}",
        "POST /v1/withdrawals/{withdrawal_id}/cancel", "POST /v1/withdrawals/preview", "POST /v1/connect/account",
        "GET /v1/connect/account", "POST /v1/connect/account/link", "POST /v1/connect/account/login-link",
        "POST /v1/wallet-transfers", "GET /v1/wallet-transfers", "GET /v1/wallet-transfers/{wallet_transfer_id}",
        "POST /v1/admin/wallets/{wallet_id}/freeze", "POST /v1/admin/wallets/{wallet_id}/unfreeze",
        "POST /v1/admin/wallets/{wallet_id}/activate", "POST /v1/admin/wallets/{wallet_id}/deactivate",
        "POST /v1/admin/operations/{operation_id}/retry", "POST /v1/admin/operations/{operation_id}/resume",
        "POST /v1/admin/operations/{operation_id}/adopt", "POST /v1/admin/operations/{operation_id}/compensate",
        "POST /v1/admin/operations/{operation_id}/write-off", "GET /v1/admin/operations/{operation_id}/actions",
        "POST /v1/admin/operations/{operation_id}/approvals", "GET /v1/admin/approvals",
        "GET /v1/admin/approvals/{approval_id}", "POST /v1/admin/approvals/{approval_id}/approve",
        "POST /v1/offers", "GET /v1/offers", "GET /v1/offers/{offer_id}", "POST /v1/offers/{offer_id}/accept",
        "POST /v1/offers/{offer_id}/decline", "POST /v1/offers/{offer_id}/cancel",
        "POST /v1/offers/{offer_id}/agree-cancel", "POST /v1/offers/{offer_id}/deliver",
        "POST /v1/offers/{offer_id}/complete", "POST /v1/offers/{offer_id}/release",
        "POST /v1/offers/{offer_id}/contest", "POST /v1/admin/offers/{offer_id}/resolve",
        "GET /healthz", "GET /readyz",
    }  # fmt: skip
    for name, route in routes.items():
        assert route["summary"], name
        assert route["description"].endswith("."), name
        for parameter in route.get("parameters", []):
            assert parameter["in"] == "path" or parameter.get("description"), (name, parameter)


async def test_every_message_has_an_example_that_fits_its_schema(contract: Contract) -> None:
    for name, route in _routes(contract):
        messages = [route["requestBody"]] if "requestBody" in route else []
        messages += [route["responses"][status] for status in route["responses"] if status < "400"]
        assert messages, name
        for message in messages:
            assert "Successful Response" not in message.get("description", ""), name
            content = message["content"]["application/json"]
            contract.validate(content["example"], content["schema"])


async def test_every_route_has_its_errors_with_examples(contract: Contract) -> None:
    for name, route in _routes(contract):
        refused = {status: said for status, said in route["responses"].items() if status >= "400"}
        assert refused or name == "GET /healthz", name
        needed = set()
        if "security" in route:
            needed |= {"401", "503"}
        if "/{" in name:
            needed |= {"404"}
        if "requestBody" in route:
            needed |= {"400", "413"}
        if "requestBody" in route and "/webhooks/" not in name:
            needed |= {"422"}
        if any(parameter["in"] == "query" for parameter in route.get("parameters", [])):
            needed |= {"422"}
        assert needed <= set(refused), name
        for status, said in refused.items():
            assert list(said["content"]) == [PROBLEM], (name, status)
            assert said["description"], (name, status)
            content = said["content"][PROBLEM]
            assert content["examples"], (name, status)
            for code, example in content["examples"].items():
                assert example["value"]["type"] == TYPE_BASE + code
                assert str(example["value"]["status"]) == status
                contract.validate(example["value"], content["schema"])


async def test_every_problem_is_met_somewhere(contract: Contract) -> None:
    met = {
        code
        for _, route in _routes(contract)
        for said in route["responses"].values()
        for code in said["content"].get(PROBLEM, {}).get("examples", {})
    }
    assert met == {refusal.code for refusal in STATUS} - {MethodNotAllowed.code}


async def test_security_and_idempotency_are_shown(contract: Contract) -> None:
    assert contract.document["components"]["securitySchemes"]["HTTPBearer"]["bearerFormat"] == "JWT"
    for name, route in _routes(contract):
        open_to_all = "/webhooks/" in name or "/v1/" not in name
        assert route.get("security") == (None if open_to_all else [{"HTTPBearer": []}]), name
        keys = [one for one in route.get("parameters", []) if one["name"] == "Idempotency-Key"]
        keyed = name.startswith("POST") and not open_to_all and name not in CHANGE_NOTHING
        assert len(keys) == (1 if keyed else 0), name
        assert all(key["required"] and key["in"] == "header" for key in keys), name


async def test_amounts_say_their_unit(contract: Contract) -> None:
    amounts = {"amount", "available", "escrow", "in_transit", "earned", "spent", "withdrawn", "withdrawable"}
    amounts |= {"platform_fee", "released", "service_fee", "returned", "left", "to_contractor", "to_customer"}
    for name, schema in contract.document["components"]["schemas"].items():
        for field in amounts & set(schema.get("properties", {})):
            said = schema["properties"][field]
            # Whether a milestone is released is no amount.
            assert said.get("type") == "boolean" or "minor units" in said["description"].lower(), (name, field)


async def test_document_is_a_schema_that_validators_take(contract: Contract) -> None:
    assert "HTTPValidationError" not in str(contract.document)
    for schema in contract.document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


async def test_docs_page_is_served(world: World) -> None:
    assert (await world.http.get("/docs")).status_code == 200

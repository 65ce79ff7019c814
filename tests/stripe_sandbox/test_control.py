"""The control API's own manners, and what the sandbox refuses rather than pretends."""

from typing import Any

import pytest

from tests.stripe_sandbox.conftest import Platform, random_key


async def test_health_needs_no_key(platform: Platform) -> None:
    assert (await platform.http.get("/_sandbox/health", headers={"Authorization": ""})).json() == {"status": "ok"}


@pytest.mark.parametrize(
    "path", ["clock", "settings", "faults", "event_faults", "payout_faults", "requests", "deliveries", "check"]
)
async def test_everything_else_does(platform: Platform, path: str) -> None:
    assert (await platform.http.get(f"/_sandbox/{path}", headers={"Authorization": ""})).status_code == 401


async def test_a_publishable_key_is_refused(platform: Platform) -> None:
    answer = await platform.http.get("/v1/customers", headers={"Authorization": "Bearer pk_test_abcdef"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "secret_key_required")


async def test_basic_authentication_works_as_at_stripe(platform: Platform) -> None:
    assert (await platform.http.get("/v1/customers", auth=(platform.key, ""))).status_code == 200


async def test_another_api_version_is_refused(platform: Platform) -> None:
    answer = await platform.http.get("/v1/customers", headers={"Stripe-Version": "2020-08-27"})
    assert answer.status_code == 400
    assert "2020-08-27" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "change",
    [
        {"sede": 1},
        {"shuffle": 1},
        {"duplicate_rate": 2},
        {"delivery_delay_ms": [5, 1]},
        {"delivery_delay_ms": "soon"},
        {"seed": True},
        {"settlement_currency": "xyz"},
        {"payout_hold": "yes"},
        {"payout_arrival_delay_ms": -1},
    ],
)
async def test_a_wrong_setting_is_refused(platform: Platform, change: dict[str, Any]) -> None:
    before = await platform.look("settings")
    assert (await platform.http.post("/_sandbox/settings", json=change)).status_code == 400
    assert await platform.look("settings") == before


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"seconds": -1}', b'{"seconds": true}', b'{"minutes": 1}', b"\xff"])
async def test_a_wrong_body_is_refused(platform: Platform, body: bytes) -> None:
    assert (await platform.http.post("/_sandbox/clock/advance", content=body)).status_code == 400


async def test_clocks_and_settings_are_each_platforms_own(platform: Platform) -> None:
    other = Platform(platform.url, random_key())
    await platform.advance(1000)
    await platform.control("settings", seed=9)
    assert (await other.look("clock"))["offset_seconds"] == 0
    assert (await other.look("settings"))["seed"] == 0
    await other.close()


async def test_created_follows_the_clock(platform: Platform) -> None:
    first = await platform.v1.customers.create_async({})
    await platform.advance(3600)
    second = await platform.v1.customers.create_async({})
    assert 3600 <= second.created - first.created < 3630
    page = await platform.v1.customers.list_async({"created": {"gt": first.created}})
    assert [customer.id for customer in page.data] == [second.id]


async def test_events_are_kept_for_30_days(platform: Platform) -> None:
    await platform.v1.customers.create_async({})
    (event,) = (await platform.v1.events.list_async({})).data
    await platform.advance(31 * 86_400)
    assert (await platform.v1.events.list_async({})).data == []
    assert (await platform.http.get(f"/v1/events/{event.id}")).status_code == 404


async def test_events_by_types(platform: Platform) -> None:
    await platform.pay()
    wanted = ["charge.succeeded", "payment_intent.created"]
    page = await platform.v1.events.list_async({"types": wanted})
    assert sorted(event.type for event in page.data) == wanted
    answer = await platform.http.get("/v1/events", params={"type": "a.b", "types[]": "a.b"})
    assert answer.status_code == 400


@pytest.mark.parametrize(
    "params",
    [
        {"capture_method": "manual"},
        {"confirmation_method": "manual"},
        {"transfer_data[destination]": "acct_1"},
        {"allowed_payment_method_types[]": "ideal"},
        {"payment_method": "pm_card_createDispute"},
        {
            "payment_method_data[type]": "card",
            "payment_method_data[card][number]": "4000000000000259",
            "payment_method_data[card][exp_month]": "1",
            "payment_method_data[card][exp_year]": "2040",
        },
        {"payment_method_options[card][request_three_d_secure]": "any"},
    ],
)
async def test_what_is_not_modelled_is_refused(platform: Platform, params: dict[str, str]) -> None:
    answer = await platform.post("/v1/payment_intents", amount=1000, currency="usd", **params)
    assert answer.status_code == 400
    assert "does not model" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "form",
    [
        b"name=%ff",
        b"name[a]=1",
        b"metadata=x&metadata[a]=1",
        b"metadata[a]=1&metadata=x",
        b"metadata[a][b]=1",
        b"expand=name",
        b"expand[x]=name",
        b"a" + b"[b]" * 50 + b"=1",
        b"na[me=1",
        "name=é".encode(),
    ],
)
async def test_malformed_parameters(platform: Platform, form: bytes) -> None:
    answer = await platform.http.post(
        "/v1/customers", content=form, headers={"Content-Type": "application/x-www-form-urlencoded"}
    )
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")


async def test_the_log_of_requests(platform: Platform) -> None:
    await platform.post("/v1/customers", "key", name="Ann")
    await platform.post("/v1/customers", "key", name="Ann")
    await platform.post("/v1/customers", "key", name="Bob")
    await platform.http.get("/v1/customers/cus_none")
    log = (await platform.look("requests", path="/v1/customers*"))["requests"]
    assert [(each["method"], each["status"], each["executed"], each["replayed"]) for each in log] == [
        ("POST", 200, True, False),
        ("POST", 200, False, True),
        ("POST", 400, False, False),
        ("GET", 404, True, False),
    ]
    assert [each["idempotency_key"] for each in log] == ["key", "key", "key", None]

"""Every fault by call: what the client sees, and what the sandbox did."""

import time
from typing import Any

import httpx
import pytest
import stripe

from tests.stripe_sandbox.conftest import Platform, card_payment

PATH = "/v1/payment_intents"
PAYMENT = {"amount": "1000", "currency": "usd"}


async def _plant(platform: Platform, kind: str, **rule: Any) -> None:
    await platform.control("faults", method="POST", path=PATH, kind=kind, **rule)


async def _count(platform: Platform) -> int:
    return len((await platform.v1.payment_intents.list_async({"limit": 100})).data)


async def _fired(platform: Platform) -> int:
    return sum(fault["fired"] for fault in (await platform.look("faults"))["faults"])


async def test_error_before_executes_nothing(platform: Platform) -> None:
    await _plant(platform, "error_before")
    with pytest.raises(stripe.APIConnectionError):
        await platform.v1.payment_intents.create_async(card_payment(), {"idempotency_key": "key"})
    assert await _count(platform) == 0
    intent = await platform.v1.payment_intents.create_async(card_payment(), {"idempotency_key": "key"})
    assert intent.status == "succeeded"
    log = (await platform.look("requests", path=PATH, method="POST"))["requests"]
    assert [(each["status"], each["executed"], each["fault"]) for each in log] == [
        (None, False, "error_before"),
        (200, True, None),
    ]


async def test_drop_after_commit_has_executed(platform: Platform) -> None:
    await _plant(platform, "drop_after_commit")
    with pytest.raises(stripe.APIConnectionError):
        await platform.v1.payment_intents.create_async(card_payment(), {"idempotency_key": "key"})
    assert await _count(platform) == 1
    again = await platform.v1.payment_intents.create_async(card_payment(), {"idempotency_key": "key"})
    assert again.status == "succeeded"
    assert await _count(platform) == 1
    log = (await platform.look("requests", path=PATH, method="POST"))["requests"]
    assert [(each["executed"], each["replayed"]) for each in log] == [(True, False), (False, True)]


async def test_rate_limit_executes_and_keeps_nothing(platform: Platform) -> None:
    await _plant(platform, "rate_limit", times=2)
    for _ in range(2):
        with pytest.raises(stripe.RateLimitError) as caught:
            await platform.v1.payment_intents.create_async(card_payment(), {"idempotency_key": "key"})
        assert caught.value.http_status == 429
    assert (await platform.post(PATH, "key", **PAYMENT)).status_code == 200
    assert await _count(platform) == 1


async def test_server_error_executes_and_keeps_nothing(platform: Platform) -> None:
    await _plant(platform, "server_error")
    assert (await platform.post(PATH, "key", **PAYMENT)).status_code == 500
    assert await _count(platform) == 0
    answer = await platform.post(PATH, "key", **PAYMENT)
    assert (answer.status_code, "idempotent-replayed" in answer.headers) == (200, False)


@pytest.mark.parametrize(("kind", "made"), [("server_error_stored", 0), ("server_error_stored_after_commit", 1)])
async def test_a_stored_500_stays_with_its_key(platform: Platform, kind: str, made: int) -> None:
    await _plant(platform, kind)
    first = await platform.post(PATH, "key", **PAYMENT)
    assert (first.status_code, first.json()["error"]["type"]) == (500, "api_error")
    again = await platform.post(PATH, "key", **PAYMENT)
    assert (again.status_code, again.headers["idempotent-replayed"]) == (500, "true")
    assert again.content == first.content
    assert await _count(platform) == made
    assert (await platform.post(PATH, "another key", **PAYMENT)).status_code == 200
    await platform.advance(86_401)
    assert (await platform.post(PATH, "key", **PAYMENT)).status_code == 200


async def test_a_replay_does_not_use_up_a_fault_of_execution(platform: Platform) -> None:
    await platform.post(PATH, "key", **PAYMENT)
    await _plant(platform, "server_error_stored")
    assert (await platform.post(PATH, "key", **PAYMENT)).status_code == 200
    assert await _fired(platform) == 0
    assert (await platform.post(PATH, "new", **PAYMENT)).status_code == 500


async def test_hang_before_execution(platform: Platform) -> None:
    await _plant(platform, "hang", seconds=2)
    with pytest.raises(httpx.ReadTimeout):
        await platform.http.post(PATH, data=PAYMENT, headers={"Idempotency-Key": "key"}, timeout=0.3)
    assert await _count(platform) == 0
    in_use = await platform.post(PATH, "key", **PAYMENT)
    assert (in_use.status_code, in_use.json()["error"]["code"]) == (409, "idempotency_key_in_use")
    deadline = time.monotonic() + 60
    while (answer := await platform.post(PATH, "key", **PAYMENT)).status_code == 409:
        assert time.monotonic() < deadline
    assert answer.headers["idempotent-replayed"] == "true"
    assert await _count(platform) == 1


async def test_hang_after_commit(platform: Platform) -> None:
    await _plant(platform, "hang_after_commit", seconds=2)
    with pytest.raises(httpx.ReadTimeout):
        await platform.http.post(PATH, data=PAYMENT, headers={"Idempotency-Key": "key"}, timeout=0.5)
    assert await _count(platform) == 1
    assert (await platform.post(PATH, "key", **PAYMENT)).headers["idempotent-replayed"] == "true"


async def test_truncate_cuts_the_answer_of_what_was_done(platform: Platform) -> None:
    await _plant(platform, "truncate")
    with pytest.raises(httpx.RemoteProtocolError):
        await platform.post(PATH, "key", **PAYMENT)
    assert await _count(platform) == 1
    await platform.control("faults", path=f"{PATH}/*", kind="truncate")
    intent = (await platform.post(PATH, "key", **PAYMENT)).json()["id"]
    with pytest.raises(stripe.APIConnectionError):
        await platform.v1.payment_intents.retrieve_async(intent)


async def test_key_in_use(platform: Platform) -> None:
    await _plant(platform, "key_in_use")
    with pytest.raises(stripe.APIError) as caught:
        await platform.v1.payment_intents.create_async(card_payment(), {"idempotency_key": "key"})
    error: Any = caught.value
    assert (error.http_status, error.error.code) == (409, "idempotency_key_in_use")
    assert (await platform.post(PATH, "key", **PAYMENT)).status_code == 200


async def test_skip_times_and_counts(platform: Platform) -> None:
    await _plant(platform, "server_error", skip=1, times=2)
    statuses = [(await platform.post(PATH, **PAYMENT)).status_code for _ in range(4)]
    assert statuses == [200, 500, 500, 200]
    (fault,) = (await platform.look("faults"))["faults"]
    assert (fault["seen"], fault["fired"]) == (4, 2)


async def test_method_and_path_must_match(platform: Platform) -> None:
    await platform.control("faults", method="GET", path="/v1/payment_intents/*", kind="server_error", times=None)
    intent = (await platform.post(PATH, **PAYMENT)).json()["id"]
    for _ in range(3):
        assert (await platform.http.get(f"{PATH}/{intent}")).status_code == 500
    assert (await platform.http.delete("/_sandbox/faults")).json() == {"removed": 1}
    assert (await platform.http.get(f"{PATH}/{intent}")).status_code == 200


async def test_one_fault_is_removed_by_its_id(platform: Platform) -> None:
    await _plant(platform, "server_error")
    kept = await platform.control("faults", kind="rate_limit", path="/v1/customers")
    first = (await platform.look("faults"))["faults"][0]["id"]
    assert (await platform.http.delete(f"/_sandbox/faults/{first}")).json() == {"removed": 1}
    assert [fault["id"] for fault in (await platform.look("faults"))["faults"]] == [kept["id"]]


@pytest.mark.parametrize(
    "rule", [{"kind": "nonsense"}, {"kind": "hang", "secnods": 3}, {"kind": "hang", "times": 0}, {"kind": 3}, {}]
)
async def test_a_misspelt_fault_is_refused(platform: Platform, rule: dict[str, Any]) -> None:
    answer = await platform.http.post("/_sandbox/faults", json=rule)
    assert answer.status_code == 400
    assert (await platform.look("faults"))["faults"] == []

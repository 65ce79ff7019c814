"""Idempotency keys where only the sandbox's controls can bring the case about."""

import asyncio

import httpx
import pytest

from tests.stripe_sandbox.conftest import Platform, random_key

PATH = "/v1/payment_intents"
PAYMENT = {"amount": "1000", "currency": "usd"}
DAY = 86_400


async def _count(platform: Platform) -> int:
    return len((await platform.v1.payment_intents.list_async({"limit": 100})).data)


async def test_fifty_at_once_make_one(platform: Platform) -> None:
    answers = await asyncio.gather(*(platform.post(PATH, "key", **PAYMENT) for _ in range(50)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert await _count(platform) == 1


async def test_a_key_is_in_use_while_its_request_executes(platform: Platform) -> None:
    await platform.control("settings", latency_ms=2000)
    slow = asyncio.create_task(platform.post(PATH, "key", **PAYMENT))
    await asyncio.sleep(0.1)
    conflict = await platform.post(PATH, "key", **PAYMENT)
    assert conflict.status_code == 409
    assert conflict.json()["error"]["code"] == "idempotency_key_in_use"
    assert (await slow).status_code == 200
    replay = await platform.post(PATH, "key", **PAYMENT)
    assert (replay.status_code, replay.headers["idempotent-replayed"]) == (200, "true")
    assert await _count(platform) == 1


async def test_a_key_is_forgotten_after_24_hours_of_the_platforms_clock(platform: Platform) -> None:
    first = await platform.post(PATH, "key", **PAYMENT)
    await platform.advance(DAY - 60)
    assert (await platform.post(PATH, "key", **PAYMENT)).json()["id"] == first.json()["id"]
    await platform.advance(120)
    later = await platform.post(PATH, "key", **PAYMENT)
    assert later.json()["id"] != first.json()["id"]
    assert "idempotent-replayed" not in later.headers
    assert await _count(platform) == 2


async def test_a_forgotten_key_takes_other_parameters(platform: Platform) -> None:
    await platform.post(PATH, "key", **PAYMENT)
    await platform.advance(DAY + 1)
    assert (await platform.post(PATH, "key", **{**PAYMENT, "amount": "2000"})).status_code == 200


async def test_platforms_do_not_share_keys(platform: Platform) -> None:
    other = Platform(platform.url, random_key())
    mine = await platform.post(PATH, "key", **PAYMENT)
    theirs = await other.post(PATH, "key", **PAYMENT)
    assert mine.json()["id"] != theirs.json()["id"]
    assert (await other.http.get(f"{PATH}/{mine.json()['id']}")).status_code == 404
    await other.close()


async def test_connected_accounts_do_not_share_keys_or_objects(platform: Platform, connected: str) -> None:
    mine = await platform.post(PATH, "key", **PAYMENT)
    headers = {"Stripe-Account": connected, "Idempotency-Key": "key"}
    theirs = await platform.http.post(PATH, data=PAYMENT, headers=headers)
    assert (theirs.status_code, theirs.headers["stripe-account"]) == (200, connected)
    assert theirs.json()["id"] != mine.json()["id"]
    assert (await platform.http.get(f"{PATH}/{theirs.json()['id']}")).status_code == 404
    assert (await platform.http.get(f"{PATH}/{theirs.json()['id']}", headers=headers)).status_code == 200


@pytest.mark.parametrize("order", [["a", "b"], ["b", "a"]])
async def test_the_order_of_parameters_does_not_matter(platform: Platform, order: list[str]) -> None:
    first = await platform.post("/v1/customers", "key", **{"metadata[a]": "1", "metadata[b]": "1"})
    again = await platform.post("/v1/customers", "key", **{f"metadata[{name}]": "1" for name in order})
    assert again.json()["id"] == first.json()["id"]


async def test_a_refusal_by_state_is_kept(platform: Platform) -> None:
    intent = (await platform.post(PATH, **PAYMENT)).json()["id"]
    first = await platform.post(f"{PATH}/{intent}/confirm", "key", return_url="https://example.com")
    assert first.json()["error"]["code"] == "payment_intent_unexpected_state"
    await platform.post(f"{PATH}/{intent}", payment_method="pm_card_visa")
    again = await platform.post(f"{PATH}/{intent}/confirm", "key", return_url="https://example.com")
    assert (again.status_code, again.headers["idempotent-replayed"]) == (400, "true")


async def test_the_key_of_a_read_has_no_effect(platform: Platform) -> None:
    headers = {"Idempotency-Key": "key"}
    before = await platform.http.get(PATH, headers=headers)
    await platform.post(PATH, **PAYMENT)
    after = await platform.http.get(PATH, headers=headers)
    assert (len(before.json()["data"]), len(after.json()["data"])) == (0, 1)


async def test_a_key_of_more_than_255_characters_is_refused(platform: Platform) -> None:
    assert (await platform.post(PATH, "k" * 255, **PAYMENT)).status_code == 200
    assert (await platform.post(PATH, "k" * 256, **PAYMENT)).status_code == 400
    assert await _count(platform) == 1


async def test_a_client_that_hangs_up_does_not_undo_its_request(platform: Platform) -> None:
    await platform.control("settings", latency_ms=1000)
    with pytest.raises(httpx.ReadTimeout):
        await platform.http.post(PATH, data=PAYMENT, headers={"Idempotency-Key": "key"}, timeout=0.2)
    await platform.control("settings", latency_ms=0)
    for _ in range(1000):
        answer = await platform.post(PATH, "key", **PAYMENT)
        if answer.status_code == 200:
            break
        assert answer.status_code == 409
        await asyncio.sleep(0.01)
    assert answer.headers["idempotent-replayed"] == "true"
    assert await _count(platform) == 1

"""Webhooks: signed, at least once, unordered, retried; and the faults that a test can plant in them."""

import hashlib
import hmac
import time
from typing import Any

import pytest
import stripe

from tests.stripe_sandbox.conftest import Platform, random_key
from tests.stripe_sandbox.oracle import check_event
from tests.stripe_sandbox.receiver import Received, Receiver, eventually

DAY = 86_400


def _verified(received: Received, secret: str) -> Any:
    return stripe.Webhook.construct_event(received.body, received.signature, secret)


async def _plain(platform: Platform, **settings: Any) -> None:
    """No doubling, and quickly: for tests about something else."""
    await platform.control("settings", duplicate_rate=0, delivery_delay_ms=0, **settings)


async def _customer(platform: Platform) -> None:
    await platform.v1.customers.create_async({"name": "Zoë"})


async def _event(platform: Platform, event_type: str = "customer.created") -> Any:
    (event,) = (await platform.v1.events.list_async({"type": event_type})).data
    return event


async def test_a_delivery_verifies_and_is_the_event(platform: Platform, receiver: Receiver) -> None:
    await _plain(platform)
    endpoint = await platform.listen(receiver)
    await platform.v1.customers.create_async({"name": "Zoë"}, {"idempotency_key": "key"})
    await eventually(lambda: receiver.received)
    event = _verified(receiver.received[0], endpoint.secret)
    assert (event.type, event.data.object.name) == ("customer.created", "Zoë")
    assert (event.request.idempotency_key, event.pending_webhooks) == ("key", 1)
    assert check_event(receiver.received[0].event) == []
    with pytest.raises(stripe.SignatureVerificationError):
        _verified(receiver.received[0], "whsec_another")


async def test_the_signature_has_the_real_time_however_far_the_clock_is(platform: Platform, receiver: Receiver) -> None:
    await _plain(platform)
    await platform.listen(receiver)
    await platform.advance(10 * DAY)
    await _customer(platform)
    await eventually(lambda: receiver.received)
    signed = int(receiver.received[0].signature.split(",")[0].removeprefix("t="))
    assert abs(signed - time.time()) < 10
    assert receiver.received[0].event["created"] - time.time() > 9 * DAY


async def test_only_enabled_events_are_delivered(platform: Platform, receiver: Receiver) -> None:
    await _plain(platform)
    await platform.listen(receiver, "payment_intent.succeeded")
    await platform.pay()
    await eventually(lambda: receiver.received)
    event = await _event(platform, "payment_intent.created")
    assert event.pending_webhooks == 0
    assert set(receiver.types()) == {"payment_intent.succeeded"}


async def test_by_default_they_come_late_shuffled_and_doubled(platform: Platform, receiver: Receiver) -> None:
    await platform.control("settings", seed=3, duplicate_rate=0.5)
    await platform.listen(receiver, "customer.created")
    for number in range(12):
        await platform.v1.customers.create_async({"metadata": {"number": number}})
    created = {event.id: event for event in (await platform.v1.events.list_async({"limit": 100})).data}
    await eventually(lambda: {each.event["id"] for each in receiver.received} == set(created))
    await eventually(lambda: len(receiver.received) > len(created))
    numbers = [int(each.event["data"]["object"]["metadata"]["number"]) for each in receiver.received]
    assert numbers != sorted(numbers)


async def test_one_seed_doubles_the_same_deliveries(platform: Platform, receiver: Receiver) -> None:
    plans = []
    for key in (platform.key, random_key()):
        platform = Platform(platform.url, key)
        await platform.control("settings", seed=42, duplicate_rate=0.5, delivery_delay_ms=60_000)
        await platform.listen(receiver)
        for _ in range(8):
            await _customer(platform)
        plans.append([each["extra"] for each in (await platform.look("deliveries"))["deliveries"]])
        await platform.close()
    assert plans[0] == plans[1]
    assert any(plans[0])


async def test_unshuffled_they_come_in_order(platform: Platform, receiver: Receiver) -> None:
    await _plain(platform, shuffle=False)
    await platform.listen(receiver, "customer.created")
    for number in range(15):
        await platform.v1.customers.create_async({"metadata": {"number": number}})
    await eventually(lambda: len(receiver.received) == 15)
    numbers = [int(each.event["data"]["object"]["metadata"]["number"]) for each in receiver.received]
    assert numbers == sorted(numbers)


@pytest.mark.parametrize("failure", [500, 302, None])
async def test_a_failed_delivery_is_retried_and_signed_afresh(
    platform: Platform, receiver: Receiver, failure: int | None
) -> None:
    await _plain(platform)
    endpoint = await platform.listen(receiver)
    receiver.answers = [failure]
    await _customer(platform)
    await eventually(lambda: receiver.received)
    assert (await _event(platform)).pending_webhooks == 1
    assert len((await platform.v1.events.list_async({"delivery_success": False})).data) == 1
    await eventually(lambda: len(receiver.received) == 2)
    first, second = receiver.received
    assert (first.event["id"], first.body) == (second.event["id"], second.body)
    assert first.signature != second.signature
    assert _verified(second, endpoint.secret)

    async def settled() -> bool:
        return bool((await _event(platform)).pending_webhooks == 0)

    await eventually(settled)
    assert (await platform.v1.events.list_async({"delivery_success": False})).data == []
    assert len((await platform.v1.events.list_async({"delivery_success": True})).data) == 1


async def test_retries_follow_the_platforms_clock_and_end_after_three_days(
    platform: Platform, receiver: Receiver
) -> None:
    await _plain(platform)
    await platform.listen(receiver)
    receiver.answers = [500] * 50
    await _customer(platform)
    await eventually(lambda: receiver.received)
    states = []
    for _ in range(3):
        before = len(receiver.received)
        await platform.advance(DAY + 60)
        await eventually(lambda before=before: len(receiver.received) > before)
        states.append(await _state(platform))
    assert states == ["pending", "pending", "failed"]
    assert (await _event(platform)).pending_webhooks == 1


async def _state(platform: Platform) -> str:
    """How the only delivery stands, once its last attempt is recorded."""

    async def recorded() -> Any:
        (delivery,) = (await platform.look("deliveries"))["deliveries"]
        return delivery if delivery["state"] != "pending" or delivery["due"] > time.time() else None

    state: str = (await eventually(recorded))["state"]
    return state


async def test_an_outage_of_two_days_is_survived(platform: Platform, receiver: Receiver) -> None:
    await _plain(platform)
    await platform.listen(receiver)
    receiver.answers = [None]
    await _customer(platform)
    await eventually(lambda: receiver.received)
    await platform.advance(2 * DAY)
    await eventually(lambda: len(receiver.received) == 2)


async def test_during_a_rotation_both_secrets_sign(platform: Platform, receiver: Receiver) -> None:
    await _plain(platform)
    endpoint = await platform.listen(receiver)
    rolled = await platform.control(f"webhook_endpoints/{endpoint.id}/roll_secret", expire_old_after_seconds=3600)
    await _customer(platform)
    await eventually(lambda: receiver.received)
    assert receiver.received[0].signature.count("v1=") == 2
    for secret in (endpoint.secret, rolled["secret"]):
        assert _verified(receiver.received[0], secret)
    await platform.advance(3601)
    await _customer(platform)
    await eventually(lambda: len(receiver.received) == 2)
    assert _verified(receiver.received[1], rolled["secret"])
    with pytest.raises(stripe.SignatureVerificationError):
        _verified(receiver.received[1], endpoint.secret)


async def test_the_signature_is_the_documented_one(platform: Platform, receiver: Receiver) -> None:
    await _plain(platform)
    endpoint = await platform.listen(receiver)
    await _customer(platform)
    await eventually(lambda: receiver.received)
    received = receiver.received[0]
    timestamp, digest = (part.split("=")[1] for part in received.signature.split(","))
    signed = f"{timestamp}.".encode() + received.body
    assert hmac.new(endpoint.secret.encode(), signed, hashlib.sha256).hexdigest() == digest


async def test_a_deleted_or_disabled_endpoint_gets_nothing(platform: Platform, receiver: Receiver) -> None:
    await _plain(platform)
    endpoints = [await platform.listen(receiver) for _ in range(2)]
    await platform.v1.webhook_endpoints.delete_async(endpoints[0].id)
    await platform.v1.webhook_endpoints.update_async(endpoints[1].id, {"disabled": True})
    await _customer(platform)
    assert (await platform.look("deliveries"))["deliveries"] == []
    assert (await _event(platform)).pending_webhooks == 0


async def test_connect_endpoints_hear_of_connected_accounts_only(
    platform: Platform, connected: str, receiver: Receiver
) -> None:
    await _plain(platform)
    endpoint = await platform.listen(receiver, connect=True)
    await _customer(platform)
    await platform.v1.customers.create_async({}, {"stripe_account": connected})
    await eventually(lambda: receiver.received)
    assert _verified(receiver.received[0], endpoint.secret).account == connected
    assert len((await platform.look("deliveries"))["deliveries"]) == 1


# ── Planted faults ───────────────────────────────────────────────────────────────────────────────────────────────────


async def _plant(platform: Platform, kind: str, **rule: Any) -> None:
    await platform.control("event_faults", type="customer.*", kind=kind, **rule)


async def test_drop_is_recorded_and_never_delivered(platform: Platform, receiver: Receiver) -> None:
    await _plain(platform)
    await platform.listen(receiver)
    await _plant(platform, "drop")
    await _customer(platform)
    await platform.advance(4 * DAY)
    await platform.v1.customers.create_async({"name": "second"})
    await eventually(lambda: receiver.received)
    assert [each.event["data"]["object"]["name"] for each in receiver.received] == ["second"]

    async def only_one_undelivered() -> Any:
        undelivered = (await platform.v1.events.list_async({"delivery_success": False})).data
        return undelivered[0] if len(undelivered) == 1 else None

    # The second event's answer may arrive here before the sandbox has noted it.
    missed = await eventually(only_one_undelivered)
    assert (missed.data.object.name, missed.pending_webhooks) == ("Zoë", 1)


async def test_duplicate_sends_one_event_several_times(platform: Platform, receiver: Receiver) -> None:
    await _plain(platform)
    await platform.listen(receiver)
    await _plant(platform, "duplicate", copies=9)
    await _customer(platform)
    await eventually(lambda: len(receiver.received) == 10)
    assert len({each.event["id"] for each in receiver.received}) == 1


async def test_new_id_makes_two_events_of_one_change(platform: Platform, receiver: Receiver) -> None:
    await _plain(platform)
    await platform.listen(receiver)
    await _plant(platform, "new_id")
    await _customer(platform)
    await eventually(lambda: len(receiver.received) == 2)
    assert len({each.event["id"] for each in receiver.received}) == 2
    assert len({each.event["data"]["object"]["id"] for each in receiver.received}) == 1
    assert len((await platform.v1.events.list_async({})).data) == 2


async def test_delay_waits_on_the_platforms_clock(platform: Platform, receiver: Receiver) -> None:
    await _plain(platform)
    await platform.listen(receiver)
    await _plant(platform, "delay", seconds=3 * DAY)
    await _customer(platform)
    await platform.v1.customers.create_async({"name": "second"})
    await eventually(lambda: receiver.received)
    assert len(receiver.received) == 1
    await platform.advance(3 * DAY)
    await eventually(lambda: len(receiver.received) == 2)
    assert receiver.received[1].event["data"]["object"]["name"] == "Zoë"


async def test_reorder_lets_the_next_event_overtake(platform: Platform, receiver: Receiver) -> None:
    await _plain(platform)
    await platform.listen(receiver)
    await _plant(platform, "reorder", seconds=60)
    await _customer(platform)
    await platform.v1.customers.create_async({"name": "second"})
    await eventually(lambda: len(receiver.received) == 2)
    assert [each.event["data"]["object"]["name"] for each in receiver.received] == ["second", "Zoë"]


async def test_reorder_ends_by_itself(platform: Platform, receiver: Receiver) -> None:
    await _plain(platform)
    await platform.listen(receiver)
    await _plant(platform, "reorder", seconds=0.3)
    await _customer(platform)
    await eventually(lambda: receiver.received)


async def test_corrupt_signature_then_a_good_one(platform: Platform, receiver: Receiver) -> None:
    await _plain(platform)
    endpoint = await platform.listen(receiver)
    await _plant(platform, "corrupt_signature")
    receiver.answers = [400]
    await _customer(platform)
    await eventually(lambda: len(receiver.received) == 2)
    with pytest.raises(stripe.SignatureVerificationError):
        _verified(receiver.received[0], endpoint.secret)
    assert _verified(receiver.received[1], endpoint.secret)


async def test_event_faults_count_skip_and_go(platform: Platform, receiver: Receiver) -> None:
    await _plain(platform)
    await platform.listen(receiver)
    await _plant(platform, "drop", times=None, skip=1)
    for _ in range(3):
        await _customer(platform)
    (fault,) = (await platform.look("event_faults"))["faults"]
    assert (fault["seen"], fault["fired"]) == (3, 2)
    assert (await platform.look("faults"))["faults"] == []
    assert (await platform.http.delete(f"/_sandbox/event_faults/{fault['id']}")).json() == {"removed": 1}
    await _customer(platform)
    states = [each["state"] for each in (await platform.look("deliveries"))["deliveries"]]
    assert states.count("dropped") == 2


async def test_deliver_sends_now_whatever_the_faults(platform: Platform, receiver: Receiver) -> None:
    await _plain(platform)
    endpoint = await platform.listen(receiver)
    await _plant(platform, "drop")
    await _customer(platform)
    event = await _event(platform)
    receiver.answers = [503, 200]
    answer = await platform.control(f"events/{event.id}/deliver", times=2)
    assert answer["attempts"] == [{"endpoint": endpoint.id, "status": status} for status in (503, 200)]
    assert _verified(receiver.received[1], endpoint.secret).id == event.id
    assert (await _event(platform)).pending_webhooks == 0
    assert (await platform.http.post("/_sandbox/events/evt_none/deliver", json={})).status_code == 404

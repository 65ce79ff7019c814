"""Stripe's webhooks: verified, stored once, signaled, and nothing decided."""

import hmac
import json
import time
import uuid
from typing import Any

import httpx
import pytest
import stripe
from pydantic import SecretStr

from tests.api.counting import nothing_written
from tests.api.test_bad_input import problem
from tests.world import Servers, World, open_world

PLATFORM, CONNECT = "/v1/webhooks/stripe", "/v1/webhooks/stripe/connect"


def event(event_type: str = "payment_intent.succeeded", **more: Any) -> dict[str, Any]:
    """An event of a payment that nobody made."""
    return {
        "id": f"evt_sent_{uuid.uuid4().hex}",
        "object": "event",
        "api_version": "2026-10-28.endive",
        "created": int(time.time()),
        "livemode": False,
        "type": event_type,
        "data": {"object": {"id": f"pi_{uuid.uuid4().hex}", "object": "payment_intent", "metadata": {}}},
    } | more


def sign(body: bytes, secret: str, *, at: float | None = None, scheme: str = "v1") -> str:
    """Stripe's header, for any bytes (https://docs.stripe.com/webhooks#verify-manually)."""
    stamp = int(time.time() if at is None else at)
    digest = hmac.new(secret.encode(), f"{stamp}.".encode() + body, "sha256").hexdigest()
    return f"t={stamp},{scheme}={digest}"


def test_signing_is_stripes_own() -> None:
    assert sign(b"{}", "whsec_x", at=1) == stripe.WebhookSignature.generate_signature_header("{}", "whsec_x", 1)


def secret_of(world: World, path: str = PLATFORM) -> str:
    """The endpoint's signing secret."""
    settings = world.settings
    held = settings.stripe_webhook_secrets if path == PLATFORM else settings.stripe_connect_webhook_secrets
    return held[0].get_secret_value()


async def send(
    world: World, body: bytes | dict[str, Any], *, path: str = PLATFORM, header: str | bytes | None = None, **how: Any
) -> httpx.Response:
    """A delivery, signed as Stripe would unless a `header` is given."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    signature = sign(content, secret_of(world, path), **how) if header is None else header
    raw = signature.encode() if isinstance(signature, str) else signature
    return await world.http.post(path, content=content, headers={b"Stripe-Signature": raw})


async def stored(world: World, event_id: str) -> list[Any]:
    """The inbox's rows of an event."""
    return await world.sql("SELECT *, payload::text AS kept FROM stripe_events WHERE id = $1", event_id)


async def inbox_size(world: World) -> int:
    """How many of these tests' own events are stored; Stripe's go on arriving meanwhile."""
    return int((await world.sql(r"SELECT count(*) FROM stripe_events WHERE id LIKE 'evt\_sent\_%'"))[0]["count"])


async def refused(world: World, body: bytes | dict[str, Any], **how: Any) -> dict[str, Any]:
    """The 400 that a delivery must get, having left no row."""
    before = await inbox_size(world)
    async with nothing_written(world):
        found = problem(await send(world, body, **how), 400, "webhook-refused")
    assert await inbox_size(world) == before
    return found


# ── Proof of origin ──


@pytest.mark.parametrize("path", [PLATFORM, CONNECT])
async def test_signed_event_is_stored(world: World, path: str) -> None:
    sent = event(**({"account": "acct_1"} if path == CONNECT else {}))
    answer = await send(world, sent, path=path)
    assert (answer.status_code, answer.json()) == (200, {"received": True})
    [row] = await stored(world, sent["id"])
    assert (row["state"], row["type"], row["account"]) == ("received", sent["type"], sent.get("account", ""))
    assert row["object_id"] == sent["data"]["object"]["id"]
    assert json.loads(row["kept"]) == sent


async def test_f30_wrong_secret(world: World) -> None:
    """Only the endpoint's own secret proves anything; the other endpoint's does not."""
    body = json.dumps(event()).encode()
    await refused(world, body, header=sign(body, "whsec_wrong"))
    await refused(world, body, header=sign(body, secret_of(world, CONNECT)))
    await refused(world, body, path=CONNECT, header=sign(body, secret_of(world, PLATFORM)))
    await refused(world, body, header=sign(body, ""))
    await refused(world, body, header=sign(body + b" ", secret_of(world)))


async def test_f30_stale(world: World) -> None:
    """A signature counts for 300 seconds, so that a recorded delivery cannot be sent again later."""
    found = await refused(world, event(), at=time.time() - 302)
    assert "tolerance" in found["detail"]
    assert (await send(world, event(), at=time.time() - 290)).status_code == 200


async def test_f40_signed_in_our_future(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """If our clock is slow, events are taken and the log says so; refused, they would be lost for a clock."""
    assert (await send(world, event(), at=time.time() + 600)).status_code == 200
    assert "this clock is slow" in capsys.readouterr().out


@pytest.mark.parametrize(
    "header",
    [
        "", "t=", "t=1", "v1=abc", "t=abc,v1=abc", "t=1,v0=abc", "nonsense", ",", "=", "t=1,v1", "t=-1,v1=a",
        "t=9" + "9" * 4_400 + ",v1=a", "t=1,v1=" + "a" * 10_000, "t=\u0661,v1=\u00e9".encode(), b"\xff\xfe",
    ],
)  # fmt: skip
async def test_f30_malformed_signature(world: World, header: str | bytes) -> None:
    """A header that cannot be read proves nothing, and breaks nothing."""
    await refused(world, event(), header=header)


async def test_f30_signature_missing(world: World) -> None:
    """Nor does none at all; a token is no substitute."""
    before = await inbox_size(world)
    for headers in ({}, {"Authorization": f"Bearer {world.token('root', 'admin')}"}):
        answer = await world.http.post(PLATFORM, json=event(), headers=headers)
        problem(answer, 400, "webhook-refused")
    assert await inbox_size(world) == before


async def test_f30_non_ascii_signature_of_the_right_time(world: World) -> None:
    """The comparison takes ASCII only: anything else is refused before it."""
    await refused(world, event(), header=f"t={int(time.time())},v1=ñ".encode())


async def test_f30_another_scheme(world: World) -> None:
    """Stripe's test scheme `v0` is not `v1`."""
    await refused(world, event(), scheme="v0")


@pytest.mark.parametrize(
    "body", [b"\xff\xfe", b'{"id":"evt_sent_1","type":"x\xff"}', '{"id":"evt_sent_1"}'.encode("utf-16")]
)
async def test_f30_not_utf8(world: World, body: bytes) -> None:
    """Bytes that are no UTF-8 are refused, however well signed."""
    await refused(world, body)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"null", b"[]", b'"evt_sent_1"', b"{}", b'{"id":"evt_sent_1"}', b'{"type":"x"}',
        b'{"id":1,"type":"x"}',
        b'{"id":"evt_sent_1","type":["x"]}', b'{"id":"","type":"x"}', b'{"id":"a\\u0000","type":"x"}',
        b'{"id":"\\ud800","type":"x"}', b'{"id":"' + b"x" * 256 + b'","type":"x"}', b"[" * 100_000,
        b'{"id":"evt_sent_1","type":"x","n":' + b"9" * 5_000 + b"}",
    ],
)  # fmt: skip
async def test_f30_signed_but_no_event(world: World, body: bytes) -> None:
    """What has no id or type cannot be Stripe's event."""
    await refused(world, body)


async def test_f30_empty_secret_disables_the_endpoint(servers: Servers) -> None:
    """A secret that was left empty must not become a key that everybody knows."""
    empty = (SecretStr(""), SecretStr("  "))
    async with open_world(
        servers, worker=False, stripe_webhook_secrets=empty, stripe_connect_webhook_secrets=()
    ) as world:
        for path in (PLATFORM, CONNECT):
            for guess in ("", "  ", "whsec_"):
                body = json.dumps(event()).encode()
                answer = await send(world, body, path=path, header=sign(body, guess))
                assert "no signing secret" in problem(answer, 400, "webhook-refused")["detail"]
        assert await inbox_size(world) == 0


async def test_secrets_rotate(servers: Servers) -> None:
    secrets = (SecretStr("whsec_new"), SecretStr(""), SecretStr("whsec_old"))
    async with open_world(servers, worker=False, stripe_webhook_secrets=secrets) as world:
        for secret in ("whsec_new", "whsec_old"):
            body = json.dumps(event()).encode()
            assert (await send(world, body, header=sign(body, secret))).status_code == 200
        # While a secret is rolled, Stripe signs with both.
        body = json.dumps(event()).encode()
        both = sign(body, "whsec_gone") + "," + sign(body, "whsec_old").partition(",")[2]
        assert (await send(world, body, header=both)).status_code == 200
        await refused(world, event(), header="t=1,v1=a")
        body = json.dumps(event()).encode()
        await refused(world, body, header=sign(body, "whsec_gone"))
        assert await inbox_size(world) == 3


# ── What is kept ──


async def test_f25_ten_times_is_one_row(world: World) -> None:
    """Stripe delivers at least once; each event is stored once, and every delivery is acknowledged."""
    sent = event()
    answers = [await send(world, sent) for _ in range(10)]
    assert {answer.status_code for answer in answers} == {200}
    assert len(await stored(world, sent["id"])) == 1
    # What is stored stays, whatever comes later under its id.
    assert (await send(world, sent | {"type": "charge.updated"})).status_code == 200
    assert (await stored(world, sent["id"]))[0]["type"] == sent["type"]


async def test_f31_unknown_type_is_kept_and_ignored(world: World) -> None:
    """A type that no saga waits for is stored, acknowledged, and wakes nobody."""
    for event_type in ("customer.created", "invoice.paid", "made.up.tomorrow"):
        sent = event(event_type, data={"object": "anything"})
        assert (await send(world, sent)).status_code == 200
        [row] = await stored(world, sent["id"])
        assert (row["state"], row["reason"]) == ("ignored", "no saga waits for its type")
        assert row["settled_at"] is not None


async def test_f31_thin_event_is_kept(world: World) -> None:
    """A v2 event carries no object. Unknown, it is ignored; named like one we wait for, it is unreadable."""
    thin = {
        "object": "v2.core.event",
        "created": "2026-11-21T10:00:00.000Z",
        "livemode": False,
        "related_object": {"id": "mtr_1", "type": "billing.meter", "url": "/v1/billing/meters/mtr_1"},
    }
    for event_type, state in (
        ("v1.billing.meter.error_report_triggered", "ignored"),
        ("charge.updated", "quarantined"),
    ):
        sent: dict[str, Any] = thin | {"id": f"evt_sent_{uuid.uuid4().hex}", "type": event_type}
        assert (await send(world, sent)).status_code == 200
        assert (await stored(world, sent["id"]))[0]["state"] == state


UNREADABLE: list[dict[str, Any]] = [
    {}, {"data": None}, {"data": []}, {"data": {}}, {"data": {"object": None}}, {"data": {"object": []}},
    {"data": {"object": {}}}, {"data": {"object": {"id": 7}}}, {"data": {"object": {"id": None}}},
    {"data": {"object": {"id": "pi_1", "metadata": "text"}}}, {"data": {"object": {"id": "pi_1", "metadata": [1]}}},
]  # fmt: skip


async def test_f31_known_type_unreadable_is_quarantined_and_the_others_flow(world: World) -> None:
    """An event that cannot be read is set aside with its reason, acknowledged, and holds nothing up."""
    deposit = await world.accepted_deposit(user="flowing")
    for wrong in UNREADABLE:
        sent = event()
        del sent["data"]
        sent |= wrong
        assert (await send(world, sent)).status_code == 200
        [row] = await stored(world, sent["id"])
        assert (row["state"], row["operation_id"]) == ("quarantined", None), wrong
        assert row["reason"]
        assert json.loads(row["kept"]) == sent
    await world.sandbox.pay(deposit["payment_intent"], "pm_card_visa")
    assert (await world.closed(deposit["id"]))["status"] == "succeeded"


async def test_metadata_of_a_wrong_kind_is_no_route(world: World) -> None:
    """An operation that is not named in text, or does not exist, is not guessed."""
    for operation_id in (7, None, ["dep_x"], {"id": "dep_x"}, "dep_" + "0" * 26, "", "x" * 10_000):
        sent = event()
        sent["data"]["object"]["metadata"] = {"operation_id": operation_id}
        assert (await send(world, sent)).status_code == 200
        [row] = await stored(world, sent["id"])
        assert (row["state"], row["operation_id"]) == ("received", None)


async def test_f32_wrong_livemode_is_quarantined(world: World) -> None:
    """Live money's events do not belong to a deployment with test keys."""
    for livemode in (True, None, 0, "false"):
        sent = event(livemode=livemode)
        assert (await send(world, sent)).status_code == 200
        [row] = await stored(world, sent["id"])
        assert (row["state"], row["reason"]) == ("quarantined", f"livemode is {livemode}")


async def test_f32_wrong_account_is_quarantined(world: World) -> None:
    """A connected account's event at the platform's endpoint is set aside, and so is the reverse."""
    for path, account in (
        (PLATFORM, "acct_1"), (PLATFORM, {"id": "acct_1"}), (PLATFORM, 7),
        (CONNECT, None), (CONNECT, ""), (CONNECT, ["acct_1"]),
    ):  # fmt: skip
        sent = event(account=account)
        assert (await send(world, sent, path=path)).status_code == 200
        [row] = await stored(world, sent["id"])
        assert row["state"] == "quarantined", (path, account)
        assert "does not belong to this endpoint" in row["reason"]


@pytest.mark.parametrize(
    "oddity",
    [r'"a\u0000b"', r'"\ud800"', r'{"\u0000": 1}', "1e999", "NaN", "[" * 40 + "]" * 40, "[" * 800 + "]" * 800],
)
async def test_f52_what_postgres_cannot_keep_is_quarantined_as_text(world: World, oddity: str) -> None:
    """Stripe passes on what people type. Turned away, such an event would come again for days: it is kept as text."""
    sent = event()
    sent["data"]["object"]["description"] = "ODDITY"
    sent["data"]["object"]["client_secret"] = "pi_1_secret_2"
    body = json.dumps(sent).replace('"ODDITY"', oddity).encode()
    for _ in range(2):
        assert (await send(world, body)).status_code == 200
    [row] = await stored(world, sent["id"])
    assert (row["state"], row["type"]) == ("quarantined", sent["type"])
    kept = json.loads(json.loads(row["kept"])["text"])
    assert kept["data"]["object"]["id"] == sent["data"]["object"]["id"]
    assert "_secret_" not in row["kept"]


async def test_client_secret_is_not_kept(world: World) -> None:
    sent = event()
    sent["data"]["object"] |= {"client_secret": "pi_1_secret_2", "nested": [{"client_secret": "x_secret_y"}]}
    assert (await send(world, sent)).status_code == 200
    [row] = await stored(world, sent["id"])
    assert "secret" not in row["kept"]
    assert row["state"] == "received"


async def test_other_api_version_is_recorded_and_routed(world: World) -> None:
    deposit = await world.accepted_deposit(user="versions")
    sent = event(api_version="2019-01-01")
    sent["data"]["object"] = {"id": deposit["payment_intent"], "metadata": {"operation_id": deposit["id"]}}
    assert (await send(world, sent)).status_code == 200
    operation = await world.until(
        deposit["id"], lambda operation: any(one["state"] == "processed" for one in operation["stripe_events"])
    )
    assert operation["status"] == "awaiting_payment", "the saga asked Stripe, and it is not paid"
    [row] = await stored(world, sent["id"])
    assert json.loads(row["kept"])["api_version"] == "2019-01-01"


async def test_event_without_metadata_is_routed_by_its_object(world: World) -> None:
    deposit = await world.accepted_deposit(user="routes")
    for thing in ({"id": deposit["payment_intent"]}, {"id": "ch_unknown", "payment_intent": deposit["payment_intent"]}):
        sent = event("charge.updated", data={"object": thing})
        assert (await send(world, sent)).status_code == 200
        assert (await stored(world, sent["id"]))[0]["operation_id"] == deposit["id"]

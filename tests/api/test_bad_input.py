"""What is wrong in form: a typed problem that names the field and the remedy, and nothing written anywhere."""

import asyncio
import json
import tracemalloc
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.api.counting import nothing_written
from tests.world import World

DEPOSIT = "/v1/deposits"
GOOD = b'{"amount":20000,"currency":"usd"}'


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem that `answer` must be."""
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    assert found["type"].endswith(f"/{code}"), found
    assert all(found[name] for name in ("title", "detail", "remedy"))
    return found


def names(answer: httpx.Response, field: str) -> dict[str, Any]:
    """The 422 that names `field`."""
    found = problem(answer, 422, "invalid-field")
    assert field in [error["field"] for error in found["errors"]], found
    return found


async def post(world: World, content: bytes, **headers: str) -> httpx.Response:
    """A POST of a deposit, byte by byte as given."""
    told = {
        "Authorization": f"Bearer {world.token()}",
        "Content-Type": "application/json",
        "Idempotency-Key": str(uuid.uuid4()),
    } | {name.replace("_", "-"): value for name, value in headers.items()}
    return await world.http.post(DEPOSIT, content=content, headers=told)


# ── Idempotency-Key ──


async def test_key_missing(world: World) -> None:
    headers = {"Authorization": f"Bearer {world.token()}"}
    async with nothing_written(world):
        for path, body in ((DEPOSIT, {"amount": 20_000, "currency": "usd"}), (f"{DEPOSIT}/dep_x/cancel", None)):
            answer = await world.http.post(path, json=body, headers=headers)
            problem(answer, 400, "idempotency-key-missing")


@pytest.mark.parametrize("key", [b"", b"a b", b"k" * 256, "schlüssel".encode(), b"tab\tbed", b"\x7f"])
async def test_key_malformed(world: World, key: bytes) -> None:
    headers = {b"Authorization": f"Bearer {world.token()}".encode(), b"Idempotency-Key": key}
    async with nothing_written(world):
        answer = await world.http.post(DEPOSIT, json=json.loads(GOOD), headers=headers)
        problem(answer, 400, "idempotency-key-malformed")


async def test_two_keys(world: World) -> None:
    headers = [("Authorization", f"Bearer {world.token()}"), ("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    async with nothing_written(world):
        answer = await world.http.post(DEPOSIT, json=json.loads(GOOD), headers=headers)
        problem(answer, 400, "idempotency-key-malformed")


async def test_longest_and_oddest_key(world: World) -> None:
    answer = await world.deposit(user="keys", key="".join(map(chr, range(0x21, 0x7F))) + "k" * 161)
    assert answer.status_code == 201


# ── Amount and currency ──


AMOUNTS = [
    "0", "-1", "999", "100000000", "9223372036854775807", "9223372036854775808", "-9223372036854775809",
    "1.5", "1e3", "1E9", "20000.0", "NaN", "Infinity", "-Infinity", "1e999", "9" * 5000, "true", "false",
    '"10"', '"20000"', '"NaN"', "null", "[20000]", "{}",
]  # fmt: skip


async def test_f51_amount(world: World) -> None:
    """An amount is a whole number of minor units within the bounds; anything else is refused by name."""
    async with nothing_written(world):
        for amount in AMOUNTS:
            names(await post(world, b'{"amount":%s,"currency":"usd"}' % amount.encode()), "amount")


async def test_f51_amount_outside_its_bounds_says_them(world: World) -> None:
    """The remedy tells the amounts that are taken, as people write them."""
    found = names(await world.deposit(999), "amount")
    assert found["remedy"] == "Deposit at least 10.00 USD and at most 999999.99 USD."


async def test_f51_amount_with_wrong_decimals(world: World) -> None:
    """Three-decimal currencies go in steps of ten; zero-decimal ones have their own smallest amount."""
    async with nothing_written(world):
        found = names(await world.deposit(30_005, "kwd"), "amount")
        assert "multiple of 10" in found["detail"]
        names(await world.deposit(999, "jpy"), "amount")


async def test_smallest_and_largest_amounts_are_taken(world: World) -> None:
    for amount, code in ((1_000, "usd"), (99_999_999, "usd"), (1_000, "jpy"), (10_000, "kwd"), (30_010, "kwd")):
        answer = await world.deposit(amount, code, user="bounds")
        assert answer.status_code == 201, answer.text
        assert answer.json()["amount"] == amount


async def test_f51_currency(world: World) -> None:
    """A currency is one that wallets are held in, in lower case."""
    codes = ['"xyz"', '"USD"', '"Usd"', '"us"', '"usdd"', '""', '"us\\n"', "840", "null", "true", '["usd"]', '"chf"']
    async with nothing_written(world):
        for code in codes:
            names(await post(world, b'{"amount":20000,"currency":%s}' % code.encode()), "currency")


# ── Fields ──


async def test_f50_fields_that_a_client_may_not_set(world: World) -> None:
    """What a client cannot set is refused, not ignored."""
    async with nothing_written(world):
        for field in ("status", "fee", "owner", "id", "wallet_id", "Amount", "created_at"):
            body = {"amount": 20_000, "currency": "usd", field: 1}
            names(await world.call("POST", DEPOSIT, body), field)
            names(await world.call("PUT", "/v1/me", {"name": "Alice", field: 1}, user="nobody"), field)
            names(await world.call("POST", f"{DEPOSIT}/dep_x/cancel", {field: 1}), field)


@pytest.mark.parametrize("field", ["amount", "currency"])
async def test_field_missing(world: World, field: str) -> None:
    body = {"amount": 20_000, "currency": "usd"}
    del body[field]
    async with nothing_written(world):
        names(await world.call("POST", DEPOSIT, body), field)


async def test_payment_method(world: World) -> None:
    async with nothing_written(world):
        methods: list[object] = ["", "pm card", "pm_" + "x" * 98, "pm/../x", "pm_\n", 7, [], True]
        for method in methods:
            body = {"amount": 20_000, "currency": "usd", "payment_method": method}
            names(await world.call("POST", DEPOSIT, body), "payment_method")


PROFILES: dict[str, list[object]] = {
    "email": ["alice", "a@b", "a b@c.de", "@c.de", "a@.de", f"{'a' * 250}@c.de", 7, "", "a@b.c\n"],
    "name": ["", "x" * 201, "a\nb", ["x"], 1.5],
    "country": ["us", "USA", "ÜS", 1],
    "locale": ["e", "en_US", "x" * 36],
    "channels": [["pigeon"], "email", [1], ["email"] * 4, None],
}


async def test_profile(world: World) -> None:
    async with nothing_written(world):
        for field, values in PROFILES.items():
            for value in values:
                answer = await world.call("PUT", "/v1/me", {field: value}, user="nobody")
                assert problem(answer, 422, "invalid-field")["errors"][0]["field"].startswith(field)


async def test_many_wrong_fields_are_told_in_few_words(world: World) -> None:
    body = {f"{'x' * 500}{number}": number for number in range(1_500)}
    answer = await world.call("POST", DEPOSIT, body)
    problem(answer, 422, "invalid-field")
    assert len(answer.content) < 20_000


# ── JSON ──


NO_OBJECTS = [
    b"{", b"{'amount': 1}", b"amount=20000", b'{"amount": 20000,}', b"[1]", b'"text"', b"7", b"null", b"true",
    GOOD + b"x", GOOD + GOOD, b"\xef\xbb\xbf" + GOOD, GOOD.decode().encode("utf-16"), b'{"amount": \xff}',
    b'{"amount": 20000, "amount": 20001, "currency": "usd"}', b'{"amount": 020000, "currency": "usd"}',
    b'{"amount": 20000, "currency": "usd", "payment_method": "pm_\x00"}',
]  # fmt: skip


async def test_body_that_is_no_json_object(world: World) -> None:
    async with nothing_written(world):
        for content in NO_OBJECTS:
            problem(await post(world, content), 400, "malformed-request")


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
async def test_wrong_media_type(world: World, media_type: str) -> None:
    async with nothing_written(world):
        found = problem(await post(world, GOOD, Content_Type=media_type), 400, "malformed-request")
        assert "application/json" in found["remedy"]


async def test_charset_is_no_reason_to_refuse(world: World) -> None:
    answer = await post(world, GOOD, Content_Type="application/json; charset=utf-8")
    assert answer.status_code == 201


async def test_empty_body(world: World) -> None:
    async with nothing_written(world):
        problem(await post(world, b""), 422, "invalid-field")
        problem(await world.call("PUT", "/v1/me", content=b"", user="nobody"), 422, "invalid-field")


@pytest.mark.parametrize("text", [rb"\u0000", rb"a\u0000b", rb"\ud800", rb"\udc00\ud800", rb"x\udfff"])
async def test_f52_nul_and_lone_surrogates(world: World, text: bytes) -> None:
    """Text that Postgres cannot keep is refused, wherever it stands."""
    async with nothing_written(world):
        for body in (
            b'{"amount":20000,"currency":"%s"}' % text,
            b'{"amount":20000,"currency":"usd","payment_method":"%s"}' % text,
            b'{"amount":20000,"currency":"usd","%s":1}' % text,
            b'{"amount":20000,"currency":"usd","x":[{"y":"%s"}]}' % text,
        ):
            problem(await post(world, body), 400, "malformed-request")
        for field in (b"name", b"email", b"locale"):
            answer = await world.http.put(
                "/v1/me",
                content=b'{"%s":"%s"}' % (field, text),
                headers={"Authorization": f"Bearer {world.token('nobody')}", "Content-Type": "application/json"},
            )
            problem(answer, 400, "malformed-request")


@pytest.mark.parametrize("depth", [40, 900, 5_000, 100_000])
async def test_f52_deep_json(world: World, depth: int) -> None:
    """Nesting is refused at any depth, without a recursion error."""
    async with nothing_written(world):
        for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
            deep = opening * depth + b"1" + closing * depth
            if len(deep) < 1_000_000:
                problem(await post(world, b'{"amount":%s,"currency":"usd"}' % deep), 400, "malformed-request")
                problem(await post(world, deep), 400, "malformed-request")


async def test_f52_ten_megabyte_field(world: World) -> None:
    """A body larger than any request needs is refused before it is read."""
    async with nothing_written(world):
        body = b'{"amount":20000,"currency":"%s"}' % (b"u" * 10_000_000)
        problem(await post(world, body), 413, "body-too-large")


async def test_f32_hundred_megabytes_in_chunks(world: World) -> None:
    """413 while it streams, and the memory stays flat."""
    chunk = b" " * 1_000_000

    async def sender() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield chunk
            await asyncio.sleep(0)

    tracemalloc.start()
    try:
        for method, path in (("POST", "/v1/webhooks/stripe"), ("POST", DEPOSIT), ("PUT", "/v1/me")):
            headers = {"Authorization": f"Bearer {world.token()}", "Idempotency-Key": "big"}
            headers |= {"Content-Type": "application/json"}
            async with nothing_written(world):
                tracemalloc.reset_peak()
                before, _ = tracemalloc.get_traced_memory()
                answer = await world.http.request(method, path, content=sender(), headers=headers)
                _, peak = tracemalloc.get_traced_memory()
                problem(answer, 413, "body-too-large")
                assert peak - before < 8_000_000
    finally:
        tracemalloc.stop()


# ── Paths and queries ──


@pytest.mark.parametrize("path", ["/", "/v1", "/v2/deposits", "/v1/deposits/", "/v1/deposits/x/y", "/v1/%00"])
async def test_unknown_path(world: World, path: str) -> None:
    for method in ("GET", "POST"):
        problem(await world.call(method, path, {} if method == "POST" else None), 404, "not-found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", DEPOSIT, {"GET", "POST"}),
        ("PATCH", "/v1/me", {"GET", "PUT"}),
        ("GET", "/v1/webhooks/stripe", {"POST"}),
    ],
)
async def test_unknown_method(world: World, method: str, path: str, allowed: set[str]) -> None:
    answer = await world.call(method, path)
    problem(answer, 405, "method-not-allowed")
    assert {name.strip() for name in answer.headers["allow"].split(",")} <= allowed


@pytest.mark.parametrize("thing", ["deposits", "operations", "wallets", "offers"])
@pytest.mark.parametrize("name", ["dep_x", "%00", "a%00b", "%ff%fe", "%ed%a0%80", "x" * 5_000, "dep_' OR 1=1 --"])
async def test_unknown_id(world: World, thing: str, name: str) -> None:
    problem(await world.call("GET", f"/v1/{thing}/{name}"), 404, "not-found")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"), ("limit=101", "limit"), ("limit=ten", "limit"), ("limit=1.5", "limit"),
        ("limit=99999999999999999999", "limit"), ("limit=-1", "limit"), ("kind=payout", "kind"),
        ("user_id=", "user_id"), ("user_id=%00", "user_id"), ("user_id=" + "x" * 256, "user_id"),
    ],
)  # fmt: skip
async def test_query(world: World, query: str, field: str) -> None:
    names(await world.call("GET", f"/v1/operations?{query}", role="admin"), field)

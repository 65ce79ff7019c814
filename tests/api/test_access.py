"""Who may ask for what: tokens, roles, and other people's things."""

import base64
import hmac
import json
import time
import uuid
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from api.auth import Role, authenticate
from domain.errors import Unauthenticated
from tests.api.counting import nothing_written
from tests.api.test_bad_input import names, post, problem
from tests.world import JWT_SECRET, World


def _claims(**changed: Any) -> dict[str, Any]:
    now = int(time.time())
    claims = {"sub": "alice", "role": "customer", "iss": "paysaga", "aud": "paysaga", "iat": now, "exp": now + 600}
    return {name: value for name, value in (claims | changed).items() if value is not None}


def _token(header: bytes, payload: bytes, key: str = JWT_SECRET, digest: str = "sha256") -> str:
    """A token of just these bytes, signed with `key`; unsigned with an empty one."""
    said = ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in (header, payload))
    signature = hmac.new(key.encode(), said.encode(), digest).digest() if key else b""
    return f"{said}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


def _signed(key: str = JWT_SECRET, **changed: Any) -> str:
    return _token(b'{"alg":"HS256"}', json.dumps(_claims(**changed)).encode(), key)


NOW = int(time.time())

BAD_TOKENS = {
    "alg none": _token(b'{"alg":"none"}', json.dumps(_claims()).encode(), ""),
    "alg None": _token(b'{"alg":"None"}', json.dumps(_claims()).encode(), ""),
    "other algorithm, same key": _token(b'{"alg":"HS512"}', json.dumps(_claims()).encode(), digest="sha512"),
    "wrong key": _signed("another-development-secret-for-tests"),
    "signature cut": _signed().rpartition(".")[0] + ".",
    "wrong issuer": _signed(iss="somebody"),
    "wrong audience": _signed(aud="somebody"),
    "expired": _signed(exp=NOW - 1),
    "not yet valid": _signed(nbf=NOW + 600),
    "issued in the future": _signed(iat=NOW + 600),
    "expiry is text": _signed(exp="soon"),
    "expiry beyond every calendar": _signed(exp=float("inf")),
    **{f"no {name}": _signed(JWT_SECRET, **{name: None}) for name in ("sub", "role", "iss", "aud", "iat", "exp")},
    "unknown role": _signed(role="owner"),
    "role in capitals": _signed(role="ADMIN"),
    "several roles": _signed(role=["admin"]),
    "role is an object": _signed(role={"admin": True}),
    "role with a surrogate": _signed(role="\ud800"),
    "empty subject": _signed(sub=""),
    "long subject": _signed(sub="x" * 256),
    "subject with a NUL": _signed(sub="a\x00b"),
    "subject with a surrogate": _signed(sub="\ud800"),
    "subject of two lines": _signed(sub="a\nb"),
    "garbage": "garbage",
    "two dots": "..",
    "not base64": "ä.ö.ü".encode().decode("latin-1"),
    "header nested deep": _token(b"[" * 20_000, b"{}"),
    "payload is a list": _token(b'{"alg":"HS256"}', b"[]"),
    "payload nested deep": _token(b'{"alg":"HS256"}', b"[" * 20_000),
}


async def test_f48_token(world: World) -> None:
    """A token that proves nothing is answered 401, and nothing else happens."""
    async with nothing_written(world):
        for case, token in BAD_TOKENS.items():
            for path in ("/v1/me", "/v1/deposits"):
                answer = await world.http.get(path, headers={b"Authorization": b"Bearer " + token.encode("latin-1")})
                assert answer.status_code == 401, case
                problem(answer, 401, "unauthenticated")
                assert answer.headers["www-authenticate"] == "Bearer"


async def test_f48_no_token(world: World) -> None:
    """So is a request that carries none."""
    for header in ("", "Bearer", "Basic YWxpY2U6eA==", f"Token {_signed()}"):
        problem(await world.http.get("/v1/me", headers={"Authorization": header}), 401, "unauthenticated")
    problem(await world.http.get("/v1/me"), 401, "unauthenticated")


async def test_f48_public_key_is_no_shared_secret(world: World) -> None:
    """Where a public key verifies, a token that was signed with that key as a secret proves nothing."""
    private = ec.generate_private_key(ec.SECP256R1())
    public = (
        private.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )
    settings = world.settings.model_copy(update={"jwt_secret": None, "jwt_public_key": public})
    assert authenticate(settings, jwt.encode(_claims(), private, algorithm="ES256")).role is Role.CUSTOMER
    forged = _signed(public)
    for token in (forged, _signed(), BAD_TOKENS["alg none"]):
        with pytest.raises(Unauthenticated):
            authenticate(settings, token)
    with pytest.raises(Unauthenticated, match="No key"):
        authenticate(settings.model_copy(update={"jwt_public_key": None}), _signed())


async def test_who_asks_is_settled_before_what_they_say(world: World) -> None:
    """Nobody's malformed, large or keyless request is read."""
    for content in (b"{", b"[" * 100_000, b" " * 900_000):
        problem(await post(world, content, Authorization="Bearer no"), 401, "unauthenticated")
    answer = await world.http.post("/v1/deposits", content=b"{")
    problem(answer, 401, "unauthenticated")


@pytest.mark.parametrize("role", ["contractor", "admin"])
async def test_role_that_cannot_deposit(world: World, role: str) -> None:
    async with nothing_written(world):
        body = {"amount": 20_000, "currency": "usd"}
        problem(await world.call("POST", "/v1/deposits", body, role=role), 403, "forbidden")
        problem(await world.call("POST", "/v1/deposits", body, role=role, key="not a key"), 403, "forbidden")


ONLY: dict[str, tuple[list[str], dict[str, Any]]] = {
    "/v1/withdrawals": (["contractor", "service"], {"amount": 8_000, "currency": "usd"}),
    "/v1/withdrawals/preview": (["contractor", "service"], {"amount": 8_000, "currency": "usd"}),
    "/v1/connect/account": (
        ["contractor", "service"],
        {"return_url": "http://localhost/a", "refresh_url": "http://localhost/b"},
    ),
    "/v1/connect/account/link": (["contractor", "service"], {}),
    "/v1/connect/account/login-link": (["contractor", "service"], {}),
    "/v1/wallet-transfers": (
        ["service"],
        {"from_user_id": "alice", "to_user_id": "bob", "amount": 8_000, "currency": "usd"},
    ),
    "/v1/offers": (["customer", "service"], {"contractor_id": "carl", "amount": 8_000, "currency": "usd"}),
    "/v1/admin/offers/off_x/resolve": (["admin"], {"to_contractor": 1, "to_customer": 1, "reason": "x"}),
    **{
        f"/v1/admin/wallets/wal_x/{verb}": (["admin"], {"reason": "x"})
        for verb in ("freeze", "unfreeze", "activate", "deactivate")
    },
    **{f"/v1/admin/operations/dep_x/{verb}": (["admin"], {"reason": "x"}) for verb in ("retry", "resume")},
}
"""Every POST that is not for everybody: for which roles, and what is asked there."""


async def test_roles(world: World) -> None:
    """A role that may never do something is told so, whatever it asks and with whatever key."""
    async with nothing_written(world):
        for path, (allowed, body) in ONLY.items():
            for role in set(Role) - set(allowed):
                problem(await world.call("POST", path, body, role=role), 403, "forbidden")
                problem(await world.call("POST", path, {"x": 1}, role=role, key="not a key"), 403, "forbidden")
            problem(await world.http.post(path, json=body), 401, "unauthenticated")


async def test_service_names_the_user(world: World) -> None:
    body: dict[str, Any] = {"amount": 20_000, "currency": "usd"}
    async with nothing_written(world):
        names(await world.call("POST", "/v1/deposits", body, user="shop", role="service"), "user_id")
        for wrong in ("", "x" * 256, "a\nb", 7):
            answer = await world.call("POST", "/v1/deposits", body | {"user_id": wrong}, user="shop", role="service")
            names(answer, "user_id")
    answer = await world.call("POST", "/v1/deposits", body | {"user_id": "zoë"}, user="shop", role="service")
    assert answer.status_code == 201
    assert answer.json()["user_id"] == "zoë"
    assert answer.json()["client_secret"]
    assert (await world.get(f"/v1/deposits/{answer.json()['id']}", user="zoë"))["client_secret"]


async def test_customer_names_nobody_else(world: World) -> None:
    body = {"amount": 20_000, "currency": "usd", "user_id": "bob"}
    async with nothing_written(world):
        names(await world.call("POST", "/v1/deposits", body), "user_id")
    own = await world.call("POST", "/v1/deposits", body, user="bob")
    assert own.status_code == 201
    for path in ("deposits", "operations", "wallets"):
        names(await world.call("GET", f"/v1/{path}?user_id=bob"), "user_id")
        assert (await world.call("GET", f"/v1/{path}?user_id=bob", user="bob")).status_code == 200


async def test_f03_same_key_of_another_caller(world: World) -> None:
    """Another caller's key is another operation, and nothing of the first leaks."""
    key = str(uuid.uuid4())
    first = await world.deposit(user="carol", key=key)
    second = await world.deposit(user="dave", key=key)
    service = await world.call(
        "POST",
        "/v1/deposits",
        {"amount": 20_000, "currency": "usd", "user_id": "carol"},
        user="shop",
        role="service",
        key=key,
    )
    other = await world.deposit(12_345, user="erin", key=key)

    answers = [first, second, service, other]
    assert [answer.status_code for answer in answers] == [201] * 4
    assert len({answer.json()["id"] for answer in answers}) == 4
    assert all("Idempotent-Replayed" not in answer.headers for answer in answers)
    assert [answer.json()["user_id"] for answer in answers] == ["carol", "dave", "carol", "erin"]


async def test_f49_other_peoples_things_do_not_exist(world: World) -> None:
    """A foreign id is answered as an unknown one, byte for byte, whoever asks and for whatever; nothing happens."""
    theirs = (await world.deposit(user="frank")).json()
    [wallet] = await world.get("/v1/wallets", user="frank")
    real, unknown = (theirs["id"], wallet["id"]), ("dep_" + "0" * 26, "wal_" + "0" * 26)
    before = await world.operation(theirs["id"])
    async with nothing_written(world):
        for role in ("customer", "contractor"):
            for template in (
                "GET /v1/deposits/{0}",
                "POST /v1/deposits/{0}/cancel",
                "GET /v1/operations/{0}",
                "GET /v1/wallets/{1}",
                "GET /v1/wallets/{1}/transactions",
            ):
                method, path = template.split()
                answers = [
                    await world.call(method, path.format(*ids), user="mallory", role=role) for ids in (real, unknown)
                ]
                problem(answers[0], 404, "not-found")
                assert answers[0].content == answers[1].content
                assert set(answers[0].headers) == set(answers[1].headers)
    assert await world.operation(theirs["id"]) == before
    # An id of the wrong kind is as unknown as any.
    problem(await world.call("GET", f"/v1/deposits/{wallet['id']}", user="frank"), 404, "not-found")
    problem(await world.call("GET", f"/v1/wallets/{theirs['id']}", user="frank"), 404, "not-found")


async def test_f49_other_peoples_payouts_do_not_exist(world: World) -> None:
    """Nor do withdrawals, accounts, and transfers between wallets, for anyone but their owner."""
    await world.onboarded("owen")
    await world.funded("owen")
    withdrawal = await world.accepted_withdrawal(user="owen")
    account = (await world.get("/v1/connect/account", user="owen"))["id"]
    [moved, *_] = (await world.get("/v1/wallet-transfers", user="clara"))["data"]
    await world.until(withdrawal, lambda now: now["status"] == "paid")
    async with nothing_written(world):
        for role in ("customer", "contractor"):
            for template, real, unknown in (
                ("GET /v1/withdrawals/{}", withdrawal, "wd_" + "0" * 26),
                ("POST /v1/withdrawals/{}/cancel", withdrawal, "wd_" + "0" * 26),
                ("GET /v1/wallet-transfers/{}", moved["id"], "wtr_" + "0" * 26),
                ("GET /v1/operations/{}", account, "acc_" + "0" * 26),
                ("GET /v1/withdrawals/{}", account, moved["id"]),
            ):
                method, path = template.split()
                answers = [
                    await world.call(method, path.format(name), user="mallory", role=role) for name in (real, unknown)
                ]
                problem(answers[0], 404, "not-found")
                assert answers[0].content == answers[1].content
            for path in ("withdrawals", "wallet-transfers"):
                assert (await world.get(f"/v1/{path}", user="mallory", role=role))["data"] == []
                names(await world.call("GET", f"/v1/{path}?user_id=owen", user="mallory", role=role), "user_id")
            problem(await world.call("GET", "/v1/connect/account", user="mallory", role=role), 404, "not-found")
            other = await world.call("GET", "/v1/connect/account?user_id=owen", user="mallory", role=role)
            names(other, "user_id")
        for path in ("link", "login-link"):
            body = {"user_id": "owen"}
            other = await world.call("POST", f"/v1/connect/account/{path}", body, user="mallory", role="contractor")
            names(other, "user_id")
    # An id of the wrong kind is as unknown as any, to its owner too.
    problem(await world.call("GET", f"/v1/withdrawals/{account}", user="owen"), 404, "not-found")
    problem(await world.call("GET", f"/v1/deposits/{withdrawal}", user="owen"), 404, "not-found")
    shown = await world.get(f"/v1/operations/{account}", user="owen")
    assert (shown["kind"], shown["wallet_id"], shown["amount"], shown["currency"]) == (
        "connected_account",
        None,
        None,
        None,
    )
    for kind, there in (("withdrawal", withdrawal), ("connected_account", account), ("deposit", None)):
        listed = (await world.get(f"/v1/operations?kind={kind}", user="owen"))["data"]
        assert [one["id"] for one in listed] == ([there] if there else [])


async def test_lists_show_ones_own(world: World) -> None:
    mine = {(await world.deposit(user="gina")).json()["id"] for _ in range(2)}
    await world.deposit(user="hugo")
    for path in ("deposits", "operations"):
        for role in ("customer", "contractor"):
            listed = (await world.call("GET", f"/v1/{path}", user="gina", role=role)).json()["data"]
            assert {one["id"] for one in listed} == mine
        for role in ("admin", "service"):
            everybodys = (await world.call("GET", f"/v1/{path}?limit=100", user="x", role=role)).json()["data"]
            assert {"gina", "hugo"} <= {one["user_id"] for one in everybodys}
            ginas = (await world.call("GET", f"/v1/{path}?user_id=gina", user="x", role=role)).json()["data"]
            assert {one["id"] for one in ginas} == mine
            assert not (await world.call("GET", f"/v1/{path}?user_id=nobody", user="x", role=role)).json()["data"]
    assert [one["user_id"] for one in await world.get("/v1/wallets", user="gina")] == ["gina"]
    assert [one["user_id"] for one in await world.get("/v1/wallets?user_id=gina", role="admin")] == ["gina"]
    names(await world.call("GET", "/v1/wallets", role="admin"), "user_id")
    assert await world.get("/v1/wallets", user="newcomer") == []


async def test_admin_and_service_read_and_cancel_for_anybody(world: World) -> None:
    for role in ("admin", "service"):
        theirs = (await world.deposit(user="ida")).json()
        for path in (f"deposits/{theirs['id']}", f"operations/{theirs['id']}", f"wallets/{theirs['wallet_id']}"):
            assert (await world.get(f"/v1/{path}", user="x", role=role))["user_id"] == "ida"
        answer = await world.call("POST", f"/v1/deposits/{theirs['id']}/cancel", user="x", role=role)
        assert (answer.status_code, answer.json()["status"]) == (200, "canceled")

"""Making a connected account, reading it, and the links to Stripe's pages."""

import asyncio
import uuid
from typing import Any

import asyncpg
import httpx
import pytest

from api import return_urls
from domain.errors import InvalidField
from domain.settings import Mode
from tests.api.counting import nothing_written, quiet, rows
from tests.api.test_bad_input import names, problem
from tests.world import World

ACCOUNT = "/v1/connect/account"
URLS = {"return_url": "https://app.example.com/done", "refresh_url": "http://localhost:3000/again?x=1"}


@pytest.fixture(autouse=True)
def marketplace(world: World) -> None:
    """The world's marketplace has one host."""
    changed(world, return_hosts=("app.example.com",))


def changed(world: World, **settings: Any) -> None:
    """Change the settings of the API that runs."""
    vars(world.settings).update(settings)


async def profile(world: World, user: str, **more: str | None) -> None:
    """Tell who a user is."""
    said: dict[str, str | None] = {"email": f"{user}@example.com", "country": "US", **more}
    answer = await world.call("PUT", "/v1/me", {name: text for name, text in said.items() if text}, user=user)
    assert answer.status_code == 200


async def make(world: World, user: str, *, key: str | None = None, **urls: Any) -> httpx.Response:
    """`POST /v1/connect/account`."""
    return await world.call("POST", ACCOUNT, URLS | urls, user=user, role="contractor", key=key)


async def made(world: World, user: str, **how: Any) -> dict[str, Any]:
    """An account that was answered 201."""
    await profile(world, user)
    answer = await make(world, user, **how)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def link(world: World, user: str, kind: str = "link", **wanted: Any) -> httpx.Response:
    """`POST /v1/connect/account/…`, which takes no Idempotency-Key."""
    headers = {"Authorization": f"Bearer {world.token(user, 'contractor')}"}
    return await world.http.post(f"{ACCOUNT}/{kind}", json=wanted, headers=headers)


# ── Made ──


async def test_made_then_replayed(world: World) -> None:
    """Each answer has a link of its own, which is kept nowhere."""
    await profile(world, "ada")
    key = str(uuid.uuid4())
    first = await make(world, "ada", key=key)
    assert (first.status_code, first.headers["location"]) == (201, ACCOUNT)
    account = first.json()
    assert account["id"].startswith("acc_")
    assert (account["kind"], account["status"], account["user_id"]) == ("connected_account", "onboarding", "ada")
    assert (account["wallet_id"], account["amount"], account["currency"]) == (None, None, None)
    assert account["stripe_account"].startswith("acct_")
    assert account["able"] == {"receive_transfers": False, "pay_out": False}
    assert (account["manual_payouts"], account["deauthorized"]) == (True, False)
    assert "external_account" in account["due"]
    assert account["onboarding"]["expires_at"]

    again = await make(world, "ada", key=key)
    assert (again.status_code, again.headers["Idempotent-Replayed"]) == (200, "true")
    fresh = again.json()["onboarding"]["url"]
    assert fresh != account["onboarding"]["url"]
    assert again.json() | {"onboarding": 0} == account | {"onboarding": 0}
    read = await world.get(ACCOUNT, user="ada", role="contractor")
    assert read == {name: value for name, value in account.items() if name != "onboarding"}

    for table in [row["relname"] for row in await world.sql("SELECT relname FROM pg_stat_user_tables")]:
        kept = str(await world.sql(f"SELECT t::text FROM {table} t"))
        assert fresh.rpartition("token=")[2] not in kept, table
    problem(await make(world, "ada", key=key, return_url="http://localhost/x"), 422, "idempotency-key-reused")


async def test_onboarded_restricted_cut_off_and_made_again(world: World) -> None:
    account = await made(world, "bea")
    stripe_account, operation = account["stripe_account"], account["id"]
    login = problem(await link(world, "bea", "login-link"), 409, "account-not-able")
    assert f"{ACCOUNT}/link" in login["remedy"]

    await world.sandbox.control("POST", f"accounts/{stripe_account}/complete_onboarding")
    await world.until(operation, lambda now: now["status"] == "active")
    read = await world.get(ACCOUNT, user="bea")
    assert read["able"] == {"receive_transfers": True, "pay_out": True}
    assert (read["due"], read["disabled_reason"]) == ([], None)
    dashboard = await link(world, "bea", "login-link")
    assert (dashboard.status_code, dashboard.json()["expires_at"]) == (200, None)
    assert dashboard.json()["url"].startswith("http")

    restriction = {"requirements": ["individual.id_number"], "disable": ["payouts"], "current_deadline": 1_999_999_999}
    await world.sandbox.control("POST", f"accounts/{stripe_account}/restrict", **restriction)
    await world.until(operation, lambda now: now["status"] == "restricted")
    read = await world.get(ACCOUNT, user="bea")
    assert read["able"] == {"receive_transfers": True, "pay_out": False}
    assert read["due"] == ["individual.id_number"]
    assert read["due_by"] == "2033-05-18T03:33:19Z"
    assert read["disabled_reason"]

    await world.sandbox.control("POST", f"accounts/{stripe_account}/deauthorize")
    await world.closed(operation)
    read = await world.get(ACCOUNT, user="bea")
    assert (read["status"], read["deauthorized"], read["stripe_account"]) == ("deauthorized", True, stripe_account)
    for kind in ("link", "login-link"):
        problem(await link(world, "bea", kind), 409, "no-connected-account")
    # Then another may be made: one that lives is what is read.
    second = await made(world, "bea")
    assert second["stripe_account"] != stripe_account
    assert (await world.get(ACCOUNT, user="bea"))["id"] == second["id"]


async def test_service_acts_for_a_contractor(world: World) -> None:
    await profile(world, "cleo@example.com", email="cleo@example.com")
    as_service: dict[str, Any] = {"user": "shop", "role": "service"}
    names(await world.call("POST", ACCOUNT, URLS, **as_service), "user_id")
    wanted = URLS | {"user_id": "cleo@example.com"}
    answer = await world.call("POST", ACCOUNT, wanted, **as_service)
    assert (answer.status_code, answer.json()["user_id"]) == (201, "cleo@example.com")
    where = answer.headers["location"]
    assert where == f"{ACCOUNT}?user_id=cleo%40example.com"
    for role in ("service", "admin"):
        assert (await world.get(where, user="x", role=role))["id"] == answer.json()["id"]
        names(await world.call("GET", ACCOUNT, user="x", role=role), "user_id")
    linked = await world.call("POST", f"{ACCOUNT}/link", {"user_id": "cleo@example.com"}, **as_service)
    assert linked.status_code == 200
    names(await world.call("POST", f"{ACCOUNT}/link", {}, **as_service), "user_id")


# ── Refused ──


@pytest.mark.parametrize(
    ("lacking", "said"), [(["email"], "email"), (["country"], "country"), (["email", "country"], "country and email")]
)
async def test_profile_incomplete(world: World, lacking: list[str], said: str) -> None:
    """One failed operation, nothing else, and no call to Stripe; a fresh key is a fresh request."""
    user = f"lacks-{'-'.join(lacking)}"
    await profile(world, user, **({"email": "a@example.com"} | dict.fromkeys(lacking)))
    await quiet(world)
    before, asked, key = await rows(world), len(await world.sandbox.requests("*")), str(uuid.uuid4())
    answers = [await make(world, user, key=key) for _ in range(2)]
    found = problem(answers[0], 409, "profile-incomplete")
    assert found["detail"] == f"The profile has no {said}."
    assert "PUT /v1/me" in found["remedy"]
    assert answers[0].content == answers[1].content
    written = {name: count - before[name] for name, count in (await rows(world)).items() if count != before[name]}
    assert written == {"operations": 1, "requests": 1, "events": 1}
    assert len(await world.sandbox.requests("*")) == asked
    operation = await world.closed(found["operation_id"])
    assert (operation["status"], [event["type"] for event in operation["events"]]) == (
        "failed",
        ["connected_account.failed"],
    )
    # What was refused is no account.
    problem(await world.call("GET", ACCOUNT, user=user), 404, "not-found")
    await made(world, user)
    problem(await make(world, user, key=key), 409, "profile-incomplete")


async def test_one_account_each(world: World) -> None:
    first = await made(world, "dora")
    found = problem(await make(world, "dora"), 409, "account-exists")
    assert first["id"] in found["detail"]
    assert found["operation_id"] != first["id"]
    assert (await world.closed(found["operation_id"]))["status"] == "failed"
    # That the profile has become incomplete would be no use to know.
    await world.call("PUT", "/v1/me", {}, user="dora")
    problem(await make(world, "dora"), 409, "account-exists")
    assert (await world.get(ACCOUNT, user="dora"))["id"] == first["id"]


async def test_many_at_once_make_one(world: World) -> None:
    """Whoever comes second is told so, and is no error of ours."""
    await profile(world, "edda")
    answers = await asyncio.gather(*(make(world, "edda") for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [201, *[409] * 5]
    for answer in answers:
        if answer.status_code == 409:
            problem(answer, 409, "account-exists")
    assert len(await world.sql("SELECT FROM connected_accounts WHERE user_id = 'edda'")) == 1
    keyed = await asyncio.gather(*(make(world, "edda", key="one-key") for _ in range(4)))
    assert len({problem(answer, 409, "account-exists")["operation_id"] for answer in keyed}) == 1


async def test_made_by_another_request_at_this_moment(world: World) -> None:
    """The database holds that there is one: who waited for the other's transaction has come later."""
    await profile(world, "etta")
    other = await asyncpg.connect(world.superuser_url)
    try:
        await other.execute("BEGIN")
        await other.execute(
            "INSERT INTO operations (id, kind, status, caller, user_id, request, details, needs_attention, retries)"
            " VALUES ('acc_other', 'connected_account', 'requested', 'shop', 'etta', '{}', '{}', false, 0)"
        )
        waiting = asyncio.create_task(make(world, "etta"))
        await asyncio.sleep(0.3)
        assert not waiting.done()
        await other.execute("COMMIT")
    finally:
        await other.close()
    assert "at this moment" in problem(await waiting, 409, "account-exists")["detail"]


async def test_stripe_that_makes_none(world: World) -> None:
    """Stripe's refusal is the operation's failure; the user may try again."""
    await profile(world, "fay", country="XX")
    found = problem(await make(world, "fay"), 402, "payment-refused")
    assert "XX" in found["detail"]
    assert (await world.closed(found["operation_id"]))["status"] == "failed"
    assert (await made(world, "fay"))["status"] == "onboarding"


# ── Links ──


async def test_links_change_nothing(world: World) -> None:
    await made(world, "gwen")
    async with nothing_written(world, asking=3):
        urls = [(await link(world, "gwen", **wanted)).json()["url"] for wanted in ({}, {}, URLS)]
    assert len(set(urls)) == 3
    [newest, _, oldest] = (await world.sandbox.requests("/v1/account_links"))[:3]
    assert newest != oldest
    for kind in ("link", "login-link"):
        found = problem(await link(world, "nobody", kind), 404, "not-found")
        assert f"POST {ACCOUNT}" in found["remedy"]


async def test_while_stripe_is_away(world: World) -> None:
    """The account is answered without its link, which alone is asked for later."""
    await profile(world, "hana")
    key = str(uuid.uuid4())
    for path in ("/v1/account_links", "/v1/accounts/*/login_links"):
        await world.sandbox.control("POST", "faults", path=path, kind="server_error", times=None)
    try:
        answer = await make(world, "hana", key=key)
        assert (answer.status_code, answer.json()["onboarding"]) == (201, None)
        for kind in ("link", "login-link"):
            found = problem(await link(world, "hana", kind), 503, "unavailable")
            assert "Idempotency-Key" not in found["remedy"]
    finally:
        await world.sandbox.control("DELETE", "faults")
    assert (await make(world, "hana", key=key)).json()["onboarding"]["url"]


async def test_before_stripe_has_made_it(world: World) -> None:
    """It is read as it is, and a link to it is for later; another is not made."""
    await profile(world, "inga")
    await world.sandbox.control("POST", "faults", path="/v1/accounts", kind="error_before", times=None)
    patience = world.settings.answer_within
    changed(world, answer_within=0.5)
    try:
        answer = await make(world, "inga", key="inga")
        assert (answer.status_code, answer.json()["status"], answer.json()["onboarding"]) == (202, "requested", None)
        assert (await world.get(ACCOUNT, user="inga"))["stripe_account"] is None
        for kind in ("link", "login-link"):
            problem(await link(world, "inga", kind), 503, "unavailable")
        problem(await make(world, "inga"), 409, "account-exists")
    finally:
        changed(world, answer_within=patience)
        await world.sandbox.control("DELETE", "faults")
    await world.until(answer.json()["id"], lambda now: now["status"] == "onboarding")
    assert (await make(world, "inga", key="inga")).json()["onboarding"]["url"]


# ── Where Stripe's pages lead back to ──

FOREIGN = [
    "", "/done", "done", "app.example.com/done", "//app.example.com/done", "https:app.example.com", "https:///done",
    "http://app.example.com/done", "ftp://app.example.com/", "javascript:alert(1)", "data:text/html,x",
    "https://evil.example/done", "https://app.example.com.evil.example/", "https://evil.example/app.example.com",
    "https://evil.example/?https://app.example.com/", "https://evil.example#@app.example.com/",
    "https://sub.app.example.com/", "https://app.example.com./", "https://app.example.com:8443/",
    "https://user@app.example.com/", "https://app.example.com@evil.example/", "https://user:pass@localhost/",
    "https://app.example.com/#/done", "https://app.example.com\\@evil.example/", "https://evil.example\\.app.example.com/",
    "https://app.example.com/ x", " https://app.example.com/", "https://app.example.com/\n", "https://app.exa\tmple.com/",
    "https://äpp.example.com/", "https://app.example.com%2f@evil.example/", "https://app.example.com:port/",
    "https://app.example.com:99999/", "https://[::1/", "https://[app.example.com]/", "http://localhost.evil.example/",
    "http://127.0.0.2/", "http://0.0.0.0/", "http://[::2]/", "http://2130706433/",
    "https://app.example.com/" + "x" * 2_048,
]  # fmt: skip

OURS = ["https://app.example.com", "https://APP.example.com:443/a/b?c=d&e=%20", "HTTPS://app.example.com/"]
THIS_MACHINE = ["http://localhost", "https://localhost:3000/x", "http://127.0.0.1:8080/", "http://[::1]:5173/x?y"]


async def test_return_urls(world: World) -> None:
    """They lead to the marketplace's own hosts, by https; in development to this machine besides."""
    production = world.settings.model_copy(update={"mode": Mode.LIVE, "return_hosts": ("App.example.com", "b.example")})
    for url in OURS:
        for settings in (world.settings, production):
            assert return_urls.checked("return_url", url, settings) == url
    for url in THIS_MACHINE:
        assert return_urls.checked("return_url", url, world.settings) == url
    for settings, urls in ((world.settings, FOREIGN), (production, FOREIGN + THIS_MACHINE)):
        for url in urls:
            with pytest.raises(InvalidField) as refused:
                return_urls.checked("return_url", url, settings)
            assert "https://" in refused.value.remedy, url


async def test_bad_form(world: World) -> None:
    async with nothing_written(world):
        for field in URLS:
            found = names(await make(world, "jill", **{field: "https://evil.example/"}), field)
            assert "https://app.example.com/…" in found["remedy"]
            names(await world.call("POST", ACCOUNT, URLS | {field: 7}, user="jill", role="contractor"), field)
            names(await link(world, "jill", **{field: "https://evil.example/"}), field)
            short = {name: url for name, url in URLS.items() if name != field}
            names(await world.call("POST", ACCOUNT, short, user="jill", role="contractor"), field)
        for field in ("country", "email", "type", "stripe_account"):
            names(await make(world, "jill", **{field: "x"}), field)
            names(await link(world, "jill", "login-link", **{field: "x"}), field)
        headers = {"Authorization": f"Bearer {world.token('jill', 'contractor')}"}
        problem(await world.http.post(ACCOUNT, json=URLS, headers=headers), 400, "idempotency-key-missing")

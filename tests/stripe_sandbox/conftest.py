"""The session's checked sandbox; a random key for each test, so that tests cannot see each other.

`platform` is a test's own account at the sandbox. `stripe_account` is where a contract is checked: the sandbox, and
with `-m stripe_live` and STRIPE_SECRET_KEY Stripe's test mode.
"""

import os
import secrets
import ssl
from collections.abc import AsyncIterator, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
import stripe

from stripe_sandbox.ids import derived_id
from stripe_sandbox.store import Store
from tests.shared_servers import Addresses
from tests.stripe_sandbox.process import SandboxProcess
from tests.stripe_sandbox.receiver import Receiver, receiving

LIVE_URL = "https://api.stripe.com"


# Making these takes longer than most tests: they are made once.


@cache
def sdk_http() -> Any:
    """The SDK's HTTP client."""
    return stripe.HTTPXClient(timeout=20)


@cache
def ssl_context() -> ssl.SSLContext:
    """Certificates, for Stripe itself."""
    return httpx.create_ssl_context()


@pytest.fixture(scope="session", autouse=True)
async def _close_shared() -> AsyncIterator[None]:
    yield
    await sdk_http().close_async()
    sdk_http().close()


class Account:
    """A Stripe account as a client sees it: through the SDK, and raw where the SDK hides things."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url
        self.key = key
        self.client = stripe.StripeClient(
            key,
            base_addresses={"api": url},
            max_network_retries=0,
            http_client=sdk_http(),
        )
        self.http = httpx.AsyncClient(
            base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=20, verify=ssl_context()
        )

    @property
    def v1(self) -> Any:
        """The SDK's v1 services. `Any`: tests pass what its types forbid, to see it refused."""
        return self.client.v1

    async def post(self, path: str, key: str | None = None, **params: Any) -> httpx.Response:
        """A raw POST, with an idempotency key."""
        headers = {} if key is None else {"Idempotency-Key": key}
        return await self.http.post(path, data=params, headers=headers)

    async def close(self) -> None:
        """Close its connections."""
        await self.http.aclose()


class Platform(Account):
    """A test's own account at the sandbox, with the sandbox's controls."""

    @property
    def id(self) -> str:
        """The account's id, by which the state file knows it."""
        return derived_id("acct", self.key.removeprefix("sk_test_"))

    async def control(self, path: str, /, **body: Any) -> Any:
        """POST to the control API."""
        answer = await self.http.post(f"/_sandbox/{path}", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def look(self, path: str, /, **query: str) -> Any:
        """GET from the control API."""
        answer = await self.http.get(f"/_sandbox/{path}", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def advance(self, seconds: float) -> None:
        """Move the account's clock ahead."""
        await self.control("clock/advance", seconds=seconds)

    async def listen(self, receiver: Receiver, *events: str, **params: Any) -> Any:
        """Register a webhook endpoint; returns it, secret included."""
        given = {"url": receiver.url, "enabled_events": list(events) or ["*"], **params}
        return await self.v1.webhook_endpoints.create_async(given)

    async def pay(self, payment_method: str = "pm_card_visa", amount: int = 20_000, **params: Any) -> Any:
        """A PaymentIntent confirmed with this card."""
        return await self.v1.payment_intents.create_async(card_payment(payment_method, amount, **params))

    async def account(self, *, onboarded: bool = True, bank: str = "000123456789", **params: Any) -> Any:
        """An Express account with a manual payout schedule; onboarded, it can be transferred to and paid out."""
        account = await self.v1.accounts.create_async(express_account(**params))
        if onboarded:
            await self.control(f"accounts/{account.id}/complete_onboarding", account_number=bank)
        return await self.v1.accounts.retrieve_async(account.id)

    async def fund(self, amount: int, currency: str = "usd", account: str | None = None) -> None:
        """Add to an available balance (below zero: take from it); by default the platform's."""
        path = "adjust_balance" if account is None else f"accounts/{account}/adjust_balance"
        await self.control(path, amount=amount, currency=currency)

    async def available(self, account: str | None = None, currency: str = "usd") -> int:
        """An available balance, minor units; by default the platform's."""
        options = {} if account is None else {"stripe_account": account}
        balance = await self.v1.balance.retrieve_async({}, options)
        return int({each.currency: each.amount for each in balance.available}.get(currency, 0))

    async def assert_sound(self) -> None:
        """The sandbox's own invariants hold."""
        assert (await self.look("check"))["violations"] == []


def express_account(**params: Any) -> dict[str, Any]:
    """The parameters of an Express account that is paid out only when told."""
    return {
        "type": "express",
        "country": "US",
        "capabilities": {"transfers": {"requested": True}},
        "settings": {"payouts": {"schedule": {"interval": "manual"}}},
        **params,
    }


def card_payment(payment_method: str = "pm_card_visa", amount: int = 20_000, **params: Any) -> dict[str, Any]:
    """The parameters of a card payment that is confirmed at once."""
    return {
        "amount": amount,
        "currency": "usd",
        "payment_method": payment_method,
        "confirm": True,
        "allowed_payment_method_types": ["card"],
        **params,
    }


def random_key() -> str:
    """A secret key that nobody else uses."""
    return f"sk_test_{secrets.token_hex(12)}"


@pytest.fixture
async def platform(sandbox_url: str) -> AsyncIterator[Platform]:
    """An account of the test's own, with Stripe's inconveniences."""
    account = Platform(sandbox_url, random_key())
    yield account
    await account.close()


@pytest.fixture
def store(shared: Addresses) -> Iterator[Store]:
    """The state file, for what no API can do yet, or must never do."""
    opened = Store(shared.sandbox_data)
    yield opened
    opened.close()


@pytest.fixture
async def connected(platform: Platform) -> str:
    """An account connected to the platform, not onboarded."""
    return str((await platform.account(onboarded=False)).id)


@pytest.fixture(
    params=["sandbox", pytest.param("stripe", marks=[pytest.mark.stripe_live, pytest.mark.enable_socket])],
)
async def stripe_account(request: pytest.FixtureRequest) -> AsyncIterator[Account]:
    """Where a contract is checked."""
    if request.param == "sandbox":
        account = Account(request.getfixturevalue("sandbox_url"), random_key())
    else:
        key = os.environ.get("STRIPE_SECRET_KEY", "")
        if not key.startswith("sk_test_"):
            pytest.skip("STRIPE_SECRET_KEY names no test account")
        account = Account(LIVE_URL, key)
    yield account
    await account.close()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A webhook endpoint."""
    async with receiving() as made:
        yield made


@pytest.fixture
def own_process(tmp_path: Path) -> Iterator[SandboxProcess]:
    """A sandbox that the test may kill."""
    process = SandboxProcess(tmp_path)
    process.start()
    yield process
    process.kill()
    assert process.complaints() == ""

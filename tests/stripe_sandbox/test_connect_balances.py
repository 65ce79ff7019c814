"""Whatever happens, in whichever order: every balance is the sum of its transactions, and nothing is spent twice."""

from collections import defaultdict
from typing import Any

import httpx
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.stripe_sandbox.conftest import random_key

ACCOUNTS = 2

STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["charge", "fund", "transfer", "tied", "reverse", "payout", "cancel", "pay", "fail", "advance", "take"]
        ),
        st.integers(0, ACCOUNTS - 1),
        st.integers(50, 3000),
    ),
    min_size=8,
    max_size=25,
)


class World:
    """A platform with onboarded accounts; steps that Stripe may refuse, but never with a 500."""

    def __init__(self, url: str) -> None:
        headers = {"Authorization": f"Bearer {random_key()}"}
        self.http = httpx.Client(base_url=url, headers=headers, timeout=20)
        self.control("settings", payout_hold=True, payout_transit_delay_ms=60_000)
        self.accounts = [self.account() for _ in range(ACCOUNTS)]
        self.made: dict[str, list[Any]] = defaultdict(list)

    def account(self) -> str:
        form = {"type": "express", "capabilities[transfers][requested]": "true"}
        account = str(self.http.post("/v1/accounts", data=form).json()["id"])
        self.control(f"accounts/{account}/complete_onboarding")
        return account

    def control(self, path: str, **body: Any) -> None:
        answer = self.http.post(f"/_sandbox/{path}", json=body)
        assert answer.status_code in (200, 400), answer.text

    def post(self, path: str, form: dict[str, Any], account: str | None = None) -> None:
        headers = {} if account is None else {"Stripe-Account": account}
        answer = self.http.post(f"/v1/{path}", data=form, headers=headers)
        assert answer.status_code in (200, 400), answer.text
        if answer.status_code == 200:
            self.made[path].append(answer.json())

    def step(self, what: str, number: int, amount: int) -> None:
        account = self.accounts[number]
        money = {"amount": amount, "currency": "usd"}
        transfers, payouts = self.made["transfers"], self.made["payouts"]
        intents = self.made["payment_intents"]
        match what:
            case "charge":
                card = {"payment_method": "pm_card_visa", "confirm": "true", "capture_method": "automatic"}
                self.post("payment_intents", {**money, **card, "return_url": "https://example.com"})
            case "fund":
                self.control("adjust_balance", amount=amount, currency="usd")
            case "take":
                self.control(f"accounts/{account}/adjust_balance", amount=-amount, currency="usd")
            case "transfer":
                self.post("transfers", {**money, "destination": account})
            case "tied" if intents:
                source = {"source_transaction": intents[amount % len(intents)]["latest_charge"]}
                self.post("transfers", {**money, "destination": account, **source})
            case "reverse" if transfers:
                self.post(f"transfers/{transfers[amount % len(transfers)]['id']}/reversals", {"amount": amount})
            case "payout":
                self.post("payouts", money, account)
            case "cancel" | "pay" | "fail" if payouts:
                self.control(f"payouts/{payouts[amount % len(payouts)]['id']}/{what}")
            case "advance":
                self.control("clock/advance", seconds=amount * 60)

    def check(self) -> None:
        assert self.http.get("/_sandbox/check").json() == {"violations": []}
        for account in (None, *self.accounts):
            headers = {} if account is None else {"Stripe-Account": account}
            page = self.http.get("/v1/balance_transactions", params={"limit": 100}, headers=headers).json()
            assert not page["has_more"]
            balance = self.http.get("/v1/balance", headers=headers).json()
            for state in ("pending", "available"):
                booked = sum(each["net"] for each in page["data"] if each["status"] == state)
                assert [each["amount"] for each in balance[state]] == [booked]


@settings(max_examples=12, deadline=None)
@given(steps=STEPS)
def test_every_balance_is_the_sum_of_its_transactions(sandbox_url: str, steps: list[tuple[str, int, int]]) -> None:
    world = World(sandbox_url)
    for step in steps:
        world.step(*step)
    world.check()
    world.http.close()

"""What is done in several chapters: a customer deposits; a contractor earns, tells Stripe who they are, withdraws.

Everything here is followed, and what it must book declared; what becomes of a withdrawal its chapter says.
"""

from cli.demo.story import Json, Person, Story

PAYS = "000123456789"
"""The number of a test bank account at which payouts arrive."""

CLOSED = "000111111113"
"""One that the bank has closed: payouts to it are refused."""

ELSEWHERE = ("failed", "canceled", "reversed")
"""The statuses of a withdrawal that will not arrive."""

RETURN_URL = "http://localhost:3000/payouts"
"""A page of the marketplace's, which nobody opens here."""


async def deposit(story: Story, customer: Person, amount: int, payment_method: str) -> str:
    """US cents from a test card into a customer's wallet, Stripe's fee yet to come; the deposit's id."""
    wanted = {"amount": amount, "currency": "usd", "payment_method": payment_method}
    made = await story.post(customer, "/v1/deposits", wanted, status=201)
    story.follow(customer, made["id"])
    credited = await story.until(
        made["id"], lambda now: now["status"] not in ("awaiting_payment", "processing"), waiting="Stripe is asked …"
    )
    story.expect(f"{customer.name}'s deposit", "succeeded", credited["status"])
    return str(made["id"])


async def earn(story: Story, contractor: Person, customer: Person, amount: int) -> None:
    """The marketplace moves US cents from a customer's wallet to a contractor's."""
    marketplace = story.person("Marketplace", "service")
    giving = {
        "from_user_id": customer.user_id,
        "to_user_id": contractor.user_id,
        "amount": amount,
        "currency": "usd",
        "reference": f"{contractor.name}'s job for {customer.name}",
    }
    moved = await story.post(marketplace, "/v1/wallet-transfers", giving, status=201)
    story.follow(customer, moved["id"])
    story.expect(f"{customer.name}'s wallet transfer to {contractor.name}", "succeeded", moved["status"])
    story.expect_bookings(
        moved["id"],
        [("move", {"wallet_available": -amount, f"wallet_available ({contractor.name})": amount})],
    )


async def onboard(story: Story, *contractors: Person, bank: str) -> list[str]:
    """They say who they are, here and to Stripe, with a test bank account; Stripe's ids of their accounts."""
    made = []
    for contractor in contractors:
        profile = {"email": f"{contractor.user_id}@example.com", "name": contractor.name, "country": "US"}
        await story.put(contractor, "/v1/me", profile)
        urls = {"return_url": RETURN_URL, "refresh_url": RETURN_URL}
        account = await story.post(contractor, "/v1/connect/account", urls, status=201)
        made.append(account["id"])
        story.follow(contractor, account["id"])
        story.expect_bookings(account["id"], [])
        back_at = await story.outside.fill_in_stripes_form(account["onboarding"]["url"], bank)
        story.expect(f"where Stripe's form leads {contractor.name} back to", RETURN_URL, back_at)
    able = [
        await story.until(id, lambda now: now["status"] == "active", waiting="Stripe looks at what it was told …")
        for id in made
    ]
    return [str(account["details"]["stripe_account"]) for account in able]


async def withdraw(story: Story, contractor: Person, amount: int) -> Json:
    """The contractor withdraws US cents; the withdrawal as it is answered."""
    withdrawal = await story.post(contractor, "/v1/withdrawals", {"amount": amount, "currency": "usd"}, status=201)
    story.follow(contractor, withdrawal["id"])
    return withdrawal


async def until_it_is(story: Story, withdrawal: Json, status: str, *, waiting: str) -> Json:
    """The withdrawal once it has this status, which is also expected of it, or one from which it never will."""
    found = await story.until(withdrawal["id"], lambda now: now["status"] in (status, *ELSEWHERE), waiting=waiting)
    person = story.operations[withdrawal["id"]]
    story.expect(f"{person.name}'s withdrawal", status, found["status"])
    return found


async def wallet_of(story: Story, person: Person) -> Json:
    """The person's only wallet."""
    [wallet] = await story.get(person, "/v1/wallets")
    return dict(wallet)

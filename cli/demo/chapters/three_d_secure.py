"""A deposit that the customer's bank wants confirmed."""

from cli.demo.story import Story

TITLE = "Alice deposits 200.00 USD, and her bank asks her to confirm"


async def tell(story: Story) -> None:
    """Alice pays with 3-D Secure; the money is hers before Stripe's fee is known."""
    alice = story.person("Alice")
    story.say("Alice asks to deposit 200.00 USD with a card that wants 3-D Secure.")
    deposit = await story.post(
        alice,
        "/v1/deposits",
        {"amount": 20_000, "currency": "usd", "payment_method": "pm_card_authenticationRequired"},
        status=201,
    )
    story.follow(alice, deposit["id"])
    story.expect("Alice's deposit before she confirms", "awaiting_payment", deposit["status"])
    story.say(f"A saga runs now, {deposit['id']}. It is awaiting her payment: her bank asks whether it is really her.")

    await story.outside.confirm_at_the_bank(deposit["payment_intent"])
    story.say("She confirms on her bank's page, and Stripe takes the money.")

    credited = await story.until(
        deposit["id"],
        lambda now: now["status"] not in ("awaiting_payment", "processing"),
        waiting="Stripe's webhook tells the saga, which asks Stripe and credits her wallet …",
    )
    story.expect("Alice's deposit after she confirmed", "succeeded", credited["status"])
    story.say("The saga has heard of it, asked Stripe for its word, and credited her wallet with 200.00 USD.")

    await story.until_closed(deposit["id"], waiting="Stripe will tell its fee in a moment …")
    story.say("Stripe has told its fee of 6.10 USD. The saga has booked it on the platform's account and ended.")
    # 2.9 % of 200.00 is 5.80, and 0.30 for each charge.
    story.expect_bookings(
        deposit["id"],
        [
            ("credit", {"stripe_balance": -20_000, "wallet_available": 20_000}),
            ("stripe_fee", {"stripe_balance": 610, "stripe_fees": -610}),
        ],
    )
    story.expect_balance(alice, "usd", 20_000)

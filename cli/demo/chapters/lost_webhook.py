"""A deposit of which no webhook ever arrives."""

from cli.demo.story import Story

TITLE = "Carol pays, and every webhook is lost"


async def tell(story: Story) -> None:
    """Carol's deposit ends right all the same: a webhook only saves the saga its question."""
    carol = story.person("Carol")
    first_poll = story.place.settings.pacing.polls[0]
    async with story.outside.losing_every_webhook() as lost:
        story.say("From now on every webhook that Stripe sends is lost on its way to us.")
        deposit = await story.post(carol, "/v1/deposits", {"amount": 5_000, "currency": "usd"}, status=201)
        story.follow(carol, deposit["id"])
        story.expect("Carol's deposit before she pays", "awaiting_payment", deposit["status"])
        await story.outside.pay_in_the_browser(deposit["payment_intent"], "pm_card_visa")
        story.say("Carol pays a deposit of 50.00 USD in her browser. Stripe has her money, and we do not hear of it.")
        story.say(f"A saga never relies on being told. After {first_poll:g} s of silence it asks Stripe itself.")

        await story.until_closed(
            deposit["id"], waiting="Waiting for the saga to lose its patience …", within=40 + first_poll
        )
    closed = await story.operation(deposit["id"])
    story.expect("Carol's deposit", "succeeded", closed["status"])
    story.expect("webhooks of Carol's deposit that arrived", 0, len(closed["stripe_events"]))
    story.say(
        f"It has asked: 50.00 USD are credited, Stripe's fee of 1.75 USD is booked. {lost.events} webhooks were lost"
        " meanwhile, and none was missed."
    )
    # 2.9 % of 50.00 is 1.45, and 0.30 for each charge.
    story.expect_bookings(
        deposit["id"],
        [
            ("credit", {"stripe_balance": -5_000, "wallet_available": 5_000}),
            ("stripe_fee", {"stripe_balance": 175, "stripe_fees": -175}),
        ],
    )
    story.expect_balance(carol, "usd", 5_000)

"""A deposit that the customer's bank declines."""

from cli.demo.story import Story

TITLE = "Bob's card is declined"


async def tell(story: Story) -> None:
    """Bob is told why, nothing is taken, and nothing is left that could still be paid."""
    bob = story.person("Bob")
    story.say("Bob asks to deposit 80.00 USD with a card that has not enough on it.")
    problem = await story.post(
        bob,
        "/v1/deposits",
        {"amount": 8_000, "currency": "usd", "payment_method": "pm_card_visa_chargeDeclinedInsufficientFunds"},
        status=402,
    )
    story.follow(bob, problem["operation_id"])
    story.say("The API answers 402 with a problem document that says why, and which operation it was:")
    story.show(problem)
    story.expect("why Bob's card was declined", "insufficient_funds", problem.get("decline_code"))

    closed = await story.until_closed(problem["operation_id"], waiting="The saga ends …")
    story.expect("Bob's deposit", "failed", closed["status"])
    [created] = [call for call in closed["calls"] if call["step"] == "create_payment_intent"]
    intent = await story.outside.payment_intent(created["stripe_id"])
    story.expect("Bob's PaymentIntent at Stripe", "canceled", intent["status"])
    story.expect("what Stripe received from Bob, in cents", 0, intent["amount_received"])
    story.say("The deposit has failed. Its PaymentIntent is canceled at Stripe, so nobody can pay it by mistake later.")
    story.say("Nothing was taken, and nothing was booked.")
    story.expect_bookings(problem["operation_id"], [])
    story.expect_balance(bob, "usd", 0)

"""A job, from the customer's card to the contractor's bank."""

from cli.demo.contractors import PAYS, deposit, onboard, until_it_is, wallet_of, withdraw
from cli.demo.offers import act, make_offer
from cli.demo.story import Person, Story

TITLE = "Lena offers Max a job: the money's way from her card to his bank"


async def tell(story: Story) -> None:
    """Of Lena's 100.00 the platform keeps 20.00, and 5.00 on top; Max has 80.00 at his bank."""
    lena, max_ = story.person("Lena"), story.person("Max", "contractor")
    deposited = await deposit(story, lena, 20_000, "pm_card_bypassPending")
    story.say("Lena deposits 200.00 USD, and offers Max 100.00 USD for a job.")
    offer = await make_offer(story, lena, max_, 10_000)
    await _holds(story, lena, {"available": 9_500, "escrow": 10_500})
    story.say(
        "Those are in escrow now, and 5 % on top for the platform: neither of the two can spend any of the 105.00 USD."
    )
    await act(story, max_, "accept", offer, becomes="accepted")
    await _holds(story, lena, {"available": 9_500, "escrow": 10_000})
    story.say("Max accepts, and with that the platform has earned its 5.00 USD. Then he does the job.")
    await act(story, max_, "deliver", offer, becomes="delivered")
    completed = await act(story, lena, "complete", offer, becomes="completed")
    story.expect("the service fee on Max's job, in cents", 2_000, completed["service_fee"])
    await _holds(story, max_, {"available": 8_000, "escrow": 0})
    story.say("He delivers it, and Lena is content: 80.00 USD are his, and 20.00 are the platform's service fee.")
    story.expect_bookings(
        offer,
        [
            ("hold", {"wallet_available": -10_500, "wallet_escrow": 10_500}),
            ("accept_fee", {"wallet_escrow": -500, "platform_fees": 500}),
            ("release#1", {"wallet_escrow": -10_000, "service_fees": 2_000, "wallet_available (Max)": 8_000}),
        ],
    )
    # 2.9 % of 200.00 is 5.80, and 0.30 for each charge.
    story.expect_bookings(
        deposited,
        [
            ("credit", {"stripe_balance": -20_000, "wallet_available": 20_000}),
            ("stripe_fee", {"stripe_balance": 610, "stripe_fees": -610}),
        ],
    )
    story.expect_balance(lena, "usd", 9_500)

    [account] = await onboard(story, max_, bank=PAYS)
    # Stripe has the money when it has told its fee.
    await story.until_closed(deposited, waiting="Stripe will tell its fee in a moment …")
    withdrawal = await withdraw(story, max_, 8_000)
    paid = await until_it_is(story, withdrawal, "paid", waiting="The payout is on its way to the bank …")
    story.say("Max opens an account at Stripe and withdraws all of it. It is paid.")
    story.say(
        "So, of Lena's 200.00 USD, 95.00 are still hers, 80.00 are at Max's bank, and 25.00 are the platform's, out of"
        " which it has paid Stripe's fee of 6.10."
    )
    story.expect_bookings(
        paid["id"],
        [
            ("reserve", {"wallet_available": -8_000, "wallet_in_transit": 8_000}),
            ("transfer", {"connected_balance": -8_000, "stripe_balance": 8_000}),
            ("payout", {"payouts_in_flight": -8_000, "connected_balance": 8_000}),
            ("paid", {"wallet_in_transit": -8_000, "payouts_in_flight": 8_000}),
        ],
    )
    story.expect_balance(max_, "usd", 0)
    story.expect("what is left on Max's account at Stripe, in cents", 0, await story.outside.held_by(account))


async def _holds(story: Story, person: Person, expected: dict[str, int]) -> None:
    wallet = await wallet_of(story, person)
    story.expect(f"what {person.name}'s wallet holds meanwhile", expected, {part: wallet[part] for part in expected})
